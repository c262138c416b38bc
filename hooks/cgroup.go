package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Cgroup2 is a Container that gives each run a cgroup below Dir, with a leaf for the shim and one for the script, of which only
// the second is ever killed. Dir is on a cgroup v2 file system, delegated to this process and not inside the cgroup of the
// agent's own unit, which the service manager ends with the agent.
type Cgroup2 struct {
	Dir string

	mu sync.Mutex // keeps sweeping apart from making
}

var _ Container = (*Cgroup2)(nil)

// cgroupPrefix marks the cgroups that are ours to sweep.
const cgroupPrefix = "slipway-run-"

// Enter makes the cgroups of a run and moves the shim into its own. It also removes those of earlier runs that are empty by
// now.
func (c *Cgroup2) Enter(_ context.Context, e Entrant) (Place, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	run := filepath.Join(c.Dir, cgroupPrefix+strings.ReplaceAll(e.Name, "/", "_")+"."+strconv.Itoa(e.Shim))
	p := Place{Kind: PlaceCgroup2, Hook: filepath.Join(run, "hook"), Shim: filepath.Join(run, "shim")}
	var st unix.Statfs_t
	if err := unix.Statfs(c.Dir, &st); err != nil {
		return Place{}, fmt.Errorf("make cgroup for run: %s: %w", c.Dir, err)
	} else if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return Place{}, fmt.Errorf("make cgroup for run: %s is not on a cgroup v2 file system", c.Dir)
	}
	for _, dir := range []string{run, p.Hook, p.Shim} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return Place{}, errors.Join(fmt.Errorf("make cgroup for run: %w", err), removeCgroup(run))
		}
	}
	if err := os.WriteFile(filepath.Join(p.Shim, "cgroup.procs"), []byte(strconv.Itoa(e.Shim)), 0); err != nil {
		return Place{}, errors.Join(fmt.Errorf("move shim into its cgroup: %w", err), removeCgroup(run))
	}
	if e.Limits != (Limits{}) {
		// Controllers come down from the root, one level at a time. Those that do not are told of below.
		for _, controller := range []string{"memory", "cpu", "pids"} {
			_ = setFile(filepath.Dir(c.Dir), "cgroup.subtree_control", "+"+controller)
			_ = setFile(c.Dir, "cgroup.subtree_control", "+"+controller)
		}
		limitIn2(&p, e.Limits)
	}
	return p, nil
}

// Leave removes the cgroups of a run whose shim has ended. Those in which something still runs stay for a later sweep.
func (c *Cgroup2) Leave(p Place) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return removeRun(filepath.Dir(p.Hook))
}

func (c *Cgroup2) sweep() {
	entries, _ := os.ReadDir(c.Dir)
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), cgroupPrefix) && !alive(e.Name()) {
			_ = removeRun(filepath.Join(c.Dir, e.Name())) // a busy one stays
		}
	}
}

// alive reports whether the shim of a cgroup still runs: one that another program is just making may not be removed.
func alive(name string) bool {
	pid, err := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:])
	if err != nil {
		return false
	}
	p, err := readProc(pid)
	return err == nil && !p.dead()
}

// removeRun removes the cgroups of a run: that of the shim first, for as long as that is there the script's may be needed,
// empty or not.
func removeRun(run string) error {
	if err := removeCgroup(filepath.Join(run, "shim")); err != nil {
		return err
	}
	return removeCgroup(run)
}

// removeCgroup removes a cgroup and those below it as far as they are empty.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeCgroup(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, unix.Rmdir(dir))
}
