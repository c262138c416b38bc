package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the limits of users are kept, in the order they are read. The files are pam_limits', and are read as it does: a script that su
// starts has them by PAM, one whose user the shim switches itself has them by this.
const (
	limitsFile   = "/etc/security/limits.conf"
	limitsFolder = "/etc/security/limits.d"
	nrOpenFile   = "/proc/sys/fs/nr_open" // the most descriptors that the kernel gives, which stands for "unlimited"
)

// maxLimitsFile bounds what is read of one file, and maxLimitNotes what is told of it: notes go into the result of every script.
const (
	maxLimitsFile = 1 << 20
	maxLimitNotes = 8
)

// unlimited is the kernel's word for no limit.
const unlimited = ^uint64(0)

// An entry of these files names one item for one set of users.
type limitEntry struct {
	file       string
	line       int
	domain     string // as written: user, @group, %group, *, min:max
	soft, hard bool
	item       string // "" in a line "user -", which exempts the user from all
	value      uint64 // in the kernel's unit, or nice and priority as they are
}

// limitItem is how an item is written and what it becomes.
type limitItem struct {
	resource int    // of setrlimit; -1: none
	unit     uint64 // that the file counts in
}

// The items of limits.conf. What is no matter of a process (how often a user may be logged in) is known and left alone.
var limitItems = map[string]limitItem{
	"core": {unix.RLIMIT_CORE, 1 << 10}, "data": {unix.RLIMIT_DATA, 1 << 10}, "fsize": {unix.RLIMIT_FSIZE, 1 << 10},
	"memlock": {unix.RLIMIT_MEMLOCK, 1 << 10}, "rss": {unix.RLIMIT_RSS, 1 << 10}, "stack": {unix.RLIMIT_STACK, 1 << 10}, "as": {unix.RLIMIT_AS, 1 << 10},
	"nofile": {unix.RLIMIT_NOFILE, 1}, "nproc": {unix.RLIMIT_NPROC, 1}, "locks": {unix.RLIMIT_LOCKS, 1}, "sigpending": {unix.RLIMIT_SIGPENDING, 1},
	"msgqueue": {unix.RLIMIT_MSGQUEUE, 1}, "rtprio": {unix.RLIMIT_RTPRIO, 1}, "nice": {unix.RLIMIT_NICE, 1}, "cpu": {unix.RLIMIT_CPU, 60},
	"priority": {-1, 1}, "maxlogins": {-1, 1}, "maxsyslogins": {-1, 1}, "nonewprivs": {-1, 1}, "chroot": {-1, 1},
}

// parseLimits reads one file. What it cannot make sense of is told, with its line, and passed over, as PAM does.
func parseLimits(file string, data []byte, nrOpen uint64) (entries []limitEntry, notes []string) {
	number, wrong := 0, 0
	for line := range bytes.Lines(data) {
		number++
		text, _, _ := strings.Cut(string(line), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		e, known, err := parseLimit(fields, nrOpen)
		if err != nil {
			wrong++
		}
		if err != nil && wrong <= maxLimitNotes {
			notes = append(notes, fmt.Sprintf("%s:%d: %s; the line is passed over", file, number, clip(plain([]byte(err.Error())), excerptLine)))
		}
		if known {
			e.file, e.line = file, number
			entries = append(entries, e)
		}
	}
	if wrong > maxLimitNotes {
		notes = append(notes, fmt.Sprintf("%s: %d more lines are passed over", file, wrong-maxLimitNotes))
	}
	return entries, notes
}

// parseLimit reads the fields of a line: domain, type, item, value.
func parseLimit(fields []string, nrOpen uint64) (e limitEntry, known bool, _ error) {
	e.domain = fields[0]
	if len(fields) == 2 && fields[1] == "-" {
		return e, true, nil
	}
	if len(fields) < 4 {
		return e, false, fmt.Errorf("%d fields where domain, type, item and value belong", len(fields))
	}
	switch strings.ToLower(fields[1]) {
	case "soft":
		e.soft = true
	case "hard":
		e.hard = true
	case "-":
		e.soft, e.hard = true, true
	default:
		return e, false, fmt.Errorf("type %q is neither soft nor hard nor -", fields[1])
	}
	e.item = strings.ToLower(fields[2])
	item, ok := limitItems[e.item]
	switch {
	case !ok:
		return e, false, fmt.Errorf("item %q is not known", fields[2])
	case item.resource < 0 && e.item != "priority":
		return e, false, nil
	}
	var err error
	e.value, err = limitValue(e.item, item, fields[3], nrOpen)
	return e, err == nil, err
}

// limitValue is a value in the kernel's unit. Of nice that is 20 less the value, of priority the value's two's complement.
func limitValue(name string, item limitItem, text string, nrOpen uint64) (uint64, error) {
	if name == "nice" || name == "priority" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("%s %q is no integer", name, text)
		}
		n = max(-20, min(n, 19))
		if name == "nice" {
			return uint64(20 - n), nil
		}
		return uint64(n), nil
	}
	switch strings.ToLower(text) {
	case "-1", "-", "unlimited", "infinity":
		if name == "nofile" {
			return nrOpen, nil
		}
		return unlimited, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n > unlimited/item.unit:
		return unlimited, nil
	case err != nil:
		return 0, fmt.Errorf("%s %q is neither a number nor unlimited", name, text)
	}
	return n * item.unit, nil
}

// How near a domain is to a user; of two lines for the same item the nearer counts, of two that are equally near the later.
const (
	nearNot  = iota
	nearAll  // *
	nearMine // @group
	nearMe   // the user, or a range of user ids
)

// nearness of an entry to a user. group resolves the name of a group.
func (e limitEntry) nearness(a *account, group func(string) (uint32, bool)) int {
	name, isGroup := strings.CutPrefix(e.domain, "@")
	switch {
	case e.domain == a.name:
		return nearMe
	case a.uid == 0: // neither groups nor patterns are meant for root
		return nearNot
	case isGroup:
		if from, to, ok := idRange(name); ok {
			if from == to && slices.Contains(a.groups, from) || from != to && a.gid >= from && a.gid <= to {
				return nearMine
			}
			return nearNot
		}
		if gid, ok := group(name); ok && (gid == a.gid || slices.Contains(a.groups, gid)) {
			return nearMine
		}
	case e.domain == "*":
		return nearAll
	default: // %group is about logins alone, and its colon-less names match nobody here
		if from, to, ok := idRange(e.domain); ok && a.uid >= from && a.uid <= to {
			return nearMe
		}
	}
	return nearNot
}

// idRange reads min:max. Without min it is that one id, without max all from min on.
func idRange(text string) (from, to uint32, ok bool) {
	low, high, ok := strings.Cut(text, ":")
	if !ok || low == "" && high == "" {
		return 0, 0, false
	}
	number := func(s string, otherwise uint32) (uint32, bool) {
		if s == "" {
			return otherwise, true
		}
		n, err := strconv.ParseUint(s, 10, 32)
		return uint32(n), err == nil
	}
	to, ok = number(high, ^uint32(0))
	if !ok {
		return 0, 0, false
	}
	from, ok = number(low, to)
	return from, to, ok
}

// A limit is one to be set, and the line that asks for it.
type limit struct {
	item       string
	soft, hard *uint64 // nil: as it is
	from       string  // file:line
}

// limitsFor picks what counts for a user, in the order of the items.
func limitsFor(entries []limitEntry, a *account, group func(string) (uint32, bool)) []limit {
	type choice struct {
		limit
		softNear, hardNear int
	}
	chosen := map[string]*choice{}
	for _, e := range entries {
		near := e.nearness(a, group)
		if near == nearNot {
			continue
		}
		if e.item == "" {
			if near == nearAll {
				continue
			}
			return nil // exempt from all, also from what came before
		}
		c := chosen[e.item]
		if c == nil {
			c = &choice{limit: limit{item: e.item}}
			chosen[e.item] = c
		}
		value, at := e.value, fmt.Sprintf("%s:%d", e.file, e.line)
		if e.soft && near >= c.softNear {
			c.soft, c.softNear, c.from = &value, near, at
		}
		if e.hard && near >= c.hardNear {
			c.hard, c.hardNear, c.from = &value, near, at
		}
	}
	var all []limit
	for _, c := range chosen {
		all = append(all, c.limit)
	}
	slices.SortStableFunc(all, func(a, b limit) int { return strings.Compare(a.item, b.item) })
	return all
}

// userLimits reads what the host's files say for a user. A file that cannot be read is told, a host without any has no limits.
func userLimits(a *account, searchPath string) (all []limit, notes []string) {
	files := []string{limitsFile}
	more, _ := filepath.Glob(filepath.Join(limitsFolder, "*.conf")) // sorted
	var entries []limitEntry
	for _, file := range append(files, more...) {
		data, err := readLimitsFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			notes = append(notes, fmt.Sprintf("the limits in %s are not applied: %v", file, err))
			continue
		}
		found, trouble := parseLimits(file, data, nrOpen())
		entries, notes = append(entries, found...), append(notes, trouble...)
	}
	return limitsFor(entries, a, func(name string) (uint32, bool) { return groupID(name, searchPath) }), notes
}

func readLimitsFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case info.Size() > maxLimitsFile:
		return nil, fmt.Errorf("it is larger than %d bytes", maxLimitsFile)
	}
	return os.ReadFile(path)
}

func nrOpen() uint64 {
	data, err := os.ReadFile(nrOpenFile)
	if n, parseErr := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64); err == nil && parseErr == nil {
		return n
	}
	return 1 << 20 // the kernel's own default
}

// impose sets the limits of a process of another user that has not begun yet. What cannot be set is told and stays as it is. The caller has
// locked its thread.
func impose(pid int, who *syscall.Credential, limits []limit) (notes []string) {
	self := &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
	notes = assume(who)
	for _, l := range limits {
		if err := l.impose(pid); err != nil {
			notes = append(notes, fmt.Sprintf("limit %s of %s is not set: %v", l.item, l.from, err))
		}
	}
	return append(notes, assume(self)...)
}

// assume changes the real user and group of this thread alone: whoever has those of a process may set its limits, which otherwise
// takes CAP_SYS_RESOURCE, even to lower one. What the thread may do goes by the effective ids, which stay.
func assume(who *syscall.Credential) (notes []string) {
	const same = ^uintptr(0)
	for _, call := range [][2]uintptr{{unix.SYS_SETRESGID, uintptr(who.Gid)}, {unix.SYS_SETRESUID, uintptr(who.Uid)}} {
		if _, _, err := unix.RawSyscall(call[0], call[1], same, same); err != 0 {
			notes = append(notes, fmt.Sprintf("limits may be missing: act as user %d: %v", who.Uid, err))
		}
	}
	return notes
}

func (l limit) impose(pid int) error {
	if l.item == "priority" {
		if l.soft == nil {
			return nil // it has no hard and soft
		}
		return unix.Setpriority(unix.PRIO_PROCESS, pid, int(int64(*l.soft)))
	}
	resource := limitItems[l.item].resource
	var now unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &now); err != nil {
		return err
	}
	if l.hard != nil {
		now.Max = *l.hard
	}
	if l.soft != nil {
		now.Cur = *l.soft
	}
	now.Cur = min(now.Cur, now.Max)
	return unix.Prlimit(pid, resource, &now, nil)
}
