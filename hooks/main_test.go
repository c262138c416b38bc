package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also the shim and an agent to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "hook-shim":
			os.Exit(ShimMain(os.Args[2:]))
		case "agent":
			os.Exit(agentMain(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// agentMain starts the script of the order in a file and waits for it, as a daemon does: a shim waited, and another one does.
func agentMain(file string) int {
	var s Script
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		s.Dir, s.Env = filepath.Dir(file)+"/run", os.Environ()
		r := &Runner{Shim: []string{"/proc/self/exe", "hook-shim"}}
		r.Prepare()
		var run *Run
		if run, err = r.Start(context.Background(), s); err == nil {
			_, err = run.Wait(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, "agent ended:", err)
	return 1
}

func newRunner(tb testing.TB) *Runner {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return &Runner{Shim: []string{exe, "hook-shim"}}
}

// write makes an executable script and the order to run it. Its environment carries a mark by which its processes are found.
func write(tb testing.TB, body string) Script {
	tb.Helper()
	dir, err := os.MkdirTemp("", "hooks")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	s := Script{
		Dir: filepath.Join(dir, "run"), Path: filepath.Join(dir, "script.sh"), Name: "scripts/script.sh", Timeout: 20 * time.Second,
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOOKS_TEST=" + dir, "D=" + dir}, ScriptsLog: filepath.Join(dir, "logs", "scripts.log"),
	}
	put(tb, s.Path, body, 0o755)
	tb.Cleanup(func() { // whatever a failed test left
		for _, pid := range marked(dir) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return s
}

func put(tb testing.TB, path, body string, mode os.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(body), mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatal(err)
	}
}

func base(s Script) string { return filepath.Dir(s.Dir) }

// perform runs a script to its result.
func perform(tb testing.TB, r *Runner, s Script) Result {
	tb.Helper()
	run, err := r.Start(tb.Context(), s)
	if err != nil {
		tb.Fatal(err)
	}
	return await(tb, run)
}

func await(tb testing.TB, run *Run) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	res, err := run.Wait(ctx)
	if err != nil {
		tb.Fatalf("Wait() = %v", err)
	}
	return res
}

// marked lists the live processes that have a test's mark in their environment, shims aside.
func marked(mark string) []int {
	var found []int
	for _, p := range processes() {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
		if err == nil && !p.dead() && bytes.Contains(env, []byte("HOOKS_TEST="+mark+"\x00")) {
			found = append(found, p.pid)
		}
	}
	return found
}

// daemon is a script that leaves a process with its output redirected. It ends when the process is what it stays: one that is about to execute
// another program has neither a command line nor an environment to be found by.
const daemon = `#!/bin/sh
mkfifo "$0.up" "$0.never" || exit 1
(setsid sh -c 'echo >"$0.up"; read x <"$0.never"' "$0" >/dev/null 2>&1 </dev/null &)
read x <"$0.up"
`

func read(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// fifo makes a named pipe. Scripts and tests wait for each other at it.
func fifo(tb testing.TB, path string) string {
	tb.Helper()
	if err := unix.Mkfifo(path, 0o666); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		tb.Fatal(err)
	}
	return path
}

// gone waits until no process has the mark any more.
func gone(tb testing.TB, mark string) {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		left := marked(mark)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("processes left: %v", left)
		}
	}
}

// vanish waits until processes are gone.
func vanish(tb testing.TB, pids ...int) {
	tb.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			p, err := readProc(pid)
			return err != nil || p.dead()
		})
		if len(pids) == 0 {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("processes left: %v", pids)
		}
	}
}

// children are the live child processes of one.
func children(pid int) []int {
	var found []int
	for _, p := range processes() {
		if p.ppid == pid && !p.dead() {
			found = append(found, p.pid)
		}
	}
	return found
}

// starter is the process of the shim that has a run.
func starter(tb testing.TB, s Script) int {
	tb.Helper()
	data, err := readRecord(s.Dir, startedFile)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := decodeBegan(data)
	if err != nil {
		tb.Fatal(err)
	}
	return b.PID
}

// kindOf names the condition of a result.
func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	if err == nil {
		return ""
	}
	return "other: " + err.Error()
}

// unstamped takes the times off a log.
func unstamped(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		if _, err := time.ParseInLocation("2006-01-02 15:04:05 ", line[:min(20, len(line))], time.Local); err != nil {
			out.WriteString("?? ")
		} else {
			line = line[20:]
		}
		out.WriteString(line)
	}
	return out.String()
}
