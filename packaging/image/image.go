// Package image makes a host fit to become a disk image: what belongs to this host alone goes, what the image is made for stays.
package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"slipway/agent/config"
	"slipway/lifecycle"
)

// Root is what is asked of the engine of the deployment root.
type Root interface {
	// Seal removes from the deployment root what an image must not carry, and tells what that was: see lifecycle.Engine.
	Seal(ctx context.Context, how lifecycle.Sealing) ([]lifecycle.Sealed, error)
}

// Options say what is sealed and how far.
type Options struct {
	Config *config.Config
	Root   Root
	All    bool // forget what is installed too
	Dry    bool // only look
}

// Prepare seals the host and returns all that was removed, or, with Dry, what would be. It may be repeated: a second call finds nothing.
// A path that could not be removed is in the list with its error, and the error says so. Nothing is removed where an agent works in the deployment
// root (lifecycle.ErrLocked) or a command waits in it (lifecycle.ErrInHand).
func Prepare(ctx context.Context, o Options) ([]lifecycle.Sealed, error) {
	gone, err := o.Root.Seal(ctx, lifecycle.Sealing{All: o.All, Dry: o.Dry})
	if errors.Is(err, lifecycle.ErrLocked) || errors.Is(err, lifecycle.ErrInHand) {
		return nil, err
	}
	errs := []error{err}
	seen := map[string]bool{} // the log file may be named twice
	remove := func(path, why string) {
		if seen[path] {
			return
		}
		seen[path] = true
		if _, err := os.Lstat(path); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("seal the host: %w", err))
			}
			return
		}
		s := lifecycle.Sealed{Path: path, Why: why}
		if !o.Dry {
			if s.Err = os.RemoveAll(path); s.Err != nil {
				s.Err = fmt.Errorf("seal the host: %w", s.Err)
				errs = append(errs, s.Err)
			}
		}
		gone = append(gone, s)
	}
	c := o.Config
	remove(c.OnPremisesConfigFile, "identity and credentials of this host")
	for _, pattern := range []string{
		filepath.Join(c.LogDir, c.ProgramName+"*.log*"), filepath.Join(c.LogDir, "codedeploy-local.log*"),
	} {
		removeAll(pattern, "log of this host", remove)
	}
	if c.Log.File != "" {
		remove(c.Log.File, "log of this host")
	}
	removeAll(filepath.Join(c.PIDDir, c.ProgramName+".pid*"), "pid file", remove)
	return gone, errors.Join(errs...)
}

func removeAll(pattern, why string, remove func(path, why string)) {
	paths, err := filepath.Glob(pattern)
	if err != nil { // a folder whose name is a pattern by itself: its files are left, and seen by nobody but their owner
		return
	}
	for _, path := range paths {
		remove(path, why)
	}
}
