package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle/bundle/bundletest"
)

// A full file system is named, with what is free, and the error stays one that can be asked for.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	for _, c := range []struct {
		name, options string
		entries       []bundletest.Entry
		format        Format
		says          string
	}{
		{"tar fills it", "size=1m", []bundletest.Entry{{Name: "f", Data: strings.Repeat("x", 3<<20)}}, Tgz, "is full"},
		{"small files fill it", "size=1m", append(numberedFiles(400), bundletest.Entry{Name: "z"}), Tgz, "is full"},
		{"zip is known to be too big", "size=1m", []bundletest.Entry{{Name: "f", Data: strings.Repeat("x", 3<<20)}}, Zip, "3.0 MiB are needed"},
		{"no inodes", "size=10m,nr_inodes=20", numberedFiles(40), Tar, "no inode left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := t.TempDir()
			if err := unix.Mount("tmpfs", base, "tmpfs", 0, c.options); err != nil {
				t.Fatalf("mount: %v", err)
			}
			defer unix.Unmount(base, unix.MNT_DETACH)
			b := newBench(t, base)
			pack := map[Format]func(...bundletest.Entry) []byte{Zip: bundletest.Zip, Tar: bundletest.Tar, Tgz: bundletest.Tgz}[c.format]
			_, err := Unpack(t.Context(), archiveFile(t, t.TempDir(), pack(c.entries...)), c.format, b.root, DefaultLimits)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), b.dir) {
				t.Errorf("Unpack() = %v, want ENOSPC in %s with %q", err, b.dir, c.says)
			}
			if refused := new(ArchiveError); errors.As(err, &refused) {
				t.Errorf("the host's trouble is blamed on the archive: %v", err)
			}
		})
	}
}

func numberedFiles(n int) []bundletest.Entry {
	var out []bundletest.Entry
	for i := range n {
		out = append(out, bundletest.Entry{Name: fmt.Sprintf("f%d", i), Data: strings.Repeat("y", 4000)})
	}
	return out
}

// An unpacking ends with its context, and says why that ended.
func TestUnpackEndsWithTheContext(t *testing.T) {
	for format, data := range map[Format][]byte{Zip: bundletest.Zip(numberedFiles(500)...), Tar: bundletest.Tar(numberedFiles(500)...), Tgz: bundletest.Tgz(numberedFiles(500)...)} {
		because := errors.New("the agent is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(because)
		b := newBench(t, memoryFS(t))
		if _, err := Unpack(ctx, archiveFile(t, t.TempDir(), data), format, b.root, DefaultLimits); !errors.Is(err, because) {
			t.Errorf("%s: Unpack() = %v, want %v", format, err, because)
		}
	}
}

// A limit of zero is none; each limit is held exactly.
func TestLimits(t *testing.T) {
	entries := []bundletest.Entry{{Name: "a/b", Data: strings.Repeat("x", 1000)}, {Name: "c", Data: strings.Repeat("y", 500)}} // and the folder a
	for _, c := range []struct {
		limits Limits
		says   string
	}{
		{Limits{}, ""},
		{Limits{MaxSize: 1500, MaxFiles: 3, MaxRatio: 1}, ""}, // the ratio counts above 64 MiB
		{Limits{MaxSize: 1499}, `"c"`},
		{Limits{MaxFiles: 2}, `"c"`},
	} {
		for format, data := range map[Format][]byte{Zip: bundletest.Zip(entries...), Tar: bundletest.Tar(entries...), Tgz: bundletest.Tgz(entries...)} {
			b := newBench(t, memoryFS(t))
			_, err := Unpack(t.Context(), archiveFile(t, t.TempDir(), data), format, b.root, c.limits)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s under %+v: %v, want it to say %q", format, c.limits, err, c.says)
			}
		}
	}
}

// A bundle must be a file, and of a type that there is.
func TestUnpackRefusesToStart(t *testing.T) {
	b := newBench(t, t.TempDir())
	dir, err := os.Open(b.base)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := Unpack(t.Context(), dir, Zip, b.root, DefaultLimits); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("Unpack() of a folder = %v", err)
	}
	for _, format := range []Format{"", "rar", Directory} {
		if _, err := Unpack(t.Context(), archiveFile(t, t.TempDir(), []byte("x")), format, b.root, DefaultLimits); err == nil || !strings.Contains(err.Error(), "bundle type") {
			t.Errorf("Unpack() of type %q = %v", format, err)
		}
	}
}

// A header of a type that tar knows and bundles need not is refused with its name, not its content unpacked.
func TestTarTypes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "contiguous", Typeflag: tar.TypeCont, Size: 1, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir, _ := unpackInto(t, b.Bytes(), Tar)
	if diff := cmp.Diff(map[string]string{"contiguous": "x"}, treeOf(t, dir)); diff != "" {
		t.Error(diff)
	}
}
