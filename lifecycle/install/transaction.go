package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stepKind says what a step does to a name.
type stepKind uint8

const (
	stepAdd   stepKind = iota + 1 // the staged object gets its name
	stepSwap                      // the staged object and what has its name change places
	stepHide                      // what has the name gets a hidden one
	stepReset                     // a directory gets a new mode, owner and lists
)

var stepNames = [...]string{stepAdd: "add", stepSwap: "swap", stepHide: "hide", stepReset: "reset"}

// step is one change of the visible tree. Each can be done again and be undone, whatever state a crash has left it in.
type step struct {
	name string
	ino  uint64 // of the staged object; for hide, of what goes
	was  int64  // the time of the old object when the installation was planned, in nanoseconds since the epoch; 0: it goes as it is
	n    uint32 // of the hidden name; for reset, index into resets
	dir  int32  // index into dirs
	kind stepKind
	over bool // for swap: a directory may stand where the file is to be; for hide: it is in such a directory
	keep bool // somebody has changed the old object by hand: it is kept aside in the end
	late bool // and that was after the installation was planned
}

// liveDir is a directory in which names are changed.
type liveDir struct {
	path string
	ino  uint64
	fs   string // which file system it is on; empty: not known
}

// rmdir is a directory that goes in the end.
type rmdir struct {
	name string
	ino  uint64
	dir  int32
}

// reset is a directory's attributes before and after.
type reset struct{ old, new status }

// transaction is what a commit does: made from a plan after staging, or read from a journal.
type transaction struct {
	tx     string
	dirs   []liveDir
	steps  []step
	resets []reset
	rmdirs []rmdir
	labels []string
	keepIn string // the folder for what is kept aside
	kept   int    // how much is
	// removes: the group has nothing installed afterwards, and its manifest goes.
	removes bool
	// resumed: a crash may have come after any step.
	resumed bool
	notes   []string // what undoing has met and a person should know

	moves moves
	probe func(point string) error // called at every point at which a crash makes a difference
}

func newTransaction(tx string) *transaction { return &transaction{tx: tx} }

func (t *transaction) open(i dirID) (int, error) { return openLive(t.dirs[i].path, t.dirs[i].ino) }

const hiddenPrefix = ".slipway-"

// hidden is the n-th hidden name of the transaction: no suffix of the original, so that nothing serves or includes it.
func (t *transaction) hidden(n uint32) string {
	return t.hiddenPrefix() + strconv.FormatUint(uint64(n), 10)
}

// hiddenPrefix begins all hidden names of the transaction.
func (t *transaction) hiddenPrefix() string { return hiddenPrefix + t.tx + "-" }

func (t *transaction) aside(n uint32) string { return t.hidden(n) + "o" }

func (t *transaction) at(point string) error {
	if t.probe == nil {
		return nil
	}
	return t.probe(point)
}

// take enters a journal record; false if it is none that belongs there.
func (t *transaction) take(r *record) bool {
	if r.Op == opDir {
		t.dirs = append(t.dirs, liveDir{r.path(), r.Ino, r.FS})
		return strings.HasPrefix(r.path(), "/")
	}
	if r.Op == opList {
		return true
	}
	if r.Op == opUnlabel {
		t.labels = append(t.labels, r.path())
		return true
	}
	if r.Dir < 0 || int(r.Dir) >= len(t.dirs) {
		return false
	}
	name := r.name()
	if r.Op == stepNames[stepReset] {
		if r.Old == nil || r.New == nil {
			return false
		}
		t.resets = append(t.resets, reset{*r.Old, *r.New})
		t.steps = append(t.steps, step{kind: stepReset, dir: r.Dir, n: uint32(len(t.resets) - 1)})
		return true
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return false
	}
	switch r.Op {
	case opRmdir:
		t.rmdirs = append(t.rmdirs, rmdir{name, r.Ino, r.Dir})
		return true
	case stepNames[stepAdd], stepNames[stepSwap], stepNames[stepHide]:
		s := step{name: name, ino: r.Ino, was: r.Was, n: r.N, dir: r.Dir, over: r.Over, keep: r.Keep}
		for kind, text := range stepNames {
			if text == r.Op {
				s.kind = stepKind(kind)
			}
		}
		t.steps = append(t.steps, s)
		return true
	}
	return false
}

// forward makes the new tree the visible one. It may be called again after a crash at any point of it.
func (t *transaction) forward(ctx context.Context) error {
	// What goes out of a directory has to be gone before a file takes that directory's place. All else is in no order.
	first := 0
	for first < len(t.steps) && t.steps[first].kind == stepHide && t.steps[first].over {
		first++
	}
	if err := t.doAll(ctx, t.steps[:first]); err != nil {
		return err
	}
	if err := t.doAll(ctx, t.steps[first:]); err != nil {
		return err
	}
	return t.at("steps done")
}

func (t *transaction) doAll(ctx context.Context, steps []step) error {
	return parallel(ctx, len(steps), chunk, t.probe != nil, func(ctx context.Context, next func() (int, int, bool)) error {
		fds := fdCache{open: t.open}
		defer fds.close()
		for from, to, ok := next(); ok; from, to, ok = next() {
			for i := from; i < to; i++ {
				if err := t.at("step"); err != nil {
					return err
				}
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				if err := t.do(&fds, &steps[i]); err != nil {
					return t.explain(&steps[i], err)
				}
			}
		}
		return nil
	})
}

func (t *transaction) explain(s *step, err error) error {
	path := join(t.dirs[s.dir].path, s.name)
	what := map[stepKind]string{stepAdd: "put %s in place", stepSwap: "replace %s", stepHide: "remove %s", stepReset: "reset directory %s"}[s.kind]
	switch {
	case errors.Is(err, unix.EEXIST):
		err = fmt.Errorf("something was put there since the installation was planned: %w", err)
	case errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w (is it or its directory immutable? see lsattr)", err)
	}
	return fmt.Errorf(what+": %w", path, err)
}

// errDirectory means that a directory has appeared where a file was.
var errDirectory = errors.New("it has become a directory since the installation was planned")

func (t *transaction) do(fds *fdCache, s *step) error {
	fd, err := fds.get(dirID(s.dir))
	switch {
	case err == nil:
	case s.kind == stepHide && (errors.Is(err, fs.ErrNotExist) || s.over && vanished(err)):
		return nil // it went with its directory, before the crash if a file has taken the place of that
	default:
		return err
	}
	if t.resumed && t.isDone(fd, s) {
		return nil
	}
	hidden := t.hidden(s.n)
	var st unix.Stat_t
	switch s.kind {
	case stepReset:
		return t.resets[s.n].new.apply(fd)
	case stepAdd:
		return t.add(fd, hidden, s)
	case stepSwap:
		switch err := lstatAt(fd, s.name, &st); {
		case errors.Is(err, unix.ENOENT):
			return t.add(fd, hidden, s)
		case err != nil:
			return err
		case st.Ino == s.ino:
			return nil // done before the crash
		case st.Mode&unix.S_IFMT == unix.S_IFDIR && !s.over:
			return errDirectory
		}
		s.notice(&st)
		return t.moves.swap(fd, hidden, s.name, t.aside(s.n))
	}
	switch err := lstatAt(fd, s.name, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil // gone already, which is what is wanted (I-41)
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil // not what the previous revision has put there: it stays
	}
	s.notice(&st)
	err = t.moves.add(fd, s.name, hidden)
	if errors.Is(err, unix.EEXIST) && t.is(fd, hidden, st.Ino) {
		return unix.Unlinkat(fd, s.name, 0)
	}
	return err
}

// add gives the staged object its name. After a crash it may have it, or both names.
func (t *transaction) add(fd int, hidden string, s *step) error {
	switch err := t.moves.add(fd, hidden, s.name); {
	case errors.Is(err, unix.ENOENT) && t.is(fd, s.name, s.ino):
		return nil
	case errors.Is(err, unix.EEXIST) && t.is(fd, s.name, s.ino):
		return unix.Unlinkat(fd, hidden, 0)
	default:
		return err
	}
}

// is reports whether a name is that of the object with the given inode number.
func (t *transaction) is(fd int, name string, ino uint64) bool {
	var st unix.Stat_t
	return lstatAt(fd, name, &st) == nil && st.Ino == ino
}

// backward makes the old tree the visible one again, from any point of forward. It goes on after an error and returns all.
func (t *transaction) backward() error {
	fds := fdCache{open: t.open}
	defer fds.close()
	var all error
	for i := len(t.steps) - 1; i >= 0; i-- {
		s := &t.steps[i]
		err := t.at("undo step")
		if err == nil {
			err = t.undo(&fds, s)
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("undo: %w", t.explain(s, err)))
		}
	}
	return all
}

func (t *transaction) undo(fds *fdCache, s *step) error {
	fd, err := fds.get(dirID(s.dir))
	switch {
	case err != nil && t.gone(s.dir, err):
		t.note("the directory %s is no longer there: nothing is left in it to undo", t.dirs[s.dir].path)
		return nil
	case err != nil:
		return err
	}
	hidden := t.hidden(s.n)
	switch s.kind {
	case stepReset:
		return t.resets[s.n].old.apply(fd)
	case stepAdd:
		return t.undoAdd(fd, hidden, s)
	case stepSwap:
		return t.undoSwap(fd, hidden, s)
	}
	var st unix.Stat_t
	switch err := lstatAt(fd, hidden, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil // it never went
	case err != nil:
		return err
	}
	err = t.moves.add(fd, hidden, s.name)
	switch {
	case !errors.Is(err, unix.EEXIST):
		return err
	case t.is(fd, s.name, st.Ino):
		return unix.Unlinkat(fd, hidden, 0)
	}
	if err := t.giveWay(fd, s); err != nil {
		return err
	}
	return t.moves.add(fd, hidden, s.name)
}

func (t *transaction) undoAdd(fd int, hidden string, s *step) error {
	if !t.is(fd, s.name, s.ino) {
		return nil
	}
	err := t.moves.add(fd, s.name, hidden)
	if errors.Is(err, unix.EEXIST) && t.is(fd, hidden, s.ino) {
		return unix.Unlinkat(fd, s.name, 0)
	}
	return err
}

// undoSwap looks where the old object is: under the hidden name if that is not the staged object's, or aside.
func (t *transaction) undoSwap(fd int, hidden string, s *step) error {
	aside := t.aside(s.n)
	var h, a, st unix.Stat_t
	hErr, aErr := lstatAt(fd, hidden, &h), lstatAt(fd, aside, &a)
	switch {
	case aErr == nil && hErr == nil: // not exchanged yet
		if is(lstatAt(fd, s.name, &st), unix.ENOENT) {
			return t.moves.add(fd, aside, s.name)
		}
		return unix.Unlinkat(fd, aside, 0)
	case aErr == nil:
		if err := t.giveWay(fd, s); err != nil {
			return err
		}
		if err := unix.Renameat(fd, s.name, fd, hidden); err != nil && !is(err, unix.ENOENT) {
			return err
		}
		return t.moves.add(fd, aside, s.name)
	case is(hErr, unix.ENOENT): // there was nothing to exchange it with
		return t.undoAdd(fd, hidden, s)
	case hErr != nil:
		return hErr
	case h.Ino == s.ino:
		return nil // not exchanged yet
	}
	if err := t.giveWay(fd, s); err != nil {
		return err
	}
	if is(lstatAt(fd, s.name, &st), unix.ENOENT) {
		return t.moves.add(fd, hidden, s.name)
	}
	return t.moves.swap(fd, hidden, s.name, aside)
}
