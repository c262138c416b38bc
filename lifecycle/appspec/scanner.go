package appspec

import (
	"strings"
	"unicode/utf8"
)

// scanner cuts YAML 1.1 text into tokens exactly as the reference's parser does: where tabs may stand, how long a key may be, what
// a colon means in brackets. General YAML packages follow version 1.2 there, which gives another verdict on about one wrong file in
// seventy. Tokens are made only as the composer asks for them, because nothing may be found wrong behind the first document.
//
// A key is not known to be one until its colon has been seen. So the scanner notes where a key may have begun, at most one per
// level of brackets, and keeps what follows in a queue until the colon comes or can no longer come.
type scanner struct {
	src    *source
	text   string
	at     mark
	queue  []token
	head   int // of the queue
	taken  int // tokens that have left it
	indent int // column of the innermost block, counted from 0, -1 outside
	// indents are the columns of the blocks around the innermost.
	indents []int
	// keys are the possible keys, one per level of brackets; those below live are not possible any more.
	keys []possibleKey
	live int
	// keyAllowed is true where a key may begin: at the start of a line, in a fresh bracket.
	keyAllowed bool
}

// possibleKey is where a key may have begun.
type possibleKey struct {
	possible bool
	required bool // it begins where the keys of its block do, so that it cannot be anything else
	number   int  // of its first token
	at       mark
}

// maxKey is how many characters a key may have.
const maxKey = 1024

func newScanner(src *source) *scanner {
	return &scanner{
		src: src, text: src.text, at: mark{Pos: Pos{1, 1}}, indent: -1, keys: make([]possibleKey, 1), keyAllowed: true,
	}
}

// syntaxError is what is wrong with the text.
type syntaxError struct {
	id                  string
	at                  Pos
	message, suggestion string
}

func (e *syntaxError) Error() string { return e.message }

func bad(at mark, message, suggestion string) error {
	return &syntaxError{badSyntax, at.Pos, message, suggestion}
}

// peek is the next token.
func (s *scanner) peek() (token, error) {
	for {
		if err := s.forgetStaleKeys(); err != nil {
			return token{}, err
		}
		mayBeKey := s.live < len(s.keys) && s.keys[s.live].number == s.taken
		if len(s.queue) > s.head && !mayBeKey {
			return s.queue[s.head], nil
		}
		if err := s.fetch(); err != nil {
			return token{}, err
		}
	}
}

// take removes the token that peek gave.
func (s *scanner) take() {
	s.taken++
	if s.head++; s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	}
}

func (s *scanner) emit(kind tokenKind, start mark) {
	s.queue = append(s.queue, token{kind: kind, start: start, end: s.at})
}

// insert puts a token before the one with that number.
func (s *scanner) insert(number int, t token) {
	i := s.head + number - s.taken
	s.queue = append(s.queue, token{})
	copy(s.queue[i+1:], s.queue[i:])
	s.queue[i] = t
}

func (s *scanner) flow() bool { return len(s.keys) > 1 }

// forgetStaleKeys gives up the keys that cannot get their colon any more: a key ends on its line. Keys of outer brackets are older,
// so that the search ends at the first one that is still good.
func (s *scanner) forgetStaleKeys() error {
	for ; s.live < len(s.keys); s.live++ {
		k := &s.keys[s.live]
		if k.possible && k.at.Line == s.at.Line && s.at.Col-k.at.Col <= maxKey {
			return nil
		}
		if err := s.dropKey(k); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) dropKey(k *possibleKey) error {
	if k.possible && k.required {
		return s.noColon(k.at)
	}
	k.possible = false
	return nil
}

// noteKey remembers that the token to come may begin a key.
func (s *scanner) noteKey() error {
	if !s.keyAllowed {
		return nil
	}
	if err := s.endKey(); err != nil {
		return err
	}
	top := len(s.keys) - 1
	s.keys[top] = possibleKey{
		possible: true, required: !s.flow() && s.indent == s.at.Col-1, number: s.taken + len(s.queue) - s.head, at: s.at,
	}
	s.live = min(s.live, top)
	return nil
}

// endKey gives up the possible key of the innermost bracket.
func (s *scanner) endKey() error { return s.dropKey(&s.keys[len(s.keys)-1]) }

// openBlock begins a block at a column if that is deeper than the block around it.
func (s *scanner) openBlock(at mark, number int, kind tokenKind) error {
	if s.flow() || s.indent >= at.Col-1 {
		return nil
	}
	if len(s.indents) >= maxDepth {
		return s.tooDeep()
	}
	s.indents = append(s.indents, s.indent)
	s.indent = at.Col - 1
	t := token{kind: kind, start: at, end: at}
	if number < 0 {
		s.queue = append(s.queue, t)
	} else {
		s.insert(number, t)
	}
	return nil
}

// closeBlocks ends the blocks that are deeper than a column, counted from 0.
func (s *scanner) closeBlocks(column int) {
	if s.flow() {
		return
	}
	for s.indent > column {
		s.emit(blockEnd, s.at)
		s.indent = s.indents[len(s.indents)-1]
		s.indents = s.indents[:len(s.indents)-1]
	}
}

func (s *scanner) tooDeep() error {
	return &syntaxError{tooDeep, s.at.Pos, "lists and maps are nested more than 1,000 deep", "check that this is the appspec file"}
}

// rest is the text from here on.
func (s *scanner) rest() string { return s.text[s.at.offset:] }

// char is the byte n bytes from here, 0 at the end. The text itself has no zero bytes.
func (s *scanner) char(n int) byte {
	if i := s.at.offset + n; i < len(s.text) {
		return s.text[i]
	}
	return 0
}

func (s *scanner) blank(n int) bool { c := s.char(n); return c == ' ' || c == '\t' }

// lineEnd is the length of the line break n bytes from here; ok is true there and at the end of the text.
func (s *scanner) lineEnd(n int) (length int, ok bool) {
	if s.at.offset+n >= len(s.text) {
		return 0, true
	}
	length = lineBreak(s.text[s.at.offset+n:])
	return length, length > 0
}

// character is the one n bytes from here as text.
func (s *scanner) character(n int) string {
	rest := s.text[min(s.at.offset+n, len(s.text)):]
	_, size := utf8.DecodeRuneInString(rest)
	return rest[:size]
}

// gap is true before a blank, a line break, or the end.
func (s *scanner) gap(n int) bool {
	if s.blank(n) {
		return true
	}
	_, ok := s.lineEnd(n)
	return ok
}

// skip passes that many characters, none of them a line break.
func (s *scanner) skip(chars int) {
	for ; chars > 0 && s.at.offset < len(s.text); chars-- {
		_, size := utf8.DecodeRuneInString(s.rest())
		s.at.offset += size
		s.at.Col++
	}
}

// skipBreak passes a line break of that length and gives its text in normal form.
func (s *scanner) skipBreak(length int) string {
	if length == 0 {
		return ""
	}
	text := s.rest()[:length]
	s.at.offset += length
	s.at.Pos = Pos{s.at.Line + 1, 1}
	if length == 3 {
		return text
	}
	return "\n"
}

// skipLineRest passes blanks and a comment; ok is true if the line then ends.
func (s *scanner) skipLineRest() (ok bool) {
	for s.blank(0) {
		s.skip(1)
	}
	s.skipComment()
	_, ok = s.lineEnd(0)
	return ok
}

func (s *scanner) skipComment() {
	if s.char(0) != '#' {
		return
	}
	for {
		if _, end := s.lineEnd(0); end {
			return
		}
		s.skip(1)
	}
}

// toNextToken passes blanks, comments and line breaks. A tab separates, but where a key may begin it would be indentation, which it
// cannot be.
func (s *scanner) toNextToken() {
	for {
		if s.at.Col == 1 && strings.HasPrefix(s.rest(), "\ufeff") {
			s.skip(1)
		}
		for s.char(0) == ' ' || s.char(0) == '\t' && (s.flow() || !s.keyAllowed) {
			s.skip(1)
		}
		s.skipComment()
		length, _ := s.lineEnd(0)
		if length == 0 {
			return
		}
		s.skipBreak(length)
		if !s.flow() {
			s.keyAllowed = true
		}
	}
}

// atMarker is true before --- or ... at the beginning of a line.
func (s *scanner) atMarker(marker string) bool {
	return s.at.Col == 1 && strings.HasPrefix(s.rest(), marker) && s.gap(3)
}

// noColon is about a text that stands where a key has to.
func (s *scanner) noColon(at mark) error {
	line := s.src.line(at.Line)
	rest := line[min(at.offset-s.src.lineStart(at.Line), len(line)):]
	if name, value, ok := strings.Cut(rest, ":"); ok && value != "" && isName(name) {
		return bad(at, "a key needs a space after its colon", "write "+clip(name, 60)+": "+clip(value, 60))
	}
	return bad(at, "this is where a key has to stand, and it has no colon", "write key: value, or indent the line if it belongs to the one before")
}

func isName(s string) bool {
	for i := range len(s) {
		if !isNameChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// strayColon is about a colon that makes a key where none can be.
func (s *scanner) strayColon() error {
	return bad(s.at, "a key cannot stand here", "check the indentation of this line and the one before; a value that contains a colon and a space needs quotes")
}
