package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle/bundletest"
)

// V-105, V-107: what the host does not accept is refused by its name, in every format, and only where that is asked for.
func TestLimitsRefuse(t *testing.T) {
	file := bundletest.Entry{Name: "d/f", Data: "x"}
	link := bundletest.Entry{Name: "d/l", Mode: fs.ModeSymlink | 0o777, Target: "f"}
	hard := bundletest.Entry{Name: "d/h", Hard: true, Target: "d/f"}
	setuid := bundletest.Entry{Name: "d/s", Mode: fs.ModeSetuid | 0o755, Data: "x"}
	setgid := bundletest.Entry{Name: "d/s", Mode: fs.ModeSetgid | 0o755, Data: "x"}
	folder := bundletest.Entry{Name: "shared/", Mode: fs.ModeDir | fs.ModeSetgid | 0o775}
	links, modes := Limits{RejectLinks: true}, Limits{RejectSetID: true}
	all := []Format{Tar, Tgz, Zip, Directory}
	for _, c := range []struct {
		name    string
		formats []Format
		entry   bundletest.Entry
		limits  Limits
		says    string // empty: accepted
	}{
		{"link", all, link, links, `entry "d/l" is a symbolic link, which this host does not accept in a bundle (reject_symlinks_in_bundle)`},
		{"link, not asked for", all, link, modes, ""},
		{"second name", []Format{Tar, Tgz}, hard, links, `entry "d/h" is another name of "d/f"`},
		{"second name of a file that is copied", []Format{Directory}, hard, links, ""}, // the copy has one
		{"second name, not asked for", []Format{Tar, Tgz, Directory}, hard, modes, ""},
		{"set-user-id", all, setuid, modes, `entry "d/s" has the mode 4755 with a set-id bit, which this host does not accept in a bundle (reject_unsafe_permissions_in_bundle)`},
		{"set-group-id", all, setgid, modes, "has the mode 2755"},
		{"set-user-id, not asked for", all, setuid, links, ""},
		{"set-group-id of a folder", []Format{Tar, Tgz, Directory}, folder, modes, ""},
		{"nothing of the kind", all, file, Limits{RejectLinks: true, RejectSetID: true, IgnoreOwners: true}, ""},
	} {
		for _, format := range c.formats {
			t.Run(fmt.Sprintf("%s %s", c.name, format), func(t *testing.T) {
				entries := []bundletest.Entry{file, c.entry}
				rev := Revision{Type: LocalFile, Local: LocalLocation{Format: format}}
				if format == Directory {
					rev.Type = LocalDirectory
					rev.Local.Path, _ = unpackInto(t, bundletest.Tar(entries...), Tar)
				} else {
					pack := map[Format]func(...bundletest.Entry) []byte{Zip: bundletest.Zip, Tar: bundletest.Tar, Tgz: bundletest.Tgz}[format]
					rev.Local.Path = archiveFile(t, t.TempDir(), pack(entries...)).Name()
				}
				_, _, _, err := bring(t, new(Fetcher), rev, c.limits)
				if c.says == "" && err != nil || c.says != "" && (!errors.As(err, new(*ArchiveError)) || !strings.Contains(err.Error(), c.says)) {
					t.Errorf("Bring() = %v, want it to say %q", err, c.says)
				}
			})
		}
	}
}

// V-110: what is unpacked is the unpacker's, and no set-id bit lends its rights where those of another were meant.
func TestLimitsIgnoreOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: files of anybody else belong to whoever unpacks them anyway")
	}
	data := bundletest.Tar(
		bundletest.Entry{Name: "by-number", Mode: 0o640, UID: 4242, GID: 4243, Data: "x"},
		bundletest.Entry{Name: "by-name", Mode: 0o640, UID: 4242, GID: 4243, User: "nobody", Group: "daemon", Data: "x"},
		bundletest.Entry{Name: "theirs", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, UID: 4242, GID: 4243, Data: "x"},
		bundletest.Entry{Name: "half-theirs", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, GID: 4243, Data: "x"},
		bundletest.Entry{Name: "ours", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, Data: "x"},
		bundletest.Entry{Name: "folder/", Mode: fs.ModeDir | fs.ModeSetgid | 0o775, UID: 4242, GID: 4243},
		bundletest.Entry{Name: "link", Mode: fs.ModeSymlink | 0o777, Target: "ours", UID: 4242, GID: 4243},
	)
	for _, c := range []struct {
		limits Limits
		want   map[string]string
	}{
		{Limits{IgnoreOwners: true}, map[string]string{
			"by-number": "100640 0:0", "by-name": "100640 0:0", "theirs": "100755 0:0", "half-theirs": "104755 0:0", "ours": "106755 0:0", "folder": "40775 0:0", "link": "120777 0:0",
		}},
		{Limits{}, map[string]string{
			"by-number": "100640 4242:4243", "by-name": "100640 65534:1", "theirs": "106755 4242:4243", "half-theirs": "106755 0:4243", "ours": "106755 0:0", "folder": "42775 4242:4243", "link": "120777 4242:4243",
		}},
	} {
		b := newBench(t, memoryFS(t))
		if _, err := Unpack(t.Context(), archiveFile(t, filepath.Dir(b.dir), data), Tar, b.root, c.limits); err != nil {
			t.Fatal(err)
		}
		got := attributes(t, b.dir)
		for name := range got {
			got[name], _, _ = strings.Cut(got[name], " 20")
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.limits, diff)
		}
	}
}
