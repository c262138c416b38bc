package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/appspec"
)

// host is a scratch host: a bundle, a deployment root and a place to install to.
type host struct {
	t                  testing.TB
	base               string
	archive, root, dst string
}

// sourceTime is the time of every file of a scratch bundle, so that a copied time can be told from a new one.
var sourceTime = time.Date(2021, 3, 4, 5, 6, 7, 891_000_000, time.UTC)

func newHost(t testing.TB) *host { return newHostIn(t, t.TempDir()) }

func newHostIn(t testing.TB, base string) *host {
	h := &host{t: t, base: base, archive: filepath.Join(base, "archive"), root: filepath.Join(base, "root"), dst: filepath.Join(base, "srv")}
	for _, dir := range []string{h.archive, h.root, h.dst} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// entries describes a tree: a name that ends in / is a directory, a text that begins with "-> " a link, any other text a
// file's content. A name may end in "|" and an octal mode.
type entries map[string]string

func (h *host) write(dir string, e entries) {
	h.t.Helper()
	names := make([]string, 0, len(e))
	for name := range e {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path, mode, hasMode := strings.Cut(name, "|")
		path = filepath.Join(dir, path)
		h.must(os.MkdirAll(filepath.Dir(path), 0o755))
		text := e[name]
		switch link, isLink := strings.CutPrefix(text, "-> "); {
		case strings.HasSuffix(strings.Split(name, "|")[0], "/"):
			h.must(os.MkdirAll(path, 0o755))
		case isLink:
			h.must(os.Symlink(link, path))
		default:
			h.must(os.WriteFile(path, []byte(text), 0o644))
			h.must(os.Chtimes(path, sourceTime, sourceTime))
		}
		if hasMode {
			var m uint32
			_, err := fmt.Sscanf(mode, "%o", &m)
			h.must(err)
			h.must(syscall.Chmod(path, m))
		}
	}
}

// bundle replaces the bundle.
func (h *host) bundle(e entries) {
	h.t.Helper()
	h.must(os.RemoveAll(h.archive))
	h.must(os.MkdirAll(h.archive, 0o755))
	h.write(h.archive, e)
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// spec makes an appspec of source and destination pairs, destinations relative to dst.
func (h *host) spec(pairs ...string) *appspec.Spec {
	s := &appspec.Spec{Name: "appspec.yml"}
	for i := 0; i < len(pairs); i += 2 {
		d := pairs[i+1]
		if !strings.HasPrefix(d, "/") {
			d = filepath.Join(h.dst, d)
		}
		s.Files = append(s.Files, appspec.File{Source: pairs[i], Destination: d, Pos: appspec.Pos{Line: 4 + i, Col: 5}})
	}
	return s
}

func (h *host) request(s *appspec.Spec) Request {
	return Request{Spec: s, Archive: h.archive, Root: h.root, Group: "group", Deployment: "d-1"}
}

func (h *host) make(s *appspec.Spec, behavior string) (*Plan, error) {
	r := h.request(s)
	r.Behavior = behavior
	return Make(h.t.Context(), r)
}

// install plans and applies, and must succeed.
func (h *host) install(s *appspec.Spec, behavior string) *Plan {
	h.t.Helper()
	p, err := h.make(s, behavior)
	h.must(err)
	if _, err = p.Apply(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.clean()
	return p
}

// clean fails if anything hidden or any journal is left.
func (h *host) clean() {
	h.t.Helper()
	if err := h.left(); err != nil {
		h.t.Error(err)
	}
}

// left is an error that names what is hidden, and journals.
func (h *host) left() (left error) {
	h.t.Helper()
	h.must(filepath.WalkDir(h.base, func(path string, d fs.DirEntry, err error) error {
		if name := filepath.Base(path); strings.HasPrefix(name, hiddenPrefix) || strings.HasSuffix(name, journalSuffix) {
			left = errors.Join(left, fmt.Errorf("left behind: %s", path))
		}
		return err
	}))
	return left
}

// instructions reads one of the official agent's files.
func (h *host) instructions(suffix string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.root, instructionsDir, "group"+suffix))
	h.must(err)
	return strings.ReplaceAll(string(data), h.base, "")
}

// snapshot describes a tree: what every path is, mode, owner, time (not of directories) and content.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + link
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %q", info.ModTime().UnixNano(), data)
		}
		rel, _ := filepath.Rel(dir, path)
		all[rel] = text + " " + lists(path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// shape is a tree without modes, owners and times.
func shape(t testing.TB, dir string) entries {
	t.Helper()
	all := entries{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir():
			all[rel+"/"] = ""
		case d.Type()&fs.ModeSymlink != 0:
			link, _ := os.Readlink(path)
			all[rel] = "-> " + link
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[rel] = string(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// lists are a path's access control lists as hex.
func lists(path string) string {
	var out string
	for _, name := range []string{aclAccess, aclDefault} {
		buf := make([]byte, 512)
		if n, err := syscall.Getxattr(path, name, buf); err == nil && n > 0 {
			if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink == 0 {
				out += fmt.Sprintf("%s=%x", strings.TrimPrefix(name, "system.posix_acl_"), buf[:n])
			}
		}
	}
	return out
}

func diff(t testing.TB, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s mismatch (-want +got):\n%s", what, d)
	}
}

// needsRoot skips where a test has to give files away, mount or make them immutable.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: changes owners of files")
	}
}
