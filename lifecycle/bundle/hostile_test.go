package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle/bundletest"
)

// bench is a folder to unpack into, and one beside it that must not change.
type bench struct {
	dir  string // the folder unpacked into
	base string
	root *os.Root
}

func newBench(tb testing.TB, base string) *bench {
	tb.Helper()
	b := &bench{base: base, dir: filepath.Join(base, "archive")}
	for _, dir := range []string{b.dir, filepath.Join(base, bundletest.Outside)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, bundletest.Outside, "kept"), []byte("kept"), 0o644); err != nil {
		tb.Fatal(err)
	}
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		tb.Fatal(err)
	}
	b.root = root
	tb.Cleanup(func() { root.Close() })
	return b
}

func archiveFile(tb testing.TB, dir string, data []byte) *os.File {
	tb.Helper()
	f, err := os.CreateTemp(dir, "bundle-*")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil {
		tb.Fatal(err)
	}
	return f
}

// outside is everything beside the folder: names, modes, contents, times.
func (b *bench) outside(tb testing.TB) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(b.base, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == b.dir {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[name] = info.Mode().String() + " " + info.ModTime().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			out[name] += " " + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// treeOf is what is in a folder: contents by name, links as "-> target", folders with a slash.
func treeOf(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		switch d.Type() {
		case fs.ModeDir:
			out[name+"/"] = ""
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			out[name] = "-> " + target
			return err
		case 0:
			data, err := os.ReadFile(path)
			out[name] = string(data)
			return err
		default:
			out[name] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

var hostileLimits = Limits{MaxSize: bundletest.HostileMaxSize, MaxFiles: bundletest.HostileMaxFiles, MaxRatio: bundletest.HostileMaxRatio}

// I-18 to I-21: each hostile archive is refused with the name of what is wrong, or unpacked to what it says, and nothing
// beside the folder changes.
func TestHostileArchives(t *testing.T) {
	table := bundletest.HostileArchives()
	if len(table) < 25 {
		t.Fatalf("the table has %d rows", len(table))
	}
	seen := map[string]bool{}
	for _, row := range table {
		if seen[row.Name] {
			t.Errorf("two rows are named %q", row.Name)
		}
		seen[row.Name] = true
		t.Run(row.Name, func(t *testing.T) {
			b := newBench(t, memoryFS(t))
			archive := archiveFile(t, t.TempDir(), row.Data())
			before := b.outside(t)
			_, err := Unpack(t.Context(), archive, Format(row.Format), b.root, hostileLimits)
			if diff := cmp.Diff(before, b.outside(t)); diff != "" {
				t.Errorf("something outside changed (-before +after):\n%s", diff)
			}
			if _, err := os.Lstat("/tmp/evil"); err == nil {
				t.Errorf("/tmp/evil was made")
			}
			if row.Says == "" {
				if err != nil {
					t.Fatalf("Unpack() = %v, want it unpacked", err)
				}
				want := row.Makes
				if want == nil {
					want = map[string]string{}
				}
				if diff := cmp.Diff(want, treeOf(t, b.dir)); diff != "" {
					t.Errorf("unpacked (-want +got):\n%s", diff)
				}
				return
			}
			if refused := new(ArchiveError); !errors.As(err, &refused) {
				t.Fatalf("Unpack() = %v, want an ArchiveError", err)
			}
			if !strings.Contains(err.Error(), row.Says) {
				t.Errorf("Unpack() = %q, want it to say %q", err, row.Says)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("the message is not one short line: %q", err)
			}
		})
	}
}

// Two entries of one name must have one outcome, however the workers are scheduled.
func TestLastEntryWins(t *testing.T) {
	for _, format := range []Format{Zip, Tar} {
		var entries []bundletest.Entry
		want := map[string]string{}
		for i := range 2000 {
			name := string(rune('a' + i%5))
			data := strings.Repeat(name, 1+i%4000)
			entries = append(entries, bundletest.Entry{Name: name, Data: data})
			want[name] = data
		}
		pack := map[Format]func(...bundletest.Entry) []byte{Zip: bundletest.Zip, Tar: bundletest.Tar}[format]
		b := newBench(t, memoryFS(t))
		stats, err := Unpack(t.Context(), archiveFile(t, t.TempDir(), pack(entries...)), format, b.root, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if stats.Files != 5 {
			t.Errorf("%s: Stats.Files = %d, want 5", format, stats.Files)
		}
		if diff := cmp.Diff(want, treeOf(t, b.dir)); diff != "" {
			t.Errorf("%s: %d names differ", format, len(slices.Collect(strings.Lines(diff))))
		}
	}
}
