package appspec

import (
	"strings"
)

// fetch adds the next token to the queue, and before it those that it implies.
func (s *scanner) fetch() error {
	s.toNextToken()
	if err := s.forgetStaleKeys(); err != nil {
		return err
	}
	s.closeBlocks(s.at.Col - 1)
	switch {
	case s.at.offset >= len(s.text):
		return s.fetchEnd()
	case s.at.Col == 1 && s.char(0) == '%':
		return s.fetchDirective()
	case s.atMarker("---"):
		return s.fetchMarker(documentStart)
	case s.atMarker("..."):
		return s.fetchMarker(documentEnd)
	}
	switch c := s.char(0); {
	case c == '[':
		return s.openBracket(flowListStart)
	case c == '{':
		return s.openBracket(flowMapStart)
	case c == ']':
		return s.closeBracket(flowListEnd)
	case c == '}':
		return s.closeBracket(flowMapEnd)
	case c == ',':
		return s.fetchComma()
	case c == '-' && s.gap(1):
		return s.fetchDash()
	case c == '?' && (s.flow() || s.gap(1)):
		return s.fetchQuestionMark()
	case c == ':' && (s.flow() || s.gap(1)):
		return s.fetchColon()
	case c == '*':
		return s.fetchScanned(s.scanAnchor, aliasToken)
	case c == '&':
		return s.fetchScanned(s.scanAnchor, anchorToken)
	case c == '!':
		return s.fetchScanned(s.scanTag, tagToken)
	case (c == '|' || c == '>') && !s.flow():
		return s.fetchBlockScalar()
	case c == '\'' || c == '"':
		return s.fetchScanned(s.scanQuoted, scalarToken)
	case s.plainBegins(c):
		return s.fetchScanned(s.scanPlain, scalarToken)
	case c == '\t':
		return bad(s.at, "the line is indented by a tab; YAML allows spaces only", "indent by spaces")
	default:
		return bad(s.at, "a value cannot begin with "+s.character(0), "put the value in quotes")
	}
}

// plainBegins reports whether a text without quotes may begin with this character.
func (s *scanner) plainBegins(c byte) bool {
	switch {
	case s.gap(0):
		return false
	case c == '-':
		return !s.blank(1)
	case c == '?' || c == ':':
		return !s.flow() && !s.gap(1)
	default:
		return strings.IndexByte(",[]{}#&*!|>'\"%@`", c) < 0
	}
}

func (s *scanner) fetchEnd() error {
	if s.at.Col > 1 {
		s.at.Pos = Pos{s.at.Line + 1, 1}
	}
	s.closeBlocks(-1)
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = false
	s.emit(streamEnd, s.at)
	return nil
}

// fetchMarker adds the start or the end of a document.
func (s *scanner) fetchMarker(kind tokenKind) error {
	s.closeBlocks(-1)
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = false
	start := s.at
	s.skip(3)
	s.emit(kind, start)
	return nil
}

func (s *scanner) openBracket(kind tokenKind) error {
	if err := s.noteKey(); err != nil {
		return err
	}
	if len(s.keys) > maxDepth {
		return s.tooDeep()
	}
	s.keys = append(s.keys, possibleKey{})
	s.keyAllowed = true
	start := s.at
	s.skip(1)
	s.emit(kind, start)
	return nil
}

func (s *scanner) closeBracket(kind tokenKind) error {
	if err := s.endKey(); err != nil {
		return err
	}
	if s.flow() {
		s.keys = s.keys[:len(s.keys)-1]
		s.live = min(s.live, len(s.keys))
	}
	s.keyAllowed = false
	start := s.at
	s.skip(1)
	s.emit(kind, start)
	return nil
}

func (s *scanner) fetchComma() error {
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = true
	start := s.at
	s.skip(1)
	s.emit(flowEntry, start)
	return nil
}

func (s *scanner) fetchDash() error {
	if !s.flow() {
		if !s.keyAllowed {
			return bad(s.at, "a list entry cannot begin here", "put the dash on a line of its own, indented like the other entries")
		}
		if err := s.openBlock(s.at, -1, blockListStart); err != nil {
			return err
		}
	}
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = true
	start := s.at
	s.skip(1)
	s.emit(blockEntry, start)
	return nil
}

func (s *scanner) fetchQuestionMark() error {
	if !s.flow() {
		if !s.keyAllowed {
			return bad(s.at, "a key cannot begin here", "put the value in quotes if the ? is meant")
		}
		if err := s.openBlock(s.at, -1, blockMapStart); err != nil {
			return err
		}
	}
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = !s.flow()
	start := s.at
	s.skip(1)
	s.emit(keyToken, start)
	return nil
}

// fetchColon adds the colon of a key. If that key has been noted its token is put before the key's own.
func (s *scanner) fetchColon() error {
	switch k := &s.keys[len(s.keys)-1]; {
	case k.possible:
		s.insert(k.number, token{kind: keyToken, start: k.at, end: k.at})
		if err := s.openBlock(k.at, k.number, blockMapStart); err != nil {
			return err
		}
		k.possible = false
		s.keyAllowed = false
	case s.flow():
		s.keyAllowed = false
	case !s.keyAllowed:
		return s.strayColon()
	default:
		if err := s.openBlock(s.at, -1, blockMapStart); err != nil {
			return err
		}
		s.keyAllowed = true
	}
	start := s.at
	s.skip(1)
	s.emit(valueToken, start)
	return nil
}

// fetchScanned adds a token that may begin a key.
func (s *scanner) fetchScanned(scan func(tokenKind) (token, error), kind tokenKind) error {
	if err := s.noteKey(); err != nil {
		return err
	}
	s.keyAllowed = false
	t, err := scan(kind)
	if err != nil {
		return err
	}
	s.queue = append(s.queue, t)
	return nil
}

func (s *scanner) fetchBlockScalar() error {
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = true
	t, err := s.scanBlockScalar()
	if err != nil {
		return err
	}
	s.queue = append(s.queue, t)
	return nil
}

// isNameChar is true for what names of anchors, tags and directives are made of.
func isNameChar(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// name passes such a name.
func (s *scanner) name() string {
	start := s.at.offset
	for isNameChar(s.char(0)) {
		s.skip(1)
	}
	return s.text[start:s.at.offset]
}

func (s *scanner) scanAnchor(kind tokenKind) (token, error) {
	start := s.at
	s.skip(1)
	name := s.name()
	if name == "" || !s.gap(0) && strings.IndexByte("?:,]}%@`", s.char(0)) < 0 {
		return token{}, bad(start, "a value that begins with "+s.text[start.offset:start.offset+1]+" is a reference in YAML", "put the value in quotes")
	}
	return token{kind: kind, start: start, end: s.at, value: name}, nil
}

func (s *scanner) scanTag(tokenKind) (token, error) {
	start := s.at
	t := token{kind: tagToken, start: start}
	malformed := bad(start, "a value that begins with ! has a tag in YAML, and this is none", "put the value in quotes if the ! is meant")
	if s.char(1) == '<' {
		s.skip(2)
		t.suffix = s.tagURI("", true)
		if t.suffix == "" || s.char(0) != '>' {
			return token{}, malformed
		}
		s.skip(1)
	} else {
		handle := s.tagHandle()
		if len(handle) > 1 && strings.HasSuffix(handle, "!") {
			t.value, t.suffix = handle, s.tagURI("", false)
			if t.suffix == "" {
				return token{}, malformed
			}
		} else {
			t.value, t.suffix = "!", s.tagURI(handle[1:], false)
			if t.suffix == "" {
				t.value, t.suffix = "", "!"
			}
		}
	}
	if !s.gap(0) && !(s.flow() && s.char(0) == ',') {
		return token{}, malformed
	}
	t.end = s.at
	return t, nil
}

// tagHandle passes "!", "!!", "!name!", or the "!name" that a tag without a handle begins with.
func (s *scanner) tagHandle() string {
	start := s.at.offset
	s.skip(1)
	s.name()
	if s.char(0) == '!' {
		s.skip(1)
	}
	return s.text[start:s.at.offset]
}

// tagURI passes the rest of a tag; escapes are decoded.
func (s *scanner) tagURI(head string, verbatim bool) string {
	b := []byte(head)
	for {
		c := s.char(0)
		switch {
		case c == '%' && isHex(s.char(1)) && isHex(s.char(2)):
			b = append(b, unhex(s.char(1))<<4|unhex(s.char(2)))
			s.skip(3)
		case isNameChar(c), c != 0 && c != '%' && strings.IndexByte(";/?:@&=+$.!~*'()", c) >= 0,
			verbatim && c != 0 && strings.IndexByte(",[]", c) >= 0:
			b = append(b, c)
			s.skip(1)
		default:
			return string(b)
		}
	}
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f' }

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}

// versionForm is a YAML version.
var versionForm = pattern(`^[0-9]{1,9}\.[0-9]{1,9}`)

// fetchDirective adds %YAML or %TAG; there are no others.
func (s *scanner) fetchDirective() error {
	s.closeBlocks(-1)
	if err := s.endKey(); err != nil {
		return err
	}
	s.keyAllowed = false
	start := s.at
	s.skip(1)
	malformed := bad(start, "a line that begins with % is a directive in YAML, and this is none", "put the value in quotes, or indent the line")
	name := s.name()
	if !s.blank(0) {
		return malformed
	}
	t := token{start: start}
	for s.blank(0) {
		s.skip(1)
	}
	switch name {
	case "YAML":
		t.kind = versionDirective
		if t.value = versionForm().FindString(s.rest()); t.value == "" {
			return malformed
		}
		s.skip(len(t.value))
		if !s.gap(0) {
			return malformed
		}
	case "TAG":
		t.kind = tagDirective
		if s.char(0) != '!' {
			return malformed
		}
		if t.value = s.tagHandle(); len(t.value) > 1 && !strings.HasSuffix(t.value, "!") || !s.blank(0) {
			return malformed
		}
		for s.blank(0) {
			s.skip(1)
		}
		if t.suffix = s.tagURI("", true); t.suffix == "" || !s.gap(0) {
			return malformed
		}
	default:
		return malformed
	}
	if !s.skipLineRest() {
		return malformed
	}
	t.end = s.at
	length, _ := s.lineEnd(0)
	s.skipBreak(length)
	s.queue = append(s.queue, t)
	return nil
}
