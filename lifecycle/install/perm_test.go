package install

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"slipway/lifecycle/appspec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var both = []string{"file", "directory"}

// TestPermissionSelection holds I-43..I-48. The tree is fixed, the mode 0600 (files) or 0700 marks what was selected.
func TestPermissionSelection(t *testing.T) {
	bundle := entries{"a.php": "1", "b.php": "2", ".hidden.php": "3", "README": "4", "lib/c.php": "5", "lib/deep/d.php": "6", "libx/e.php": "7"}
	for _, c := range []struct {
		name    string
		object  string
		pattern string
		except  []string
		types   []string
		want    string // what is selected, below app
		warn    bool
	}{
		{"I-45 ** is everything below", "app", "**", nil, both, "README,.hidden.php,a.php,b.php,lib/c.php,lib/deep/d.php,libx/e.php,lib,lib/deep,libx", false},
		{"I-45 the directory itself is no candidate", "app", "**", nil, []string{"directory"}, "lib,lib/deep,libx", false},
		{"I-45 only files", "app", "**", nil, []string{"file"}, "README,.hidden.php,a.php,b.php,lib/c.php,lib/deep/d.php,libx/e.php", false},
		{"I-43 * is within one name, a leading dot too", "app", "*.php", nil, both, ".hidden.php,a.php,b.php", false},
		{"I-43 * alone", "app", "*", nil, both, "README,.hidden.php,a.php,b.php,lib,libx", false},
		{"I-43 *** is like *", "app", "***", nil, both, "README,.hidden.php,a.php,b.php,lib,libx", false},
		{"I-43 **/x and d/* never match", "app", "**/c.php", nil, both, "", true},
		{"I-43 slash never matches", "app", "lib/*", nil, both, "", true},
		{"I-43 no question mark", "app", "?.php", nil, both, "", true},
		{"I-43 no brackets", "app", "[ab].php", nil, both, "", true},
		{"I-43 case counts", "app", "readme", nil, both, "", true},
		{"I-43 whole name", "app", "lib", nil, both, "lib", false},
		{"I-46 except takes direct children only", "app", "**", []string{"*.php", "lib"}, both, "README,lib/c.php,lib/deep/d.php,libx/e.php,lib/deep,libx", false},
		{"I-46 even except ** takes direct children only", "app", "**", []string{"**"}, both, "lib/c.php,lib/deep/d.php,libx/e.php,lib/deep", false},
		{"I-45 below a sub-directory", "app/lib", "**", nil, both, "lib/c.php,lib/deep/d.php,lib/deep", false},
		{"I-45 the parent names the directory", ".", "app", nil, []string{"directory"}, ".", false},
		{"I-44 object is a file", "app/lib/c.php", "**", nil, []string{"file"}, "lib/c.php", false},
		{"I-44 object is a file, type has none", "app/lib/c.php", "**", nil, []string{"directory"}, "", true},
		{"I-47 unknown object", "nowhere", "**", nil, both, "", true},
		{"I-45 object with a trailing slash", "app/lib/", "*", nil, []string{"file"}, "lib/c.php", false},
		{"A-30 no types", "app", "**", nil, nil, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(bundle)
			s := h.spec("/", "app")
			s.Permissions = []appspec.Permission{{
				Object: filepath.Join(h.dst, c.object) + map[bool]string{true: "/"}[strings.HasSuffix(c.object, "/")], Pattern: c.pattern, Except: c.except,
				Types: c.types, Mode: "700", ModeSet: true,
			}}
			p := h.install(s, "")
			if got := len(p.Warnings()) > 0; got != c.warn {
				t.Errorf("warnings %q, want some: %v", p.Warnings(), c.warn)
			}
			selected := map[string]bool{}
			for name := range strings.SplitSeq(c.want, ",") {
				selected[name] = name != ""
			}
			for name, text := range snapshot(t, filepath.Join(h.dst, "app")) {
				if got := strings.Contains(text[:10], "rwx------"); got != selected[name] {
					t.Errorf("%s is %s, selected: want %v", name, text[:10], selected[name])
				}
			}
			if object := h.dst + "/"; c.object == "." && !strings.HasPrefix(object, h.base) {
				t.Fatal("fixture")
			}
		})
	}
}

func TestPermissionOfRoot(t *testing.T) { // I-45: object / means every planned path
	h := newHost(t)
	h.bundle(entries{"x": "1", "d/y": "2"})
	s := h.spec("/", "app")
	s.Permissions = []appspec.Permission{{Object: "/", Pattern: "**", Types: both, Mode: "711", ModeSet: true}}
	h.install(s, "")
	for name, text := range snapshot(t, filepath.Join(h.dst, "app")) {
		if !strings.Contains(text[:10], "rwx--x--x") {
			t.Errorf("%s is %s, want mode 711", name, text)
		}
	}
	info, err := os.Stat(h.dst)
	h.must(err)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("a directory that was there already has mode %v", info.Mode())
	}
}

func TestPermissionConflicts(t *testing.T) {
	dflt := []appspec.ACLEntry{{IsDefault: true, Type: "user", Perm: "rwx"}}
	for _, c := range []struct {
		name  string
		perms []appspec.Permission
		want  string
	}{
		{"I-44 pattern on a file", []appspec.Permission{{Object: "app/x", Pattern: "*", Types: both}}, `is a file, and pattern "*"`},
		{"I-44 except on a file", []appspec.Permission{{Object: "app/x", Pattern: "**", Except: []string{"y"}, Types: both}}, `is a file, and except`},
		{"I-44 default entry on a file", []appspec.Permission{{Object: "app/x", Pattern: "**", ACLs: dflt, ACLsSet: true, Types: both}}, `the default list entry "default:user::rwx" is for directories`},
		{"I-48 default entry on a selected file", []appspec.Permission{{Object: "app", Pattern: "**", ACLs: dflt, ACLsSet: true, Types: both}}, `a default list entry is for directories`},
		{"I-48 two entries", []appspec.Permission{{Object: "app", Pattern: "**", Types: both}, {Object: "app", Pattern: "x", Types: both}}, `is selected by two permissions entries`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.bundle(entries{"x": "1", "d/": ""})
			s := h.spec("/", "app")
			for _, p := range c.perms {
				p.Object = filepath.Join(h.dst, p.Object)
				s.Permissions = append(s.Permissions, p)
			}
			_, err := h.make(s, "")
			if _, ok := errors.AsType[*ConflictError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Make() = %v, want a *ConflictError with %q", err, c.want)
			}
		})
	}
}

func TestOwnersAndModes(t *testing.T) { // I-49, X-49
	needsRoot(t)
	h := newHost(t)
	h.bundle(entries{"prog|4755": "p", "plain": "q", "set": "s", "dir/x": "x", "link": "-> /etc/hostname"})
	h.must(os.Chmod(filepath.Join(h.archive, "prog"), 0o755|os.ModeSetuid))
	s := h.spec("/", "app")
	dst := filepath.Join(h.dst, "app")
	s.Permissions = []appspec.Permission{
		{Object: dst, Pattern: "prog", Types: both, Owner: "daemon"},
		{Object: dst, Pattern: "set", Types: both, Owner: "daemon", Group: "daemon", Mode: "4755", ModeSet: true},
		{Object: dst, Pattern: "plain", Types: both, Group: "daemon", Mode: "000", ModeSet: true},
		{Object: dst, Pattern: "dir", Types: []string{"directory"}, Owner: "daemon", Mode: "2770", ModeSet: true},
		{Object: dst, Pattern: "link", Types: both, Owner: "daemon", Mode: "777", ModeSet: true},
	}
	before := snapshot(t, "/etc/hostname")["."]
	check := func() {
		t.Helper()
		got := snapshot(t, dst)
		for name, want := range map[string]string{
			"prog": "-rwxr-xr-x 1:0", "set": "urwxr-xr-x 1:1", "plain": "---------- 0:1", "dir": "dgrwxrwx--- 1:0", "dir/x": "-rw-r--r-- 0:0", "link": "Lrwxrwxrwx 1:0 -> /etc/hostname",
		} {
			if !strings.HasPrefix(got[name], want) {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		if after := snapshot(t, "/etc/hostname")["."]; after != before {
			t.Errorf("a link of the bundle was followed: %q is now %q", before, after)
		}
	}
	h.install(s, "")
	check()
	h.must(os.Chmod(filepath.Join(dst, "dir"), 0o700))
	h.must(os.Chown(filepath.Join(dst, "dir"), 77, 77))
	h.install(s, "") // beside the old ones, and over a directory that is made again
	check()
	s.Permissions = nil
	h.install(s, "")
	if got := snapshot(t, dst)["dir"]; got != "drwxr-xr-x 0:0 " {
		t.Errorf("I-39: a directory made again is %q, want a new one's mode and owner", got)
	}
}

func TestLists(t *testing.T) { // I-50, X-47
	type e = appspec.ACLEntry
	for _, c := range []struct {
		name         string
		acls         []e
		mode         uint32
		access, dflt string
	}{
		{"named user gets a mask from the group bits", []e{{Type: "user", Name: "daemon", Perm: "rw-"}}, 0o640, "u::6 u1:6 g::4 m::4 o::0", ""},
		{"mask given", []e{{Type: "user", Name: "daemon", Perm: "rwx"}, {Type: "mask", Perm: "rwx"}}, 0o600, "u::6 u1:7 g::0 m::7 o::0", ""},
		{"named group", []e{{Type: "group", Name: "daemon", Perm: "r-x"}}, 0o755, "u::7 g::5 g1:5 m::5 o::5", ""},
		{"empty list", nil, 0o751, "u::7 g::5 o::1", ""},
		{"default entries are completed", []e{{IsDefault: true, Type: "user", Name: "daemon", Perm: "rwx"}}, 0o750, "u::7 g::5 o::0", "u::7 u1:7 g::5 m::5 o::0"},
		{
			"default mask is the default group's",
			[]e{{IsDefault: true, Type: "user", Name: "daemon", Perm: "rwx"}, {IsDefault: true, Type: "group", Perm: "rwx"}},
			0o750, "u::7 g::5 o::0", "u::7 u1:7 g::7 m::7 o::0",
		},
		{"default without names has no mask", []e{{IsDefault: true, Type: "other", Perm: "---"}}, 0o755, "u::7 g::5 o::5", "u::7 g::5 o::0"},
		{"the last of two entries for one user counts", []e{{Type: "user", Name: "daemon", Perm: "r--"}, {Type: "user", Name: "daemon", Perm: "rwx"}}, 0o770, "u::7 u1:7 g::7 m::7 o::0", ""},
	} {
		m := &maker{}
		p, err := m.resolve(t.Context(), &appspec.Permission{ACLs: c.acls, ACLsSet: true}, "")
		if err != nil || len(m.conflicts) > 0 {
			t.Fatal(err, m.conflicts)
		}
		access, dflt := completeACL(p.acl, c.mode)
		encodeACL(access)
		encodeACL(dflt)
		diff(t, c.name, c.access, aclText(access))
		diff(t, c.name+": default", c.dflt, aclText(dflt))
	}
	if got, want := hex.EncodeToString(encodeACL([]aclEntry{{tag: tagOther, perm: 4, id: noID}, {tag: tagUser, perm: 6, id: 1000}})), "0200000002000600e803000020000400ffffffff"; got != want {
		t.Errorf("encodeACL() = %s, want %s", got, want)
	}
}

func aclText(list []aclEntry) string {
	var parts []string
	for _, e := range list {
		name := map[uint16]string{tagUserObj: "u:", tagUser: "u", tagGroupObj: "g:", tagGroup: "g", tagMask: "m:", tagOther: "o:"}[e.tag]
		if e.id != noID {
			name += string(rune('0' + e.id))
		}
		parts = append(parts, name+":"+string(rune('0'+e.perm)))
	}
	return strings.Join(parts, " ")
}

func TestListsOnDisk(t *testing.T) {
	needsRoot(t)
	for _, base := range []string{t.TempDir(), memoryDir(t)} {
		h := newHostIn(t, base)
		h.bundle(entries{"x|640": "1", "y|600": "2", "d/z": "3"})
		s := h.spec("/", "app")
		dst := filepath.Join(h.dst, "app")
		s.Permissions = []appspec.Permission{
			{Object: dst, Pattern: "*", Types: []string{"file"}, ACLs: []appspec.ACLEntry{{Type: "user", Name: "daemon", Perm: "rw-"}}, ACLsSet: true},
			{Object: dst, Pattern: "d", Types: []string{"directory"}, Mode: "750", ModeSet: true, ACLs: []appspec.ACLEntry{{IsDefault: true, Type: "user", Name: "daemon", Perm: "rwx"}}, ACLsSet: true},
		}
		check := func() {
			t.Helper()
			got := snapshot(t, dst)
			x, _ := hex.DecodeString("02000000" + "01000600ffffffff" + "0200060001000000" + "04000400ffffffff" + "10000400ffffffff" + "20000000ffffffff")
			y, _ := hex.DecodeString("02000000" + "01000600ffffffff" + "0200060001000000" + "04000000ffffffff" + "10000000ffffffff" + "20000000ffffffff")
			d, _ := hex.DecodeString("02000000" + "01000700ffffffff" + "0200070001000000" + "04000500ffffffff" + "10000500ffffffff" + "20000000ffffffff")
			for name, want := range map[string]string{"x": hex.EncodeToString(x), "y": hex.EncodeToString(y), "d": hex.EncodeToString(d)} {
				if !strings.HasSuffix(got[name], "="+want) {
					t.Errorf("%s: %s is %q, want the list %s (X-47: each path by itself)", base, name, got[name], want)
				}
			}
		}
		h.install(s, "")
		check()
		h.install(s, "")
		check()
		// A file that is made in a directory with a default list inherits it, and its mode is the bundle's.
		s2 := h.spec("y", "app/d")
		r := h.request(s2)
		r.Group = "other"
		p, err := Make(t.Context(), r)
		h.must(err)
		_, err = p.Apply(t.Context())
		h.must(err)
		if got := snapshot(t, dst)["d/y"]; !strings.HasPrefix(got, "-rw------- 0:0") || !strings.Contains(got, "access=") {
			t.Errorf("%s: d/y is %q, want mode 0600 and the inherited list", base, got)
		}
		// Without the entries the directory is a new one again, and the lists are gone. The other group's file keeps it.
		s.Permissions = nil
		h.install(s, "")
		if got := snapshot(t, dst)["x"]; strings.Contains(got, "access") {
			t.Errorf("%s: x is %q, want no list", base, got)
		}
	}
}

// TestResetDirectory gives a directory that is made again what a new one in its place would have: also the group and the
// list that its parent passes on.
func TestResetDirectory(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	h.must(os.Chown(h.dst, 0, 1))
	h.must(os.Chmod(h.dst, 0o755|os.ModeSetgid))
	list, _ := hex.DecodeString("02000000" + "01000700ffffffff" + "0200070001000000" + "04000500ffffffff" + "10000700ffffffff" + "20000500ffffffff")
	h.must(syscall.Setxattr(h.dst, aclDefault, list, 0))
	h.bundle(entries{"sub/x": "1"})
	s := h.spec("/", "app")
	h.install(s, "")
	fresh := snapshot(t, h.dst)
	for _, name := range []string{"app", "app/sub"} {
		path := filepath.Join(h.dst, name)
		h.must(syscall.Removexattr(path, aclDefault))
		h.must(os.Chown(path, 7, 7))
		h.must(os.Chmod(path, 0o700))
	}
	h.install(s, "")
	diff(t, "tree", fresh, snapshot(t, h.dst))
}

func TestContextsWithoutSELinux(t *testing.T) { // I-51
	if _, err := os.Stat(selinuxMount); err == nil {
		t.Skip("needs a host without SELinux: it would change the host's policy")
	}
	h := newHost(t)
	h.bundle(entries{"x": "1"})
	s := h.spec("/", "app")
	s.Permissions = []appspec.Permission{{Object: filepath.Join(h.dst, "app"), Pattern: "**", Types: both, Context: &appspec.Context{Type: "httpd_sys_content_t"}}}
	p := h.install(s, "")
	if len(p.Warnings()) != 1 || !strings.Contains(p.Warnings()[0], "no SELinux") {
		t.Errorf("Warnings() = %q, want one about SELinux", p.Warnings())
	}
	diff(t, "cleanup file", "/srv/app\n/srv/app/x\n", h.instructions(cleanupSuffix))
	for _, c := range []struct {
		in   appspec.Context
		want string
	}{{appspec.Context{Type: "t"}, "system_u:object_r:t:s0"}, {appspec.Context{Name: "u", Type: "t", Range: "s0-s3:c0.c1"}, "u:object_r:t:s0-s3:c0.c1"}} {
		if got := labelText(&c.in); got != c.want {
			t.Errorf("labelText(%+v) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestInstructionFiles(t *testing.T) { // I-38, I-40
	h := newHost(t)
	h.bundle(entries{"appspec.yml": "v", "web/index.php": "1", "web/caf\xc3\xa9 \"q\" & <b>.txt": "2", "web/tab\tx": "3", "bin/run|755": "4", "web/link": "-> index.php"})
	s := h.spec("web", "app/htdocs", "bin/run", "app/bin")
	app := filepath.Join(h.dst, "app")
	s.Permissions = []appspec.Permission{
		{Object: app + "/bin", Pattern: "**", Types: both, Mode: "0755", ModeSet: true, Owner: "root"},
		{
			Object: app, Pattern: "htdocs", Types: []string{"directory"}, Mode: "2775", ModeSet: true, Owner: "root", Group: "root",
			ACLs:    []appspec.ACLEntry{{Type: "user", Name: "root", Perm: "rwx"}, {IsDefault: true, Type: "group", Name: "root", Perm: "r-x"}},
			ACLsSet: true, Context: &appspec.Context{Name: "system_u", Type: "httpd_sys_content_t"},
		},
	}
	p, err := h.make(s, "")
	h.must(err)
	var b bytes.Buffer
	h.must(p.WriteInstructions(&b))
	got := strings.ReplaceAll(b.String(), h.base, "")
	var doc struct {
		Instructions []map[string]any `json:"instructions"`
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil || len(doc.Instructions) != 14 {
		t.Fatalf("WriteInstructions() wrote %d instructions, %v, want 14 of valid JSON", len(doc.Instructions), err)
	}
	golden(t, "install.json", got)
	b.Reset()
	p.selinux = true
	h.must(p.writeCleanup(&b))
	golden(t, "cleanup", strings.ReplaceAll(b.String(), h.base, ""))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, file, string(want), got)
}

// An entry may select directories of a bundle that has no file at all.
func TestPermissionOfDirectoriesAlone(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"sub/": ""})
	s := h.spec("/", "app")
	s.Permissions = []appspec.Permission{{Object: h.dst, Pattern: "**", Types: []string{"file", "directory"}, Mode: "750", ModeSet: true}}
	h.install(s, "")
	for _, name := range []string{"app", "app/sub"} {
		if info, err := os.Stat(filepath.Join(h.dst, name)); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%s is %v, %v", name, info, err)
		}
	}
}

// TestNewInAResetDirectory makes a directory and a file in one that the previous revision had given a group and a list to pass on: they are what
// they would be in a new directory, and the plan says so.
func TestNewInAResetDirectory(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	s := h.spec("/", "app")
	s.Permissions = []appspec.Permission{{
		Object: filepath.Join(h.dst, "app"), Pattern: "data", Types: []string{"directory"}, Mode: "2775", ModeSet: true, Group: "bin", ACLsSet: true,
		ACLs: []appspec.ACLEntry{{IsDefault: true, Type: "user", Name: "bin", Perm: "rwx"}},
	}}
	h.bundle(entries{"data/x": "old"})
	h.install(s, "")
	next := entries{"data/x": "new", "data/y": "new", "data/sub/deep/z": "new", "data/link": "-> x", "data/sub/link": "-> x"}
	h.bundle(next)
	s.Permissions = nil
	p, err := h.make(s, "")
	h.must(err)
	changes, err := p.Changes(t.Context())
	h.must(err)
	said := map[string]string{}
	for c := range changes {
		rel, _ := filepath.Rel(h.dst, c.Path)
		said[rel] = fmt.Sprintf("%04o %d:%d passed %v", c.After.Mode&0o7777, c.After.UID, c.After.GID, c.Passed)
	}
	_, err = p.Apply(t.Context())
	h.must(err)
	h.clean()
	fresh := newHost(t)
	fresh.bundle(next)
	fresh.install(fresh.spec("/", "app"), "")
	diff(t, "tree", snapshot(t, fresh.dst), snapshot(t, h.dst))
	diff(t, "what the plan said", map[string]string{
		"app": "0755 0:0 passed false", "app/data": "0755 0:0 passed false", "app/data/x": "0644 0:0 passed false", "app/data/y": "0644 0:0 passed false",
		"app/data/link": "0777 0:0 passed false", "app/data/sub/link": "0777 0:0 passed false",
		"app/data/sub": "0755 0:0 passed false", "app/data/sub/deep": "0755 0:0 passed false", "app/data/sub/deep/z": "0644 0:0 passed false",
	}, said)
}

// TestLinksInAGroupsDirectory installs links where a directory passes on its group: they have it, as the plan says, and nothing differs afterwards.
func TestLinksInAGroupsDirectory(t *testing.T) {
	needsRoot(t)
	h := newHost(t)
	h.must(os.Chown(h.dst, 0, 1))
	h.must(os.Chmod(h.dst, 0o755|os.ModeSetgid))
	h.bundle(entries{"link": "-> x", "sub/link": "-> x", "owned": "-> x"})
	s := h.spec("/", "app", "link", ".")
	s.Permissions = []appspec.Permission{{Object: filepath.Join(h.dst, "app/owned"), Pattern: "**", Types: both, Group: "root"}}
	p := h.install(s, "")
	changes, err := p.Changes(t.Context())
	h.must(err)
	for c := range changes {
		var st syscall.Stat_t
		h.must(syscall.Lstat(c.Path, &st))
		want := uint32(1)
		if filepath.Base(c.Path) == "owned" {
			want = 0
		}
		if st.Gid != want || c.After.GID != want {
			t.Errorf("%s is of group %d, planned was %d, want %d", c.Path, st.Gid, c.After.GID, want)
		}
	}
	for d, err := range Verify(t.Context(), h.root, "group") {
		t.Errorf("Verify(): %v, %v", d, err)
	}
}
