package install

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// coarsen leaves out places that are below others, and goes up until there are few enough.
func coarsen(places []string) []string {
	for {
		places = topmost(places)
		if len(lockNames(places)) <= maxLocks {
			return places
		}
		deepest := 0
		for _, p := range places {
			deepest = max(deepest, strings.Count(p, "/"))
		}
		for i, p := range places {
			if strings.Count(p, "/") == deepest {
				places[i], _ = split(p)
			}
		}
	}
}

// topmost sorts places and leaves out those below others.
func topmost(places []string) []string {
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b string) int { return strings.Compare(below(a), below(b)) })
	var tops []string
	for _, p := range places {
		if len(tops) == 0 || !isBelow(p, tops[len(tops)-1]) {
			tops = append(tops, p)
		}
	}
	return tops
}

// lockNames gives the locks for places, those of the directories above them included, in the order in which they are taken.
func lockNames(places []string) []string {
	all := map[string]bool{}
	for _, p := range places {
		all[p] = true
		for strings.HasPrefix(p, "/") && p != "/" {
			p, _ = split(p)
			all[p] = true
		}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// places are what an installation has to do with: real paths, and its group.
func (r *Request) places() ([]string, error) {
	places := []string{groupLock + r.Group}
	for i := range r.Spec.Files {
		f := &r.Spec.Files[i]
		if target, err := cleanDestination(f.Destination); f.Defect == nil && err == nil { // else it is for Make to complain
			places = append(places, realPlace(target))
		}
	}
	list, err := openCleanup(r.Root, r.Group)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return topmost(places), nil
	case err != nil:
		return nil, err
	}
	defer list.close()
	tops := map[string]bool{}
	for path, ok := list.next(); ok; path, ok = list.next() {
		if path == "" || hasTop(tops, path) {
			continue
		}
		if len(tops) >= maxTops {
			path, _ = split(path)
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			path, _ = split(path)
		}
		tops[path] = true
		places = append(places, realPlace(path))
	}
	return topmost(places), list.err
}

// maxTops bounds how many places of a cleanup file are held before they are made fewer.
const maxTops = 4096

func hasTop(tops map[string]bool, path string) bool {
	for ; path != "/"; path, _ = split(path) {
		if tops[path] {
			return true
		}
	}
	return tops["/"]
}

// realPlace follows the links of a path. Of what is missing, the first directory stands for all: it is what would be made.
func realPlace(path string) string {
	at := path
	for {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			if at == path {
				return real
			}
			first, _, _ := strings.Cut(strings.TrimPrefix(path, below(at)), "/")
			return join(real, first)
		}
		if at == "/" || !errors.Is(err, fs.ErrNotExist) {
			return at
		}
		at, _ = split(at)
	}
}

// uncovered gives the directories of a plan that are not locked: a link within a destination leads there.
func (p *Plan) uncovered(l *locks) []string {
	used := make([]bool, len(p.dirs))
	for i := range p.dirs {
		used[i] = p.dirs[i].planned
	}
	for i := range p.files {
		used[p.files[i].dir] = true
	}
	for i := range p.removals {
		used[p.removals[i].dir] = true
	}
	var places []string
	for i := range p.dirs {
		if path := p.dirs[i].path; used[i] && !l.covered(path) {
			places = append(places, path)
		}
	}
	return topmost(places)
}

// places are what a transaction has to do with, and its group. The folder of the official agent's files is shared by all groups,
// and each has its own names in it.
func (t *transaction) places(root, group string) []string {
	places := []string{groupLock + group}
	own, _ := filepath.EvalSymlinks(filepath.Join(root, instructionsDir))
	for _, d := range t.dirs {
		if d.path != own {
			places = append(places, d.path)
		}
	}
	return topmost(places)
}
