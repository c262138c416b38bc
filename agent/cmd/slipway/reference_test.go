package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"slipway/lifecycle/bundle/bundletest"
)

// reference is a small model of the official agent, as far as it leaves files behind and goes by those that it finds: what the rules I-1
// to I-42 say, and nothing of this program.
type reference struct {
	t           *testing.T
	top         string // where its host's files are; "" for this machine's own
	root, group string
	site        string
	v2          bool // what V-63, V-65, V-68 and V-93 to V-95 say of version 2
	keep        int  // I-22
}

func (r *reference) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// at is where a file of its host is for this process.
func (r *reference) at(name string) string { return filepath.Join(r.top, name) }

func (r *reference) write(name, text string, mode fs.FileMode) {
	r.t.Helper()
	name = r.at(name)
	r.must(os.MkdirAll(filepath.Dir(name), 0o755))
	r.must(os.WriteFile(name, []byte(text), mode))
	r.must(os.Chmod(name, mode))
}

func (r *reference) dir(id string) string { return filepath.Join(r.root, r.group, id) }

func (r *reference) instructions(suffix string) string {
	return filepath.Join(r.root, "deployment-instructions", r.group+suffix)
}

// deploy brings a revision, whose files below content go to the site (I-11 to I-42).
func (r *reference) deploy(id string, files map[string]string) error {
	r.t.Helper()
	r.retain(id)
	archive := filepath.Join(r.dir(id), "deployment-archive")
	r.write(filepath.Join(r.dir(id), "bundle.tar"), string(zipped(files)), 0o644)
	for _, e := range bundletest.Files(files) {
		name := filepath.Join(archive, e.Name)
		if e.Target != "" {
			r.must(os.MkdirAll(r.at(filepath.Dir(name)), 0o755))
			r.must(os.Symlink(e.Target, r.at(name)))
			continue
		}
		r.write(name, e.Data, e.Mode.Perm()|0o644)
		r.must(os.Chtimes(r.at(name), bundletest.Time, bundletest.Time))
	}
	if r.v2 {
		r.write(filepath.Join(r.dir(id), ".bundle-etag"), "0123456789abcdef", 0o644)
		r.write(filepath.Join(r.dir(id), ".bundle-source"), "downloaded", 0o644)
	}
	r.write(filepath.Join(r.dir(id), "logs/scripts.log"), "", 0o644)
	r.write(r.instructions("_most_recent_install"), r.dir(id), 0o644)
	if err := r.cleanup(); err != nil {
		return err
	}
	if err := r.install(filepath.Join(archive, "content")); err != nil {
		return err
	}
	r.write(r.instructions("_last_successful_install"), r.dir(id), 0o644)
	return nil
}

// retain removes the oldest deployments but for the last successful one (I-22, I-23), and returns them.
func (r *reference) retain(current string) (removed []string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.at(filepath.Join(r.root, r.group)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.must(err)
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == current || r.v2 && !e.IsDir() })
	extra := len(entries) - r.keep + 1
	last := r.pointer("_last_successful_install")
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return r.dir(e.Name()) == last })
	age := func(e fs.DirEntry) int64 {
		info, err := e.Info()
		r.must(err)
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return int(age(a) - age(b)) })
	for _, e := range entries[:max(0, min(extra, len(entries)))] {
		r.must(os.RemoveAll(r.at(r.dir(e.Name()))))
		removed = append(removed, e.Name())
	}
	return removed
}

// pointer reads I-8 or I-9.
func (r *reference) pointer(suffix string) string {
	data, err := os.ReadFile(r.at(r.instructions(suffix)))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	r.must(err)
	return strings.TrimSuffix(string(data), "\n")
}

// cleanup removes what the last installation has put there (I-41, V-68).
func (r *reference) cleanup() error {
	name := r.at(r.instructions("-cleanup"))
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.must(err)
	defer os.Remove(name)
	if r.v2 && (!info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid())) {
		r.t.Log("the cleanup file is ignored")
		return nil
	}
	data, err := os.ReadFile(name)
	r.must(err)
	lines := strings.Split(string(data), "\n")
	lines = lines[:len(lines)-1] // without a newline it does not count
	for _, line := range slices.Backward(lines) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "semanage\x00") {
			continue // semanage fcontext -d, whose result counts for nothing
		}
		line = r.at(line)
		info, err := os.Lstat(line)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.IsDir():
			if err := os.Remove(line); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
				return err
			}
		default:
			if err := os.Remove(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// instruction is one of the plan file (I-38).
type instruction struct {
	Type        string `json:"type"`
	Directory   string `json:"directory,omitempty"`
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
}

// install plans and carries out (I-24 to I-40), with DISALLOW.
func (r *reference) install(source string) error {
	var plan []instruction
	for dir := r.site; ; dir = filepath.Dir(dir) { // I-26
		if _, err := os.Stat(r.at(dir)); err == nil {
			break
		}
		plan = slices.Insert(plan, 0, instruction{Type: "mkdir", Directory: dir})
	}
	err := filepath.WalkDir(r.at(source), func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(r.at(source), path)
		to := filepath.Join(r.site, rel)
		at, statErr := os.Stat(r.at(to))
		switch {
		case err != nil || rel == ".":
			return err
		case d.IsDir() && statErr == nil && at.IsDir(): // I-27
		case d.IsDir():
			plan = append(plan, instruction{Type: "mkdir", Directory: to})
		case statErr == nil: // I-36
			return fmt.Errorf("the deployment failed because a specified file already exists at this location: %s", to)
		default:
			plan = append(plan, instruction{Type: "copy", Source: filepath.Join(source, rel), Destination: to})
		}
		return nil
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"instructions": plan})
	if r.v2 { // V-65
		text, err = json.MarshalIndent(map[string]any{"instructions": plan}, "", "  ")
	}
	r.must(err)
	r.write(r.instructions("-install.json"), string(text), 0o644)
	lines := ""
	for _, i := range plan {
		lines += i.Directory + i.Destination + "\n"
		r.must(i.carryOut(r.at))
	}
	r.write(r.instructions("-cleanup"), lines, 0o644)
	return nil
}

func (i instruction) carryOut(at func(string) string) error {
	if i.Type == "mkdir" {
		return os.Mkdir(at(i.Directory), 0o755)
	}
	source, destination := at(i.Source), at(i.Destination)
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(target, destination)
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(destination, data, 0o600), os.Chmod(destination, info.Mode()), os.Chtimes(destination, info.ModTime(), info.ModTime()))
}
