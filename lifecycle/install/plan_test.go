package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/lifecycle/appspec"
)

// sourceCases are I-24..I-29: what the files section makes of a bundle.
var sourceCases = []struct {
	name    string
	bundle  entries
	dst     entries // what is there before
	files   []string
	want    entries
	cleanup []string // relative to dst
}{
	{
		name:   "I-24 contents of a directory, missing ancestors made",
		bundle: entries{"a/x": "1", "a/sub/y": "2"},
		files:  []string{"a", "p/q"},
		want:   entries{"p/": "", "p/q/": "", "p/q/x": "1", "p/q/sub/": "", "p/q/sub/y": "2"},
		// I-26: top-down, then contents
		cleanup: []string{"p", "p/q", "p/q/x", "p/q/sub", "p/q/sub/y"},
	},
	{
		name:   "I-24 into a directory that exists",
		bundle: entries{"a/x": "1"}, dst: entries{"d/theirs": "t"},
		files:   []string{"a", "d"},
		want:    entries{"d/": "", "d/theirs": "t", "d/x": "1"},
		cleanup: []string{"d/x"},
	},
	{
		name:   "I-25 a file goes into the destination",
		bundle: entries{"conf/app.ini": "1"},
		files:  []string{"conf/app.ini", "etc/app"},
		want:   entries{"etc/": "", "etc/app/": "", "etc/app/app.ini": "1"}, cleanup: []string{"etc", "etc/app", "etc/app/app.ini"},
	},
	{
		name:   "I-25 a link goes into the destination",
		bundle: entries{"logs": "-> /var/log/app"},
		files:  []string{"logs", "d"},
		want:   entries{"d/": "", "d/logs": "-> /var/log/app"}, cleanup: []string{"d", "d/logs"},
	},
	{
		name:   "I-27 dot files, empty directories",
		bundle: entries{".htaccess": "h", ".git/": "", "e/": ""},
		files:  []string{"/", "d"},
		want:   entries{"d/": "", "d/.htaccess": "h", "d/.git/": "", "d/e/": ""}, cleanup: []string{"d", "d/.htaccess", "d/.git", "d/e"},
	},
	{
		name:   "I-27 link to a directory of the bundle is expanded, others stay links",
		bundle: entries{"real/x": "1", "alias": "-> real", "file": "-> real/x", "dangling": "-> nowhere", "out": "-> ../..", "abs": "-> /etc"},
		files:  []string{"/", "d"},
		want: entries{
			"d/": "", "d/real/": "", "d/real/x": "1", "d/alias/": "", "d/alias/x": "1",
			"d/file": "-> real/x", "d/dangling": "-> nowhere", "d/out": "-> ../..", "d/abs": "-> /etc",
		},
		cleanup: []string{"d", "d/abs", "d/dangling", "d/file", "d/out", "d/alias", "d/alias/x", "d/real", "d/real/x"},
	},
	{
		name:   "X-51 loops end",
		bundle: entries{"a/up": "-> ..", "a/self": "-> .", "a/x": "1", "b/to-c": "-> ../c", "c/to-b": "-> ../b", "eloop": "-> eloop"},
		files:  []string{"/", "d"},
		want: entries{
			"d/": "", "d/a/": "", "d/a/up": "-> ..", "d/a/self": "-> .", "d/a/x": "1", "d/eloop": "-> eloop",
			"d/b/": "", "d/b/to-c/": "", "d/b/to-c/to-b": "-> ../b", "d/c/": "", "d/c/to-b/": "", "d/c/to-b/to-c": "-> ../c",
		},
		cleanup: []string{
			"d", "d/eloop", "d/a", "d/a/self", "d/a/up", "d/a/x", "d/b", "d/b/to-c", "d/b/to-c/to-b", "d/c", "d/c/to-b", "d/c/to-b/to-c",
		},
	},
	{
		name:   "I-28 dot is the whole archive",
		bundle: entries{"appspec.yml": "v", "scripts/s.sh": "s"}, files: []string{".", "d"},
		want: entries{"d/": "", "d/appspec.yml": "v", "d/scripts/": "", "d/scripts/s.sh": "s"}, cleanup: []string{"d", "d/appspec.yml", "d/scripts", "d/scripts/s.sh"},
	},
	{
		name:   "I-28 empty text is the whole archive",
		bundle: entries{"x": "1"}, files: []string{"", "d"}, want: entries{"d/": "", "d/x": "1"}, cleanup: []string{"d", "d/x"},
	},
	{
		name:   "I-29 trailing slashes",
		bundle: entries{"a/x": "1", "f": "2"}, files: []string{"a/", "d/", "f", "d//"},
		want: entries{"d/": "", "d/x": "1", "d/f": "2"}, cleanup: []string{"d", "d/x", "d/f"},
	},
	{
		name:   "I-32 destination is normalised",
		bundle: entries{"a/x": "1"}, files: []string{"/a", "p/../d/./e"},
		want: entries{"d/": "", "d/e/": "", "d/e/x": "1"}, cleanup: []string{"d", "d/e", "d/e/x"},
	},
	{
		name:   "I-35 directory planned twice is made once",
		bundle: entries{"a/x": "1", "b/y": "2"}, files: []string{"a", "d", "b", "d"},
		want: entries{"d/": "", "d/x": "1", "d/y": "2"}, cleanup: []string{"d", "d/x", "d/y"},
	},
	{
		name:   "I-37 dangling link counts as absent, and is replaced",
		bundle: entries{"x": "1"}, dst: entries{"x": "-> nowhere"}, files: []string{"/", "."},
		want: entries{"x": "1"}, cleanup: []string{"x"},
	},
	{
		name:   "X-53 white space is part of a name",
		bundle: entries{" x ": "1", "\ty": "2"}, files: []string{"/", "d"},
		want: entries{"d/": "", "d/ x ": "1", "d/\ty": "2"}, cleanup: []string{"d", "d/\ty", "d/ x "},
	},
	{
		name:   "names that are no UTF-8",
		bundle: entries{"caf\xe9": "1"}, files: []string{"/", "d"},
		want: entries{"d/": "", "d/caf\xe9": "1"}, cleanup: []string{"d", "d/caf\xe9"},
	},
}

func TestSources(t *testing.T) {
	for _, c := range sourceCases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(c.bundle)
			h.write(h.dst, c.dst)
			before := shape(t, h.dst)
			s := h.spec(c.files...)
			h.install(s, "")
			diff(t, "tree", c.want, shape(t, h.dst))
			want := ""
			for _, path := range c.cleanup {
				want += "/srv/" + path + "\n"
			}
			diff(t, "I-40 cleanup file", want, h.instructions(cleanupSuffix))

			// Again, over itself: no conflict, the same tree and the same list.
			h.install(s, "")
			diff(t, "tree after the second installation", c.want, shape(t, h.dst))
			diff(t, "cleanup file after the second installation", want, h.instructions(cleanupSuffix))

			// A revision of nothing removes all that was installed.
			h.bundle(nil)
			h.install(&appspec.Spec{}, "")
			for name, text := range before {
				if strings.HasPrefix(text, "-> nowhere") {
					delete(before, name)
				}
			}
			diff(t, "tree after the removal", before, shape(t, h.dst))
			diff(t, "cleanup file after the removal", "", h.instructions(cleanupSuffix))
		})
	}
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		name     string
		bundle   entries
		dst      entries
		files    []string
		perms    []appspec.Permission
		behavior string
		want     []string // "path: part of why", with dst as /srv
	}{
		{
			name: "I-33 two copies to one target", bundle: entries{"a/x": "1", "b/x": "2"}, files: []string{"a", "d", "b", "d"},
			want: []string{"/srv/d/x: is installed twice, from /archive/a/x and from /archive/b/x"},
		},
		{
			name: "I-33 the same source twice", bundle: entries{"a/x": "1"}, files: []string{"a", "d", "a/x", "d"},
			want: []string{"/srv/d/x: is installed twice"},
		},
		{
			name: "I-34 copy to a planned directory", bundle: entries{"a/x/y": "1", "x": "2"}, files: []string{"a", "d", "x", "d"},
			want: []string{"/srv/d/x: is to be both a file and a directory"},
		},
		{
			name: "I-34 directory at a planned copy", bundle: entries{"a/x/y": "1", "x": "2"}, files: []string{"x", "d", "a", "d"},
			want: []string{"/srv/d/x: is to be both a directory and a file"},
		},
		{
			name: "I-36 DISALLOW lists all", bundle: entries{"x": "1", "y": "2", "z": "3"}, dst: entries{"x": "old", "z": "old"}, files: []string{"/", "."},
			want: []string{"/srv/x: exists, and file_exists_behavior is DISALLOW", "/srv/z: exists"},
		},
		{
			name: "X-52 OVERWRITE onto a directory", bundle: entries{"x": "1"}, dst: entries{"x/": ""}, files: []string{"/", "."}, behavior: "OVERWRITE",
			want: []string{"/srv/x: is a directory"},
		},
		{
			name: "I-39 directory where a file is", bundle: entries{"x/y": "1"}, dst: entries{"x": "f"}, files: []string{"/", "."}, behavior: "OVERWRITE",
			want: []string{"/srv/x: has to be a directory"},
		},
		{
			name: "I-39 directory where a dangling link is", bundle: entries{"x/y": "1"}, dst: entries{"x": "-> nowhere"}, files: []string{"/", "."}, behavior: "OVERWRITE",
			want: []string{"/srv/x: has to be a directory"},
		},
		{
			name: "X-28 missing sources, all of them", bundle: entries{"x": "1"}, files: []string{"nope", "d", "also/nope", "d"},
			want: []string{`appspec.yml:4:5: source "nope" is not in the bundle`, `appspec.yml:6:5: source "also/nope" is not in the bundle`},
		},
		{
			name: "X-4 source climbs", bundle: entries{"x": "1", "out": "-> ../.."}, files: []string{"../x", "d", "a/../../x", "d", "out/etc", "d"},
			want: []string{`appspec.yml:4:5: source "../x" leads out`, `appspec.yml:6:5: source "a/../../x" leads out`, `appspec.yml:8:5: source "out/etc" is not in the bundle`},
		},
		{
			name: "X-53 newline in a name", bundle: entries{"a\nb": "1", "c\nd/e": "2"}, files: []string{"/", "d"},
			want: []string{"/srv/d/a\nb: has a newline", "/srv/d/c\nd: has a newline"},
		},
		{
			name: "X-28 unknown owner and group", bundle: entries{"x": "1"}, files: []string{"/", "d"},
			perms: []appspec.Permission{{Object: "/srv/d/x", Pattern: "**", Owner: "no-such-user", Group: "no-such-group", Types: []string{"file"}}},
			want:  []string{`appspec.yml: there is no user "no-such-user"`, `appspec.yml: there is no group "no-such-group"`},
		},
		{
			name: "I-49 a number is no name", bundle: entries{"x": "1"}, files: []string{"/", "d"},
			perms: []appspec.Permission{{Object: "/srv/d", Pattern: "**", Owner: "0", Types: []string{"file"}}},
			want:  []string{`appspec.yml: there is no user "0"`},
		},
		{
			name: "A-25 value that is no text", bundle: entries{"x": "1"}, files: []string{"/", "d"},
			perms: []appspec.Permission{{Object: "/srv/d", Pattern: "**", Types: []string{"file"}, Defect: errors.New("owner is a number")}},
			want:  []string{"appspec.yml: owner is a number"},
		},
		{
			name: "destination in the bundle", bundle: entries{"x": "1"}, files: []string{"/", "../archive/d"},
			want: []string{`appspec.yml:4:5: destination`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(c.bundle)
			h.write(h.dst, c.dst)
			before := snapshot(t, h.base)
			s := h.spec(c.files...)
			for _, p := range c.perms {
				p.Object = h.base + p.Object
				s.Permissions = append(s.Permissions, p)
			}
			_, err := h.make(s, c.behavior)
			conflict, ok := errors.AsType[*ConflictError](err)
			if !ok {
				t.Fatalf("Make() = %v, want a *ConflictError", err)
			}
			if len(conflict.Conflicts) != len(c.want) {
				t.Errorf("%d conflicts, want %d:\n%v", len(conflict.Conflicts), len(c.want), err)
			}
			for i, want := range c.want {
				if i < len(conflict.Conflicts) {
					if got := strings.ReplaceAll(conflict.Conflicts[i].String(), h.base, ""); !strings.HasPrefix(got, want) {
						t.Errorf("conflict %d is %q, want %q…", i, got, want)
					}
				}
			}
			diff(t, "tree after a conflict", before, snapshot(t, h.base))
		})
	}
}

func TestBehaviors(t *testing.T) {
	for _, c := range []struct {
		name, behavior string
		dst            entries
		want           entries
		cleanup        string
		then           entries // after a next revision of nothing
	}{
		{"I-36 OVERWRITE replaces, and owns", "OVERWRITE", entries{"x": "old"}, entries{"x": "new", "y": "new"}, "/srv/x\n/srv/y\n", entries{}},
		{"I-36 RETAIN keeps, and does not own", "RETAIN", entries{"x": "old"}, entries{"x": "old", "y": "new"}, "/srv/y\n", entries{"x": "old"}},
		{"I-36 RETAIN keeps a directory", "RETAIN", entries{"x/z": "old"}, entries{"x/": "", "x/z": "old", "y": "new"}, "/srv/y\n", entries{"x/": "", "x/z": "old"}},
		{"X-52 OVERWRITE replaces a link, and does not write through it", "OVERWRITE", entries{"x": "-> t", "t": "theirs"}, entries{"x": "new", "t": "theirs", "y": "new"}, "/srv/x\n/srv/y\n", entries{"t": "theirs"}},
		{"DISALLOW keeps an equal file that nobody owns", "DISALLOW", entries{"x": "new"}, entries{"x": "new", "y": "new"}, "/srv/y\n", entries{"x": "new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(entries{"x": "new", "y": "new"})
			h.write(h.dst, c.dst)
			h.install(h.spec("/", "."), c.behavior)
			diff(t, "tree", c.want, shape(t, h.dst))
			diff(t, "cleanup file", c.cleanup, h.instructions(cleanupSuffix))
			h.install(&appspec.Spec{}, "")
			diff(t, "tree after the next revision", c.then, shape(t, h.dst))
		})
	}
}

func TestBehaviorIsChecked(t *testing.T) { // I-36, V-55
	h := newHost(t)
	h.bundle(entries{"x": "new"})
	for _, text := range []string{"overwrite", "Keep", " RETAIN"} {
		if _, err := h.make(h.spec("/", "."), text); err == nil || !strings.Contains(err.Error(), "DISALLOW, OVERWRITE or RETAIN") {
			t.Errorf("Make() with %q = %v, want an error that names the behaviors", text, err)
		}
	}
}

func TestConflictNamesTheOwner(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"x": "1", "same": "2"})
	s := h.spec("/", ".")
	r := h.request(s)
	r.Group = "other"
	p, err := Make(t.Context(), r)
	h.must(err)
	_, err = p.Apply(t.Context())
	h.must(err)
	h.bundle(entries{"x": "changed", "same": "2"})
	_, err = h.make(s, "")
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || len(conflict.Conflicts) != 2 {
		t.Fatalf("Make() = %v, want two conflicts: an equal file of another group is one too", err)
	}
	for _, c := range conflict.Conflicts {
		if c.Who != "deployment group other" {
			t.Errorf("conflict at %s names %q, want the other group", c.Path, c.Who)
		}
	}
}

func TestCopyKeepsAttributes(t *testing.T) { // I-39
	needsRoot(t)
	h := newHost(t)
	h.bundle(entries{"f|4751": "x", "plain|600": "y", "wide|666": "z", "dir/in": "i"})
	h.must(os.Chmod(filepath.Join(h.archive, "dir"), 0o700))
	h.must(os.Chown(filepath.Join(h.archive, "f"), 1234, 5678))
	h.must(os.Chmod(filepath.Join(h.archive, "f"), 0o751|os.ModeSetuid))
	h.must(os.Chown(filepath.Join(h.archive, "dir"), 1234, 5678))
	h.install(h.spec("/", "new", "/", "."), "")
	for _, dir := range []string{"new", "."} { // in a new tree, and beside others
		got := snapshot(t, filepath.Join(h.dst, dir))
		delete(got, ".")
		at := " " + "1614834367891000000 "
		for name, want := range map[string]string{
			"f": "urwxr-x--x 1234:5678" + at + `"x" `, "plain": "-rw------- 0:0" + at + `"y" `, "wide": "-rw-rw-rw- 0:0" + at + `"z" `,
			"dir": "drwxr-xr-x 0:0 ", "dir/in": "-rw-r--r-- 0:0" + at + `"i" `,
		} {
			if got[name] != want {
				t.Errorf("%s/%s is %q, want %q", dir, name, got[name], want)
			}
		}
	}
}

func TestOpsAndSummary(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"a/x": "1", "a/old": "2", "a/gone/y": "3", "a/link": "-> x"})
	s := h.spec("a", "app")
	h.install(s, "")
	h.bundle(entries{"a/x": "1", "a/old": "changed", "a/new": "4", "a/link": "-> old", "a/newdir/z": "55"})
	p, err := h.make(s, "")
	h.must(err)
	var got []string
	for op := range p.Ops() {
		got = append(got, strings.ReplaceAll(op.String(), h.base, ""))
	}
	diff(t, "Ops()", []string{
		"reset    /srv/app", "relink   /srv/app/link old", "add      /srv/app/new", "replace  /srv/app/old", "same     /srv/app/x",
		"mkdir    /srv/app/newdir", "add      /srv/app/newdir/z", "remove   /srv/app/gone/y", "rmdir    /srv/app/gone",
	}, got)
	if got, want := p.Summary(), "3 files (10 B), 1 link, 1 directory made, 2 replaced, 1 unchanged, 2 removed"; got != want {
		t.Errorf("Summary() = %q, want %q", got, want)
	}
	n := 0
	for range p.Ops() { // the sequence may be left early
		if n++; n == 2 {
			break
		}
	}
}

func TestPlanChangesNothing(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"a/x": "1"})
	h.install(h.spec("a", "app"), "")
	h.bundle(entries{"b/y": "1"})
	before := snapshot(t, h.base)
	if _, err := h.make(h.spec("b", "app"), ""); err != nil {
		t.Fatal(err)
	}
	diff(t, "tree after Make()", before, snapshot(t, h.base))
}

// TestPathLength installs what the host can just name, twice, and refuses what it cannot.
func TestPathLength(t *testing.T) {
	h := newHost(t)
	deep := h.dst
	for len(deep)+201 < maxPath-len("/f") {
		deep += "/" + strings.Repeat("x", 199)
	}
	deep += "/" + strings.Repeat("y", maxPath-len("//f")-len(deep))
	s := h.spec("/", deep)
	h.bundle(entries{"f": "1"})
	h.install(s, "")
	h.bundle(entries{"f": "2"})
	h.install(s, "")
	if text, err := os.ReadFile(deep + "/f"); err != nil || string(text) != "2" {
		t.Errorf("the file is %q, %v", text, err)
	}
	for _, name := range []string{"ff", "d/f"} {
		h.bundle(entries{name: "3"})
		_, err := h.make(s, "")
		if conflict, ok := errors.AsType[*ConflictError](err); !ok || len(conflict.Conflicts) != 1 || !strings.Contains(conflict.Conflicts[0].Why, "more than 4095 bytes") {
			t.Errorf("Make() of %s = %v, want one conflict that says that its path is too long", name, err)
		}
	}
}
