package install

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// worker works on files of a plan, each with its own descriptors and buffers.
type worker struct {
	p       *Plan
	s       *stage // nil while planning
	archive *os.Root
	src     fdCache // by index into Plan.sources
	dst     fdCache
	facts   map[dirID]dirFacts
	buffers [2][]byte
}

// dirFacts are what a directory does to the files that are made in it.
type dirFacts struct {
	setgid bool
	list   bool // it has a default access control list
	// other is true if the directory is to be reset to another default list, inherit: the files are to have what they would
	// have inherited in a new directory, not what the old one passes on.
	other   bool
	inherit []byte
}

func (p *Plan) newWorker(s *stage) (*worker, error) {
	archive, err := os.OpenRoot(p.req.Archive)
	if err != nil {
		return nil, fmt.Errorf("open the unpacked bundle: %w", err)
	}
	w := &worker{p: p, s: s, archive: archive, facts: map[dirID]dirFacts{}}
	w.src.open = func(i dirID) (int, error) {
		f, err := archive.Open(p.sources[i])
		if err != nil {
			return -1, err
		}
		defer f.Close()
		return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	w.dst.open = func(i dirID) (int, error) {
		if s == nil || p.dirs[i].live() {
			return openLive(p.dirs[i].path, p.dirs[i].ino)
		}
		return openDir(s.path(i))
	}
	w.buffers[0] = make([]byte, 128<<10)
	w.buffers[1] = make([]byte, 128<<10)
	return w, nil
}

func (w *worker) close() {
	w.src.close()
	w.dst.close()
	w.archive.Close()
}

// chunk is how many neighbouring items a goroutine takes at a time.
const chunk = 64

// parallel hands out the numbers below n in runs of at most size to a few goroutines, or to this one if there are few or
// serial is set. Each calls next until it returns false. The first error ends them all.
func parallel(ctx context.Context, n, size int, serial bool, work func(ctx context.Context, next func() (from, to int, ok bool)) error) error {
	if n == 0 {
		return nil
	}
	var taken atomic.Int64
	run := func(ctx context.Context) error {
		return work(ctx, func() (int, int, bool) {
			from := int(taken.Add(int64(size))) - size
			return from, min(from+size, n), from < n && ctx.Err() == nil
		})
	}
	workers := min(max(runtime.GOMAXPROCS(0), 2), 4, (n+size-1)/size)
	if workers == 1 || serial {
		if err := run(ctx); err != nil {
			return err
		}
		return context.Cause(ctx)
	}
	g, gctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error { return run(gctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// eachFile calls f for every index below n, with a worker of its own in each goroutine.
func (p *Plan) eachFile(ctx context.Context, s *stage, n int, f func(*worker, int) error) error {
	return parallel(ctx, n, chunk, p.probe != nil, func(_ context.Context, next func() (int, int, bool)) error {
		w, err := p.newWorker(s)
		if err != nil {
			return err
		}
		defer w.close()
		for from, to, ok := next(); ok; from, to, ok = next() {
			for i := from; i < to; i++ {
				if err := f(w, i); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// isSame reports whether the file that stands at a target is what the plan would leave there. Whatever cannot be read counts
// as different.
func (w *worker) isSame(i int) (bool, error) {
	p := w.p
	f := &p.files[i]
	dst, err := w.dst.get(f.dir)
	if err != nil {
		return false, fmt.Errorf("plan installation: %w", err)
	}
	var st unix.Stat_t
	there := lstatAt(dst, f.name, &st) == nil
	want := p.want(f)
	if !there || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != f.size || st.Mtim.Nano() != f.mtime || st.Nlink != 1 ||
		(attrs{st.Mode & 0o7777, st.Uid, st.Gid}) != want {
		return false, nil
	}
	if w.hasLists(f.dir, dst, f.name) {
		return false, nil
	}
	src, err := w.src.get(dirID(f.src))
	if err != nil {
		return false, fmt.Errorf("plan installation: read the bundle: %w", err)
	}
	return equalFiles(src, dst, f.name, f.size, w.buffers)
}

// hasLists reports whether a file has an access control list, may have one, or would have inherited one from its directory.
func (w *worker) hasLists(id dirID, dst int, name string) bool {
	facts, ok := w.facts[id]
	if !ok {
		for d := id; ; d = w.p.dirs[d].parent {
			n, err := unix.Getxattr(w.p.dirs[d].path, aclDefault, nil)
			facts.list = facts.list || err == nil && n > 0
			if !w.p.dirs[d].planned {
				break
			}
		}
		w.facts[id] = facts
	}
	if facts.list {
		return true
	}
	fd, err := openat(dst, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer closeFD(fd)
	list, err := getACL(fd, aclAccess)
	return list != nil || err != nil
}
