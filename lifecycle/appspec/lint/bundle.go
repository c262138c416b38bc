package lint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"slipway/lifecycle/appspec"
)

// The names that the agent looks for when nobody says another.
const (
	firstName  = "appspec.yml"
	secondName = "appspec.yaml"
)

// Bundle looks at an unpacked bundle: its appspec as [Appspec] does, and whether all that it names is there and as it has to be. Links are
// not followed out of the bundle, so fsys should be that of an [os.Root]; it has to have ReadLink for links to be judged. An error means that the bundle could not
// be read.
func Bundle(ctx context.Context, fsys fs.FS, o Options) (Report, error) {
	b := &bundleLinter{ctx: ctx, fsys: fsys, opts: o.withDefaults()}
	if err := b.walk(); err != nil {
		return Report{}, err
	}
	name, found := b.find()
	b.linter = newLinter(name)
	if !found {
		b.noAppspec(name)
		b.contents()
		b.history()
		return b.done(), nil
	}
	data, err := readUpTo(fsys, name, appspec.MaxSize+1)
	if err != nil {
		return Report{}, fmt.Errorf("read the appspec of the bundle: %w", err)
	}
	b.appspec(data)
	b.harmless(string(data))
	b.names(name)
	b.contents()
	if b.spec != nil && b.os == "linux" {
		if err := b.scripts(); err != nil {
			return Report{}, err
		}
		b.install()
	}
	b.history()
	return b.done(), nil
}

// history finds the folder of git, unless it was found on its way to the host.
func (b *bundleLinter) history() {
	e, ok := b.entry(".git")
	if !ok || b.perRule[installsGit] > 0 {
		return
	}
	f := b.file(secretFile, e.name, "\".git\" looks like the whole history of the sources", "leave it out: pack the bundle with git archive")
	if b.opts.WorkTree {
		f.Severity = note
	}
	b.add(f)
}

// bundleLinter looks at a bundle.
type bundleLinter struct {
	*linter
	ctx  context.Context
	fsys fs.FS
	opts Options

	entries []entry // by name, in the order of the walk
	index   map[string]int
}

// entry is a file, folder or link of the bundle.
type entry struct {
	name string
	typ  fs.FileMode
}

// maxEntries is the default of the agent's own limit.
const maxEntries = 1_000_000

// walk lists the bundle. It does not ask for more than names and types, which a folder has ready.
func (b *bundleLinter) walk() error {
	b.index = map[string]int{}
	err := fs.WalkDir(b.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case b.ctx.Err() != nil:
			return context.Cause(b.ctx)
		case name == ".":
			return nil
		case len(b.entries) == maxEntries:
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		b.index[name] = len(b.entries)
		b.entries = append(b.entries, entry{name, d.Type()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the bundle: %w", err)
	}
	return nil
}

// entry is the entry of a name.
func (b *bundleLinter) entry(name string) (entry, bool) {
	i, ok := b.index[name]
	if !ok {
		return entry{}, false
	}
	return b.entries[i], true
}

// find is the name of the appspec: the configured one, else the first that is there. found is false if none is.
func (b *bundleLinter) find() (name string, found bool) {
	names := []string{firstName, secondName}
	if b.opts.AppSpec != "" {
		names = []string{path.Clean(b.opts.AppSpec), secondName, firstName}
	}
	for _, n := range names {
		if e, ok := b.entry(n); ok && !e.typ.IsDir() {
			return n, true
		}
	}
	return names[0], false
}

func (b *bundleLinter) noAppspec(want string) {
	suggestion := "name it " + want + " and pack the bundle from within the folder that holds it"
	for _, e := range b.entries {
		base := strings.ToLower(path.Base(e.name))
		if e.typ.IsDir() || !strings.HasPrefix(base, "appspec") && certain(base, []string{firstName, secondName}) == "" {
			continue
		}
		if dir := path.Dir(e.name); dir != "." {
			suggestion = fmt.Sprintf("%s is there: pack the bundle from within the folder %s", e.name, dir)
		} else {
			suggestion = fmt.Sprintf("%s is there: name it %s", e.name, want)
		}
		break
	}
	b.add(b.file(noAppspec, want, fmt.Sprintf("there is no %s at the top of the bundle", want), suggestion))
}

// names looks at the name of the appspec that was found.
func (b *bundleLinter) names(name string) {
	if want := path.Clean(b.opts.AppSpec); b.opts.AppSpec != "" && want != name {
		b.add(b.file(fallbackName, name, fmt.Sprintf("there is no %s; %s is read in its place", want, name), ""))
		return
	}
	_, first := b.entry(firstName)
	_, second := b.entry(secondName)
	switch {
	case b.opts.AppSpec != "":
	case first && second:
		b.add(b.file(twoAppspecs, secondName, "the bundle has appspec.yml and appspec.yaml, and the first one is read", "remove appspec.yaml"))
	case name == secondName:
		b.add(b.file(fallbackName, name, "the appspec is called appspec.yaml", ""))
	}
}

// file is about a file as a whole.
func (b *bundleLinter) file(id, name, message, suggestion string) Finding {
	return Finding{Diagnostic: appspec.Diagnostic{ID: id, File: name, Message: message, Suggestion: suggestion}}
}

// contents looks at what should not be in a bundle.
func (b *bundleLinter) contents() {
	mac := false
	for _, e := range b.entries {
		base := path.Base(e.name)
		if !mac && (base == "__MACOSX" || base == ".DS_Store" || strings.HasPrefix(base, "._")) {
			mac = true // once is enough
			b.add(b.file(macFolder, e.name, fmt.Sprintf("%s is left over from macOS", shown(e.name)), ""))
		}
		if what := secret(e); what != "" && !b.full(secretFile) {
			b.add(b.file(secretFile, e.name, fmt.Sprintf("%s looks like %s", shown(e.name), what), ""))
		}
		if e.typ&fs.ModeSymlink != 0 {
			b.link(e)
		}
	}
}

// link finds links that lead out of the bundle.
func (b *bundleLinter) link(e entry) {
	target, err := fs.ReadLink(b.fsys, e.name)
	if err != nil || b.full(leavingLink) {
		return
	}
	if path.IsAbs(target) || climbs(path.Join(path.Dir(e.name), target)) {
		b.add(b.file(leavingLink, e.name, fmt.Sprintf("the link %s leads to %s, outside the bundle", shown(e.name), shown(target)), ""))
	}
}

// resolve follows the links of a name within the bundle; ok is false if it leads to nothing, or out of it.
func (b *bundleLinter) resolve(name string) (_ entry, ok bool) {
	for range 40 { // as the kernel
		if e, ok := b.entry(name); ok {
			if e.typ&fs.ModeSymlink == 0 {
				return e, true
			}
			target, err := fs.ReadLink(b.fsys, name)
			if err != nil || path.IsAbs(target) {
				return entry{}, false
			}
			name = path.Join(path.Dir(name), target)
			continue
		}
		// Perhaps a folder on the way is a link.
		dir, rest := path.Dir(name), path.Base(name)
		for dir != "." && dir != "/" {
			if e, ok := b.entry(dir); ok && e.typ&fs.ModeSymlink != 0 {
				break
			}
			dir, rest = path.Dir(dir), path.Join(path.Base(dir), rest)
		}
		if dir == "." || dir == "/" {
			return entry{name: ".", typ: fs.ModeDir}, name == "."
		}
		target, err := fs.ReadLink(b.fsys, dir)
		if err != nil || path.IsAbs(target) {
			return entry{}, false
		}
		name = path.Join(path.Dir(dir), target, rest)
	}
	return entry{}, false
}

// nearest is the name in the bundle that was meant by one that is not there, "" if there is no telling.
func (b *bundleLinter) nearest(name string) string {
	dir, base := path.Dir(name), path.Base(name)
	var sameBase, slip []string
	for _, e := range b.entries {
		switch {
		case e.typ.IsDir():
		case strings.EqualFold(e.name, name):
			return e.name
		case path.Base(e.name) == base:
			sameBase = append(sameBase, e.name)
		case path.Dir(e.name) == dir && (near(path.Base(e.name), base) || path.Ext(base) == "" && strings.TrimSuffix(path.Base(e.name), path.Ext(e.name)) == base):
			slip = append(slip, e.name)
		}
	}
	for _, names := range [][]string{slip, sameBase} {
		if len(names) > 0 {
			return slices.MinFunc(names, func(a, b string) int { return len(a) - len(b) })
		}
	}
	return ""
}

// readUpTo reads at most that many bytes of a file.
func readUpTo(fsys fs.FS, name string, most int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("it is not a file")}
	}
	return io.ReadAll(io.LimitReader(f, most))
}
