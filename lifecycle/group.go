package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group is one deployment group: who works on its pointers, folders and files has it, one command at a time. The lock is a
// file's, so that a command of an operator and the daemon keep out of each other's way, and the kernel gives it back when
// either is killed.
type group struct {
	mu   sync.Mutex // one descriptor at a time
	name string     // of the lock file
}

func (e *Engine) group(id string) *group {
	g, _ := e.groups.LoadOrStore(id, &group{name: e.root.own("groups", id+".lock")})
	return g.(*group)
}

// groupPoll is how often a lock that another process has is tried again.
const groupPoll = 50 * time.Millisecond

// lock waits for the group, at most until ctx ends. waiting, if not nil, is called once where another process has it.
func (g *group) lock(ctx context.Context, waiting func()) (unlock func(), err error) {
	g.mu.Lock()
	defer func() {
		if err != nil {
			g.mu.Unlock()
		}
	}()
	f, err := os.OpenFile(g.name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the deployment group: %w", err)
	}
	told := waiting == nil
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close(); g.mu.Unlock() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock the deployment group: %s: %w", g.name, err)
		}
		if !told {
			told = true
			waiting()
		}
		timer := time.NewTimer(groupPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			f.Close()
			return nil, fmt.Errorf("wait for another command of the deployment group to end: %w", context.Cause(ctx))
		}
	}
}
