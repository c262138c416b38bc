package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"slipway/agent/health"
	"slipway/hooks"
	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/rehearse"
)

// Hidden commands of a rehearsal: the process that makes the sandbox, and the one that carries the deployment out in it.
const (
	stageVerb  = "rehearse-stage"
	insideVerb = "rehearse-inside"
)

// insideMain is the body of the process in the sandbox. It refuses to do anything anywhere else.
func (p *program) insideMain() int {
	if err := rehearse.EnterInside(); err != nil {
		fmt.Fprintln(p.stderr, "slipway "+insideVerb+": "+err.Error())
		return exitFailure
	}
	line := newInsideLine(os.NewFile(insideSays, "messages"), os.NewFile(insideHears, "answers"))
	var request insideRequest
	text, err := line.in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &request)
	}
	if err == nil {
		err = (&inside{p: p, line: line, insideRequest: request}).run(context.Background())
	}
	if err != nil {
		_ = line.say(insideMessage{Error: err.Error()}) // if nobody hears it, the sandbox is being closed
		return exitFailure
	}
	return 0
}

// inside carries a deployment out in the sandbox, and tells what happens.
type inside struct {
	insideRequest
	p      *program
	line   *insideLine
	watch  *insideWatch
	engine *lifecycle.Engine
	probes []health.NamedProbe

	preview *lifecycle.Preview // of a plan that was made here
	account []lifecycle.EventAccount

	mu     sync.Mutex // guards what follows
	log    *hooks.LogReader
	ran    bool // a script of the event
	before bool // the deployment that goes before is in hand
}

func (i *inside) run(ctx context.Context) error {
	syscall.Umask(0o022)
	outliveReader()
	i.p.environ = i.Environ
	var err error
	if i.watch, err = i.newWatch(ctx); err != nil {
		return err
	}
	defer i.watch.close() //nolint:errcheck // the sandbox ends with it
	if i.probes, err = i.newProbes(); err != nil {
		return err
	}
	if err := i.open(ctx); err != nil {
		return err
	}
	defer i.engine.Close()
	end := insideEnd{}
	if i.Before != nil {
		if ok, err := i.deploy(ctx, i.Before, true); !ok || err != nil {
			return err
		}
		end.HealthBefore = i.probeBefore(ctx, &end.Asked)
	}
	if i.Plan {
		if err := i.plan(ctx); err != nil {
			return err
		}
	}
	if err := i.line.ask(insideMessage{Ready: &insideReady{Facts: i.watch.facts}}); err != nil {
		return err
	}
	if _, err := i.deploy(ctx, &i.Deployment, false); err != nil {
		return err
	}
	end.HealthAfter = i.probe(ctx, probePatience, &end.Asked)
	end.Foreseen = i.foreseen()
	if err := i.watch.tell(ctx, &end); err != nil {
		return err
	}
	if err := i.line.say(insideMessage{End: &end}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, i.line.in) // what runs goes on running until it was looked at
	return err
}

// open opens the engine that deploys, as a local deployment does.
func (i *inside) open(ctx context.Context) error {
	cfg := i.Config
	cfg.Log.File = "" // the log of the agent is not told of rehearsals
	log, err := newGuestLogger(cfg, i.p.stderr)
	if err != nil {
		return err
	}
	opts := i.p.engineOptions(cfg, i.p.settings(cfg, nil), i.contain(log), log)
	opts.Guest, opts.Attended, opts.Fetcher = true, true, &fetchedBefore{request: &i.insideRequest, log: log}
	opts.Secrets = func() []string { return i.Secrets }
	opts.Begin, opts.Observe = i.begin, i.observe
	i.engine, err = lifecycle.Open(ctx, opts)
	return err
}

// contain chooses the container of scripts in the sandbox, where there is no systemd, whatever seems to be one.
func (i *inside) contain(log *zap.Logger) *containment {
	wanted := i.Config.Hooks.Containment
	if wanted != containNone {
		wanted = containAuto
	}
	host := hostFacts{root: true, delegated: hooks.DelegatedCgroup}
	return host.choose(wanted, log.Named("hooks"))
}

// fetchedBefore brings a bundle that the process outside has fetched.
type fetchedBefore struct {
	request *insideRequest
	log     *zap.Logger
}

// Bring copies the bundle. What is said of it is what its source said.
func (f *fetchedBefore) Bring(ctx context.Context, rev bundle.Revision, file *os.File, to *os.Root, limits bundle.Limits) (bundle.Object, bundle.Stats, error) {
	of := f.request.Deployment.Bundle
	if b := f.request.Before; b != nil && b.Of.Revision == rev {
		of = b.Bundle
	}
	here := bundle.Revision{Type: bundle.LocalFile, Local: bundle.LocalLocation{Path: of.Path, Format: of.Format}}
	if rev.Type == bundle.LocalDirectory {
		here.Type = bundle.LocalDirectory
	}
	object, stats, err := (&bundle.Fetcher{Log: f.log}).Bring(ctx, here, file, to, limits)
	if rev.Type != bundle.LocalDirectory && rev.Type != bundle.LocalFile {
		object = of.Object
	}
	return object, stats, err
}

// deploy carries a deployment out. It reports whether it succeeded.
func (i *inside) deploy(ctx context.Context, d *insideDeployment, before bool) (ok bool, err error) {
	i.before, ok = before, true
	i.log = hooks.NewLogReader(filepath.Join(i.Config.RootDir, d.Of.GroupID, d.Of.ID, "logs", "scripts.log"))
	defer i.log.Close() //nolint:errcheck // it was only read
	done := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		tick := time.NewTicker(viewTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				i.catchUp()
			case <-done:
				return
			}
		}
	})
	defer func() { close(done); reading.Wait() }()
	began := time.Now()
	for ev, r := range i.engine.Deploy(ctx, d.Of, d.Events) {
		i.catchUp()
		e := &insideEvent{
			Event: ev, Began: began.UTC(), Took: time.Since(began), Code: r.Code, Outcome: outcomeSucceeded, Message: r.Message, Log: r.Log, Before: before, Script: i.ran,
		}
		switch {
		case r.Suspended():
			e.Outcome, e.Message, ok = outcomeInterrupted, r.Err.Error(), false
		case r.Code != lifecycle.Succeeded:
			e.Outcome, ok = outcomeFailed, false
		}
		i.remember(e)
		if err := i.line.ask(insideMessage{Event: e}); err != nil {
			return false, err
		}
		began, i.ran = time.Now(), false
	}
	return ok, nil
}

// catchUp tells what scripts have said since.
func (i *inside) catchUp() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		raw, err := i.log.Next()
		if err != nil { // there is no more for now
			return
		}
		e := hooks.ParseEntry(raw)
		stream := e.Kind
		switch stream {
		case hooks.EntryEvent, hooks.EntryScript:
			continue
		case hooks.EntryStdout, hooks.EntryStderr:
		default:
			stream = streamAgent
		}
		_ = i.line.say(insideMessage{Line: &lifecycle.OutputLine{At: e.At.UTC(), Stream: stream, Text: strings.ToValidUTF8(e.Text, "\uFFFD")}}) // the next question meets the error
	}
}

// streamAgent is where lines come from that no script has said.
const streamAgent = "agent"

// begin is told by the engine.
func (i *inside) begin(s lifecycle.Step) {
	switch {
	case s.Waiting:
		return
	case s.Script == "":
		i.watch.mark(s.Event, i.before)
	default:
		i.catchUp()
		i.ran = true
	}
	_ = i.line.say(insideMessage{Began: &insideStep{Event: s.Event, Script: s.Script, RunAs: s.RunAs, Timeout: s.Timeout, Before: i.before}})
}

// observe is told by the engine.
func (i *inside) observe(o lifecycle.Observation) {
	if o.Script == "" {
		return
	}
	i.catchUp()
	_ = i.line.say(insideMessage{Script: &insideScript{jsonScript: scriptJSON(o), Event: o.Event, Began: o.Run.Started.UTC(), Started: !o.Run.Started.IsZero()}})
}
