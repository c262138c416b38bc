package rehearse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// insideVerb is the command of a test's process in a sandbox.
const (
	insideVerb  = "test-inside"
	hostileVerb = "test-hostile"
)

// The test binary is also the stage of a sandbox, and the process inside, which runs scripts.
func TestMain(m *testing.M) {
	if IsRecorded(os.Args[0]) {
		os.Exit(RecorderMain(os.Args))
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case StageVerb:
			os.Exit(StageMain(os.Args[2:]))
		case insideVerb:
			os.Exit(insideMain())
		case watchVerb:
			os.Exit(watchMain())
		case ownerVerb:
			os.Exit(ownerMain(os.Args[2]))
		case refusedVerb:
			os.Exit(refusedMain(os.Args[2]))
		case hostileVerb:
			os.Exit(hostileMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// insideMain enters the walls and runs each line that it reads as a shell script, answering with its output and exit status. Nothing runs
// unless it is sure that this is a copy: the root is an overlay, and process 1 is this one.
func insideMain() int {
	if err := EnterInside(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if root, _, _ := strings.Cut(lineOf("/proc/self/mountinfo", " / / "), "\n"); os.Getpid() != 1 || !strings.Contains(root, " - overlay overlay ") {
		fmt.Fprintf(os.Stderr, "this is no copy: process %d, root %q\n", os.Getpid(), root)
		return 1
	}
	self, _ := os.Executable()
	in, out := bufio.NewScanner(os.NewFile(4, "in")), os.NewFile(3, "out")
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		script := strings.ReplaceAll(in.Text(), "\x01", "\n")
		cmd := exec.Command("/bin/bash", "-c", script)
		cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "SELF=" + self}
		text := "" // what it said, through a file: a daemon it leaves may hold it open
		file, err := os.CreateTemp("/run", "said")
		if err == nil {
			cmd.Stdout, cmd.Stderr = file, file
			err = cmd.Run()
			if _, e := file.Seek(0, io.SeekStart); e == nil { // its name may be gone
				data, _ := io.ReadAll(io.LimitReader(file, 1<<20))
				text = string(data)
			}
			file.Close()
			os.Remove(file.Name())
		}
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			text += err.Error()
		}
		fmt.Fprintf(out, "%s\x01%d\n", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\x01"), cmd.ProcessState.ExitCode())
	}
	return 0
}

func lineOf(file, with string) string {
	for line := range strings.Lines(readText(file)) {
		if strings.Contains(line, with) {
			return line
		}
	}
	return ""
}

// box is a sandbox with a process that runs scripts.
type box struct {
	t testing.TB
	*Sandbox
	inside *Inside
	before string // of each script
}

// openBox needs root, or user namespaces.
func openBox(t testing.TB, o Options) *box {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, Sandbox: s}
	t.Cleanup(func() { b.close() })
	if b.inside, err = s.Start(t.Context(), []string{"", insideVerb}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *box) close() {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Errorf("Close: %v", err)
	}
}

// run runs a script in the copy. gone: the sandbox ended over it.
func (b *box) run(script string) (said string, exit int, gone bool) {
	b.t.Helper()
	if _, err := io.WriteString(b.inside.In, strings.ReplaceAll(b.before+script, "\n", "\x01")+"\n"); err != nil {
		return "", -1, true
	}
	text, err := b.inside.Out.ReadString('\n')
	if err != nil {
		return text, -1, true
	}
	at := strings.LastIndexByte(text, '\x01')
	if _, err := fmt.Sscan(text[at+1:], &exit); err != nil {
		b.t.Fatalf("the inside answered %q", text)
	}
	return strings.ReplaceAll(text[:at], "\x01", "\n"), exit, false
}
