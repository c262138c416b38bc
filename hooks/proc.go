package hooks

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// proc is one line of the process table.
type proc struct {
	pid, ppid, pgrp int
	state           byte
	start           uint64 // clock ticks since boot
}

// dead processes only wait to be reaped.
func (p proc) dead() bool { return p.state == 'Z' || p.state == 'X' || p.state == 'x' }

func readProc(pid int) (proc, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, err
	}
	return parseStat(data)
}

// parseStat reads /proc/<pid>/stat. The name in brackets may hold anything, brackets and newlines included.
func parseStat(data []byte) (proc, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return proc{}, fmt.Errorf("read process table: no name in %q", data)
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return proc{}, fmt.Errorf("read process table: too few fields in %q", data)
	}
	p := proc{state: fields[0][0]}
	for _, n := range []struct {
		text string
		to   *int
	}{{string(bytes.TrimSpace(data[:open])), &p.pid}, {fields[1], &p.ppid}, {fields[2], &p.pgrp}} {
		v, err := strconv.Atoi(n.text)
		if err != nil {
			return proc{}, fmt.Errorf("read process table: %w", err)
		}
		*n.to = v
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return proc{}, fmt.Errorf("read process table: %w", err)
	}
	p.start = start
	return p, nil
}

// processes lists the process table as it is seen while walking it.
func processes() []proc {
	var all []proc
	for _, pid := range pids() {
		if p, err := readProc(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}

func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// descendants are the live processes below root, root not among them.
func descendants(root int) []proc {
	children := map[int][]proc{}
	for _, p := range processes() {
		children[p.ppid] = append(children[p.ppid], p)
	}
	var found []proc
	for todo := []int{root}; len(todo) > 0; {
		next := children[todo[0]]
		delete(children, todo[0])
		todo = todo[1:]
		for _, p := range next {
			todo = append(todo, p.pid)
			if !p.dead() {
				found = append(found, p)
			}
		}
	}
	return found
}

// maxCommand and maxListed bound what a result says about left-over processes.
const (
	maxCommand = 200
	maxListed  = 32
)

// describe names processes for a person.
func describe(all []proc, r *redactor) []Process {
	var out []Process
	for _, p := range all[:min(len(all), maxListed)] {
		out = append(out, Process{PID: p.pid, Command: commandLine(p.pid, r)})
	}
	return out
}

func commandLine(pid int, r *redactor) string {
	base := "/proc/" + strconv.Itoa(pid)
	data, err := os.ReadFile(base + "/cmdline")
	if err != nil || len(data) == 0 {
		comm, err := os.ReadFile(base + "/comm")
		if err != nil {
			return "?"
		}
		data = []byte("[" + strings.TrimSpace(string(comm)) + "]")
	}
	data = bytes.ReplaceAll(bytes.TrimRight(data, "\x00"), []byte{0}, []byte{' '})
	return clip(plain(r.clean(data)), maxCommand)
}

// holders finds who else has one of the pipes open; pipes maps the name of the stream to the inode of its pipe.
func holders(pipes map[string]uint64, r *redactor) []Holder {
	streams := map[string]string{}
	for stream, inode := range pipes {
		streams[fmt.Sprintf("pipe:[%d]", inode)] = stream
	}
	var found []Holder
	self := os.Getpid()
	for _, pid := range pids() {
		if pid == self || len(found) >= maxListed {
			continue
		}
		found = append(found, holdings(pid, streams, r)...)
	}
	slices.SortStableFunc(found, func(a, b Holder) int {
		if a.PID != b.PID {
			return a.PID - b.PID
		}
		return a.FD - b.FD
	})
	return found
}

func holdings(pid int, streams map[string]string, r *redactor) []Holder {
	base := "/proc/" + strconv.Itoa(pid) + "/fd"
	dir, err := os.Open(base)
	if err != nil {
		return nil // ended meanwhile, or not ours to look at
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var found []Holder
	for _, name := range names {
		target, err := os.Readlink(base + "/" + name)
		if err != nil {
			continue
		}
		if stream, ok := streams[target]; ok {
			fd, _ := strconv.Atoi(name)
			found = append(found, Holder{Process: Process{PID: pid, Command: commandLine(pid, r)}, Stream: stream, FD: fd})
		}
	}
	return found
}

// writerOf names a process that has path open for writing, which keeps it from being executed.
func writerOf(path string, r *redactor) string {
	want, err := os.Stat(path)
	if err != nil {
		return ""
	}
	for _, pid := range pids() {
		base := "/proc/" + strconv.Itoa(pid)
		dir, err := os.Open(base + "/fd")
		if err != nil {
			continue
		}
		names, _ := dir.Readdirnames(-1)
		dir.Close()
		for _, name := range names {
			got, err := os.Stat(base + "/fd/" + name)
			if err != nil || !os.SameFile(want, got) {
				continue
			}
			if openForWriting(base + "/fdinfo/" + name) {
				return fmt.Sprintf("process %d (%s)", pid, commandLine(pid, r))
			}
		}
	}
	return ""
}

func openForWriting(fdinfo string) bool {
	data, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(flags), 8, 64)
			return err == nil && n&int64(os.O_WRONLY|os.O_RDWR) != 0
		}
	}
	return false
}
