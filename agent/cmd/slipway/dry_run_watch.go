package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"slipway/hooks"
	"slipway/lifecycle"
	"slipway/lifecycle/rehearse"
)

// insideWatch is what watches scripts in the sandbox: what answers them in place of a service manager, and what takes down where they want to go.
type insideWatch struct {
	marks    rehearse.Marks
	recorder *rehearse.Recorder
	network  *rehearse.NetworkWatch
	redact   func(string) string
	facts    []lifecycle.Fact
}

func (i *inside) newWatch(ctx context.Context) (*insideWatch, error) {
	w := &insideWatch{redact: hooks.Redact(i.Secrets)}
	var err error
	if w.recorder, err = rehearse.InstallRecorder(rehearse.RecorderOptions{
		Real: i.Services, Active: i.Active, Booted: i.Booted, Marks: &w.marks, Redact: w.redact,
	}); err != nil {
		return nil, err
	}
	if w.network, err = rehearse.WatchNetwork(ctx, rehearse.NetworkOptions{HostNet: i.HostNet, Marks: &w.marks}); err != nil {
		return nil, errors.Join(err, w.recorder.Close())
	}
	w.facts = []lifecycle.Fact{w.recorder.Fact(), w.network.Fact()}
	return w, nil
}

// beforePrefix marks the events of the deployment that goes before, whose calls and destinations are not told.
const beforePrefix = "before "

// mark says that an event begins.
func (w *insideWatch) mark(ev lifecycle.Event, before bool) {
	if before {
		ev = beforePrefix + ev
	}
	w.marks.Mark(ev)
}

func ofBefore(ev lifecycle.Event) bool { return strings.HasPrefix(string(ev), beforePrefix) }

// tell takes down what there is at the end.
func (w *insideWatch) tell(ctx context.Context, end *insideEnd) error {
	var err error
	if end.Processes, end.Listeners, err = rehearse.Left(ctx, rehearse.LeftOptions{Marks: &w.marks, Redact: w.redact, Shims: []string{shimVerb}}); err != nil {
		return err
	}
	for _, c := range w.recorder.Calls() {
		if !ofBefore(c.By) {
			end.Services = append(end.Services, c)
		}
	}
	for _, d := range w.network.Destinations() {
		if !ofBefore(d.By) {
			end.Destinations = append(end.Destinations, d)
		}
	}
	for _, of := range []struct {
		what string
		n    int
	}{{"calls of service managers", w.recorder.Omitted()}, {"destinations", w.network.Omitted()}} {
		if of.n > 0 {
			end.Notes = append(end.Notes, fmt.Sprintf("%d more %s were not taken down", of.n, of.what))
		}
	}
	return nil
}

// close ends the watch. What scripts have left running may go on.
func (w *insideWatch) close() error { return errors.Join(w.recorder.Close(), w.network.Close()) }
