package lifecycle

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
)

// Outcomes of an Account and of its events. The last three are of real deployments alone.
const (
	OutcomeSucceeded   = "succeeded"
	OutcomeFailed      = "failed"
	OutcomeInterrupted = "interrupted"
	OutcomeSkipped     = "skipped"
	OutcomeInHand      = "in_hand"    // it goes on
	OutcomeIncomplete  = "incomplete" // no event has failed, and the last one has not come
	OutcomeForeign     = "foreign"    // another agent has carried it out, and what became of it is not known
)

// UnknownMS stands for a duration that is not known, UnknownUser for a user.
const (
	UnknownMS   int64 = -1
	UnknownUser       = "?"
)

// AccountOptions are for AccountOf. The zero value is of use.
type AccountOptions struct {
	InHand Event                    // the event that is being carried out; empty for none
	Lines  int                      // of output that are kept of each script; 0: 2,000
	Redact func(text string) string // takes secrets out of messages and output; nil: what looks like one by itself
}

// AccountOf is the account of a deployment that was carried out on this host, or is being so, as the deployment root at dir has it: what the
// history says of its events, and what the log says of their scripts. past are all deployments, as History gives them, and p is one of them. What of it is
// not on disk any more is left out. An error is of a log that is there and cannot be read.
func AccountOf(dir string, past []*Past, p *Past, o AccountOptions) (*Account, error) {
	if o.Redact == nil {
		o.Redact = hooks.Redact(nil)
	}
	o.Lines = cmp.Or(o.Lines, 2000)
	t := telling{root: root{path: filepath.Clean(dir)}, past: past, p: p, o: o}
	t.a = &Account{
		Deployment: p.Deployment, Group: p.Group, GroupName: p.GroupName, Application: p.Application, Revision: RevisionOf(past, p), Local: p.Local && !p.Foreign,
		Began: p.First.UTC().Truncate(time.Millisecond), TookMS: p.Took().Milliseconds(),
		Host: []Fact{}, Findings: []Finding{}, Events: []EventAccount{}, Files: []FileChange{},
	}
	t.before = before(past, p)
	if t.before != nil {
		t.a.From = RevisionOf(past, t.before)
	}
	t.asked = t.root.asked(p)
	t.a.Kind = kindOfPast(p, t.asked)
	for i := range p.Events {
		t.a.Events = append(t.a.Events, t.event(&p.Events[i]))
	}
	if err := t.log(); err != nil {
		return nil, err
	}
	t.orders()
	t.outcome()
	t.changes()
	return t.a, nil
}

// RevisionOf is what a deployment has installed: of a local undo that of the deployment it has brought back. past are all deployments.
func RevisionOf(past []*Past, p *Past) string {
	for range past { // no more steps than there are deployments, whatever the history says
		to := p.BroughtBack()
		i := slices.IndexFunc(past, func(o *Past) bool {
			return to != "" && o != p && o.Group == p.Group && o.Deployment == to && o.Revision != ""
		})
		if i < 0 {
			break
		}
		p = past[i]
	}
	return p.Revision
}

// telling is an account under way.
type telling struct {
	root   root
	past   []*Past
	p      *Past
	before *Past       // whose files were there before; nil where there were none
	asked  *Deployment // the specification, as long as there is a ticket; else nil
	o      AccountOptions
	a      *Account
}

// record is what the history has of an event of a deployment, and its place there; nil, -1 if it has nothing.
func (p *Past) record(ev Event) (*Record, int) {
	for i := range p.Events {
		if p.Events[i].Event == ev {
			return &p.Events[i], i
		}
	}
	return nil, -1
}

// installed reports whether Install has succeeded in a deployment.
func installed(p *Past) (at time.Time, ok bool) {
	if r, _ := p.record(Install); r != nil && r.Code == Succeeded {
		return r.At, true
	}
	return time.Time{}, false
}

// before is the deployment of the group whose files a deployment has found; nil if there was none, or it is not known any more.
func before(past []*Past, p *Past) (found *Past) {
	var when time.Time
	for _, o := range past {
		if o == p || o.Group != p.Group || o.Foreign {
			continue
		}
		if at, ok := installed(o); ok && at.Before(p.Last) && o.First.Before(p.First) && at.After(when) {
			found, when = o, at
		}
	}
	return found
}

// asked is the specification of a deployment of the service, from the tickets of the last day.
func (r root) asked(p *Past) *Deployment {
	if p.Local || p.Foreign {
		return nil
	}
	names, err := filepath.Glob(r.own("tickets", "*.json"))
	if err != nil {
		return nil
	}
	ts := &tickets{root: r}
	for _, name := range names {
		if t, err := ts.read(name); err == nil && t.deployment.ID == p.Deployment && t.deployment.GroupID == p.Group {
			return t.deployment
		}
	}
	return nil
}

// kindOfPast names the kind of a deployment as Kinds does, as far as its specification, or else its events, tell one from another.
func kindOfPast(p *Past, d *Deployment) string {
	of := func(list ...Event) bool {
		for _, ev := range list {
			if r, _ := p.record(ev); r != nil {
				return true
			}
		}
		return false
	}
	balanced, installs := of(BeforeBlockTraffic, AfterBlockTraffic), of(ApplicationStop, DownloadBundle, Install)
	switch {
	case p.Foreign:
		return ""
	case p.Undoes != "", d != nil && d.Creator == creatorRollback:
		return "rollback"
	case p.Local:
		return "in-place"
	case d != nil && d.Creator == creatorAutoscaling && installs:
		return "asg-launch"
	case d != nil && d.Type == typeBlueGreen:
		return "blue-green"
	case balanced && installs:
		return "in-place-lb"
	case d != nil && d.Type == defaultType && installs && p.Complete() && !of(BeforeAllowTraffic, AfterAllowTraffic):
		return "in-place"
	}
	return ""
}

// whose is whose scripts an event has run (H-3, H-4); empty where it is not known.
func (t *telling) whose(ev Event) string {
	row, ok := ev.row()
	switch {
	case !ok || row.does != runScripts:
		return ""
	case t.asked != nil:
		return ev.revisionFor(t.asked).String()
	case t.p.Local && t.downloaded(ev):
		return thisRevision.String() // H-5: what is on disk counts
	case !t.p.Local && row.revision != row.rollback && t.a.Kind != "in-place-lb":
		return "" // it depends on who has made the deployment
	}
	return row.revision.String()
}

// downloaded reports whether an event came after the one that brings the revision.
func (t *telling) downloaded(ev Event) bool {
	_, mine := t.p.record(ev)
	_, its := t.p.record(DownloadBundle)
	return its >= 0 && (mine < 0 || its < mine)
}

func (t *telling) event(r *Record) EventAccount {
	e := EventAccount{
		Event: r.Event, Whose: t.whose(r.Event), Began: r.At.Add(-r.Took).UTC().Truncate(time.Millisecond), TookMS: r.Took.Milliseconds(),
		Outcome: OutcomeSucceeded, Code: r.Code,
	}
	log := strings.TrimSpace(t.o.Redact(r.Log))
	switch row, ok := r.Event.row(); {
	case r.Code != Succeeded:
		e.Outcome, e.Message = OutcomeFailed, t.o.Redact(r.Message)
		if rest := strings.TrimSpace(strings.TrimPrefix(log, e.Message)); rest != "" {
			e.Message += "\n" + rest
		}
	case ok && row.does != runScripts:
		e.Message = log
	default:
		// "AfterInstall: nothing to run, there is no archive of …", or what its scripts took.
		first, rest, _ := strings.Cut(log, "\n")
		first = strings.TrimPrefix(first, string(r.Event)+": ")
		if why, ok := strings.CutPrefix(first, "nothing to run, "); ok {
			e.Nothing = why
		} else if strings.HasPrefix(first, "no scripts ") {
			e.Nothing = first
		}
		e.Message = strings.TrimSpace(rest)
	}
	return e
}

// find is the account of an event, made if need be: the log may know of one that the history does not.
func (t *telling) find(ev Event, at time.Time) *EventAccount {
	for i := range t.a.Events {
		if t.a.Events[i].Event == ev {
			return &t.a.Events[i]
		}
	}
	outcome := OutcomeForeign
	switch {
	case ev == t.o.InHand:
		outcome = OutcomeInHand
	case !t.p.Foreign:
		outcome = OutcomeInterrupted
	}
	t.a.Events = append(t.a.Events, EventAccount{Event: ev, Whose: t.whose(ev), Began: at.UTC(), TookMS: UnknownMS, Outcome: outcome})
	return &t.a.Events[len(t.a.Events)-1]
}

// orders completes the scripts by what the appspec asked for and what the history says of them.
func (t *telling) orders() {
	for i := range t.a.Events {
		e := &t.a.Events[i]
		rec, _ := t.p.record(e.Event)
		if rec == nil {
			rec = &Record{Code: -1}
		}
		if rec.Script != "" && (len(e.Scripts) == 0 || e.Scripts[len(e.Scripts)-1].Script != rec.Script) {
			e.Scripts = append(e.Scripts, ScriptAccount{Script: rec.Script, TookMS: UnknownMS, Exit: -1}) // it was never started, or its log is gone
		}
		asked := t.scripts(e)
		from, summary := e.Began, rec.Log
		for j := range e.Scripts {
			s := &e.Scripts[j]
			if s.Began.Before(from) { // the log has whole seconds
				s.Began = from
			}
			// They ran in the order of the appspec, and one may be there twice.
			s.RunAs = UnknownUser
			for k := range asked {
				if asked[k].Location == s.Script {
					s.RunAs, s.TimeoutMS = asked[k].RunAs, asked[k].Timeout.Milliseconds()
					asked = asked[k+1:]
					break
				}
			}
			summary = t.became(s, rec, summary, j == len(e.Scripts)-1)
			from = s.Began.Add(time.Duration(max(s.TookMS, 0)) * time.Millisecond)
		}
		if n := len(e.Scripts); n > 0 && e.Outcome == OutcomeFailed && e.Scripts[n-1].Message != "" {
			e.Message = "" // the script says it, and what was reported of its output is in the log
			if len(e.Scripts[n-1].Output) == 0 {
				e.Message = strings.TrimSpace(strings.TrimPrefix(t.o.Redact(rec.Log), e.Scripts[n-1].Message))
			}
		}
	}
}

// scripts are those that the appspec asks for in an event, as long as its bundle is on disk.
func (t *telling) scripts(e *EventAccount) []appspec.Script {
	archive := t.archive(e)
	if archive == "" {
		return nil
	}
	spec, err := readSpec(archive, t.p.appSpec())
	if err != nil {
		return nil
	}
	return spec.Scripts(string(e.Event))
}

// archive is the unpacked bundle whose scripts an event has run; empty where it is not on disk any more, or not known.
func (t *telling) archive(e *EventAccount) string {
	switch {
	case e.Whose == lastSuccessful.String() && t.before != nil:
		return t.before.Archive
	case e.Whose == thisRevision.String() || e.Whose == "" && (t.p.Local || t.p.Foreign):
		return t.p.Archive
	}
	return ""
}

var (
	exitCode  = regexp.MustCompile(`exit (?:code|status) (\d{1,3})\b`)
	afterTime = regexp.MustCompile(`\(after ([0-9a-zµ.]+)\)`)
)

// became says how a script has ended: the failed one by the message of its event, the others by the event's summary, of which the rest is
// returned.
func (t *telling) became(s *ScriptAccount, rec *Record, summary string, last bool) (rest string) {
	switch {
	case rec.Code < Succeeded:
		s.Exit = -1 // nothing is known of its end
	case rec.Code > Succeeded && last && rec.Script == s.Script:
		s.Code, s.Message, s.Exit = rec.Code, t.o.Redact(rec.Message), -1
		if m := exitCode.FindStringSubmatch(s.Message); m != nil {
			s.Exit, _ = strconv.Atoi(m[1]) //nolint:errcheck // digits
		}
		if m := afterTime.FindStringSubmatch(s.Message); m != nil {
			s.TookMS = milliseconds(m[1])
		}
	case rec.Code == Succeeded:
		if _, after, ok := strings.Cut(summary, s.Script+" "); ok {
			end := strings.IndexAny(after+" ", " ,;\n")
			s.TookMS = milliseconds(after[:end])
			return after[end:]
		}
	}
	return summary
}

func milliseconds(text string) int64 {
	d, err := time.ParseDuration(text)
	if err != nil {
		return UnknownMS
	}
	return d.Milliseconds()
}
