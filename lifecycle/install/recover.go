package install

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Outcome is what became of an installation that a crash had cut short.
type Outcome string

// The outcomes.
const (
	RolledBack Outcome = "rolled back" // the tree is as it was before the installation
	Completed  Outcome = "completed"   // the tree is the new revision
	Removed    Outcome = "removed"     // the previous revision was removed to make room, and the new one has to be installed anew
)

// Recovered is an installation that was finished or undone after a crash.
type Recovered struct {
	Group, Deployment string
	Outcome           Outcome
	Aside             string // completed: the folder in which files are kept that were changed on this host; empty if none
	Err               error  // rolled back: why it could not be finished, if it was committed; completed: what could not be tidied up
}

// Recover finishes or undoes every installation under the deployment root that a crash or a loss of power has cut short.
// Call it once before the first Make. One that can neither be finished nor undone is in the error, and blocks its group
// until a later call succeeds; the others are dealt with all the same. Calling it again does no harm. Installations that are
// under way, in this process or another one, are left alone; those to the same places are waited for.
func Recover(ctx context.Context, root string) ([]Recovered, error) {
	if !isDir(stateDir(root)) {
		return nil, nil
	}
	entries, err := os.ReadDir(stateDir(root))
	if err != nil {
		return nil, fmt.Errorf("look for unfinished installations: %w", err)
	}
	var all []Recovered
	var errs error
	for _, e := range entries {
		name := filepath.Join(stateDir(root), e.Name())
		if strings.HasSuffix(name, journalSuffix+unborn) {
			dropUnborn(name)
		}
		if !journalFile(e.Name()) {
			continue
		}
		r, err := recoverOne(ctx, root, name, nil)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("recover the installation of %s: %w", name, err))
			continue
		}
		if r != nil {
			all = append(all, *r)
		}
	}
	return all, errs
}

// recoverOne deals with one journal; nil if it was of no consequence. setUp, if any, is called with the transaction first.
func recoverOne(ctx context.Context, root, name string, setUp func(*transaction)) (*Recovered, error) {
	f, err := lockJournal(name)
	if err != nil || f == nil {
		return nil, err
	}
	defer f.Close()
	h, t, state, err := readJournal(f)
	if errors.Is(err, errTorn) {
		return nil, os.Remove(name)
	}
	if err != nil {
		return nil, err
	}
	t.removes = h.Removes
	l := newLocks(root, h.Group, h.Deployment, nil)
	if err := l.take(ctx, t.places(root, h.Group)); err != nil {
		return nil, err
	}
	defer l.release()
	if setUp != nil {
		setUp(t)
	}
	if validID(h.Aside) {
		t.keepIn = asideDir(root, h.Group, h.Aside)
	}
	t.resumed = true
	if err := t.mounted(); err != nil {
		return nil, err
	}
	r := &Recovered{Group: h.Group, Deployment: h.Deployment, Outcome: RolledBack}
	if state == stateStaging {
		return r, finishUndone(t, name)
	}
	j, err := appendJournal(name)
	if err != nil {
		return nil, err
	}
	defer j.close()
	if state == stateCommitted {
		if r.Err = t.forward(ctx); r.Err == nil {
			r.Err = t.syncDirs()
		}
		switch {
		case r.Err == nil:
			if err := j.seal(opDone); err != nil {
				return nil, err
			}
			state = stateDone
		case ctx.Err() != nil: // that says nothing about the installation: the next call goes on with it
			return nil, r.Err
		default:
			if err := j.seal(opUndo); err != nil {
				return nil, errors.Join(r.Err, err)
			}
		}
	}
	if state == stateDone {
		r.Outcome = Completed
		if t.removes {
			r.Outcome = Removed
		}
		left, err := finishDone(ctx, t, name, root, h.Group, zap.NewNop())
		r.Err, r.Aside = errors.Join(left...), t.keptIn()
		return r, err
	}
	if err := t.backward(); err != nil {
		return nil, t.noted(errors.Join(r.Err, err))
	}
	r.Err = t.noted(r.Err)
	return r, finishUndone(t, name)
}

// lockJournal opens a journal whose owner is dead; nil if he is alive, or has finished it meanwhile. It is locked until it is
// closed.
func lockJournal(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		if is(err, unix.EWOULDBLOCK) {
			err = nil
		}
		return nil, err
	}
	if !isStill(f, name) {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// dropUnborn removes a journal that a crash has come before.
func dropUnborn(name string) {
	if f, err := lockJournal(name); err == nil && f != nil {
		_ = os.Remove(name)
		f.Close()
	}
}

// finishUndone removes what was staged, and then the journal.
func finishUndone(t *transaction, name string) error {
	if errs := t.sweep(false, nil); len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := t.syncDirs(); err != nil {
		return err
	}
	if err := t.at("undone"); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("remove the journal of an installation that was undone: %w", err)
	}
	return syncOwn(filepath.Dir(name))
}

// finishDone keeps aside what somebody had changed, removes what the new revision has taken the place of, and keeps the journal as the group's manifest. What cannot
// be removed stays under its hidden name and is in left; it is not tried again, since nothing would be different then.
func finishDone(ctx context.Context, t *transaction, name, root, group string, log *zap.Logger) (left []error, err error) {
	stays, left := t.keepAside()
	left = append(append(left, t.sweep(true, stays)...), t.removeDirs()...)
	newest := ""
	if isDir(t.keepIn) {
		newest = filepath.Base(t.keepIn)
	}
	if err := pruneAside(t.at, root, group, newest); err != nil {
		left = append(left, err)
	}
	removeRules(ctx, t.labels, log)
	if err := t.at("tidied"); err != nil {
		return left, err
	}
	if err := t.syncDirs(); err != nil {
		left = append(left, err)
	}
	manifest := filepath.Join(stateDir(root), group+manifestSuffix)
	if t.removes {
		return left, dropJournal(name, manifest)
	}
	if err := os.Rename(name, manifest); err != nil {
		return left, fmt.Errorf("keep the journal as the group's manifest: %w", err)
	}
	return left, syncOwn(filepath.Dir(manifest))
}

// dropJournal ends a removal: the group has no manifest any more, and then no journal.
func dropJournal(name, manifest string) error {
	for _, path := range []string{manifest, name} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("end the removal of the previous revision: %w", err)
		}
		if err := syncOwn(filepath.Dir(path)); err != nil {
			return fmt.Errorf("end the removal of the previous revision: %w", err)
		}
	}
	return nil
}

// Committed says which deployment's installation was the last of the group to be completed, if there was one. It is of use
// after a crash that came between an installation's end and the caller's record of it; call Recover first.
func Committed(root, group string) (deployment string, ok bool) {
	h, err := readHeader(filepath.Join(stateDir(root), group+manifestSuffix))
	if err != nil || h.Group != group {
		return "", false
	}
	return h.Deployment, true
}

func readHeader(name string) (journalHeader, error) {
	var h journalHeader
	f, err := os.Open(name)
	if err != nil {
		return h, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(line, &h)
}

// journals yields the journals under a deployment root with their headers, those without a whole header left out.
func journals(root string) iter.Seq2[string, journalHeader] {
	return func(yield func(string, journalHeader) bool) {
		entries, err := os.ReadDir(stateDir(root))
		if err != nil {
			return
		}
		for _, e := range entries {
			if !journalFile(e.Name()) {
				continue
			}
			name := filepath.Join(stateDir(root), e.Name())
			if h, err := readHeader(name); err == nil && !yield(name, h) {
				return
			}
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// pending is an error if an installation of the group was begun and neither finished nor undone.
func pending(root, group string) error {
	for name, h := range journals(root) {
		if h.Group == group {
			return fmt.Errorf("an earlier installation (deployment %s) is neither finished nor undone: if none is going on, restart the agent, which sees to it; its journal is %s", h.Deployment, name)
		}
	}
	return nil
}

// Unsettled gives the journals of the installations under a deployment root that are neither finished nor undone: they are under way, or were cut
// short and could not be settled yet.
func Unsettled(root string) (names []string) {
	for name := range journals(root) {
		names = append(names, name)
	}
	return names
}

// journalFile reports whether a name is that of a journal.
func journalFile(name string) bool { return strings.HasSuffix(name, journalSuffix) }
