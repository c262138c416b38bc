package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// LeftOptions says what to look at, and how to tell of it.
type LeftOptions struct {
	Proc   string              // where proc is mounted; "": /proc
	Marks  *Marks              // of the rehearsal; nil: processes belong to no event
	Redact func(string) string // takes secrets out of command lines; nil: as they are
	// Shims is the word by which the processes that run scripts are known, as the second of their command line, such as hook-shim. These, this process
	// and what it runs of this program itself are not told of.
	Shims []string
}

// maxCommand bounds a command line, in bytes.
const maxCommand = 1000

// runningProcess is one of /proc.
type runningProcess struct {
	pid, parent int
	uid, gid    uint32
	began       time.Duration // since boot
	command     string
}

// Left tells what runs, and what listens, in the pid and network namespace of this process, in the order of the pids and of the addresses. Process 1, this
// one, kernel threads and ended processes are left out. Who listens is not known of sockets of processes that may not be looked into.
func Left(ctx context.Context, o LeftOptions) ([]lifecycle.LeftProcess, []lifecycle.Listener, error) {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	entries, err := os.ReadDir(o.Proc)
	if err != nil {
		return nil, nil, fmt.Errorf("look what runs in the sandbox: %w", err)
	}
	sockets := listening(o.Proc)
	var left []lifecycle.LeftProcess
	owner := map[uint64]int{} // of sockets, in left; those of this program: -1
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("look what runs in the sandbox: %w", err)
		}
		p, ok := o.look(pid)
		if !ok {
			continue
		}
		held, named := inspect(o.Proc, p)
		if o.ours(p) {
			for _, inode := range held {
				owner[inode] = -1
			}
			continue
		}
		l := lifecycle.LeftProcess{PID: pid, User: userName(p.uid), Command: o.Redact(p.command), By: o.Marks.at(p.began, named)}
		for _, inode := range held {
			s, ok := sockets[inode]
			if !ok {
				continue
			}
			if text := s.network + " " + s.address; !slices.Contains(l.Listens, text) {
				l.Listens = append(l.Listens, text)
			}
			if _, ok := owner[inode]; !ok { // a child has it of its parent, which is older
				owner[inode] = len(left)
			}
		}
		slices.Sort(l.Listens)
		left = append(left, l)
	}
	return left, listeners(sockets, owner, left), nil
}

func listeners(sockets map[uint64]listeningSocket, owner map[uint64]int, left []lifecycle.LeftProcess) []lifecycle.Listener {
	var list []lifecycle.Listener
	for inode, s := range sockets {
		l := lifecycle.Listener{Network: s.network, Address: s.address}
		switch i, ok := owner[inode]; {
		case ok && i < 0:
			continue
		case ok:
			l.PID, l.Command = left[i].PID, left[i].Command
		}
		list = append(list, l)
	}
	slices.SortStableFunc(list, func(a, b lifecycle.Listener) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Address, b.Address), cmp.Compare(a.PID, b.PID))
	})
	return list
}

// look reads a process. ok is false if it has ended, or is none.
func (o *LeftOptions) look(pid int) (p runningProcess, ok bool) {
	dir := filepath.Join(o.Proc, strconv.Itoa(pid))
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	p, state, err := parseStat(string(stat))
	if err != nil || state == 'Z' || state == 'X' {
		return p, false
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return p, false
	}
	p.uid, p.gid = st.Uid, st.Gid
	line, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return p, false
	}
	if len(line) == 0 {
		if p.parent == 0 || p.parent == 2 {
			return p, false // a thread of the kernel
		}
		p.command = "[" + p.command + "]"
		return p, true
	}
	p.command = flatLine(strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " "), maxCommand)
	if id := statusIDs(readText(dir + "/status")); id != nil { // the files of who may not be looked into belong to root
		p.uid, p.gid = id[0], id[1]
	}
	return p, true
}

// ours tells whether a process is a part of the rehearsal itself.
func (o *LeftOptions) ours(p runningProcess) bool {
	if p.pid == 1 || p.pid == os.Getpid() {
		return true
	}
	words := strings.Fields(p.command)
	if len(words) > 1 && slices.Contains(o.Shims, words[1]) {
		return true
	}
	var self, other unix.Stat_t
	exe := filepath.Join(o.Proc, strconv.Itoa(p.pid), "exe")
	return len(words) > 0 && answers(filepath.Base(words[0])) &&
		unix.Stat("/proc/self/exe", &self) == nil && unix.Stat(exe, &other) == nil && self.Dev == other.Dev && self.Ino == other.Ino
}

// parseStat reads /proc/PID/stat (proc(5)). The name may hold anything, parentheses and spaces too.
func parseStat(text string) (p runningProcess, state byte, err error) {
	unreadable := errors.New("not understood: " + strconv.Quote(flatLine(text, 100)))
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return p, 0, unreadable
	}
	if p.pid, err = strconv.Atoi(strings.TrimSpace(text[:open])); err != nil {
		return p, 0, unreadable
	}
	f := strings.Fields(text[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return p, 0, unreadable
	}
	ticks, err := strconv.ParseUint(f[19], 10, 53) // the time of 2,800,000 years
	if err != nil {
		return p, 0, unreadable
	}
	if p.parent, err = strconv.Atoi(f[1]); err != nil {
		return p, 0, unreadable
	}
	p.command, p.began = flatLine(text[open+1:end], maxCommand), time.Duration(min(ticks, uint64(1<<62/procTick)))*procTick
	return p, f[0][0], nil
}

// statusIDs are the effective user and group of /proc/PID/status, nil if they are not there.
func statusIDs(text string) []uint32 {
	var ids []uint32
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "Uid:" && f[0] != "Gid:" {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return nil
		}
		ids = append(ids, uint32(id))
	}
	if len(ids) != 2 {
		return nil
	}
	return ids
}

// inspect tells the inodes of the sockets that a process holds, and the event that it names in its environment. Behind the walls root may look
// into processes of the same user alone; but it may become that user, for its access to files and on one thread, which ends here.
func inspect(proc string, p runningProcess) (inodes []uint64, named lifecycle.Event) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		dir := filepath.Join(proc, strconv.Itoa(p.pid), "fd")
		if p.uid != uint32(os.Geteuid()) {
			_, _ = unix.SetfsgidRetGid(int(p.gid))
			_, _ = unix.SetfsuidRetUid(int(p.uid))
		}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			target, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil || !strings.HasPrefix(target, "socket:[") {
				continue
			}
			if inode, err := strconv.ParseUint(strings.TrimSuffix(target[len("socket:["):], "]"), 10, 64); err == nil {
				inodes = append(inodes, inode)
			}
		}
		env, _ := os.ReadFile(filepath.Join(proc, strconv.Itoa(p.pid), "environ"))
		for v := range strings.SplitSeq(string(env), "\x00") {
			if event, ok := strings.CutPrefix(v, "LIFECYCLE_EVENT="); ok {
				named = lifecycle.Event(event)
			}
		}
	}()
	<-done
	return inodes, named
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// flatLine is text without control characters, of so many bytes at most.
func flatLine(text string, size int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > size {
		text = strings.ToValidUTF8(text[:size], "") + "…"
	}
	return text
}
