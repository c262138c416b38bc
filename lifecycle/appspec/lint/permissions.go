package lint

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"slipway/lifecycle/appspec"
)

// maxPath is the longest path that the kernel takes.
const maxPath = 4096

// permissions looks at the entries of the permissions section.
func (l *linter) permissions(root *appspec.Node) {
	if l.os == "windows" {
		return
	}
	modes := map[appspec.Pos]*appspec.Node{}
	for _, entry := range items(child(root, "permissions")) {
		if m := child(entry, "mode"); m != nil {
			modes[m.Start] = m
		}
	}
	for i := range l.spec.Permissions {
		p := &l.spec.Permissions[i]
		l.defect(p.Defect)
		l.mode(p, modes[p.ModePos])
		l.matches(p)
		l.selection(p)
		if p.Context != nil && p.Context.Range == "" {
			l.add(l.place(noRange, p.ContextPos, 1, "the context has no range, over which version 1 of the official agent fails", "write range: s0"))
		}
	}
	l.objects()
	l.twice()
}

// objectOf is an entry's object as the agents see it.
func objectOf(p *appspec.Permission) string { return path.Clean(p.Object) }

// below reports whether a path lies below a folder.
func below(name, folder string) bool {
	return folder == "/" && name != "/" || len(name) > len(folder) && name[len(folder)] == '/' && strings.HasPrefix(name, folder)
}

// objects finds those that have nothing to do with what is installed.
func (l *linter) objects() {
	var targets []string
	for i := range l.spec.Files {
		d := l.spec.Files[i].Destination
		if !strings.HasPrefix(d, "/") || strings.Contains(d, "$") {
			return // where that is cannot be told
		}
		targets = append(targets, path.Clean(d))
	}
	slices.Sort(targets)
	targets = slices.Compact(targets)
	for i := range l.spec.Permissions {
		p := &l.spec.Permissions[i]
		o := objectOf(p)
		message := ""
		switch {
		case l.perRule[neverObject] >= maxPerRule:
		case !strings.HasPrefix(o, "/"):
			message = fmt.Sprintf("the object %s is not absolute: nothing is installed there", shown(p.Object))
		case len(targets) == 0:
			message = "the file installs nothing, so that no path has these permissions set"
		case !related(o, targets):
			message = fmt.Sprintf("nothing is installed at, above or below %s: the entry is ignored", shown(p.Object))
		}
		if message != "" {
			l.add(l.object(neverObject, p, message, "name a path that the files section installs, or set the permissions in a script"))
		}
	}
}

// related reports whether the object lies at, above or below one of the sorted targets.
func related(object string, targets []string) bool {
	if object == "/" || targets[0] == "/" || len(object) > maxPath {
		return true
	}
	for dir := object; dir != "/"; dir = path.Dir(dir) {
		if _, ok := slices.BinarySearch(targets, dir); ok {
			return true
		}
	}
	i, _ := slices.BinarySearch(targets, object+"/")
	return i < len(targets) && below(targets[i], object)
}

// object is about the object of an entry.
func (l *linter) object(id string, p *appspec.Permission, message, suggestion string) Finding {
	return l.place(id, p.ObjectPos, l.tokenWidth(p.ObjectPos, p.Object), message, suggestion)
}

func (l *linter) mode(p *appspec.Permission, n *appspec.Node) {
	if !p.ModeSet {
		return
	}
	if isPlain(n) && len(n.Value) > 1 && n.Value[0] == '0' && strings.Trim(n.Value, "01234567") == "" && !l.full(plainMode) {
		f := l.at(plainMode, n, fmt.Sprintf("mode: %s means mode %s here and in version 2 of the official agent, and %s", n.Value, p.Mode, inVersion1(n.Value)), "")
		write := p.Mode
		if strings.HasPrefix(write, "0") {
			write = "'" + write + "'"
		}
		f.Suggestion = "write mode: " + write
		if n.Anchor == "" {
			f.edits = []edit{{l.offset(n.Start), l.offset(n.End), write}}
		}
		l.add(f)
	}
	last := p.Mode[len(p.Mode)-1]
	if (last-'0')&2 != 0 && (len(p.Mode) < 4 || (p.Mode[0]-'0')&1 == 0) {
		l.add(l.place(worldWritable, p.ModePos, l.tokenWidth(p.ModePos, p.Mode), fmt.Sprintf("mode %s lets every user of the host write", p.Mode), ""))
	}
	if len(p.Mode) == 4 && (p.Mode[0]-'0')&6 != 0 && p.Applies("file") && (p.Owner != "" || p.Group != "") {
		l.add(l.place(losesSetID, p.ModePos, l.tokenWidth(p.ModePos, p.Mode), fmt.Sprintf("files lose the set-id bits of mode %s, because the owner is set after it", p.Mode), ""))
	}
}

// inVersion1 says what version 1 of the official agent does with a plain mode that has a leading zero.
func inVersion1(octal string) string {
	n, err := strconv.ParseUint(octal, 8, 32)
	decimal := fmt.Sprintf("%03d", n)
	if err != nil || len(decimal) > 4 || strings.Trim(decimal, "01234567") != "" {
		return "version 1 refuses the file over it"
	}
	return "mode " + decimal + " in version 1"
}

// matches finds patterns and excepts that no name matches.
func (l *linter) matches(p *appspec.Permission) {
	say := func(id string, at appspec.Pos, message, suggestion string) {
		f := l.place(id, at, 1, message, suggestion)
		f.Len = max(len([]rune(strings.TrimRight(f.Line, " \t")))-at.Col+1, 1)
		l.add(f)
	}
	pattern := p.Pattern
	switch {
	case pattern == "**":
	case pattern == "":
		say(neverPattern, p.PatternPos, "the pattern is empty and matches nothing", "remove it to select everything below the object")
	case strings.Contains(pattern, "/"):
		suggestion := "write the pattern for the name alone, and make the folder the object"
		if dir, rest, ok := strings.Cut(pattern, "/"); ok && !strings.Contains(dir, "*") && dir != "" {
			suggestion = fmt.Sprintf("write object: %s and pattern: %q", path.Join(p.Object, dir), rest)
		} else if dir == "**" {
			suggestion = "write ** for everything below the object; there is no pattern for names at any depth"
		}
		say(neverPattern, p.PatternPos, fmt.Sprintf("the pattern %s has a slash and matches nothing", shown(pattern)), suggestion)
	case strings.ContainsAny(pattern, "?[]{}"):
		say(neverPattern, p.PatternPos, fmt.Sprintf("in the pattern %s only * stands for other characters", shown(pattern)), "write * or the name itself")
	}
	for _, except := range p.Except {
		if strings.Contains(except, "/") && !l.full(neverExcept) {
			say(neverExcept, p.ExceptPos, fmt.Sprintf("the except %s has a slash and excludes nothing", shown(except)), "write the name of a child of the object: "+shown(path.Base(except)))
		}
	}
}

// selection finds entries that do nothing.
func (l *linter) selection(p *appspec.Permission) {
	all := slices.ContainsFunc(p.Except, func(e string) bool { return strings.Trim(e, "*") == "" && e != "" || e == p.Pattern })
	switch {
	case len(p.Types) == 0:
		l.add(l.object(selectsNone, p, "the list of types is empty: the entry selects nothing", "remove type, or write [file], [directory] or both"))
	case all && p.Pattern != "**":
		l.add(l.object(selectsNone, p, "except excludes all that the pattern selects", "remove except, or name less in it"))
	}
	if p.Defect == nil && p.Owner == "" && p.Group == "" && !p.ModeSet && !p.ACLsSet && p.Context == nil {
		l.add(l.object(setsNothing, p, "the entry sets neither owner, group, mode, acls nor context", "say what is to be set, or remove the entry"))
	}
}

// maxSame is with how many entries for the same object one is compared.
const maxSame = 20

// twice finds entries that select the same paths, as far as the text tells. Entries with an except are left to a look at the bundle.
func (l *linter) twice() {
	byObject := map[string][]*appspec.Permission{}
	for i := range l.spec.Permissions {
		p := &l.spec.Permissions[i]
		o := objectOf(p)
		if len(p.Except) > 0 || len(o) > maxPath {
			continue
		}
		for _, q := range byObject[o] {
			if p.Pattern == q.Pattern && meet(p, q) != "" && !l.full(twiceChosen) {
				l.chosen(p, q, p.Pattern == "**" && meet(p, q) == "file")
				break
			}
		}
		if len(byObject[o]) < maxSame {
			byObject[o] = append(byObject[o], p)
		}
	}
	for i := range l.spec.Permissions {
		p := &l.spec.Permissions[i]
		o := objectOf(p)
		if len(p.Except) > 0 || len(o) > maxPath || o == "/" || !strings.HasPrefix(o, "/") {
			continue
		}
		l.nested(p, o, byObject)
	}
}

func (l *linter) nested(p *appspec.Permission, o string, byObject map[string][]*appspec.Permission) {
	for dir := path.Dir(o); ; dir = path.Dir(dir) {
		for _, q := range byObject[dir] {
			if q.Pattern == "**" && meet(p, q) != "" {
				if !l.full(twiceChosen) {
					l.chosen(p, q, p.Pattern == "**" && meet(p, q) == "file" && l.installsBelow(o))
				}
				return
			}
		}
		if dir == "/" {
			return
		}
	}
}

// installsBelow reports whether a destination is the folder or lies below it, so that what is installed there is below it for certain.
func (l *linter) installsBelow(folder string) bool {
	return slices.ContainsFunc(l.spec.Files, func(f appspec.File) bool {
		d := path.Clean(f.Destination)
		return d == folder || below(d, folder)
	})
}

// meet is a type that both entries select, "file" before "directory", "" if there is none.
func meet(p, q *appspec.Permission) string {
	for _, typ := range []string{"file", "directory"} {
		if p.Applies(typ) && q.Applies(typ) {
			return typ
		}
	}
	return ""
}

func (l *linter) chosen(p, q *appspec.Permission, surely bool) {
	f := l.object(twiceChosen, p, fmt.Sprintf("the entry of line %d selects the same paths: the Install step fails", q.Pos.Line), "make one entry of the two, or let them select different types or names")
	if !surely {
		f.Severity = warn
		f.Message = fmt.Sprintf("what the entry of line %d selects as well fails the Install step", q.Pos.Line)
	}
	l.add(f)
}
