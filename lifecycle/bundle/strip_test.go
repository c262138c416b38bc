package bundle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle/bundle/bundletest"
)

// I-20: one level, only if it is the only entry, and only if something with appspec in its name lies in it.
func TestStrip(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want map[string]string
	}{
		{"wrapped", map[string]string{"app-1/appspec.yml": "a", "app-1/d/f": "f"}, map[string]string{"appspec.yml": "a", "d/": "", "d/f": "f"}},
		{"any case, any place in the name", map[string]string{"x/my-AppSpec.yaml.bak": "a"}, map[string]string{"my-AppSpec.yaml.bak": "a"}},
		{"a folder of that name counts", map[string]string{"x/appspecs/f": "a"}, map[string]string{"appspecs/": "", "appspecs/f": "a"}},
		{"one level only", map[string]string{"x/appspec/appspec.yml": "a"}, map[string]string{"appspec/": "", "appspec/appspec.yml": "a"}},
		{"dot files and links come along", map[string]string{"x/appspec.yml": "a", "x/.env": "e", "x/l": "-> .env"}, map[string]string{"appspec.yml": "a", ".env": "e", "l": "-> .env"}},
		{"an entry named like the folder", map[string]string{"x/appspec.yml": "a", "x/x/f": "f"}, map[string]string{"appspec.yml": "a", "x/": "", "x/f": "f"}},
		{"an entry named like what is made meanwhile", map[string]string{"x/appspec.yml": "a", "x/.slipway-strip": "f"}, map[string]string{"appspec.yml": "a", ".slipway-strip": "f"}},
		{"no appspec in it", map[string]string{"x/f": "a"}, map[string]string{"x/": "", "x/f": "a"}},
		{"appspec too deep", map[string]string{"x/y/appspec.yml": "a"}, map[string]string{"x/": "", "x/y/": "", "x/y/appspec.yml": "a"}},
		{"two entries", map[string]string{"x/appspec.yml": "a", "f": "f"}, map[string]string{"x/": "", "x/appspec.yml": "a", "f": "f"}},
		{"a single file", map[string]string{"appspec.yml": "a"}, map[string]string{"appspec.yml": "a"}},
		{"a link to a folder outside", map[string]string{"x": "-> ../outside"}, map[string]string{"x": "-> ../outside"}},
		{"empty", map[string]string{}, map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := unpackInto(t, bundletest.Zip(bundletest.Files(c.in)...), Zip)
			// What the link leads to looks like a wrapped bundle.
			if err := os.WriteFile(filepath.Join(dir, "../outside/appspec.yml"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := Strip(root); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, treeOf(t, dir)); diff != "" {
				t.Errorf("Strip() (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(dir, "../outside/appspec.yml")); err != nil {
				t.Errorf("something outside was moved: %v", err)
			}
		})
	}
}

// I-20, I-18: what GitHub sends, with git's global header, comes out as the repository.
func TestUnpackGitHubTarball(t *testing.T) {
	entries := bundletest.GitHub("octo", "app", "0123456789abcdef", bundletest.Files(map[string]string{"appspec.yml": "version: 0.0\n", "htdocs/index.php": "<?php"}))
	want := map[string]string{"appspec.yml": "version: 0.0\n", "htdocs/": "", "htdocs/index.php": "<?php"}
	for format, data := range map[Format][]byte{Tar: bundletest.Tgz(entries...), Zip: bundletest.Zip(entries...)} {
		dir, _ := unpackInto(t, data, format)
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := Strip(root); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, treeOf(t, dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

// I-17: contents, links and permission bits, under the umask; no modes of folders, no times; no strip.
func TestCopyTree(t *testing.T) {
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	from, _ := unpackInto(t, bundletest.Tar(
		bundletest.Entry{Name: "x/appspec.yml", Data: "a"}, bundletest.Entry{Name: "x/run.sh", Mode: 0o777, Data: "r"},
		bundletest.Entry{Name: "x/closed/", Mode: 0o700 | os.ModeDir}, bundletest.Entry{Name: "x/closed/f", Mode: 0o400, Data: strings.Repeat("f", 1<<20)},
		bundletest.Entry{Name: "x/out", Mode: os.ModeSymlink | 0o777, Target: "/etc"}, bundletest.Entry{Name: "x/gone", Mode: os.ModeSymlink | 0o777, Target: "nowhere"},
	), Tar)
	b := newBench(t, t.TempDir())
	if err := CopyTree(t.Context(), from, b.root); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(treeOf(t, from), treeOf(t, b.dir)); diff != "" {
		t.Errorf("CopyTree() (-from +to):\n%s", diff)
	}
	for name, want := range map[string]os.FileMode{"x/run.sh": 0o755, "x/closed/f": 0o400, "x/closed": os.ModeDir | 0o755} {
		info, err := os.Lstat(filepath.Join(b.dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func TestCopyTreeRefuses(t *testing.T) {
	t.Run("a pipe", func(t *testing.T) {
		b := newBench(t, t.TempDir())
		from := t.TempDir()
		if err := unix.Mkfifo(filepath.Join(from, "p"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := CopyTree(t.Context(), from, b.root); err == nil || !strings.Contains(err.Error(), `"p" is a named pipe`) {
			t.Errorf("CopyTree() = %v", err)
		}
	})
	t.Run("itself", func(t *testing.T) {
		b := newBench(t, t.TempDir())
		if err := CopyTree(t.Context(), b.base, b.root); err == nil || !strings.Contains(err.Error(), "inside the folder that is copied") {
			t.Errorf("CopyTree() = %v", err)
		}
	})
	t.Run("nothing there", func(t *testing.T) {
		b := newBench(t, t.TempDir())
		if err := CopyTree(t.Context(), filepath.Join(b.base, "nowhere"), b.root); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("CopyTree() = %v", err)
		}
	})
	t.Run("after the end", func(t *testing.T) {
		b := newBench(t, t.TempDir())
		because := errors.New("the agent is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(because)
		if err := CopyTree(ctx, filepath.Join(b.base, bundletest.Outside), b.root); !errors.Is(err, because) {
			t.Errorf("CopyTree() = %v", err)
		}
	})
}
