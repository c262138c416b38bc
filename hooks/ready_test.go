package hooks

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// prepared is a Runner whose shim waits.
func prepared(t *testing.T) (*Runner, *waiting) {
	t.Helper()
	r := newRunner(t)
	r.Prepare()
	return r, standing(t, r)
}

// standing waits for the shim that waits, and leaves it there.
func standing(t testing.TB, r *Runner) *waiting {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		r.mu.Lock()
		ready := r.ready
		r.mu.Unlock()
		if ready == nil {
			continue
		}
		w := <-ready
		ready <- w
		if w != nil {
			return w
		}
	}
	t.Fatal("no shim waits")
	return nil
}

// deaf waits until a shim has ended so far that it hears nothing any more.
func deaf(t *testing.T, w *waiting) {
	t.Helper()
	socket, err := w.tell.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = socket.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A shim that waits gets the script, whatever became of it meanwhile, and is replaced.
func TestPrepare(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		meanwhile func(*testing.T, *Runner, *waiting)
		used      bool
	}{
		"waits":          {func(*testing.T, *Runner, *waiting) {}, true},
		"prepared twice": {func(_ *testing.T, r *Runner, _ *waiting) { r.Prepare() }, true},
		"was killed": {func(t *testing.T, _ *Runner, w *waiting) {
			_ = unix.Kill(w.process.Pid, unix.SIGKILL)
			deaf(t, w)
		}, false},
		"was told to end": {func(t *testing.T, _ *Runner, w *waiting) {
			_ = unix.Kill(w.process.Pid, unix.SIGTERM)
			deaf(t, w)
		}, false},
		"was sent away": {func(t *testing.T, r *Runner, w *waiting) {
			r.dismiss(r.ready)
			vanish(t, w.process.Pid)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := write(t, "#!/bin/sh\necho start >>\"$D/count\"\necho \"$LARGE\" | wc -c\nenv | grep -c LARGE\nls /proc/self/fd | wc -l\n")
			large := strings.Repeat("x", 100_000)
			s.Env = append(s.Env, "LARGE="+large, "TZ="+base(s)+"/zone")
			put(t, base(s)+"/zone", eastern, 0o644)
			for i := range 5 { // more than a socket holds
				s.Env = append(s.Env, fmt.Sprintf("MORE%d=%s", i, large))
			}
			r, w := prepared(t)
			test.meanwhile(t, r, w)
			before := time.Now().UTC().Add(14 * time.Hour).Format(stampForm)
			if res := perform(t, r, s); res.Err != nil {
				t.Fatal(res.Err)
			}
			if used := starter(t, s) == w.process.Pid; used != test.used {
				t.Errorf("the shim that waited was used: %v, want %v", used, test.used)
			}
			log := read(t, s.ScriptsLog)
			want := "Script - scripts/script.sh\n[stdout]100001\n[stdout]1\n[stdout]4\n" // standard descriptors and that of ls
			if got := unstamped(log); got != want {
				t.Errorf("log:\n%s", got)
			}
			if log[:len(stampForm)] < before {
				t.Errorf("the log does not follow the script's TZ: %s before %s", log, before)
			}
			if got := read(t, filepath.Join(base(s), "count")); got != "start\n" {
				t.Errorf("started %d times", strings.Count(got, "start"))
			}
			if next := standing(t, r); next.process.Pid == w.process.Pid {
				t.Error("the shim that got the order is said to wait")
			}
		})
	}
}

const stampForm = "2006-01-02 15:04:05"

// eastern is the file of a time zone 14 hours before UTC: no transitions, one type, four bytes of names.
const eastern = "TZif\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x00\x04" +
	"\x00\x00\xc4\xe0" + "\x00" + "\x00" + "EST\x00"

// Without Prepare nothing is started ahead of need.
func TestNotPrepared(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	perform(t, r, write(t, "#!/bin/sh\n"))
	r.renew()
	if r.ready != nil {
		t.Error("a shim was started that nobody wanted")
	}
}

// Scripts that are started at once share out what waits.
func TestPrepareRace(t *testing.T) {
	t.Parallel()
	r, _ := prepared(t)
	var wg sync.WaitGroup
	for range 6 {
		s := write(t, "#!/bin/sh\necho start >>\"$D/count\"\n")
		wg.Go(r.Prepare)
		wg.Go(func() {
			if res := perform(t, r, s); res.Err != nil {
				t.Error(res.Err)
			}
			if got := read(t, filepath.Join(base(s), "count")); got != "start\n" {
				t.Errorf("started %d times", strings.Count(got, "start"))
			}
		})
	}
	wg.Wait()
}

// A shim that waits ends with its starter, and holds nothing of anybody's.
func TestWaitingShim(t *testing.T) {
	t.Parallel()
	_, w := prepared(t)
	if sid, err := unix.Getsid(w.process.Pid); err != nil || sid != w.process.Pid {
		t.Errorf("session of shim %d = %d, %v", w.process.Pid, sid, err)
	}
	w.tell.Close() // as the kernel does when the starter is killed
	state, err := w.process.Wait()
	if err != nil || !state.Success() {
		t.Errorf("shim ended with %v, %v", state, err)
	}
}

// The shim is nothing to be called by hand.
func TestShimByHand(t *testing.T) {
	t.Parallel()
	if got := ShimMain([]string{"/run/folder"}); got != 64 {
		t.Errorf("ShimMain() = %d", got)
	}
}
