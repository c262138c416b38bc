package bundle

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle/bundle/bundletest"
)

// cloneable has all that an archive can bring.
func cloneable() []bundletest.Entry {
	old := time.Date(2003, 4, 5, 6, 7, 8, 123456789, time.UTC)
	entries := append(sample(),
		bundletest.Entry{Name: "setuid", Mode: fs.ModeSetuid | 0o755, Data: "x"},
		bundletest.Entry{Name: "setgid/", Mode: fs.ModeDir | fs.ModeSetgid | 0o775},
		bundletest.Entry{Name: "setgid/inherits", Data: "x"},
		bundletest.Entry{Name: "sticky/", Mode: fs.ModeDir | fs.ModeSticky | 0o777, Time: old},
		bundletest.Entry{Name: "theirs", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o750, UID: 4242, GID: 4243, Data: "x", Time: old},
		bundletest.Entry{Name: "their-folder/", Mode: fs.ModeDir | 0o700, UID: 4242, GID: 4243, Time: old},
		bundletest.Entry{Name: "their-folder/f", Data: "x", UID: 4242, GID: 4243},
		bundletest.Entry{Name: "their-link", Mode: fs.ModeSymlink | 0o777, Target: "theirs", UID: 4242, GID: 4243, Time: old},
		bundletest.Entry{Name: "unreadable", Mode: 0o200, Data: "x"},
		bundletest.Entry{Name: "hard", Hard: true, Target: "bin/run.sh"},
		bundletest.Entry{Name: "closed/hard", Hard: true, Target: "bin/run.sh"},
		bundletest.Entry{Name: "hard-big", Hard: true, Target: "big"},
		bundletest.Entry{Name: "hard-link", Hard: true, Target: "their-link"},
		bundletest.Entry{Name: "away", Mode: fs.ModeSymlink | 0o777, Target: "../" + bundletest.Outside},
	)
	return append(entries, numberedFiles(300)...)
}

// oneFile groups the names that are one file.
func oneFile(t *testing.T, dir string) [][]string {
	t.Helper()
	names := map[uint64][]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		ino := info.Sys().(*syscall.Stat_t).Ino
		names[ino] = append(names[ino], strings.TrimPrefix(name, dir+"/"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, n := range names {
		if len(n) > 1 {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return out
}

// V-62: the copy is what unpacking the bundle again would have made.
func TestClone(t *testing.T) {
	from, _ := unpackInto(t, bundletest.Tar(cloneable()...), Tar)
	hole, err := os.Create(filepath.Join(from, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{1 << 20, 3 << 20} {
		if _, err := hole.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := hole.Truncate(8<<20 + 1); err != nil {
		t.Fatal(err)
	}
	hole.Close()
	for name, base := range map[string]string{"memory": memoryFS(t), "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, base)
			before := b.outside(t)
			if err := Clone(t.Context(), from, b.root); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(treeOf(t, from), treeOf(t, b.dir)); diff != "" {
				t.Errorf("content (-from +to):\n%s", diff)
			}
			if diff := cmp.Diff(attributes(t, from), attributes(t, b.dir)); diff != "" {
				t.Errorf("attributes (-from +to):\n%s", diff)
			}
			groups := oneFile(t, b.dir)
			if diff := cmp.Diff(oneFile(t, from), groups); diff != "" || len(groups) != 3 {
				t.Errorf("names of one file (-from +to):\n%s", diff)
			}
			if diff := cmp.Diff(before, b.outside(t)); diff != "" {
				t.Errorf("something outside changed (-before +after):\n%s", diff)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(b.dir, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
				t.Errorf("the sparse file has %d blocks, %v", st.Blocks, err)
			}
			// What is changed in one is not changed in the other.
			if err := os.WriteFile(filepath.Join(b.dir, "big"), []byte("changed"), 0o644); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(filepath.Join(from, "big")); err != nil || info.Size() != 640_000 {
				t.Errorf("the original changed: %v, %v", info.Size(), err)
			}
		})
	}
}

// Nobody but root can give files away: then they are the copier's, and no set-id bit lends its rights.
func TestCloneWithoutPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes files of several owners")
	}
	from, _ := unpackInto(t, bundletest.Tar(
		bundletest.Entry{Name: "theirs", Mode: fs.ModeSetuid | 0o755, UID: 4242, GID: 4243, Data: "x"},
		bundletest.Entry{Name: "own", Mode: fs.ModeSetuid | 0o755, UID: 65534, GID: 65534, Data: "x"},
		bundletest.Entry{Name: "link", Mode: fs.ModeSymlink | 0o777, Target: "own", UID: 4242, GID: 4243},
		bundletest.Entry{Name: "folder/", Mode: fs.ModeDir | fs.ModeSetgid | 0o755, UID: 4242, GID: 4243},
	), Tar)
	to := filepath.Join(memoryFS(t), "to")
	if err := os.Mkdir(to, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(from), filepath.Dir(to)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(to, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(filepath.Dir(to), "self") // where anybody may read it
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=clone:%s:%s", childEnv, from, to))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := attributes(t, to)
	for name := range got {
		got[name], _, _ = strings.Cut(got[name], " 20")
	}
	want := map[string]string{"theirs": "100755 65534:65534", "own": "104755 65534:65534", "link": "120777 65534:65534", "folder": "40755 65534:65534"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

// A clone goes into an empty folder, and ends as a copy does.
func TestCloneRefuses(t *testing.T) {
	from, _ := unpackInto(t, bundletest.Zip(bundletest.Files(map[string]string{"d/f": "x", "g": "y"})...), Zip)
	for _, name := range []string{"d", "g"} {
		b := newBench(t, memoryFS(t))
		if err := os.Symlink("../"+bundletest.Outside, filepath.Join(b.dir, name)); err != nil {
			t.Fatal(err)
		}
		before := b.outside(t)
		if err := Clone(t.Context(), from, b.root); err == nil || !strings.Contains(err.Error(), "file exists") {
			t.Errorf("Clone() over %s = %v", name, err)
		}
		if diff := cmp.Diff(before, b.outside(t)); diff != "" {
			t.Errorf("something outside changed (-before +after):\n%s", diff)
		}
	}
	if err := unix.Mkfifo(filepath.Join(from, "p"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Clone(t.Context(), from, newBench(t, memoryFS(t)).root); err == nil || !strings.Contains(err.Error(), `"p" is a named pipe`) {
		t.Errorf("Clone() of a pipe = %v", err)
	}
}

// BenchmarkClone compares with cp -a, turn by turn on a memory file system, and tells the peak of a process that does nothing else.
func BenchmarkClone(b *testing.B) {
	for _, files := range []int{50_000, 200_000} {
		b.Run(strconv.Itoa(files), func(b *testing.B) {
			dir := memoryFS(b)
			archive := writeArchive(b, filepath.Join(dir, "bundle"), bundletest.WriteTar, bundletest.Tree(files, "/srv"))
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			if err := os.Mkdir(from, 0o755); err != nil {
				b.Fatal(err)
			}
			root, err := os.OpenRoot(from)
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			if _, err := Unpack(b.Context(), archive, Tar, root, DefaultLimits); err != nil {
				b.Fatal(err)
			}
			var ours, theirs time.Duration
			var peak float64
			for b.Loop() {
				fresh := func() {
					if err := os.RemoveAll(to); err != nil {
						b.Fatal(err)
					}
					if err := os.Mkdir(to, 0o755); err != nil {
						b.Fatal(err)
					}
				}
				fresh()
				began := time.Now()
				if out, err := exec.Command("cp", "-aT", from, to).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				theirs += time.Since(began)
				fresh()
				began = time.Now()
				peak = max(peak, childPeak(b, "clone", from, to))
				ours += time.Since(began)
			}
			b.ReportMetric(float64(ours)/float64(theirs), "ratio")
			b.ReportMetric(peak, "peak-MiB")
		})
	}
}

// childPeak lets the test binary do one thing and returns the most memory that it had, in MiB.
func childPeak(b *testing.B, what, from, to string) float64 {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%s:%s", childEnv, what, from, to))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
