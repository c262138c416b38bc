package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The files of a run folder.
const (
	runFile     = "run.json"    // the order, by the starter
	startedFile = "started"     // made exclusively before the script may begin
	resultFile  = "result.json" // what became of it
	lockFile    = "lock"        // locked while the shim works on the run; holds what a shim that broke down had to say
)

// recordVersion goes up when an older reader would misunderstand a record; an added field is not that.
const recordVersion = 1

// maxRecord bounds what is read back of a record.
const maxRecord = 1 << 20

// order is run.json.
type order struct {
	Version int `json:"version"`
	Script
}

// began is the content of started: which process of which boot had the run.
type began struct {
	Version   int       `json:"version"`
	BootID    string    `json:"boot_id"`
	PID       int       `json:"pid"`
	StartTime uint64    `json:"start_time"` // of the process, in clock ticks since boot
	At        time.Time `json:"at"`
	Place     Place     `json:"place"`
}

// outcome is result.json. Kind is empty exactly if the script ended well.
type outcome struct {
	Version int           `json:"version"`
	Script  string        `json:"script"`
	RunAs   string        `json:"run_as,omitempty"`
	Kind    string        `json:"kind,omitempty"`
	Detail  string        `json:"detail,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
	Exit    int           `json:"exit"`
	Signal  string        `json:"signal,omitempty"`
	Started time.Time     `json:"started,omitzero"`
	Ended   time.Time     `json:"ended,omitzero"`
	Tail    string        `json:"tail,omitempty"`
	Excerpt Excerpt       `json:"excerpt"`
	Left    []Process     `json:"left,omitempty"`
	Holders []Holder      `json:"holders,omitempty"`
	Notes   []string      `json:"notes,omitempty"`
}

func outcomeOf(r Result) (outcome, error) {
	o := outcome{
		Version: recordVersion, Script: r.Script, RunAs: r.RunAs, Exit: r.Exit, Signal: r.Signal, Started: r.Started, Ended: r.Ended,
		Tail: r.Tail, Excerpt: r.Excerpt, Left: r.Left, Holders: r.Holders, Notes: r.Notes,
	}
	if r.Err == nil {
		return o, nil
	}
	f, ok := errors.AsType[*Failure](r.Err)
	if !ok {
		return o, fmt.Errorf("record result of script %s: not a failure of a script: %w", r.Script, r.Err)
	}
	for _, k := range kinds {
		if errors.Is(f, k.err) {
			o.Kind = k.name
		}
	}
	o.Detail, o.Took = f.Detail, f.Took
	return o, nil
}

func (o outcome) result() (Result, error) {
	r := Result{
		Script: o.Script, RunAs: o.RunAs, Exit: o.Exit, Signal: o.Signal, Started: o.Started, Ended: o.Ended,
		Tail: o.Tail, Excerpt: o.Excerpt, Left: o.Left, Holders: o.Holders, Notes: o.Notes,
	}
	if o.Kind == "" {
		if o.Exit != 0 || o.Signal != "" {
			return Result{}, fmt.Errorf("exit code %d and signal %q without a failure", o.Exit, o.Signal)
		}
		return r, nil
	}
	for _, k := range kinds {
		if o.Kind == k.name {
			r.Err = &Failure{Kind: k.err, Script: o.Script, RunAs: o.RunAs, Detail: o.Detail, Took: o.Took}
			return r, nil
		}
	}
	return Result{}, fmt.Errorf("unknown kind of failure %q", o.Kind)
}

// versioned is what all records begin with.
func checkVersion(name string, data []byte) error {
	var v struct {
		Version *int `json:"version"`
	}
	switch err := json.Unmarshal(data, &v); {
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	case v.Version == nil:
		return fmt.Errorf("read %s: no version in it", name)
	case *v.Version != recordVersion:
		return fmt.Errorf("read %s: version %d, want %d: it was written by another version of this program", name, *v.Version, recordVersion)
	}
	return nil
}

func decodeResult(data []byte) (Result, error) {
	if err := checkVersion(resultFile, data); err != nil {
		return Result{}, err
	}
	var o outcome
	if err := json.Unmarshal(data, &o); err != nil {
		return Result{}, fmt.Errorf("read %s: %w", resultFile, err)
	}
	r, err := o.result()
	if err != nil {
		return Result{}, fmt.Errorf("read %s: %w", resultFile, err)
	}
	return r, nil
}

func decodeOrder(data []byte) (Script, error) {
	if err := checkVersion(runFile, data); err != nil {
		return Script{}, err
	}
	var o order
	if err := json.Unmarshal(data, &o); err != nil {
		return Script{}, fmt.Errorf("read %s: %w", runFile, err)
	}
	return o.Script, nil
}

func decodeBegan(data []byte) (began, error) {
	if err := checkVersion(startedFile, data); err != nil {
		return began{}, err
	}
	var b began
	if err := json.Unmarshal(data, &b); err != nil {
		return began{}, fmt.Errorf("read %s: %w", startedFile, err)
	}
	return b, nil
}

// readRecord reads a file of a run folder whole.
func readRecord(dir, name string) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err == nil && len(data) > maxRecord {
		err = fmt.Errorf("read %s: larger than %d bytes", f.Name(), maxRecord)
	}
	return data, err
}

// place replaces a file of a run folder: a crash leaves the old one, or the new one whole, or a temporary name that the next
// write takes over. Only the new name may not be durable yet.
func place(dir, name string, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	tmp := temporary(dir, name)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(tmp, data); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}

// temporary is what a file of a run folder is called while it is written.
func temporary(dir, name string) string { return filepath.Join(dir, "."+name+".tmp") }

// writeNew makes a file that may not exist yet, and makes it durable. One that cannot be written whole, as on a full disk, is not left: that
// it is there at all says something.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// What is kept free on the disk for a result: more than nearly all have, and at least what a short one has.
const (
	roomMost  = 64 << 10
	roomLeast = 4 << 10
)

// keepRoom takes the place on the disk that the result will need, so that a script that fills the disk ends with a result as any other does. nil:
// there is no such place, or the file system cannot keep one.
func keepRoom(dir string) *os.File {
	f, err := os.OpenFile(temporary(dir, resultFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil
	}
	for size := int64(roomMost); size >= roomLeast; size /= 2 {
		if unix.Fallocate(int(f.Fd()), 0, 0, size) == nil {
			return f
		}
	}
	f.Close()
	_ = os.Remove(f.Name()) // place would take it over too
	return nil
}

// fillRoom is place for the result, in the room that was kept for it: what is beyond that fails on a full disk, and a shorter one is tried.
func fillRoom(room *os.File, dir string, o outcome) error {
	defer room.Close()
	err := overwrite(room, o)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = overwrite(room, o.short())
	}
	if err != nil {
		return err
	}
	return os.Rename(room.Name(), filepath.Join(dir, resultFile))
}

func overwrite(f *os.File, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(append(data, '\n'), 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(data)) + 1); err != nil {
		return err
	}
	return f.Sync()
}

// short is the outcome with little of the script's output, for a full disk.
func (o outcome) short() outcome {
	const output, listed = 1 << 10, 4
	o.Tail = ""
	o.Excerpt.Stderr, o.Excerpt.Tail, o.Excerpt.Errors = newest(o.Excerpt.Stderr, output), newest(o.Excerpt.Tail, output), nil
	o.Left, o.Holders, o.Notes = o.Left[:min(len(o.Left), listed)], o.Holders[:min(len(o.Holders), listed)], o.Notes[:min(len(o.Notes), listed)]
	return o
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// bootID tells this boot of the host from others; "" where the kernel does not say.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// tryLock reports whether the lock of an open lock file is free, by taking and leaving it.
func tryLock(f *os.File) (free bool, err error) {
	switch err := flock(f, unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, flock(f, unix.LOCK_UN)
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}
