package install

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

func TestParseCleanup(t *testing.T) { // I-41
	for _, c := range []struct {
		name, text string
		want       []cleanupLine
		odd        []string
	}{
		{name: "empty"},
		{"in order", "/a\n/a/b\n", []cleanupLine{{path: "/a"}, {path: "/a/b"}}, nil},
		{"last line without newline does not count", "/a\n/a/b", []cleanupLine{{path: "/a"}}, nil},
		{"only a torn line", "/a", nil, nil},
		{"label", "/a\nsemanage\x00/a\n", []cleanupLine{{path: "/a"}, {path: "/a", label: true}}, nil},
		{"X-53 white space stays", "/a \n/\tb\n/c\r\n", []cleanupLine{{path: "/a "}, {path: "/\tb"}, {path: "/c\r"}}, nil},
		{"empty lines", "\n\n/a\n\n", []cleanupLine{{path: "/a"}}, nil},
		{"normalised", "/a//b/\n/a/./c\n", []cleanupLine{{path: "/a/b"}, {path: "/a/c"}}, nil},
		{"V-68 climbing, NUL, relative, root", "/a/../b\na\n/\n/x\x00y\n/..\nsemanage\x00a\n", nil, []string{"/a/../b", "a", "/", "/x\x00y", "/..", "semanage\x00a"}},
		{"dots in names", "/..a\n/a..\n/...\n", []cleanupLine{{path: "/..a"}, {path: "/a.."}, {path: "/..."}}, nil},
	} {
		got, odd := parseCleanup(c.text)
		if len(got) == 0 {
			got = nil
		}
		var gotText, wantText []string
		for _, l := range got {
			gotText = append(gotText, l.path+map[bool]string{true: " label"}[l.label])
		}
		for _, l := range c.want {
			wantText = append(wantText, l.path+map[bool]string{true: " label"}[l.label])
		}
		diff(t, c.name, wantText, gotText)
		diff(t, c.name+": odd lines", c.odd, odd)
	}
}

// TestTakeOver lets the package remove what the official agent has installed, by its cleanup file alone.
func TestTakeOver(t *testing.T) {
	h := newHost(t)
	h.write(h.dst, entries{
		"app/index.php": "old", "app/lib/a": "old", "app/lib/b": "old", "app/link": "-> lib", "app/dangling": "-> nowhere",
		"app/uploads/mine": "user", "app/uploads/shipped": "old", "app/empty/": "", "app/was-dir": "file now", "app/was-file/kept": "user",
		"app/to-file/x": "old", "app/to-dir": "old", "app/to-dir-link": "-> lib",
	})
	lines := []string{
		"app", "app/index.php", "app/lib", "app/lib/a", "app/lib/b", "app/link", "app/dangling", "app/uploads", "app/uploads/shipped",
		"app/empty", "app/was-dir", "app/was-file", "app/missing", "app/missing/x", "app/to-file", "app/to-file/x", "app/to-dir", "app/to-dir-link",
	}
	text := ""
	for _, line := range lines {
		text += filepath.Join(h.dst, line) + "\n"
	}
	text += filepath.Join(h.dst, "app/uploads/mine") // torn
	h.writeCleanup(text, 0o644)
	h.bundle(entries{"index.php": "new", "lib/b": "new", "to-file": "new", "to-dir/x": "new", "to-dir-link/x": "new"})
	var inode [2]syscall.Stat_t
	h.must(syscall.Lstat(filepath.Join(h.dst, "app/lib"), &inode[0]))
	h.install(h.spec("/", "app"), "")
	diff(t, "tree", entries{
		"app/": "", "app/index.php": "new", "app/lib/": "", "app/lib/b": "new", "app/uploads/": "", "app/uploads/mine": "user",
		"app/was-file/": "", "app/was-file/kept": "user", "app/to-file": "new", "app/to-dir/": "", "app/to-dir/x": "new",
		"app/to-dir-link/": "", "app/to-dir-link/x": "new",
	}, shape(t, h.dst))
	// I-42: a directory that was kept since it was not empty (app: uploads is in it) is never tracked again.
	diff(t, "cleanup file", "/srv/app/index.php\n/srv/app/to-file\n/srv/app/lib\n/srv/app/lib/b\n/srv/app/to-dir\n/srv/app/to-dir/x\n/srv/app/to-dir-link\n/srv/app/to-dir-link/x\n",
		h.instructions(cleanupSuffix))
	h.must(syscall.Lstat(filepath.Join(h.dst, "app/lib"), &inode[1]))
	if inode[0].Ino != inode[1].Ino {
		t.Error("a directory that cleanup would remove and the plan makes again has a new inode")
	}
}

func (h *host) writeCleanup(text string, mode os.FileMode) {
	h.t.Helper()
	name := filepath.Join(h.root, instructionsDir, "group"+cleanupSuffix)
	h.must(os.MkdirAll(filepath.Dir(name), 0o755))
	h.must(os.WriteFile(name, []byte(text), 0o600))
	h.must(os.Chmod(name, mode))
}

func TestCleanupFileIsOurs(t *testing.T) { // V-68, V-94
	h := newHost(t)
	h.bundle(entries{"x": "1"})
	s := h.spec("/", "app")
	h.install(s, "")
	name := filepath.Join(h.root, instructionsDir, "group"+cleanupSuffix)
	info, err := os.Stat(name)
	h.must(err)
	if got := info.Mode(); got != 0o644 {
		t.Errorf("cleanup file has mode %v, want 0644", got)
	}
	refused := func(what, want string) {
		t.Helper()
		if _, err := h.make(s, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Make() with a cleanup file that is %s = %v, want an error with %q", what, err, want)
		}
	}
	h.must(os.Chmod(name, 0o646))
	refused("writable by all", "writable by others")
	h.must(os.Rename(name, name+"2"))
	h.must(os.Symlink(name+"2", name))
	refused("a link", "is a link")
	h.must(os.Remove(name))
	h.must(os.Mkdir(name, 0o755))
	refused("a directory", "no regular file")
	h.must(os.Remove(name))
	if os.Getuid() == 0 {
		h.writeCleanup("/x\n", 0o644)
		h.must(os.Chown(name, 1234, 0))
		refused("somebody else's", "owned by user 1234")
	}
}

func TestGroupsShareADirectory(t *testing.T) { // I-41, I-42
	h := newHost(t)
	s := h.spec("/", "shared")
	h.bundle(entries{"a": "1"})
	h.install(s, "")
	h.bundle(entries{"b": "2"})
	r := h.request(s)
	r.Group = "other"
	p, err := Make(t.Context(), r)
	h.must(err)
	_, err = p.Apply(t.Context())
	h.must(err)
	h.bundle(nil)
	h.install(&appspec.Spec{}, "")
	diff(t, "tree", entries{"shared/": "", "shared/b": "2"}, shape(t, h.dst))
}

func TestWithdrawnWhileApplying(t *testing.T) { // I-41: what is gone already is no error; a directory in its place stays
	h := newHost(t)
	h.bundle(entries{"a": "1", "b": "2", "c": "3"})
	h.install(h.spec("/", "app"), "")
	h.bundle(entries{"c": "changed"})
	p, err := h.make(h.spec("/", "app"), "")
	h.must(err)
	h.must(os.Remove(filepath.Join(h.dst, "app/a")))
	h.must(os.Remove(filepath.Join(h.dst, "app/b")))
	h.write(h.dst, entries{"app/b/mine": "user"})
	h.must(os.Remove(filepath.Join(h.dst, "app/c")))
	_, err = p.Apply(t.Context())
	h.must(err)
	h.clean()
	diff(t, "tree", entries{"app/": "", "app/b/": "", "app/b/mine": "user", "app/c": "changed"}, shape(t, h.dst))
}

func TestLinkedDestinations(t *testing.T) {
	needsRoot(t)
	for _, c := range []struct {
		name    string
		prepare func(h *host)
		refused bool
	}{
		{"root's link in root's directory is followed", func(*host) {}, false},
		{"somebody's link is refused", func(h *host) { h.must(os.Lchown(filepath.Join(h.dst, "www/app"), 1234, 1234)) }, true},
		{"a link in somebody's directory is refused", func(h *host) { h.must(os.Chown(filepath.Join(h.dst, "www"), 1234, 1234)) }, true},
		{"a link in a directory that all may write is refused", func(h *host) { h.must(os.Chmod(filepath.Join(h.dst, "www"), 0o777)) }, true},
		{"a link in a sticky directory is followed", func(h *host) { h.must(os.Chmod(filepath.Join(h.dst, "www"), 0o777|os.ModeSticky)) }, false},
		{"a link in a group's directory is refused", func(h *host) {
			h.must(os.Chown(filepath.Join(h.dst, "www"), 0, 1234))
			h.must(os.Chmod(filepath.Join(h.dst, "www"), 0o775))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.write(h.dst, entries{"www/": "", "www/app": "-> ../data/app", "data/app/": ""})
			c.prepare(h)
			h.bundle(entries{"x": "1", "sub/y": "2"})
			p, err := h.make(h.spec("/", "www/app"), "")
			if c.refused {
				if err == nil || !strings.Contains(err.Error(), h.dst+"/www/app: is a link to a directory, and not followed") {
					t.Fatalf("Make() = %v, want the link refused by name", err)
				}
				return
			}
			h.must(err)
			_, err = p.Apply(t.Context())
			h.must(err)
			h.clean()
			diff(t, "tree", entries{"www/": "", "www/app": "-> ../data/app", "data/": "", "data/app/": "", "data/app/x": "1", "data/app/sub/": "", "data/app/sub/y": "2"}, shape(t, h.dst))
			diff(t, "cleanup file", "/srv/www/app/x\n/srv/www/app/sub\n/srv/www/app/sub/y\n", h.instructions(cleanupSuffix))
			h.install(h.spec("/", "www/app"), "") // and its own files are found again through the link
		})
	}
}

func TestTwoNamesOfOnePlace(t *testing.T) {
	h := newHost(t)
	h.write(h.dst, entries{"www": "-> data", "data/": ""})
	h.bundle(entries{"x": "1"})
	if _, err := h.make(h.spec("/", "www", "/", "data"), ""); err == nil || !strings.Contains(err.Error(), "is installed twice") {
		t.Errorf("Make() = %v, want a conflict: both destinations are the same directory", err)
	}
}

func TestDirectorySwappedUnderOurFeet(t *testing.T) {
	h := newHost(t)
	h.write(h.dst, entries{"app/old": "1", "elsewhere/": ""})
	h.bundle(entries{"x": "1"})
	p, err := h.make(h.spec("/", "app"), "")
	h.must(err)
	h.must(os.Rename(filepath.Join(h.dst, "app"), filepath.Join(h.dst, "app2")))
	h.must(os.Symlink("elsewhere", filepath.Join(h.dst, "app")))
	before := snapshot(t, h.dst)
	_, err = p.Apply(t.Context())
	h.failed("directory replaced by a link between plan and stage", before, err, err, filepath.Join(h.dst, "app"))
	h.must(os.Remove(filepath.Join(h.dst, "app")))
	h.must(os.Mkdir(filepath.Join(h.dst, "app"), 0o755))
	if _, err = p.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "not the one it was") {
		t.Errorf("Apply() = %v, want errMoved", err)
	}
	h.clean()
}

func FuzzParseCleanup(f *testing.F) {
	for _, seed := range []string{"", "/a\n/a/b\n", "semanage\x00/a\n", "/a/../b\n", "//\n/.\n", "/a \n", strings.Repeat("/x", 3000) + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, odd := parseCleanup(text)
		if n := strings.Count(text, "\n"); len(lines)+len(odd) > n {
			t.Fatalf("%d lines and %d odd ones of %d", len(lines), len(odd), n)
		}
		for _, l := range lines {
			if l.path == "/" || !strings.HasPrefix(l.path, "/") || strings.ContainsAny(l.path, "\n\x00") || strings.Contains(l.path+"/", "/../") || filepath.Clean(l.path) != l.path {
				t.Fatalf("unsafe line %q", l.path)
			}
		}
	})
}

func TestStickyBitOfUnix(t *testing.T) {
	tr := &tree{euid: 1000}
	for _, c := range []struct {
		mode, gid uint32
		want      bool
	}{{0o755, 5, true}, {0o775, 0, true}, {0o775, 5, false}, {0o777, 0, false}, {unix.S_ISVTX | 0o777, 5, true}} {
		if got := tr.closed(c.mode, c.gid); got != c.want {
			t.Errorf("closed(%o, %d) = %v, want %v", c.mode, c.gid, got, c.want)
		}
	}
}

// TestUserFileInReplacedDirectory puts a file into a directory that a file is to replace, after the plan was made: it is not
// deleted.
func TestUserFileInReplacedDirectory(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"x/ours": "old"})
	s := h.spec("/", "app")
	h.install(s, "")
	h.bundle(entries{"x": "now a file"})
	p, err := h.make(s, "")
	h.must(err)
	h.write(h.dst, entries{"app/x/mine": "user"})
	m, err := p.Apply(t.Context())
	h.must(err)
	if len(m.Warnings) != 1 || !strings.Contains(m.Warnings[0], hiddenPrefix) {
		t.Fatalf("warnings %q, want one that names the hidden directory", m.Warnings)
	}
	found := 0
	for name, text := range shape(t, h.dst) {
		if strings.HasSuffix(name, "/mine") && text == "user" {
			found++
		}
		if strings.HasSuffix(name, "/ours") {
			t.Errorf("%s is left", name)
		}
	}
	if got := shape(t, h.dst)["app/x"]; got != "now a file" || found != 1 {
		t.Errorf("app/x is %q, and %d files of the user are left, want the new file and 1", got, found)
	}
}
