package install

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/lifecycle/appspec"
)

// verified gives what Verify yields, as lines with paths relative to the host.
func (h *host) verified() []string {
	h.t.Helper()
	var all []string
	for d, err := range Verify(h.t.Context(), h.root, "group") {
		if err != nil {
			h.t.Fatalf("Verify() = %v", err)
		}
		all = append(all, strings.ReplaceAll(d.String(), h.base, ""))
	}
	return all
}

var verifyCases = []struct {
	name   string
	change func(h *host)
	want   []string // as the manifest shows it
	old    []string // where only the official agent's files are there
	root   bool
}{
	{name: "nothing"},
	{
		name:   "missing",
		change: func(h *host) { h.must(os.RemoveAll(filepath.Join(h.dst, "app/d"))) },
		want:   []string{"missing      /srv/app/d", "missing      /srv/app/d/e"}, old: []string{"missing      /srv/app/d", "missing      /srv/app/d/e"},
	},
	{
		name:   "another size",
		change: func(h *host) { h.rewrite("app/a", "longer than before", later) },
		want:   []string{"S.5....T.    /srv/app/a"}, old: []string{"S.5......    /srv/app/a"},
	},
	{
		name:   "same size, and time put back",
		change: func(h *host) { h.rewrite("app/a", "OLD", sourceTime) },
		want:   []string{"..5......    /srv/app/a"}, old: []string{"..5......    /srv/app/a"},
	},
	{
		name:   "only touched",
		change: func(h *host) { h.rewrite("app/a", "old", later) },
		want:   []string{".......T.    /srv/app/a"},
	},
	{
		name: "modes of a file and a directory",
		change: func(h *host) {
			h.must(os.Chmod(filepath.Join(h.dst, "app/a"), 0o600))
			h.must(os.Chmod(filepath.Join(h.dst, "app/d"), 0o700))
		},
		want: []string{".M.......    /srv/app/a", ".M.......    /srv/app/d"},
	},
	{
		name: "owners", root: true,
		change: func(h *host) {
			h.must(os.Chown(filepath.Join(h.dst, "app/a"), 12, 0))
			h.must(os.Chown(filepath.Join(h.dst, "app/d"), 0, 34))
			h.must(os.Lchown(filepath.Join(h.dst, "app/link"), 12, 34))
		},
		want: []string{".....U...    /srv/app/a", ".....UG..    /srv/app/link", "......G..    /srv/app/d"},
	},
	{
		name: "link",
		change: func(h *host) {
			h.must(os.Remove(filepath.Join(h.dst, "app/link")))
			h.must(os.Symlink("b", filepath.Join(h.dst, "app/link")))
		},
		want: []string{"....L....    /srv/app/link"}, old: []string{"....L....    /srv/app/link"},
	},
	{
		name: "types",
		change: func(h *host) {
			h.must(os.Remove(filepath.Join(h.dst, "app/a")))
			h.must(os.Mkdir(filepath.Join(h.dst, "app/a"), 0o755))
			h.must(os.Rename(filepath.Join(h.dst, "app/d"), filepath.Join(h.dst, "elsewhere")))
			h.must(os.Symlink("../elsewhere", filepath.Join(h.dst, "app/d")))
		},
		want: []string{"...F.....    /srv/app/a", "...F.....    /srv/app/d"}, old: []string{"...F.....    /srv/app/a", "...F.....    /srv/app/d"},
	},
	{
		name: "access control lists", root: true,
		change: func(h *host) {
			list := encodeACL([]aclEntry{{tag: tagUserObj, perm: 6, id: noID}, {tag: tagUser, perm: 6, id: 12}, {tag: tagGroupObj, perm: 4, id: noID}, {tag: tagMask, perm: 4, id: noID}, {tag: tagOther, perm: 4, id: noID}})
			for _, name := range []string{aclAccess, aclDefault} {
				fd, err := openDir(filepath.Join(h.dst, "app/d"))
				h.must(err)
				if name == aclDefault {
					h.must(setACL(fd, name, list))
				}
				closeFD(fd)
			}
			f, err := os.Open(filepath.Join(h.dst, "app/a"))
			h.must(err)
			defer f.Close()
			h.must(setACL(int(f.Fd()), aclAccess, list))
		},
		want: []string{"........A    /srv/app/a", "........A    /srv/app/d"},
	},
	{
		name: "leftovers",
		change: func(h *host) {
			for _, name := range []string{"app/.slipway-0123456789ab-7", "app/d/.slipway-0123456789ab-8o", ".slipway-0123456789ab-9", "app/.slipway-mine", "app/.slipway-0123456789ab-x"} {
				h.rewrite(name, "", later)
			}
			h.must(os.WriteFile(filepath.Join(stateDir(h.root), "ba9876543210"+journalSuffix), nil, 0o600))
			h.rewrite("app/.slipway-ba9876543210-1", "", later)
		},
		want: []string{"leftover     /srv/.slipway-0123456789ab-9", "leftover     /srv/app/.slipway-0123456789ab-7", "leftover     /srv/app/d/.slipway-0123456789ab-8o"},
		old:  []string{"leftover     /srv/.slipway-0123456789ab-9", "leftover     /srv/app/.slipway-0123456789ab-7", "leftover     /srv/app/d/.slipway-0123456789ab-8o"},
	},
	{
		name: "the bundle is gone",
		change: func(h *host) {
			h.must(os.RemoveAll(h.archive))
			h.rewrite("app/a", "OLD", sourceTime) // cannot be told
			h.rewrite("app/b", "OLD", later)
			h.must(os.Remove(filepath.Join(h.dst, "app/d/e")))
		},
		want: []string{"..?......    /archive: this of the unpacked bundle, and maybe more, is no longer there as it was: contents are judged by size and time", "..?....T.    /srv/app/b", "missing      /srv/app/d/e"},
		old:  []string{"..?......    /archive: this of the unpacked bundle, and maybe more, is no longer there as it was: only presence is known", "missing      /srv/app/d/e"},
	},
	{
		name: "the plan file is gone",
		change: func(h *host) {
			h.must(os.Remove(filepath.Join(h.root, instructionsDir, "group"+installSuffix)))
			h.rewrite("app/b", "OLD", later)
		},
		want: []string{"..?......    /root/deployment-instructions/group-install.json: read the plan of the previous revision: open /root/deployment-instructions/group-install.json: no such file or directory: contents are judged by size and time", "..?....T.    /srv/app/b"},
		old:  []string{"..?......    /root/deployment-instructions/group-install.json: read the plan of the previous revision: open /root/deployment-instructions/group-install.json: no such file or directory: only presence is known"},
	},
}

func TestVerify(t *testing.T) {
	for _, c := range verifyCases {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/official=%v", c.name, old), func(t *testing.T) {
				if c.root {
					needsRoot(t)
				}
				h := newHost(t)
				h.bundle(entries{"a": "old", "b": "old", "link": "-> a", "d/e": "old"})
				s := h.spec("/", "app")
				s.Permissions = []appspec.Permission{{Object: h.dst, Pattern: "app", Types: []string{"directory"}, Mode: "750", ModeSet: true}}
				h.install(s, "")
				want := c.want
				if old {
					h.must(os.Remove(filepath.Join(stateDir(h.root), "group"+manifestSuffix)))
					want = c.old
				}
				if c.change != nil {
					c.change(h)
				}
				before := snapshot(t, h.base)
				diff(t, "Verify()", want, h.verified())
				diff(t, "host after Verify()", before, snapshot(t, h.base))
			})
		}
	}
}

func TestVerifyAfterAnotherAgent(t *testing.T) {
	h := newHost(t)
	h.bundle(entries{"a": "old"})
	h.install(h.spec("/", "app"), "")
	text := h.instructions(cleanupSuffix)
	h.writeCleanup(strings.ReplaceAll(text, "/srv", h.dst), 0o644)
	h.must(os.Chmod(filepath.Join(h.dst, "app/a"), 0o600))
	want := []string{"..?......    /root/.slipway/install/group.manifest: it is of another installation than the cleanup file, so that only presence, type and content are compared"}
	diff(t, "Verify()", want, h.verified())
}

func TestVerifyErrors(t *testing.T) {
	h := newHost(t)
	first := func(group string) error {
		for d, err := range Verify(t.Context(), h.root, group) {
			if err == nil {
				t.Fatalf("Verify(%q) yields %v, want an error", group, d)
			}
			return err
		}
		return nil
	}
	if err := first("group"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "group") {
		t.Errorf("Verify() of a group that has nothing installed = %v, want fs.ErrNotExist", err)
	}
	if err := first("../x"); err == nil || !strings.Contains(err.Error(), "one path component") {
		t.Errorf("Verify() of an unfit id = %v", err)
	}
	h.bundle(entries{"a": "old", "b": "old"})
	h.install(h.spec("/", "app"), "")
	h.must(os.RemoveAll(filepath.Join(h.dst, "app")))
	for d, err := range Verify(t.Context(), h.root, "group") { // ends when the caller has seen enough
		if err != nil || d.What != Missing {
			t.Errorf("Verify() yields %v, %v", d, err)
		}
		break
	}
	ctx, cancel := contextWithCause(t)
	cancel(errStop)
	for _, err := range Verify(ctx, h.root, "group") {
		if !errors.Is(err, errStop) {
			t.Errorf("Verify() after the end of its context = %v", err)
		}
	}
	j, err := createJournal(filepath.Join(stateDir(h.root), "abc"+journalSuffix), journalHeader{TX: "abc", Group: "group", Deployment: "d-7"})
	h.must(err)
	h.must(j.sync())
	j.close()
	if err := first("group"); err == nil || !strings.Contains(err.Error(), "d-7") {
		t.Errorf("Verify() beside a journal = %v, want the deployment named", err)
	}
}

// TestVerifyWhatWasInstalled compares every kind of installation with itself: what was noted is what is there.
func TestVerifyWhatWasInstalled(t *testing.T) {
	for _, c := range sourceCases {
		h := newHost(t)
		h.bundle(c.bundle)
		h.write(h.dst, c.dst)
		for range 2 {
			h.install(h.spec(c.files...), "")
			if got := h.verified(); len(got) > 0 && c.name != "names that are no UTF-8" {
				t.Errorf("%s: Verify() yields %q, want nothing", c.name, got)
			}
		}
	}
	c := &change{host: newHostIn(t, memoryDir(t))}
	p := c.prepare()
	_, err := p.Apply(t.Context())
	c.must(err)
	if got := c.verified(); len(got) > 0 {
		t.Errorf("Verify() yields %q, want nothing", got)
	}
}

// FuzzCleanup reads cleanup files as a whole and path by path.
func FuzzCleanup(f *testing.F) {
	for _, seed := range []string{"", "/a\n/a/b\n", "/a\n/torn", "semanage\x00/a\n", "/a//b/\n/../x\n\n/\n/x\x00\n", strings.Repeat("/long", 20_000) + "\n/a\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), "cleanup")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		lines, _ := parseCleanup(text)
		var want, got []string
		for _, l := range lines {
			if strings.HasSuffix("/"+l.path+"/", "/../") || !filepath.IsAbs(l.path) || filepath.Clean(l.path) != l.path || l.path == "/" {
				t.Fatalf("unsafe path %q", l.path)
			}
			if !l.label {
				want = append(want, l.path)
			}
		}
		r := &cleanupReader{f: in, in: bufio.NewReaderSize(in, 64<<10)}
		for path, ok := r.next(); ok; path, ok = r.next() {
			if path != "" {
				got = append(got, path)
			}
		}
		if r.err != nil {
			t.Fatal(r.err)
		}
		diff(t, "paths", want, got)
	})
}
