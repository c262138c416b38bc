package install

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// have is what a manifest says about one path: what the disk showed when it was installed.
type have struct {
	path           []byte // valid until the next line is read
	dir            bool
	size, mtime    int64  // of files; mtime in nanoseconds since the epoch
	mode           uint32 // with the type; 0: not known, as for the directories of version 1
	uid, gid       uint32
	link           string
	list, dfltList string // access control lists as the kernel has them
}

// haveRecord is have as JSON. Texts that are no UTF-8 are kept in the fields that end in 64.
type haveRecord struct {
	Op      string `json:"op"`
	Path    string `json:"path"`
	Path64  []byte `json:"path64"`
	Dir     bool   `json:"dir"`
	Size    int64  `json:"size"`
	MTime   int64  `json:"mtime"`
	Mode    uint32 `json:"mode"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Link    string `json:"link"`
	Link64  []byte `json:"link64"`
	ACL     []byte `json:"acl"`
	Default []byte `json:"default"`
}

var havePrefix = []byte(`{"op":"` + opHave + `"`)

// parse reads a line as the manifest has it; false if it is none of these.
func (h *have) parse(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, havePrefix)
	if !ok {
		return false
	}
	*h = have{}
	if h.scan(rest) {
		return true
	}
	var r haveRecord
	if json.Unmarshal(line, &r) != nil {
		return false
	}
	*h = have{
		path: append(r.Path64, r.Path...), dir: r.Dir, size: r.Size, mtime: r.MTime, mode: r.Mode, uid: r.UID, gid: r.GID,
		link: string(r.Link64) + r.Link, list: string(r.ACL), dfltList: string(r.Default),
	}
	return true
}

// scan reads the usual line, which has no escapes, without reflection: a large installation has one for each of its paths.
func (h *have) scan(rest []byte) bool {
	for len(rest) > 0 && rest[0] == ',' {
		key, after, ok := scanText(rest[1:])
		if !ok || len(after) < 2 || after[0] != ':' {
			return false
		}
		rest = after[1:]
		switch {
		case rest[0] == '"':
			var text []byte
			if text, rest, ok = scanText(rest); !ok || !h.setText(string(key), text) {
				return false
			}
		case bytes.HasPrefix(rest, []byte("true")):
			if string(key) != "dir" {
				return false
			}
			h.dir, rest = true, rest[len("true"):]
		default:
			end := bytes.IndexAny(rest, ",}")
			if end < 0 {
				return false
			}
			if !h.setNumber(string(key), string(rest[:end])) {
				return false
			}
			rest = rest[end:]
		}
	}
	return string(rest) == "}\n"
}

// scanText cuts a JSON string without escapes off the beginning of b.
func scanText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	b = b[1:]
	ascii := true
	for i, c := range b {
		switch {
		case c == '"':
			return b[:i], b[i+1:], ascii || utf8.Valid(b[:i])
		case c == '\\' || c < 0x20:
			return nil, nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, nil, false
}

func (h *have) setText(key string, text []byte) bool {
	switch key {
	case "path":
		h.path = text
	case "link":
		h.link = string(text)
	case "acl", "default":
		list, err := base64.StdEncoding.AppendDecode(nil, text)
		if key == "acl" {
			h.list = string(list)
		} else {
			h.dfltList = string(list)
		}
		return err == nil
	default:
		return false
	}
	return true
}

func (h *have) setNumber(key, text string) bool {
	bits := 64
	if key != "size" && key != "mtime" {
		bits = 33 // signed, for 32 without
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil || bits == 33 && n < 0 {
		return false
	}
	switch key {
	case "size":
		h.size = n
	case "mtime":
		h.mtime = n
	case "mode":
		h.mode = uint32(n)
	case "uid":
		h.uid = uint32(n)
	case "gid":
		h.gid = uint32(n)
	default:
		return false
	}
	return true
}

// kind is the type of what was installed, as in a mode.
func (h *have) kind() uint32 {
	switch {
	case h.dir:
		return unix.S_IFDIR
	case h.mode == 0:
		return unix.S_IFREG
	}
	return h.mode & unix.S_IFMT
}

// differs compares with what is there, as far as that needs no further look. Times and sizes of links and directories say
// nothing.
func (h *have) differs(st *unix.Stat_t) (what Aspects) {
	if st.Mode&unix.S_IFMT != h.kind() {
		return TypeDiffers
	}
	if h.kind() == unix.S_IFREG {
		if st.Size != h.size {
			what |= SizeDiffers | ContentDiffers
		}
		if st.Mtim.Nano() != h.mtime {
			what |= TimeDiffers
		}
	}
	if h.mode == 0 {
		return what
	}
	if h.kind() != unix.S_IFLNK && st.Mode&0o7777 != h.mode&0o7777 {
		what |= ModeDiffers
	}
	if st.Uid != h.uid {
		what |= OwnerDiffers
	}
	if st.Gid != h.gid {
		what |= GroupDiffers
	}
	return what
}

// manifestBlock is how many lines of a manifest are read at a time.
const manifestBlock = 256

// manifest is what a group's last installation has left on disk, read from its finished journal in blocks: a tree of any
// size needs little memory.
type manifest struct {
	f      *os.File
	header journalHeader
	blocks []int64 // where each block of lines begins, and the end
	n      int     // paths
	first  int     // the index of the first of lines
	lines  []have
	buf    []byte
}

// errUnknown means that the manifest says nothing about what the cleanup file lists: another agent worked in between.
var errUnknown = errors.New("it is of another installation than the cleanup file")

// openManifest opens a group's manifest, if it describes the paths of the cleanup file, which next yields in order. Without
// a manifest the error is fs.ErrNotExist.
func openManifest(root, group string, next func() (string, bool)) (*manifest, error) {
	f, err := os.OpenFile(filepath.Join(stateDir(root), group+manifestSuffix), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("read what was installed: %w", err)
	}
	m := &manifest{f: f, first: -manifestBlock}
	if err := m.index(root, group, next); err != nil {
		f.Close()
		return nil, fmt.Errorf("read what was installed: %s: %w", f.Name(), err)
	}
	return m, nil
}

func (m *manifest) close() {
	if m != nil {
		m.f.Close()
	}
}

// index finds the blocks, and compares the paths with those of the cleanup file.
func (m *manifest) index(root, group string, next func() (string, bool)) error {
	in := bufio.NewReaderSize(m.f, 64<<10)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	if json.Unmarshal(line, &m.header) != nil || m.header.What != journalWhat || m.header.Group != group || !validID(m.header.Deployment) {
		return errUnknown
	}
	ours := m.header.Version < journalVersion && pointsTo(root, group, m.header.Deployment)
	at := int64(len(line))
	for {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, havePrefix):
			if m.n%manifestBlock == 0 {
				m.blocks = append(m.blocks, at)
			}
			if want, ok := next(); !ok || !names(line, want) {
				return errUnknown
			}
			m.n++
		case m.n == 0 && bytes.HasPrefix(line, []byte(`{"op":"`+opList+`"`)):
			var r record
			ours = json.Unmarshal(line, &r) == nil && r.matches(cleanupName(root, group))
		case !bytes.HasPrefix(line, []byte(`{"op":"`+opDir+`"`)):
			err = io.EOF // the paths are over
		}
		if err != nil {
			break
		}
		at += int64(len(line))
	}
	m.blocks = append(m.blocks, at)
	if _, more := next(); more || !ours {
		return errUnknown
	}
	return nil
}

// readLine reads a line, valid until the next one.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := bytes.Clone(line)
	rest, err := in.ReadBytes('\n')
	return append(long, rest...), err
}

// names reports whether a line is about a path.
func names(line []byte, path string) bool {
	const begin = `{"op":"` + opHave + `","path":"`
	if end := len(begin) + len(path); len(line) > end && line[end] == '"' && string(line[:len(begin)]) == begin &&
		string(line[len(begin):end]) == path && !strings.ContainsRune(path, '\\') {
		return true
	}
	var h have
	return h.parse(line) && string(h.path) == path
}

// at gives what is known of the i-th path. It is valid until the next call.
func (m *manifest) at(i int) (*have, error) {
	if i < m.first || i >= m.first+len(m.lines) {
		if err := m.load(i / manifestBlock); err != nil {
			return nil, fmt.Errorf("read what was installed: %s: %w", m.f.Name(), err)
		}
	}
	return &m.lines[i-m.first], nil
}

func (m *manifest) load(block int) error {
	from, to := m.blocks[block], m.blocks[block+1]
	if int64(cap(m.buf)) < to-from {
		m.buf = make([]byte, to-from)
	}
	m.buf = m.buf[:to-from]
	if _, err := m.f.ReadAt(m.buf, from); err != nil {
		return err
	}
	m.lines = m.lines[:0]
	for line := range bytes.Lines(m.buf) {
		var h have
		if !h.parse(line) {
			return errors.New("a line of it is damaged")
		}
		m.lines = append(m.lines, h)
	}
	m.first = block * manifestBlock
	if want := min(manifestBlock, m.n-m.first); len(m.lines) != want {
		return fmt.Errorf("%d lines where %d are expected", len(m.lines), want)
	}
	return nil
}

// pointsTo reports whether the group's pointer to its last installation names a deployment (I-8). It is what tells that no
// other agent worked in between where the manifest does not.
func pointsTo(root, group, deployment string) bool {
	return installedBy(root, group) == deployment
}

// installedBy is the deployment that the group's pointer names; "unknown" if there is none.
func installedBy(root, group string) string {
	data, err := os.ReadFile(filepath.Join(root, instructionsDir, group+"_last_successful_install"))
	if id := filepath.Base(strings.TrimSuffix(string(data), "\n")); err == nil && validID(id) {
		return id
	}
	return "unknown"
}

// matches reports whether a cleanup file is the one that the record was made of. Another agent writes a new one; its inode
// number may be the same.
func (r *record) matches(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil && st.Size == r.Size && st.Mtim.Nano() == r.MTime
}
