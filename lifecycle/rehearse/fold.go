package rehearse

import (
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// foldFrom is how many paths below a directory it stands for. Fewer are shown one by one.
const foldFrom = 20

// folding gathers changes, and lets a directory that was added with all that is in it by one event stand for them. Programs that run with
// the rights of another, and devices, are shown nevertheless.
type folding struct {
	made []mark
	out  []found
	open []growing
}

// growing is an added directory whose contents are being gathered.
type growing struct {
	at    int // index into out
	path  string
	n     int
	mixed bool // not all that is in it is of the same event
}

func (f *folding) add(c found) {
	f.closeUntil(c.path)
	if n := len(f.open); n > 0 {
		over := &f.open[n-1]
		over.n++
		if dir := &f.out[over.at]; c.kind != added || f.made[c.by] != f.made[dir.by] {
			over.mixed = true
		}
	}
	f.out = append(f.out, c)
	if c.kind == added && c.mode&unix.S_IFMT == unix.S_IFDIR {
		f.open = append(f.open, growing{at: len(f.out) - 1, path: c.path + "/"})
	}
}

// closeUntil closes the directories that path is not in.
func (f *folding) closeUntil(path string) {
	for n := len(f.open) - 1; n >= 0 && !strings.HasPrefix(path, f.open[n].path); n-- {
		d := f.open[n]
		f.open = f.open[:n]
		if n > 0 {
			f.open[n-1].n += d.n
			f.open[n-1].mixed = f.open[n-1].mixed || d.mixed
		}
		if d.mixed || d.n < foldFrom {
			continue
		}
		shown := slices.DeleteFunc(f.out[d.at+1:], func(c found) bool { return !telling(c.mode) })
		f.out = f.out[:d.at+1+len(shown)]
		f.out[d.at].fold = d.n - len(shown)
	}
}

// done gives what was gathered, in the order of a tree.
func (f *folding) done() []found {
	f.closeUntil("")
	sort.Slice(f.out, func(i, j int) bool { return treeOrder(f.out[i].path, f.out[j].path) < 0 })
	return f.out
}

// telling reports whether a file should not vanish among many.
func telling(mode uint32) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return mode&(unix.S_ISUID|unix.S_ISGID) != 0
	case unix.S_IFCHR, unix.S_IFBLK:
		return true
	}
	return false
}

// treeOrder compares two paths so that a directory comes directly before what is in it.
func treeOrder(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}
