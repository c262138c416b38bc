package hooks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rest reads all that a log has for now.
func rest(tb testing.TB, r *LogReader) string {
	tb.Helper()
	var b strings.Builder
	for {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			tb.Fatal(err)
		}
		b.Write(line)
	}
}

// A reader that follows a log sees each line once and in order, however the log is rotated.
func TestLogReaderFollowsRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "scripts.log")
	r := NewLogReader(path)
	defer r.Close()
	if got := rest(t, r); got != "" { // not there yet
		t.Errorf("%q of no log", got)
	}
	l := &logFile{path: path, size: 50, first: 1}
	defer l.close()
	var want, got strings.Builder
	for i := range 200 {
		line := fmt.Sprintf("line %d\n", i)
		l.write([]byte(line))
		want.WriteString(line)
		if i%17 == 0 { // with more than one rotation in between
			got.WriteString(rest(t, r))
		}
	}
	got.WriteString(rest(t, r))
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	// Another reader begins with the oldest file that is left.
	other := NewLogReader(path)
	defer other.Close()
	if all := rest(t, other); !strings.HasSuffix(want.String(), all) || strings.Count(all, "\n") < (logFiles-1)*5 {
		t.Errorf("a second reader has %q", all)
	}
	if err := other.SkipToEnd(); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("last\n"))
	if got := rest(t, other); got != "last\n" {
		t.Errorf("%q after the end", got)
	}
}

// While a log is rotated without pause nothing is read twice.
func TestLogReaderBesideAWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "scripts.log")
	const lines = 20000
	done := make(chan struct{})
	go func() {
		defer close(done)
		l := &logFile{path: path, size: 64 << 10, first: 1}
		defer l.close()
		for i := range lines {
			l.write(fmt.Appendf(nil, "line %08d\n", i))
			if i%2000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	r := NewLogReader(path)
	defer r.Close()
	next := 0
	read := func() {
		for line := range strings.Lines(rest(t, r)) {
			var i int
			if _, err := fmt.Sscanf(line, "line %d\n", &i); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			// 512 KiB later a reader has missed what is gone, and that is all.
			if i < next {
				t.Fatalf("line %d again, after %d", i, next-1)
			}
			next = i + 1
		}
	}
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		read()
	}
	if next != lines {
		t.Errorf("the last line read is %d, want %d", next-1, lines-1)
	}
}

// What people do to a log by hand.
func TestLogReaderAndHands(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "scripts.log")
	r := NewLogReader(path)
	defer r.Close()
	steps := []struct {
		what string
		do   func() error
		want string
	}{
		{"a line without its end", func() error { return os.WriteFile(path, []byte("one\ntw"), 0o600) }, "one\n"},
		{"its end", func() error { return appendTo(path, "o\n") }, "two\n"},
		{"emptied", func() error { return os.WriteFile(path, []byte("3\n"), 0o600) }, "3\n"},
		{"renamed, nothing new", func() error { return os.Rename(path, path+".1") }, ""},
		{"still written to", func() error { return appendTo(path+".1", "late\n") }, "late\n"},
		{"begun anew", func() error { return os.WriteFile(path, []byte("four\nfi"), 0o600) }, "four\n"},
		{"removed", func() error { return os.Remove(path) }, ""},
		{"and made again", func() error { return os.WriteFile(path, []byte("six\n"), 0o600) }, "fi" + "six\n"},
		{"its folder removed", func() error { return os.RemoveAll(filepath.Dir(path)) }, ""},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if got := rest(t, r); got != s.want {
			t.Errorf("%s: read %q, want %q", s.what, got, s.want)
		}
	}
	// A line as long as a file of zeros is read in pieces.
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, make([]byte, 3*readBuffer+5), 0o600); err != nil {
		t.Fatal(err)
	}
	l := NewLogReader(long)
	defer l.Close()
	if n, left := len(rest(t, l)), len(l.Rest()); n != 3*readBuffer || left != 5 {
		t.Errorf("%d bytes and %d left, want %d and 5", n, left, 3*readBuffer)
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// H-24, H-27.
func TestParseEntry(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.Local)
	tests := []struct {
		line string
		want Entry
	}{
		{"2024-05-01 10:00:00 LifecycleEvent - AfterInstall\n", Entry{at, EntryEvent, "AfterInstall"}},
		{"2024-05-01 10:00:00 Script - scripts/x.sh\n", Entry{at, EntryScript, "scripts/x.sh"}},
		{"2024-05-01 10:00:00 [stdout]hello\n", Entry{at, EntryStdout, "hello"}},
		{"2024-05-01 10:00:00 [stderr] a\xff\x1b[31m", Entry{at, EntryStderr, " a\xff\x1b[31m"}},
		{"2024-05-01 10:00:00 [stdout]Script - no\n", Entry{at, EntryStdout, "Script - no"}},
		{"2024-05-01 10:00:00 Output of processes\n", Entry{at, EntryOther, "Output of processes"}},
		{"2024-05-41 10:00:00 [stdout]x\n", Entry{Text: "2024-05-41 10:00:00 [stdout]x"}},
		{"[stdout]unstamped\n", Entry{Text: "[stdout]unstamped"}},
		{"\n", Entry{}},
		{"", Entry{}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ParseEntry([]byte(tt.line))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte("2024-05-01 10:00:00 [stdout]hello\n"))
	f.Add([]byte("2024-05-01 10:00:00 LifecycleEvent - X\n"))
	f.Add([]byte("\xff\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e := ParseEntry(line)
		if !strings.HasSuffix(strings.TrimSuffix(string(line), "\n"), e.Text) {
			t.Errorf("%q has lost text: %+v", line, e)
		}
		if e.Kind != EntryOther && e.At.IsZero() {
			t.Errorf("%q is of a kind and has no time: %+v", line, e)
		}
	})
}
