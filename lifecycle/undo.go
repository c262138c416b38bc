package lifecycle

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway/lifecycle/bundle"
)

// ErrNothing says that there is nothing to do what was asked for with.
var ErrNothing = errors.New("there is nothing to go back to")

// Undo plans to bring a group back to an earlier revision that is still on disk: to, or if that is empty the one that was installed before
// the present one. The deployment that it returns is a local one, with an id of its own; give it to Deploy. The service knows nothing
// of it: the host has diverged from its record until the next deployment (Diverged). A group in hand is ErrInHand.
func (e *Engine) Undo(group, to string) (*Deployment, error) {
	if err := errors.Join(confined("deployment group", group), confined("deployment", cmp.Or(to, "d"))); err != nil {
		return nil, err
	}
	installed, err := e.root.readPointer(group, lastSuccessful)
	if err != nil {
		return nil, err
	}
	if installed == "" {
		return nil, fmt.Errorf("%w: nothing of group %s is installed as far as the deployment root says", ErrNothing, group)
	}
	if t := e.tickets.unfinished(group); t != nil {
		return nil, fmt.Errorf("%w: %s of %s; go back when it has ended", ErrInHand, t.Event, t.deployment.ID)
	}
	past, err := History(e.root.path)
	if err != nil {
		return nil, err
	}
	current := filepath.Base(installed)
	before := current
	if diverged, err := Diverged(e.root.path); err == nil && diverged[group].Deployment == current {
		before = diverged[group].To // undoing once more goes further back, not forth again
	}
	target, err := undoTarget(past, group, before, to)
	if err != nil {
		return nil, err
	}
	return &Deployment{
		ID: localID(), GroupID: group, GroupName: cmp.Or(target.GroupName, "LocalFleet"), Application: cmp.Or(target.Application, group),
		Creator: defaultCreator, Type: defaultType, AppSpecFilename: target.appSpec(), FileExistsBehavior: target.behavior(),
		ReuseFrom: target.Deployment, Local: true, Undoes: current,
		Revision: bundle.Revision{Type: bundle.LocalDirectory, Local: bundle.LocalLocation{Path: target.Archive, Format: bundle.Directory}},
	}, nil
}

// undoTarget chooses the deployment to go back to: the one that is named, or the newest that began before the given one.
func undoTarget(past []*Past, group, before, to string) (*Past, error) {
	var limit time.Time
	for _, p := range past {
		if p.Group == group && p.Deployment == before {
			limit = p.First
		}
	}
	for _, p := range past { // the newest first
		switch {
		case p.Group != group, to != "" && p.Deployment != to, to == "" && (p.Deployment == before || p.Undoes != ""):
		case to == "" && !limit.IsZero() && !p.First.Before(limit):
		case p.Archive == "" && to != "":
			return nil, fmt.Errorf("%w: the archive of deployment %s is not on disk any more", ErrNothing, to)
		case p.Archive == "" || to == "" && !p.Foreign && !p.wasInstalled():
		default:
			return p, nil
		}
	}
	if to != "" {
		return nil, fmt.Errorf("%w: deployment %s of group %s is not known on this host", ErrNothing, to, group)
	}
	return nil, fmt.Errorf("%w: no other deployment of group %s that was installed is on disk (max_revisions says how many are kept)", ErrNothing, group)
}

// wasInstalled reports whether the Install event of the deployment succeeded.
func (p *Past) wasInstalled() bool {
	for i := range p.Events {
		if p.Events[i].Event == Install {
			return p.Events[i].Code == Succeeded
		}
	}
	return false
}

// localID is an id for a deployment that the service does not know (L-24).
func localID() string { return "d-" + rand.Text()[:9] + localSuffix }

const localSuffix = "-local"

// UndoEvents are the events of an undo: those of a deployment in place, without the balancer's.
func UndoEvents() []Event {
	return []Event{ApplicationStop, DownloadBundle, BeforeInstall, Install, AfterInstall, ApplicationStart, ValidateService}
}

// Deploy carries out a local deployment: each event as Run does, in order, until one fails. It yields the outcome of each.
func (e *Engine) Deploy(ctx context.Context, d *Deployment, list []Event) iter.Seq2[Event, Result] {
	return func(yield func(Event, Result) bool) {
		for i, ev := range list {
			t := &Ticket{last: i == len(list)-1, Version: ticketVersion, Command: "local/" + d.ID + "/" + string(ev), Event: ev, State: Running, Received: time.Now(), deployment: d, tickets: e.tickets}
			r := e.Run(ctx, t)
			if !r.Suspended() {
				os.RemoveAll(e.root.own("runs", t.Key()))
			}
			if !yield(ev, r) || r.Code != Succeeded || r.Err != nil {
				return
			}
		}
	}
}

// Divergence says that what is installed of a group is not what the service believes.
type Divergence struct {
	Since      time.Time `json:"since"`
	Deployment string    `json:"deployment"` // the local one that is installed
	Undoes     string    `json:"undoes"`     // the service's, which it took the place of
	To         string    `json:"to"`         // the earlier one that it brought back; empty: it has a revision of its own
}

func (r root) divergedFile(group string) string { return r.own("groups", group+".diverged") }

// pastService is the deployment of the service that a local one takes the place of, empty if there is none; before is the folder of what was
// installed until now.
func (e *Engine) pastService(d *Deployment, before string) string {
	was := filepath.Base(before)
	var note Divergence
	if data, err := os.ReadFile(e.root.divergedFile(d.GroupID)); err == nil && json.Unmarshal(data, &note) != nil {
		note = Divergence{}
	}
	switch {
	case before == "" || !d.Local:
		return d.Undoes
	case note.Deployment == was && (d.Undoes == "" || note.To == ""):
		return note.Undoes
	case strings.HasSuffix(was, localSuffix) && note.Deployment != was: // the service knows nothing of what was installed, nor of its undo
		return ""
	case d.Undoes != "" || strings.HasSuffix(was, localSuffix):
		return d.Undoes
	}
	return was
}

// diverge keeps the record of an installation by the service or past it.
func (e *Engine) diverge(d *Deployment, before string) error {
	name := e.root.divergedFile(d.GroupID)
	service := e.pastService(d, before)
	if service == "" {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("note that the group is what the service believes again: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(Divergence{Since: time.Now().UTC().Truncate(time.Second), Deployment: d.ID, Undoes: service, To: d.ReuseFrom})
	if err == nil {
		err = writeState(name, data, true)
	}
	if err != nil {
		return fmt.Errorf("note that the group has diverged from the service's record: %w", err)
	}
	return nil
}

// Diverged returns the groups of a deployment root whose installed revision is not what the service believes.
func Diverged(dir string) (map[string]Divergence, error) {
	r := root{path: filepath.Clean(dir)}
	names, err := filepath.Glob(r.divergedFile("*"))
	if err != nil {
		return nil, err
	}
	all := map[string]Divergence{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read which groups have diverged: %w", err)
		}
		var d Divergence
		if json.Unmarshal(data, &d) != nil {
			continue
		}
		group := strings.TrimSuffix(filepath.Base(name), ".diverged")
		// The official agent may have installed something since, which knows nothing of the note.
		if installed, err := r.readPointer(group, lastSuccessful); err == nil && filepath.Base(installed) == d.Deployment {
			all[group] = d
		}
	}
	return all, nil
}
