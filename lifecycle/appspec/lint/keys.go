package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"slipway/lifecycle/appspec"
)

// The keys that mean something, by the kind of map.
var (
	topKeys        = []string{"version", "os", "files", "hooks", "permissions", "file_exists_behavior"}
	scriptKeys     = []string{"location", "timeout", "runas", "sudo"}
	fileKeys       = []string{"source", "destination"}
	permissionKeys = []string{"object", "pattern", "except", "type", "owner", "group", "mode", "acls", "context"}
	contextKeys    = []string{"name", "type", "range"}
)

// keys looks at the keys of every map that has a meaning.
func (l *linter) keys(root *appspec.Node) {
	l.known(root, "at the top level", topKeys)
	l.duplicates(root, "the file")
	if hooks := child(root, "hooks"); hooks != nil && hooks.Kind == appspec.MapNode {
		l.duplicates(hooks, "hooks")
		for name, event := range pairs(hooks) {
			for i, script := range items(event) {
				l.known(script, fmt.Sprintf("in script %d of %s", i+1, shown(scalar(name))), scriptKeys)
				l.duplicates(script, "a script")
			}
		}
	}
	files := child(root, "files")
	for i, entry := range items(files) {
		l.known(entry, fmt.Sprintf("in entry %d of files", i+1), fileKeys)
		l.duplicates(entry, "an entry of files")
	}
	l.overwrite(root, files)
	for i, entry := range items(child(root, "permissions")) {
		l.known(entry, fmt.Sprintf("in entry %d of permissions", i+1), permissionKeys)
		l.duplicates(entry, "an entry of permissions")
		if context := child(entry, "context"); context != nil {
			l.known(context, fmt.Sprintf("in the context of entry %d of permissions", i+1), contextKeys)
			l.duplicates(context, "a context")
		}
	}
	for _, name := range []string{"files", "permissions"} {
		if section := child(root, name); section != nil && section.Kind == appspec.MapNode && len(section.Content) == 0 {
			l.add(l.at(mapForList, section, name+" is an empty map; it has to be a list", "write [] or remove the key"))
		}
	}
}

// known finds the keys of a map that mean nothing there.
func (l *linter) known(n *appspec.Node, where string, known []string) {
	var others map[string]int
	for k, v := range pairs(n) {
		if k.Kind != appspec.ScalarNode || k.Value == "<<" || slices.Contains(known, k.Value) {
			continue
		}
		if others == nil {
			others = rivals(n, known)
		}
		l.unknown(others, k, v, where, known)
	}
}

func (l *linter) unknown(others map[string]int, k, v *appspec.Node, where string, known []string) {
	name := k.Value
	meant := certain(name, known)
	switch {
	case isEvent(name):
		return // events has more to say
	case slices.Equal(known, fileKeys) && isOverwrite(name):
		return // so has overwrite
	case meant != "":
		if l.full(misspeltKey) {
			return
		}
		f := l.at(misspeltKey, k, fmt.Sprintf("%s %s means nothing and is ignored", shown(name), where), fmt.Sprintf("did you mean %s?", meant))
		if others[meant] == 1 {
			f.edits = l.respell(k, meant)
		} else {
			f.Suggestion = fmt.Sprintf("did you mean %s, for which there is another key as well? remove one of them", meant)
		}
		l.add(f)
	case slices.Equal(known, topKeys) && name == "Resources", slices.Equal(known, topKeys) && name == "Hooks" && v.Kind == appspec.ListNode:
		l.add(l.at(otherPlatform, k, fmt.Sprintf("%s is of appspec files for Lambda and ECS", name), ""))
	case elsewhere(name, known) != "":
		l.add(l.at(misplacedKey, k, fmt.Sprintf("%s %s means nothing and is ignored", shown(name), where), "it belongs "+elsewhere(name, known)))
	default:
		if l.full(unknownKey) {
			return
		}
		suggestion := "remove it; there are: " + strings.Join(known, ", ")
		if near(name, "exclude") {
			suggestion = "remove it, and leave the files out of the bundle: nothing can be excluded from an installation"
		}
		l.add(l.at(unknownKey, k, fmt.Sprintf("%s %s means nothing and is ignored", shown(name), where), suggestion))
	}
}

// elsewhere says where a key belongs that is unknown where it stands, "" if nowhere.
func elsewhere(name string, known []string) string {
	for _, place := range []struct {
		keys  []string
		where string
	}{
		{topKeys, "at the top level"},
		{scriptKeys, "into a script, beside its location"},
		{fileKeys, "into an entry of files"},
		{permissionKeys, "into an entry of permissions"},
	} {
		if slices.Contains(place.keys, name) && !slices.Equal(place.keys, known) {
			return place.where
		}
	}
	return ""
}

// respell writes another key in place of one. A merged or tagged key is left alone.
func (l *linter) respell(k *appspec.Node, name string) []edit {
	if k.Kind != appspec.ScalarNode || k.Style > appspec.DoubleQuoted || k.Tag != "" || k.Anchor != "" || k.Start.Line != k.End.Line {
		return nil
	}
	start, end := l.offset(k.Start), l.offset(k.End)
	if k.Style == appspec.Plain && l.doc.Text[start-l.base():end-l.base()] != k.Value {
		return nil
	}
	return []edit{{start, end, name}}
}

// base is how many bytes of the file stand before its text.
func (l *linter) base() int {
	if l.doc.BOM {
		return len(bom)
	}
	return 0
}

// offset is the byte of the file at a place.
func (l *linter) offset(p appspec.Pos) int { return l.base() + l.doc.Offset(p) }

// duplicates finds keys that a map has more than once.
func (l *linter) duplicates(n *appspec.Node, what string) {
	type pair struct{ key, value *appspec.Node }
	last := map[string]pair{}
	for k, v := range pairs(n) {
		if k.Kind != appspec.ScalarNode || k.Value == "<<" {
			continue
		}
		first := last[k.Value]
		last[k.Value] = pair{k, v}
		if first.key == nil || l.full(duplicateKey) {
			continue
		}
		f := l.at(duplicateKey, k, fmt.Sprintf("%s has %s twice: what line %d says is lost", what, shown(k.Value), first.key.Start.Line), "join the two, or remove one")
		if bytes.Equal(shape(nil, first.value), shape(nil, v)) {
			f.Severity, f.Message = warn, fmt.Sprintf("%s has %s twice, as on line %d", what, shown(k.Value), first.key.Start.Line)
		}
		l.add(f)
	}
}

func isOverwrite(name string) bool { return name == "overwrite" || near(name, "overwrite") }

// overwrite finds the key that so many files have and no agent reads.
func (l *linter) overwrite(root, files *appspec.Node) {
	all := true
	var found []*appspec.Node
	for _, entry := range items(files) {
		here := false
		for k, v := range pairs(entry) {
			if !isOverwrite(scalar(k)) {
				continue
			}
			is, _ := truth(v)
			here, all = true, all && is
			found = append(found, k)
		}
		all = all && here
	}
	if len(found) == 0 {
		return
	}
	behavior := child(root, "file_exists_behavior")
	already := scalar(behavior) == "OVERWRITE"
	var edits [][]edit
	if all && len(found) <= maxPerRule && (behavior == nil || already) {
		edits = l.moveOverwrite(root, found, !already)
	}
	for i, k := range found {
		if l.full(overwriteKey) {
			continue
		}
		f := l.at(overwriteKey, k, "overwrite in an entry of files means nothing and is ignored", "remove it and write file_exists_behavior: OVERWRITE at the top level")
		if already {
			f.Suggestion = "remove it: file_exists_behavior says so already"
		}
		if edits != nil {
			f.edits = edits[i]
		}
		l.add(f)
	}
}

// moveOverwrite removes the keys and says at the top level what they were meant to say; nil if that cannot be done by whole lines.
func (l *linter) moveOverwrite(root *appspec.Node, keys []*appspec.Node, say bool) (edits [][]edit) {
	for _, k := range keys {
		e := l.removeLine(k)
		if e == nil {
			return nil
		}
		edits = append(edits, e)
	}
	if !say {
		return edits
	}
	line := l.topLevel(root, "file_exists_behavior: OVERWRITE")
	if line == nil {
		return nil
	}
	edits[0] = append(line, edits[0]...)
	return edits
}

// removeLine removes a key with its value from a block map, if they have a line to themselves, comment included.
func (l *linter) removeLine(k *appspec.Node) []edit {
	text := l.doc.Text
	at := l.doc.Offset(k.Start)
	start := strings.LastIndexByte(text[:at], '\n') + 1
	end := strings.IndexByte(text[at:], '\n')
	if end < 0 {
		return nil
	}
	line := text[start : at+end]
	_, value, ok := strings.Cut(strings.TrimSpace(line), ":")
	value, _, _ = strings.Cut(value, " #")
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "true", "yes", "on":
	default:
		ok = false
	}
	if !ok || strings.TrimLeft(text[start:at], " ") != "" {
		return nil
	}
	return []edit{{l.base() + start, l.base() + at + end + 1, ""}}
}

// topLevel adds a line at the top level of a block map, behind os.
func (l *linter) topLevel(root *appspec.Node, line string) []edit {
	if root.Style != appspec.Block {
		return nil
	}
	for k, v := range pairs(root) {
		if scalar(k) != "os" || v.Kind != appspec.ScalarNode || k.Start.Line != v.End.Line || v.Style > appspec.DoubleQuoted {
			continue
		}
		text := l.doc.Text
		at := l.doc.Offset(v.End)
		n := strings.IndexByte(text[at:], '\n')
		if n < 0 {
			return nil
		}
		end := "\n"
		if strings.HasSuffix(text[:at+n], "\r") {
			end = "\r\n"
		}
		return []edit{{l.base() + at + n + 1, l.base() + at + n + 1, strings.Repeat(" ", k.Start.Col-1) + line + end}}
	}
	return nil
}
