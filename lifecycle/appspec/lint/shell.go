package lint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Verdict is what a shell says of a script's syntax.
type Verdict struct {
	OK bool
	// Judge is the shell that was asked, as "sh (dash)".
	Judge string
	// Line is where it stopped, at least 1, and Message what it said.
	Line    int
	Message string
}

// ErrNoShell says that this host has no such shell to ask.
var ErrNoShell = errors.New("no such shell on this host")

// NoShell is an Options.Shell that asks none.
func NoShell(context.Context, string, []byte) (Verdict, error) { return Verdict{}, ErrNoShell }

func (o Options) withDefaults() Options {
	if o.Shell == nil {
		o.Shell = askShell
	}
	if o.HasProgram == nil {
		o.HasProgram = hasProgram
	}
	return o
}

func hasProgram(name string) bool {
	if strings.Contains(name, "/") {
		_, err := os.Stat(name)
		return err == nil
	}
	_, err := exec.LookPath(name)
	return err == nil
}

// patience is how long a shell may think about a script.
const patience = 5 * time.Second

// judges are the shells of this host by the name they are called by: where they are, and what they really are.
var judges = map[string]func() (program, name string){"sh": judge("sh"), "bash": judge("bash")}

func judge(shell string) func() (program, name string) {
	return sync.OnceValues(func() (string, string) {
		program, err := exec.LookPath(shell)
		if err != nil {
			return "", ""
		}
		name := shell
		if real, err := filepath.EvalSymlinks(program); err == nil && filepath.Base(real) != shell {
			name = fmt.Sprintf("%s (%s)", shell, filepath.Base(real))
		}
		return program, name
	})
}

// askShell has a shell of this host read a script without running any of it.
func askShell(ctx context.Context, shell string, script []byte) (Verdict, error) {
	find, ok := judges[shell]
	if !ok {
		return Verdict{}, ErrNoShell
	}
	program, name := find()
	if program == "" {
		return Verdict{}, ErrNoShell
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// The environment is empty, so that no file of the user is read before.
	cmd := exec.CommandContext(ctx, program, "-n")
	cmd.Stdin, cmd.Env, cmd.Dir = bytes.NewReader(script), []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, "/"
	var out bytes.Buffer
	cmd.Stderr = &limited{to: &out}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Verdict{OK: true, Judge: name}, nil
	case ctx.Err() != nil:
		return Verdict{}, fmt.Errorf("%s -n: no answer in %s", shell, patience)
	case !errors.As(err, &exit):
		return Verdict{}, fmt.Errorf("%s -n: %w", shell, err)
	}
	line, message := complaint(out.String())
	return Verdict{Judge: name, Line: line, Message: message}, nil
}

// limited keeps the beginning of what is written.
type limited struct{ to *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	const most = 4096
	l.to.Write(p[:min(len(p), max(most-l.to.Len(), 0))])
	return len(p), nil
}

// "sh: 3: Syntax error: …" of dash, "bash: line 3: syntax error …" of bash, "sh: syntax error: …" of others.
var complaintForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[^:\n]*: (?:line )?(\d+): (.*)`)
})

func complaint(said string) (line int, message string) {
	first, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	if m := complaintForm().FindStringSubmatch(first); m != nil {
		n, _ := strconv.Atoi(m[1])
		return max(n, 1), strings.ToValidUTF8(m[2], "\uFFFD")
	}
	return 1, strings.ToValidUTF8(first, "\uFFFD")
}
