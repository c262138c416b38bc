package lint

import (
	"fmt"
	"slices"
	"strings"

	"slipway/lifecycle/appspec"
)

// hostEvents are those whose scripts an agent runs, in the order of a deployment (H-1, L-13).
var hostEvents = []string{
	"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService",
	"BeforeAllowTraffic", "AfterAllowTraffic",
}

// otherEvents run no scripts of a host, and what to write instead.
var otherEvents = map[string]string{
	"Start":                 "write ApplicationStop or BeforeInstall, the first events that run scripts",
	"BlockTraffic":          "the service does it; write BeforeBlockTraffic or AfterBlockTraffic",
	"DownloadBundle":        "the agent does it; write BeforeInstall, which runs after it",
	"Install":               "the agent does it; write BeforeInstall or AfterInstall",
	"AllowTraffic":          "the service does it; write BeforeAllowTraffic or AfterAllowTraffic",
	"TestTraffic":           "it is for ECS only; write ValidateService",
	"AllowTestTraffic":      "it is for ECS only; write ValidateService",
	"AfterAllowTestTraffic": "it is for ECS only; write ValidateService",
	"End":                   "write ValidateService or AfterAllowTraffic, the last events that run scripts",
}

func isEvent(name string) bool {
	_, other := otherEvents[name]
	return other && name != "Start" && name != "End" || slices.Contains(hostEvents, name) || certain(name, hostEvents) != ""
}

// events looks at the names of events, in hooks and elsewhere.
func (l *linter) events(root *appspec.Node) {
	hooks := child(root, "hooks")
	for k, v := range pairs(root) {
		if k.Kind == appspec.ScalarNode && isEvent(k.Value) {
			l.stray(k, v)
		}
	}
	others := rivals(hooks, hostEvents)
	for k, v := range pairs(hooks) {
		l.event(others, k, v)
		for i, script := range items(v) {
			for inner, below := range pairs(script) {
				if i >= 0 && inner.Kind == appspec.ScalarNode && isEvent(inner.Value) {
					l.stray(inner, below)
				}
			}
		}
	}
	for _, name := range []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"} {
		if k := keyOf(hooks, name); k != nil && len(child(hooks, name).Content) > 0 {
			l.add(l.at(oldRevision, k, name+" runs the scripts of the revision that is installed now, not those of this one", ""))
			break
		}
	}
}

// keyOf is the last key of that name.
func keyOf(n *appspec.Node, name string) (last *appspec.Node) {
	for k := range pairs(n) {
		if scalar(k) == name {
			last = k
		}
	}
	return last
}

func (l *linter) stray(k, v *appspec.Node) {
	f := l.at(strayEvent, k, fmt.Sprintf("the event %s stands outside hooks: its scripts never run", shown(k.Value)), "move it below hooks, with the indentation of the other events")
	if isNull(v) {
		f.Severity = warn
	}
	l.add(f)
}

// event looks at one name below hooks.
func (l *linter) event(others map[string]int, k, v *appspec.Node) {
	if k.Kind != appspec.ScalarNode || slices.Contains(hostEvents, k.Value) || k.Value == "<<" {
		return
	}
	name, severity := k.Value, bad
	if isNull(v) || v.Kind == appspec.ListNode && len(v.Content) == 0 {
		severity = warn // nothing is lost
	}
	_, boolean := truth(k)
	var f Finding
	switch instead, other := otherEvents[name]; {
	case other:
		f = l.at(serviceEvent, k, fmt.Sprintf("%s runs no scripts on a host: those under it never run", name), instead)
	case boolean || isNull(k) || l.notText(k):
		f = l.at(eventNoText, k, fmt.Sprintf("the event %s is no text in YAML: its scripts never run", shown(name)), "write the name of an event, such as AfterInstall")
	case l.full(unknownEvent):
		return
	default:
		f = l.at(unknownEvent, k, fmt.Sprintf("no command asks for the event %s: its scripts never run", shown(name)), "there are: "+strings.Join(hostEvents, ", "))
		if slices.Contains(topKeys, name) {
			f.Suggestion = name + " belongs at the top level, without indentation"
		}
		if meant := certain(name, hostEvents); meant != "" {
			f.Suggestion = fmt.Sprintf("did you mean %s?", meant)
			if others[meant] == 1 {
				f.edits = l.respell(k, meant)
			} else {
				f.Suggestion = fmt.Sprintf("did you mean %s, for which there is another key as well? join the two", meant)
			}
		}
	}
	f.Severity = severity
	l.add(f)
}

// notText reports whether the parser has read an event's name as something else than text.
func (l *linter) notText(k *appspec.Node) bool {
	if l.spec == nil {
		return false
	}
	if l.odd == nil {
		l.odd = map[appspec.Pos]bool{}
		for _, h := range l.spec.Hooks {
			if !h.Text {
				l.odd[h.Pos] = true
			}
		}
	}
	return l.odd[k.Start]
}
