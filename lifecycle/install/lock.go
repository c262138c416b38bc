package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the deployment root's installation lock: a daemon and a local deployment may share the root. Nobody else can
// have it for long, so it is waited for.
func lock(ctx context.Context, root string) (unlock func(), err error) {
	dir := stateDir(root)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the installation's journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the deployment root: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !is(err, unix.EWOULDBLOCK, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock the deployment root: %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another installation under %s to end: %w", root, context.Cause(ctx))
		case <-tick.C:
		}
	}
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

// journalFile reports whether a name is that of a journal.
func journalFile(name string) bool { return strings.HasSuffix(name, journalSuffix) }
