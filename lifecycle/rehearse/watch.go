package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// Marks are the events of a rehearsal as they begin: what is watched belongs to the one that went on at that time. All watches of a rehearsal
// share one. It is safe for concurrent use; the zero value is ready, and a nil one knows of no event.
type Marks struct {
	mu   sync.Mutex // guards what follows
	list []eventMark
}

type eventMark struct {
	ev lifecycle.Event
	at time.Duration // since boot, as /proc tells when a process began
}

// Mark says that an event begins. What happens from now on is its.
func (m *Marks) Mark(ev lifecycle.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, eventMark{ev, sinceBoot()})
}

// now is the event that goes on, "" before the first.
func (m *Marks) now() lifecycle.Event {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.list) == 0 {
		return ""
	}
	return m.list[len(m.list)-1].ev
}

// at is the event that went on at a time since boot, of which no more is known than the tick. If another one began within that tick, it is
// the one that the process itself names in its environment, as scripts do, else the earlier: a script that leaves a daemon ends soon after it.
func (m *Marks) at(t time.Duration, named lifecycle.Event) (ev lifecycle.Event) {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.list {
		if k.at <= t || k.at < t+procTick && (ev == "" || k.ev == named) {
			ev = k.ev
		}
	}
	return ev
}

// procTick is the unit of times in /proc, on every architecture (USER_HZ).
const procTick = 10 * time.Millisecond

func sinceBoot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// watchDir holds what the watches need within the copy. /run is not told of, so that it is no change of the host.
const watchDir = "/run/slipway-rehearsal"

// prepareWatch does what can only be done before the walls close, by process 1 of the sandbox when the copy is its root: it puts exe, this program by
// its path in the copy, where scripts look for a service manager, and gives the network of the sandbox a way that leads to the watch.
// InstallRecorder and WatchNetwork do the rest from within.
func prepareWatch(exe string, hostNet bool) error {
	if err := os.MkdirAll(watchDir, 0o755); err != nil {
		return fmt.Errorf("make a folder for what watches the scripts: %w", err)
	}
	if err := coverPrograms(exe); err != nil {
		return err
	}
	if err := makeVolatile(); err != nil {
		return err
	}
	if hostNet {
		return nil
	}
	return prepareNetwork()
}

// bindReadOnly mounts a file over another one.
func bindReadOnly(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s over %s: %w", from, to, err)
	}
	// In a user namespace the flags that the host's mount has may not be taken away.
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	var st unix.Statfs_t
	if unix.Statfs(to, &st) == nil {
		flags |= uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	}
	if err := unix.Mount("", to, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("mount %s over %s for reading: %w", from, to, err), unix.Unmount(to, unix.MNT_DETACH))
	}
	return nil
}

// programFolders are where scripts find programs of the system.
var programFolders = []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin"}

// places are the files that a program of this name is, each once however many links lead there.
func places(name string) (files []string) {
	for _, dir := range programFolders {
		at, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if err != nil || slices.Contains(files, at) {
			continue
		}
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() {
			files = append(files, at)
		}
	}
	return files
}
