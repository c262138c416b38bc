package rehearse

import (
	"errors"
	"strings"
	"testing"
)

// The beginning of what processes say is kept, and the end: the cause stands in the one or in the other.
func TestTail(t *testing.T) {
	long := &tail{}
	for range 100 {
		_, _ = long.Write([]byte(strings.Repeat("a", 999) + "\n"))
	}
	_, _ = long.Write([]byte("the end\n"))
	if got := long.text(); !strings.HasPrefix(got, "aaa") || !strings.Contains(got, " … ") || !strings.HasSuffix(got, "\nthe end") || len(got) > headBytes+tailBytes+10 {
		t.Errorf("%d bytes: %.20q…", len(got), got)
	}
	short := &tail{}
	for _, part := range []string{"one ", strings.Repeat("x", headBytes), " two\n"} {
		_, _ = short.Write([]byte(part))
	}
	if got, want := short.text(), "one "+strings.Repeat("x", headBytes)+" two"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A process 1 that gets no thread because the user may have no more is told as what it is, without the trace of the runtime.
func TestNoThread(t *testing.T) {
	s := &Sandbox{tail: &tail{}, pids: 100}
	_, _ = s.tail.Write([]byte("runtime: failed to create new OS thread (have 9 already; errno=11)\n" + strings.Repeat("goroutine 1 [running]:\n", 2000)))
	if got := s.telling("rehearse", errors.New("exit status 2")).Error(); got != "rehearse: the sandbox ended early: more than 100 processes lived in it" {
		t.Errorf("it is told as %.200q", got)
	}
}
