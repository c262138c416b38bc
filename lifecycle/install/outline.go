package install

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OutlineOptions bound what an Outline costs, however much the plan does.
type OutlineOptions struct {
	Paths   int   // how many paths are looked at
	Compare int64 // bytes of the largest file that is compared with another one of its size
	Read    int64 // bytes that are read in all, for comparisons and by Contents
}

// Outlined is a Change as Outline yields it.
type Outlined struct {
	Change
	Size int64 // of the file that is there before
	// Unread is true of a file that is Rewritten by one of its size, and was too large, or one too many, to be compared with it: it may be
	// Replaced as well.
	Unread bool

	contents func(most int64) (was, is []byte, ok bool)
}

// Contents reads both sides of a file that takes the place of another; false if they are no such files, one of them has more than most bytes or
// cannot be read, or enough has been read already.
func (o *Outlined) Contents(most int64) (was, is []byte, ok bool) {
	if o.contents == nil {
		return nil, nil, false
	}
	return o.contents(most)
}

// Outline is Changes for a plan of any size: of the paths that become other than they are it yields some, and leaves out the rest without a look at
// the host or the bundle. Those go first of which the plan knows for certain that something of other content is there, or that they go; then those that are
// added; and in the end files of equal size. What turns out to stay as it is is left out. It is to be called before the plan is applied, and
// returns how many paths it has not looked at. What cannot be looked at is told as far as it is known. yield is called with one after the other.
func (p *Plan) Outline(ctx context.Context, o OutlineOptions, yield func(*Outlined)) (unlooked int) {
	list, unlooked := p.outlined(o.Paths)
	w, err := p.newWorker(nil)
	if err != nil { // Apply meets the same
		return unlooked + len(list)
	}
	defer w.close()
	x := outliner{p: p, w: w, o: o, lists: map[dirID]bool{}}
	for at, i := range list {
		if ctx.Err() != nil {
			return unlooked + len(list) - at
		}
		if c := x.look(i); c.Kind != Same {
			yield(c)
		}
	}
	return unlooked
}

// outlined chooses the paths that are looked at, coded as in Plan.order; removals come after the files.
func (p *Plan) outlined(most int) (list []int32, unlooked int) {
	var certain, added, equal, quiet []int32
	total := len(p.removals)
	enter := func(to *[]int32, i int32) {
		total++
		if len(*to) < most {
			*to = append(*to, i)
		}
	}
	for _, i := range p.order {
		if i < 0 {
			switch d := &p.dirs[^i]; {
			case !d.live() && !d.occupied:
				enter(&added, i)
			case !d.live() || p.resets(dirID(^i)):
				enter(&certain, i)
			case len(quiet) < most: // only a list may be another
				quiet = append(quiet, i)
			}
			continue
		}
		switch f := &p.files[i]; {
		case f.act == actAdd:
			enter(&added, i)
		case f.act == actReplace && f.other:
			enter(&certain, i)
		case f.act == actReplace:
			enter(&equal, i)
		}
	}
	for i := range p.removals[:min(len(p.removals), max(most-len(certain), 0))] {
		certain = append(certain, int32(len(p.files)+i))
	}
	for _, some := range [][]int32{certain, added, equal} {
		list = append(list, some[:min(len(some), most-len(list))]...)
	}
	unlooked = total - len(list)
	return append(list, quiet[:min(len(quiet), most-len(list))]...), unlooked
}

// resets reports whether a directory that stays gets another mode or owner.
func (p *Plan) resets(id dirID) bool {
	before, after, _ := p.dirStates(id)
	return before.Attributes(after)
}

// outliner looks at one path after the other.
type outliner struct {
	p     *Plan
	w     *worker
	o     OutlineOptions
	lists map[dirID]bool
}

func (x *outliner) look(i int32) *Outlined {
	p, c := x.p, new(Outlined)
	switch n := int32(len(p.files)); {
	case i < 0:
		c.Change = p.dirChange(dirID(^i), x.lists)
		return c
	case i >= n:
		r := &p.removals[i-n]
		c.Change = p.removalChange(r)
		if info, err := os.Lstat(join(p.dirs[r.dir].path, r.name)); err == nil {
			c.Size = info.Size()
		} else {
			c.Kind = Same // it is gone already
		}
		return c
	}
	f := &p.files[i]
	if f.act != actReplace {
		c.Change = p.fileChange(i, State{}, false, x.lists)
		return c
	}
	most := x.o.Compare
	if 2*f.size > x.o.Read {
		most = -1
	}
	there, err := x.w.compare(int(i), most)
	if err != nil {
		there = occupant{unread: true}
	} else if !there.unread && !f.other && !f.link() {
		x.o.Read -= 2 * f.size
	}
	c.Change, c.Size, c.Unread = p.fileChange(i, there.State, there.equal || there.unread, x.lists), there.size, there.unread
	if there.IsFile() && !f.link() && c.Kind == Replaced {
		c.contents = func(most int64) (was, is []byte, ok bool) { return x.contents(i, there.size, most) }
	}
	if c.Kind == Rewritten && !c.Unread && (c.Passed || !c.Before.Attributes(c.After)) {
		c.Kind = Same
	}
	return c
}

// contents reads both sides of a file.
func (x *outliner) contents(i int32, size, most int64) (was, is []byte, ok bool) {
	f := &x.p.files[i]
	if size > most || f.size > most || size+f.size > x.o.Read {
		return nil, nil, false
	}
	x.o.Read -= size + f.size
	dst, err := x.w.dst.get(f.dir)
	if err != nil {
		return nil, nil, false
	}
	src, err := x.w.src.get(dirID(f.src))
	if err != nil {
		return nil, nil, false
	}
	was, ok = readWhole(dst, f.name, size)
	if ok {
		is, ok = readWhole(src, f.name, f.size)
	}
	return was, is, ok
}

// readWhole reads a file that is size bytes long; false if it is not, or is no file.
func readWhole(dir int, name string, size int64) ([]byte, bool) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer closeFD(fd)
	buf := make([]byte, size+1) // one more, to see the end
	n, err := readFull(fd, buf)
	return buf[:size], err == nil && int64(n) == size
}

// Transaction names the transaction that carries the plan out. One that Replaces is carried out by two others.
func (p *Plan) Transaction() string { return p.tx }

// Transactions says by which transaction the last installation of a group was completed, "" if that is not known, and which of the group's
// are neither finished nor undone. Call Recover first.
func Transactions(root, group string) (last string, open []string) {
	if h, err := readHeader(filepath.Join(stateDir(root), group+manifestSuffix)); err == nil && h.Group == group {
		last = h.TX
	}
	for _, h := range journals(root) {
		if h.Group == group {
			open = append(open, h.TX)
		}
	}
	return last, open
}
