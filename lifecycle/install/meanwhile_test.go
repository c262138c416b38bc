package install

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// meanwhile is an installation over another one, for what others do while it goes on.
func meanwhile(t *testing.T, plain bool) (h *host, p *Plan) {
	h = newHost(t)
	h.bundle(entries{"replaced": "old", "removed": "old", "deleted": "old", "link": "-> old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.bundle(entries{"replaced": "new", "added": "new", "deleted": "new", "link": "-> new", "zadded": "new"})
	r := h.request(s)
	r.Deployment = "d-2"
	p, err := Make(t.Context(), r)
	h.must(err)
	p.moves.plain = plain
	return h, p
}

// put writes a file the way that editors and applications do: under another name, and then renamed.
func (h *host) put(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dst, name)
	h.must(os.WriteFile(path+".tmp", []byte(text), 0o644))
	h.must(os.Rename(path+".tmp", path))
}

// at does something at the n-th time that a point is come to.
func at(point string, n int, do func()) func(string) error {
	return func(p string) error {
		if p == point {
			if n--; n == 0 {
				do()
			}
		}
		return nil
	}
}

func crashes() { panic(crash{}) }

// TestChangedBetweenCrashAndRecovery lets the application write its files anew, and a person remove one, between a crash at the end of the commit
// and the recovery: what has been put in place is not exchanged a second time, which would bring the old files back and delete the newest.
func TestChangedBetweenCrashAndRecovery(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		for _, point := range []string{"steps done", "synced"} {
			h, p := meanwhile(t, plain)
			p.probe = at(point, 1, crashes)
			surviving(func() { p.Apply(t.Context()) })
			h.put("app/replaced", "by the application")
			h.put("app/added", "by the application")
			h.put("app/removed", "by the application")
			h.must(os.Remove(filepath.Join(h.dst, "app/deleted")))
			found, err := Recover(t.Context(), h.root)
			if err != nil || len(found) != 1 || found[0].Outcome != Completed || found[0].Err != nil {
				t.Fatalf("crash at %q: Recover() = %+v, %v, want it completed", point, found, err)
			}
			diff(t, "tree", entries{
				"app/": "", "app/replaced": "by the application", "app/added": "by the application", "app/removed": "by the application", "app/link": "-> new", "app/zadded": "new",
			}, shape(t, h.dst))
			h.clean()
			if d, _ := Committed(h.root, "group"); d != "d-2" {
				t.Errorf("Committed() = %q, want d-2", d)
			}
		}
	})
}

// TestInTheWayOfUndo puts files where old ones have to come back to: they are kept, and the tree is the old one.
func TestInTheWayOfUndo(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		for _, byCrash := range []bool{false, true} {
			h, p := meanwhile(t, plain)
			want, mine := shape(t, h.dst), []string{"mine 1"}
			var err error
			if byCrash { // before what is to be added, which then cannot be: somebody has put that there as well
				p.probe = at("step", 5, crashes)
				surviving(func() { p.Apply(t.Context()) })
				h.put("app/replaced", "mine 1")
				h.put("app/zadded", "theirs")
				want["app/zadded"] = "theirs"
				found, recovery := Recover(t.Context(), h.root)
				if recovery != nil || len(found) != 1 || found[0].Outcome != RolledBack {
					t.Fatalf("Recover() = %+v, %v, want it rolled back", found, recovery)
				}
				err = found[0].Err
			} else {
				p.probe = func(point string) error {
					if point != "steps done" {
						return nil
					}
					h.put("app/replaced", "mine 1")
					h.put("app/removed", "mine 2")
					h.must(os.Remove(filepath.Join(h.dst, "app/link")))
					return errStop
				}
				mine = append(mine, "mine 2")
				if _, err = p.Apply(t.Context()); !errors.Is(err, errStop) {
					t.Fatalf("Apply() = %v, want the cause", err)
				}
			}
			got := shape(t, h.dst)
			var saved []string
			for name, text := range got {
				if !strings.HasPrefix(filepath.Base(name), savedPrefix) {
					continue
				}
				saved = append(saved, text)
				delete(got, name)
				h.must(os.Remove(filepath.Join(h.dst, name)))
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("the error is %v, want %s in it", err, name)
				}
			}
			slices.Sort(saved)
			diff(t, "kept", mine, saved)
			diff(t, "tree", want, got)
			h.clean()
		}
	})
}

// TestDirectoryRemovedBeforeRecovery lets a person remove or replace the destination after a crash: nothing is left to undo, and the next
// deployment goes on.
func TestDirectoryRemovedBeforeRecovery(t *testing.T) {
	for what, change := range map[string]func(path string) error{
		"removed":   os.RemoveAll,
		"moved":     func(path string) error { return os.Rename(path, path+".bak") },
		"made anew": func(path string) error { return errors.Join(os.Rename(path, path+".bak"), os.Mkdir(path, 0o755)) },
		"a file":    func(path string) error { return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o644)) },
	} {
		for _, point := range []string{"staged", "step", "steps done", "sweep"} {
			t.Run(what+" after a crash at "+point, func(t *testing.T) {
				h, p := meanwhile(t, false)
				p.probe = at(point, 1, crashes)
				surviving(func() { p.Apply(t.Context()) })
				h.must(change(filepath.Join(h.dst, "app")))
				found, err := Recover(t.Context(), h.root)
				if err != nil || len(found) != 1 {
					t.Fatalf("Recover() = %+v, %v, want it settled", found, err)
				}
				if committed := strings.HasPrefix(point, "step"); committed != (found[0].Err != nil && strings.Contains(found[0].Err.Error(), h.dst+"/app is no longer there")) {
					t.Errorf("Recover() = %+v, want to be told of the directory: %v", found, committed)
				}
				h.must(os.RemoveAll(filepath.Join(h.dst, "app.bak")))
				if what == "a file" {
					h.must(os.Remove(filepath.Join(h.dst, "app")))
				}
				h.install(h.spec("/", "app"), "")
				diff(t, "tree", entries{"app/": "", "app/replaced": "new", "app/added": "new", "app/deleted": "new", "app/link": "-> new", "app/zadded": "new"}, shape(t, h.dst))
			})
		}
	}
}

// TestDirectoryNumberedAnew lets the file system have other inode numbers after the next start of the host, as those without any of their own do:
// a directory in which something is left to undo is not taken for another one.
func TestDirectoryNumberedAnew(t *testing.T) {
	h, p := meanwhile(t, false)
	before := snapshot(t, h.dst)
	p.probe = at("step", 3, crashes)
	surviving(func() { p.Apply(t.Context()) })
	name := collect(h.root)[0]
	anew := func(t *transaction) {
		for i := range t.dirs {
			t.dirs[i].ino++
		}
	}
	if r, err := recoverOne(t.Context(), h.root, name, anew); !errors.Is(err, errMoved) {
		t.Fatalf("recoverOne() = %+v, %v, want the installation left for later", r, err)
	}
	if found, err := Recover(t.Context(), h.root); err != nil || len(found) != 1 || found[0].Outcome != RolledBack {
		t.Fatalf("Recover() = %+v, %v, want it rolled back", found, err)
	}
	diff(t, "tree", before, snapshot(t, h.dst))
	h.clean()
}

// TestNotMountedAtRecovery starts the agent before the file system of the destination is there: the installation is put off, and settled later.
func TestNotMountedAtRecovery(t *testing.T) {
	needsRoot(t)
	tool(t, "mkfs.ext4")
	for _, point := range []string{"staged", "step", "sweep"} {
		h := newHost(t)
		image := filepath.Join(h.base, "image")
		run := func(args ...string) {
			t.Helper()
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		run("truncate", "-s", "8M", image)
		run("mkfs.ext4", "-q", image)
		run("mount", "-o", "loop", image, h.dst)
		isMounted := true
		t.Cleanup(func() {
			if isMounted {
				run("umount", h.dst)
			}
		})
		s := h.spec("/", "app")
		h.bundle(entries{"a": "old", "b": "old", "c": "old"})
		h.install(s, "")
		h.bundle(entries{"a": "new", "b": "new"})
		p, err := h.make(s, "")
		h.must(err)
		p.probe = at(point, 1, crashes)
		surviving(func() { p.Apply(t.Context()) })
		run("umount", h.dst)
		isMounted = false
		if found, err := Recover(t.Context(), h.root); err == nil || !strings.Contains(err.Error(), h.dst+"/app is not mounted") {
			t.Fatalf("crash at %q: Recover() without the file system = %+v, %v, want an error that says so", point, found, err)
		}
		run("mount", "-o", "loop", image, h.dst)
		isMounted = true
		found, err := Recover(t.Context(), h.root)
		if err != nil || len(found) != 1 || (found[0].Outcome == Completed) != (point != "staged") {
			t.Errorf("crash at %q: Recover() with the file system = %+v, %v", point, found, err)
		}
		want := entries{"lost+found/": "", "app/": "", "app/a": "new", "app/b": "new"}
		if point == "staged" {
			want = entries{"lost+found/": "", "app/": "", "app/a": "old", "app/b": "old", "app/c": "old"}
		}
		diff(t, fmt.Sprintf("crash at %q: tree", point), want, shape(t, h.dst))
		h.clean()
	}
}

// TestChangedWhileInstalling changes files between plan and commit, which of a large bundle may be minutes: they are kept aside as if they had been
// changed before.
func TestChangedWhileInstalling(t *testing.T) {
	forms(t, func(t *testing.T, plain bool) {
		for _, point := range []string{"", "sweep", "steps done"} { // no crash, one in the tidying up, one before it
			h, p := meanwhile(t, plain)
			crashed := false
			p.probe = func(now string) error {
				switch {
				case now == "staged":
					h.rewrite("app/replaced", "in place", time.Now())
					h.put("app/removed", "renamed")
				case now == point && !crashed:
					crashed = true
					panic(crash{})
				}
				return nil
			}
			var m *Manifest
			var err error
			var aside string
			if surviving(func() { m, err = p.Apply(t.Context()) }) {
				h.must(err)
				aside = m.Aside
				for _, name := range []string{"replaced", "removed"} {
					if !strings.Contains(strings.Join(m.Warnings, "\n"), h.dst+"/app/"+name+" was changed while the installation went on: kept in "+aside) {
						t.Errorf("Warnings = %q, want one about %s", m.Warnings, name)
					}
				}
			} else {
				found, err := Recover(t.Context(), h.root)
				if err != nil || len(found) != 1 || found[0].Outcome != Completed {
					t.Fatalf("crash at %q: Recover() = %+v, %v", point, found, err)
				}
				if aside = found[0].Aside; point == "sweep" { // all was kept before
					aside = asideDir(h.root, "group", "d-1")
				}
			}
			diff(t, "tree", entries{"app/": "", "app/replaced": "new", "app/added": "new", "app/deleted": "new", "app/link": "-> new", "app/zadded": "new"}, shape(t, h.dst))
			diff(t, fmt.Sprintf("crash at %q: kept aside", point), entries{"replaced": "in place", "removed": "renamed"}, shape(t, filepath.Join(aside, h.dst, "app")))
			h.clean()
		}
	})
}
