package rehearse

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// othersMost is how much free space others may take from the file system, beside what is found in the layers, without ending the rehearsal. What a
// script keeps open and has removed looks the same, so that it cannot be without a bound.
const othersMost = 1 << 30

// diskWatch holds what is written on a disk to its bound. No quota can be had there for sure, so that the free space is looked at; only when that has
// shrunk by the bound the layers are gone through, since others may have written meanwhile.
type diskWatch struct {
	store string // where the layers are
	named string // what the person has named
	size  int64  // the bound
	begun int64  // bytes that were free at the beginning
	least int64  // bytes that are free as long as nothing has to be looked at
}

// newDiskWatch is nil where the file system does not tell its free space.
func newDiskWatch(store, named string, size int64) *diskWatch {
	free, ok := freeAt(store)
	if !ok {
		return nil
	}
	return &diskWatch{store: store, named: named, size: size, begun: free, least: max(free-size, diskReserve)}
}

// look says why the sandbox has to end; empty: it has not.
func (w *diskWatch) look() string {
	free, ok := freeAt(w.store)
	switch {
	case !ok || free >= w.least:
		return ""
	case free < diskReserve:
		return fmt.Sprintf("only %s are free on the file system of %s", bytesText(free), w.named)
	}
	written := writtenBelow(w.store, w.size)
	if written > w.size || w.begun-free-written > max(w.size, othersMost) {
		return fmt.Sprintf("what may be written into %s, %s, is used up", w.named, bytesText(w.size))
	}
	// An eighth is let go by between two looks: they take time.
	w.least = max(free-max(w.size-written, w.size/8), diskReserve)
	return ""
}

func freeAt(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}

// writtenBelow is how many bytes files below a folder take on the disk, or more than enough as soon as that is known. What is deeper than layers are
// read is not counted.
func writtenBelow(dir string, enough int64) int64 {
	fd, err := openFolder(dir)
	if err != nil {
		return 0
	}
	defer closeFolder(fd)
	c := &diskCount{enough: enough, seen: map[[2]uint64]bool{}}
	c.folder(fd, 0)
	return c.bytes
}

type diskCount struct {
	enough, bytes int64
	seen          map[[2]uint64]bool // files of several names, by device and inode
}

func (c *diskCount) folder(fd, depth int) {
	if depth > maxDepth {
		return
	}
	_ = eachName(fd, make([]byte, 32<<10), func(name []byte, _ uint8) bool { // what goes while it is counted is not there
		var st unix.Stat_t
		base := string(name)
		if lookAt(fd, base, &st) != nil {
			return true
		}
		if id := [2]uint64{st.Dev, st.Ino}; st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if c.seen[id] {
				return true
			}
			c.seen[id] = true
		}
		c.bytes += st.Blocks * 512
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if sub, err := openSub(fd, base); err == nil {
				c.folder(sub, depth+1)
				closeFolder(sub)
			}
		}
		return c.bytes <= c.enough
	})
}
