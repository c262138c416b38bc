package install

// fdCache keeps the last few directories open, since neighbouring ops mostly share theirs. It belongs to one goroutine.
type fdCache struct {
	open    func(dirID) (int, error)
	entries [8]struct {
		id   dirID
		fd   int
		used bool
	}
	next int
}

// get returns the descriptor of a directory. It is valid until a few others have been asked for.
func (c *fdCache) get(id dirID) (int, error) {
	for i := range c.entries {
		if e := &c.entries[i]; e.used && e.id == id {
			return e.fd, nil
		}
	}
	fd, err := c.open(id)
	if err != nil {
		return -1, err
	}
	e := &c.entries[c.next]
	if e.used {
		closeFD(e.fd)
	}
	e.id, e.fd, e.used = id, fd, true
	c.next = (c.next + 1) % len(c.entries)
	return fd, nil
}

func (c *fdCache) close() {
	for i := range c.entries {
		if e := &c.entries[i]; e.used {
			closeFD(e.fd)
			e.used = false
		}
	}
}
