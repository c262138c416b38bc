package install

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	journalSuffix  = ".journal"
	manifestSuffix = ".manifest"
)

// stateDir is where journals and manifests lie.
func stateDir(root string) string { return filepath.Join(root, ".slipway", "install") }

// Apply carries the plan out. If it returns an error the tree is as it was before, and nothing hidden is left; should even
// that have failed, the error says so and Recover tries again. The end of ctx before the installation is complete undoes it.
// Of a plan that Replaces, a *GoneError means that the previous revision is gone and the new one not there.
func (p *Plan) Apply(ctx context.Context) (*Manifest, error) {
	if p.req.held == nil {
		unlock, err := Lock(ctx, &p.req)
		if err != nil {
			return nil, err
		}
		defer unlock()
		if err := p.req.held.extend(p.uncovered(p.req.held)); err != nil {
			return nil, err
		}
	}
	if p.replaces {
		return p.replace(ctx)
	}
	return p.apply(ctx)
}

// apply is one transaction, under the lock.
func (p *Plan) apply(ctx context.Context) (*Manifest, error) {
	began := time.Now()
	if err := pending(p.req.Root, p.req.Group); err != nil {
		return nil, err
	}
	if p.basis != identifyList(p.instructions(cleanupSuffix)) {
		return nil, fmt.Errorf("begin the installation: deployment group %s has been installed since this was planned, nothing was changed: plan anew", p.req.Group)
	}
	if err := os.MkdirAll(filepath.Join(p.req.Root, instructionsDir), 0o755); err != nil {
		return nil, fmt.Errorf("begin the installation: %w", err)
	}
	a := &application{p: p, t: newTransaction(p.tx), log: p.req.Log.With(zap.String("group", p.req.Group), zap.String("deployment", p.req.Deployment))}
	a.t.probe = p.probe
	a.t.moves, a.t.keepIn, a.t.removes = p.moves, asideDir(p.req.Root, p.req.Group, p.previous), p.removes
	a.s = newStage(p, a.t)
	if err := a.begin(); err != nil {
		return nil, err
	}
	defer a.j.close()
	if err := a.install(ctx); err != nil {
		return nil, a.giveUp(err)
	}
	a.tidy(ctx)
	m := &Manifest{
		Group: p.req.Group, Deployment: p.req.Deployment, Transaction: a.t.tx, Counts: p.Counts(),
		Took: time.Since(began), Warnings: append(slices.Clone(p.warnings), a.warnings...), Aside: a.t.keptIn(),
	}
	a.log.Info("files installed", zap.Int("files", m.Counts.Files), zap.Int("removed", m.Counts.Removed), zap.Int64("bytes", m.Counts.Bytes), zap.Duration("took", m.Took))
	return m, nil
}

// txBytes is how long a transaction's name is, before it is written as hex.
const txBytes = 6

func newTX() string {
	var b [txBytes]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// application is a plan that is being applied.
type application struct {
	p         *Plan
	t         *transaction
	s         *stage
	j         *journal
	log       *zap.Logger
	committed bool
	rules     []string // SELinux rules that were added
	warnings  []string
	files     [2]uint64   // inodes of the staged plan and cleanup file
	list      unix.Stat_t // of the cleanup file
	numbers   [2]uint32   // and the numbers of their hidden names
	folder    int32       // of both, index into t.dirs
}

// instructionFiles are the official agent's files that belong to the transaction.
var instructionFiles = [2]string{installSuffix, cleanupSuffix}

// begin writes the journal's first part, down to the disk.
func (a *application) begin() error {
	folder := filepath.Join(a.p.req.Root, instructionsDir)
	real, err := filepath.EvalSymlinks(folder) // our own folder: the operator may have moved the deployment root by a link
	if err != nil {
		return fmt.Errorf("begin the installation: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return fmt.Errorf("begin the installation: %s: %w", real, err)
	}
	a.folder = int32(len(a.t.dirs))
	a.t.dirs = append(a.t.dirs, liveDir{path: real, ino: st.Ino})
	a.numbers = [2]uint32{a.s.number(), a.s.number()}
	name := filepath.Join(stateDir(a.p.req.Root), a.t.tx+journalSuffix)
	if a.j, err = createJournal(name, journalHeader{TX: a.t.tx, Group: a.p.req.Group, Deployment: a.p.req.Deployment, At: time.Now().UTC(), Aside: a.p.previous, Removes: a.p.removes}); err != nil {
		return err
	}
	if err := a.beginJournal(); err != nil {
		a.j.close()
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func (a *application) beginJournal() error {
	for i := range a.t.dirs {
		d := &a.t.dirs[i]
		d.fs = fileSystem(d.path)
		b := append(a.j.buf[:0], `{"op":"dir",`...)
		b = appendName(b, "path", d.path)
		b = strconv.AppendUint(append(b, `,"ino":`...), d.ino, 10)
		b = append(append(append(b, `,"fs":"`...), d.fs...), `"}`...)
		if err := a.j.line(b); err != nil {
			return fmt.Errorf("write the installation's journal: %w", err)
		}
	}
	if err := a.j.sync(); err != nil {
		return err
	}
	return syncOwn(stateDir(a.p.req.Root))
}

// install stages and commits.
func (a *application) install(ctx context.Context) error {
	if err := a.t.at("begun"); err != nil {
		return err
	}
	if err := a.stage(ctx); err != nil {
		return err
	}
	if err := a.t.at("staged"); err != nil {
		return err
	}
	if err := a.steps(); err != nil {
		return err
	}
	if err := a.writeSteps(); err != nil {
		return err
	}
	var err error
	if !a.p.req.Adopt {
		if a.rules, err = a.p.addRules(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.committed = true // from here on the journal may say so, even if its sync fails
	if err := a.j.seal(opCommit); err != nil {
		return err
	}
	if err := a.t.forward(ctx); err != nil {
		return err
	}
	if err := a.t.syncDirs(); err != nil {
		return err
	}
	if err := a.t.at("synced"); err != nil {
		return err
	}
	return a.j.seal(opDone)
}

// stage writes the new revision under hidden names, down to the disk.
func (a *application) stage(ctx context.Context) error {
	if a.p.req.Adopt {
		if err := a.instructions(); err != nil {
			return err
		}
		return a.t.syncDirs()
	}
	if err := a.s.run(ctx); err != nil {
		return err
	}
	if err := a.instructions(); err != nil {
		return err
	}
	return a.s.sync(ctx)
}

// instructions stages the official agent's files.
func (a *application) instructions() error {
	for i, suffix := range instructionFiles {
		if err := a.t.at("stage"); err != nil {
			return err
		}
		write := a.p.WriteInstructions
		if suffix == cleanupSuffix {
			write = a.p.writeCleanup
		}
		if err := writeNew(filepath.Join(a.t.dirs[a.folder].path, a.t.hidden(a.numbers[i])), write, &a.list); err != nil {
			return err
		}
		a.files[i] = a.list.Ino
	}
	return nil
}

// writeNew writes a file that any agent of the same user will accept (V-94).
func writeNew(name string, write func(io.Writer) error, st *unix.Stat_t) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write the plan and cleanup files: %w", err)
	}
	defer f.Close()
	for _, do := range []func() error{
		func() error { return write(f) },
		func() error { return f.Chmod(0o644) },
		f.Sync,
		func() error { return unix.Fstat(int(f.Fd()), st) },
	} {
		if err := do(); err != nil {
			return spaceErr(err)
		}
	}
	return nil
}

// steps builds what the commit does: first what has to be out of the way of a file that takes a directory's place, then
// directories and files, then what only goes.
func (a *application) steps() error {
	p, s := a.p, a.s
	if p.req.Adopt {
		a.listed()
		return nil
	}
	n := len(p.removals) + len(s.roots) + len(instructionFiles)
	for i := range p.files {
		if p.files[i].act != actSame && p.dirs[p.files[i].dir].live() {
			n++
		}
	}
	a.t.steps = slices.Grow(a.t.steps, n)
	a.hides(true)
	if err := s.resets(); err != nil {
		return err
	}
	for _, i := range p.order {
		if i < 0 {
			if n, ok := s.roots[dirID(^i)]; ok {
				d := &p.dirs[^i]
				st := step{kind: stepAdd, dir: s.live[d.parent], name: d.name, n: n, ino: s.inos[dirID(^i)], keep: p.keeps(d.parent, d.name)}
				if d.occupied {
					st.kind, st.was = stepSwap, p.asIs(d.was)
				}
				a.t.steps = append(a.t.steps, st)
			}
			continue
		}
		f := &p.files[i]
		if f.act == actSame || !p.dirs[f.dir].live() {
			continue
		}
		st := step{kind: stepAdd, dir: s.live[f.dir], name: f.name, n: uint32(i), ino: f.ino, was: p.asIs(f.was), over: f.overDir, keep: p.keeps(f.dir, f.name)}
		if f.act == actReplace {
			st.kind = stepSwap
		}
		a.t.steps = append(a.t.steps, st)
	}
	a.hides(false)
	a.listed()
	for i := range p.removals {
		if r := &p.removals[i]; r.sub && !p.dirs[r.dir].sunk {
			a.t.rmdirs = append(a.t.rmdirs, rmdir{r.name, r.ino, s.live[r.dir]})
		}
	}
	if p.labelled() {
		a.t.labels = a.staleLabels()
	}
	return nil
}

// listed adds the steps for the plan and the cleanup file.
func (a *application) listed() {
	for i, suffix := range instructionFiles {
		a.t.steps = append(a.t.steps, step{kind: stepSwap, dir: a.folder, name: a.p.req.Group + suffix, n: a.numbers[i], ino: a.files[i]})
	}
}

// hides adds the steps for what only goes: that in directories which a file takes the place of, or the rest.
func (a *application) hides(sunk bool) {
	for i := range a.p.removals {
		r := &a.p.removals[i]
		if r.sub || a.p.dirs[r.dir].sunk != sunk {
			continue
		}
		a.t.steps = append(a.t.steps, step{
			kind: stepHide, dir: a.s.live[r.dir], name: r.name, n: a.s.number(), ino: r.ino, was: a.p.asIs(r.was), over: sunk, keep: a.p.keeps(r.dir, r.name),
		})
	}
}

// staleLabels are the previous revision's SELinux rules that the new one does not have.
func (a *application) staleLabels() []string {
	p := a.p
	keep := map[string]bool{}
	for n := range p.perms {
		for _, i := range p.permsOf[n] {
			if p.perms[n].context != nil {
				keep[p.realPath(i)] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(p.labels), func(path string) bool { return keep[path] })
}

// giveUp undoes the installation. The context plays no part in it any more.
func (a *application) giveUp(cause error) error {
	err := a.undo()
	if err != nil {
		a.log.Error("installation not undone", zap.Error(a.t.noted(err)))
		return fmt.Errorf("%w\nundoing the installation failed too, and is tried again when the agent starts: %w", cause, err)
	}
	a.log.Info("installation undone", zap.Error(cause))
	if len(a.t.notes) > 0 {
		cause = fmt.Errorf("%w\n%s", cause, strings.Join(a.t.notes, "\n"))
	}
	return cause
}

func (a *application) undo() error {
	if err := a.t.at("undo"); err != nil {
		return err
	}
	if a.committed {
		if err := a.j.seal(opUndo); err != nil {
			// A full disk must not stop the undoing. Without the line a crash in the middle of it would roll forward, which
			// leaves the new tree whole.
			a.log.Warn("undo not journalled", zap.Error(err))
		}
		if err := a.t.backward(); err != nil {
			return err
		}
	}
	removeRules(context.Background(), a.rules, a.log)
	return finishUndone(a.t, a.j.name)
}

// tidy removes the old objects. The installation is complete; what goes wrong here is told and no failure.
func (a *application) tidy(ctx context.Context) {
	left, err := finishDone(context.WithoutCancel(ctx), a.t, a.j.name, a.p.req.Root, a.p.req.Group, a.log)
	if err != nil {
		left = append(left, err)
	}
	for _, path := range a.t.lately() {
		a.warnings = append(a.warnings, fmt.Sprintf("%s was changed while the installation went on: kept in %s", path, a.t.keepIn))
	}
	for _, err := range left {
		a.warnings = append(a.warnings, err.Error())
		a.log.Warn("installation complete, but not tidied up", zap.Error(err))
	}
}
