package health

import (
	"context"
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
	"unicode/utf8"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// DefaultMarker is where the drain marker is looked for.
const DefaultMarker = "/run/slipway/drain"

// A Marker is the content of a drain marker: a file whose presence takes the instance out of the pool. An empty file is one without a
// reason and without an end; a line of text is a reason.
type Marker struct {
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"` // zero: until the file is removed
}

const (
	markerMost = 16 << 10 // bytes
	reasonMost = 300      // bytes of a reason
	// markerLook is how often the marker is looked at where changes of its folder cannot be watched, markerCare where they are.
	markerLook = 5 * time.Second
	markerCare = time.Minute
)

// A MarkerError says why a marker does not count: whoever may write it could take the instance out of service.
type MarkerError struct{ Path, Problem string }

func (e *MarkerError) Error() string { return "drain marker " + e.Path + ": " + e.Problem }

// ReadMarker reads a marker; nil if there is none. A *MarkerError says that it is not one to heed: it is not a regular file, or somebody
// else than root and this process's user could have written it. What a marker says and cannot be understood still drains: somebody wanted
// that.
func ReadMarker(path string) (*Marker, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, syscall.ELOOP):
		return nil, &MarkerError{path, "it is a symbolic link, which is not followed"}
	case err != nil:
		return nil, fmt.Errorf("read the drain marker: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the drain marker: %w", err)
	}
	if problem := markerProblem(path, info); problem != "" {
		return nil, &MarkerError{path, problem}
	}
	data, err := io.ReadAll(io.LimitReader(f, markerMost+1))
	if err != nil {
		return nil, fmt.Errorf("read the drain marker: %w", err)
	}
	m := parseMarker(data)
	if m.Since.IsZero() {
		m.Since = info.ModTime()
	}
	if m.Reason == "" {
		m.Reason = "marker " + path
	}
	return m, nil
}

// markerProblem says what is wrong with who may write the marker; empty: nothing.
func markerProblem(path string, info fs.FileInfo) string {
	mine := func(i fs.FileInfo) bool {
		st, ok := i.Sys().(*syscall.Stat_t)
		return ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
	}
	const others = 0o022
	switch {
	case !info.Mode().IsRegular():
		return "it is not a regular file"
	case !mine(info):
		return "it belongs to another user: only root's counts"
	case info.Mode().Perm()&others != 0:
		return fmt.Sprintf("others may write it (mode %04o): take that away with chmod go-w", info.Mode().Perm())
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err == nil && (!mine(folder) || folder.Mode().Perm()&others != 0 && folder.Mode()&fs.ModeSticky == 0) {
		return "others may write its folder " + filepath.Dir(path)
	}
	return ""
}

// parseMarker makes the most of what a marker holds.
func parseMarker(data []byte) *Marker {
	if len(data) > markerMost {
		return &Marker{Reason: "a drain marker of more than 16 KiB"}
	}
	text := strings.TrimSpace(string(data))
	if !strings.HasPrefix(text, "{") {
		return &Marker{Reason: shortReason(text)}
	}
	var m Marker
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return &Marker{Reason: "a drain marker that cannot be read: " + shortReason(err.Error())}
	}
	m.Reason = shortReason(m.Reason)
	return &m
}

// shortReason is one line of printable text.
func shortReason(s string) string {
	s = oneLine(strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return ' '
		}
		return r
	}, s))
	if len(s) > reasonMost {
		s = strings.ToValidUTF8(s[:reasonMost], "") + "…"
	}
	return s
}

// FollowMarker drains while the marker at path is there, until ctx ends. It notices a change at once where the folder can be watched, else
// within five seconds. A marker whose end has passed is removed. What is wrong with a marker is logged once. The first look has happened
// when ready is called; nil: nobody is told.
func (r *Registry) FollowMarker(ctx context.Context, path string, ready func()) {
	f := &follower{registry: r, path: path}
	f.watch()
	defer f.unwatch()
	defer f.apply(nil)
	for {
		expiry := f.look()
		if ready != nil {
			ready()
			ready = nil
		}
		wait := markerLook
		if f.watcher != nil {
			wait = markerCare
		}
		if expiry > 0 {
			wait = min(wait, expiry)
		}
		if !f.wait(ctx, wait) {
			return
		}
		if f.watcher == nil {
			f.watch()
		}
	}
}

// wait returns when it is time to look again, or false when ctx ends.
func (f *follower) wait(ctx context.Context, most time.Duration) bool {
	var events <-chan fsnotify.Event
	var errs <-chan error
	if f.watcher != nil {
		events, errs = f.watcher.Events, f.watcher.Errors
	}
	over := time.NewTimer(most)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-over.C:
			return true
		case <-errs: //nolint:errcheck // something may have been missed: it is looked for
			return true
		case e := <-events:
			switch {
			case e.Name == filepath.Dir(f.path) && e.Op&(fsnotify.Remove|fsnotify.Rename) != 0:
				f.unwatch() // one of this name that comes is another folder
				return true
			case filepath.Base(e.Name) == filepath.Base(f.path):
				return true
			}
		}
	}
}

// follower is the drain that a marker file has set.
type follower struct {
	registry *Registry
	path     string
	watcher  *fsnotify.Watcher // nil: the folder is not watched
	now      Marker
	undrain  func() // nil: there is none
	told     string // the last trouble, so that it is told once
	blind    bool   // that the folder is not watched was told
}

// watch watches the folder: a file may be replaced as a whole, and may not be there yet.
func (f *follower) watch() {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		if err = w.Add(filepath.Dir(f.path)); err != nil {
			_ = w.Close()
		}
	}
	switch {
	case err == nil:
		f.watcher, f.blind = w, false
	case !errors.Is(err, fs.ErrNotExist) && !f.blind: // it is tried again with each look
		f.blind = true
		f.registry.log.Warn("the folder of the drain marker is not watched: it is looked at every 5 s", zap.Error(err))
	}
}

func (f *follower) unwatch() {
	if f.watcher != nil {
		_ = f.watcher.Close()
		f.watcher = nil
	}
}

// look reads the marker and applies it; it returns the time until its end, zero if it has none.
func (f *follower) look() time.Duration {
	m, err := ReadMarker(f.path)
	if err != nil {
		// A marker that must not count does not; one that cannot be read changes nothing.
		f.tell("the drain marker is not heeded", err)
		if wrong := (*MarkerError)(nil); errors.As(err, &wrong) {
			f.apply(nil)
		}
		return 0
	}
	f.told = ""
	if m != nil && !m.Until.IsZero() && !time.Now().Before(m.Until) {
		if err := os.Remove(f.path); err != nil {
			f.tell("remove the drain marker whose end has passed", err)
		}
		m = nil
	}
	f.apply(m)
	if m == nil || m.Until.IsZero() {
		return 0
	}
	return max(time.Until(m.Until), time.Millisecond)
}

func (f *follower) apply(m *Marker) {
	old := f.undrain
	switch {
	case m == nil && old == nil, m != nil && old != nil && m.same(f.now):
		return
	case m == nil:
		f.undrain = nil
	default:
		f.now, f.undrain = *m, f.registry.drainSince(m.Reason, m.Since, m.Until)
	}
	if old != nil { // only now: a marker that is replaced must not let traffic in for a moment
		old()
	}
}

func (m *Marker) same(o Marker) bool {
	return m.Reason == o.Reason && m.Since.Equal(o.Since) && m.Until.Equal(o.Until)
}

func (f *follower) tell(what string, err error) {
	if f.told != what+err.Error() {
		f.told = what + err.Error()
		f.registry.log.Warn(what, zap.Error(err))
	}
}
