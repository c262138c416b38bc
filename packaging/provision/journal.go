package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	stateFolder = "/var/lib/slipway/provision"
	journalFile = stateFolder + "/journal.json"
	lockFile    = stateFolder + "/lock"
)

// journal is the transaction of a configuration: what was there before, and who has still to read what is there now. It is on disk before
// the first file is changed, and gone after the last unit has read the new ones. While it exists, units are stale.
type journal struct {
	Entries []entry  `json:"entries"`
	Units   []string `json:"units"` // stale for another reason than a file, such as a new extension
	Read    []string `json:"read"`  // units that have read what is there now
}

// entry is a file or a link as it was.
type entry struct {
	Path    string   `json:"path"`
	Kind    string   `json:"kind"` // absent, file, link
	Target  string   `json:"target,omitempty"`
	Content []byte   `json:"content,omitempty"`
	Mode    uint32   `json:"mode,omitempty"`
	UID     int      `json:"uid,omitempty"`
	GID     int      `json:"gid,omitempty"`
	Units   []string `json:"units"`
}

// openJournal reads what an earlier run left; an empty one is the usual case.
func openJournal(h *Host) (*journal, error) {
	j := &journal{}
	data, err := h.read(journalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err == nil {
		err = json.Unmarshal(data, j)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s, which an interrupted apply left: %w (remove it to go on without the files that it could put back)", journalFile, err)
	}
	return j, nil
}

// stale says whether a unit has still to read its configuration.
func (j *journal) stale(unit string) bool {
	if slices.Contains(j.Read, unit) {
		return false
	}
	return slices.Contains(j.Units, unit) || slices.ContainsFunc(j.Entries, func(e entry) bool { return slices.Contains(e.Units, unit) })
}

// read marks that a unit has read what is there now.
func (j *journal) read(h *Host, unit string) error {
	if !j.stale(unit) {
		return nil
	}
	j.Read = append(j.Read, unit)
	return j.save(h)
}

// record keeps what is under a name before it is changed. What an earlier record kept is older, and stays.
func (j *journal) record(h *Host, name string, units []string) error {
	j.Read = slices.DeleteFunc(j.Read, func(u string) bool { return slices.Contains(units, u) })
	if slices.ContainsFunc(j.Entries, func(e entry) bool { return e.Path == name }) {
		return j.save(h)
	}
	n, err := h.lstat(name)
	if err != nil {
		return err
	}
	e := entry{Path: name, Kind: "absent", Units: units}
	switch {
	case n.is(fs.ModeSymlink):
		e.Kind, e.Target = "link", n.target
	case n != nil:
		e.Kind, e.Mode, e.UID, e.GID = "file", permissions(n.mode), n.uid, n.gid
		if e.Content, err = h.read(name); err != nil {
			return err
		}
	}
	j.Entries = append(j.Entries, e)
	return j.save(h)
}

// need marks units as stale.
func (j *journal) need(h *Host, units []string) error {
	j.Read = slices.DeleteFunc(j.Read, func(u string) bool { return slices.Contains(units, u) })
	for _, u := range units {
		if !slices.Contains(j.Units, u) {
			j.Units = append(j.Units, u)
		}
	}
	return j.save(h)
}

const secretMode = 0o600 // a configuration may hold what is not everybody's to read

func (j *journal) save(h *Host) error {
	if len(j.Entries)+len(j.Units) == 0 {
		return h.remove(journalFile)
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return h.write(journalFile, data, secretMode, 0, 0)
}

// close ends the transaction: everything is as wanted and has been read.
func (j *journal) close(h *Host) error {
	*j = journal{}
	return j.save(h)
}

// restore puts everything back, the last change first. What fails is told and the rest goes on; the journal then stays.
func (j *journal) restore(h *Host) error {
	var failed []error
	for _, e := range slices.Backward(j.Entries) {
		var err error
		switch e.Kind {
		case "file":
			err = h.write(e.Path, e.Content, e.Mode, e.UID, e.GID)
		case "link":
			err = h.link(e.Path, e.Target)
		default:
			err = h.remove(e.Path)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("put %s back: %w", e.Path, err))
		}
	}
	if len(failed) == 0 {
		j.Entries, j.Read = nil, nil
		failed = append(failed, j.save(h))
	}
	return errors.Join(failed...)
}

// lock keeps two applies of one tree apart. The lock goes with the process.
func (h *Host) lock() (release func(), err error) {
	real, err := h.resolve(lockFile, false)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(real), newFolderMode); err != nil {
		return nil, err
	}
	fd, err := unix.Open(real, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, secretMode)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", real, err)
	}
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &l); err != nil {
		pid, _ := lockHolder(real)
		_ = unix.Close(fd)
		return nil, fmt.Errorf("another slipway provision is at work: %s", process(pid))
	}
	return func() { _ = unix.Close(fd) }, nil
}
