package rehearse

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
	"slipway/lifecycle/textdiff"
)

// ChangesOptions say how much of the changes is told.
type ChangesOptions struct {
	Max     int                      // changes; 0: 5000
	DiffMax int64                    // bytes of a text file that a difference is shown of, on either side; 0: 64 KiB; negative: no differences
	Redact  func(text string) string // takes secrets out of a text; nil: nothing is taken out
}

const (
	defaultMax     = 5000
	defaultDiffMax = 64 << 10
	// diffTotal is how many bytes of differences are told at most.
	diffTotal = 8 << 20
)

// Changes are the differences of the copy to the host as of the last Mark, in the order of a tree: a folder, then what is in it. The second
// value is how many more there are. What does not count as a difference is in Ignored; a folder that only holds changes is none.
//
// A renamed folder is one that was removed and one that was added. A directory that was added or removed with twenty or more paths in it by
// one event stands for them (Fold), but programs with set-id bits are shown nevertheless; removed paths are counted up to CountMax. A text
// difference is given of changed files, and of files that a script has added, unless they hold passwords or keys, or are for their owner alone.
func (s *Scanner) Changes(ctx context.Context, o ChangesOptions) ([]lifecycle.FileChange, int, error) {
	if o.Max <= 0 {
		o.Max = defaultMax
	}
	if o.DiffMax == 0 {
		o.DiffMax = defaultDiffMax
	}
	if o.Redact == nil {
		o.Redact = func(text string) string { return text }
	}
	f := folding{made: s.made}
	if err := s.eachChange(ctx, func(c found) error { f.add(c); return nil }); err != nil {
		return nil, 0, err
	}
	list := f.done()
	omitted := s.beyond
	for len(list) > o.Max {
		last := list[len(list)-1]
		omitted += 1 + last.fold
		list = list[:len(list)-1]
	}
	d := describer{Scanner: s, o: o, left: diffTotal, sides: sides{s: s}}
	defer d.close()
	changes := make([]lifecycle.FileChange, len(list))
	for i := range list {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		changes[i] = d.describe(&list[i])
	}
	return changes, omitted, nil
}

// describer puts changes into words.
type describer struct {
	*Scanner
	o     ChangesOptions
	left  int // bytes of differences that may still be told
	names [2]*accountNames
	sides
	fds [2]int
}

func (d *describer) describe(c *found) lifecycle.FileChange {
	by := d.made[c.by]
	change := lifecycle.FileChange{
		Path: c.path, Kind: c.kind.String(), Type: lifecycle.FileType(c.mode), By: by.event, ByHook: by.hook, What: c.what.names(), Fold: c.fold,
	}
	at := strings.TrimSuffix(d.layers[c.layer].At, "/")
	var name string
	d.fds, name = d.enter(int(c.layer), strings.TrimPrefix(c.path, at))
	if c.kind != added {
		change.Was = d.state(lower, name)
	}
	if c.kind != removed {
		change.Is = d.state(upper, name)
	}
	if c.what&byType != 0 && change.Was != "" {
		var st unix.Stat_t
		if lookAt(d.fds[lower], name, &st) == nil {
			change.Was = lifecycle.FileType(st.Mode) + " " + change.Was
			change.Is = change.Type + " " + change.Is
		}
	}
	if c.mode&unix.S_IFMT == unix.S_IFREG && (c.what&byContent != 0 || c.kind == added && by.hook) {
		change.Diff = d.diff(c, name)
	}
	return change
}

// state is one side in words: "0644 root:root 1234 bytes", "root:root -> ../there", "0600 root:root 8:0". Empty: it is gone.
func (d *describer) state(side int, name string) string {
	var st unix.Stat_t
	if d.fds[side] < 0 || lookAt(d.fds[side], name, &st) != nil {
		return ""
	}
	if d.names[side] == nil {
		d.names[side] = d.accounts(side)
	}
	state := lifecycle.FileState{
		Mode: st.Mode, Owner: d.names[side].user(d.users.out(st.Uid)) + ":" + d.names[side].group(d.groups.out(st.Gid)), Size: st.Size, Device: st.Rdev,
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		state.Link, _ = linkAt(d.fds[side], name) // as far as is known
	}
	return state.String()
}

// diff is the difference of a text file, empty if it is none, too large, or there is too much already. Passwords, private keys, and what is for
// its owner alone are not shown: that they have changed is enough.
func (d *describer) diff(c *found, name string) string {
	if d.private(name) || textdiff.Secret(c.path) != "" {
		return ""
	}
	is, ok := d.text(upper, name)
	if !ok {
		return ""
	}
	from, was := "/dev/null", ""
	if c.kind != added {
		from = c.path
		if was, ok = d.text(lower, name); !ok {
			return ""
		}
	}
	text := textdiff.Redacted(clean(from), clean(c.path), was, is, d.o.Redact)
	if len(text) > d.left {
		return ""
	}
	d.left -= len(text)
	return text
}

// private reports whether a file is, or was, for its owner alone.
func (d *describer) private(name string) bool {
	for _, fd := range d.fds {
		var st unix.Stat_t
		if fd >= 0 && lookAt(fd, name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o077 == 0 {
			return true
		}
	}
	return false
}

// text reads a small text file.
func (d *describer) text(side int, name string) (string, bool) {
	if d.fds[side] < 0 {
		return "", false
	}
	data, err := readSmall(d.fds[side], name, d.o.DiffMax)
	if err != nil || !textdiff.Plain(data) {
		return "", false
	}
	return string(data), true
}

// errTooLarge says that a file has more than was asked for.
var errTooLarge = fmt.Errorf("it is too large")

// readSmall reads a regular file of at most max bytes.
func readSmall(dir int, name string, max int64) ([]byte, error) {
	fd, size, err := openFile(dir, name)
	if err != nil {
		return nil, err
	}
	defer closeFolder(fd)
	if size > max {
		return nil, errTooLarge
	}
	buf := make([]byte, size)
	n, err := readAt(fd, buf, 0)
	return buf[:n], err
}

// clean makes a name of the copy fit for a line.
func clean(text string) string { return textdiff.Name(text) }
