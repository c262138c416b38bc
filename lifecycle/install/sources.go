package install

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sources reads from a plan file (I-38), ours or the official agent's, what each path of the cleanup file was copied from:
// both list the same in the same order.
type sources struct {
	f    *os.File
	in   *json.Decoder
	next int // the index of the instruction that is read next
	over bool
}

type instruction struct {
	Type        string `json:"type"`
	Directory   string `json:"directory"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// openSources opens a group's plan file. Like the cleanup file it is believed only if nobody else could have written it.
func openSources(root, group string) (*sources, error) {
	f, _, err := openOwned(filepath.Join(root, instructionsDir, group+installSuffix), "read the plan of the previous revision")
	if err != nil {
		return nil, err
	}
	s := &sources{f: f, in: json.NewDecoder(bufio.NewReaderSize(f, 64<<10))}
	for _, want := range []json.Token{json.Delim('{'), "instructions", json.Delim('[')} {
		got, err := s.in.Token()
		if err != nil || got != want {
			f.Close()
			return nil, fmt.Errorf("read the plan of the previous revision: %s is none", f.Name())
		}
	}
	return s, nil
}

func (s *sources) close() {
	if s != nil {
		s.f.Close()
	}
}

// of says what the i-th path of the cleanup file is: a directory that was made, or a copy of source. Ask in rising order.
// false: the plan file does not tell.
func (s *sources) of(i int, path string) (source string, dir, ok bool) {
	if s == nil {
		return "", false, false
	}
	for !s.over && s.next <= i {
		var in instruction
		if !s.in.More() || s.in.Decode(&in) != nil || in.Type != "mkdir" && in.Type != "copy" {
			s.over = true
			break
		}
		s.next++
		if s.next <= i {
			continue
		}
		if in.Type == "mkdir" {
			return "", true, filepath.Clean(in.Directory) == path
		}
		return in.Source, false, filepath.Clean(in.Destination) == path && filepath.IsAbs(in.Source)
	}
	return "", false, false
}

// comparison is what comparing a path with its source in the unpacked bundle has shown.
type comparison uint8

const (
	noSource comparison = iota // it is no longer there, or has changed itself
	equalToSource
	unequalToSource
)

// archived compares files with where they were copied from.
type archived struct {
	folder  string // of the last source
	fd      int    // -1: it is not there
	buffers [2][]byte
}

func newArchived() *archived {
	return &archived{fd: -1, buffers: [2][]byte{make([]byte, 64<<10), make([]byte, 64<<10)}}
}

func (a *archived) close() {
	if a.fd >= 0 {
		closeFD(a.fd)
	}
	a.fd = -1
}

// open opens the folder of a source. The bundle's own links are followed: what they lead to was installed (I-27).
func (a *archived) open(folder string) int {
	if folder != a.folder {
		a.close()
		a.folder = folder
		if fd, err := openat(unix.AT_FDCWD, folder, unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
			a.fd = fd
		}
	}
	return a.fd
}

// compare compares a regular file, name in the directory dst, with its source. size is what was installed.
func (a *archived) compare(source string, size int64, dst int) comparison {
	folder, name := split(source)
	src := a.open(folder)
	var st unix.Stat_t
	if src < 0 || lstatAt(src, name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != size {
		return noSource
	}
	equal, err := equalFiles(src, dst, name, size, a.buffers)
	switch {
	case err != nil:
		return noSource
	case equal:
		return equalToSource
	}
	return unequalToSource
}
