package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Retention says which deployments of a group are kept on disk. The last successful one, the most recent one and the one that is being
// carried out are kept whatever it says.
type Retention struct {
	Revisions int           // how many there may be, that in hand included (I-22); at least 1
	MaxAge    time.Duration // older ones go, by the time of their folder; 0: none is too old
	MinFree   int64         // bytes: the oldest go until so much is free where the deployment root lies; 0: space does not matter
}

// Prunable is a deployment on disk that goes, and why.
type Prunable struct {
	Group, Deployment string
	Path              string    // its folder
	At                time.Time // its age counts from here
	Bytes             int64     // what it takes on disk and nothing else has; 0 where that was not asked for
	Why               string    // the rule that it falls under
	Err               error     // why it could not be removed, if it could not
}

// pruning says how old deployments are removed.
type pruning struct {
	dry   bool   // they are not
	weigh bool   // it is told what each takes, for which all of it has to be looked at
	spare string // a deployment that stays too; "" for none
}

// prune removes what the retention of a group does not keep and returns all of that, what could not be removed with its error, which is no
// reason to fail a deployment (V-63). current is the deployment in hand, "" for none. With dry nothing is removed; then what MinFree
// asks for cannot be told, since only removing shows how much it brings.
func (r root) prune(group, current string, keep Retention, how pruning) ([]Prunable, error) {
	old, err := r.candidates(group, current, how.spare)
	if err != nil {
		return nil, err
	}
	extra := old.total - keep.Revisions
	if current != "" {
		extra++
	}
	var gone []Prunable
	take := func(p Prunable, format string, args ...any) {
		p.Why = fmt.Sprintf(format, args...)
		if how.weigh {
			p.Bytes = weight(p.Path)
		}
		if !how.dry {
			p.Err = r.removeDeployment(p)
		}
		gone = append(gone, p)
	}
	for i, p := range old.free {
		switch age := time.Since(p.At); {
		case i < extra:
			take(p, "max_revisions is %d", keep.Revisions)
		case keep.MaxAge > 0 && age > keep.MaxAge:
			take(p, "it is %s old and retention.max_age is %s", age.Round(time.Minute), keep.MaxAge)
		case keep.MinFree > 0 && !how.dry && r.free() < keep.MinFree:
			take(p, "retention.min_free is %d bytes and %d are free", keep.MinFree, r.free())
		}
	}
	return gone, nil
}

// aged are the deployments of a group: how many there are, and those that may go, the oldest first.
type aged struct {
	total int
	free  []Prunable
}

// Prune removes from disk what a retention does not keep of a group, or tells what it would remove if dry is set. It waits for a command of
// the group that is in hand.
func (e *Engine) Prune(ctx context.Context, group string, keep Retention, dry bool) ([]Prunable, error) {
	if err := confined("deployment group", group); err != nil {
		return nil, err
	}
	if e.opts.ReadOnly {
		return nil, errReadOnly
	}
	unlock, err := e.group(group).lock(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return e.root.prune(group, "", keep, pruning{dry: dry, weigh: true, spare: e.root.begun(group)})
}

// begun is the newest deployment of a group if it may be in hand: between two events nothing else says so before its DownloadBundle.
func (r root) begun(group string) (newest string) {
	entries, err := os.ReadDir(filepath.Join(r.path, group))
	if err != nil {
		return ""
	}
	last := time.Now().Add(-ticketLife)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().After(last) {
			newest, last = e.Name(), info.ModTime()
		}
	}
	return newest
}

// Groups returns the deployment groups of a deployment root that have deployments on disk, by name.
func Groups(dir string) ([]string, error) { return root{path: filepath.Clean(dir)}.groups() }

// candidates are the entries of a group's folder but the current one (I-22), without those that always stay (I-23) and the one to spare.
func (r root) candidates(group, current, spare string) (aged, error) {
	folder := filepath.Join(r.path, group)
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return aged{}, nil
	case err != nil:
		return aged{}, fmt.Errorf("list the deployments of the group: %w", err)
	}
	var protected []string
	for _, w := range []whose{lastSuccessful, mostRecent} {
		id, err := r.pointed(group, w)
		if err != nil {
			return aged{}, err
		}
		protected = append(protected, id)
	}
	var all aged
	for _, e := range entries {
		if e.Name() == current {
			continue
		}
		all.total++
		path := filepath.Join(folder, e.Name())
		info, err := e.Info()
		if err != nil || slices.Contains(protected, e.Name()) || e.Name() == spare {
			continue // gone meanwhile, or to stay
		}
		all.free = append(all.free, Prunable{Group: group, Deployment: e.Name(), Path: path, At: info.ModTime()})
	}
	sort.SliceStable(all.free, func(i, j int) bool { return all.free[i].At.Before(all.free[j].At) }) // a generic sort of large values is 7 KiB of program for each type
	return all, nil
}

func (r root) removeDeployment(p Prunable) error {
	if err := os.RemoveAll(p.Path); err != nil {
		return fmt.Errorf("remove an old deployment: %w", err)
	}
	os.Remove(r.originFile(p.Group, p.Deployment))
	r.forgetChanges(p.Group, p.Deployment)
	return nil
}

// weight is how many bytes a folder takes that nothing outside has too: a bundle may have another name in a later deployment. What cannot
// be looked at counts for nothing.
func weight(folder string) (bytes int64) {
	filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error { //nolint:errcheck // it returns none
		if err != nil {
			return nil //nolint:nilerr // what cannot be looked at counts for nothing
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it is gone meanwhile
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (e.IsDir() || st.Nlink == 1) {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes
}

// free is how many bytes are free where the deployment root lies. One that does not say has room.
func (r root) free() int64 {
	var st unix.Statfs_t
	if unix.Statfs(r.path, &st) != nil || st.Blocks == 0 {
		return 1<<63 - 1
	}
	return int64(st.Bavail) * st.Bsize
}
