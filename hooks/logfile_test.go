package hooks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Several writers and a rotation lose no line and tear none.
func TestLogRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "x.log")
	const writers, lines = 6, 400
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			l := &logFile{path: path, size: 8 << 10, first: 0, begin: true}
			defer l.close()
			for i := range lines {
				if i%50 == 0 { // they start and end while others write
					l.close()
				}
				l.write(fmt.Appendf(nil, "writer %d line %d\n", w, i))
			}
			if l.err != nil {
				t.Error(l.err)
			}
		})
	}
	wg.Wait()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, f := range files {
		data := read(t, f)
		if len(data) > 9<<10 || !strings.HasPrefix(data, "# Logfile created on ") && !strings.HasSuffix(data, "\n") {
			t.Errorf("%s: %d bytes", f, len(data))
		}
		for line := range strings.Lines(data) {
			seen[line]++
		}
	}
	for w := range writers {
		for i := range lines {
			if n := seen[fmt.Sprintf("writer %d line %d\n", w, i)]; n > 1 {
				t.Errorf("writer %d line %d: %d times", w, i, n)
			}
		}
		if seen[fmt.Sprintf("writer %d line %d\n", w, lines-1)] == 0 {
			t.Errorf("the last line of writer %d is missing", w)
		}
	}
}

// H-26: eight files, the oldest goes.
func TestLogRotationKeeps(t *testing.T) {
	t.Parallel()
	for first, last := range map[int]int{0: 6, 1: 7} {
		dir := t.TempDir()
		l := &logFile{path: filepath.Join(dir, "x.log"), size: 10, first: first}
		for i := range 20 {
			l.write(fmt.Appendf(nil, "%08d\n", i))
		}
		if l.err != nil {
			t.Fatal(l.err)
		}
		want := map[string]string{"x.log": "00000019\n"}
		for n := first; n <= last; n++ {
			want[fmt.Sprintf("x.log.%d", n)] = fmt.Sprintf("%08d\n", 18-(n-first))
		}
		got := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			got[e.Name()] = read(t, filepath.Join(dir, e.Name()))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from .%d (-want +got):\n%s", first, diff)
		}
	}
}

// A log that is removed is made again; one whose folder is removed is not.
func TestLogRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	l := &logFile{path: filepath.Join(dir, "x.log"), size: 100}
	l.write([]byte("one\n"))
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("two\n"))
	if got := read(t, l.path); got != "two\n" {
		t.Errorf("log %q", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.write([]byte("three\n"))
	if _, err := os.Stat(dir); !os.IsNotExist(err) || l.err != nil {
		t.Errorf("folder: %v, log: %v", err, l.err)
	}
}
