package hooks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCheckOfAnApplication(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // "" is well
	}{
		{"well", []string{"/bin/true"}, ""},
		{"well with words", []string{"/bin/sh", "-c", "echo fine; exit 0"}, ""},
		{"status alone", []string{"/bin/false"}, "/bin/false: exit status 1"},
		{"the last line", []string{"/bin/sh", "-c", "echo one; echo ' two  words ' >&2; exit 3"}, "/bin/sh: exit status 3: two words"},
		{"a signal", []string{"/bin/sh", "-c", "kill -9 $$"}, "/bin/sh: signal: killed"},
		{"no such program", []string{"/nonexistent/check"}, "run the check: fork/exec /nonexistent/check: no such file or directory"},
		{"none", nil, "no program to run"},
		{"much output", []string{"/bin/sh", "-c", "yes | head -c 1000000; echo end; exit 1"}, "/bin/sh: exit status 1: end"},
		{"no environment of ours", []string{"/bin/sh", "-c", `test "$SECRET" = told && test "$(pwd)" = / && test -z "$HOME"`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("HOME", "/root")
			err := Check{Args: tt.args, Env: []string{"SECRET=told", "PATH=/usr/bin:/bin"}}.Probe(t.Context())
			if got := errorText(err); got != tt.want {
				t.Errorf("Probe() = %q, want %q", got, tt.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A check that is over its time goes with all that it has started.
func TestCheckIsKilledWhole(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	over := errors.New("over its time")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, over)
	defer cancel()
	began := time.Now()
	err := Check{Args: []string{"/bin/sh", "-c", "sleep 600 & echo $! > " + pidFile + "; wait"}}.Probe(ctx)
	if !errors.Is(err, over) {
		t.Errorf("Probe() = %v, want %v", err, over)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	deadline := time.Now().Add(10 * time.Second)
	for {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return // gone, or waiting for whoever adopts it
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child %d lives: %v", pid, syscall.Kill(pid, syscall.SIGKILL))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
