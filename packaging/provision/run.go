package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command is a program of the tree that is run there.
type command struct {
	argv     []string
	env      []string // besides a fixed PATH and locale
	stdin    string
	uid, gid int  // with as
	as       bool // as this user instead of root
	host     bool // a program of the host's, whatever the tree is
	bound    time.Duration
	finish   bool // goes on to its end when the caller gives up: the package manager
}

// reply is how a program ended.
type reply struct {
	code int
	out  string // standard output
	all  string // with standard error, in the order of writing
}

// runner starts programs. The real one is the machine; tests of platforms that cannot run have another.
type runner interface {
	run(ctx context.Context, c command) (reply, error)
	// has says where a program is; "" is nowhere.
	has(name string) string
}

// usualBound is for programs that answer at once.
const usualBound = 2 * time.Minute

var programFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

type machine struct{ *tree }

func (m machine) has(name string) string {
	for _, dir := range programFolders {
		real, err := m.resolve(path.Join(dir, name), true)
		if err != nil {
			continue
		}
		if info, err := os.Stat(real); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path.Join(dir, name)
		}
	}
	return ""
}

// run gives an error only when the program could not be started or was ended; a status that is not 0 is an answer.
func (m machine) run(ctx context.Context, c command) (reply, error) {
	where := m
	if c.host {
		where = machine{&tree{"/"}}
	}
	program := where.has(c.argv[0])
	if program == "" {
		return reply{}, fmt.Errorf("run %s: %w in %s", c.argv[0], exec.ErrNotFound, strings.Join(programFolders, ", "))
	}
	if c.bound == 0 {
		c.bound = usualBound
	}
	if c.finish {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.bound, fmt.Errorf("no end after %s", c.bound))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, c.argv[1:]...)
	cmd.Env = append([]string{"PATH=" + strings.Join(programFolders, ":"), "LC_ALL=C", "HOME=/root"}, c.env...)
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(c.stdin)
	var said output
	cmd.Stdout, cmd.Stderr = stdout{&said}, &said
	// A group of its own: a key at the terminal is for us, not for a package manager in the middle of its work.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if where.root != "/" {
		cmd.SysProcAttr.Chroot = where.root
	}
	if c.as {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.gid)}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	const drain = 5 * time.Second
	cmd.WaitDelay = drain
	err := cmd.Run()
	r := said.reply()
	if _, ended := errors.AsType[*exec.ExitError](err); ended && ctx.Err() == nil {
		r.code = cmd.ProcessState.ExitCode()
		return r, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	// A service that the program left behind may hold its output; that is not the program's failure.
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if err != nil {
		return r, fmt.Errorf("run %s: %w%s", strings.Join(c.argv, " "), err, lastLines(r.all))
	}
	return r, nil
}

// output is what a program says on both of its outputs.
type output struct {
	mu       sync.Mutex // guards both: a program that has left another one behind may still be read from
	out, all []byte
}

// mostOutput is far above what is read of a program; of more, the end is kept.
const mostOutput = 4 << 20

// Write takes what is no answer: standard error.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = keep(o.all, p)
	return len(p), nil
}

func keep(b, p []byte) []byte {
	b = append(b, p...)
	return b[max(len(b)-mostOutput, 0):]
}

func (o *output) reply() reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	return reply{out: string(o.out), all: string(o.all)}
}

// stdout writes standard output where it is asked for alone and where all is.
type stdout struct{ *output }

func (s stdout) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.out = keep(s.out, p)
	s.mu.Unlock()
	return s.output.Write(p)
}

// lastLines is the end of what a program said, indented for a message; "" when it said nothing.
func lastLines(s string) string {
	const most, widest = 10, 240
	all := strings.Split(strings.TrimRight(s, "\n\r \t"), "\n")
	var b strings.Builder
	for _, l := range all[max(len(all)-most, 0):] {
		l = strings.TrimRight(strings.ToValidUTF8(l, "?"), "\r \t")
		if l == "" {
			continue
		}
		if len(l) > widest {
			l = strings.ToValidUTF8(l[:widest], "") + "…"
		}
		b.WriteString("\n    " + l)
	}
	return b.String()
}
