package main

import (
	"context"
	"errors"
	"time"

	"slipway/lifecycle"
	"slipway/lifecycle/rehearse"
)

// plan makes the plan of the deployment in the sandbox, on the copy of the host as the deployment of --from has left it.
func (i *inside) plan(ctx context.Context) error {
	d := &i.Deployment
	made := planned{deployment: d.Of, list: d.Events, changes: []jsonChange{}}
	var err error
	if i.Refused != "" {
		made.preview = i.engine.PreviewRefused(ctx, d.Of, d.Events, errors.New(i.Refused))
	} else if made.preview, err = i.engine.Preview(ctx, d.Of, d.Events, i.Archive); err != nil {
		return err
	}
	told := &insidePlan{Whose: map[lifecycle.Event]string{}}
	if made.preview.Plan != nil {
		if err := made.summarise(ctx); err != nil {
			return err
		}
		told.Counts = made.counts
	}
	if told.Expected, err = rehearse.ExpectWithin(ctx, made.preview); err != nil {
		return err
	}
	for q := range made.preview.Problems {
		told.Problems = append(told.Problems, verdict(&made.preview.Problems[q])+" "+made.plain(made.preview.Problems[q].Err.Error()))
	}
	for _, f := range made.preview.Events {
		told.Whose[f.Event] = f.Whose
	}
	i.preview = made.preview
	return i.line.say(insideMessage{Plan: told})
}

// remember takes down how an event has ended, for foreseen.
func (i *inside) remember(e *insideEvent) {
	if !e.Before {
		i.account = append(i.account, lifecycle.EventAccount{Event: e.Event, Outcome: e.Outcome, Code: e.Code, Message: e.Message, TookMS: int64(e.Took / time.Millisecond)})
	}
}

// foreseen says how the deployment was to end by the plan that was made here, if it did not end so.
func (i *inside) foreseen() string {
	if i.preview == nil {
		return ""
	}
	return rehearse.Foreseen(i.preview, i.account)
}
