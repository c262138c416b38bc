package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Strip takes away the one folder that some archives put around everything, GitHub's among them: if the folder has a single entry,
// which is a folder and has an entry with "appspec" in its name in any case, then that folder's content takes its place. One level
// only (I-20). Nothing happens otherwise. An error leaves some of the content moved; the caller removes it.
func Strip(dir *os.Root) error {
	top, only, err := wrapped(dir)
	if err != nil || !only {
		return err
	}
	inner, err := dir.OpenRoot(top)
	if err != nil {
		return fmt.Errorf("open the folder around the bundle: %w", err)
	}
	defer inner.Close()
	names, err := list(inner, -1)
	if err != nil {
		return err
	}
	// The folder may have an entry of its own name: out of the way first.
	aside := ".slipway-strip"
	taken := make(map[string]bool, len(names))
	for _, name := range names {
		taken[name] = true
	}
	for taken[aside] || aside == top {
		aside += "-"
	}
	if err := dir.Rename(top, aside); err != nil {
		return fmt.Errorf("take away the folder around the bundle: %w", err)
	}
	for _, name := range names {
		if err := dir.Rename(aside+"/"+name, name); err != nil {
			return fmt.Errorf("take away the folder around the bundle: %w", err)
		}
	}
	if err := dir.Remove(aside); err != nil {
		return fmt.Errorf("take away the folder around the bundle: %w", err)
	}
	return nil
}

// wrapped says whether I-20 applies, and to which folder.
func wrapped(dir *os.Root) (top string, is bool, err error) {
	names, err := list(dir, 2)
	if err != nil || len(names) != 1 {
		return "", false, err
	}
	info, err := dir.Lstat(names[0])
	if err != nil || !info.IsDir() {
		return "", false, err
	}
	inner, err := dir.OpenRoot(names[0])
	if err != nil {
		return "", false, err
	}
	defer inner.Close()
	below, err := list(inner, -1)
	if err != nil {
		return "", false, err
	}
	for _, name := range below {
		if strings.Contains(strings.ToLower(name), "appspec") {
			return names[0], true, nil
		}
	}
	return "", false, nil
}

// list gives the names in a folder, at most that many if n is positive.
func list(dir *os.Root, n int) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
	}
	defer f.Close()
	names, err := f.Readdirnames(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
	}
	return names, nil
}
