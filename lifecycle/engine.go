package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
	"slipway/lifecycle/install"
)

// Fetcher brings a revision to this host: the bundle into a file, and what is in it into a folder. It returns when both are whole and
// verified; on an error they hold anything.
type Fetcher interface {
	Bring(ctx context.Context, rev bundle.Revision, file *os.File, to *os.Root, limits bundle.Limits) (bundle.Object, bundle.Stats, error)
}

// Options are what an Engine is made of. Zero fields have the meaning that is said beside them.
type Options struct {
	Root        string // the deployment root (I-1): an absolute path
	Program     string // names the deployments log (I-10); "codedeploy-agent" when empty
	Tracking    string // the official agent's tracking folder (C-17); "ongoing-deployment" when empty
	Fetcher     Fetcher
	Runner      *hooks.Runner
	NoDeployLog bool // leaves out the deployments log (C-16)
	// Closed keeps the deployment root from other users (V-111): they pass through its folders to scripts that run as them, and list and read
	// nothing of what is the agent's. What is there already is closed when the engine opens.
	Closed   bool
	Settings Settings
	// Terminating reports whether the host is being taken out of service, so that no new revision is looked at; nil: never.
	Terminating func(context.Context) bool
	// HostEnviron are variables for scripts that may change with the host, and Secrets values that may appear in no log and no report. Both
	// answer at once, from any goroutine; nil: none.
	HostEnviron, Secrets func() []string
	// Guest makes an engine for a command beside the daemon, which may have the deployment root: it takes part in the locks of
	// groups and installations, and recovers what a crash left only where no daemon is there to do so.
	Guest bool
	// ReadOnly makes an engine for Preview alone: nothing is locked, made or recovered, and whatever would change something is refused.
	ReadOnly bool
	Log      *zap.Logger
	Observe  func(Observation) // is told what happens, from the goroutine that does it; nil: nobody
	Begin    func(Step)        // is told what begins, likewise
	// Attended says that a person waits for what goes on, and ends it with the context of Run: a running script gets TERM, the grace and
	// KILL, a download ends at once. An installation is finished or undone as ever.
	Attended bool
	// Choose changes which scripts of an event run, and how; nil: those of the appspec. It may change the list that it is given.
	Choose func(Event, []appspec.Script) ([]appspec.Script, error)
}

// Settings are the options that may change while the engine works: see Engine.Set.
type Settings struct {
	MaxRevisions   int           // how many deployments of a group are kept (I-22); 5 when zero
	MaxAge         time.Duration // see Retention
	MinFree        int64         // see Retention
	Limits         bundle.Limits
	Policy         Policy
	Environ        []string      // the environment that scripts inherit, without credentials
	Grace          time.Duration // between TERM and KILL of a script that is over its time; the runner's default when zero
	OpenOutput     string        // what a left-over process that holds a script's output means: "warn" (also "") or "fail"
	OpenOutputWait time.Duration // how long such output is waited for; the runner's default when zero
	RunAsMode      string        // "setuid" (also "") or "su"
	WorkInArchive  bool          // scripts start in the archive that they are of, not in /
	EnvFile        string        // path of a file with variables for scripts, which may have {group} and {application}; with - before it: if it is there
	HookLimits     hooks.Limits  // what one script and all it starts may take together; the zero value for no limits
	StopTimeout    time.Duration // how long a download or installation may go on after the stop of the program; 120 s when zero
	OldRevision    string        // hooks of a revision that is gone: "skip-if-missing" (also ""), "run" (fail as H-6), "skip"
	NoPreflight    bool          // the new revision is looked at when it is downloaded, not before the old one is stopped
	PreflightWait  time.Duration // how long the first event of a deployment waits for that look; not at all when zero
	ReuseArchives  bool          // the archive of the deployment that the service names is taken over (V-62)
	Replace        bool          // where old and new do not fit beside each other the old one goes first, which cannot be undone
	// Gate is asked after the scripts of ValidateService; its error fails the event. It must end in bounded time, and soon after its
	// context. nil: nothing is asked.
	Gate func(context.Context) error
}

func (s *Settings) retention() Retention {
	return Retention{Revisions: s.MaxRevisions, MaxAge: s.MaxAge, MinFree: s.MinFree}
}

// An Observation is one thing that happened, for metrics and for a person who watches.
type Observation struct {
	Event      Event
	Deployment string
	Script     string        // a script that ended; empty: the event ended
	Code       Code          // outcome of the script or of the event
	Exit       int           // exit status of the script
	Took       time.Duration // of the script or of the event
	Bytes      int64         // of the bundle that was downloaded
	Run        *hooks.Result // of the script: all that is known of its run
}

// Engine carries out deployment commands. Its methods may be called from several goroutines; commands of one deployment
// group are carried out one at a time, and one place on the host is installed into by one command at a time.
type Engine struct {
	opts    Options
	root    root
	tickets *tickets
	log     *zap.Logger
	lock    *os.File

	settings atomic.Pointer[Settings]
	groups   sync.Map // group id → *group

	background sync.WaitGroup       // prefetches
	arriving   sync.Mutex           // guards what follows
	prefetches map[string]*prefetch // by deployment id
	closed     bool
}

// ErrLocked says that another engine has the deployment root.
var ErrLocked = errors.New("another agent works in this deployment root")

// errReadOnly says that an engine was made to look only.
var errReadOnly = errors.New("this engine only looks at the host (Options.ReadOnly)")

// Open takes the deployment root, finishes or undoes an installation that was interrupted (it does not need the service), and
// makes ready to carry out commands. The root and its folders are made if they are missing.
func Open(ctx context.Context, opts Options) (*Engine, error) {
	if !filepath.IsAbs(opts.Root) {
		return nil, fmt.Errorf("deployment root %q is not an absolute path", opts.Root)
	}
	defaults(&opts)
	e := &Engine{opts: opts, root: root{path: filepath.Clean(opts.Root), program: opts.Program, closed: opts.Closed}, log: opts.Log, prefetches: map[string]*prefetch{}}
	e.Set(opts.Settings)
	e.tickets = &tickets{root: e.root, tracking: opts.Tracking, mine: map[string]int{}}
	if opts.ReadOnly {
		return e, nil
	}
	if err := os.MkdirAll(e.root.path, e.root.dirMode()); err != nil {
		return nil, fmt.Errorf("make the deployment root: %w", err)
	}
	if e.root.closed {
		if err := e.root.shut(opts.Tracking); err != nil {
			return nil, fmt.Errorf("keep the deployment root from others (restrict_agent_dir_permissions): %w", err)
		}
	}
	for _, name := range []string{"", "tickets", "runs", "prefetch", "groups"} {
		if err := os.MkdirAll(e.root.own(name), 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for the state of deployments: %w", err)
		}
	}
	switch err := e.lockRoot(); {
	case opts.Guest && errors.Is(err, ErrLocked):
		return e, nil // the daemon has recovered what there was
	case err != nil:
		return nil, err
	}
	e.recover(ctx)
	e.tickets.sweep()
	if opts.Guest { // a daemon that is started now must not find the root taken
		e.lock.Close()
		e.lock = nil
	}
	return e, nil
}

// recover finishes or undoes installations that were cut short. One that resists blocks its own group alone: the engine works for the
// others, and the next Open tries again.
func (e *Engine) recover(ctx context.Context) {
	recovered, err := install.Recover(ctx, e.root.path)
	if err != nil {
		e.log.Error("an interrupted installation can neither be finished nor undone: its group takes no installation until that is mended", zap.Error(err))
	}
	for _, r := range recovered {
		e.cutShort(r)
		e.log.Info("interrupted installation settled", zap.String("group", r.Group), zap.String("deployment", r.Deployment), zap.String("outcome", string(r.Outcome)), zap.NamedError("because", r.Err))
	}
}

func defaults(o *Options) {
	if o.Program == "" {
		o.Program = "codedeploy-agent"
	}
	if o.Tracking == "" {
		o.Tracking = trackingFolder
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Observe == nil {
		o.Observe = func(Observation) {}
	}
	if o.Begin == nil {
		o.Begin = func(Step) {}
	}
}

// Set changes the settings. Events in hand end with those they began with.
func (e *Engine) Set(s Settings) {
	s.MaxRevisions = cmp.Or(s.MaxRevisions, 5)
	s.StopTimeout = cmp.Or(s.StopTimeout, 120*time.Second)
	e.settings.Store(&s)
}

func (e *Engine) lockRoot() error {
	name := e.root.own("lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the deployment root: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	for range 10 {
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		time.Sleep(20 * time.Millisecond) // somebody may just be looking whether an agent runs
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", e.root.path, ErrLocked)
		}
		return fmt.Errorf("lock %s: %w", name, err)
	}
	e.lock = f
	return nil
}

// Close ends what goes on in the background and gives the deployment root free. Commands in hand must have ended.
func (e *Engine) Close() error {
	e.settle()
	if e.lock == nil {
		return nil
	}
	return e.lock.Close()
}

// Accept makes the ticket of a command whose specification was verified. It is on disk when Accept returns.
func (e *Engine) Accept(command, execution string, event Event, content []byte) (*Ticket, error) {
	if e.opts.ReadOnly {
		return nil, errReadOnly
	}
	d, err := ParseDeployment(content)
	if err != nil {
		return nil, err
	}
	t := &Ticket{Command: command, Execution: execution, Event: event, deployment: d}
	if err := e.tickets.accept(t, content); err != nil {
		return nil, err
	}
	return t, nil
}

// Ticket returns the ticket of a command that was accepted before; nil if there is none.
func (e *Engine) Ticket(command string) (*Ticket, error) { return e.tickets.load(command) }

// Respecify gives a ticket its specification again: what was left out on disk (the GitHub token) is needed to resume.
func (e *Engine) Respecify(t *Ticket, content []byte) error {
	d, err := ParseDeployment(content)
	if err != nil {
		return err
	}
	t.deployment = d
	return nil
}

// Open tickets are the commands that were accepted and not yet reported, oldest first, as they stand after a restart. Those that
// cannot be read are yielded as errors, once.
func (e *Engine) Open() iter.Seq2[*Ticket, error] {
	return func(yield func(*Ticket, error) bool) {
		for t, err := range e.tickets.all() {
			if err == nil && t.State == Closed {
				continue
			}
			if err == nil {
				err = e.takeUp(t)
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// takeUp makes a ticket of an earlier process ready to go on with. One that was being carried out and has lost its tracking file was settled
// by the official agent, which has worked in this root meanwhile (P-87), or by a person: going on would put an old revision over a
// newer one, so that it is over.
func (e *Engine) takeUp(t *Ticket) error {
	e.tickets.adopt(t)
	if t.State != Running || e.tickets.tracked(t) {
		return nil
	}
	e.log.Warn("the tracking file of a command in hand is gone: another agent has settled the command, it is not gone on with",
		zap.String("command", t.Command), zap.String("event", string(t.Event)), zap.String("deployment", t.deployment.ID))
	return t.Finish(Lost())
}

// Foreign returns the commands that the official agent had in hand when it was stopped for good (P-87).
func (e *Engine) Foreign() ([]Tracked, error) {
	ours := map[string]bool{}
	for t, err := range e.tickets.all() {
		switch {
		case err == nil:
			ours[t.Command] = true
		case !errors.Is(err, errNoTicket):
			return nil, fmt.Errorf("whose the tracking files are cannot be told: %w", err)
		}
	}
	return e.tickets.foreign(ours)
}

// Noop says whether the event has nothing to do in the deployment (P-50). An error means that it cannot be told, and that
// carrying out the command will fail with that error.
func (e *Engine) Noop(d *Deployment, ev Event) (bool, error) {
	row, ok := ev.row()
	if !ok {
		return true, nil
	}
	if row.does != runScripts || e.gated(ev) {
		return false, nil
	}
	rev, err := e.revision(d, ev)
	if err != nil || rev.archive == "" {
		return err == nil, err
	}
	spec, err := readSpec(rev.archive, d.AppSpecFilename)
	if err != nil {
		return false, err
	}
	return len(spec.Scripts(string(ev))) == 0, nil
}

// Run carries out the command of a ticket and always has a result. When ctx ends, a running script is left to its shim and
// Run returns at once with a suspended result; a download or installation gets StopTimeout to end first.
//
// Run may be called again for the same ticket, in this process or the next: what was done is found and not repeated.
func (e *Engine) Run(ctx context.Context, t *Ticket) Result {
	began, d := time.Now(), t.deployment
	if e.opts.ReadOnly {
		return FailedBeforeRun(errReadOnly)
	}
	e.opts.Begin(Step{Event: t.Event})
	unlock, err := e.group(d.GroupID).lock(ctx, func() { e.opts.Begin(Step{Event: t.Event, Waiting: true}) })
	switch {
	case ctx.Err() != nil:
		if err == nil {
			unlock()
		}
		return Result{Err: ErrSuspended}
	case err != nil:
		return failure(ctx, err)
	}
	defer unlock()
	r := e.conceal(d, e.guarded(ctx, t))
	if !r.Suspended() {
		took := time.Since(began)
		e.opts.Observe(Observation{Event: t.Event, Deployment: d.ID, Code: r.Code, Took: took})
		e.remember(t, r, took)
	}
	return r
}

// guarded is dispatch, with a fault of this program kept to the one command that meets it: the next start would meet it again, and no
// other command would ever be carried out.
func (e *Engine) guarded(ctx context.Context, t *Ticket) (r Result) {
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		e.log.Error("a fault of this program ended the command", zap.Any("fault", fault), zap.ByteString("stack", debug.Stack()))
		if t.Event == Install {
			e.recover(context.WithoutCancel(ctx))
		}
		r = failure(ctx, fmt.Errorf("a fault of the agent ended %s: %v (its log has more)", t.Event, fault))
	}()
	return e.dispatch(ctx, t)
}

func (e *Engine) dispatch(ctx context.Context, t *Ticket) Result {
	d := t.deployment
	row, ok := t.Event.row()
	switch {
	case t.Event == UpdateDeploymentAgent:
		return FailedBeforeRun(errors.New("this agent is updated by the package manager of the host, never by the service: the command was not run"))
	case !ok && !d.Local:
		return FailedBeforeRun(fmt.Errorf("unknown command %q: this agent knows the events %v", t.Event, Events()))
	}
	if err := e.root.mkdir(d.GroupID, d.ID); err != nil { // I-1
		return failure(ctx, err)
	}
	switch row.does {
	case downloadBundle:
		return e.download(ctx, d)
	case installFiles:
		return e.installFiles(ctx, d)
	}
	notes, err := e.ahead(ctx, t)
	switch {
	case ctx.Err() != nil:
		return Result{Err: ErrSuspended}
	case err != nil:
		return told(failure(ctx, err), notes)
	default:
		return told(e.gate(ctx, t, e.scripts(ctx, t)), notes)
	}
}

// guard makes an error of a fault of this program in something that goes on in the background.
func guard(f func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("a fault of the agent: %v", fault)
		}
	}()
	return f()
}

// graced is a context for work that may go on for some time after ctx ends, and is then suspended.
func graced(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(patience, func() { cancel(ErrSuspended) })
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, func() { stop(); cancel(context.Canceled) }
}
