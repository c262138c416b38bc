package rehearse

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Intervals and reserves of what is looked at because nothing of the kernel bounds it.
const (
	countEvery  = 20 * time.Millisecond
	diskEvery   = 100 * time.Millisecond
	diskReserve = 256 << 20
)

// watch ends the sandbox where it takes more than it may and the kernel does not hold it.
func (s *stage) watch(pid int) {
	end := func(why string) {
		s.whyMu.Lock()
		s.why = why
		s.whyMu.Unlock()
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	if s.bounds.pids == "" {
		go s.every(countEvery, func() bool {
			names, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/root/proc/[0-9]*")
			if err == nil && int64(len(names)) > s.copier.PIDs {
				end(fmt.Sprintf("more than %d processes lived in it", s.copier.PIDs))
				return false
			}
			return true
		})
	}
	if s.copier.Upper == "" {
		return
	}
	disk := newDiskWatch(s.copier.store, s.copier.Upper, s.copier.Size)
	if disk == nil {
		return
	}
	go s.every(diskEvery, func() bool {
		why := disk.look()
		if why != "" {
			end(why)
		}
		return why == ""
	})
}

// ended waits for the end of the inside, and says why it was none of its own.
func (s *stage) ended() error {
	<-s.insideEnded
	s.whyMu.Lock()
	defer s.whyMu.Unlock()
	var exit *exec.ExitError
	switch {
	case s.why != "":
		return errors.New(s.why)
	case !errors.As(s.insideErr, &exit):
		return s.insideErr
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && s.bounds.outOfMemory():
		return fmt.Errorf("its processes used more memory than they may, and the kernel ended the first of them (%w)", exit)
	case status.Signaled():
		return fmt.Errorf("the first of its processes was ended from outside of it (%w)", exit)
	}
	return fmt.Errorf("the first of its processes failed (%w)", exit)
}

func (s *stage) every(interval time.Duration, look func() bool) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-s.insideEnded:
			return
		case <-tick.C:
			if !look() {
				return
			}
		}
	}
}

// close ends all and leaves nothing.
func (s *stage) close() error {
	if s.inside != nil {
		_ = s.inside.Process.Kill()
		<-s.insideEnded
	}
	s.mu.Lock() // until whoever looks at the layers has seen that the context is over
	defer s.mu.Unlock()
	var err error
	if s.scanner != nil {
		err = s.scanner.Close()
	}
	if s.bounds != nil {
		err = errors.Join(err, s.bounds.remove())
	}
	if s.copier != nil && s.copier.disk != nil {
		err = errors.Join(err, s.copier.clear())
	}
	return err
}

// openWork makes the overlays' own folders such that they can be removed: they have no permissions at all.
func openWork(store string) {
	folders, _ := filepath.Glob(filepath.Join(store, "w*", "work"))
	for _, dir := range folders {
		_ = os.Chmod(dir, 0o700)
	}
}

// clear removes the folder on disk.
func (c *copier) clear() error {
	_ = unix.Unmount(mergedRoot, unix.MNT_DETACH)
	openWork(c.store)
	entries, err := os.ReadDir(c.store)
	if c.store == stageRoot {
		err = nil // it was never reached
	}
	if c.store != stageRoot {
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.store, e.Name())))
		}
		_ = unix.Unmount(c.store, unix.MNT_DETACH)
	}
	if e := os.Remove(c.disk.Dir); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, c.disk.Leave())
}
