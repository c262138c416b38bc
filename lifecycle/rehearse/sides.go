package rehearse

import (
	"path"
	"strings"
)

// The sides of an overlay.
const (
	upper = 0
	lower = 1
)

// sides opens folders of both sides of the layers. One at a time is open: who goes through paths in order opens each folder once.
type sides struct {
	s    *Scanner
	tops [][2]int // of each layer; nil before the first use
	at   string   // the folder that is open, with a slash at its end; empty if none is
	of   int      // its layer
	fds  [2]int   // -1 for a side that has none
}

// enter opens the folder of a path within a layer, and gives the path's last part.
func (d *sides) enter(layer int, rest string) (fds [2]int, name string) {
	if d.tops == nil {
		for i := range d.s.layers {
			d.tops = append(d.tops, d.s.openTops(i))
		}
	}
	at, name := path.Split("/" + strings.Trim(rest, "/"))
	if name == "" {
		name = "."
	}
	if d.at != at || d.of != layer {
		d.leave()
		for side, fd := range d.tops[layer] {
			d.fds[side] = descend(fd, at)
		}
		d.at, d.of = at, layer
	}
	return d.fds, name
}

func (d *sides) leave() {
	if d.at != "" {
		closeBoth(d.fds)
	}
	d.at = ""
}

func (d *sides) close() {
	d.leave()
	for _, pair := range d.tops {
		closeBoth(pair)
	}
}

func closeBoth(fds [2]int) {
	for _, fd := range fds {
		if fd >= 0 {
			closeFolder(fd)
		}
	}
}

// openTops opens both sides of a layer, -1 for what cannot be opened.
func (s *Scanner) openTops(i int) [2]int {
	var pair [2]int
	var err error
	if pair[upper], err = openFolder(s.layers[i].Upper); err != nil {
		pair[upper] = -1
	}
	if pair[lower], _, err = openLower(s.layers[i].Lower); err != nil {
		pair[lower] = -1
	}
	return pair
}

// descend opens a directory below another, without following links; -1 if there is none.
func descend(fd int, rest string) int {
	if fd < 0 {
		return -1
	}
	at, err := openSub(fd, ".")
	for _, name := range strings.Split(rest, "/") {
		if err != nil {
			return -1
		}
		if name == "" {
			continue
		}
		var next int
		next, err = openSub(at, name)
		closeFolder(at)
		at = next
	}
	if err != nil {
		return -1
	}
	return at
}
