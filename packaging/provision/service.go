package provision

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// service is a unit that is enabled, runs, and has read its configuration. In an image it is enabled alone.
type service struct {
	unit    string
	pending bool                // its package is not installed yet
	stale   func(h *Host) bool  // it has to read its configuration again
	before  func(h *Host) error // has to hold before it is started
}

// What is done to a unit that does not run, and to one that has not read its configuration.
const (
	actionStart  = "start"
	actionReload = "reload"
)

// unitState is what systemd knows of a unit.
type unitState struct {
	load, active, file string
}

func (h *Host) unit(ctx context.Context, name string) (unitState, error) {
	r, err := h.run(ctx, command{argv: []string{"systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", name}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("systemctl show ended with status %d%s", r.code, lastLines(r.all))
	}
	if err != nil {
		return unitState{}, fmt.Errorf("ask systemd about %s: %w", name, err)
	}
	value := func(key string) string {
		_, after, _ := strings.Cut("\n"+r.out, "\n"+key+"=")
		first, _, _ := strings.Cut(after, "\n")
		return first
	}
	return unitState{value("LoadState"), value("ActiveState"), value("UnitFileState")}, nil
}

func (s unitState) running() bool { return s.active == "active" || s.active == "reloading" }

func (s unitState) enabled() bool {
	switch s.file {
	case "enabled", "static", "alias", "indirect", "generated":
		return true
	}
	return false
}

func (s *service) check(ctx context.Context, h *Host) ([]Change, error) {
	if !h.systemd {
		on, err := s.linked(h)
		if err != nil || on {
			return nil, err
		}
		return []Change{property("service", s.unit, "enable", "disabled", "enabled")}, nil
	}
	state, err := h.unit(ctx, s.unit)
	if err != nil {
		return nil, err
	}
	switch {
	case state.load == "not-found" && !s.pending:
		return nil, fmt.Errorf("there is no unit %s here", s.unit)
	case state.load == "masked":
		return nil, fmt.Errorf("%s is masked, so somebody does not want it to run: systemctl unmask %s", s.unit, s.unit)
	}
	var changes []Change
	if !state.enabled() {
		changes = append(changes, property("service", s.unit, "enable", "disabled", "enabled"))
	}
	switch {
	case !state.running():
		was := state.active
		if was == "" || state.load == "not-found" {
			was = "inactive"
		}
		changes = append(changes, property("service", s.unit, actionStart, was, "active"))
	case s.stale != nil && s.stale(h):
		changes = append(changes, property("service", s.unit, actionReload, "active, with the configuration of before", "active, with this configuration"))
	}
	return changes, nil
}

func (s *service) apply(ctx context.Context, h *Host) error {
	if !h.systemd {
		return s.enableByLink(h)
	}
	state, err := h.unit(ctx, s.unit)
	if err != nil {
		return err
	}
	if !state.enabled() {
		if err := h.systemctl(ctx, "enable", s.unit); err != nil {
			return err
		}
	}
	switch {
	case !state.running():
		if s.before != nil {
			if err := s.before(h); err != nil {
				return err
			}
		}
		if err := h.systemctl(ctx, "start", s.unit); err != nil {
			return err
		}
	case s.stale != nil && s.stale(h):
		if err := h.systemctl(ctx, "reload-or-restart", s.unit); err != nil {
			return err
		}
	default:
		return nil
	}
	return s.settled(ctx, h)
}

// settled waits a moment: a server that cannot use what it has read ends only after its control program said that all is well.
func (s *service) settled(ctx context.Context, h *Host) error {
	const times = 5
	for range times {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(h.pause):
		}
		state, err := h.unit(ctx, s.unit)
		if err != nil {
			return err
		}
		if state.active == "failed" || state.active == "inactive" {
			return fmt.Errorf("%s did not stay up%s", s.unit, h.journalOf(ctx, s.unit))
		}
	}
	return nil
}

// systemctl does something to a unit; a failure carries what the unit logged last.
func (h *Host) systemctl(ctx context.Context, verb, unit string) error {
	r, err := h.run(ctx, command{argv: []string{"systemctl", verb, unit}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("systemctl %s %s ended with status %d%s%s", verb, unit, r.code, lastLines(r.all), h.journalOf(ctx, unit))
	}
	return err
}

// journalOf is the end of a unit's log, for a message.
func (h *Host) journalOf(ctx context.Context, unit string) string {
	r, err := h.run(ctx, command{argv: []string{"journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=8", "--unit=" + unit}})
	if err != nil || r.code != 0 || strings.TrimSpace(r.out) == "" {
		return ""
	}
	return "; its last log lines:" + lastLines(r.out)
}

// Where unit files are, and where an administrator's links go.
var unitFolders = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

const linksFolder = "/etc/systemd/system"

// unitFile finds the file of a unit; a template serves its instances.
func (h *Host) unitFile(unit string) (name, text string, err error) {
	file := unit
	if at := strings.IndexByte(unit, '@'); at >= 0 {
		file = unit[:at+1] + path.Ext(unit)
	}
	for _, dir := range unitFolders {
		for _, f := range []string{unit, file} {
			n, err := h.lstat(path.Join(dir, f))
			if err != nil {
				return "", "", err
			}
			if n.is(fs.ModeSymlink) && n.target == "/dev/null" {
				return "", "", fmt.Errorf("%s is masked, so somebody does not want it to run: remove %s", unit, path.Join(dir, f))
			}
			if n != nil {
				data, err := h.read(path.Join(dir, f))
				return path.Join(dir, f), string(data), err
			}
		}
	}
	return "", "", nil
}

// wantedBy are the links that enable a unit, as systemctl enable would make them without aliases.
func wantedBy(unit, text string) []string {
	var links []string
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			in = line == "[Install]"
			continue
		}
		key, v, _ := strings.Cut(line, "=")
		suffix := map[string]string{"WantedBy": ".wants", "RequiredBy": ".requires"}[strings.TrimSpace(key)]
		if !in || suffix == "" {
			continue
		}
		for target := range strings.FieldsSeq(v) {
			links = append(links, path.Join(linksFolder, target+suffix, unit))
		}
	}
	return links
}

// linked says whether a unit is enabled in an image.
func (s *service) linked(h *Host) (bool, error) {
	_, text, err := h.unitFile(s.unit)
	if err != nil {
		return false, err
	}
	if text == "" {
		if s.pending {
			return false, nil
		}
		return false, fmt.Errorf("there is no unit %s in %s", s.unit, h.root)
	}
	for _, l := range wantedBy(s.unit, text) {
		n, err := h.lstat(l)
		if err != nil {
			return false, err
		}
		if n == nil {
			return false, nil
		}
	}
	return true, nil
}

func (s *service) enableByLink(h *Host) error {
	name, text, err := h.unitFile(s.unit)
	if err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("there is no unit %s in %s", s.unit, h.root)
	}
	for _, l := range wantedBy(s.unit, text) {
		if err := h.link(l, name); err != nil {
			return err
		}
	}
	return nil
}
