package provision

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Options say which host is meant and how to go about it.
type Options struct {
	// Root is the tree to provision: "" or "/" is this host, anything else an image that is being made.
	Root string
	// LockWait is how long to wait for a package manager that somebody else is using; 0 is two minutes, less than 0 not at all.
	LockWait time.Duration
	// Progress is told what is being done, a line at a time; nil is nobody.
	Progress func(line string)
}

// A Host is what a profile is compared with and applied to.
type Host struct {
	*tree
	runner
	platform *platform
	release  string // VERSION_ID
	systemd  bool   // it runs here, so services can be looked at and started
	lockWait time.Duration
	pause    time.Duration // between two looks at a service that has just started
	say      func(string)
}

const defaultLockWait = 2 * time.Minute

// Open finds out which platform a host is. A platform that no table describes is an error; nothing is changed.
func Open(o Options) (*Host, error) {
	root, err := filepath.Abs(o.Root)
	if o.Root == "" {
		root = "/"
	}
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, fmt.Errorf("open the tree to provision: %w", err)
	}
	if info, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("open the tree to provision: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("open the tree to provision: %s is not a folder", root)
	}
	h := &Host{tree: &tree{root}, lockWait: o.LockWait, pause: 100 * time.Millisecond, say: o.Progress}
	h.runner = machine{h.tree}
	if h.lockWait == 0 {
		h.lockWait = defaultLockWait
	}
	if h.say == nil {
		h.say = func(string) {}
	}
	if h.platform, h.release, err = detect(h.tree); err != nil {
		return nil, err
	}
	if root == "/" {
		_, err := os.Stat("/run/systemd/system") // as sd_booted(3) has it
		h.systemd = err == nil
	}
	return h, nil
}

// Platform is the title of the host's platform, such as Amazon Linux 2023.
func (h *Host) Platform() string { return h.platform.title }

// Image says whether services can only be enabled, not started: an image is being made.
func (h *Host) Image() bool { return !h.systemd }
