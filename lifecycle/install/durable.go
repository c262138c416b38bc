package install

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// Up to so much, files are synced one by one, so that an error names its file; above, the whole file system is.
	syncFiles = 256
	syncBytes = 64 << 20
	// Up to so many directories are synced one by one.
	syncDirs = 64
	// Syncs wait for the disk, not for a core.
	syncers = 16
)

// sync puts what was staged on the disk.
func (s *stage) sync(ctx context.Context) error {
	p := s.p
	files, bytes := 0, int64(0)
	for i := range p.files {
		if p.files[i].act != actSame {
			files++
			bytes += p.files[i].size
		}
	}
	if (files > syncFiles || bytes > syncBytes) && syncfsReports() {
		return s.t.syncfs()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(syncers)
	volatile := map[dirID]bool{}
	for i := range p.files {
		f := &p.files[i]
		if f.act == actSame || f.link() || s.volatile(volatile, f.dir) {
			continue
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name := f.name
			if p.dirs[f.dir].live() {
				name = s.t.hidden(uint32(i))
			}
			if err := syncFile(s.path(f.dir), name); err != nil {
				return fmt.Errorf("write %s to the disk: %w", p.target(int32(i)), spaceErr(err))
			}
			return nil
		})
	}
	for _, i := range p.order {
		if i >= 0 || p.dirs[^i].live() || s.volatile(volatile, dirID(^i)) {
			continue
		}
		g.Go(func() error { return syncDir(s.path(dirID(^i)), 0) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.t.syncDirs()
}

// volatile reports whether a directory is in memory only, and remembers it.
func (s *stage) volatile(known map[dirID]bool, id dirID) bool {
	v, ok := known[id]
	if !ok {
		v = inMemory(s.path(id))
		known[id] = v
	}
	return v
}

func inMemory(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && (fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC)
}

func syncFile(dir, name string) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	defer closeFD(d)
	fd, err := openat(d, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return unix.Fsync(fd)
}

func syncDir(path string, ino uint64) error {
	fd, err := openLive(path, ino)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if err := unix.Fsync(fd); err != nil && !unsupported(err) {
		return fmt.Errorf("write directory %s to the disk: %w", path, err)
	}
	return nil
}

// syncOwn puts the names in a folder of our own on the disk. The way to it may lead through links.
func syncOwn(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncDirs puts the names in the transaction's directories on the disk. One that went meanwhile is no error.
func (t *transaction) syncDirs() error {
	if len(t.dirs) > syncDirs && syncfsReports() {
		return t.syncfs()
	}
	var g errgroup.Group
	g.SetLimit(syncers)
	for _, d := range t.dirs {
		g.Go(func() error {
			if err := syncDir(d.path, d.ino); err != nil && !vanished(err) {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// syncfs puts every file system that the transaction has to do with on the disk.
func (t *transaction) syncfs() error {
	done := map[uint64]bool{}
	for _, d := range t.dirs {
		if err := syncfsOf(d, done); err != nil && !vanished(err) {
			return fmt.Errorf("write the file system of %s to the disk: %w", d.path, spaceErr(err))
		}
	}
	return nil
}

func syncfsOf(d liveDir, done map[uint64]bool) error {
	fd, err := openLive(d.path, d.ino)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if done[st.Dev] {
		return nil
	}
	done[st.Dev] = true
	return unix.Syncfs(fd)
}

// syncfsReports reports whether syncfs tells of write errors: it does since Linux 5.8.
func syncfsReports() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > 5 || a == 5 && b >= 8)
}
