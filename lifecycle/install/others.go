package install

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ownership looks up whose the paths in question are. An equal file that another group's next installation would remove
// cannot be kept as nobody's: it is a conflict like any other.
func (m *maker) ownership() error {
	if m.req.Adopt {
		if err := m.disown(); err != nil {
			return err
		}
	}
	if len(m.conflicts) == 0 && len(m.equal) == 0 {
		return nil
	}
	owners, err := m.otherGroups()
	if err != nil {
		return err
	}
	for i := range m.conflicts {
		m.conflicts[i].Who = cmp.Or(m.conflicts[i].Who, owners[m.conflicts[i].Path])
	}
	for _, path := range m.equal {
		if who := owners[path]; who != "" {
			m.conflicts = append(m.conflicts, Conflict{path, "exists, and file_exists_behavior is DISALLOW: change the destination, or deploy with OVERWRITE or RETAIN", who})
			continue
		}
		m.warn("%s was there already, with the same content: it is kept as found and belongs to no deployment", path)
		m.plan.kept = append(m.plan.kept, path)
	}
	return nil
}

// otherGroups says which of the paths in question are in another group's cleanup file.
func (m *maker) otherGroups() (map[string]string, error) {
	asked := make(map[string]bool, len(m.conflicts)+len(m.equal))
	for _, c := range m.conflicts {
		asked[c.Path] = true
	}
	for _, path := range m.equal {
		asked[path] = true
	}
	owners := map[string]string{}
	err := m.eachForeign(0, func(group, path string) {
		if asked[path] {
			owners[path] = group
		}
	})
	return owners, err
}

// eachForeign calls f with every path of every other group's cleanup file that was written after a time.
func (m *maker) eachForeign(since int64, f func(group, path string)) error {
	folder := filepath.Join(m.req.Root, instructionsDir)
	files, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("plan installation: look for other groups' files: %w", err)
	}
	for _, e := range files {
		group, ok := strings.CutSuffix(e.Name(), cleanupSuffix)
		if !ok || group == m.req.Group {
			continue
		}
		if info, err := e.Info(); err != nil || info.ModTime().UnixNano() <= since {
			continue
		}
		list, err := openCleanup(m.req.Root, group)
		if err != nil {
			continue // it is that group's next installation that has to complain
		}
		for path, ok := list.next(); ok; path, ok = list.next() {
			if path != "" {
				f("deployment group "+group, path)
			}
		}
		list.close()
	}
	return nil
}

// claims finds what of the previous revision another group has installed since: it is that group's, and stays when this one has no more use for it.
// The official agent deletes it, which leaves the other group without a file of its own. A group that has installed before has lost it to this one;
// it may not even exist any more, and its list tells of nothing but the past.
func (m *maker) claims() error {
	t := m.tree
	folders := map[string]dirID{} // from which something goes for good
	for _, g := range m.gone {
		if d := &t.dirs[g.dir]; !t.entries[g.key].used {
			folders[d.path], folders[d.shown] = g.dir, g.dir
		}
	}
	if len(folders) == 0 {
		return nil
	}
	var names []string
	err := m.eachForeign(m.plan.basis.mtime, func(group, path string) {
		folder, name := split(path)
		id, ok := folders[folder]
		k := key{id, name}
		if e := t.entries[k]; !ok || !e.goes || e.used || m.shared[k] {
			return
		}
		if m.shared == nil {
			m.shared = map[key]bool{}
		}
		m.shared[k] = true
		names = append(names, path+" ("+group+")")
		for d := &t.dirs[id]; d.goes; d = &t.dirs[d.parent] {
			if t.entries[key{d.parent, d.name}].copy != 0 {
				m.conflicts = append(m.conflicts, Conflict{d.shown, "is a directory with " + path + " in it, and a file cannot take its place: change the destination", group})
			}
		}
	})
	if n := len(names); n > maxShown {
		names = append(names[:maxShown], fmt.Sprintf("… and %d more", n-maxShown))
	}
	if len(names) > 0 {
		m.warn("what another deployment group has installed since stays: %s", strings.Join(names, ", "))
	}
	return err
}

// removals lists what of the previous revision goes without anything taking its place.
func (m *maker) removals() {
	t := m.tree
	stay := map[dirID]bool{} // directories in which something stays
	for _, g := range m.gone {
		id, isDir := t.kids[g.key]
		isDir = isDir && g.sub
		if m.shared[g.key] || isDir && stay[id] {
			for in := g.dir; !stay[in]; in = t.dirs[in].parent {
				stay[in] = true
			}
			if !g.sub {
				m.plan.kept = append(m.plan.kept, join(t.dirs[g.dir].shown, g.name))
			}
			continue
		}
		if t.entries[g.key].used {
			if isDir && !t.dirs[id].planned {
				t.dirs[id].sunk = true
			}
			continue
		}
		if isDir && t.dirs[id].planned {
			continue
		}
		m.plan.removals = append(m.plan.removals, removal{name: g.name, ino: g.ino, was: g.was, dir: g.dir, sub: g.sub})
	}
	m.gone = nil
	for i := 1; i < len(t.dirs); i++ { // parents come before their children
		t.dirs[i].sunk = t.dirs[i].sunk || t.dirs[t.dirs[i].parent].sunk
	}
}
