package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/install"
)

// preflight is what can be said of a revision before anything of the old one is touched. The rule behind it: a deployment that the
// official agent would carry through is never failed; what is not certain is told.
type preflight struct {
	spec    *appspec.Spec
	err     error   // the deployment fails, whatever runs before
	unless  []doubt // it fails unless a script that runs before makes it good
	notes   []string
	summary string // what the installation would do
}

// doubt is a reason to fail that a script before its point of use may still remove.
type doubt struct {
	at     Event // the point of use
	script int   // and how many scripts of that event come before it
	err    error
}

// certain reports whether a revision that could not be brought here is wrong in itself: another attempt would find the same.
func certain(err error) bool {
	var archive *bundle.ArchiveError
	var spec *appspec.Error
	return errors.As(err, &archive) || errors.As(err, &spec) || errors.Is(err, errNoSpec)
}

// preflight looks at a revision that arrived, as the events that follow will.
func (e *Engine) preflight(ctx context.Context, d *Deployment, archive string) preflight {
	look := e.inspect(d, archive)
	if look.err != nil {
		return look
	}
	doubts, likely, notes := e.unrunnable(d, look.spec, archive)
	look.unless, look.notes = append(look.unless, doubts...), slices.Concat(look.notes, notes, likely)
	made, unlock, err := plan(ctx, e.request(d, look.spec, archive))
	if err == nil {
		unlock()
	}
	e.consider(d, &look, made, err)
	return look
}

// inspect looks at what a revision holds, whatever host it comes to.
func (e *Engine) inspect(d *Deployment, archive string) (look preflight) {
	if look.spec, look.err = readSpec(archive, d.AppSpecFilename); look.err != nil {
		return look
	}
	if look.err = appspec.CheckEvents(look.spec, d.PossibleEvents, scripted()); look.err != nil {
		return look
	}
	if look.err = e.settings.Load().Policy.allows(look.spec); look.err != nil {
		return look
	}
	look.notes = neverRun(look.spec, d)
	look.unless = missingScripts(look.spec, archive)
	return look
}

// consider adds what planning the installation has shown.
func (e *Engine) consider(d *Deployment, look *preflight, made *install.Plan, err error) {
	var conflicts *install.ConflictError
	var space *install.SpaceError
	switch {
	case err == nil:
		look.summary = made.Summary()
		look.notes = append(look.notes, made.Warnings()...)
	case errors.As(err, &conflicts), errors.As(err, &space) && !e.prunes(d):
		look.unless = append(look.unless, doubt{at: Install, err: err})
	default: // it may be different when its turn comes
		look.notes = append(look.notes, "the installation cannot be planned yet: "+err.Error())
	}
}

// prunes reports whether DownloadBundle will remove old deployments, and so bring space.
func (e *Engine) prunes(d *Deployment) bool {
	gone, err := e.root.prune(d.GroupID, d.ID, e.settings.Load().retention(), pruning{dry: true, spare: d.ReuseFrom})
	return err != nil || len(gone) > 0 || e.settings.Load().MinFree > 0
}

// neverRun tells of the events of an appspec that no command asks for: their scripts are passed over without a word otherwise.
func neverRun(spec *appspec.Spec, d *Deployment) []string {
	known := append(scripted(), d.PossibleEvents...)
	var notes []string
	for _, h := range spec.Hooks {
		if len(h.Scripts) == 0 || h.Text && slices.Contains(known, h.Name) {
			continue
		}
		note := fmt.Sprintf("%s:%d:%d: no command asks for the event %q: its scripts never run", spec.Name, h.Pos.Line, h.Pos.Col, h.Name)
		if meant := appspec.Meant(h.Name, known); meant != "" {
			note += fmt.Sprintf(" (did you mean %s?)", meant)
		}
		notes = append(notes, note)
	}
	return notes
}

// missingScripts finds the scripts of this revision that are not in its archive.
func missingScripts(spec *appspec.Spec, archive string) []doubt {
	var all []doubt
	for _, row := range events {
		if row.does != runScripts || row.revision != thisRevision {
			continue
		}
		for i, s := range spec.Scripts(string(row.name)) {
			path, err := within(archive, s.Location)
			if err == nil {
				if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
					err = fmt.Errorf("%s:%d:%d: %s runs %s, which is not in the bundle", spec.Name, s.LocationPos.Line, s.LocationPos.Col, row.name, s.Location)
				}
			}
			if err != nil {
				all = append(all, doubt{row.name, i, err})
			}
		}
	}
	return all
}

// unrunnable finds the scripts of this revision that are there and cannot be run: as a user who does not exist or may not get to them, say. Where
// the archive is now does not matter for that, but where it will be.
func (e *Engine) unrunnable(d *Deployment, spec *appspec.Spec, archive string) (doubts []doubt, likely, notes []string) {
	if e.opts.Runner == nil {
		return nil, nil, nil
	}
	set := e.settings.Load()
	extra, err := e.envFile(d)
	notes = extra.notes
	for _, row := range events {
		if row.does != runScripts || row.revision != thisRevision {
			continue
		}
		for i, s := range spec.Scripts(string(row.name)) {
			if err != nil { // once is enough
				doubts, err = append(doubts, doubt{row.name, i, fmt.Errorf("%s cannot run %s: %w", row.name, s.Location, err)}), nil
			}
			now, err := within(archive, s.Location)
			if err != nil || !isThere(now) { // told already
				continue
			}
			path, _ := within(e.root.archive(d), s.Location)
			certain, perhaps := e.opts.Runner.Check(hooks.Script{
				Dir: e.root.own("runs"), Path: path, Name: s.Location, Env: set.Environ, RunAs: s.RunAs, RunAsSet: s.RunAsSet, RunAsMode: set.RunAsMode, Sudo: s.Sudo,
			}, archive, e.root.archive(d))
			at := fmt.Sprintf("%s:%d:%d: %s: ", spec.Name, s.LocationPos.Line, s.LocationPos.Col, row.name)
			if certain != nil {
				doubts = append(doubts, doubt{row.name, i, fmt.Errorf("%s%w", at, certain)})
			}
			if perhaps != nil {
				likely = append(likely, at+perhaps.Error())
			}
		}
	}
	return doubts, likely, notes
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// looksAhead reports whether the new revision is looked at early at this event: at the first one of a deployment that will reach Install on
// this host, and never while the host is being taken out of service.
func (e *Engine) looksAhead(ctx context.Context, d *Deployment, ev Event) bool {
	switch {
	case e.settings.Load().NoPreflight || e.opts.Fetcher == nil:
		return false
	case ev != ApplicationStop && (ev != BeforeBlockTraffic || d.Type != defaultType):
		return false
	case d.Local && isDir(e.root.archive(d)): // a local run of events in another order
		return false
	}
	return e.prefetching(d.ID) != nil || e.opts.Terminating == nil || !e.opts.Terminating(ctx)
}

// ahead begins to look at the new revision at the first event of its deployment, waits for the answer as long as is configured, and returns
// what fails the event, if something does for certain, or what is to be told, once. At a later event it does not wait.
func (e *Engine) ahead(ctx context.Context, t *Ticket) (notes []string, err error) {
	d := t.deployment
	if !e.looksAhead(ctx, d, t.Event) {
		return nil, nil
	}
	wait := e.settings.Load().PreflightWait
	if e.prefetching(d.ID) != nil {
		wait = 0
	}
	p := e.begin(d, t.Event)
	if p == nil || e.scriptsBegan(t) { // after a restart: what runs is not to be failed
		return nil, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.done:
	default:
		select {
		case <-p.done:
		case <-timer.C:
			return []string{"the new revision is still on its way here, it is looked at when it has arrived"}, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	notes, err = e.judge(d, p)
	if err == nil && p.told {
		return nil, nil
	}
	redact := hooks.Redact(e.secrets(d))
	for _, note := range notes {
		e.log.Warn("new revision", zap.String("deployment", d.ID), zap.String("note", redact(note)))
	}
	if err != nil {
		e.drop(d, p)
		return notes, fmt.Errorf("the new revision cannot be deployed, and nothing of the old one was touched: %w", err)
	}
	p.told = true
	return notes, nil
}

// scriptsBegan reports whether an earlier process has begun with the scripts of the command.
func (e *Engine) scriptsBegan(t *Ticket) bool { return isDir(e.root.own("runs", t.Key())) }

// drop forgets a revision that is not deployed.
func (e *Engine) drop(d *Deployment, p *prefetch) {
	e.arriving.Lock()
	if e.prefetches[d.ID] == p {
		delete(e.prefetches, d.ID)
	}
	e.arriving.Unlock()
	os.RemoveAll(e.root.own("prefetch", d.ID))
}

// judge says what is certain of a revision that was looked at, and what is only to be told.
func (e *Engine) judge(d *Deployment, p *prefetch) (notes []string, err error) {
	err = cmp.Or(p.err, p.look.err)
	if err != nil && p.err != nil && !certain(p.err) {
		notes, err = append(notes, "the new revision could not be fetched yet, DownloadBundle tries again: "+p.err.Error()), nil
	}
	notes = append(notes, p.look.notes...)
	from := slices.IndexFunc(events, func(row event) bool { return row.name == p.began })
	list := Events()[from:]
	for _, doubt := range p.look.unless {
		if script := runsBefore(list, doubt, func(ev Event) []string { return e.scriptsOf(d, p, ev) }); script != "" {
			notes = append(notes, fmt.Sprintf("%v (unless %s, which runs before, sees to it)", doubt.err, script))
			continue
		}
		err = errors.Join(err, doubt.err)
	}
	return notes, err
}

// runsBefore names a script of a list of events that runs before a doubt comes to its point, "" if there is none.
func runsBefore(list []Event, point doubt, scriptsOf func(Event) []string) string {
	for _, ev := range list {
		if row, _ := ev.row(); row.does == runScripts {
			names := scriptsOf(ev)
			if ev == point.at {
				names = names[:min(len(names), point.script)]
			}
			for _, name := range names {
				if name != "" {
					return name
				}
			}
		}
		if ev == point.at {
			break
		}
	}
	return ""
}

// scriptsOf are the locations of the scripts that an event of the deployment will run. What cannot be told counts as one.
func (e *Engine) scriptsOf(d *Deployment, p *prefetch, ev Event) (locations []string) {
	spec := p.look.spec
	if ev.revisionFor(d) != thisRevision {
		rev, err := e.revision(d, ev)
		if err == nil && rev.archive == "" {
			return nil
		}
		if err == nil {
			spec, err = readSpec(rev.archive, d.AppSpecFilename)
		}
		if err != nil {
			return []string{"a script of " + string(ev)}
		}
	}
	for _, s := range spec.Scripts(string(ev)) {
		locations = append(locations, s.Location)
	}
	return locations
}

// maxNotes is how many remarks a report has: it holds 8 KiB.
const maxNotes = 10

// told puts the remarks on the new revision behind a result's summary.
func told(r Result, notes []string) Result {
	if len(notes) > maxNotes {
		notes = append(slices.Clone(notes[:maxNotes]), fmt.Sprintf("%d more remarks are in the agent's log", len(notes)-maxNotes))
	}
	if len(notes) > 0 && !r.Suspended() {
		r.Log = strings.TrimSpace(r.Log + "\nnew revision: " + strings.Join(notes, "\nnew revision: "))
	}
	return r
}
