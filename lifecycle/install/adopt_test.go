package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway/lifecycle/appspec"
)

// lose removes what the deployment root knows of its groups, as a host that was set up anew does.
func (h *host) lose() {
	h.t.Helper()
	h.must(os.RemoveAll(h.root))
	h.must(os.MkdirAll(h.root, 0o755))
}

func (h *host) adopt(s *appspec.Spec) (*Plan, error) {
	r := h.request(s)
	r.Adopt = true
	return Make(h.t.Context(), r)
}

func TestAdoptWhatWasInstalled(t *testing.T) {
	for _, c := range sourceCases {
		if len(c.dst) > 0 && c.dst["x"] != "" { // a link that counts as absent
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(c.bundle)
			h.write(h.dst, c.dst)
			s := h.spec(c.files...)
			h.install(s, "")
			before := snapshot(t, h.dst)
			h.lose()
			p, err := h.adopt(s)
			h.must(err)
			if len(p.Modified()) > 0 || len(p.LeftOut()) > 0 {
				t.Errorf("Modified() = %v, LeftOut() = %v, want none", p.Modified(), p.LeftOut())
			}
			for op := range p.Ops() {
				if op.Kind != Adopt {
					t.Errorf("Ops() has %v", op)
				}
			}
			m, err := p.Apply(t.Context())
			h.must(err)
			h.clean()
			diff(t, "tree", before, snapshot(t, h.dst))
			if m.Counts.Adopted != len(p.order) || m.Counts.Files != 0 {
				t.Errorf("Counts = %+v", m.Counts)
			}
			if got := h.verified(); len(got) > 0 && c.name != "names that are no UTF-8" {
				t.Errorf("Verify() yields %q, want nothing", got)
			}
			if d, ok := Committed(h.root, "group"); !ok || d != "d-1" {
				t.Errorf("Committed() = %q, %v", d, ok)
			}
			// Destinations and what is above them are not taken.
			for line := range strings.Lines(h.instructions(cleanupSuffix)) {
				for i := 1; i < len(c.files); i += 2 {
					if path := strings.TrimSuffix(line, "\n"); strings.HasPrefix("/srv/"+filepath.Clean(c.files[i])+"/", path+"/") && !slices.Contains([]string{"I-35"}, c.name[:4]) {
						t.Errorf("cleanup file lists %s", path)
					}
				}
			}
			h.install(s, "")
			diff(t, "tree after the next installation", before, snapshot(t, h.dst))
		})
	}
}

func TestAdopt(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"same": "1", "touched": "1", "size": "1", "content": "1", "mode|600": "1", "link": "-> same", "link2": "-> same", "type": "1", "missing": "1", "d/in": "1", "nodir/in": "1", "file/in": "1", "behind/in": "1"})
	h.write(h.dst, entries{
		"app/same": "1", "app/touched": "1", "app/size": "by hand", "app/content": "2", "app/mode": "1", "app/link": "-> same", "app/link2": "-> other",
		"app/type": "-> same", "app/d/in": "1", "app/d/theirs": "user", "app/file": "1", "real/in": "1", "app/behind": "-> ../real",
	})
	h.rewrite("app/touched", "1", later)
	h.rewrite("app/content", "2", sourceTime)
	before := snapshot(t, h.dst)
	s := h.spec("/", "app")
	if _, err := h.make(s, ""); err == nil {
		t.Error("Make() without an adoption succeeds, want the conflicts that it is for")
	}
	p, err := h.adopt(s)
	h.must(err)
	diff(t, "Modified()", map[string]string{"app/size": "S.5...... aside", "app/content": "..5...... aside", "app/mode": ".M.......", "app/link2": "....L.... aside"}, h.modified(p))
	left := map[string]string{}
	for _, c := range p.LeftOut() {
		left[strings.TrimPrefix(c.Path, h.dst)] = c.Why
	}
	diff(t, "LeftOut()", map[string]string{
		"/app/type": "is of another type than in the bundle", "/app/missing": "is not there", "/app/nodir": "is not there, nor is what the bundle has for it",
		"/app/file": "has to be a directory, but exists and is none: move it away, or change the destination",
	}, left)
	if all := strings.Join(p.Warnings(), "\n"); !strings.Contains(all, "/app/missing is left out of the adoption: it is not there") || !strings.Contains(all, "3 adopted files not as the bundle has them") {
		t.Errorf("Warnings() = %s", all)
	}
	if want := "10 adopted, 4 left out"; !strings.Contains(p.Summary(), want) {
		t.Errorf("Summary() = %q, want %q in it", p.Summary(), want)
	}
	_, err = p.Apply(t.Context())
	h.must(err)
	h.clean()
	diff(t, "tree", before, snapshot(t, h.dst))
	diff(t, "cleanup file", []string{"/srv/app/behind/in", "/srv/app/content", "/srv/app/d", "/srv/app/d/in", "/srv/app/link", "/srv/app/link2", "/srv/app/mode", "/srv/app/same", "/srv/app/size", "/srv/app/touched"},
		slices.Sorted(strings.SplitSeq(strings.TrimSpace(h.instructions(cleanupSuffix)), "\n")))

	// The next installation has no conflict with what was adopted, and keeps aside what differs.
	h.must(os.Remove(filepath.Join(h.dst, "app/type")))
	h.must(os.Remove(filepath.Join(h.dst, "app/file")))
	h.revision(entries{"same": "2", "touched": "2"})
	r := h.request(s)
	r.Deployment = "d-2"
	p, err = Make(t.Context(), r)
	h.must(err)
	m, err := p.Apply(t.Context())
	h.must(err)
	diff(t, "kept aside", entries{"size": "by hand", "content": "2", "link2": "-> other"}, shape(t, filepath.Join(m.Aside, h.dst, "app")))
	diff(t, "tree", entries{"app/": "", "app/same": "2", "app/touched": "2", "app/d/": "", "app/d/theirs": "user", "app/behind": "-> ../real", "real/": ""}, shape(t, h.dst))
}

func TestAdoptIsRefused(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"a": "1", "b": "1", "d/c": "1"})
	s := h.spec("/", "app")
	h.install(s, "")
	if _, err := h.adopt(s); err == nil || !strings.Contains(err.Error(), "forget") {
		t.Errorf("Make() of an adoption by a group that has its files = %v, want it refused", err)
	}
	h.must(os.Rename(cleanupName(h.root, "group"), cleanupName(h.root, "other")))
	_, err := h.adopt(s)
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || len(conflict.Conflicts) != 3 || conflict.Conflicts[0].Who != "deployment group other" {
		t.Fatalf("Make() of an adoption of another group's files = %v, want a *ConflictError for each file", err)
	}
	h.must(os.WriteFile(cleanupName(h.root, "other"), []byte(h.dst+"/app/d\n"), 0o644))
	p, err := h.adopt(s) // a directory of another group stays that group's
	h.must(err)
	_, err = p.Apply(t.Context())
	h.must(err)
	diff(t, "cleanup file", "/srv/app/a\n/srv/app/b\n/srv/app/d/c\n", h.instructions(cleanupSuffix))
}

func TestAdoptWithPermissions(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	h.bundle(entries{"a|4755": "1", "d/e|600": "1"})
	s := h.spec("/", "app")
	s.Permissions = []appspec.Permission{
		{Object: filepath.Join(h.dst, "app"), Pattern: "**", Types: []string{"file"}, Owner: "daemon", ACLs: []appspec.ACLEntry{{Type: "user", Name: "bin", Perm: "rwx"}, {Type: "mask", Perm: "r-x"}}, ACLsSet: true},
		{Object: filepath.Join(h.dst, "app"), Pattern: "d", Types: []string{"directory"}, Mode: "2750", ModeSet: true},
	}
	h.install(s, "")
	h.lose()
	p, err := h.adopt(s)
	h.must(err)
	diff(t, "Modified()", map[string]string{}, h.modified(p))
	_, err = p.Apply(t.Context())
	h.must(err)
	diff(t, "Verify()", []string(nil), h.verified())
}

// TestAdoptAtEveryPoint stops an adoption by an error and by a crash: it is done as a whole or not at all.
func TestAdoptAtEveryPoint(t *testing.T) {
	h := newHostIn(t, memoryDir(t))
	h.bundle(entries{"a": "1", "d/b": "1"})
	s := h.spec("/", "app")
	h.install(s, "")
	tree := snapshot(t, h.dst)
	for _, byCrash := range []bool{false, true} {
		for n, stopped := 0, true; stopped; n++ {
			h.lose()
			p, err := h.adopt(s)
			h.must(err)
			probe, _, last := stopAt(n, byCrash)
			p.probe = probe
			whole := surviving(func() { _, err = p.Apply(t.Context()) })
			stopped = *last != ""
			if !whole || err == nil && stopped {
				_, err = Recover(t.Context(), h.root)
				h.must(err)
			}
			h.clean()
			diff(t, "tree", tree, snapshot(t, h.dst))
			_, listed := os.Stat(cleanupName(h.root, "group"))
			_, known := Committed(h.root, "group")
			if known != (listed == nil) || whole && known != (err == nil) {
				t.Fatalf("stopped at point %d (%s, crash %v): Apply() = %v, cleanup file: %v, Committed(): %v", n, *last, byCrash, err, listed, known)
			}
		}
	}
}

func TestForget(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"a": "1", "d/b": "1"})
	s := h.spec("/", "app")
	if err := Forget(t.Context(), h.root, "group"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Forget() of nothing = %v, want fs.ErrNotExist", err)
	}
	if err := Forget(t.Context(), h.root, ".."); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Forget() of an unfit id = %v", err)
	}
	h.install(s, "")
	pointer := filepath.Join(h.root, instructionsDir, "group_last_successful_install")
	h.must(os.WriteFile(pointer, []byte("x"), 0o644))
	other := h.request(h.spec("/", "other"))
	other.Group = "other"
	h.must(makeAndApply(t.Context(), other))
	before := snapshot(t, h.dst)
	h.must(Forget(t.Context(), h.root, "group"))
	diff(t, "tree", before, snapshot(t, h.dst))
	if _, ok := Committed(h.root, "group"); ok {
		t.Error("Committed() after Forget() says that there is an installation")
	}
	if _, ok := Committed(h.root, "other"); !ok {
		t.Error("another group was forgotten too")
	}
	got := shape(t, filepath.Join(h.root, instructionsDir))
	if len(got) != 3 || got["group_last_successful_install"] != "x" {
		t.Errorf("%d files left, want the pointer and the other group's: %v", len(got), got)
	}
	// Each of its files may be left by a crash.
	for _, name := range []string{cleanupName(h.root, "group"), filepath.Join(h.root, instructionsDir, "group"+installSuffix)} {
		h.must(os.WriteFile(name, []byte("{}"), 0o644))
		h.must(Forget(t.Context(), h.root, "group"))
	}
	r := h.request(s) // what was forgotten is nobody's, and equal
	p, err := Make(t.Context(), r)
	h.must(err)
	if c := p.Counts(); c.Kept != 2 {
		t.Errorf("Counts() = %+v, want both files kept as found", c)
	}
	j, err := createJournal(filepath.Join(stateDir(h.root), "abc"+journalSuffix), journalHeader{TX: "abc", Group: "group", Deployment: "d-7"})
	h.must(err)
	h.must(j.sync())
	j.close()
	if err := Forget(t.Context(), h.root, "group"); err == nil || !strings.Contains(err.Error(), "d-7") {
		t.Errorf("Forget() beside a journal = %v, want it refused", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStop)
	unlock, err := Lock(t.Context(), &r)
	h.must(err)
	defer unlock()
	if err := Forget(ctx, h.root, "group"); !errors.Is(err, errStop) {
		t.Errorf("Forget() while an installation goes on = %v, want the context's cause", err)
	}
}
