package hooks

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// H-24, H-26, H-27: the shapes of both logs, to the letter.
func TestLogShapes(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\nprintf 'hello\\n  indented  \\n'\n")
	s.Header = []string{"LifecycleEvent - AfterInstall"}
	s.DeploymentsLog = filepath.Join(base(s), "deployment-logs", "codedeploy-agent-deployments.log")
	s.DeploymentID = "d-ABC"
	for _, dir := range []string{s.Dir, s.Dir + "2"} { // appended to
		s.Dir = dir
		if res := perform(t, newRunner(t), s); res.Err != nil || len(res.Notes) > 0 {
			t.Fatal(res.Err, res.Notes)
		}
	}
	stamp := `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`
	entries := []string{"LifecycleEvent - AfterInstall", "Script - scripts/script.sh", "\\[stdout\\]hello", "\\[stdout\\]  indented  "}
	want, wantAll := "^", "^# Logfile created on [^\n]+\n"
	for range 2 {
		for _, e := range entries {
			want += stamp + " " + e + "\n"
			wantAll += `\[` + stamp + `\.\d{3}\] \[d-ABC\]` + strings.TrimRight(e, " ") + "\n"
		}
	}
	if got := read(t, s.ScriptsLog); !regexp.MustCompile(want + "$").MatchString(got) {
		t.Errorf("scripts.log:\n%swant %s", got, want)
	}
	if got := read(t, s.DeploymentsLog); !regexp.MustCompile(wantAll + "$").MatchString(got) {
		t.Errorf("deployments log:\n%swant %s", got, wantAll)
	}
	if info, err := os.Stat(s.ScriptsLog); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// H-25: bytes stay as they are in the file; what is reported is valid.
func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\nprintf 'a\\377b\\000c \\033[31mred\\033[0m\\n\\303' >&2; exit 1\n")
	res := perform(t, newRunner(t), s)
	if got, want := unstamped(read(t, s.ScriptsLog)), "Script - scripts/script.sh\n[stderr]a\xffb\x00c \x1b[31mred\x1b[0m\n[stderr]\xc3\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	if want := "Script - scripts/script.sh\n[stderr]a\uFFFDb\x00c \x1b[31mred\x1b[0m\n[stderr]\uFFFD\n"; res.Tail != want {
		t.Errorf("tail %q, want %q", res.Tail, want)
	}
	if diff := cmp.Diff([]string{"a\uFFFDbc red", "\uFFFD"}, res.Excerpt.Stderr); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

// What a script says last may have no newline, and a process that it left behind keep the pipe open: it is told all the same.
func TestLastWordsWithoutNewline(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\necho first\nsleep 300 &\nprintf 'fatal: no database'\nprintf 'password=hunter22' >&2\nexit 1\n")
	s.OpenOutputWait = 100 * time.Millisecond
	res := perform(t, newRunner(t), s)
	if len(res.Holders) != 2 {
		t.Errorf("holders: %v", res.Holders)
	}
	tail := slices.Sorted(slices.Values(res.Excerpt.Tail))
	if diff := cmp.Diff([]string{"fatal: no database", "first", "password=[redacted]"}, tail); diff != "" || res.Excerpt.Lines != 3 {
		t.Errorf("%d lines (-want +got):\n%s", res.Excerpt.Lines, diff)
	}
	if diff := cmp.Diff([]string{"password=[redacted]"}, res.Excerpt.Stderr); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

// A hundred megabytes without a newline: split lines, a rotated log, constant memory.
func TestMuchOutput(t *testing.T) {
	s := write(t, "#!/bin/sh\nhead -c 100000000 /dev/zero | tr '\\0' x\necho\ngrep VmHWM /proc/$PPID/status\n")
	res := perform(t, newRunner(t), s)
	if res.Err != nil || len(res.Notes) > 0 {
		t.Fatal(res.Err, res.Notes)
	}
	if res.Excerpt.Bytes < 100_000_000 {
		t.Errorf("%d bytes seen", res.Excerpt.Bytes)
	}
	last := res.Excerpt.Tail[len(res.Excerpt.Tail)-1]
	kb, err := strconv.Atoi(strings.Fields(last)[1])
	if err != nil || kb > 64<<10 {
		t.Errorf("%s, want at most 64 MiB (%v)", last, err)
	}
	files, err := filepath.Glob(s.ScriptsLog + "*")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{s.ScriptsLog, s.ScriptsLog + ".1"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	count := 0
	for _, f := range files {
		data := read(t, f)
		if len(data) > logSize {
			t.Errorf("%s has %d bytes", f, len(data))
		}
		for line := range strings.Lines(data) {
			if len(line) > maxLine+30 {
				t.Fatalf("line of %d bytes", len(line))
			}
			count += strings.Count(line, "x")
		}
	}
	if count < 100_000_000 || count > 100_000_010 {
		t.Errorf("%d of 100000000 characters in the log", count)
	}
}

// a daemon that holds the output is named and does not fail its script; it keeps its reader.
func TestHeldOutput(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\necho early\n(read x <\"$D/go\"; echo late; echo alive >\"$D/out\") &\nexit 0\n")
	s.OpenOutputWait = 50 * time.Millisecond
	proceed, out := fifo(t, filepath.Join(base(s), "go")), fifo(t, filepath.Join(base(s), "out"))
	res := perform(t, newRunner(t), s)
	if res.Err != nil || len(res.Left) != 1 || len(res.Holders) != 2 {
		t.Fatalf("Err, Left, Holders = %v, %v, %v", res.Err, res.Left, res.Holders)
	}
	pid := res.Left[0].PID
	want := []Holder{
		{Process{pid, "/bin/sh " + s.Path}, "stdout", 1},
		{Process{pid, "/bin/sh " + s.Path}, "stderr", 2},
	}
	if diff := cmp.Diff(want, res.Holders); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	if note := fmt.Sprintf("process %d (/bin/sh %s) holds stdout as descriptor 1", pid, s.Path); len(res.Notes) != 1 || !strings.Contains(res.Notes[0], note) {
		t.Errorf("notes %q, want one with %q", res.Notes, note)
	}
	// A dead reader would end it by SIGPIPE before it says that it is alive.
	put(t, proceed, "x\n", 0o666)
	if got := read(t, out); got != "alive\n" {
		t.Errorf("out = %q", got)
	}
	gone(t, base(s))
	for end := time.Now().Add(5 * time.Second); !strings.Contains(read(t, s.ScriptsLog), "[stdout]late\n"); {
		if time.Now().After(end) {
			t.Fatalf("log: %s", read(t, s.ScriptsLog))
		}
	}
}

// H-36: the strict policy waits for the deadline and fails, and signals nothing.
func TestHeldOutputFails(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\nsleep 302 &\n")
	s.OpenOutput, s.Timeout = OpenOutputFail, 500*time.Millisecond
	res := perform(t, newRunner(t), s)
	if kindOf(res.Err) != "output-open" || !strings.Contains(res.Err.Error(), "(sleep 302) holds stdout as descriptor 1") {
		t.Errorf("Err = %v, want ErrOutputOpen that names sleep", res.Err)
	}
	if left := marked(base(s)); len(left) != 1 {
		t.Errorf("left: %v, want the one that sleeps", left)
	}
}

// A script that fails does not hide behind a daemon, whatever the policy.
func TestHeldOutputOfFailedScript(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\nsleep 302 &\nexit 3\n")
	s.OpenOutput, s.OpenOutputWait = OpenOutputFail, 50*time.Millisecond
	if res := perform(t, newRunner(t), s); kindOf(res.Err) != "failed" || res.Exit != 3 || len(res.Holders) == 0 {
		t.Errorf("Err, Holders = %v, %v", res.Err, res.Holders)
	}
}

// What a child writes right after its parent's end belongs to the script.
func TestChildWritesAfterParent(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\n(while kill -0 $$ 2>/dev/null; do :; done; echo child) &\nexit 0\n")
	res := perform(t, newRunner(t), s)
	if res.Err != nil || len(res.Holders) > 0 || !slices.Equal(res.Excerpt.Tail, []string{"child"}) {
		t.Errorf("Err, Holders, Tail = %v, %v, %q", res.Err, res.Holders, res.Excerpt.Tail)
	}
}

// A log that cannot be written fails nothing, and is told.
func TestLogCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := write(t, "#!/bin/sh\necho hello\n")
	s.ScriptsLog = "/proc/no/such/scripts.log"
	res := perform(t, newRunner(t), s)
	if res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "lines are missing") || !slices.Equal(res.Excerpt.Tail, []string{"hello"}) {
		t.Errorf("Err, Notes, Tail = %v, %q, %q", res.Err, res.Notes, res.Excerpt.Tail)
	}
}

// Secrets in output are in no log and no report.
func TestRedaction(t *testing.T) {
	t.Parallel()
	// Put together here so that no scanner takes them for real.
	akia, asia, ghp := "AKIA"+"IOSFODNN7EXAMPLE", "ASIA"+"IOSFODNN7EXAMPLE", "ghp_"+strings.Repeat("a1", 18)
	key := "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	tests := []struct{ in, want string }{
		{"nothing here", "nothing here"},
		{"id " + akia + " and " + asia + ".", "id AKIA[redacted] and ASIA[redacted]."},
		{"aws_secret_access_key = " + key, "aws_secret_access_key = [redacted]"},
		{"AWS_SECRET_ACCESS_KEY=" + key + " x", "AWS_SECRET_ACCESS_KEY=[redacted] x"},
		{"AWS_SECRET_KEY='" + key + "'", "AWS_SECRET_KEY='[redacted]'"},
		{`{"SecretAccessKey": "` + key + `", "Token": 1}`, `{"SecretAccessKey": "[redacted]", "Token": 1}`},
		{`"aws_session_token": "` + key + `=="`, `"aws_session_token": "[redacted]"`},
		{"X-Amz-Security-Token: " + key, "X-Amz-Security-Token: [redacted]"},
		{"Authorization: Bearer abc def", "Authorization: [redacted]"},
		{"-H 'authorization: token " + ghp + "' https://x", "-H 'authorization: [redacted]' https://x"},
		{"clone https://" + ghp + "@github.com/", "clone https://ghp_[redacted]@github.com/"},
		{"GET /b?X-Amz-Signature=0123abcd&x=1", "GET /b?X-Amz-Signature=[redacted]&x=1"},
		{"x-amz-credential: " + akia + "/20240501", "x-amz-credential: [redacted]"},
		{"the secret is out, and no token", "the secret is out, and no token"},
		{"password swordfish, swordfish", "password [redacted], [redacted]"},
	}
	r := newRedactor([]string{"swordfish", "no"}) // the second is too short to be one
	var block, want bytes.Buffer
	for _, tt := range tests {
		if got := string(r.clean([]byte(tt.in))); got != tt.want {
			t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
		fmt.Fprintln(&block, tt.in)
		fmt.Fprintln(&want, tt.want)
	}
	if got := string(r.clean(block.Bytes())); got != want.String() { // as many lines at once
		t.Errorf("block: %s", cmp.Diff(want.String(), got))
	}
	var none *redactor
	if got := string(none.clean([]byte(akia))); got != "AKIA[redacted]" {
		t.Errorf("nil redactor: %q", got)
	}
}

// H-30: the longest run of newest whole entries of at most 2047 bytes; X-40: the end of one that is longer by itself.
func TestJoinTails(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 99) + "\n" // 20 of them make 2000 bytes
	long := strings.Repeat("é", 2000) + "\n"
	tests := []struct {
		name string
		in   []string
		want string
	}{
		{"nothing", nil, ""},
		{"short", []string{"a\n", "b\n"}, "a\nb\n"},
		{"exact", []string{strings.Repeat("x", 2046) + "\n"}, strings.Repeat("x", 2046) + "\n"},
		{"whole entries", []string{strings.Repeat(line, 30)}, strings.Repeat(line, 20)},
		{"on a boundary", []string{"a\n", strings.Repeat("x", 2046) + "\n"}, strings.Repeat("x", 2046) + "\n"},
		{"across scripts", []string{strings.Repeat(line, 19), "first\n", line}, strings.Repeat(line, 19) + "first\n" + line},
		{"too long alone", []string{line, long}, strings.Repeat("é", 1023) + "\n"},
		{"too long, then short", []string{long, "end\n"}, "end\n"},
		{"invalid", []string{"a\xff\n"}, "a\uFFFD\n"},
	}
	for _, tt := range tests {
		got := JoinTails(tt.in...)
		if got != tt.want || len(got) > 2047 || !utf8.ValidString(got) {
			t.Errorf("%s: %d bytes %.40q…, want %d bytes %.40q…", tt.name, len(got), got, len(tt.want), tt.want)
		}
	}
}

// The memory of a run gives the same tail as all its entries would.
func TestMemory(t *testing.T) {
	t.Parallel()
	m := newMemory()
	var all strings.Builder
	for i := range 30000 {
		text := fmt.Sprintf("line %d", i)
		if i == 5 || i == 29990 {
			text += " ERROR: it failed"
		}
		m.line([]byte("[stdout]"), []byte(text), false)
		fmt.Fprintf(&all, "[stdout]%s\n", text)
	}
	m.line([]byte("[stderr]"), []byte("last words"), true)
	all.WriteString("[stderr]last words\n")
	if got, want := m.tailText(), JoinTails(all.String()); got != want {
		t.Errorf("tail %q, want %q", got, want)
	}
	e := m.excerpt(nil)
	if diff := cmp.Diff([]string{"line 5 ERROR: it failed", "line 29990 ERROR: it failed"}, e.Errors); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if n := len(e.Tail); e.Tail[n-1] != "last words" || e.Tail[n-2] != "line 29999" || e.Lines != 30001 {
		t.Errorf("%d lines, tail ends with %q", e.Lines, e.Tail[n-3:])
	}
	if diff := cmp.Diff([]string{"last words"}, e.Stderr); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
	m = newMemory()
	m.line([]byte("[stdout]"), bytes.Repeat([]byte("y"), 60000), false)
	if got := m.tailText(); len(got) != 2047 || strings.Trim(got, "y") != "\n" {
		t.Errorf("tail of one long line: %d bytes %.20q", len(got), got)
	}
}

// A report fits, is valid, and has the most telling first.
func TestReport(t *testing.T) {
	t.Parallel()
	res := Result{
		Script: "a.sh", Err: &Failure{Kind: ErrFailed, Script: "a.sh", RunAs: "deploy", Detail: "failed with exit code 3", Took: 1234 * time.Millisecond},
		Excerpt: Excerpt{Stderr: []string{"boom", "fatal: é"}, Errors: []string{"ERROR one", "fatal: é"}, Tail: []string{"a", "ERROR one", "b", "boom"}},
		Notes:   []string{"a note"},
	}
	want := "script a.sh run as deploy failed with exit code 3 (after 1.234s)\na note\n-- last lines of stderr --\nboom\nfatal: é\n" +
		"-- lines that look like errors --\nERROR one\n-- end of the output --\na\nERROR one\nb\nboom\n"
	if diff := cmp.Diff(want, res.Report(4000)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range 200 {
		res.Excerpt.Tail = append(res.Excerpt.Tail, fmt.Sprintf("more %d é", i))
	}
	for limit := range 3000 {
		got := res.Report(limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Fatalf("Report(%d) has %d bytes, valid %v", limit, len(got), utf8.ValidString(got))
		}
	}
	ok := Result{Script: "a.sh", Ended: time.Unix(2, 0), Started: time.Unix(1, 0)}
	if got, want := ok.Report(100), "script a.sh succeeded (after 1s)\n"; got != want {
		t.Errorf("Report() = %q, want %q", got, want)
	}
}

func TestSplitAt(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"abc": 3, "abé": 4, "ab\xc3": 2, "ab\xe2\x82": 2, "ab\xf0\x9f\x98": 2, "\xff\xff\xff\xff": 4} {
		if got := splitAt([]byte(in)); got != want {
			t.Errorf("splitAt(%q) = %d, want %d", in, got, want)
		}
	}
}
