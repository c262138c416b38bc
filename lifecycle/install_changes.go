package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"slipway/hooks"
	"slipway/lifecycle/install"
	"slipway/lifecycle/textdiff"
)

// What is kept of the changes of one installation at most.
const (
	changesPaths   = 1000      // paths that are looked at
	changesRead    = 8 << 20   // bytes that are read of what is replaced and of what replaces it
	changesCompare = 1 << 20   // bytes of a file that is compared with one of its size
	changesDiff    = 64 << 10  // bytes of a file whose difference is kept, before and after
	changesDiffs   = 256 << 10 // bytes of all differences
	changesMade    = 512 << 10 // bytes of differences that are made, kept or not: it is large ones that take time
	changesFile    = 16 << 20  // bytes of a record that is read
)

const changesVersion = 1

// installChanges is what Install has made of the host, as <root>/.slipway/changes/<group>/<deployment>.json has it: written before the
// installation under a name that ends in its transaction, and given its own name when that is complete. A crash leaves the first name, and the
// group's next Install, or the same one taken up again, settles it by what the installation's own manifest says. No record is there of one that was undone.
type installChanges struct {
	Version    int           `json:"version"`
	Group      string        `json:"group"`
	Deployment string        `json:"deployment"`
	At         time.Time     `json:"at"` // when the changes were noted, before they were made
	Note       string        `json:"note,omitempty"`
	Files      []*FileChange `json:"files"` // in the order of their paths
	Omitted    int           `json:"omitted,omitempty"`
}

func (r root) changesFile(group, deployment string) string {
	return r.own("changes", group, deployment+".json")
}

// cutFile marks a deployment whose Install was cut short after it had removed the previous revision, which the next attempt cannot tell of.
func (r root) cutFile(group, deployment string) string {
	return r.own("changes", group, deployment+".cut")
}

const cutNote = "Install was cut short once, after it had removed the previous revision: what it removed then is not listed"

// note writes down what an installation is about to change, not for good yet. It is for people, and no reason to fail: without a name nothing
// was written, and why is in err.
func (e *Engine) note(ctx context.Context, d *Deployment, plan *install.Plan) (name string, err error) {
	c := e.changesOf(ctx, d, plan)
	if exists(e.root.cutFile(d.GroupID, d.ID)) {
		c.Note = cutNote
	}
	name = e.root.changesFile(d.GroupID, d.ID)
	for _, folder := range []string{filepath.Dir(filepath.Dir(name)), filepath.Dir(name)} {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	name += "." + plan.Transaction()
	if err := c.write(name); err != nil {
		os.Remove(name)
		return "", err
	}
	return name, nil
}

// write makes a file of a record. It is not put on the disk: one that a loss of power has torn is no record, which shows.
func (c *installChanges) write(name string) error {
	data, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(name, append(data, '\n'), 0o600)
	}
	return err
}

// keep makes what was noted the record of a deployment whose installation is complete; wrong is why nothing was noted.
func (e *Engine) keep(d *Deployment, name string, wrong error) error {
	own := e.root.changesFile(d.GroupID, d.ID)
	if wrong == nil {
		wrong = promote(name, own)
	}
	if wrong == nil {
		os.Remove(e.root.cutFile(d.GroupID, d.ID))
		return nil
	}
	for _, gone := range []string{name, own} { // of an earlier Install of the same deployment
		if gone != "" {
			os.Remove(gone)
		}
	}
	e.log.Warn("what Install has changed could not be recorded, its report will not have it", zap.String("deployment", d.ID), zap.Error(wrong))
	return fmt.Errorf("what was changed could not be recorded: %w", wrong)
}

// promote gives a record its own name. A directory of the previous revision in which something else was has stayed.
func promote(name, own string) error {
	c, err := readChanges(name)
	if err != nil {
		return err
	}
	n := len(c.Files)
	c.Files = slices.DeleteFunc(c.Files, func(f *FileChange) bool {
		return f == nil || f.Kind == FileRemoved && f.Type == "directory" && remains(f.Path)
	})
	if len(c.Files) < n {
		if err := c.write(name); err != nil {
			return err
		}
	}
	return os.Rename(name, own)
}

// remains reports whether there is still a directory.
func remains(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// settleChanges sees to what a crash has left of a group's records, and removes those of deployments that are gone, as the official agent removes
// them too. Installations that were cut short have been recovered.
func (e *Engine) settleChanges(group string) {
	entries, err := os.ReadDir(e.root.own("changes", group))
	if err != nil {
		return
	}
	last, open := install.Transactions(e.root.path, group)
	for _, entry := range entries {
		path := e.root.own("changes", group, entry.Name())
		ext := filepath.Ext(entry.Name())
		stem := strings.TrimSuffix(entry.Name(), ext)
		tx := strings.TrimPrefix(ext, ".")
		deployment := strings.TrimSuffix(stem, ".json")
		switch {
		case !exists(filepath.Join(e.root.path, group, deployment)):
			os.Remove(path)
		case ext == ".json", ext == ".cut", slices.Contains(open, tx):
		case tx != last || promote(path, e.root.changesFile(group, deployment)) != nil:
			os.Remove(path)
		}
	}
}

// cutShort notes that a deployment's Install has removed the previous revision and was cut short then.
func (e *Engine) cutShort(r install.Recovered) {
	name := e.root.cutFile(r.Group, r.Deployment)
	if r.Outcome == install.Removed && os.MkdirAll(filepath.Dir(name), 0o700) == nil {
		os.WriteFile(name, nil, 0o600) //nolint:errcheck // a report will have less
	}
}

// forgetChanges removes the record of a deployment.
func (r root) forgetChanges(group, deployment string) {
	os.Remove(r.changesFile(group, deployment))
	os.Remove(r.cutFile(group, deployment))
}

func readChanges(name string) (*installChanges, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, changesFile+1))
	c := new(installChanges)
	switch {
	case err != nil:
		return nil, err
	case len(data) > changesFile:
		return nil, fmt.Errorf("%s is larger than any record of changes", name)
	case json.Unmarshal(data, c) != nil:
		return nil, fmt.Errorf("%s is no record of changes, or is not whole: it is of no use, and can be removed", name)
	case c.Version != changesVersion:
		return nil, fmt.Errorf("%s has version %d, this program reads %d", name, c.Version, changesVersion)
	}
	return c, nil
}

// changesOf says what a plan is about to change, in bounded time.
func (e *Engine) changesOf(ctx context.Context, d *Deployment, plan *install.Plan) *installChanges {
	secrets := e.secrets(d)
	if extra, err := e.envFile(d); err == nil { // as scripts' output is redacted; Install does not need the file
		for _, kv := range extra.set {
			secrets = append(secrets, kv[1])
		}
	}
	n := noter{redact: hooks.Redact(secrets), diffs: changesDiffs, made: changesMade, owners: map[[2]uint32]string{}}
	c := &installChanges{Version: changesVersion, Group: d.GroupID, Deployment: d.ID, At: time.Now().UTC().Truncate(time.Millisecond), Files: []*FileChange{}}
	c.Omitted = plan.Outline(ctx, install.OutlineOptions{Paths: changesPaths, Compare: changesCompare, Read: changesRead}, func(o *install.Outlined) {
		c.Files = append(c.Files, n.describe(o))
	})
	slices.SortFunc(c.Files, func(a, b *FileChange) int { return strings.Compare(a.Path, b.Path) })
	return c
}

// noter puts changes into words.
type noter struct {
	redact      func(string) string
	diffs, made int // bytes that may still be kept, and made
	owners      map[[2]uint32]string
}

func (n *noter) describe(o *install.Outlined) *FileChange {
	c := &FileChange{Path: n.redact(o.Path), Kind: FileChanged, Type: FileType(o.After.Mode), By: Install, Aside: o.Aside}
	was, is := n.state(&o.Before, o.Size, false), n.state(&o.After, o.Bytes, o.Passed)
	switch {
	case o.Kind == install.Gone:
		c.Kind, c.Type, c.Was = FileRemoved, FileType(o.Before.Mode), was
		return c
	case o.Kind == install.Added || o.Before.Mode == 0:
		c.Kind, c.Is = FileAdded, is
		return c
	}
	c.Was, c.Is, c.What = was, is, aspectsOf(o)
	if slices.Contains(c.What, "type") {
		c.Was, c.Is = FileType(o.Before.Mode)+" "+was, c.Type+" "+is
	}
	if slices.Contains(c.What, "content") {
		c.Diff = n.diff(o)
	}
	return c
}

// aspectsOf says in what a path that stays has changed.
func aspectsOf(o *install.Outlined) (what []string) {
	a, b := &o.Before, &o.After
	add := func(is bool, word string) {
		if is {
			what = append(what, word)
		}
	}
	same := a.Mode&unix.S_IFMT == b.Mode&unix.S_IFMT
	add(!same, "type")
	add(same && o.Kind == install.Replaced && b.IsFile(), "content")
	add(same && o.Kind == install.Replaced && b.IsLink(), "link")
	add(same && o.Unread, "rewritten")
	add(same && !b.IsLink() && !o.Passed && (a.Mode^b.Mode)&0o7777 != 0, "mode")
	add(a.UID != b.UID || a.GID != b.GID, "owner")
	add(same && !o.Passed && a.List != b.List, "acl")
	add(same && a.Context != b.Context, "xattr")
	return what
}

// state puts one side into words; passed: what its directory passes on decides its mode.
func (n *noter) state(s *install.State, size int64, passed bool) string {
	if s.Mode == 0 {
		return ""
	}
	return FileState{Mode: s.Mode, Owner: n.owner(s.UID, s.GID), Size: size, Link: n.redact(s.Link), NoMode: passed}.String()
}

func (n *noter) owner(uid, gid uint32) string {
	ids := [2]uint32{uid, gid}
	name, ok := n.owners[ids]
	if !ok {
		who, of := strconv.FormatUint(uint64(uid), 10), strconv.FormatUint(uint64(gid), 10)
		if u, err := user.LookupId(who); err == nil {
			who = u.Username
		}
		if g, err := user.LookupGroupId(of); err == nil {
			of = g.Name
		}
		name = textdiff.Name(who + ":" + of)
		n.owners[ids] = name
	}
	return name
}

// diff is the difference of a small text file, empty if it is none, there is too much already, or nobody should see it: of what is or was for its
// owner alone, or looks like a secret, it is enough that it has changed.
func (n *noter) diff(o *install.Outlined) string {
	if textdiff.Secret(o.Path) != "" || o.Before.Mode&0o077 == 0 || o.After.Mode&0o077 == 0 || n.made <= 0 || n.diffs <= 0 {
		return ""
	}
	was, is, ok := o.Contents(changesDiff)
	if !ok || !textdiff.Plain(was) || !textdiff.Plain(is) {
		return ""
	}
	name := textdiff.Name(n.redact(o.Path))
	text := textdiff.Redacted(name, name, string(was), string(is), n.redact)
	if n.made -= len(text); len(text) > n.diffs {
		return ""
	}
	n.diffs -= len(text)
	return text
}
