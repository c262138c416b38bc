package appspec

import (
	"encoding/base64"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// quoted is every style in which a scalar is text whatever it says.
const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// value reads a node and all below it. Something the reference's reader refuses is refused wherever it stands, before any
// key is looked at.
func (r *reader) value(n *yaml.Node) *value {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.SequenceNode:
		return r.sequence(n)
	case yaml.MappingNode:
		return r.mapping(n)
	case yaml.AliasNode:
		r.refuse(hasAlias, at(n), len(n.Value)+1, fmt.Sprintf("the alias *%s is not allowed", n.Value),
			"write the value out here, or put it in quotes if the * is meant")
		return &value{node: n}
	default:
		return r.scalar(n)
	}
}

func at(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

// tag is the explicit tag of a node, empty if it has none.
func tag(n *yaml.Node) string {
	if n.Style&yaml.TaggedStyle == 0 {
		return ""
	}
	return n.Tag
}

func (r *reader) sequence(n *yaml.Node) *value {
	v := &value{kind: list, node: n, items: make([]*value, 0, len(n.Content))}
	t := tag(n)
	if strings.HasPrefix(t, "!seq:") || strings.HasPrefix(t, "!ruby/array:") {
		r.refuseTag(n, t)
	}
	for _, c := range n.Content {
		v.items = append(v.items, r.value(c))
	}
	if t == "!omap" || t == "!!omap" {
		v.kind = mapping
		for i, item := range v.items {
			if c := n.Content[i]; len(c.Content) < 2 || item.kind != mapping || len(item.raw) == 0 {
				r.refuse(badNumber, at(c), 1, "an entry of an ordered map has to be a map of one key", "remove the tag "+t)
				continue
			}
			v.raw = append(v.raw, item.raw[0])
		}
	}
	return v
}

func (r *reader) mapping(n *yaml.Node) *value {
	v := &value{kind: mapping, node: n, raw: make([]pair, 0, len(n.Content)/2)}
	switch t := tag(n); {
	case t == "!set", t == "!!set", t == "!omap", t == "!!omap", strings.HasPrefix(t, "!map:"):
		r.refuseTag(n, t)
	case t == "!ruby/object:Hash":
	case strings.HasPrefix(t, "!ruby/"), strings.HasPrefix(t, "!str"), t == "!!str":
		r.refuseTag(n, t)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v.raw = append(v.raw, pair{r.value(n.Content[i]), r.value(n.Content[i+1])})
	}
	return v
}

func (r *reader) scalar(n *yaml.Node) *value {
	t := tag(n)
	if t == "" {
		if n.Style&quoted != 0 && !r.hasBareTag(n) {
			return &value{kind: text, node: n, text: n.Value}
		}
		return r.resolve(n)
	}
	switch {
	case t == "!!str", t == "!str", t == "!ruby/string", t == "!str:", t == "!ruby/string:":
		return &value{kind: text, node: n, text: n.Value}
	case t == "!!binary", t == "!binary":
		return &value{kind: text, node: n, text: unbase64(n.Value)}
	case strings.HasPrefix(t, "!ruby/sym"):
		return &value{kind: symbol, node: n, text: n.Value}
	case strings.HasPrefix(t, "!ruby/"), strings.HasPrefix(t, "!str:"):
		r.refuseTag(n, t)
		return &value{kind: text, node: n, text: n.Value}
	}
	v := r.resolve(n)
	if t != "!!float" && t != "!float" {
		return v
	}
	f, ok := v.number.float, v.kind == float
	switch v.kind {
	case integer:
		f, ok = parseFloat(v.number.integer.String())
	case text:
		f, ok = parseFloat(strings.ReplaceAll(trim(v.text), "_", ""))
	}
	if !ok {
		r.refuse(badNumber, at(n), r.src.tokenLen(at(n)), shown(n.Value)+" is tagged as a number and is none", "remove the tag "+t)
	}
	return &value{kind: float, node: n, text: n.Value, number: number{float: f}}
}

// hasBareTag is true for a node with the tag "!", which the YAML package does not report: it makes a quoted scalar a plain one.
func (r *reader) hasBareTag(n *yaml.Node) bool {
	rest := r.src.text[r.cursor.seek(at(n)):]
	return len(rest) > 1 && rest[0] == '!' && strings.IndexByte(" \t\r\n", rest[1]) >= 0
}

func (r *reader) resolve(n *yaml.Node) *value {
	v, why := resolve(n.Value)
	v.node = n
	switch why {
	case isTime:
		r.refuse(disallowed, at(n), r.src.tokenLen(at(n)), fmt.Sprintf("%s is a date in YAML and not allowed", n.Value),
			fmt.Sprintf("put it in quotes: \"%s\"", n.Value))
	case notNumber:
		r.refuse(badNumber, at(n), r.src.tokenLen(at(n)), shown(n.Value)+" has the form of a number and is none",
			fmt.Sprintf("put it in quotes: \"%s\"", n.Value))
	}
	return &v
}

func (r *reader) refuseTag(n *yaml.Node, t string) {
	r.refuse(disallowed, at(n), r.src.tokenLen(at(n)), fmt.Sprintf("the tag %s is not allowed", t), "remove it")
}

// unbase64 reads base64 as leniently as the reference does: it skips what does not belong and stops at the padding.
func unbase64(s string) string {
	s, _, _ = strings.Cut(s, "=")
	s = strings.Map(func(c rune) rune {
		if c == '+' || c == '/' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			return c
		}
		return -1
	}, s)
	if len(s)%4 == 1 {
		s = s[:len(s)-1]
	}
	b, _ := base64.RawStdEncoding.DecodeString(s)
	return string(b)
}
