package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// paused is a script that counts its starts, tells at the pipe begun that it runs, and goes on when told so at the pipe go.
func paused(t *testing.T) (s Script, begun, proceed func()) {
	t.Helper()
	s = write(t, "#!/bin/sh\necho start >>\"$D/count\"\necho one\necho x >\"$D/begun\"\nread x <\"$D/go\"\necho two\nexit 3\n")
	b, g := fifo(t, filepath.Join(base(s), "begun")), fifo(t, filepath.Join(base(s), "go"))
	return s, func() { read(t, b) }, func() { put(t, g, "x\n", 0o666) }
}

func checkPaused(t *testing.T, s Script, res Result) {
	t.Helper()
	if kindOf(res.Err) != "failed" || res.Exit != 3 {
		t.Errorf("Err = %v, want exit code 3", res.Err)
	}
	if diff := cmp.Diff("Script - scripts/script.sh\n[stdout]one\n[stdout]two\n", unstamped(read(t, s.ScriptsLog))); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if got := read(t, filepath.Join(base(s), "count")); got != "start\n" {
		t.Errorf("started %d times", strings.Count(got, "start"))
	}
}

// The agent is killed during a script: the script runs on, once, and its result arrives with the next agent. The shim that waited for
// the next script ends.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	s, begun, proceed := paused(t)
	order, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(base(s), "order.json"), string(order), 0o600)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(exe, "agent", filepath.Join(base(s), "order.json"))
	agent.Env = s.Env
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	begun()
	var waits []int
	for len(waits) == 0 {
		waits = slices.DeleteFunc(children(agent.Process.Pid), func(pid int) bool { return pid == starter(t, s) })
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	vanish(t, waits...)
	r := newRunner(t)
	if _, err := r.Start(t.Context(), s); !errors.Is(err, ErrStarted) {
		t.Errorf("Start() = %v, want ErrStarted", err)
	}
	run, err := r.Resume(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	because := errors.New("leaving")
	cancel(because)
	if _, err := run.Wait(ended); !errors.Is(err, because) {
		t.Errorf("Wait(ended) = %v, want the cause", err)
	}
	proceed()
	first := await(t, run)
	checkPaused(t, s, first)
	again, err := r.Attach(s.Dir) // after the end: the same
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, await(t, again), cmp.Comparer(func(a, b error) bool { return a.Error() == b.Error() })); diff != "" {
		t.Errorf("second result (-first +second):\n%s", diff)
	}
}

// Several may wait for one run.
func TestManyWait(t *testing.T) {
	t.Parallel()
	s, begun, proceed := paused(t)
	r := newRunner(t)
	run, err := r.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	begun()
	var wg sync.WaitGroup
	for range 3 {
		other, err := r.Attach(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { checkPaused(t, s, await(t, other)) })
	}
	proceed()
	checkPaused(t, s, await(t, run))
	wg.Wait()
}

// One folder is started once, however many try.
func TestStartRace(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\necho start >>\"$D/count\"\n")
	r := newRunner(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			run, err := r.Start(t.Context(), s)
			switch {
			case err == nil:
				won.Add(1)
				await(t, run)
			case !errors.Is(err, ErrStarted):
				t.Errorf("Start() = %v", err)
			}
		})
	}
	wg.Wait()
	if got := read(t, filepath.Join(base(s), "count")); won.Load() != 1 || got != "start\n" {
		t.Errorf("%d starts succeeded, the script ran %d times", won.Load(), strings.Count(got, "start"))
	}
}

func TestAttachNothing(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	if _, err := r.Attach(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNotStarted) {
		t.Errorf("Attach(no folder) = %v, want ErrNotStarted", err)
	}
	if _, err := r.Attach(t.TempDir()); !errors.Is(err, ErrNotStarted) {
		t.Errorf("Attach(empty folder) = %v, want ErrNotStarted", err)
	}
}

// A starter that dies before it has said everything has started nothing; the folder may be started again.
func TestStarterDiesEarly(t *testing.T) {
	t.Parallel()
	whole, err := encodeBrief(brief{}, []string{"A=1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, len(whole) - 1} {
		s := write(t, "#!/bin/sh\necho start >>\"$D/count\"\n")
		s, err := s.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		lock, err := s.occupy()
		if err != nil {
			t.Fatal(err)
		}
		r := newRunner(t)
		shim, err := r.newShim(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := place(s.Dir, runFile, order{Version: recordVersion, Script: s}); err != nil {
			t.Fatal(err)
		}
		adopted, err := r.Attach(s.Dir) // it is locked, and the shim has no order yet
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			if err := shim.order(whole[:n], lock); err != nil {
				t.Fatal(err)
			}
		}
		lock.Close()
		shim.tell.Close()
		if _, err := adopted.Wait(t.Context()); !errors.Is(err, ErrNotStarted) {
			t.Errorf("%d bytes: Wait() = %v, want ErrNotStarted", n, err)
		}
		if state, err := shim.process.Wait(); err != nil || state.ExitCode() != min(n, 1) {
			t.Errorf("%d bytes: shim ended with %v, %v", n, state, err)
		}
		run, err := r.Resume(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if res := await(t, run); res.Err != nil {
			t.Error(res.Err)
		}
		if got := read(t, filepath.Join(base(s), "count")); got != "start\n" {
			t.Errorf("%d bytes: started %d times", n, strings.Count(got, "start"))
		}
	}
}

// A shim that is killed leaves an unknown outcome, which is told at once and the same at every attempt.
func TestShimKilled(t *testing.T) {
	t.Parallel()
	s, begun, _ := paused(t)
	r := newRunner(t)
	run, err := r.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	begun()
	data, err := readRecord(s.Dir, startedFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := decodeBegan(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(b.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		res := await(t, run)
		if kindOf(res.Err) != "lost" || !strings.Contains(res.Err.Error(), "was killed") {
			t.Errorf("Err = %v, want ErrLost", res.Err)
		}
		if run, err = r.Attach(s.Dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Start(t.Context(), s); !errors.Is(err, ErrStarted) {
		t.Errorf("Start() = %v, want ErrStarted", err)
	}
}

// Records of other times: another boot, damage.
func TestLost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"another boot":   {map[string]string{startedFile: `{"version":1,"boot_id":"other","pid":1,"at":"2024-05-01T10:00:00Z"}`}, "the host was restarted"},
		"empty started":  {map[string]string{startedFile: ""}, "damaged"},
		"broken result":  {map[string]string{startedFile: `{"version":1}`, resultFile: "{"}, "cannot be read"},
		"newer result":   {map[string]string{resultFile: `{"version":2}`}, "another version"},
		"empty result":   {map[string]string{resultFile: ""}, "cannot be read"},
		"unknown answer": {map[string]string{resultFile: `{"version":1,"kind":"odd"}`}, "unknown kind"},
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, runFile), `{"version":1,"name":"a.sh","run_as":"deploy"}`, 0o600)
		for file, text := range tt.files {
			put(t, filepath.Join(dir, file), text, 0o600)
		}
		run, err := newRunner(t).Attach(dir)
		if err != nil {
			t.Errorf("%s: Attach() = %v", name, err)
			continue
		}
		res := await(t, run)
		if kindOf(res.Err) != "lost" || !strings.Contains(res.Err.Error(), tt.want) || !strings.HasPrefix(res.Err.Error(), "script a.sh run as deploy ") {
			t.Errorf("%s: Err = %v, want ErrLost with %q", name, res.Err, tt.want)
		}
	}
}

// Stop ends a script the way a timeout does.
func TestStop(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\necho x >\"$D/begun\"\nsleep 300 &\nsleep 300\n")
	begun := fifo(t, filepath.Join(base(s), "begun"))
	run, err := newRunner(t).Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	read(t, begun)
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}
	res := await(t, run)
	if kindOf(res.Err) != "failed" || !strings.Contains(res.Err.Error(), "was ended on request") {
		t.Errorf("Err = %v", res.Err)
	}
	if left := marked(base(s)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := run.Stop(); err != nil {
		t.Errorf("second Stop() = %v", err)
	}
}

// Stop once more leaves out the rest of the grace.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\ntrap 'echo x >\"$D/asked\"' TERM\necho x >\"$D/begun\"\nwhile :; do sleep 0.05; done\n")
	s.Grace = time.Hour
	begun, asked := fifo(t, filepath.Join(base(s), "begun")), fifo(t, filepath.Join(base(s), "asked"))
	run, err := newRunner(t).Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	read(t, begun)
	for range 2 {
		if err := run.Stop(); err != nil {
			t.Fatal(err)
		}
		if asked != "" { // the first is heeded, and does not end it
			read(t, asked)
			asked = ""
		}
	}
	if res := await(t, run); kindOf(res.Err) != "failed" || !strings.Contains(res.Err.Error(), "was ended on request and was killed (after") {
		t.Errorf("Err = %v", res.Err)
	}
	if left := marked(base(s)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// The shim is no part of the agent's session and has none of its descriptors; the script has none of either's.
func TestShimIsDetached(t *testing.T) {
	s, begun, proceed := paused(t)
	leak, err := os.Open(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	fd, err := unix.FcntlInt(leak.Fd(), unix.F_DUPFD, 50) // inherited unless somebody cares
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	run, err := newRunner(t).Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	begun()
	data, err := readRecord(s.Dir, startedFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := decodeBegan(data)
	if err != nil {
		t.Fatal(err)
	}
	if sid, err := unix.Getsid(b.PID); err != nil || sid != b.PID {
		t.Errorf("session of shim %d = %d, %v", b.PID, sid, err)
	}
	for _, p := range descendants(b.PID) {
		if _, err := os.Lstat("/proc/" + strconv.Itoa(p.pid) + "/fd/" + strconv.Itoa(fd)); err == nil {
			t.Errorf("process %d has descriptor %d of the agent", p.pid, fd)
		}
		if sid, err := unix.Getsid(p.pid); err != nil || sid == b.PID {
			t.Errorf("session of script %d = %d, %v", p.pid, sid, err)
		}
	}
	proceed()
	await(t, run)
}

// A run folder that cannot be watched is followed by its lock alone.
func TestWaitWithoutWatch(t *testing.T) {
	t.Parallel()
	s, begun, proceed := paused(t)
	run, err := newRunner(t).Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	begun()
	moved := s.Dir + ".moved"
	if err := os.Rename(s.Dir, moved); err != nil { // the shim makes it again
		t.Fatal(err)
	}
	proceed()
	res := await(t, run)
	if res.Exit != 3 {
		t.Errorf("Err = %v", res.Err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, resultFile)); err != nil {
		t.Error(err)
	}
}
