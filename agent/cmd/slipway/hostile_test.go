package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// containmentEnv chooses the mode of containment that the table of hostile hooks is made in, where the program has such a choice.
const containmentEnv = "SLIPWAY_HOOKS_CONTAINMENT"

// Limits of the rows.
const (
	hostileTimeout = time.Second
	hostileGrace   = 300 * time.Millisecond
	hostileWait    = 500 * time.Millisecond // for output that is held
	hostileOver    = time.Second            // what a timeout may take beyond timeout and grace
)

// hostileRow is a hook that does what it should not, and what has to come of it.
type hostileRow struct {
	name    string
	body    string
	runAs   string
	user    bool          // needs another user, and so root
	timeout time.Duration // hostileTimeout unless given
	env     []string      // of the program
	alone   bool          // it leaves the machine to no other row
	mode    os.FileMode   // of the script; 0755 unless given

	code  int
	whole bool     // it runs into its timeout, and whole: not before, and at most hostileOver after timeout and grace
	left  int      // processes afterwards
	more  int      // that may be there beside them, for a moment each
	told  []string // in the report
	check func(r *hostileRun) error
}

// hostileRun is what came of a row.
type hostileRun struct {
	jsonTrial
	took time.Duration // of the event
	left []int
	log  string   // what is left of the scripts.log, the newest file
	logs []string // the files that it has
}

func quiet(seconds int) string { return fmt.Sprintf("sleep %d >/dev/null 2>&1 </dev/null", seconds) }

// hostileRows is the table: whatever a hook does, the code is right, it is over in time, nothing of it is left after a timeout, and the
// report says what was the matter.
func hostileRows(bytes int) []hostileRow {
	const endless = "while :; do sleep 300; done\n"
	killed := []string{"did not end within its timeout of 1s", "was killed, 300ms after SIGTERM"}
	termed := []string{"did not end within its timeout of 1s", "was ended by SIGTERM"}
	held := []string{"(sleep 600) goes on and holds stdout as descriptor 1, stderr as descriptor 2"}
	amount := strconv.Itoa(bytes)
	return []hostileRow{
		{name: "timeout of 1 s", body: "exec sleep 300\n", code: 3, whole: true, told: termed},
		{name: "ignores TERM", body: "trap '' TERM\n" + endless, code: 3, whole: true, told: killed},
		{name: "double fork and setsid", body: "trap '' TERM\n(setsid sh -c 'sleep 300 & sleep 300' &)\nsleep 300\n", code: 3, whole: true, told: killed},
		{
			name: "fork bomb, ulimit -u 200", body: "ulimit -u 200 2>/dev/null || ulimit -p 200 || exit 99\ntrap '' TERM\nb() { b | b & b; }\n(b) 2>/dev/null &\nwhile :; do :; done\n",
			runAs: "daemon", user: true, alone: true, code: 3, whole: true, told: killed,
		},
		{name: "background sleep holds the output", body: "sleep 600 &\n", timeout: 30 * time.Second, code: 0, left: 1, told: held},
		{
			name: "the same, hooks.open_output: fail", body: "sleep 600 &\n", env: []string{"SLIPWAY_HOOKS_OPEN_OUTPUT=fail"}, code: 6, left: 1,
			told: []string{"its output was still open at the deadline of 1s: process ", "(sleep 600) holds stdout as descriptor 1"},
		},
		{name: "background sleep, output redirected", body: quiet(601) + " &\nsleep 0.1\n", timeout: 30 * time.Second, code: 0, left: 1, told: []string{"(sleep 601) goes on"}},
		{name: "closes its descriptors", body: "exec <&- >&- 2>&-\ntrap '' TERM\n" + endless, code: 3, whole: true, told: killed},
		{
			name: "writes " + sizeText(int64(bytes)), body: "yes 'some line of a log that is written without end, eighty-five characters long in all ....' | head -c " + amount + "\necho\ngrep VmHWM /proc/$PPID/status\n",
			timeout: 5 * time.Minute, alone: true, code: 0, check: (*hostileRun).constantMemory,
		},
		{name: "writes without a newline", body: "head -c 300000 /dev/zero | tr '\\0' x\n", timeout: 30 * time.Second, code: 0, check: (*hostileRun).split},
		{
			name: "invalid UTF-8", body: "printf 'a\\377b\\000 \\033[2J\\303' >&2\nexit 1\n", timeout: 30 * time.Second, code: 4, told: []string{"failed with exit code 1", "a\uFFFDb"},
			check: (*hostileRun).bytesKept,
		},
		{
			name: "exits 0 while a child writes", body: "(while :; do echo x; sleep 0.02; done) &\nexit 0\n", timeout: 30 * time.Second, code: 0, left: 1, more: 1, // its sleep
			told: []string{"goes on and holds stdout as descriptor 1"}, check: (*hostileRun).writerLives,
		},
		{name: "stops itself", body: "kill -STOP $$\n", code: 3, whole: true, told: termed},
		{name: "stops itself and ignores TERM", body: "trap '' TERM\nkill -STOP $$\n" + endless, code: 3, whole: true, told: killed},
		{name: "changes its session", body: "trap '' TERM\nsetsid sh -c 'setsid sh -c \"setsid sleep 300; :\"; :'\n", code: 3, whole: true, told: killed},
		{name: "deletes its directory", body: "rm -rf \"$(dirname \"$0\")\"\necho done\n", timeout: 30 * time.Second, code: 0},
		{name: "deletes its logs", body: "rm -rf \"$(dirname \"$0\")/../logs\"\necho done\n", timeout: 30 * time.Second, code: 0},
		{name: "deletes all run folders", body: "rm -rf \"$(dirname \"$0\")\"/../../../.slipway/runs\necho done\n", timeout: 30 * time.Second, code: 0},
		{name: "deletes all, and stays", body: "trap '' TERM\nrm -rf \"$(dirname \"$0\")\"/../../../.slipway \"$(dirname \"$0\")/..\"\n" + endless, code: 3, whole: true, told: killed},
		{
			name: "script replaced while it runs", body: "printf '#!/bin/sh\\nexit 9\\n' >\"$0.new\"\nchmod 755 \"$0.new\"\nmv \"$0.new\" \"$0\"\nsleep 0.1\nexit 3\n", timeout: 30 * time.Second, code: 4,
			told: []string{"failed with exit code 3"},
		},
		{name: "missing interpreter", body: "#!/no/such/interpreter\n", timeout: 30 * time.Second, code: 4, told: []string{"cannot be run: ", "/no/such/interpreter"}},
		{name: "executes a missing interpreter", body: "exec /no/such/interpreter\n", timeout: 30 * time.Second, code: 4, told: []string{"failed with exit code 127", "/no/such/interpreter"}},
		{name: "runas: a user that does not exist", body: "exit 0\n", runAs: "no-such-user", timeout: 30 * time.Second, code: 4, told: []string{"no such user: no-such-user"}},
		{name: "runas: a user without a shell", body: "id -un\n", runAs: "nobody", user: true, timeout: 30 * time.Second, code: 0},
		{
			name: "the same, hooks.runas_mode: su", body: "id -un\n", runAs: "nobody", user: true, timeout: 30 * time.Second, env: []string{"SLIPWAY_HOOKS_RUNAS_MODE=su"}, code: 4,
			told: []string{"failed with exit code 1"},
		},
		{name: "runas: no access to the script", body: "exit 0\n", runAs: "nobody", user: true, mode: 0o700, timeout: 30 * time.Second, code: 4, told: []string{"cannot be run: nobody may not read and execute "}},
	}
}

// TestHostileTable runs hooks that do what they should not by the built program, and prints what came of each: in the best container that this
// host has, and in none. TestHostileTableInSystemd does it in scopes.
func TestHostileTable(t *testing.T) {
	modes := []string{"auto", "none"}
	if mode := os.Getenv(containmentEnv); mode != "" {
		modes = []string{mode}
	}
	rows := hostileRows(times(t, "HOSTILE_BYTES", 1<<27)) // `make hostile` writes a gigabyte
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) { hostileTable(t, mode, rows) })
	}
}

func hostileTable(t *testing.T, mode string, rows []hostileRow) {
	h := &host{t: t, dir: t.TempDir()}
	for dir := h.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // users other than ours have to get in
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.config = h.file("slipway.yml", "root_dir: "+h.dir+"/root\n")
	var mu sync.Mutex
	table := map[string]string{}
	t.Run("rows", func(t *testing.T) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				if row.user && os.Getuid() != 0 {
					t.Skip("needs root: switches users")
				}
				if !row.alone {
					t.Parallel()
				}
				line := h.hostile(t, mode, row)
				mu.Lock()
				defer mu.Unlock()
				table[row.name] = line
			})
		}
	})
	t.Logf("hostile: containment %s", mode)
	t.Logf("hostile: %-36s  %-4s  %-8s  %-8s  %s", "the hook", "code", "took", "left", "told")
	for _, row := range rows {
		if line := table[row.name]; line != "" {
			t.Log("hostile: " + line)
		}
	}
}

// hostile runs a row. On a host that is busy with other things the kernel itself may be late: then once more.
func (h *host) hostile(t *testing.T, mode string, row hostileRow) string {
	t.Helper()
	for attempt := 1; ; attempt++ {
		r, err := h.attempt(t, mode, row, attempt)
		if err != nil {
			t.Fatal(err)
		}
		late := ""
		took := r.took
		if row.whole && took > hostileTimeout+hostileGrace+hostileOver {
			late = fmt.Sprintf("took %v", took)
		}
		if !row.whole && row.timeout == 0 && took > hostileTimeout+hostileOver {
			late = fmt.Sprintf("took %v", took)
		}
		if n := len(r.left); n < row.left || n > row.left+row.more {
			late += fmt.Sprintf(" left %d processes %v, want %d", len(r.left), r.left, row.left)
		}
		again := late != "" && attempt < 3
		if !again {
			row.judge(t, r)
		}
		for _, pid := range r.left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if again {
			continue
		}
		if late != "" {
			t.Error(late)
		}
		told := r.Message
		if told == "" || r.Code == 0 {
			told = r.Log
		}
		first, _, _ := strings.Cut(told, "\n")
		return fmt.Sprintf("%-36s  %-4d  %-8s  %-8d  %.160s", row.name, r.Code, took.Round(10*time.Millisecond), len(r.left), first)
	}
}

// judge checks what does not depend on how busy the host is.
func (row hostileRow) judge(t *testing.T, r *hostileRun) {
	t.Helper()
	if r.Code != row.code {
		t.Errorf("code %d, want %d: %s", r.Code, row.code, r.Message)
	}
	if row.whole && r.took < hostileTimeout {
		t.Errorf("took only %v", r.took)
	}
	for _, want := range row.told {
		if !strings.Contains(r.Message+"\n"+r.Log, want) {
			t.Errorf("told is %q, want %q in it", r.Message+"\n"+r.Log, want)
		}
	}
	if row.check != nil {
		if err := row.check(r); err != nil {
			t.Error(err)
		}
	}
}

// attempt runs the program on the one script of a row.
func (h *host) attempt(t *testing.T, mode string, row hostileRow, attempt int) (*hostileRun, error) {
	t.Helper()
	dir, err := os.MkdirTemp(h.dir, "row")
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{dir, filepath.Join(dir, "app"), filepath.Join(dir, "tmp")} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chmod(sub, 0o755); err != nil {
			return nil, err
		}
	}
	timeout, perm, runAs := row.timeout, row.mode, ""
	if timeout == 0 {
		timeout = hostileTimeout
	}
	if perm == 0 {
		perm = 0o755
	}
	if row.runAs != "" {
		runAs = "      runas: " + row.runAs + "\n"
	}
	body := row.body
	if !strings.HasPrefix(body, "#!") {
		body = "#!/bin/sh\n" + body
	}
	for name, text := range map[string]string{
		"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hook.sh\n      timeout: 3000\n" + runAs, "hook.sh": body,
	} {
		if err := os.WriteFile(filepath.Join(dir, "app", name), []byte(text), perm); err != nil {
			return nil, err
		}
	}
	mark := fmt.Sprintf("HOSTILE_TEST=%s.%d", dir, attempt)
	cmd := h.program("run-hook", filepath.Join(dir, "app"), "AfterInstall", "--json", "--keep", "--config", h.config, "--timeout", timeout.String(), "--env", mark)
	cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(dir, "tmp"), "SLIPWAY_HOOKS_GRACE="+hostileGrace.String(), "SLIPWAY_HOOKS_OPEN_OUTPUT_WAIT="+hostileWait.String())
	cmd.Env = append(cmd.Env, row.env...)
	if mode != "" {
		cmd.Env = append(cmd.Env, containmentEnv+"="+mode)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	r := &hostileRun{left: marked(mark)}
	t.Cleanup(func() { // whatever a failed test left
		for _, pid := range marked(mark) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if err := json.Unmarshal(stdout.Bytes(), &r.jsonTrial); err != nil {
		return nil, fmt.Errorf("run-hook: %w (%w)\n%s%s", err, runErr, &stdout, &stderr)
	}
	if got, want := cmd.ProcessState.ExitCode(), min(r.Code, 1); got != want {
		return nil, fmt.Errorf("run-hook: exit %d, want %d\n%s%s", got, want, &stdout, &stderr)
	}
	r.took = time.Duration(r.TookMS) * time.Millisecond
	logs, _ := filepath.Glob(filepath.Join(r.Folder, "run-hook", "d-*", "logs", "scripts.log*"))
	r.logs = logs
	for _, name := range logs {
		if strings.HasSuffix(name, ".log") {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			r.log = string(data)
		}
	}
	return r, nil
}

// marked are the live processes with that in their environment.
func marked(mark string) (pids []int) {
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range found {
		data, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(append([]byte{0}, data...), []byte("\x00"+mark+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(name, "/")[2])
		if err == nil && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// constantMemory: the shim has read a gigabyte, and its memory shows nothing of it.
func (r *hostileRun) constantMemory() error {
	const file, most = 64 << 20, 8            // MiB of a file, and files
	stamped := r.Scripts[0].Lines * (87 + 29) // with stamp, mark and newline
	if want := min(int(stamped/file)+1, most); len(r.logs) != want {
		return fmt.Errorf("files of the log: %v, want %d for %d bytes", r.logs, want, r.Scripts[0].Bytes)
	}
	_, after, ok := strings.Cut(r.log, "VmHWM:")
	fields := strings.Fields(after)
	if !ok || len(fields) == 0 {
		return fmt.Errorf("no peak of the shim's memory in the log")
	}
	const bound = 64 << 10
	if kb, err := strconv.Atoi(fields[0]); err != nil || kb > bound {
		return fmt.Errorf("the shim has used %s KiB, want at most %d", fields[0], bound)
	}
	r.Log += fmt.Sprintf("; the shim used %s KiB at most", fields[0])
	return nil
}

// split: a line that is too long is several, and nothing of it is lost.
func (r *hostileRun) split() error {
	if n := strings.Count(r.log, "x"); n != 300_000 {
		return fmt.Errorf("%d characters in the log", n)
	}
	return nil
}

// bytesKept: in the log bytes stay as they are.
func (r *hostileRun) bytesKept() error {
	if !strings.Contains(r.log, "[stderr]a\xffb\x00 \x1b[2J\xc3\n") {
		return fmt.Errorf("the log is %q", r.log)
	}
	return nil
}

// writerLives: whoever writes on is not ended by a pipe without a reader, though the program that started all has ended.
func (r *hostileRun) writerLives() error {
	before := r.size()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); r.size() == before; <-tick.C {
		if time.Now().After(end) {
			return errors.New("it does not write any more, or nobody reads it")
		}
	}
	return nil
}

// size is that of the newest file of the log.
func (r *hostileRun) size() int64 {
	info, err := os.Stat(r.logs[0])
	if err != nil {
		return 0
	}
	return info.Size()
}
