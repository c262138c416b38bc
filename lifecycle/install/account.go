package install

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"
)

// accounts looks up users and groups of the host by name, each once.
type accounts struct{ known map[string]account }

type account struct {
	id uint32
	ok bool
}

// getentTimeout bounds a look-up in a directory service.
const getentTimeout = 20 * time.Second

// id finds a user or group; false: there is none. Numbers are names like any other.
func (a *accounts) id(ctx context.Context, name string, isGroup bool) (uint32, bool, error) {
	database := "passwd"
	if isGroup {
		database = "group"
	}
	if known, ok := a.known[database+name]; ok {
		return known.id, known.ok, nil
	}
	id, ok, err := lookup(ctx, database, name)
	if err != nil {
		return noID, false, err
	}
	if a.known == nil {
		a.known = map[string]account{}
	}
	a.known[database+name] = account{id, ok}
	return id, ok, nil
}

// lookup asks the files first, and then getent: a static binary cannot load the host's other sources of accounts itself.
func lookup(ctx context.Context, database, name string) (uint32, bool, error) {
	text := ""
	if database == "passwd" {
		if u, err := user.Lookup(name); err == nil {
			text = u.Uid
		}
	} else if g, err := user.LookupGroup(name); err == nil {
		text = g.Gid
	}
	if text == "" {
		if strings.ContainsAny(name, ":\n\x00") {
			return noID, false, nil
		}
		ctx, cancel := context.WithTimeout(ctx, getentTimeout)
		defer cancel()
		out, err := exec.CommandContext(ctx, "getent", "--", database, name).Output()
		switch exit, isExit := errors.AsType[*exec.ExitError](err); {
		case isExit && exit.ExitCode() == 2, errors.Is(err, exec.ErrNotFound): // not there; or there are only the files
			return noID, false, nil
		case err != nil:
			return noID, false, fmt.Errorf("look up %q with getent %s: %w", name, database, err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		fields := strings.Split(line, ":")
		if len(fields) < 3 || fields[0] != name { // a number finds by id, and is no name
			return noID, false, nil
		}
		text = fields[2]
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return noID, false, fmt.Errorf("look up %q: the host's %s has the id %q: %w", name, database, text, err)
	}
	return uint32(n), true, nil
}
