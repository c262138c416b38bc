package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/bundle/bundletest"
)

// node is what counts of a path: type, mode, owner, access control lists, and the content and time of files and links. Neither the
// times nor the link counts of directories do.
type node struct {
	what string
	link int64 // time of a link, which is that of its making
}

// treeOf is a folder with all that is below it.
func treeOf(t testing.TB, dir string) map[string]node {
	t.Helper()
	all := map[string]node{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		n := node{what: fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			n.what, n.link = n.what+" -> "+target, info.ModTime().UnixNano()
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			n.what += fmt.Sprintf(" %d %d %x", info.ModTime().UnixNano(), len(data), sum[:8])
		}
		name, _ := filepath.Rel(dir, path)
		n.what += accessLists(path, info)
		all[name] = n
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

func accessLists(path string, info fs.FileInfo) (text string) {
	if info.Mode()&fs.ModeSymlink != 0 {
		return ""
	}
	buf := make([]byte, 1024)
	for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		if n, err := unix.Getxattr(path, name, buf); err == nil && n > 0 {
			text += fmt.Sprintf(" %s=%x", strings.TrimPrefix(name, "system.posix_acl_"), buf[:n])
		}
	}
	return text
}

// oldOrNew says which of two trees a tree is. Links of the old one have to have their old times; those of the new one are newly made.
func oldOrNew(before, after, got map[string]node) (string, error) {
	if maps.Equal(before, got) {
		return "old", nil
	}
	if maps.EqualFunc(after, got, func(a, b node) bool { return a.what == b.what }) {
		return "new", nil
	}
	return "", fmt.Errorf("the tree is neither the old nor the new one; against the old: %s; against the new: %s", difference(before, got), difference(after, got))
}

// difference names some paths that differ.
func difference(want, got map[string]node) string {
	var all []string
	for name, n := range want {
		if g, ok := got[name]; !ok {
			all = append(all, name+" is missing")
		} else if g.what != n.what {
			all = append(all, fmt.Sprintf("%s is %q, want %q", name, g.what, n.what))
		}
	}
	for name, n := range got {
		if _, ok := want[name]; !ok {
			all = append(all, fmt.Sprintf("%s is there: %q", name, n.what))
		}
	}
	slices.Sort(all)
	return fmt.Sprintf("%d paths, as %s", len(all), strings.Join(all[:min(3, len(all))], "; "))
}

// mixed is a revision of so many paths, of which there are two: over the other one each of them adds, replaces and removes files, changes
// modes, owners and access control lists, turns links to elsewhere, files into directories and directories into files.
func mixed(h *labHost, v, paths int) []byte {
	text := map[string]string{}
	for i := range paths {
		name := fmt.Sprintf("content/d%02d/f%04d", i%37, i)
		switch i % 10 {
		case 0, 1:
			text[name] = strings.Repeat(fmt.Sprintf("revision %d of %s\n", v, name), 1+i%50)
		case 2:
			text[name] = "the same in both\n"
		case 3, 4:
			if i%10 == v+2 {
				text[name] = "only in this one\n"
			}
		case 5:
			text[name] = fmt.Sprintf("-> ../elsewhere-%d", v)
		case 6, 7:
			if i%10 == v+5 {
				text[name] = "a file\n"
			} else {
				text[name+"/in/it"] = "in a directory\n"
			}
		case 8:
			text[fmt.Sprintf("content/perm/p%02d/f%04d", i%7, i)] = "the same in both, with other permissions\n"
		case 9:
			text[name] = map[int]string{1: "a file\n", 2: "-> f0000"}[v]
		}
	}
	text["content/lists/f"], text["appspec.yml"] = "f\n", h.appspecOf(v)
	entries := bundletest.Files(text)
	for i := range entries {
		if strings.HasPrefix(entries[i].Data, "revision") {
			entries[i].Time = bundletest.Time.Add(time.Duration(v) * time.Hour)
		}
	}
	return bundletest.Zip(entries...)
}

// appspecOf is the appspec of a mixed revision. Only root may give files away.
func (h *labHost) appspecOf(v int) string {
	user := map[int]string{1: "bin", 2: "daemon"}[v]
	owner := "\n    owner: " + user + "\n    group: " + user
	if os.Getuid() != 0 {
		owner = ""
	}
	return "version: 0.0\nos: linux\nfiles:\n  - source: content\n    destination: " + h.site + "\npermissions:\n" +
		"  - object: " + h.site + "/perm\n    pattern: \"**\"\n    type: [file]\n    mode: " + map[int]string{1: "640", 2: "600"}[v] + owner +
		map[int]string{1: "", 2: "\n    acls: [\"u:bin:r\"]"}[v] + "\n" +
		"  - object: " + h.site + "\n    pattern: perm\n    type: [directory]\n    mode: " + map[int]string{1: "751", 2: "711"}[v] + owner + "\n" +
		"  - object: " + h.site + "\n    pattern: lists\n    type: [directory]\n    mode: 755\n" + map[int]string{1: "    acls: [\"d:u:bin:rwx\"]\n", 2: ""}[v]
}

// leftovers are hidden names below the site and in the deployment root, and journals.
func (h *labHost) leftovers() (left []string) {
	for _, dir := range []string{h.site, h.under} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasPrefix(filepath.Base(path), ".slipway-") || strings.HasSuffix(path, ".journal") {
				left = append(left, path)
			}
			return err
		})
		if err != nil {
			left = append(left, err.Error())
		}
	}
	return left
}
