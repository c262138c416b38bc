package main

import (
	"fmt"
	"strings"
	"time"

	"slipway/agent/lab"
)

// colours of statuses.
var colours = map[string]string{"Succeeded": "32", "Failed": "31", "InProgress": "33", "Stopped": "31", "Skipped": "2", "Pending": "2"}

// paint puts a status into its colour; pad is its width.
func (w *watcher) paint(status string, pad int) string {
	text := fmt.Sprintf("%-*s", pad, status)
	if c := colours[status]; w.color && c != "" {
		return "\x1b[" + c + "m" + text + "\x1b[0m"
	}
	return text
}

// rows is the table of a deployment: one line per event, or one per instance where the terminal is not high enough
// to be redrawn.
func (w *watcher) rows(v lab.DeploymentView) string {
	full := w.draw(v, true)
	if w.height > 0 && strings.Count(full, "\n") >= w.height {
		return w.draw(v, false)
	}
	return full
}

func (w *watcher) draw(v lab.DeploymentView, events bool) string {
	var b strings.Builder
	took := ""
	if v.CreateTime != nil {
		end := time.Now()
		if v.CompleteTime != nil {
			end = time.Time(*v.CompleteTime)
		}
		took = short(end.Sub(time.Time(*v.CreateTime)))
	}
	fmt.Fprintf(&b, "%s  %s/%s  %s  %s\n", v.DeploymentID, v.ApplicationName, v.DeploymentGroupName, w.paint(v.Status, 0), took)
	for _, t := range v.Targets {
		i := t.InstanceTarget
		if !events {
			fmt.Fprintf(&b, "  %s  %s  %s\n", i.TargetID, w.paint(i.Status, 10), current(t))
			continue
		}
		fmt.Fprintf(&b, "  %s  %s\n", i.TargetID, w.paint(i.Status, 0))
		for _, e := range i.LifecycleEvents {
			took := ""
			switch {
			case e.StartTime != nil && e.EndTime != nil:
				took = short(time.Time(*e.EndTime).Sub(time.Time(*e.StartTime)))
			case e.StartTime != nil && e.Status == "InProgress":
				took = short(time.Since(time.Time(*e.StartTime)))
			}
			fmt.Fprintf(&b, "    %-19s %s %s\n", e.LifecycleEventName, w.paint(e.Status, 10), took)
		}
	}
	return b.String()
}

// current is the event that an instance is at: the last that began.
func current(t lab.TargetView) string {
	at := ""
	for _, e := range t.InstanceTarget.LifecycleEvents {
		if e.StartTime != nil {
			at = e.LifecycleEventName
		}
	}
	return at
}

// explain says why a deployment did not succeed.
func (w *watcher) explain(v lab.DeploymentView) {
	if v.Status == "Succeeded" {
		return
	}
	if v.ErrorInformation != nil {
		fmt.Fprintf(w.out, "\n%s %s: %s: %s\n", v.DeploymentID, v.Status, v.ErrorInformation.Code, v.ErrorInformation.Message)
	}
	for _, t := range v.Targets {
		for _, e := range t.InstanceTarget.LifecycleEvents {
			d := e.Diagnostics
			if e.Status != "Failed" || d == nil {
				continue
			}
			fmt.Fprintf(w.out, "\n%s failed on %s\n  code     %s\n", e.LifecycleEventName, t.InstanceTarget.TargetID, d.ErrorCode)
			if d.ScriptName != "" {
				fmt.Fprintf(w.out, "  script   %s\n", d.ScriptName)
			}
			fmt.Fprintf(w.out, "  message  %s\n", strings.ReplaceAll(strings.TrimSpace(d.Message), "\n", "\n           "))
			if log := strings.TrimRight(d.LogTail, "\n"); log != "" {
				fmt.Fprintf(w.out, "  log tail\n    | %s\n", strings.ReplaceAll(log, "\n", "\n    | "))
			}
		}
	}
	if r := v.RollbackInfo; r != nil && r.RollbackMessage != "" {
		fmt.Fprintf(w.out, "\n%s\n", r.RollbackMessage)
	}
}
