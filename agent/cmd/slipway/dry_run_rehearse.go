package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"slipway/hooks"
	"slipway/lifecycle"
	"slipway/lifecycle/rehearse"
	"slipway/systemd"
)

// How much of a rehearsal is kept for its account.
const (
	maxChanges  = 5000
	maxDiff     = 64 << 10 // bytes of a text file that is compared line by line
	keptFirst   = 200      // lines of a script's output, from its beginning
	keptLast    = 800      // and from its end
	maxLineText = 8 << 10  // bytes of one line
)

// rehearse makes the sandbox, has the deployment carried out in it, and looks at what came of it. Nothing of the sandbox is left.
func (r *dryRun) rehearse(ctx context.Context) error {
	r.began = time.Now()
	r.account.Began = r.began.UTC()
	redact := hooks.Redact(r.secrets)
	box, err := rehearse.Open(ctx, r.sandbox())
	if err != nil {
		return r.interrupted(ctx, err)
	}
	defer box.Close() //nolint:errcheck // what went wrong with it was told the first time
	ended := context.AfterFunc(ctx, func() { _ = box.Close() })
	defer ended()
	if err := r.carryOut(ctx, box); err != nil {
		return r.interrupted(ctx, err)
	}
	a := &r.account
	if a.Files, a.FilesOmitted, err = box.Changes(ctx, rehearse.ChangesOptions{Max: maxChanges, DiffMax: maxDiff, Redact: redact}); err != nil {
		return r.interrupted(ctx, err)
	}
	expect := r.expect
	if !r.installedInside() { // what was to be installed was not
		expect = nil
	}
	if err := r.compare(ctx, box, expect); err != nil {
		return r.interrupted(ctx, err)
	}
	if err := box.Close(); err != nil {
		return fmt.Errorf("take the sandbox down: %w", err)
	}
	r.conclude()
	return nil
}

// sandbox says what the sandbox is to be. What the agent keeps for itself is no change of the host.
func (r *dryRun) sandbox() rehearse.Options {
	o := r.o.sandbox
	o.LeaveOut = []string{r.cfg.RootDir, r.cfg.LogDir}
	o.Writable = o.LeaveOut
	if spec := r.plan.preview.Spec; spec != nil && os.Geteuid() != 0 {
		for i := range spec.Files {
			o.Writable = append(o.Writable, spec.Files[i].Destination)
		}
	}
	return o
}

// interrupted says that a signal ended the rehearsal, if one did.
func (r *dryRun) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: the sandbox was ended with all in it, and nothing of this host was touched")
	}
	return err
}

// carryOut runs the deployment in the sandbox.
func (r *dryRun) carryOut(ctx context.Context, box *rehearse.Sandbox) error {
	in, err := box.Start(ctx, []string{"", insideVerb}, hookEnvironment(r.p.environ, r.cfg, nil))
	if err != nil {
		return err
	}
	r.account.Walls = box.Walls()
	request := insideRequest{
		Config: r.cfg, Environ: hookEnvironment(r.p.environ, r.cfg, nil), Secrets: r.secrets, Before: r.before, Plan: r.planInside(), Deployment: r.main,
		Archive: r.archive, Refused: r.refused,
		Health: r.o.probe, Services: r.o.services == "real", HostNet: r.o.sandbox.HostNet,
		Booted: systemd.Running(), Active: activeUnits(),
	}
	if err := json.NewEncoder(in.In).Encode(&request); err != nil {
		return fmt.Errorf("tell the sandbox what to do: %w", err)
	}
	said := r.listen(ctx, box, in)
	in.In.Close()
	left := in.Wait()
	if left != nil && (said == nil || isEndedEarly(said)) {
		return r.endedEarly(left)
	}
	return said
}

// errEndedEarly says that the process in the sandbox is gone without a word. Why that is it cannot tell itself.
var errEndedEarly = errors.New("the process in the sandbox ended before it had told how the deployment did")

// isEndedEarly reports whether an error is what is seen of the end of the process in the sandbox.
func isEndedEarly(err error) bool {
	return errors.Is(err, errEndedEarly) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE)
}

// endedEarly says at what that was.
func (r *dryRun) endedEarly(err error) error {
	at := "before the first event"
	if ev := r.lastEvent(); ev != "" {
		at = "at " + string(ev)
	}
	return fmt.Errorf("the rehearsal came to its end %s: %w; nothing of this host was touched", at, err)
}

// activeUnits are the services that systemd runs on this host, as their cgroups tell.
func activeUnits() (units []string) {
	if !systemd.Running() {
		return nil
	}
	for _, tree := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		found, _ := filepath.Glob(tree + "/system.slice/*.service")
		for _, dir := range found {
			if name := filepath.Base(dir); !slices.Contains(units, name) {
				units = append(units, name)
			}
		}
	}
	return units
}

// listen hears what happens in the sandbox, until it has told how it ended.
func (r *dryRun) listen(ctx context.Context, box *rehearse.Sandbox, in *rehearse.Inside) error {
	answer := func() error {
		_, err := io.WriteString(in.In, "\n")
		return err
	}
	for {
		m, err := hear(in.Out)
		switch {
		case errors.Is(err, io.EOF):
			return errEndedEarly
		case err != nil:
			return err
		case m.Error != "":
			return errors.New("in the sandbox: " + m.Error)
		case m.End != nil:
			r.end(m.End)
			return box.Scan(ctx, r.lastEvent(), true)
		case m.Ready != nil:
			r.account.Walls = append(r.account.Walls, m.Ready.Facts...)
			if err := box.Base(ctx); err != nil {
				return err
			}
			err = answer()
		case m.Event != nil:
			if !m.Event.Before {
				if err := r.look(ctx, box, m.Event); err != nil {
					return err
				}
			}
			err = r.ended(m.Event)
			if err == nil {
				err = answer()
			}
		default:
			r.heard(&m)
		}
		if err != nil {
			return err
		}
	}
}

// look tells what an event has changed. What Install had made of the plan is remembered before a script makes something else of it.
func (r *dryRun) look(ctx context.Context, box *rehearse.Sandbox, m *insideEvent) error {
	if err := box.Scan(ctx, m.Event, byHook(m.Event)); err != nil {
		return err
	}
	if m.Event != lifecycle.Install || m.Outcome != outcomeSucceeded {
		return nil
	}
	_, err := box.Compare(ctx, r.expect)
	return err
}

// byHook reports whether what changes in an event is the doing of scripts.
func byHook(ev lifecycle.Event) bool {
	return ev != lifecycle.DownloadBundle && ev != lifecycle.Install
}

// lastEvent is the one that the rehearsal has come to.
func (r *dryRun) lastEvent() lifecycle.Event {
	if n := len(r.account.Events); n > 0 {
		return r.account.Events[n-1].Event
	}
	return ""
}

// installedInside reports whether the rehearsal has installed the revision.
func (r *dryRun) installedInside() bool {
	for i := range r.account.Events {
		if e := &r.account.Events[i]; e.Event == lifecycle.Install {
			return e.Outcome == outcomeSucceeded
		}
	}
	return false
}

// compare holds what was planned against what was done, and takes down what else the layers show.
func (r *dryRun) compare(ctx context.Context, box *rehearse.Sandbox, expect []rehearse.Expected) error {
	a := &r.account
	found, err := box.Compare(ctx, expect)
	if err != nil {
		return err
	}
	a.Prediction = found
	for _, of := range []struct {
		to   *[]string
		look func(context.Context) ([]string, error)
	}{{&a.Users, box.People}, {&a.Cron, box.Cron}, {&a.Packages, box.Packages}} {
		if *of.to, err = of.look(ctx); err != nil {
			return err
		}
	}
	return nil
}
