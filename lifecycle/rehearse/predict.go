package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
	"slipway/lifecycle/install"
)

// maxNamed is how many paths of one kind a prediction names; the last line then says how many more there are.
const maxNamed = 100

// Expected is what a plan says of one path. It is a value for JSON: the plan is made by one process, and compared by the one that
// sees the layers.
type Expected struct {
	Path    string `json:"path"`               // absolute, without links among its folders
	Gone    bool   `json:"gone,omitempty"`     // there is to be nothing
	Source  string `json:"source,omitempty"`   // the file of the unpacked bundle that it is to be equal to; empty: content is not planned
	Mode    uint32 `json:"mode"`               // type and permission bits, as stat(2) gives them
	AnyMode bool   `json:"any_mode,omitempty"` // the permission bits are not planned
	UID     uint32 `json:"uid"`                // as the process knows it that has made the plan, outside of any user namespace of the layers
	GID     uint32 `json:"gid"`
	Link    string `json:"link,omitempty"`
}

// Expect gives what a preview says that Install makes of the host: nothing if it has no plan. It reads the bundle and the host, as the
// preview did, and is to be called while both are as they were then.
func Expect(ctx context.Context, p *lifecycle.Preview) ([]Expected, error) {
	if p.Plan == nil {
		return nil, nil
	}
	changes, err := p.Plan.Changes(ctx)
	if err != nil {
		return nil, fmt.Errorf("compare the plan with the host: %w", err)
	}
	var list []Expected
	real := map[string]string{}
	for c := range changes {
		e := Expected{Path: resolved(c.Path, real), Mode: c.After.Mode, UID: c.After.UID, GID: c.After.GID, Link: c.After.Link}
		switch {
		case c.Kind == install.Gone:
			e = Expected{Path: e.Path, Gone: true}
		case c.After.IsLink():
			e.AnyMode = true
		case c.After.IsFile() && c.Kind != install.Kept:
			e.Source = c.Source
		}
		e.AnyMode = e.AnyMode || c.Passed
		list = append(list, e)
	}
	return list, nil
}

// resolved is a path without links among its folders, as far as they are there. known remembers folders.
func resolved(name string, known map[string]string) string {
	folder, last := path.Split(path.Clean(name))
	if last == "" {
		return "/"
	}
	folder = path.Clean(folder)
	real, ok := known[folder]
	if !ok {
		var err error
		if real, err = filepath.EvalSymlinks(folder); err != nil {
			real = resolved(folder, known)
		}
		known[folder] = real
	}
	return path.Join(real, last)
}

// Compare holds what was planned against what the layers have after the last Mark. It is for a rehearsal in which Install has succeeded; otherwise
// expect nothing. A planned path is met if it became what the plan said, in type, mode, owner, link and content. If it is something else and a script
// has changed it or a folder above it, it is overridden, and else missed. Everything that Install has changed and no plan has named is Unplanned.
//
// Called directly after Install was marked it remembers what was met then: at the end that still counts as met, and what a script has made of it since
// as overridden. Called at the end alone, it cannot tell that Install had done its part.
func (s *Scanner) Compare(ctx context.Context, expected []Expected) (*lifecycle.Prediction, error) {
	p := &lifecycle.Prediction{Planned: len(expected)}
	named := make(map[string]bool, len(expected))
	for i := range expected {
		named[expected[i].Path] = true
	}
	var missed, unplanned, overridden []string
	theirs := map[string]bool{} // folders that a script has changed, or has put something else in the place of
	err := s.eachChange(ctx, func(f found) error {
		switch by := s.made[f.by]; {
		case by.hook:
			p.Hooks += 1 + f.fold
		case by.event == lifecycle.Install && !named[f.path]:
			unplanned = append(unplanned, fmt.Sprintf("%s: %s (%s)", clean(f.path), f.kind, cmp.Or(strings.Join(f.what.names(), ", "), lifecycle.FileType(f.mode))))
		}
		if kept := f.mode&unix.S_IFMT == unix.S_IFREG && f.what&byType == 0 && !named[f.path]; f.scripted && !kept {
			theirs[f.path] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c := &comparison{tour: tour{Scanner: s, ctx: ctx}, sides: sides{s: s}}
	defer c.close()
	met := map[string]bool{}
	for i := range expected {
		e := &expected[i]
		where := s.find(e.Path)
		why, err := c.unlike(e, where)
		scripted := where.scripted || below(theirs, e.Path)
		if why == "" || s.met[e.Path] && scripted {
			p.Met++
			met[e.Path] = true
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("compare %s with the plan: %w", e.Path, err)
		case why == "":
		case scripted:
			overridden = append(overridden, clean(e.Path)+": "+why)
		default:
			missed = append(missed, clean(e.Path)+": "+why)
		}
	}
	s.met = met
	p.Missed, p.Unplanned, p.Overridden = shortened(missed), shortened(unplanned), shortened(overridden)
	return p, nil
}

// below reports whether a path is in one of the folders, at any depth.
func below(folders map[string]bool, name string) bool {
	for len(folders) > 0 {
		above := path.Dir(name)
		if above == name {
			break
		}
		if name = above; folders[name] {
			return true
		}
	}
	return false
}

func shortened(list []string) []string {
	if len(list) <= maxNamed {
		return list
	}
	return append(slices.Clone(list[:maxNamed]), fmt.Sprintf("and %d more", len(list)-maxNamed))
}

// comparison compares paths of the copy with the plan.
type comparison struct {
	tour
	sides
}

// unlike says in what a path of the copy is not what was planned; empty if in nothing.
func (c *comparison) unlike(e *Expected, p place) (string, error) {
	if c.ctx.Err() != nil {
		return "", context.Cause(c.ctx)
	}
	var st unix.Stat_t
	there := false
	fd, name := -1, ""
	if p.layer >= 0 && p.seen != vanished {
		var fds [2]int
		fds, name = c.enter(p.layer, p.rest)
		if fd = fds[lower]; p.seen == written {
			fd = fds[upper]
		}
		if fd >= 0 {
			err := lookAt(fd, name, &st)
			if there = err == nil; !there && !gone(err) {
				return "", err
			}
		}
	}
	switch {
	case e.Gone && there:
		return "it is still there, and was to go", nil
	case e.Gone:
		return "", nil
	case !there:
		return "it is not there, and was planned as a " + lifecycle.FileType(e.Mode), nil
	case st.Mode&unix.S_IFMT != e.Mode&unix.S_IFMT:
		return fmt.Sprintf("it is a %s, and was planned as a %s", lifecycle.FileType(st.Mode), lifecycle.FileType(e.Mode)), nil
	}
	var parts []string
	if !e.AnyMode && (st.Mode^e.Mode)&0o7777 != 0 {
		parts = append(parts, fmt.Sprintf("its mode is %04o, planned was %04o", st.Mode&0o7777, e.Mode&0o7777))
	}
	if st.Uid != c.users.in(e.UID) || st.Gid != c.groups.in(e.GID) {
		parts = append(parts, fmt.Sprintf("its owner is %d:%d, planned was %d:%d", c.users.out(st.Uid), c.groups.out(st.Gid), e.UID, e.GID))
	}
	switch {
	case e.Mode&unix.S_IFMT == unix.S_IFLNK:
		if target, err := linkAt(fd, name); err != nil || target != e.Link {
			parts = append(parts, fmt.Sprintf("it leads to %s, planned was %s", clean(target), clean(e.Link)))
		}
	case e.Source != "" && p.seen == written:
		equal, err := c.content(fd, name, e.Source)
		if err != nil {
			return "", err
		}
		if !equal {
			parts = append(parts, "its content is not that of the bundle")
		}
	}
	return strings.Join(parts, "; "), nil
}

// content reports whether a file is equal to one of the bundle.
func (c *comparison) content(dir int, name, source string) (bool, error) {
	is, size, err := openFile(dir, name)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer closeFolder(is)
	want, planned, err := openFile(unix.AT_FDCWD, source)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", source, err)
	}
	defer closeFolder(want)
	if size != planned {
		return false, nil
	}
	return c.equal(is, want, size)
}

// Foreseen compares how a deployment was foreseen to end with how its rehearsal has ended: empty if it is the same. That a script would
// fail in its run no preview can know; that is said of it.
func Foreseen(p *lifecycle.Preview, events []lifecycle.EventAccount) string {
	var foreseen, perhaps *lifecycle.Problem
	for i := range p.Problems {
		switch q := &p.Problems[i]; {
		case q.Unless == "" && foreseen == nil:
			foreseen = q
		case q.Unless != "" && perhaps == nil:
			perhaps = q
		}
	}
	var failed *lifecycle.EventAccount
	if i := slices.IndexFunc(events, func(e lifecycle.EventAccount) bool { return e.Code != lifecycle.Succeeded || e.Outcome == "failed" }); i >= 0 {
		failed = &events[i]
	}
	switch {
	case failed == nil && foreseen == nil:
		return ""
	case failed == nil:
		return fmt.Sprintf("%s was foreseen to fail (%v), and nothing did", foreseen.Event, foreseen.Err)
	case foreseen != nil && foreseen.Event == failed.Event:
		if foreseen.Code != failed.Code {
			return fmt.Sprintf("%s was foreseen to fail with code %d (%v), and failed with code %d: %s", failed.Event, foreseen.Code, foreseen.Err, failed.Code, failed.Message)
		}
		return ""
	case perhaps != nil && perhaps.Event == failed.Event:
		return "" // it was said that it would, unless a script puts it right
	case foreseen != nil:
		return fmt.Sprintf("%s was foreseen to fail (%v), and %s did: %s", foreseen.Event, foreseen.Err, failed.Event, failed.Message)
	case ranAndFailed(failed):
		return fmt.Sprintf("no failure was foreseen, and %s failed: %s; what a script does in its run no plan can foresee", failed.Event, failed.Message)
	}
	return fmt.Sprintf("no failure was foreseen, and %s failed: %s", failed.Event, failed.Message)
}

// ranAndFailed reports whether an event failed by what a script of it did.
func ranAndFailed(e *lifecycle.EventAccount) bool {
	return slices.Contains([]lifecycle.Code{lifecycle.ScriptFailed, lifecycle.ScriptTimedOut, lifecycle.OutputsLeftOpen}, e.Code)
}
