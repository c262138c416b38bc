package lint

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"slipway/lifecycle/appspec"
)

// eventLimit is what the service gives all scripts of an event together.
const eventLimit = time.Hour

// platform tells what a file is for that is not for this agent, or for nobody.
func (l *linter) platform(root *appspec.Node) {
	if l.os == "windows" {
		l.add(l.place(forWindows, l.spec.OSPos, len("windows"), "the file is for Windows hosts, where this agent does not run", ""))
	}
	if len(l.spec.Files) > 0 || child(root, "Resources") != nil {
		return
	}
	for _, h := range l.spec.Hooks {
		if len(h.Scripts) > 0 {
			return
		}
	}
	l.add(l.at(doesNothing, root.Content[0], "the file installs nothing and runs nothing", ""))
}

// hooks looks at the scripts.
func (l *linter) hooks(root *appspec.Node) {
	l.values(child(root, "hooks"))
	runs := map[string]string{}
	for i := range l.spec.Hooks {
		h := &l.spec.Hooks[i]
		l.sum(h)
		for j := range h.Scripts {
			s := &h.Scripts[j]
			l.location(s)
			l.user(s)
			l.again(runs, h.Name, s)
		}
	}
}

// values looks at how the values of scripts are written.
func (l *linter) values(hooks *appspec.Node) {
	for _, event := range pairs(hooks) {
		for _, script := range items(event) {
			for k, v := range pairs(script) {
				switch name := scalar(k); name {
				case "location", "runas":
					l.wantScalar(name, v)
				case "timeout":
					l.timeout(v)
				case "sudo":
					l.sudo(v)
				}
			}
		}
	}
}

func (l *linter) wantScalar(name string, v *appspec.Node) {
	if v.Kind == appspec.ListNode || v.Kind == appspec.MapNode {
		l.add(l.at(notScalar, v, fmt.Sprintf("%s is %s; it has to be a text", name, kindOf(v)), "write a single text"))
	}
}

func kindOf(v *appspec.Node) string {
	if v.Kind == appspec.ListNode {
		return "a list"
	}
	return "a map"
}

var plainNumber = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[1-9][0-9]*$`) })

func (l *linter) timeout(v *appspec.Node) {
	if isNull(v) || isPlain(v) && plainNumber().MatchString(v.Value) || l.full(oddTimeout) {
		return
	}
	read := ""
	for _, h := range l.spec.Hooks {
		for _, s := range h.Scripts {
			if s.TimeoutPos == v.Start {
				read = fmt.Sprintf(", read as %d seconds", int64(s.Timeout/time.Second))
			}
		}
	}
	f := l.at(oddTimeout, v, fmt.Sprintf("timeout is %s%s", shown(v.Value), read), "write whole seconds without quotes or unit, such as 300")
	if v.Kind == appspec.ScalarNode && v.Style <= appspec.DoubleQuoted && v.Tag == "" && plainNumber().MatchString(v.Value) {
		f.Severity = note // the same number for every agent but one, which refuses the file
		f.Message = fmt.Sprintf("timeout is %s in quotes, which version 2 of the official agent refuses", v.Value)
		f.Suggestion = "write it without quotes"
		f.edits = l.unquote(v)
	}
	l.add(f)
}

// unquote writes a value without its quotes.
func (l *linter) unquote(v *appspec.Node) []edit {
	if v.Anchor != "" || v.Start.Line != v.End.Line {
		return nil
	}
	return []edit{{l.offset(v.Start), l.offset(v.End), v.Value}}
}

func (l *linter) sudo(v *appspec.Node) {
	if _, ok := truth(v); ok || isNull(v) || l.os == "windows" {
		return
	}
	l.add(l.at(oddSudo, v, fmt.Sprintf("sudo is %s, which version 1 of the official agent and this one take for true", shown(v.Value)), ""))
}

// sum adds up what the scripts of an event may take.
func (l *linter) sum(h *appspec.EventHooks) {
	var said, all time.Duration
	var first appspec.Pos
	missing := 0
	for _, s := range h.Scripts {
		t := min(s.Timeout, 1000*eventLimit) // no overflow
		all += t
		if s.TimeoutPos == (appspec.Pos{}) {
			missing++
			continue
		}
		said += t
		if first == (appspec.Pos{}) && t > eventLimit {
			first = s.TimeoutPos
		}
	}
	if all <= eventLimit || l.full(longEvent) {
		return
	}
	seconds := int64(all / time.Second)
	f := l.place(longEvent, h.Pos, len([]rune(h.Name)), fmt.Sprintf("the timeouts of %s come to %d seconds, and the service gives an event 3600", shown(h.Name), seconds), "give the scripts timeouts that come to 3600 or less")
	if first != (appspec.Pos{}) && len(h.Scripts) == 1 {
		f = l.place(longEvent, first, 1, fmt.Sprintf("the timeout is %d seconds, and the service gives an event 3600", seconds), "write 3600 or less")
		f.Len = max(len(strings.TrimRight(f.Line, " "))-first.Col+1, 1)
	}
	if missing > 0 {
		f.Message += fmt.Sprintf(" (%s without timeout: 3600 each)", count(missing, "script", "scripts"))
	}
	if said <= eventLimit {
		f.Severity = note // the defaults alone do it
	}
	l.add(f)
}

func (l *linter) location(s *appspec.Script) {
	local := strings.TrimLeft(s.Location, "/")
	const windows = "windows"
	switch {
	case l.os == windows:
	case !filepath.IsLocal(local):
		l.add(l.script(climbing, s, fmt.Sprintf("the script %s is not inside the bundle", shown(s.Location)), "put it into the bundle and write its path from the top"))
	case strings.ContainsAny(s.Location, " \t\n*?{}[]<>()~&|\\$;'\"#`"):
		suggestion := "name a file without them"
		if file, args, ok := strings.Cut(s.Location, " "); ok && args != "" {
			suggestion = fmt.Sprintf("write %s, and put %s into the script: it gets no arguments", file, shown(args))
		}
		l.add(l.script(oddLocation, s, fmt.Sprintf("the location %s has blanks or characters of the shell", shown(s.Location)), suggestion))
	default:
		switch ext := strings.ToLower(filepath.Ext(local)); ext {
		case ".bat", ".cmd", ".ps1", ".exe", ".vbs":
			l.add(l.script(foreignScript, s, fmt.Sprintf("%s is a script of Windows, and os is linux", shown(s.Location)), ""))
		}
	}
}

// script is about the location of a script.
func (l *linter) script(id string, s *appspec.Script, message, suggestion string) Finding {
	return l.place(id, s.LocationPos, l.tokenWidth(s.LocationPos, s.Location), message, suggestion)
}

// tokenWidth is how many characters to underline for a value that is written plain or in quotes.
func (l *linter) tokenWidth(p appspec.Pos, value string) int {
	if p.Line == 0 {
		return 0
	}
	n := len([]rune(value))
	rest := []rune(l.doc.Line(p.Line))
	rest = rest[min(max(p.Col-1, 0), len(rest)):]
	if len(rest) > 0 && (rest[0] == '"' || rest[0] == '\'') {
		n += 2
	}
	return max(min(n, len(rest)), 1)
}

// maxUser is the longest name that a user can have on Linux.
const maxUser = 256

func (l *linter) user(s *appspec.Script) {
	if !s.RunAsSet || l.os == "windows" {
		return
	}
	var why string
	digits := strings.Trim(s.RunAs, "0123456789") == ""
	switch {
	case s.RunAs == "":
		why = "it is empty"
	case strings.ContainsAny(s.RunAs, " \t\n:/,;|&<>()\"'`*?!"):
		why = "no name has blanks, slashes, colons or characters of the shell"
	case strings.ContainsAny(s.RunAs, "${}"):
		why = "variables are not expanded"
		if strings.HasSuffix(s.RunAs, "$") && strings.Count(s.RunAs, "$") == 1 && !strings.ContainsAny(s.RunAs, "{}") {
			return // the account of a machine
		}
	case strings.HasPrefix(s.RunAs, "-"):
		why = "no name begins with a dash"
	case len(s.RunAs) > maxUser:
		why = "a name has at most 256 characters"
	case digits:
		why = "it is a number, and a user is told by name"
	default:
		return
	}
	f := l.place(noSuchUser, s.RunAsPos, l.tokenWidth(s.RunAsPos, s.RunAs), fmt.Sprintf("no user can have the name %s: %s", shown(s.RunAs), why), "write the name of a user, or remove runas to run as the agent's user")
	if digits && s.RunAs != "" {
		f.Severity = warn // somebody may have made it all the same
	}
	l.add(f)
}

// again finds scripts that run more than once.
func (l *linter) again(runs map[string]string, event string, s *appspec.Script) {
	name := filepath.Clean(strings.TrimLeft(s.Location, "/"))
	if before, ok := runs[name]; ok && !l.full(sameScript) {
		where := "in " + before + " as well"
		if before == event {
			where = "twice in " + event
		}
		l.add(l.script(sameScript, s, fmt.Sprintf("%s runs %s", shown(s.Location), where), ""))
		return
	}
	runs[name] = event
}
