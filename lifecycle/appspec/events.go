package appspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// defaultEvents are those that a deployment has without asking for them. Those marked true run scripts.
var defaultEvents = map[string]bool{
	"BeforeBlockTraffic": true, "AfterBlockTraffic": true, "ApplicationStop": true, "DownloadBundle": false, "BeforeInstall": true,
	"Install": false, "AfterInstall": true, "ApplicationStart": true, "ValidateService": true, "BeforeAllowTraffic": true,
	"AfterAllowTraffic": true,
}

// CheckEvents holds the lifecycle-event check of the Install step: every event of the file, and every one that the agent
// maps a command to, has to be possible in this deployment, and a custom event of the deployment has to have a hook in the file.
// possible are the events of the deployment specification; nil means that it has no such list, and nothing is checked.
// The error is an *Error.
func CheckEvents(spec *Spec, possible, mapped []string) error {
	if len(possible) == 0 {
		return nil
	}
	for _, h := range spec.Hooks {
		if h.Text && slices.Contains(possible, h.Name) {
			continue
		}
		message := fmt.Sprintf("unknown lifecycle event %s", shown(h.Name))
		if !h.Text {
			message = fmt.Sprintf("the event %s is no text in YAML, so no lifecycle event has this name", shown(h.Name))
		}
		return &Error{Diagnostic: spec.src.diagnostic("", h.Pos, spec.src.tokenLen(h.Pos), message, nearest(h.Name, possible))}
	}
	for _, name := range mapped {
		if !slices.Contains(possible, name) {
			return &Error{Diagnostic: spec.src.diagnostic("", Pos{}, 0,
				fmt.Sprintf("the agent runs the lifecycle event %s, which this deployment does not have", name),
				"the deployment specification has: "+strings.Join(possible, ", "))}
		}
	}
	for _, name := range possible {
		if _, ok := defaultEvents[name]; ok || slices.Contains(spec.Events(), name) {
			continue
		}
		help := "add it to hooks"
		if meant := Meant(name, append(slices.Sorted(maps.Keys(defaultEvents)), spec.Events()...)); meant != "" {
			help = "did you mean " + meant + "?"
		}
		return &Error{Diagnostic: spec.src.diagnostic("", Pos{}, 0,
			fmt.Sprintf("the deployment asks for the lifecycle event %s, which the file does not have", shown(name)), help)}
	}
	return nil
}

// nearest offers the event that was meant if it can be told, else all there are.
func nearest(name string, events []string) string {
	if meant := Meant(name, events); meant != "" {
		return "did you mean " + meant + "?"
	}
	return "this deployment has: " + strings.Join(events, ", ")
}
