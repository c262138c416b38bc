package install

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// instructionsDir is where the official agent keeps its plan and cleanup files (I-6, I-7).
const instructionsDir = "deployment-instructions"

const (
	cleanupSuffix = "-cleanup"
	installSuffix = "-install.json"
)

// labelPrefix begins a cleanup line that names an SELinux rule instead of a path (I-40).
const labelPrefix = "semanage\x00"

// cleanupLine is one line of a cleanup file.
type cleanupLine struct {
	path  string
	label bool // only the SELinux rule of the path goes
}

// parseCleanup reads a cleanup file (I-41) in the order in which it was written. A last line without its newline was not
// written whole and does not count. Lines are taken as they are: white space belongs to the name. Lines that name no
// clean absolute path are reported in odd and left out.
func parseCleanup(text string) (lines []cleanupLine, odd []string) {
	lines = make([]cleanupLine, 0, strings.Count(text, "\n"))
	for {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			return lines, odd
		}
		text = rest
		if line == "" {
			continue
		}
		if l, ok := parseCleanupLine(line); ok {
			lines = append(lines, l)
		} else {
			odd = append(odd, line)
		}
	}
}

// parseCleanupLine reads one line, without its newline; false if it names no clean absolute path.
func parseCleanupLine(line string) (cleanupLine, bool) {
	path, label := strings.CutPrefix(line, labelPrefix)
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "\x00") || strings.Contains(path+"/", "/../") {
		return cleanupLine{}, false
	}
	if strings.HasSuffix(path, "/") || strings.Contains(path, "//") || strings.Contains(path+"/", "/./") {
		path = filepath.Clean(path)
	}
	if path == "/" {
		return cleanupLine{}, false
	}
	return cleanupLine{path, label}, true
}

// cleanupReader reads the paths of a cleanup file one by one, in the order in which it was written.
type cleanupReader struct {
	f   *os.File
	in  *bufio.Reader
	err error
}

func openCleanup(root, group string) (*cleanupReader, error) {
	f, _, err := openOwned(cleanupName(root, group), readingList)
	if err != nil {
		return nil, err
	}
	return &cleanupReader{f: f, in: bufio.NewReaderSize(f, 64<<10)}, nil
}

// next gives the next path; an empty one stands for a line that names none. false: there is no more, or an error that is
// then in err.
func (c *cleanupReader) next() (string, bool) {
	for {
		line, err := readLine(c.in)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.err = fmt.Errorf(readingList+": %w", err)
			}
			return "", false
		}
		text := string(line[:len(line)-1])
		if text == "" || strings.HasPrefix(text, labelPrefix) {
			continue
		}
		l, _ := parseCleanupLine(text)
		return l.path, true
	}
}

func (c *cleanupReader) close() { c.f.Close() }

// readCleanup returns the text of a group's cleanup file, empty if there is none. A file that somebody else could have
// written is refused: it is a list of what to delete as root (V-68).
func readCleanup(name string) (string, error) {
	f, size, err := openOwned(name, readingList)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	defer f.Close()
	var b strings.Builder
	b.Grow(int(size) + 1)
	if _, err := io.Copy(&b, f); err != nil {
		return "", fmt.Errorf(readingList+": %w", err)
	}
	return b.String(), nil
}

const readingList = "read the list of the previous revision's files"

// openOwned opens one of the official agent's files, unless somebody else could have written it. doing is for the error.
func openOwned(name, doing string) (f *os.File, size int64, err error) {
	f, err = os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, 0, fmt.Errorf("%s: %s is a link: remove it, and the files of the previous revision by hand", doing, name)
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w", doing, err)
	}
	var st unix.Stat_t
	euid := uint32(os.Geteuid())
	switch err = unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
		err = fmt.Errorf("%s: %s: %w", doing, name, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = fmt.Errorf("%s: %s is no regular file: remove it, and the files of the previous revision by hand", doing, name)
	case st.Uid != euid && st.Uid != 0: // what is root's is as good as our own, to a person who only wants to see a plan
		err = fmt.Errorf("%s: %s is owned by user %d and not by %d: make sure that it lists only what may be deleted, then chown it", doing, name, st.Uid, euid)
	case st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && st.Gid != 0:
		err = fmt.Errorf("%s: %s is writable by others (mode %04o): make sure that it lists only what may be deleted, then chmod it to 0644", doing, name, st.Mode&0o7777)
	default:
		return f, st.Size, nil
	}
	f.Close()
	return nil, 0, err
}

// gone is one path that the cleanup removes, in the order of I-41.
type gone struct {
	key
	ino uint64
	was int64 // the time of a file or link
	sub bool
}

// simulateCleanup marks in the tree what the cleanup of the previous revision would remove, without removing it.
func (m *maker) simulateCleanup(text string) error {
	lines, odd := parseCleanup(text)
	for _, line := range odd {
		m.warn("the previous revision's cleanup file has a line that names no absolute path, it is left out: %.200q", line)
	}
	if err := m.openKnown(lines, odd); err != nil {
		return err
	}
	m.gone = make([]gone, 0, len(lines))
	var at string
	var in dirID
	var ok bool
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		if line.label {
			m.plan.labels = append(m.plan.labels, line.path)
			continue
		}
		folder, name := split(line.path)
		if folder != at {
			var err error
			if in, ok, err = m.tree.now(folder); err != nil {
				if b, is := errors.AsType[*blocked](err); is {
					m.conflict(line.path, "belongs to the previous revision and cannot be removed: "+b.Error())
					at = ""
					continue
				}
				return fmt.Errorf("find what the previous revision has installed: %w", err)
			}
			at = folder
		}
		if ok {
			if err := m.simulateRemoval(key{in, name}, i, line.path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *maker) simulateRemoval(k key, line int, path string) error {
	t := m.tree
	if t.entries[k].goes {
		return nil
	}
	fd, err := m.open(k.dir)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	switch err := lstatAt(fd, k.name, &st); {
	case is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("find what the previous revision has installed: %s: %w", join(t.dirs[k.dir].path, k.name), err)
	}
	g := gone{key: k, ino: st.Ino, sub: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	if !g.sub {
		g.was = st.Mtim.Nano()
	} else {
		id, ok := t.kids[k]
		if !ok {
			id = t.add(k.dir, k.name, &st)
		}
		n, err := m.countEntries(id)
		if err != nil {
			return err
		}
		if n > t.dirs[id].removed { // others have files in it, it stays (I-42)
			return nil
		}
		t.dirs[id].goes = true
	}
	if st.Nlink == 1 || g.sub {
		o := m.frees[st.Dev]
		m.frees[st.Dev] = occupied{o.bytes + st.Blocks*512, o.inodes + 1}
	}
	if err := m.suspicious(k, fd, &st, line, path); err != nil {
		return err
	}
	s := t.entries[k]
	s.goes = true
	t.entries[k] = s
	t.dirs[k.dir].removed++
	m.gone = append(m.gone, g)
	return nil
}

func (m *maker) countEntries(id dirID) (n int32, err error) {
	fd, err := m.open(id)
	if err != nil {
		return 0, err
	}
	d := &m.tree.dirs[id]
	limit := d.removed
	err = eachEntry(fd, func([]byte, uint8) bool { n++; return n <= limit })
	if err != nil {
		return 0, fmt.Errorf("list %s: %w", d.path, err)
	}
	return n, nil
}

// writeCleanup writes what the next installation has to remove (I-40), in execution order.
func (p *Plan) writeCleanup(w io.Writer) error {
	o := newOutput(w)
	for _, i := range p.order {
		if i < 0 {
			o.put(p.dirs[^i].shown, "\n")
			continue
		}
		dir := p.dirs[p.files[i].dir].shown
		if dir == "/" {
			dir = ""
		}
		o.put(dir, "/", p.files[i].name, "\n")
	}
	for n := range p.perms {
		if p.perms[n].context == nil || !p.labelled() {
			continue
		}
		for _, i := range p.permsOf[n] {
			if i < 0 || !p.files[i].link() {
				o.put(labelPrefix, p.realPath(i), "\n")
			}
		}
	}
	if err := o.Flush(); err != nil {
		return fmt.Errorf("write the cleanup file: %w", err)
	}
	return nil
}

// realPath is the path of an op coded as in Plan.order with all links followed.
func (p *Plan) realPath(i int32) string {
	if i < 0 {
		return p.dirs[^i].path
	}
	return join(p.dirs[p.files[i].dir].path, p.files[i].name)
}
