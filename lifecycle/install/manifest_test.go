package install

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

// TestOldManifest reads one of version 1, which the pointer has to confirm.
func TestOldManifest(t *testing.T) {
	for _, c := range []struct{ pointer, want string }{{"d-1", "app/a"}, {"d-1\n", "app/a"}, {"d-0", ""}, {"", ""}} {
		h := newHost(t)
		h.bundle(entries{"a": "old", "d/b": "old"})
		s := h.spec("/", "app")
		h.install(s, "")
		name := filepath.Join(stateDir(h.root), "group"+manifestSuffix)
		text, err := os.ReadFile(name)
		h.must(err)
		var lines []string
		for line := range strings.Lines(string(text)) {
			line = strings.Replace(line, `"v":2`, `"v":1`, 1)
			if i := strings.Index(line, `,"dir":true`); i >= 0 {
				line = line[:i] + `,"dir":true}` + "\n"
			}
			if !strings.HasPrefix(line, `{"op":"list"`) {
				lines = append(lines, line)
			}
		}
		h.must(os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600))
		if c.pointer != "" {
			h.must(os.WriteFile(filepath.Join(h.root, instructionsDir, "group_last_successful_install"), []byte(filepath.Join(h.root, "group", c.pointer)), 0o644))
		}
		h.rewrite("app/a", "by hand", later)
		h.must(os.Chmod(filepath.Join(h.dst, "app/d"), 0o700)) // of which version 1 says nothing
		h.revision(entries{"a": "new"})
		p, err := h.make(s, "")
		h.must(err)
		got := ""
		for name := range h.modified(p) {
			got += name
		}
		if got != c.want {
			t.Errorf("pointer %q: Modified() = %q, want %q", c.pointer, got, c.want)
		}
	}
}

func TestManifestInBlocks(t *testing.T) { // more paths than are read at a time, from the last to the first
	h := newHostIn(t, memoryDir(t))
	manyFiles(t, h.archive, 3*manifestBlock+50)
	s := h.spec("/", "app")
	h.install(s, "")
	want := map[string]string{}
	h.must(filepath.WalkDir(filepath.Join(h.dst, "app"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(want) < 2000 {
			name, _ := filepath.Rel(h.dst, path)
			h.rewrite(name, "by hand", later)
			want[name] = "S.5....T. aside"
		}
		return err
	}))
	h.revision(entries{"x": "1"})
	p, err := h.make(s, "")
	h.must(err)
	diff(t, "Modified()", want, h.modified(p))
}

func TestManifestTellsOfTheDisk(t *testing.T) { // of directories, owners and lists
	h := newHost(t)
	h.bundle(entries{"a|4755": "1", "d/e/f": "1"})
	s := h.spec("/", "app")
	s.Permissions = []appspec.Permission{
		{Object: h.dst, Pattern: "app", Types: []string{"directory"}, ACLsSet: true, ACLs: []appspec.ACLEntry{{IsDefault: true, Type: "user", Name: "root", Perm: "rwx"}}},
		{Object: filepath.Join(h.dst, "app/d"), Pattern: "**", Types: both, Mode: "2750", ModeSet: true},
	}
	if os.Getuid() == 0 {
		s.Permissions[1].Owner, s.Permissions[1].Group = "daemon", "daemon"
	}
	h.install(s, "")
	check := func() {
		t.Helper()
		known := h.known("group")
		defer known.close()
		for i := range known.n {
			k, err := known.at(i)
			h.must(err)
			var st syscall.Stat_t
			h.must(syscall.Lstat(string(k.path), &st))
			if k.mode != st.Mode || k.uid != st.Uid || k.gid != st.Gid {
				t.Errorf("%s: manifest says %o %d:%d, and the disk %o %d:%d", k.path, k.mode, k.uid, k.gid, st.Mode, st.Uid, st.Gid)
			}
			got := ""
			if k.list != "" {
				got = fmt.Sprintf("access=%x", k.list)
			}
			if k.dfltList != "" {
				got += fmt.Sprintf("default=%x", k.dfltList)
			}
			if want := lists(string(k.path)); got != want {
				t.Errorf("%s: manifest says %q, and the disk %q", k.path, got, want)
			}
		}
	}
	check()
	h.install(s, "") // now over itself: files that are the same, directories that are reset
	check()
}

// known opens a group's manifest against its cleanup file.
func (h *host) known(group string) *manifest {
	h.t.Helper()
	text, err := readCleanup(cleanupName(h.root, group))
	h.must(err)
	lines, _ := parseCleanup(text)
	i := -1
	m, err := openManifest(h.root, group, func() (string, bool) {
		i++
		if i >= len(lines) {
			return "", false
		}
		return lines[i].path, true
	})
	h.must(err)
	return m
}

func FuzzParseHave(f *testing.F) {
	for _, seed := range []string{
		`{"op":"have","path":"/a","size":1,"mode":33188,"uid":0,"gid":4294967295,"mtime":-5}`,
		`{"op":"have","path":"/a\\\"","dir":true,"mode":16877,"uid":0,"gid":0,"acl":"AgAA","default":"AQ=="}`,
		`{"op":"have","path64":"L2Hp","size":1,"mode":41471,"uid":0,"gid":0,"link64":"6Q=="}`,
		`{"op":"have","path":"/é","link":"x","mode":41471}`, `{"op":"have"}`, `{"op":"have",}`, `{"op":"have","size":1`, `{"op":"have","uid":4294967296}`,
	} {
		f.Add([]byte(seed + "\n"))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var h have
		if !h.parse(line) {
			return
		}
		var r haveRecord
		if json.Unmarshal(line, &r) != nil {
			return
		}
		want := have{
			path: append(r.Path64, r.Path...), dir: r.Dir, size: r.Size, mtime: r.MTime, mode: r.Mode, uid: r.UID, gid: r.GID,
			link: string(r.Link64) + r.Link, list: string(r.ACL), dfltList: string(r.Default),
		}
		if fmt.Sprintf("%q", h.path) != fmt.Sprintf("%q", want.path) {
			t.Fatalf("%q: path %q, want %q", line, h.path, want.path)
		}
		h.path, want.path = nil, nil
		if fmt.Sprintf("%+v", h) != fmt.Sprintf("%+v", want) {
			t.Fatalf("%q: %+v, want %+v", line, h, want)
		}
		_ = h.differs(&unix.Stat_t{})
	})
}
