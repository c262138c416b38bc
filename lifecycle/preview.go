package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/install"
)

// Preview is what a deployment would do on this host as it is now.
type Preview struct {
	Deployment *Deployment
	Archive    string        // the unpacked bundle that was looked at
	Spec       *appspec.Spec // nil: it cannot be read, and Problems says why
	Events     []Forecast    // in order, as they were asked for
	Plan       *install.Plan // what Install would carry out; nil: Problems says why there is none, or Install is not among the events
	Conflicts  []install.Conflict
	Short      []install.Space // file systems that are too small
	Pruned     []Prunable      // old deployments that DownloadBundle removes first
	Notes      []string        // what a person should know although nothing fails for it
	Problems   []Problem       // in the order in which they would be met; none: the deployment would succeed
}

// Forecast is one event of a preview.
type Forecast struct {
	Event    Event
	Whose    string // whose revision's scripts run (H-3, H-4); empty for DownloadBundle and Install
	Of       string // the deployment whose archive that is; empty where there is none, or it is the one that is looked at
	Archive  string // that archive; empty where there is none
	Nothing  string // why no script runs; empty where some do
	Scripts  []Planned
	Timeouts time.Duration // of all scripts together (H-40: there is no other bound in the agent)
}

// Planned is a script of a preview.
type Planned struct {
	appspec.Script
	Skipped bool  // it is of an old revision, gone, and passed over (old_revision_hooks)
	Err     error // why it cannot be started, as far as that shows beforehand; a *hooks.Failure or an error about its location
}

// Problem is a reason for which a deployment would fail.
type Problem struct {
	Event  Event  // that would fail
	Script string // the script that is to blame, if one is
	Code   Code
	Err    error
	// Unless names a script that runs before and may put it right, or the removal of old deployments where there is too little space: what that
	// does cannot be known without doing it. Empty: it fails for certain.
	Unless string
	// Early is true where it is found before anything of the old revision is touched (preflight: early).
	Early bool
}

// Preview says what the events of a deployment would do, whose bundle is unpacked in the folder archive. It goes by the code that carries them
// out, and changes nothing: no lock is taken, so that a deployment that goes on at the same time may make it untrue. Scripts are looked at
// and not run; what they would do to the host is not foreseen. An empty list stands for the events of a deployment in place.
//
// What is wrong with the deployment is in Problems. The error is that of ctx, or of names that cannot be those of a deployment.
func (e *Engine) Preview(ctx context.Context, d *Deployment, list []Event, archive string) (*Preview, error) {
	if err := d.confine(); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		list = UndoEvents()
	}
	p := &Preview{Deployment: d, Archive: archive, Events: make([]Forecast, len(list))}
	look := e.inspect(d, archive)
	p.Spec = look.spec
	if look.err == nil {
		doubts, _, notes := e.unrunnable(d, look.spec, archive) // what is only likely is a problem of the script's own
		look.unless, look.notes = append(look.unless, doubts...), append(look.notes, notes...)
	}
	if look.err == nil && slices.Contains(list, Install) {
		if err := e.previewInstall(ctx, d, &look, p); err != nil {
			return nil, err
		}
	}
	p.Notes = append(e.obscured(d), look.notes...)
	if p.Spec != nil {
		p.Notes = append(p.Notes, unknownKeys(p.Spec)...)
	}
	if slices.Contains(list, DownloadBundle) {
		p.Pruned, _ = e.root.prune(d.GroupID, d.ID, e.settings.Load().retention(), pruning{dry: true, spare: d.ReuseFrom}) // it fails nothing
	}
	var own []Problem
	for i, ev := range list {
		var found []Problem
		p.Events[i], found = e.forecast(d, ev, archive, look.err)
		own = append(own, found...)
	}
	p.weigh(ctx, e, list, &look, own)
	return p, ctx.Err()
}

// PreviewRefused is the preview of a deployment whose bundle cannot be unpacked, for the reason given.
func (e *Engine) PreviewRefused(ctx context.Context, d *Deployment, list []Event, because error) *Preview {
	p := &Preview{Deployment: d, Events: make([]Forecast, len(list)), Notes: e.obscured(d)}
	var own []Problem
	for i, ev := range list {
		var found []Problem
		p.Events[i], found = e.forecast(d, ev, "", because)
		own = append(own, found...)
	}
	p.weigh(ctx, e, list, &preflight{err: because}, own)
	return p
}

// previewInstall plans the installation, as preflight does, but without the locks, whose files it would have to make.
func (e *Engine) previewInstall(ctx context.Context, d *Deployment, look *preflight, p *Preview) error {
	made, err := install.Make(ctx, e.request(d, look.spec, p.Archive))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.Plan = made
	var conflicts *install.ConflictError
	var space *install.SpaceError
	if errors.As(err, &conflicts) {
		p.Conflicts = conflicts.Conflicts
	}
	if errors.As(err, &space) {
		p.Short = space.Short
	}
	if err == nil || conflicts != nil {
		e.consider(d, look, made, err)
	} else { // where preflight only tells, since it may be different at its turn, a preview has to say what is
		look.unless = append(look.unless, doubt{at: Install, err: err})
	}
	return nil
}

// forecast says what one event runs. specErr is why the appspec of the new revision cannot be used.
func (e *Engine) forecast(d *Deployment, ev Event, archive string, specErr error) (Forecast, []Problem) {
	f := Forecast{Event: ev}
	if row, ok := ev.row(); ok && row.does != runScripts {
		return f, nil
	}
	f.Whose = ev.revisionFor(d).String()
	if specErr != nil && ev.revisionFor(d) == thisRevision {
		f.Nothing = "this revision cannot be used"
		return f, nil
	}
	rev, list, nothing, err := e.chosen(d, ev, archive)
	if err != nil {
		f.Nothing = "they cannot be told"
		return f, []Problem{{Event: ev, Code: UnknownError, Err: err}}
	}
	f.Archive, f.Nothing = rev.archive, nothing
	if rev.archive != "" && rev.archive != archive {
		f.Of = filepath.Base(filepath.Dir(rev.archive))
	}
	var found []Problem
	for _, s := range list {
		one := Planned{Script: s}
		switch {
		case e.vanished(ev, rev, s):
			one.Skipped = true
		default:
			code := ScriptMissing
			order, err := e.order(d, ev, rev, s, e.root.own("runs", "preview"))
			if err == nil && e.opts.Runner != nil {
				err = e.checked(d, rev, order, archive)
				code = codeOf(err)
			}
			if one.Err = err; err != nil {
				found = append(found, Problem{Event: ev, Script: s.Location, Code: code, Err: err})
			}
			f.Timeouts += s.Timeout
		}
		f.Scripts = append(f.Scripts, one)
	}
	return f, found
}

// checked is what keeps a script from being started as the host is now; what scripts before it may still mend counts, and is told with their names.
// A script of this revision, which is in archive now, is judged where it will be.
func (e *Engine) checked(d *Deployment, rev revision, order hooks.Script, archive string) error {
	from, to := "", ""
	if rev.archive == archive {
		from, to = archive, e.root.archive(d)
		order.Path = to + strings.TrimPrefix(order.Path, archive)
	}
	certain, likely := e.opts.Runner.Check(order, from, to)
	return cmp.Or(certain, likely)
}

// weigh puts the problems into the order in which the deployment would meet them.
func (p *Preview) weigh(ctx context.Context, e *Engine, list []Event, look *preflight, own []Problem) {
	d := p.Deployment
	early := slices.IndexFunc(list, func(ev Event) bool { return e.looksAhead(ctx, d, ev) })
	scriptsOf := func(ev Event) (names []string) {
		for _, f := range p.Events {
			for _, s := range f.Scripts {
				if f.Event == ev && !s.Skipped {
					names = append(names, s.Location)
				}
			}
		}
		return names
	}
	at := func(ev Event, otherwise ...Event) Event {
		for _, name := range append([]Event{ev}, otherwise...) {
			if slices.Contains(list, name) {
				return name
			}
		}
		return list[0]
	}
	if look.err != nil {
		failing := Problem{Event: at(DownloadBundle, Install), Code: UnknownError, Err: look.err}
		if early >= 0 {
			failing.Event, failing.Early = list[early], true
		}
		p.Problems = append(p.Problems, failing)
	}
	found := map[Event]map[int]bool{} // the scripts that are found early, by their place
	for _, doubt := range look.unless {
		unless := runsBefore(list, doubt, scriptsOf)
		if doubt.at != Install && (unless != "" || early < 0) {
			continue // it is the script's own problem, in its turn
		}
		if unless == "" && doubt.at == Install && len(p.Short) > 0 && len(p.Pruned) > 0 {
			unless = "the removal of old deployments"
		}
		failing := Problem{Event: doubt.at, Code: UnknownError, Err: doubt.err, Unless: unless}
		if unless == "" && early >= 0 {
			failing.Event, failing.Early = list[early], true
			if found[doubt.at] == nil {
				found[doubt.at] = map[int]bool{}
			}
			found[doubt.at][doubt.script] = true
		}
		p.Problems = append(p.Problems, failing)
	}
	// A script that cannot be started puts nothing right either.
	startable := func(ev Event) []string {
		names := scriptsOf(ev)
		for i, name := range names {
			if slices.ContainsFunc(own, func(q Problem) bool { return q.Event == ev && q.Script == name }) {
				names[i] = ""
			}
		}
		return names
	}
	for _, failing := range own {
		index := max(slices.IndexFunc(p.scripts(failing.Event), func(s Planned) bool { return s.Location == failing.Script }), 0)
		if found[failing.Event][index] && p.ofThis(failing) {
			continue
		}
		failing.Unless = runsBefore(list, doubt{at: failing.Event, script: index}, startable)
		p.Problems = append(p.Problems, failing)
	}
	sort.SliceStable(p.Problems, func(i, j int) bool {
		a, b := &p.Problems[i], &p.Problems[j]
		return cmp.Or(cmp.Compare(slices.Index(list, a.Event), slices.Index(list, b.Event)), a.rank()-b.rank()) < 0
	})
}

// rank is smaller for what comes before an event's own scripts.
func (q Problem) rank() int {
	if q.Early {
		return 0
	}
	return 1
}

func (p *Preview) scripts(ev Event) []Planned {
	for _, f := range p.Events {
		if f.Event == ev {
			return f.Scripts
		}
	}
	return nil
}

// ofThis reports whether a problem is one of a script of the revision that is looked at.
func (p *Preview) ofThis(failing Problem) bool {
	return failing.Event.revisionFor(p.Deployment) == thisRevision
}

// obscured tells what a preview cannot see: files that only root may read, and a command in hand, after which the host may be another.
func (e *Engine) obscured(d *Deployment) (notes []string) {
	for _, name := range []string{e.root.own("install", d.GroupID+".manifest"), e.root.own("tickets")} {
		f, err := os.Open(name)
		switch {
		case errors.Is(err, fs.ErrPermission):
			notes = append(notes, fmt.Sprintf("%s cannot be read: what was changed on this host since the last deployment, and what is in hand, is not known (run it as root)", e.root.own()))
			return notes
		case err == nil:
			f.Close()
		}
	}
	if t := e.tickets.unfinished(d.GroupID); t != nil {
		notes = append(notes, fmt.Sprintf("%s of %s is in hand: the host may be another when it has ended", t.Event, t.deployment.ID))
	}
	return notes
}

// unknownKeys tells of the keys that mean nothing where they stand.
func unknownKeys(spec *appspec.Spec) (notes []string) {
	for _, k := range spec.Unknown {
		where := ""
		if k.Path != "" {
			where = " in " + k.Path
		}
		note := fmt.Sprintf("%s:%d:%d: the key %q%s means nothing and is ignored", spec.Name, k.Pos.Line, k.Pos.Col, k.Name, where)
		if meant := appspec.Meant(k.Name, k.Known); meant != "" {
			note += fmt.Sprintf(" (did you mean %s?)", meant)
		}
		notes = append(notes, note)
	}
	return notes
}

// LocalDeployment is a deployment that the service does not know, with what a specification says unless it says otherwise, and an id of its
// own (L-24): for a preview, or to be filled in.
func LocalDeployment(group, name string) *Deployment {
	return &Deployment{
		ID: localID(), GroupID: group, GroupName: name, Application: name, Creator: defaultCreator, Type: defaultType,
		AppSpecFilename: defaultAppSpec, FileExistsBehavior: defaultBehavior,
	}
}
