package install

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Verify compares what the group's last installation has put on the host with what is there now, as rpm -V does for a
// package, and yields what differs in the order of the installation; it changes nothing. Contents are compared with the
// unpacked bundle while that is there; a Difference with Unchecked says that it is not, and size and time then decide. Of an
// installation of the official agent only presence, type and content are known. Hidden leftovers of installations that are
// over are reported too. An error ends the sequence: a group that has nothing installed is fs.ErrNotExist. While the group
// installs, or if an installation was cut short, there is nothing to compare with, which is an error.
func Verify(ctx context.Context, root, group string) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		v := &verifier{root: root, yield: yield, fd: -1}
		if err := v.run(ctx, group); err != nil && !errors.Is(err, errEnough) {
			yield(Difference{}, fmt.Errorf("verify what deployment group %s has installed: %w", group, err))
		}
	}
}

// errEnough means that the caller has seen enough.
var errEnough = errors.New("the caller has ended the comparison")

// verifier compares one path after the other.
type verifier struct {
	root  string
	yield func(Difference, error) bool

	known  *manifest // nil: only the plan file tells what was installed
	src    *sources  // nil: nothing to compare contents with
	bundle *archived
	told   bool // that something could not be compared

	folder   string // of the path in hand
	fd       int    // and its descriptor, -1: it is not there
	scanned  [64]string
	next     int             // index into scanned
	reported map[string]bool // leftovers
	buf      []byte
}

func (v *verifier) run(ctx context.Context, group string) error {
	if !validID(group) {
		return fmt.Errorf("the id %q cannot name a file: it has to be one path component", group)
	}
	if err := pending(v.root, group); err != nil {
		return err
	}
	list, err := openCleanup(v.root, group)
	if err != nil {
		return err
	}
	defer list.close()
	if err := v.open(group); err != nil {
		return err
	}
	defer v.close()
	if err := v.leftBehind(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		path, ok := list.next()
		if !ok {
			return list.err
		}
		if path == "" {
			continue
		}
		if err := v.path(i, path); err != nil {
			return err
		}
	}
}

// open opens what is known of the installation.
func (v *verifier) open(group string) error {
	again, err := openCleanup(v.root, group)
	if err != nil {
		return err
	}
	defer again.close()
	name := filepath.Join(stateDir(v.root), group+manifestSuffix)
	switch v.known, err = openManifest(v.root, group, again.next); {
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, errUnknown):
		err = v.tell(Difference{name, Unchecked, "it is of another installation than the cleanup file, so that only presence, type and content are compared"})
	default:
		err = v.tell(Difference{name, Unchecked, "it cannot be read, so that only presence, type and content are compared (" + err.Error() + ")"})
	}
	if errors.Is(err, errEnough) {
		return err
	}
	if v.src, err = openSources(v.root, group); err != nil {
		return v.unchecked(filepath.Join(v.root, instructionsDir, group+installSuffix), err.Error())
	}
	v.bundle = newArchived()
	return nil
}

func (v *verifier) close() {
	v.known.close()
	v.src.close()
	if v.bundle != nil {
		v.bundle.close()
	}
	if v.fd >= 0 {
		closeFD(v.fd)
	}
}

func (v *verifier) tell(d Difference) error {
	if !v.yield(d, nil) {
		return errEnough
	}
	return nil
}

// unchecked says once that contents cannot be compared.
func (v *verifier) unchecked(path, why string) error {
	if v.told {
		return nil
	}
	v.told = true
	rest := "contents are judged by size and time"
	if v.known == nil {
		rest = "only presence is known"
	}
	return v.tell(Difference{path, Unchecked, why + ": " + rest})
}

// enter opens the folder of a path, as the host finds it, and looks for leftovers in it.
func (v *verifier) enter(folder string) error {
	if folder == v.folder {
		return nil
	}
	if v.fd >= 0 {
		closeFD(v.fd)
	}
	v.folder, v.fd = folder, -1
	fd, err := openat(unix.AT_FDCWD, folder, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	switch {
	case is(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP):
		return nil
	case err != nil:
		return &fs.PathError{Op: "open directory", Path: folder, Err: err}
	}
	v.fd = fd
	return v.scan(fd, folder)
}

// path compares the i-th path of the cleanup file.
func (v *verifier) path(i int, path string) error {
	folder, name := split(path)
	if err := v.enter(folder); err != nil {
		return err
	}
	var st unix.Stat_t
	err := error(unix.ENOENT)
	if v.fd >= 0 {
		err = lstatAt(v.fd, name, &st)
	}
	switch {
	case is(err, unix.ENOENT):
		return v.tell(Difference{Path: path, What: Missing})
	case err != nil:
		return &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	source, dir, ok := v.src.of(i, path)
	var what Aspects
	if v.known != nil {
		what, err = v.withManifest(i, name, path, source, ok && !dir, &st)
	} else {
		what, err = v.withBundle(name, source, dir, ok, &st)
	}
	if err != nil || what&^Unchecked == 0 {
		return err
	}
	return v.tell(Difference{Path: path, What: what})
}

// withManifest compares with all that was noted when the path was installed.
func (v *verifier) withManifest(i int, name, path, source string, ok bool, st *unix.Stat_t) (Aspects, error) {
	h, err := v.known.at(i)
	if err != nil {
		return 0, err
	}
	what := h.differs(st)
	if what&TypeDiffers != 0 {
		return what, nil
	}
	switch h.kind() {
	case unix.S_IFLNK:
		if text, err := readlinkAt(v.fd, name); err != nil || text != h.link {
			what |= LinkDiffers
		}
		return what, nil
	case unix.S_IFREG:
		if what&SizeDiffers == 0 {
			more, err := v.content(name, source, ok, h.size)
			if err != nil {
				return 0, err
			}
			what |= more
		}
	}
	if v.known.header.Version > oldestJournal && (!v.sameList(path, aclAccess, h.list) || h.dir && !v.sameList(path, aclDefault, h.dfltList)) {
		what |= ListDiffers
	}
	return what, nil
}

// sameList compares a list of a path. There is none where it cannot be read.
func (v *verifier) sameList(path, name, want string) bool {
	if v.buf == nil {
		v.buf = make([]byte, 1<<16)
	}
	n, err := unix.Lgetxattr(path, name, v.buf)
	if err != nil {
		n = 0
	}
	return string(v.buf[:n]) == want
}

// content compares a file with its source.
func (v *verifier) content(name, source string, ok bool, size int64) (Aspects, error) {
	if !ok || filepath.Base(source) != name {
		return Unchecked, v.unchecked(filepath.Join(v.folder, name), "the plan file does not say where it was copied from")
	}
	switch v.bundle.compare(source, size, v.fd) {
	case equalToSource:
		return 0, nil
	case unequalToSource:
		return ContentDiffers, nil
	}
	return Unchecked, v.noSource(source)
}

// noSource tells that the unpacked bundle is no longer whole.
func (v *verifier) noSource(source string) error {
	missing := source
	for path := source; path != "/"; path, _ = split(path) {
		if _, err := os.Lstat(path); err == nil {
			break
		}
		missing = path
	}
	return v.unchecked(missing, "this of the unpacked bundle, and maybe more, is no longer there as it was")
}

// withBundle compares with the unpacked bundle alone: the official agent notes nothing else.
func (v *verifier) withBundle(name, source string, dir, ok bool, st *unix.Stat_t) (Aspects, error) {
	if !ok {
		return Unchecked, v.unchecked(filepath.Join(v.folder, name), "the plan file does not say what it is")
	}
	typ := st.Mode & unix.S_IFMT
	if dir {
		if typ != unix.S_IFDIR {
			return TypeDiffers, nil
		}
		return 0, nil
	}
	folder, last := split(source)
	from := v.bundle.open(folder)
	var want unix.Stat_t
	if from < 0 || lstatAt(from, last, &want) != nil || last != name {
		return Unchecked, v.noSource(source)
	}
	switch {
	case want.Mode&unix.S_IFMT != typ:
		return TypeDiffers, nil
	case typ == unix.S_IFLNK:
		if !sameLink(from, v.fd, name) {
			return LinkDiffers, nil
		}
		return 0, nil
	case typ != unix.S_IFREG:
		return 0, nil
	case want.Size != st.Size:
		return SizeDiffers | ContentDiffers, nil
	}
	return v.content(name, source, true, want.Size)
}

// sameLink compares the texts of two links of one name.
func sameLink(src, dst int, name string) bool {
	a, errA := readlinkAt(src, name)
	b, errB := readlinkAt(dst, name)
	return errA == nil && errB == nil && a == b
}

// leftBehind looks for leftovers in all directories that the last installation had to do with.
func (v *verifier) leftBehind() error {
	if v.known == nil {
		return nil
	}
	in := bufio.NewReaderSize(io.NewSectionReader(v.known.f, 0, v.known.blocks[0]), 64<<10)
	for {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var r record
		if json.Unmarshal(line, &r) != nil || r.Op != opDir {
			continue
		}
		if err := v.enter(r.path()); err != nil {
			return err
		}
	}
}

// scan looks for leftovers in a directory. A few directories are remembered, since paths come back to those above.
func (v *verifier) scan(fd int, folder string) error {
	if slices.Contains(v.scanned[:], folder) {
		return nil
	}
	v.scanned[v.next] = folder
	v.next = (v.next + 1) % len(v.scanned)
	var found []string
	if err := eachEntry(fd, func(name []byte, _ uint8) bool {
		if strings.HasPrefix(string(name[:min(len(name), len(hiddenPrefix))]), hiddenPrefix) {
			found = append(found, string(name))
		}
		return len(found) < sweepBatch
	}); err != nil {
		return fmt.Errorf("list %s: %w", folder, err)
	}
	for _, name := range found {
		path := join(folder, name)
		if !v.orphan(name) || v.reported[path] {
			continue
		}
		if v.reported == nil {
			v.reported = map[string]bool{}
		}
		v.reported[path] = true
		if err := v.tell(Difference{Path: path, What: Leftover}); err != nil {
			return err
		}
	}
	return nil
}

// orphan reports whether a name is a hidden one of an installation that is over: it has no journal any more. What was saved from undoing waits
// for a person.
func (v *verifier) orphan(name string) bool {
	if strings.HasPrefix(name, savedPrefix) {
		return true
	}
	tx, rest, ok := strings.Cut(strings.TrimPrefix(name, hiddenPrefix), "-")
	if !ok || len(tx) != 2*txBytes || strings.Trim(tx, "0123456789abcdef") != "" || rest == "" || strings.Trim(rest[:1], "0123456789") != "" {
		return false
	}
	_, err := os.Lstat(filepath.Join(stateDir(v.root), tx+journalSuffix))
	return errors.Is(err, fs.ErrNotExist)
}
