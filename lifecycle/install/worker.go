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

// chunk is how many neighbouring files a worker takes at a time.
const chunk = 64

// eachFile calls f for every index below n, from a few goroutines unless there are few. Goroutines share the errors: the
// first one ends them all.
func (p *Plan) eachFile(ctx context.Context, s *stage, n int, f func(*worker, int) error) error {
	workers := min(max(runtime.GOMAXPROCS(0), 2), 4, (n+chunk-1)/chunk)
	var next atomic.Int64
	work := func(ctx context.Context) error {
		w, err := p.newWorker(s)
		if err != nil {
			return err
		}
		defer w.close()
		for {
			from := int(next.Add(chunk)) - chunk
			for i := from; i < min(from+chunk, n); i++ {
				if err := f(w, i); err != nil {
					return err
				}
			}
			if from+chunk >= n {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	if n == 0 {
		return nil
	}
	if workers == 1 || p.probe != nil {
		return work(ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error { return work(ctx) })
	}
	return g.Wait()
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
	if lstatAt(dst, f.name, &st) != nil {
		return false, nil
	}
	want := p.want(f)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != f.size || st.Mtim.Nano() != f.mtime || st.Nlink != 1 ||
		(attrs{st.Mode & 0o7777, st.Uid, st.Gid}) != want {
		return false, nil
	}
	if lists, err := w.hasLists(f.dir, dst, f.name); err != nil || lists {
		return false, nil
	}
	src, err := w.src.get(dirID(f.src))
	if err != nil {
		return false, fmt.Errorf("plan installation: read the bundle: %w", err)
	}
	return equalFiles(src, dst, f.name, w.buffers)
}

// hasLists reports whether a file has an access control list, or would have inherited one from its directory.
func (w *worker) hasLists(id dirID, dst int, name string) (bool, error) {
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
		return true, nil
	}
	fd, err := openat(dst, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	list, err := getACL(fd, aclAccess)
	return list != nil, err
}
