// Package hooks runs one script and stays in control of it: as the configured user, with a given environment, until a
// deadline, with its whole process tree and all its output. It knows nothing of deployments.
//
// Each run is a folder and a small process, the shim, that outlives whoever started it. The folder tells at any time what
// became of the run: run.json is the order, started says that the script may have begun, result.json what came of it, and
// the lock on the file lock is held for as long as the shim works on it. So a caller may be ended, replaced or killed at any
// instant, attach again, and still get one result for one run.
//
// What it promises: the script is started at most once; a result comes within the timeout, the grace and one second; after
// a timeout nothing of the script is left running; a process that outlives a successful script is named, never killed, and
// never loses its reader; output costs constant memory.
package hooks

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Defaults for the zero values of Script.
const (
	DefaultTimeout        = time.Hour
	DefaultGrace          = 5 * time.Second
	DefaultOpenOutputWait = 2 * time.Second
)

// Values of Script.OpenOutput and Script.RunAsMode.
const (
	OpenOutputWarn = "warn" // a process that still holds the output is named; the script's own exit decides
	OpenOutputFail = "fail" // it is waited for until the deadline, and is then an ErrOutputOpen (H-36)

	RunAsSetuid = "setuid" // the shim switches user and groups itself: no PAM, and a user without a login shell will do
	RunAsSu     = "su"     // su does, with what PAM adds to it (H-14)
)

// Script is the order for one run. Dir, Path and Timeout are what a caller always gives; zero fields mean the documented
// default.
type Script struct {
	// Dir is the run folder: absolute, of this run alone, made with mode 0700 when missing. It stays after the run; whoever
	// gave it removes it, once the result was read.
	Dir string `json:"-"`
	// Path is the script: absolute. Confining it to an archive is the caller's part.
	Path string `json:"path"`
	// Name is what messages and logs call the script, as written in the appspec; Path when empty.
	Name string `json:"name"`

	// RunAs is the user to run as; RunAsSet tells an empty name that was given from none (A-20, V-51).
	RunAs    string `json:"run_as,omitempty"`
	RunAsSet bool   `json:"run_as_set,omitempty"`
	// RunAsMode is RunAsSetuid (default) or RunAsSu.
	RunAsMode string `json:"run_as_mode,omitempty"`
	// Sudo runs the script through sudo (H-15, H-16).
	Sudo bool `json:"sudo,omitempty"`
	// SudoEnv names the variables that sudo is told to keep; nil keeps those of H-20 and H-21 and SLIPWAY_*.
	SudoEnv []string `json:"sudo_env,omitempty"`

	Timeout time.Duration `json:"timeout"` // from the script's start; DefaultTimeout when zero
	Grace   time.Duration `json:"grace"`   // from TERM to KILL; DefaultGrace when zero, none when negative

	// Env is the complete environment. With a run-as user HOME, SHELL, USER and LOGNAME are replaced, and PATH is added if
	// missing, as su does (H-22). It reaches the shim through a pipe and is never written to disk.
	Env []string `json:"-"`
	// Redact lists values that may appear in no log and no report. They go the way of Env.
	Redact []string `json:"-"`
	// WorkDir is "/" when empty.
	WorkDir string `json:"work_dir"`

	// ScriptsLog and DeploymentsLog are appended to; "" for none. Missing folders are made. DeploymentID marks the entries
	// of the second (H-26).
	ScriptsLog     string `json:"scripts_log,omitempty"`
	DeploymentsLog string `json:"deployments_log,omitempty"`
	DeploymentID   string `json:"deployment_id,omitempty"`
	// Header lines are written before anything else, such as the event's "LifecycleEvent - AfterInstall" before its first
	// script (H-9). The line "Script - <Name>" is written by the shim, once the script is found and executable (H-12).
	Header []string `json:"header,omitempty"`

	// Limits bound what the script and all it starts may take, as far as the Container of the Runner can enforce it.
	Limits Limits `json:"limits,omitzero"`

	// OpenOutput is OpenOutputWarn (default) or OpenOutputFail.
	OpenOutput string `json:"open_output"`
	// OpenOutputWait is how long a process that outlived the script may hold the output; DefaultOpenOutputWait when zero.
	OpenOutputWait time.Duration `json:"open_output_wait"`
}

// withDefaults fills the zero fields and refuses what no run can be made of.
func (s Script) withDefaults() (Script, error) {
	for what, path := range map[string]string{"run folder": s.Dir, "script": s.Path} {
		if !filepath.IsAbs(path) {
			return s, fmt.Errorf("run script %s: the path of the %s, %q, is not absolute", s.name(), what, path)
		}
	}
	for what, text := range map[string]string{"script path": s.Path, "run-as user": s.RunAs, "working directory": s.WorkDir} {
		if strings.ContainsRune(text, 0) {
			return s, fmt.Errorf("run script %s: NUL in the %s", s.name(), what)
		}
	}
	for i, v := range s.Env {
		if v == "" || strings.ContainsRune(v, 0) {
			return s, fmt.Errorf("run script %s: entry %d of the environment is empty or has a NUL", s.name(), i)
		}
	}
	if !slices.Contains([]string{"", OpenOutputWarn, OpenOutputFail}, s.OpenOutput) {
		return s, fmt.Errorf("run script %s: open output policy %q is neither %s nor %s", s.name(), s.OpenOutput, OpenOutputWarn, OpenOutputFail)
	}
	if !slices.Contains([]string{"", RunAsSetuid, RunAsSu}, s.RunAsMode) {
		return s, fmt.Errorf("run script %s: run-as mode %q is neither %s nor %s", s.name(), s.RunAsMode, RunAsSetuid, RunAsSu)
	}
	if err := s.Limits.valid(); err != nil {
		return s, fmt.Errorf("run script %s: %w", s.name(), err)
	}
	s.Name = s.name()
	if s.WorkDir == "" {
		s.WorkDir = "/"
	}
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	s.Grace = max(s.Grace, 0)
	if s.OpenOutputWait <= 0 {
		s.OpenOutputWait = DefaultOpenOutputWait
	}
	if s.OpenOutput == "" {
		s.OpenOutput = OpenOutputWarn
	}
	if s.RunAsMode == "" {
		s.RunAsMode = RunAsSetuid
	}
	return s, nil
}

func (s Script) name() string {
	if s.Name == "" {
		return s.Path
	}
	return s.Name
}

// runName names the run in its container: the last two parts of its folder, which tell more than a number.
func (s Script) runName() string {
	return filepath.Base(filepath.Dir(s.Dir)) + "-" + filepath.Base(s.Dir)
}

// Result is what became of a run.
type Result struct {
	// Script is the script's name, RunAs the user it ran as, "" for the agent's own.
	Script, RunAs string
	// Err is nil for a script that ended with 0 in time, else a *Failure.
	Err error
	// Exit is the exit code, -1 when there is none; Signal names the signal that killed the script, such as "SIGKILL".
	Exit   int
	Signal string
	// Started and Ended are those of the script; both zero when it was never started.
	Started, Ended time.Time
	// Tail is the newest whole entries of the log, at most 2047 bytes of valid UTF-8 (H-29..H-32, X-40).
	Tail string
	// Excerpt is what a person needs of the output.
	Excerpt Excerpt
	// Left lists processes that the script left running, Holders those of them that still hold its output.
	Left    []Process
	Holders []Holder
	// Notes are things worth telling that failed nothing: execute bits added, a log that could not be written.
	Notes []string
}

// Process is one that a script left behind.
type Process struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

// Holder is a process with an open descriptor of a script's output.
type Holder struct {
	Process
	Stream string `json:"stream"` // stdout or stderr
	FD     int    `json:"fd"`     // its descriptor number in that process
}

func (h Holder) String() string {
	return fmt.Sprintf("process %d (%s) holds %s as descriptor %d", h.PID, h.Command, h.Stream, h.FD)
}

// ErrNotStarted is what Attach answers when the script of a run folder was certainly never started: Start may be called.
var ErrNotStarted = errors.New("script was not started")

// ErrStarted is what Start answers for a folder whose run has begun already: Attach is what is wanted.
var ErrStarted = errors.New("run folder is in use already")

// Runner starts and adopts runs. The zero Runner is of no use: Shim is needed.
type Runner struct {
	// Shim is the command line of the shim. The program has to hand over to ShimMain, such as {"/proc/self/exe", "hook-shim"}.
	Shim []string
	// Container is where runs live; nil means process group and child subreaper alone.
	Container Container
	Log       *zap.Logger

	mu      sync.Mutex    // guards all below
	ready   chan *waiting // gives the shim that waits for an order, or that is being started for that; nil: none
	leave   *time.Timer   // sends it away
	replace bool          // Prepare has been called: a shim that ended is replaced
}

func (r *Runner) log() *zap.Logger {
	if r.Log == nil {
		return zap.NewNop()
	}
	return r.Log
}
