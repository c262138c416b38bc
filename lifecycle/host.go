package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// hostFile says in .slipway whose commands the tickets are.
const hostFile = "host"

// Own makes the deployment root that of a host, by the identifier under which the service knows it. If it was another host's, the root came
// here as part of a disk image of that host: the commands that it left in hand are not this host's to go on with or to report. They are put
// aside, tickets, runs, early revisions and tracking files, in the folder that is returned; "" if there was nothing of another host. What is
// installed, with its pointers and bundles, is the image's content and stays.
//
// It is called before Engine.Open and Foreign are. What an installation that was cut short has left in the tree is another matter: Open, the
// function, has finished or undone it by then, whoever had begun it.
func (e *Engine) Own(host string) (aside string, err error) {
	name := e.root.own(hostFile)
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read whose deployment root this is: %w", err)
	}
	before := strings.TrimSpace(string(data))
	if before == host {
		return "", nil
	}
	if before != "" {
		if aside, err = e.quarantine(before, host); err != nil {
			return aside, err
		}
	}
	if err := writeState(name, []byte(host+"\n"), true); err != nil {
		// Nothing of another host is left to go on with: a full disk is no reason not to be the agent of this one.
		e.log.Warn("record whose deployment root this is", zap.Error(err))
	}
	return aside, nil
}

// quarantine moves what another host had in hand out of the way. It may be called again after a crash: what was moved is moved.
func (e *Engine) quarantine(before, now string) (string, error) {
	aside := e.root.own("foreign", time.Now().UTC().Format("20060102T150405Z"))
	moved := 0
	for _, folder := range []string{e.root.own("tickets"), e.root.own("runs"), e.root.own("prefetch"), filepath.Join(e.root.path, e.tickets.tracking)} {
		entries, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return aside, fmt.Errorf("put the state of host %s aside: %w", before, err)
		}
		to := filepath.Join(aside, filepath.Base(folder))
		for _, entry := range entries {
			if err := os.MkdirAll(to, 0o700); err != nil {
				return aside, fmt.Errorf("put the state of host %s aside: %w", before, err)
			}
			if err := moveTree(filepath.Join(folder, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
				return aside, fmt.Errorf("put the state of host %s aside: %w", before, err)
			}
			moved++
		}
	}
	if moved == 0 {
		e.log.Info("the deployment root was another host's, which had nothing in hand", zap.String("before", before), zap.String("host", now))
		return "", nil
	}
	if err := syncFolder(aside); err != nil {
		return aside, fmt.Errorf("put the state of host %s aside: %w", before, err)
	}
	e.log.Warn("the deployment root was another host's: what it had in hand is put aside and not gone on with",
		zap.String("before", before), zap.String("host", now), zap.Int("moved", moved), zap.String("path", aside))
	return aside, nil
}

// moveTree renames, and where a folder cannot be renamed, what is in it: one of a lower layer of overlayfs, such as that of an image, says that
// it is on another device. It may be called again after a crash.
func moveTree(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	entries, readErr := os.ReadDir(from)
	if readErr != nil { // no folder: another device indeed
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := moveTree(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return os.Remove(from)
}
