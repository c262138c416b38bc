package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/textdiff"
)

// file is a file of root's with a content of ours. A file that was there before and is not ours is kept beside it as .orig, once.
type file struct {
	path    string
	mode    uint32
	content func(old string) (string, error) // from what is there, "" for nothing
	hide    func(content, other string) string
	brought bool // by a package: before that is installed, it counts as different
	shows   string
}

// whole is the content of a file that is ours alone.
func whole(text string) func(string) (string, error) {
	return func(string) (string, error) { return text, nil }
}

const original = ".orig"

func (f *file) look(h *Host) (old string, n *node, err error) {
	n, err = h.lstat(f.path)
	if err != nil || n == nil {
		return "", nil, err
	}
	if n.is(fs.ModeSymlink) {
		return "", n, nil // replaced, its target is not ours
	}
	if !n.mode.IsRegular() {
		return "", n, fmt.Errorf("%s is there and is not a file: remove it", f.path)
	}
	data, err := h.read(f.path)
	return string(data), n, err
}

func (f *file) check(_ context.Context, h *Host) ([]Change, error) {
	old, n, err := f.look(h)
	if err != nil {
		return nil, err
	}
	content, err := f.content(old)
	if err != nil {
		return nil, err
	}
	if n.is(0) && old == content && permissions(n.mode) == f.mode && (os.Geteuid() != 0 || n.uid == 0 && n.gid == 0) {
		return nil, nil
	}
	c := Change{Kind: "file", Target: f.path, Action: "edit"}
	from, shown, head := f.path, old, ""
	switch {
	case n == nil && f.brought:
		from, shown = f.path+" (as its package brings it)", f.shows
	case n == nil:
		c.Action, from = "create", "/dev/null"
		head = fmt.Sprintf("new file mode %04o, owner root:root\n", f.mode)
	case n.is(fs.ModeSymlink):
		from = f.path + " -> " + n.target
		head = "a link becomes a file\n"
	default:
		if have := permissions(n.mode); have != f.mode {
			head += fmt.Sprintf("mode %04o -> %04o\n", have, f.mode)
		}
		if n.uid != 0 || n.gid != 0 {
			head += fmt.Sprintf("owner %s:%s -> root:root\n", h.nameOf(usersFile, n.uid), h.nameOf(groupsFile, n.gid))
		}
	}
	if f.hide != nil {
		shown, content = f.hide(shown, content), f.hide(content, shown)
	}
	c.Diff = head + textdiff.Unified(from, f.path, shown, content)
	return []Change{c}, nil
}

func (f *file) apply(_ context.Context, h *Host) error {
	old, n, err := f.look(h)
	if err != nil {
		return err
	}
	content, err := f.content(old)
	if err != nil {
		return err
	}
	if n.is(0) && old != content && !ours(old) {
		kept, err := h.lstat(f.path + original)
		if err != nil {
			return err
		}
		if kept == nil {
			if err := h.write(f.path+original, []byte(old), permissions(n.mode)&f.mode, n.uid, n.gid); err != nil {
				return fmt.Errorf("keep %s as %s: %w", f.path, f.path+original, err)
			}
		}
	}
	return h.write(f.path, []byte(content), f.mode, 0, 0)
}

// link is a symbolic link that is there, or that is not.
type link struct {
	path, target string
	absent       bool
	brought      bool // by a package: before that is installed, it counts as there
}

func (l *link) check(_ context.Context, h *Host) ([]Change, error) {
	n, err := h.lstat(l.path)
	if err != nil {
		return nil, err
	}
	from, to := "", "-> "+l.target
	switch {
	case n.is(fs.ModeSymlink):
		from = "-> " + n.target
	case n != nil && n.mode.IsRegular():
		from = "a file"
	case n != nil:
		return nil, fmt.Errorf("%s is there and is not a link: remove it", l.path)
	}
	if !l.absent {
		if n.is(fs.ModeSymlink) && absolute(l.path, n.target) == absolute(l.path, l.target) {
			return nil, nil
		}
		action := "create"
		if n != nil {
			action = "edit"
		}
		return []Change{property("link", l.path, action, from, to)}, nil
	}
	if n == nil && !l.brought {
		return nil, nil
	}
	if n == nil {
		from = "-> " + l.target + " (as its package brings it)"
	}
	return []Change{property("link", l.path, "remove", from, "")}, nil
}

// absolute is where a link at a name leads.
func absolute(name, target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join(path.Dir(name), target)
}

func (l *link) apply(_ context.Context, h *Host) error {
	if !l.absent {
		return h.link(l.path, l.target)
	}
	return h.remove(l.path)
}

// folder is a directory with its owner and mode.
type folder struct {
	path         string
	owner, group string // names; "" leaves it
	mode         string // octal; "" leaves it
	pending      bool   // the user may come with a package that is not installed yet
}

const newFolderMode = 0o755

func (d *folder) check(_ context.Context, h *Host) ([]Change, error) {
	n, err := h.lstat(d.path)
	if err != nil {
		return nil, err
	}
	if n != nil && !n.mode.IsDir() {
		return nil, fmt.Errorf("%s is there and is not a folder: move it away", d.path)
	}
	if !d.pending {
		if _, _, err := d.ids(h); err != nil {
			return nil, err
		}
	}
	mode, _ := strconv.ParseUint(d.mode, 8, 32)
	if n == nil {
		if d.mode == "" {
			mode = newFolderMode
		}
		to := fmt.Sprintf("mode %04o\nowner %s\ngroup %s\n", mode, orRoot(d.owner), orRoot(d.group))
		return []Change{property("directory", d.path, "create", "", to)}, nil
	}
	var from, to strings.Builder
	if have := permissions(n.mode); d.mode != "" && have != uint32(mode) {
		fmt.Fprintf(&from, "mode %04o\n", have)
		fmt.Fprintf(&to, "mode %04o\n", mode)
	}
	if os.Geteuid() == 0 {
		if id, _, ok := h.account(usersFile, d.owner); d.owner != "" && (!ok || id != n.uid) {
			fmt.Fprintf(&from, "owner %s\n", h.nameOf(usersFile, n.uid))
			fmt.Fprintf(&to, "owner %s\n", d.owner)
		}
		if id, _, ok := h.account(groupsFile, d.group); d.group != "" && (!ok || id != n.gid) {
			fmt.Fprintf(&from, "group %s\n", h.nameOf(groupsFile, n.gid))
			fmt.Fprintf(&to, "group %s\n", d.group)
		}
	}
	if to.Len() == 0 {
		return nil, nil
	}
	return []Change{property("directory", d.path, "edit", from.String(), to.String())}, nil
}

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}

// ids are the numbers of the owner and the group; -1 leaves one.
func (d *folder) ids(h *Host) (uid, gid int, err error) {
	uid, gid = -1, -1
	var ok bool
	if d.owner != "" {
		if uid, _, ok = h.account(usersFile, d.owner); !ok {
			return 0, 0, fmt.Errorf("the owner of %s is %s, and there is no such user", d.path, d.owner)
		}
	}
	if d.group != "" {
		if gid, _, ok = h.account(groupsFile, d.group); !ok {
			return 0, 0, fmt.Errorf("the group of %s is %s, and there is no such group", d.path, d.group)
		}
	}
	return uid, gid, nil
}

func (d *folder) apply(_ context.Context, h *Host) error {
	uid, gid, err := d.ids(h)
	if err != nil {
		return err
	}
	real, err := h.resolve(d.path, false)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(real), newFolderMode); err != nil {
		return err
	}
	err = os.Mkdir(real, newFolderMode)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// By its descriptor: below a folder of the web server's user the name may have become a link meanwhile.
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	mode := uint64(newFolderMode)
	if d.mode != "" {
		mode, _ = strconv.ParseUint(d.mode, 8, 32)
	} else if !made {
		return nil
	}
	if err := unix.Fchmod(int(f.Fd()), uint32(mode)); err != nil {
		return fmt.Errorf("chmod %s: %w", real, err)
	}
	return nil
}

// zone is the zone of the clock.
type zone struct {
	name    string
	pending bool // the files of the zones are not installed yet
}

const zoneFiles = "/usr/share/zoneinfo/"

func (z *zone) check(_ context.Context, h *Host) ([]Change, error) {
	if !z.pending && !h.exists(zoneFiles+z.name) {
		return nil, fmt.Errorf("the time zone %s is not known here: there is no %s%s%s", z.name, zoneFiles, z.name, z.meant(h))
	}
	n, err := h.lstat("/etc/localtime")
	if err != nil {
		return nil, err
	}
	have := "UTC, by default"
	if n.is(fs.ModeSymlink) {
		have = strings.TrimPrefix(absolute("/etc/localtime", n.target), zoneFiles)
	} else if n != nil {
		have = "a file of its own"
	}
	name, err := h.read("/etc/timezone") // Debian's second place
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && strings.TrimSpace(string(name)) != z.name && have == z.name {
		have = strings.TrimSpace(string(name)) + " in /etc/timezone"
	}
	if have == z.name {
		return nil, nil
	}
	return []Change{property("timezone", z.name, "set", have, z.name)}, nil
}

// meant suggests a zone of the list that comes with the files.
func (z *zone) meant(h *Host) string {
	data, err := h.read(zoneFiles + "tzdata.zi")
	if err != nil {
		return ""
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		switch f := strings.Fields(line); {
		case len(f) > 1 && f[0] == "Z":
			names = append(names, f[1])
		case len(f) > 2 && f[0] == "L":
			names = append(names, f[2])
		}
	}
	if s := suggest(z.name, names); s != "" {
		return ": " + s
	}
	return ""
}

func (z *zone) apply(_ context.Context, h *Host) error {
	if err := h.link("/etc/localtime", ".."+zoneFiles+z.name); err != nil {
		return err
	}
	if h.exists("/etc/timezone") {
		return h.write("/etc/timezone", []byte(z.name+"\n"), 0o644, 0, 0)
	}
	return nil
}
