package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
)

// LocalRequest is what a person asks a local deployment for: one that the service knows nothing of.
type LocalRequest struct {
	Revision                      bundle.Revision
	Group, GroupName, Application string // the id names the folder (I-1), the two others are for the environment of the scripts (L-4..L-6)
	AppSpecFilename               string // "" for the usual one
	FileExistsBehavior            string // in any case; "" for DISALLOW (P-66)
	// Events are those that may run beside the usual ones (L-18): the list that was given to LocalEvents.
	Events []string
}

// Local makes the specification of a local deployment, with an id of its own (L-24). Give it to Deploy with the events of LocalEvents. An
// error is a *SpecificationError.
func Local(r LocalRequest) (*Deployment, error) {
	d := &Deployment{
		ID: localID(), GroupID: r.Group, GroupName: r.GroupName, Application: r.Application, Creator: defaultCreator, Type: defaultType,
		AppSpecFilename: cmp.Or(r.AppSpecFilename, defaultAppSpec), FileExistsBehavior: strings.ToUpper(cmp.Or(r.FileExistsBehavior, defaultBehavior)),
		Revision: r.Revision, Local: true,
	}
	for _, ev := range Events() {
		d.PossibleEvents = append(d.PossibleEvents, string(ev))
	}
	for _, name := range r.Events {
		if !slices.Contains(d.PossibleEvents, name) {
			d.PossibleEvents = append(d.PossibleEvents, name)
		}
	}
	for _, of := range []struct{ key, value string }{{"DeploymentGroupName", d.GroupName}, {"ApplicationName", d.Application}} {
		if of.value == "" {
			return nil, &SpecificationError{Key: of.key, Problem: "is empty"}
		}
	}
	if err := d.confine(); err != nil {
		return nil, err
	}
	return d, nil
}

// EventOrderError says that the events of a local deployment stand in an order that cannot work (L-15).
type EventOrderError struct {
	Event  Event // stands too early
	Before Event // and before which: DownloadBundle or Install
}

func (e *EventOrderError) Error() string {
	why := "brings the revision"
	if e.Before == Install {
		why = "installs its files"
	}
	return fmt.Sprintf("%s cannot come before %s, which %s: put it behind, or leave %s out of the list, it then comes first", e.Event, e.Before, why, e.Before)
}

// EventNameError says that a name of the list is not the name of an event (L-17).
type EventNameError struct{ Name, Meant string }

func (e *EventNameError) Error() string {
	text := fmt.Sprintf("%q cannot be the name of a lifecycle event, which begins with an upper-case letter and a lower-case one or a digit", e.Name)
	switch {
	case e.Meant != "":
		text += fmt.Sprintf(" (did you mean %s?)", e.Meant)
	case strings.TrimSpace(e.Name) != e.Name:
		text += "; write no blanks between the names"
	}
	return text
}

// LocalEvents are the events that a local deployment runs: all in their order (L-13), or only those that are given, in the order given.
// DownloadBundle and Install are put before them where they are missing, and never stand the wrong way round (L-14). Errors, in this
// order: *EventOrderError, *EventNameError.
func LocalEvents(given []string) ([]Event, error) {
	if given == nil {
		return Events(), nil
	}
	if err := checkOrder(given); err != nil {
		return nil, err
	}
	for _, name := range given {
		if !eventName(name) {
			return nil, &EventNameError{Name: name, Meant: meantEvent(name)}
		}
	}
	list := make([]Event, 0, len(given)+2)
	for _, needed := range []Event{DownloadBundle, Install} {
		if !slices.Contains(given, string(needed)) {
			list = append(list, needed)
		}
	}
	for _, name := range given {
		list = append(list, Event(name))
	}
	if d, i := slices.Index(list, DownloadBundle), slices.Index(list, Install); i < d {
		list[d], list[i] = list[i], list[d]
	}
	return list, nil
}

// checkOrder refuses a list in which an event stands before what it needs (L-15). What needs the files is what comes behind Install in the
// table.
func checkOrder(given []string) error {
	needs := Events()[slices.Index(Events(), Install)+1:]
	for _, point := range []Event{DownloadBundle, Install} {
		at := slices.Index(given, string(point))
		for _, name := range given[:max(at, 0)] {
			ev := Event(name)
			if slices.Contains(needs, ev) || point == DownloadBundle && ev == Install {
				return &EventOrderError{Event: ev, Before: point}
			}
		}
	}
	return nil
}

func eventName(name string) bool {
	isLower := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	return len(name) >= 2 && name[0] >= 'A' && name[0] <= 'Z' && isLower(name[1]) && !strings.ContainsAny(name, "/\x00\n")
}

// meantEvent is the event that a name stands for that is none; "" where it cannot be told.
func meantEvent(name string) string {
	var known []string
	for _, ev := range Events() {
		if strings.EqualFold(strings.TrimSpace(name), string(ev)) {
			return string(ev)
		}
		known = append(known, string(ev))
	}
	return appspec.Meant(strings.TrimSpace(name), known)
}

// Step is something that begins, for a person who watches. A Step without a Script is the event itself.
type Step struct {
	Event   Event
	Waiting bool // another command of the group goes on, and is waited for
	// Of a script that is about to be started:
	Script, RunAs string // as the appspec has them
	Timeout       time.Duration
}
