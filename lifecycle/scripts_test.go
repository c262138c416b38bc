package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
)

// A shim that breaks down before the script begins, every time, fails the event: it is not started for ever.
func TestShimThatBreaksDown(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(t.Context(), Options{Root: dir, Runner: &hooks.Runner{Shim: []string{"/bin/sh", "-c", "echo x >>" + filepath.Join(dir, "starts") + "; sleep 0.05"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	archive := filepath.Join(dir, minimal()["DeploymentGroupId"].(string), "d-1", "deployment-archive")
	if err := os.MkdirAll(archive, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"s.sh": "#!/bin/sh\n", "appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: s.sh\n"} {
		if err := os.WriteFile(filepath.Join(archive, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ticket, err := e.Accept("c", "x", AfterInstall, specification(t, minimal()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r := e.Run(ctx, ticket); r.Code != UnknownError || !strings.Contains(r.Message, "s.sh") {
		t.Errorf("result %+v", r)
	}
	starts, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil || len(starts) != 2*maxStarts {
		t.Errorf("%q starts, %v; want %d", starts, err, maxStarts)
	}
}

// faulty is a fetcher with a fault in it.
type faulty struct{}

func (faulty) Bring(context.Context, bundle.Revision, *os.File, *os.Root, bundle.Limits) (bundle.Object, bundle.Stats, error) {
	panic("index out of range")
}

// A fault of this program fails the one command that meets it, and the engine goes on.
func TestFaultOfTheProgram(t *testing.T) {
	e, err := Open(t.Context(), Options{Root: t.TempDir(), Fetcher: faulty{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, command := range []string{"one", "another"} { // no lock is left behind
		ticket, err := e.Accept(command, "x", DownloadBundle, specification(t, minimal()))
		if err != nil {
			t.Fatal(err)
		}
		if r := e.Run(t.Context(), ticket); r.Code != UnknownError || !strings.Contains(r.Message, "index out of range") {
			t.Errorf("result %+v", r)
		}
	}
}

func TestSyncTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o200); err != nil {
		t.Fatal(err)
	}
	if err := syncTree(dir); err != nil {
		t.Error(err)
	}
	for i := range syncOneByOne {
		if err := os.Mkdir(filepath.Join(dir, strings.Repeat("d", 1+i%200)+string(rune('a'+i/200))), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syncTree(dir); err != nil {
		t.Error(err)
	}
	if err := syncTree(filepath.Join(dir, "missing")); err == nil {
		t.Error("a tree that is not there was put on the disk")
	}
}

// Prepare starts a shim ahead of the script that it is for.
func TestPrepare(t *testing.T) {
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	e, err := Open(t.Context(), Options{Root: dir, Runner: &hooks.Runner{Shim: []string{"/bin/mkdir", started}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Prepare()
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(started); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no shim was started")
		}
	}
	without, err := Open(t.Context(), Options{Root: t.TempDir()}) // nothing runs scripts here
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	without.Prepare()
}

// What a script left running is named in the report of its success and in the log, with what it holds.
func TestLeftOversAreTold(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Settings.OpenOutputWait = 300 * time.Millisecond })
	b.put("v1", map[string]string{
		"appspec.yml": b.appspecOf("AfterInstall=s.sh"), "content/f": "",
		"s.sh": "#!/bin/sh\nsleep 303 &\necho $! >>\"$OUT/pids\"\nsleep 304 >/dev/null 2>&1 &\necho $! >>\"$OUT/pids\"\n",
	})
	spec := b.spec("d-1", "v1")
	b.deploy(spec, DownloadBundle)
	r := b.do(AfterInstall, spec)
	var pids []int
	for _, field := range strings.Fields(b.read("pids")) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		pids = append(pids, pid)
	}
	if len(pids) != 2 || r.Code != Succeeded {
		t.Fatalf("pids %v, result %+v", pids, r)
	}
	for _, want := range []string{
		fmt.Sprintf("process %d (sleep 303) goes on and holds stdout as descriptor 1, stderr as descriptor 2", pids[0]),
		fmt.Sprintf("process %d (sleep 304) goes on", pids[1]),
	} {
		if !strings.Contains(r.Log, want) {
			t.Errorf("the log of the result is %q, want %q in it", r.Log, want)
		}
	}
	if n := b.logs.FilterMessage("the script left a process running").Len(); n != 2 {
		t.Errorf("%d lines of the log tell of a process, want 2", n)
	}
	if n := b.logs.FilterMessage("a process that the script left behind holds its output").FilterField(zap.Int("pid", pids[0])).Len(); n != 2 {
		t.Errorf("%d lines of the log tell of a held stream, want 2", n)
	}
}

// However many there are, a report stays short.
func TestLeftOversAreFew(t *testing.T) {
	var out hooks.Result
	for pid := range 9 {
		out.Left = append(out.Left, hooks.Process{PID: pid + 1, Command: "x"})
	}
	got := leftovers(out)
	if len(got) != maxTold+1 || got[maxTold] != "5 more processes go on" {
		t.Errorf("leftovers() = %q", got)
	}
}

// Choose picks from the scripts of an event and changes them.
func TestChoose(t *testing.T) {
	t.Parallel()
	refuse := errors.New("no such script")
	var fails error
	b := newBench(t, func(o *Options) {
		o.Choose = func(ev Event, list []appspec.Script) ([]appspec.Script, error) {
			if fails != nil {
				return nil, fails
			}
			list = list[1:]
			list[0].Timeout = time.Second
			return list, nil
		}
	})
	b.put("v1", map[string]string{
		"appspec.yml": b.appspecOf() + "hooks:\n  AfterInstall:\n    - location: a.sh\n    - location: b.sh\n", "content/f": "",
		"a.sh": "#!/bin/sh\necho a >>\"$OUT/proof\"\n", "b.sh": "#!/bin/sh\necho b >>\"$OUT/proof\"\nexec sleep 300\n",
	})
	spec := b.spec("d-1", "v1")
	b.deploy(spec, DownloadBundle)
	if r := b.do(AfterInstall, spec); r.Code != ScriptTimedOut || !strings.Contains(r.Message, "timeout of 1s") || b.read("proof") != "b\n" {
		t.Errorf("result %+v, scripts wrote %q", r, b.read("proof"))
	}
	fails = refuse
	if r := b.do(AfterInstall, spec); r.Code != UnknownError || !errors.Is(r.Err, refuse) {
		t.Errorf("result %+v", r)
	}
}
