package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"slipway/lifecycle/appspec/lint"
	"slipway/lifecycle/textdiff"
)

// lintFix mends the files of a person, each whole or not at all, and shows what it did.
func (p *program) lintFix(ctx context.Context, s *lintSubject, o lintOptions) error {
	root, changes := s.root, []lint.Change(nil)
	shown := func(name string) string { return filepath.Join(s.path, name) }
	if s.file != "" {
		real, err := filepath.EvalSymlinks(s.file) // a link stays one
		if err != nil {
			return err
		}
		if root, err = os.OpenRoot(filepath.Dir(real)); err != nil {
			return err
		}
		defer root.Close()
		data, err := readAppspec(real)
		if err != nil {
			return err
		}
		shown = func(string) string { return s.file }
		if after := lint.Mend(s.file, data); !bytes.Equal(after, data) {
			changes = []lint.Change{{Name: filepath.Base(real), Before: data, After: after}}
		}
	} else {
		var err error
		if changes, err = lint.MendBundle(ctx, root.FS(), lint.Options{AppSpec: o.appspec}); err != nil {
			return fmt.Errorf("mend %s: %w", s.path, err)
		}
	}
	out := p.stdout
	if o.format != "human" {
		out = p.stderr // the findings have the standard output to themselves
	}
	for _, c := range changes {
		if err := mendFile(root, c); err != nil {
			return fmt.Errorf("mend %s: %w", shown(c.Name), err)
		}
		showChange(out, shown(c.Name), c)
	}
	return nil
}

// showChange writes a change as a unified diff.
func showChange(out io.Writer, name string, c lint.Change) {
	if text := textdiff.Unified(name, name, string(c.Before), string(c.After)); text != "" {
		fmt.Fprintln(out, printableText(text))
	}
	if c.Was != c.Mode {
		fmt.Fprintf(out, "mode of %s: %04o, was %04o\n\n", printable(name), c.Mode, c.Was)
	}
}

// mendFile puts the new content in place of the old one in one step, with the mode and the owner that the file has. After a crash there is
// either the one or the other.
func mendFile(root *os.Root, c lint.Change) error {
	info, err := root.Lstat(c.Name)
	if err != nil {
		return err
	}
	if bytes.Equal(c.Before, c.After) {
		return root.Chmod(c.Name, info.Mode()&^os.ModePerm|c.Mode)
	}
	now, err := root.ReadFile(c.Name)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, c.Before) {
		return fmt.Errorf("somebody else has changed it meanwhile: run it again")
	}
	mode := info.Mode()
	if c.Was != c.Mode {
		mode = mode&^os.ModePerm | c.Mode
	}
	f, err := renameio.NewPendingFile(c.Name, renameio.WithRoot(root), renameio.WithStaticPermissions(mode.Perm()))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // there is nothing left after a replacement
	if _, err := f.Write(c.After); err != nil {
		return err
	}
	if err := keepOwner(f.File, info); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // the change of owner has taken set-id bits
		return err
	}
	return f.CloseAtomicallyReplace()
}

// keepOwner gives a new file the owner of the old one.
func keepOwner(f *os.File, old os.FileInfo) error {
	want, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if have, ok := info.Sys().(*syscall.Stat_t); ok && have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("keep its owner %d:%d: %w", want.Uid, want.Gid, err)
	}
	return nil
}
