package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"slipway/agent/lab"
)

const watchHelp = `watch shows the lifecycle events of a deployment until it ends: on a terminal as a table that is redrawn, in a pipe as
one line per change. If the deployment fails it prints code, script, message and log tail of what failed.`

func (p *program) watchCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "watch DEPLOYMENT-ID", Short: "follow a deployment to its end", Long: watchHelp, Args: cobra.ExactArgs(1),
		Example: `  slipway-lab watch d-ABCDEFGHI
  slipway-lab watch d-ABCDEFGHI --timeout 2m --endpoint http://127.0.0.1:8400 | tee deployment.log`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.watch(cmd.Context(), args[0], timeout) },
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time (default: never)")
	p.addEndpoint(cmd)
	return cmd
}

var errTimeout = errors.New("the time is over")

// watch follows a deployment and returns an exitError unless it succeeds.
func (p *program) watch(ctx context.Context, id string, timeout time.Duration) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
		defer cancel()
	}
	w := &watcher{client: c, id: id, out: p.stdout, color: p.getenv("NO_COLOR") == ""}
	view, err := w.view(ctx)
	if err != nil {
		if errors.Is(err, errNotFound) {
			err = fmt.Errorf("the lab has no deployment %s", id)
		}
		return err
	}
	if f, ok := p.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) && p.getenv("TERM") != "dumb" {
		_, w.height, _ = term.GetSize(int(f.Fd())) // 0 if it cannot be told
		view, err = w.table(ctx, view)
	} else {
		w.color = false
		view, err = w.lines(ctx)
	}
	switch {
	case errors.Is(err, errTimeout):
		return &exitError{exitTimeout, fmt.Errorf("%s did not end within %s; it goes on (status %s)", id, timeout, view.Status)}
	case ctx.Err() != nil:
		return &exitError{exitSignal, nil}
	case err != nil:
		return err
	}
	w.explain(view)
	if view.Status != "Succeeded" {
		return &exitError{exitFailure, nil}
	}
	return nil
}

// watcher follows one deployment.
type watcher struct {
	client *client
	id     string
	out    io.Writer
	color  bool
	height int // of the terminal; 0 for any
}

func (w *watcher) view(ctx context.Context) (v lab.DeploymentView, err error) {
	return v, w.client.do(ctx, "GET", "/lab/deployments/"+url.PathEscape(w.id), nil, &v)
}

func ended(status string) bool {
	return slices.Contains([]string{"Succeeded", "Failed", "Stopped"}, status)
}

// follow hands every event of the deployment to f, from its beginning, until it ends.
func (w *watcher) follow(ctx context.Context, f func(lab.Event)) error {
	resp, err := w.client.send(ctx, "GET", "/lab/events?follow=1&deployment="+url.QueryEscape(w.id), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadBytes('\n')
		var e lab.Event
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("the lab ended: %w", err)
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("event of the lab: %w", err)
		}
		f(e)
		if e.Kind == "deployment" && ended(e.Status) {
			return nil
		}
	}
}

// lines prints one line per change.
func (w *watcher) lines(ctx context.Context) (lab.DeploymentView, error) {
	err := w.follow(ctx, func(e lab.Event) {
		at, took := e.Time.Local().Format("15:04:05.000"), ""
		if e.Took > 0 {
			took = "  " + short(e.Took)
		}
		switch e.Kind {
		case "deployment":
			fmt.Fprintf(w.out, "%s  %s  %s%s\n", at, e.Deployment, e.Status, took)
		case "event":
			fmt.Fprintf(w.out, "%s  %s  %-18s %s%s\n", at, e.Target, e.Event, e.Status, took)
		}
	})
	if err != nil {
		v, _ := w.view(context.WithoutCancel(ctx)) // for the status in the message
		return v, err
	}
	return w.view(ctx)
}

// short is a duration as a person wants it.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// table redraws one row per event as things change.
func (w *watcher) table(ctx context.Context, view lab.DeploymentView) (lab.DeploymentView, error) {
	changed := make(chan struct{}, 1)
	gone := make(chan error, 1)
	go func() {
		gone <- w.follow(ctx, func(lab.Event) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	drawn, over := 0, false
	for {
		text := w.rows(view)
		if drawn > 0 {
			fmt.Fprintf(w.out, "\x1b[%dA", drawn)
		}
		io.WriteString(w.out, strings.ReplaceAll(text, "\n", "\x1b[K\n"))
		drawn = strings.Count(text, "\n")
		if over {
			return view, nil
		}
		select {
		case <-changed:
		case <-tick.C:
		case err := <-gone:
			if err != nil {
				return view, err
			}
			over = true
		}
		v, err := w.view(ctx)
		if err != nil {
			return view, err
		}
		view = v
	}
}
