package rehearse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/lifecycle"
)

// watchVerb is the command of a test's process in a sandbox that watches what scripts do.
const watchVerb = "test-watch"

// watchOrder is a line to that process: an event that begins, and a script of it.
type watchOrder struct {
	Mark   lifecycle.Event
	Script string
	Files  map[string]string // written before the script runs
}

// watchTold is its answer.
type watchTold struct {
	Out, Err string
	Exit     int
	Took     time.Duration
	Calls    []lifecycle.ServiceCall
	To       []lifecycle.Destination
	Left     []lifecycle.LeftProcess
	Listen   []lifecycle.Listener
	Fact     string // of the network
	Failed   string // why there is no answer
}

func watchMain() int {
	if err := EnterInside(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this is no copy")
		return 1
	}
	in, out := json.NewDecoder(os.NewFile(4, "in")), json.NewEncoder(os.NewFile(3, "out"))
	o := RecorderOptions{Marks: &Marks{}, Redact: func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }}
	var fixed struct {
		Real, Booted, HostNet bool
		Active                []string
	}
	err := json.Unmarshal([]byte(os.Getenv("SLIPWAY_TEST_WATCH")), &fixed)
	o.Real, o.Booted, o.Active = fixed.Real, fixed.Booted, fixed.Active
	os.Unsetenv("SLIPWAY_TEST_WATCH")
	var r *Recorder
	var n *NetworkWatch
	if err == nil {
		r, err = InstallRecorder(o)
	}
	if err == nil {
		n, err = WatchNetwork(context.Background(), NetworkOptions{Marks: o.Marks, HostNet: fixed.HostNet})
	}
	for {
		var order watchOrder
		if in.Decode(&order) != nil {
			return 0
		}
		if err != nil {
			_ = out.Encode(watchTold{Failed: err.Error()})
			continue
		}
		if order.Mark != "" {
			o.Marks.Mark(order.Mark)
		}
		t := watchTold{Fact: n.Fact().Value}
		for name, text := range order.Files {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Failed = err.Error()
			} else if err := os.WriteFile(name, []byte(text), modeOf(text)); err != nil {
				t.Failed = err.Error()
			}
		}
		t.run(order.Script, o.Marks.now())
		t.Calls, t.To = r.Calls(), n.Destinations()
		if t.Left, t.Listen, err = Left(context.Background(), LeftOptions{Marks: o.Marks, Redact: o.Redact}); err != nil {
			t.Failed = err.Error()
		}
		err = nil
		_ = out.Encode(t)
	}
}

func modeOf(text string) os.FileMode {
	if strings.HasPrefix(text, "#!") {
		return 0o755
	}
	return 0o644
}

// run runs a script as a hook is: a daemon that it leaves may hold its output open.
func (t *watchTold) run(script string, ev lifecycle.Event) {
	stdout, err := os.CreateTemp("/run", "said")
	if err != nil {
		t.Failed = err.Error()
		return
	}
	defer stdout.Close()
	stderr, err := os.CreateTemp("/run", "said")
	if err != nil {
		t.Failed = err.Error()
		return
	}
	defer stderr.Close()
	cmd := exec.Command("/bin/bash", "-c", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "LIFECYCLE_EVENT=" + string(ev)} // H-20
	cmd.Stdout, cmd.Stderr, cmd.Dir = stdout, stderr, "/"
	began := time.Now()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Failed = err.Error()
		return
	}
	t.Took, t.Exit = time.Since(began), cmd.ProcessState.ExitCode()
	said, _ := os.ReadFile(stdout.Name())
	complained, _ := os.ReadFile(stderr.Name())
	t.Out, t.Err = string(said), string(complained)
	os.Remove(stdout.Name())
	os.Remove(stderr.Name())
}

// watched is a sandbox with that process.
type watched struct {
	t testing.TB
	*Sandbox
	inside *Inside
}

func openWatched(t testing.TB, options string) *watched {
	t.Helper()
	needSandbox(t)
	s, err := Open(t.Context(), Options{HostNet: strings.Contains(options, `"HostNet":true`)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	w := &watched{t: t, Sandbox: s}
	if w.inside, err = s.Start(t.Context(), []string{"", watchVerb}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SLIPWAY_TEST_WATCH=" + options}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) do(o watchOrder) (told watchTold) {
	w.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.inside.In.Write(append(text, '\n')); err != nil {
		w.t.Fatal(err)
	}
	line, err := w.inside.Out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &told)
	}
	if err != nil {
		w.t.Fatalf("the inside has gone: %v", err)
	}
	if told.Failed != "" {
		w.t.Fatal(told.Failed)
	}
	return told
}

func (w *watched) run(script string) watchTold { w.t.Helper(); return w.do(watchOrder{Script: script}) }

func TestMarks(t *testing.T) {
	var none *Marks
	m := &Marks{list: []eventMark{{lifecycle.BeforeInstall, 1003 * time.Millisecond}, {lifecycle.AfterInstall, 1500 * time.Millisecond}}}
	tick := &Marks{list: []eventMark{{lifecycle.BeforeInstall, time.Second}, {lifecycle.AfterInstall, 1505 * time.Millisecond}}}
	for _, c := range []struct {
		m    *Marks
		at   time.Duration
		name lifecycle.Event
		want lifecycle.Event
	}{
		{none, time.Second, lifecycle.Install, ""},
		{&Marks{}, time.Second, lifecycle.Install, ""},
		{m, 990 * time.Millisecond, "", ""},
		{m, 1000 * time.Millisecond, "", lifecycle.BeforeInstall}, // the same tick
		{m, 1490 * time.Millisecond, lifecycle.AfterInstall, lifecycle.BeforeInstall},
		{m, 1500 * time.Millisecond, "", lifecycle.AfterInstall},
		{m, 2 * time.Second, lifecycle.BeforeInstall, lifecycle.AfterInstall},
		{tick, 1500 * time.Millisecond, "", lifecycle.BeforeInstall},
		{tick, 1500 * time.Millisecond, lifecycle.AfterInstall, lifecycle.AfterInstall},
		{tick, 1500 * time.Millisecond, lifecycle.Install, lifecycle.BeforeInstall},
	} {
		if got := c.m.at(c.at, c.name); got != c.want {
			t.Errorf("at(%v) = %q, want %q", c.at, got, c.want)
		}
	}
	if none.now() != "" || (&Marks{}).now() != "" {
		t.Error("an event goes on before the first")
	}
	if m.Mark(lifecycle.ApplicationStart); m.now() != lifecycle.ApplicationStart || m.at(sinceBoot(), "") != lifecycle.ApplicationStart {
		t.Error("the event that was marked does not go on")
	}
}

// What is mounted for the recorder is neither told of as a change nor seen on the host.
func TestRecorderLeavesNoTrace(t *testing.T) {
	before, err := exec.Command("sh", "-c", "ls -li /usr/bin/systemctl /usr/sbin/service /sbin/reboot; ls -l /dev; cat /proc/self/mountinfo").CombinedOutput()
	w := openWatched(t, `{"Booted":true}`)
	w.run("systemctl restart apache2; service apache2 status; reboot")
	if err := w.Scan(t.Context(), lifecycle.BeforeInstall, true); err != nil {
		t.Error(err)
	}
	changes, _, cerr := w.Changes(t.Context(), ChangesOptions{})
	if cerr != nil {
		t.Error(cerr)
	}
	for _, c := range changes {
		if strings.Contains(c.Path, "systemctl") || strings.Contains(c.Path, "sbin") || strings.HasPrefix(c.Path, "/run") {
			t.Errorf("a change is told of: %+v", c)
		}
	}
	after, aerr := exec.Command("sh", "-c", "ls -li /usr/bin/systemctl /usr/sbin/service /sbin/reboot; ls -l /dev; cat /proc/self/mountinfo").CombinedOutput()
	if fmt.Sprint(err) != fmt.Sprint(aerr) || !bytes.Equal(before, after) {
		t.Errorf("the host has changed:\n%s\nwas\n%s", after, before)
	}
}
