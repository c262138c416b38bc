package appspec

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// The tags that make a difference, as the reference has them. All others are as good as none.
const yamlTag = "tag:yaml.org,2002:"

var (
	textTag   = pattern(`^(?:!str|!ruby/string):?$|^tag:yaml\.org,2002:str$`)
	symbolTag = pattern(`^!ruby/sym`)
	// Objects of the reference's language, and the collections that are objects there.
	scalarObject = pattern(`^(?:!str|!ruby/string):.|` +
		`^!ruby/(?:object:(?:BigDecimal|DateTime|Complex|Rational)|encoding|class|module|regexp|range)$`)
	listObject = pattern(`^!(?:seq|ruby/array):`)
	mapObject  = pattern(`^!ruby/(?:struct|object|exception|array:|hash:|marshalable:|range$)|^!map:|` +
		`^(?:!|tag:yaml\.org,2002:)(?:set|omap)$|^(?:!str|!ruby/string)(?::|$)|^tag:yaml\.org,2002:str$`)
)

// value reads a node and all below it. Something the reference's reader refuses is refused wherever it stands, before any
// key is looked at.
func (r *reader) value(n *Node) *value {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case ListNode:
		return r.list(n)
	case MapNode:
		return r.mapping(n)
	case AliasNode:
		r.refuse(hasAlias, n.Start, len(n.Anchor)+1, fmt.Sprintf("the alias *%s is not allowed", clip(n.Anchor, 60)),
			"write the value out here, or put it in quotes if the * is meant")
		return &value{node: n}
	default:
		return r.scalar(n)
	}
}

func (r *reader) list(n *Node) *value {
	v := &value{kind: list, node: n, items: make([]*value, 0, len(n.Content))}
	if listObject().MatchString(n.Tag) {
		r.refuseTag(n)
	}
	for _, c := range n.Content {
		v.items = append(v.items, r.value(c))
	}
	if n.Tag != "!omap" && n.Tag != yamlTag+"omap" {
		return v
	}
	v.kind = mapping
	for i, item := range v.items {
		if item.kind != mapping || len(item.raw) == 0 {
			r.refuse(badNumber, n.Content[i].Start, 1, "an entry of an ordered map has to be a map of one key", "remove the tag "+clip(n.Tag, 60))
			continue
		}
		v.raw = append(v.raw, item.raw[0])
	}
	return v
}

func (r *reader) mapping(n *Node) *value {
	v := &value{kind: mapping, node: n, raw: make([]pair, 0, len(n.Content)/2)}
	if n.Tag != "!ruby/object:Hash" && mapObject().MatchString(n.Tag) {
		r.refuseTag(n)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v.raw = append(v.raw, pair{r.value(n.Content[i]), r.value(n.Content[i+1])})
	}
	return v
}

func (r *reader) scalar(n *Node) *value {
	switch {
	case n.Tag == "" && n.Style != Plain, textTag().MatchString(n.Tag):
		return &value{kind: text, node: n, text: n.Value}
	case n.Tag == "", n.Tag == "!": // ! makes a quoted scalar a plain one
		return r.resolve(n)
	case n.Tag == "!binary", n.Tag == yamlTag+"binary":
		return &value{kind: text, node: n, text: unbase64(n.Value)}
	case symbolTag().MatchString(n.Tag):
		return &value{kind: symbol, node: n, text: n.Value}
	case scalarObject().MatchString(n.Tag):
		r.refuseTag(n)
		return &value{kind: text, node: n, text: n.Value}
	case n.Tag == "!float", n.Tag == yamlTag+"float":
		return r.taggedFloat(n)
	default:
		return r.resolve(n)
	}
}

func (r *reader) taggedFloat(n *Node) *value {
	v := r.resolve(n)
	var f float64
	ok := false
	switch v.kind {
	case float:
		f, ok = v.number.float, true
	case integer:
		f, ok = parseFloat(v.number.integer.String())
	case text:
		f, ok = parseFloat(strings.ReplaceAll(trim(v.text), "_", ""))
	}
	if !ok {
		r.refuse(badNumber, n.Start, r.src.tokenLen(n.Start), shown(n.Value)+" is tagged as a number and is none", "remove the tag")
	}
	return &value{kind: float, node: n, text: n.Value, number: &number{float: f}}
}

func (r *reader) resolve(n *Node) *value {
	v, why := resolve(n.Value)
	v.node = n
	switch why {
	case isTime:
		r.refuse(disallowed, n.Start, r.src.tokenLen(n.Start), n.Value+" is a date in YAML and not allowed",
			"put it in quotes: "+shown(n.Value))
	case notNumber:
		r.refuse(badNumber, n.Start, r.src.tokenLen(n.Start), shown(n.Value)+" has the form of a number and is none",
			"put it in quotes: "+shown(n.Value))
	}
	return &v
}

func (r *reader) refuseTag(n *Node) {
	r.refuse(disallowed, n.Start, r.src.tokenLen(n.Start), fmt.Sprintf("the tag %s is not allowed", clip(n.Tag, 60)), "remove it")
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
