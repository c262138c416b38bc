package appspec

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode"
)

// kind is what a value is once YAML 1.1 has been applied to it.
type kind uint8

const (
	null kind = iota
	boolean
	integer
	float
	text
	symbol // :name, which the reference's YAML reader turns into a name of its own kind
	list
	mapping
)

// value is one node of the file under the reference's reading.
type value struct {
	kind kind
	node *Node // nil for a value that does not stand in the file by itself
	// text is the content of text and symbol; for every other scalar it is what the file has.
	text   string
	truth  bool
	number *number // of integer and float
	items  []*value
	raw    []pair // of a mapping as written, duplicates and merge keys included
	read   *entries
}

// entries are what the pairs of a mapping come to.
type entries struct {
	pairs    []pair
	index    map[key]int
	identity *key // of the mapping, once asked for
}

// pair is one entry of a mapping.
type pair struct {
	key, value *value
}

// key identifies a mapping's key: the text of a text key, a digest of any other.
type key struct {
	kind kind
	id   string
}

func (v *value) isNull() bool { return v == nil || v.kind == null }

// isFalse is the reference's notion of an absent section: null or false.
func (v *value) isFalse() bool { return v.isNull() || v.kind == boolean && !v.truth }

func (v *value) isText() bool { return v != nil && v.kind == text }

// pairs are the entries of a mapping: the last of several equal keys wins and stands where the first stood, and a mapping
// under a plain << is merged in.
func (v *value) pairs() []pair {
	if v.read != nil {
		return v.read.pairs
	}
	v.read = &entries{index: make(map[key]int, len(v.raw))}
	for _, p := range v.raw {
		if p.key.kind == text && p.key.text == "<<" && v.merge(p.value) {
			continue
		}
		v.set(p)
	}
	return v.read.pairs
}

func (v *value) merge(from *value) bool {
	switch from.kind {
	case mapping:
		for _, p := range from.pairs() {
			v.set(p)
		}
		return true
	case list:
		for _, item := range from.items {
			if item.kind != mapping {
				return false
			}
		}
		for i := len(from.items) - 1; i >= 0; i-- {
			v.merge(from.items[i])
		}
		return true
	default:
		return false
	}
}

func (v *value) set(p pair) {
	k := p.key.identity()
	if i, ok := v.read.index[k]; ok {
		v.read.pairs[i].value = p.value
		return
	}
	v.read.index[k] = len(v.read.pairs)
	v.read.pairs = append(v.read.pairs, p)
}

// get is the value of a text key of a mapping, nil if there is none.
func (v *value) get(name string) *value {
	v.pairs()
	if i, ok := v.read.index[key{text, name}]; ok {
		return v.read.pairs[i].value
	}
	return nil
}

// at is what the reference's v[name] gives. It differs from get for text, of which it gives the part equal to name: the entry
// "source destination" of files has both. ok is false where that expression is an error.
func (v *value) at(name string) (_ *value, ok bool) {
	switch v.kind {
	case mapping:
		return v.get(name), true
	case text, symbol:
		if strings.Contains(v.text, name) {
			return &value{kind: text, node: v.node, text: name}, true
		}
		return nil, true
	default:
		return nil, false
	}
}

// each is what the reference's v.each gives: the items of a list, the entries of a mapping as lists of two. ok is false where
// that is an error.
func (v *value) each() (_ []*value, ok bool) {
	switch v.kind {
	case list:
		return v.items, true
	case mapping:
		pairs := v.pairs()
		items := make([]*value, len(pairs))
		for i, p := range pairs {
			items[i] = &value{kind: list, node: p.key.node, items: []*value{p.key, p.value}}
		}
		return items, true
	default:
		return nil, false
	}
}

// identity makes equal keys equal. Collections are identified by a digest of their parts, so that no nesting makes it expensive.
func (v *value) identity() key {
	switch v.kind {
	case text, symbol:
		return key{v.kind, v.text}
	case boolean:
		return key{v.kind, strconv.FormatBool(v.truth)}
	case integer, float:
		return key{v.kind, v.number.String()}
	case null:
		return key{}
	case mapping:
		// Kept, because a mapping that is a key of a key of a key would be asked at every level.
		v.pairs()
		if v.read.identity == nil {
			v.read.identity = new(v.digest())
		}
		return *v.read.identity
	default:
		return v.digest()
	}
}

// digest is the identity of a collection.
func (v *value) digest() key {
	sum := sha256.New()
	add := func(part *value) {
		k := part.identity()
		var head [9]byte
		head[0] = byte(k.kind)
		binary.BigEndian.PutUint64(head[1:], uint64(len(k.id)))
		sum.Write(head[:])
		sum.Write([]byte(k.id))
	}
	for _, item := range v.items {
		add(item)
	}
	if v.kind == mapping {
		for _, p := range v.pairs() {
			add(p.key)
			add(p.value)
		}
	}
	return key{v.kind, string(sum.Sum(nil))}
}

// String is the reference's to_s, by which it turns any value into text where it wants text: a list becomes ["a.sh"].
func (v *value) String() string {
	switch v.kind {
	case null:
		return ""
	case text, symbol:
		return v.text
	default:
		var b strings.Builder
		v.inspect(&b)
		return b.String()
	}
}

// inspect is how a value looks inside a list or mapping that is turned into text.
func (v *value) inspect(b *strings.Builder) {
	switch v.kind {
	case null:
		b.WriteString("nil")
	case boolean:
		b.WriteString(strconv.FormatBool(v.truth))
	case integer, float:
		b.WriteString(v.number.String())
	case text:
		quote(b, v.text)
	case symbol:
		b.WriteByte(':')
		if isBareSymbol(v.text) {
			b.WriteString(v.text)
		} else {
			quote(b, v.text)
		}
	case list:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			item.inspect(b)
		}
		b.WriteByte(']')
	case mapping:
		b.WriteByte('{')
		for i, p := range v.pairs() {
			if i > 0 {
				b.WriteString(", ")
			}
			p.key.inspect(b)
			b.WriteString("=>")
			p.value.inspect(b)
		}
		b.WriteByte('}')
	}
}

func isBareSymbol(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

// escapes are the characters that have a letter of their own in a quoted text.
var escapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\v': `\v`, '\b': `\b`, '\a': `\a`, 0x1b: `\e`,
}

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i, r := range s {
		switch esc, ok := escapes[r]; {
		case ok:
			b.WriteString(esc)
		case r == '#' && i+1 < len(s) && strings.IndexByte("{$@", s[i+1]) >= 0:
			b.WriteString(`\#`)
		case unicode.IsPrint(r), unicode.In(r, unicode.Cf, unicode.Co):
			b.WriteRune(r)
		case r < 0x10000:
			b.WriteString(`\u`)
			b.WriteString(strings.ToUpper(strconv.FormatInt(int64(r)+0x10000, 16)[1:]))
		default:
			b.WriteString(`\u{`)
			b.WriteString(strings.ToUpper(strconv.FormatInt(int64(r), 16)))
			b.WriteByte('}')
		}
	}
	b.WriteByte('"')
}

// trim removes what the reference's strip removes: ASCII white space and NUL, on both sides.
func trim(s string) string { return strings.Trim(s, "\x00\t\n\v\f\r ") }
