package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

// maker builds a plan.
type maker struct {
	req       Request
	plan      *Plan
	tree      *tree
	archive   *os.Root
	conflicts []Conflict
	gone      []gone    // what the cleanup removes
	known     *manifest // of the previous installation; nil: nothing is known
	suspects  []suspect
	shared    map[key]bool        // of gone, what another group has installed as well
	frees     map[uint64]occupied // by file system: what the cleanup frees
	fds       fdCache
	sources   map[string]int32
	within    []identity // the source directories that are being walked, from the outside in
	equal     []string   // targets that are kept since they are equal, unless another group owns them (I-36)
	buffers   [2][]byte
	accounts  accounts
}

// identity tells directories apart.
type identity struct{ dev, ino uint64 }

func newMaker(r Request, b Behavior) *maker {
	m := &maker{req: r, plan: &Plan{req: r, behavior: b, tx: newTX(), links: map[int32]string{}}, sources: map[string]int32{}, frees: map[uint64]occupied{}}
	m.fds.open = func(id dirID) (int, error) { return openLive(m.tree.dirs[id].path, m.tree.dirs[id].ino) }
	return m
}

// open returns a descriptor of a directory that exists.
func (m *maker) open(id dirID) (int, error) {
	fd, err := m.fds.get(id)
	if err != nil {
		return -1, fmt.Errorf("plan installation: %w", err)
	}
	return fd, nil
}

func (m *maker) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.plan.warnings = append(m.plan.warnings, text)
	m.req.Log.Warn("installation plan", zap.String("warning", text))
}

func (m *maker) conflict(path, why string) {
	m.conflicts = append(m.conflicts, Conflict{Path: path, Why: why})
}

// refuse turns what stands in the way of the plan into a conflict and gives any other error back.
func (m *maker) refuse(err error) error {
	b, ok := errors.AsType[*blocked](err)
	switch {
	case ok && m.req.Adopt:
		m.leaveOut(b.path, b.why)
		return nil
	case ok:
		m.conflict(b.path, b.why)
		return nil
	}
	return err
}

func (m *maker) run(ctx context.Context) (*Plan, error) {
	defer m.fds.close()
	var err error
	if m.archive, err = os.OpenRoot(m.req.Archive); err != nil {
		return nil, fmt.Errorf("plan installation: the unpacked bundle is missing, deploy anew: %w", err)
	}
	defer m.archive.Close()
	if m.tree, err = newTree(); err != nil {
		return nil, err
	}
	if err := pending(m.req.Root, m.req.Group); err != nil {
		return nil, err
	}
	text, err := readCleanup(m.plan.instructions(cleanupSuffix))
	if err != nil {
		return nil, err
	}
	defer func() { m.known.close() }()
	m.plan.basis = identifyList(m.plan.instructions(cleanupSuffix))
	if err := m.previous(ctx, text); err != nil {
		return nil, err
	}
	for i := range m.req.Spec.Files {
		if err := m.entry(ctx, &m.req.Spec.Files[i]); err != nil {
			return nil, err
		}
	}
	m.plan.dirs = m.tree.dirs
	if err := m.permissions(ctx); err != nil {
		return nil, err
	}
	if err := m.claims(); err != nil {
		return nil, err
	}
	if err := m.ownership(); err != nil {
		return nil, err
	}
	if len(m.conflicts) > 0 {
		return nil, newConflictError(m.conflicts)
	}
	if m.req.Adopt {
		if err := m.adopted(ctx); err != nil {
			return nil, err
		}
	} else if err := m.unchanged(ctx); err != nil {
		return nil, err
	}
	if err := m.space(); err != nil {
		return nil, err
	}
	m.modified()
	m.removals()
	return m.plan, nil
}

// previous looks at what the group has installed before, from its cleanup file.
func (m *maker) previous(ctx context.Context, text string) error {
	if m.req.Adopt {
		if lines, _ := parseCleanup(text); len(lines) > 0 {
			return fmt.Errorf("plan adoption: deployment group %s has a list of its files already, %s, with %d lines: slipway forget %[1]s lets it forget them first", m.req.Group, m.plan.instructions(cleanupSuffix), len(lines))
		}
		return nil
	}
	if err := m.simulateCleanup(text); err != nil {
		return err
	}
	return m.clear(ctx)
}

// place names an entry of the appspec for a message.
func (m *maker) place(p appspec.Pos) string {
	name := m.req.Spec.Name
	if name == "" {
		name = "appspec"
	}
	if p.Line == 0 {
		return name
	}
	return fmt.Sprintf("%s:%d:%d", name, p.Line, p.Col)
}

// entry plans one entry of the files section (I-24, I-25).
func (m *maker) entry(ctx context.Context, f *appspec.File) error {
	at := m.place(f.Pos)
	if f.Defect != nil {
		m.conflict(at, f.Defect.Error())
		return nil
	}
	source, ok := cleanSource(f.Source)
	if !ok {
		m.conflict(at, fmt.Sprintf("source %q leads out of the bundle: name a path inside it", f.Source))
		return nil
	}
	target, err := cleanDestination(f.Destination)
	if err != nil {
		m.conflict(at, err.Error())
		return nil
	}
	if rel, err := filepath.Rel(m.req.Archive, target); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		m.conflict(at, fmt.Sprintf("destination %q lies in the unpacked bundle itself: choose another one", f.Destination))
		return nil
	}
	info, err := m.archive.Stat(source)
	switch {
	case err == nil && info.IsDir():
		dir, err := m.directory(target)
		if err != nil {
			return m.refuse(err)
		}
		return m.copyDir(ctx, source, dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !escapes(err):
		return fmt.Errorf("plan installation: read the bundle: %w", err)
	}
	// A link that leads nowhere or out of the bundle is installed as it is.
	if _, err = m.archive.Lstat(source); err != nil {
		if errors.Is(err, fs.ErrNotExist) || escapes(err) {
			m.conflict(at, fmt.Sprintf("source %q is not in the bundle: add it, or mend the files section", f.Source))
			return nil
		}
		return fmt.Errorf("plan installation: read the bundle: %w", err)
	}
	dir, err := m.directory(target)
	if err != nil {
		return m.refuse(err)
	}
	folder, name := path.Split(source)
	src, fd, err := m.openSource(path.Clean(folder))
	if err != nil {
		return err
	}
	defer fd.Close()
	var st unix.Stat_t
	if err := lstatAt(int(fd.Fd()), name, &st); err != nil {
		return fmt.Errorf("plan installation: read the bundle: %s: %w", source, err)
	}
	return m.copyFile(int(fd.Fd()), src, dir, name, &st)
}

// cleanSource makes a source relative to the archive (I-28, I-29); false if it climbs out of it.
func cleanSource(source string) (string, bool) {
	s := path.Clean(strings.TrimLeft(source, "/"))
	if strings.TrimLeft(source, "/") == "" {
		s = "."
	}
	return s, s != ".." && !strings.HasPrefix(s, "../") && !strings.ContainsRune(s, 0)
}

// cleanDestination makes a destination absolute (I-32).
func cleanDestination(d string) (string, error) {
	switch {
	case d == "":
		return "", errors.New("the destination is empty: name an absolute path")
	case strings.ContainsAny(d, "\x00\n"):
		return "", fmt.Errorf("destination %q holds a newline or NUL, which the cleanup file cannot hold: rename it", d)
	case strings.HasPrefix(d, "~"):
		who, rest, _ := strings.Cut(d[1:], "/")
		u, err := user.Current()
		if who != "" {
			u, err = user.Lookup(who)
		}
		if err != nil || u.HomeDir == "" {
			return "", fmt.Errorf("destination %q: the home directory is not known (%w): name an absolute path", d, err)
		}
		d = u.HomeDir + "/" + rest
	}
	abs, err := filepath.Abs(d)
	if err != nil {
		return "", fmt.Errorf("destination %q: the working directory is not known (%w): name an absolute path", d, err)
	}
	return abs, nil
}

// escapes reports that os.Root has refused a path because it leads out of the archive. Its error has no name.
func escapes(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && e.Err.Error() == "path escapes from parent"
}

// directory finds or plans a directory and what is missing above it (I-26).
func (m *maker) directory(shown string) (dirID, error) {
	if id, ok := m.tree.view[shown]; ok {
		return id, nil
	}
	id := rootDir
	at := ""
	for name := range strings.SplitSeq(strings.Trim(shown, "/"), "/") {
		if name == "" {
			continue
		}
		at += "/" + name
		var err error
		if id, err = m.subdirectory(id, name, at); err != nil {
			return 0, err
		}
	}
	m.tree.view[shown] = id
	return id, nil
}

// subdirectory finds a directory below another, or plans to make it (I-27, I-34, I-35).
func (m *maker) subdirectory(in dirID, name, shown string) (dirID, error) {
	t := m.tree
	k := key{in, name}
	if s := t.entries[k]; s.copy != 0 {
		return 0, &blocked{shown, fmt.Sprintf("is to be both a directory and a file: %s is installed there too", m.plan.source(s.copy-1))}
	}
	id, what, err := t.look(in, name, true, 0)
	if err != nil {
		return 0, err
	}
	switch what {
	case foundDir:
		t.show(id, shown)
		return id, nil
	case foundNothing:
		if tooLong(shown, t.dirs[in].path, name) {
			return 0, &blocked{shown, tooLongWhy}
		}
	case foundOther:
		return 0, &blocked{shown, "has to be a directory, but exists and is none: move it away, or change the destination"}
	}
	if m.req.Adopt {
		return 0, &blocked{shown, "is not there, nor is what the bundle has for it"}
	}
	if id == 0 {
		if kid, ok := t.kids[k]; ok {
			id = kid
		} else {
			id = t.enter(in, name)
		}
	}
	d := &t.dirs[id]
	d.planned = true
	t.show(id, shown)
	if s, ok := t.entries[k]; ok && s.goes {
		if d.occupied = !d.exists; d.occupied {
			var st unix.Stat_t
			if err := unix.Lstat(d.path, &st); err != nil {
				return 0, fmt.Errorf("plan installation: look at %s: %w", shown, err)
			}
			d.was = st.Mtim.Nano()
		}
		s.used = true
		t.entries[k] = s
	}
	m.plan.order = append(m.plan.order, ^int32(id))
	return id, nil
}
