package rehearse

import (
	"fmt"
	"strings"
)

// seen says where the copy has a path from.
type seen uint8

const (
	asBefore seen = iota // the lower layer: nothing was done to it
	written              // the upper layer
	vanished             // nowhere: it was removed, or a folder above it was
)

// place is a path of the copy as the last Mark has found it.
type place struct {
	layer int
	rest  string // the path within the layer
	seen  seen
	e     *entry // what decides: of the path, or of the folder above it that was removed; nil if nothing was done to it
	// scripted says that a script has changed it, last or before, or has removed a folder above it.
	scripted bool
}

// find looks a path up. Links on the way to it are not followed.
func (s *Scanner) find(name string) place {
	p := place{layer: -1}
	for i := range s.layers {
		at := strings.TrimSuffix(s.layers[i].At, "/")
		rest, ok := strings.CutPrefix(name, at)
		if ok && (rest == "" || rest[0] == '/') && (p.layer < 0 || len(rest) < len(p.rest)) {
			p.layer, p.rest = i, rest
		}
	}
	if p.layer < 0 {
		return p
	}
	p.rest = strings.Trim(p.rest, "/")
	at, covered := &s.tops[p.layer], false
	for _, part := range strings.Split(p.rest, "/") {
		if part == "" {
			continue
		}
		if at.sub == nil { // no directory any more, or never marked
			if at.ino != 0 {
				p.seen, p.e = vanished, at
			}
			return p
		}
		if covered = covered || at.marked&opaque != 0; covered {
			p.e = at
		}
		next := at.sub.find(part)
		if next == nil {
			if covered {
				p.seen = vanished
			} else {
				p.e = nil
			}
			return p
		}
		if at = next; at.white || at.ghost || at.marked&opaque != 0 {
			p.scripted = p.scripted || s.byScript(at)
		}
		if p.e = at; at.white || at.ghost {
			p.seen = vanished
			return p
		}
	}
	if at.ino != 0 {
		p.seen, p.e = written, at
		p.scripted = p.scripted || s.byScript(at)
	}
	return p
}

// byScript reports whether a script had to do with a path, last or before.
func (s *Scanner) byScript(e *entry) bool { return e.scripted || s.made[e.by].hook }

// contents reads a file of both sides: nil for a side that has none. changed is false if nothing was done to it.
func (s *Scanner) contents(name string, max int64) (was, is []byte, changed bool, err error) {
	p := s.find(name)
	if p.layer < 0 || p.seen == asBefore {
		return nil, nil, false, nil
	}
	if was, err = s.readIn(lower, p, max); err == nil && p.seen == written {
		is, err = s.readIn(upper, p, max)
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	return was, is, true, nil
}

// readIn reads a file of one side, nil if there is none that is a regular file.
func (s *Scanner) readIn(side int, p place, max int64) ([]byte, error) {
	open := sides{s: s}
	defer open.close()
	fds, name := open.enter(p.layer, p.rest)
	if fds[side] < 0 {
		return nil, nil
	}
	data, err := readSmall(fds[side], name, max)
	switch {
	case err == nil && data == nil:
		return []byte{}, nil
	case err != nil && (gone(err) || barred(err)):
		return nil, nil
	}
	return data, err
}
