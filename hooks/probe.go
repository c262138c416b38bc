package hooks

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Check is a short program that says by its exit status whether something is well. It is no hook: nothing is recorded, it is not adopted
// by a later process, and it is started without a shell.
type Check struct {
	Args []string // the program and its arguments; the program is an absolute path, or looked for in PATH
	Env  []string // nil: an empty environment
}

const (
	checkOutput = 4 << 10                // bytes of output that are looked at
	checkWait   = 500 * time.Millisecond // for output that a left-over process of a check holds open
)

// Probe runs the program once, as this process's user, in "/" and in a process group of its own. It is well when it ends with 0. The error
// else has the last line that it printed. When ctx ends the whole group is killed and the error is its cause.
func (c Check) Probe(ctx context.Context) error {
	if len(c.Args) == 0 {
		return errors.New("no program to run")
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	var out tail
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = append([]string{}, c.Env...), "/", &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = kill, checkWait
	err := cmd.Run()
	if cmd.Process != nil {
		_ = kill() // what it left of its group; there is mostly nothing
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", c.Args[0], context.Cause(ctx))
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if said := out.lastLine(); said != "" {
			return fmt.Errorf("%s: %w: %s", c.Args[0], exit, said)
		}
		return fmt.Errorf("%s: %w", c.Args[0], exit)
	}
	return fmt.Errorf("run the check: %w", err)
}

// tail keeps the end of what is written.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-checkOutput):]...)
	if extra := len(t.b) - checkOutput; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(p), nil
}

func (t *tail) lastLine() string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(t.b), "?")), "\n")
	const most = 200
	last := strings.Join(strings.Fields(lines[len(lines)-1]), " ")
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "…"
	}
	return last
}
