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
)

// revision puts the next revision's bundle beside the one before, as deployments of one group have it.
func (h *host) revision(e entries) {
	h.t.Helper()
	h.archive += "+"
	h.bundle(e)
}

// modified gives what a plan says of changed files, paths relative to dst.
func (h *host) modified(p *Plan) map[string]string {
	all := map[string]string{}
	for _, m := range p.Modified() {
		text := m.What.String()
		if m.Aside {
			text += " aside"
		}
		all[strings.TrimPrefix(m.Path, h.dst+"/")] = text
	}
	return all
}

// rewrite changes a file in place.
func (h *host) rewrite(name, text string, at time.Time) {
	h.t.Helper()
	path := filepath.Join(h.dst, name)
	h.must(os.WriteFile(path, []byte(text), 0o644))
	h.must(os.Chtimes(path, at, at))
}

var later = sourceTime.Add(time.Hour)

var modifiedCases = []struct {
	name     string
	change   func(h *host)
	lost     bool // the previous revision's bundle is gone
	behavior string
	want     map[string]string
	kept     entries // below the folder for what is kept aside, relative to dst
}{
	{name: "nothing changed"},
	{
		name:   "another size",
		change: func(h *host) { h.rewrite("app/replaced", "by hand", later) },
		want:   map[string]string{"app/replaced": "S.5....T. aside"}, kept: entries{"app/replaced": "by hand"},
	},
	{
		name:   "another size, time put back",
		change: func(h *host) { h.rewrite("app/removed", "by hand", sourceTime) },
		want:   map[string]string{"app/removed": "S.5...... aside"}, kept: entries{"app/removed": "by hand"},
	},
	{
		name:   "same size, other content",
		change: func(h *host) { h.rewrite("app/replaced", "OLD", later) },
		want:   map[string]string{"app/replaced": "..5....T. aside"}, kept: entries{"app/replaced": "OLD"},
	},
	{name: "only touched", change: func(h *host) { h.rewrite("app/replaced", "old", later) }},
	{
		name: "only touched, but nothing to compare with", lost: true,
		change: func(h *host) { h.rewrite("app/replaced", "old", later) },
		want:   map[string]string{"app/replaced": ".......T. aside"}, kept: entries{"app/replaced": "old"},
	},
	{
		name:   "mode alone",
		change: func(h *host) { h.must(os.Chmod(filepath.Join(h.dst, "app/replaced"), 0o600)) },
		want:   map[string]string{"app/replaced": ".M......."},
	},
	{
		name: "touched and another mode",
		change: func(h *host) {
			h.rewrite("app/removed", "old", later)
			h.must(os.Chmod(filepath.Join(h.dst, "app/removed"), 0o600))
		},
		want: map[string]string{"app/removed": ".M......."},
	},
	{
		name:   "mode of a directory",
		change: func(h *host) { h.must(os.Chmod(filepath.Join(h.dst, "app/sub"), 0o700)) },
		want:   map[string]string{"app/sub": ".M......."},
	},
	{
		name: "link leads elsewhere",
		change: func(h *host) {
			h.must(os.Remove(filepath.Join(h.dst, "app/link")))
			h.must(os.Symlink("elsewhere", filepath.Join(h.dst, "app/link")))
		},
		want: map[string]string{"app/link": "....L.... aside"}, kept: entries{"app/link": "-> elsewhere"},
	},
	{
		name: "a link instead of a file",
		change: func(h *host) {
			h.must(os.Remove(filepath.Join(h.dst, "app/removed")))
			h.must(os.Symlink("mine", filepath.Join(h.dst, "app/removed")))
		},
		want: map[string]string{"app/removed": "...F..... aside"}, kept: entries{"app/removed": "-> mine"},
	},
	{
		name: "a file instead of a directory",
		change: func(h *host) {
			h.must(os.RemoveAll(filepath.Join(h.dst, "app/sub")))
			h.rewrite("app/sub", "mine", later)
		},
		want: map[string]string{"app/sub": "...F..... aside"}, kept: entries{"app/sub": "mine"},
	},
	{
		name: "an empty directory instead of a file",
		change: func(h *host) {
			h.must(os.Remove(filepath.Join(h.dst, "app/replaced")))
			h.must(os.Mkdir(filepath.Join(h.dst, "app/replaced"), 0o755))
		},
		want: map[string]string{"app/replaced": "...F....."},
	},
	{name: "removed by hand", change: func(h *host) { h.must(os.Remove(filepath.Join(h.dst, "app/removed"))) }},
	{name: "as the new revision has it", change: func(h *host) { h.rewrite("app/replaced", "new one", sourceTime) }},
	{
		name: "RETAIN is for what is nobody's", behavior: "RETAIN",
		change: func(h *host) { h.rewrite("app/replaced", "by hand", later) },
		want:   map[string]string{"app/replaced": "S.5....T. aside"}, kept: entries{"app/replaced": "by hand"},
	},
	{
		name: "another agent installed in between",
		change: func(h *host) {
			h.rewrite("app/replaced", "by the other agent", later)
			name := cleanupName(h.root, "group")
			text, err := os.ReadFile(name)
			h.must(err)
			h.must(os.WriteFile(name, text, 0o644))
		},
	},
	{
		name: "another agent has installed something else in between",
		change: func(h *host) {
			h.rewrite("app/replaced", "by the other agent", later)
			h.writeCleanup(h.dst+"/app/replaced\n", 0o644)
			h.must(os.RemoveAll(filepath.Join(h.dst, "app/sub")))
			h.must(os.Remove(filepath.Join(h.dst, "app/removed")))
			h.must(os.Remove(filepath.Join(h.dst, "app/link")))
		},
	},
	{
		name: "a damaged manifest says nothing",
		change: func(h *host) {
			h.rewrite("app/replaced", "by hand", later)
			name := filepath.Join(stateDir(h.root), "group"+manifestSuffix)
			text, err := os.ReadFile(name)
			h.must(err)
			h.must(os.WriteFile(name, []byte(strings.ReplaceAll(string(text), `"size":`, `"size":x`)), 0o600))
		},
	},
}

func TestModified(t *testing.T) {
	for _, c := range modifiedCases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(entries{"replaced": "old", "removed": "old", "link": "-> replaced", "sub/x": "old", "caf\xe9 \"\\\té": "old"})
			s := h.spec("/", "app")
			h.install(s, "")
			if c.change != nil {
				c.change(h)
			}
			if c.lost {
				h.must(os.RemoveAll(h.archive))
			}
			h.revision(entries{"replaced": "new one", "link": "-> replaced2", "sub/x": "new"})
			r := h.request(s)
			r.Deployment, r.Behavior = "d-2", c.behavior
			p, err := Make(t.Context(), r)
			h.must(err)
			if c.want == nil {
				c.want = map[string]string{}
			}
			diff(t, "Modified()", c.want, h.modified(p))
			told := strings.Contains(strings.Join(p.Warnings(), "\n"), "changed on this host") || strings.Contains(strings.Join(p.Warnings(), "\n"), "another mode or owner")
			if told != (len(c.want) > 0) {
				t.Errorf("Warnings() = %q", p.Warnings())
			}
			shown := strings.Contains(p.Summary(), "kept aside")
			for op := range p.Ops() {
				if op.Kind == KeepAside && !shown {
					t.Errorf("Ops() has %v, Summary() = %q", op, p.Summary())
				}
			}
			m, err := p.Apply(t.Context())
			h.must(err)
			h.clean()
			aside := asideDir(h.root, "group", "d-1")
			if len(c.kept) == 0 {
				if _, err := os.Lstat(aside); m.Aside != "" || !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Aside = %q, %v, want nothing kept", m.Aside, err)
				}
				return
			}
			if m.Aside != aside || !shown {
				t.Errorf("Aside = %q, want %q; Summary() = %q", m.Aside, aside, p.Summary())
			}
			got := shape(t, filepath.Join(aside, h.dst))
			delete(got, "app/")
			diff(t, "what is kept aside", c.kept, got)
		})
	}
}

// TestKeptAsItWas moves to another file system too.
func TestKeptAsItWas(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprintf("apart=%v", apart), func(t *testing.T) {
			h := newHost(t)
			h.bundle(entries{"a": "old", "b": "old"})
			s := h.spec("/", "app")
			h.install(s, "")
			h.rewrite("app/a", "by hand", later)
			h.must(os.Chmod(filepath.Join(h.dst, "app/a"), 0o640))
			h.must(os.Remove(filepath.Join(h.dst, "app/b")))
			h.must(os.Symlink("by hand", filepath.Join(h.dst, "app/b")))
			if os.Getuid() == 0 {
				h.must(os.Chown(filepath.Join(h.dst, "app/a"), 12, 34))
				h.must(os.Lchown(filepath.Join(h.dst, "app/b"), 12, 34))
			}
			want := snapshot(t, filepath.Join(h.dst, "app"))
			h.revision(entries{"a": "new"})
			p, err := h.make(s, "")
			h.must(err)
			p.moves.apart = apart
			m, err := p.Apply(t.Context())
			h.must(err)
			h.clean()
			got := snapshot(t, filepath.Join(m.Aside, h.dst, "app"))
			delete(want, ".")
			if !strings.HasPrefix(got["."], "drwx------ ") {
				t.Errorf("folder is %s, want mode 0700", got["."])
			}
			delete(got, ".")
			diff(t, "what is kept aside", want, got)
		})
	}
}

func TestKeptTwice(t *testing.T) { // one deployment installed twice: the second change does not take the place of the first
	h := newHost(t)
	h.bundle(entries{"a": "old"})
	s := h.spec("/", "app")
	for _, text := range []string{"first", "second", "third"} {
		h.install(s, "")
		h.rewrite("app/a", text, later)
	}
	h.install(s, "")
	diff(t, "what is kept aside", entries{"a": "first", "a~2": "second", "a~3": "third"}, shape(t, filepath.Join(asideDir(h.root, "group", "d-1"), h.dst, "app")))
}

func TestKeptAsideIsBounded(t *testing.T) {
	h := newHost(t)
	s := h.spec("/", "app")
	folder := filepath.Dir(asideDir(h.root, "group", "x"))
	names := func() (all []string) {
		files, err := os.ReadDir(folder)
		h.must(err)
		for _, f := range files {
			all = append(all, f.Name())
		}
		return all
	}
	for i := range 9 {
		h.bundle(entries{"a": fmt.Sprint("old", i)})
		r := h.request(s)
		r.Deployment = fmt.Sprint("d-", 9-i)
		h.must(makeAndApply(t.Context(), r))
		h.rewrite("app/a", "by hand", later)
		if i > 0 { // folders made within one tick of the clock would have no order
			at := time.Now().Add(time.Duration(i-20) * time.Hour)
			h.must(os.Chtimes(asideDir(h.root, "group", fmt.Sprint("d-", 10-i)), at, at))
		}
	}
	diff(t, "folders", []string{"d-2", "d-3", "d-4", "d-5", "d-6"}, names())
	// The newest stays whatever its time.
	h.must(os.Chtimes(asideDir(h.root, "group", "d-6"), later, later))
	past := time.Unix(1, 0)
	if err := pruneAside(func(string) error { return nil }, h.root, "group", "d-3"); err != nil {
		t.Fatal(err)
	}
	h.must(os.Mkdir(filepath.Join(folder, "d-0"), 0o700))
	h.must(os.Chtimes(filepath.Join(folder, "d-0"), past, past))
	h.must(pruneAside(func(string) error { return nil }, h.root, "group", "d-0"))
	if got := names(); len(got) != asideKept || !slices.Contains(got, "d-0") {
		t.Errorf("folders %q, want d-0 and four others", got)
	}
}

func TestNotKeptAside(t *testing.T) { // the folder cannot be made: the installation is complete, and nothing is lost
	h := newHost(t)
	h.bundle(entries{"a": "old", "dir/b": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.rewrite("app/a", "by hand", later)
	h.rewrite("app/dir/b", "by hand", later)
	h.must(os.WriteFile(filepath.Join(h.root, ".slipway/aside"), nil, 0o600))
	h.revision(entries{"a": "new", "dir": "a file now"})
	p, err := h.make(s, "")
	h.must(err)
	m, err := p.Apply(t.Context())
	h.must(err)
	if m.Aside != "" {
		t.Errorf("Aside = %q, want empty", m.Aside)
	}
	for _, name := range []string{"app/a", "app/dir/b"} {
		found := false
		for _, w := range m.Warnings {
			_, rest, ok := strings.Cut(w, filepath.Join(h.dst, name)+" was changed on this host since it was installed, and could not be kept aside: it is still there as ")
			if !ok {
				continue
			}
			hidden, _, _ := strings.Cut(rest, ",")
			text, err := os.ReadFile(hidden)
			if err != nil || string(text) != "by hand" {
				t.Errorf("%s: %q, %v, want what was changed by hand", hidden, text, err)
			}
			found = true
		}
		if !found {
			t.Errorf("no warning about %s in %q", name, m.Warnings)
		}
	}
	if d, _ := Committed(h.root, "group"); d != "d-1" || len(collect(h.root)) != 0 {
		t.Errorf("Committed() = %q, journals %q, want it complete", d, collect(h.root))
	}
}

func TestManifestThatCannotBeRead(t *testing.T) { // which is told; that there is no descriptor for it is an error
	h := newHost(t)
	h.bundle(entries{"a": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	name := filepath.Join(stateDir(h.root), "group"+manifestSuffix)
	h.must(os.Rename(name, name+".copy"))
	h.must(os.Symlink(name+".copy", name))
	h.bundle(entries{"a": "new"})
	p := h.install(s, "")
	if warnings := strings.Join(p.Warnings(), "\n"); !strings.Contains(warnings, "it is not known how the previous installation has left its files") {
		t.Errorf("Warnings() = %q", warnings)
	}
	if len(h.install(s, "").Warnings()) > 0 {
		t.Error("the next installation's manifest cannot be read either")
	}
	m := newMaker(h.request(s), Disallow)
	if err := m.unknown(&fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("unknown(EMFILE) = %v, want the error", err)
	}
}
