package lint

import (
	"iter"
	"strings"

	"github.com/agext/levenshtein"

	"slipway/lifecycle/appspec"
)

// pairs walks the keys and values of a map, nothing for any other node.
func pairs(n *appspec.Node) iter.Seq2[*appspec.Node, *appspec.Node] {
	return func(yield func(k, v *appspec.Node) bool) {
		if n == nil || n.Kind != appspec.MapNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// items walks the entries of a list, nothing for any other node.
func items(n *appspec.Node) iter.Seq2[int, *appspec.Node] {
	return func(yield func(i int, v *appspec.Node) bool) {
		if n == nil || n.Kind != appspec.ListNode {
			return
		}
		for i, item := range n.Content {
			if !yield(i, item) {
				return
			}
		}
	}
}

// child is the value of a key, the last if there are several, nil if there is none.
func child(n *appspec.Node, name string) (last *appspec.Node) {
	for k, v := range pairs(n) {
		if k.Kind == appspec.ScalarNode && k.Value == name {
			last = v
		}
	}
	return last
}

// scalar is the content of a scalar, "" for any other node.
func scalar(n *appspec.Node) string {
	if n == nil || n.Kind != appspec.ScalarNode {
		return ""
	}
	return n.Value
}

// isPlain reports whether a scalar is written without quotes and without a tag.
func isPlain(n *appspec.Node) bool {
	return n != nil && n.Kind == appspec.ScalarNode && n.Style == appspec.Plain && n.Tag == ""
}

// isNull reports whether a node has no value.
func isNull(n *appspec.Node) bool {
	if n == nil {
		return true
	}
	if !isPlain(n) {
		return false
	}
	switch strings.ToLower(n.Value) {
	case "", "~", "null":
		return true
	}
	return false
}

// truth is what YAML 1.1 makes of a plain scalar that is a boolean; ok is false for everything else.
func truth(n *appspec.Node) (is, ok bool) {
	if !isPlain(n) {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "yes", "true", "on":
		return true, true
	case "no", "false", "off":
		return false, true
	}
	return false, false
}

// certain is the one name that a person meant who wrote another; "" if there is no telling, or if two are equally near.
func certain(written string, names []string) (meant string) {
	least := maxSlips + 1
	for _, name := range names {
		if written == name {
			return ""
		}
		switch n := slips(written, name); {
		case n < least:
			meant, least = name, n
		case n == least:
			meant = ""
		}
	}
	if least > maxSlips {
		return ""
	}
	return meant
}

// near reports whether a may be name with a slip of the pen.
func near(a, name string) bool { return slips(a, name) <= maxSlips }

// The shortest names of which one and two letters may be wrong: of a short name half would be a guess.
const (
	oneWrong = 4
	twoWrong = 7
	maxSlips = 2
)

var joints = strings.NewReplacer("_", "", "-", "", " ", "")

// slips is how many letters make a of name, without regard to case and joints; two neighbours exchanged are one. It is more than maxSlips
// where there is no telling.
func slips(a, name string) int {
	if len(a) > 2*len(name)+2 {
		return maxSlips + 1
	}
	a, name = joints.Replace(strings.ToLower(a)), joints.Replace(strings.ToLower(name))
	switch d := levenshtein.Distance(a, name, nil); {
	case d == 0:
		return 0
	case a == "" || len(name) < oneWrong:
	case d == 1 || exchanged(a, name):
		return 1
	case d == 2 && len(name) >= twoWrong:
		return 2
	}
	return maxSlips + 1
}

// rivals counts, for each of the names, the keys of a map that seem to mean it.
func rivals(n *appspec.Node, names []string) map[string]int {
	all := map[string]int{}
	for k := range pairs(n) {
		if k.Kind != appspec.ScalarNode {
			continue
		}
		if meant := certain(k.Value, names); meant != "" {
			all[meant]++
		}
		all[k.Value]++
	}
	return all
}

// exchanged reports whether two neighbouring letters are exchanged and nothing else differs.
func exchanged(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i+1 < len(a); i++ {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// shown is a text as it may stand in a message: on one line and not too long.
func shown(s string) string {
	const most = 60
	if r := []rune(s); len(s) > most && len(r) > most {
		s = string(r[:most]) + "…"
	}
	return quoted(s)
}
