package rehearse

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jobs are the verbs that do something to units.
var jobs = map[string]struct {
	job  string
	runs bool // of active units alone
}{
	"start": {job: jobStart}, "stop": {job: jobStop}, "restart": {job: jobRestart}, "reload": {job: jobReload},
	"try-restart": {job: jobRestart, runs: true}, "condrestart": {job: jobRestart, runs: true}, "reload-or-restart": {job: jobReload},
	"try-reload-or-restart": {job: jobReload, runs: true}, "force-reload": {job: jobReload, runs: true}, "condreload": {job: jobReload, runs: true},
	"reload-or-try-restart": {job: jobReload, runs: true}, "condstop": {job: jobStop, runs: true}, "isolate": {job: jobStart},
}

// ofFiles are the verbs that change or read files alone: the host's own systemctl does them in the copy, as it would on an image.
var ofFiles = []string{
	"enable", "disable", "reenable", "preset", "preset-all", "is-enabled", "mask", "unmask", "link", "revert", "add-wants", "add-requires",
	"get-default", "set-default", "list-unit-files",
}

func (m *manager) systemctl(c *serviceCall, args []string) {
	q, wrong := parseSystemctl(args)
	switch {
	case wrong != "":
		c.fail(1, "refused: not understood", wrong)
		return
	case q.help != "" || q.root != "" && q.root != "/":
		c.exit, c.note = c.exec(append([]string{realSystemctl}, args...)), "done by the host's own systemctl, as no service manager is asked"
		return
	case q.user:
		c.fail(1, "refused: users have no service manager in a rehearsal", "Failed to connect to bus: No medium found")
		return
	case slices.Contains(ofFiles, q.verb):
		m.changeFiles(c, &q)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := jobs[q.verb]; ok {
		m.runJobs(c, &q)
		return
	}
	switch q.verb {
	case "is-active", "is-failed":
		m.isState(c, &q)
	case "status":
		m.status(c, &q)
	case "show":
		m.show(c, &q)
	case "cat":
		m.cat(c, &q)
	case "list-units", "list-sockets", "list-timers":
		m.list(c, &q)
	case "list-jobs":
		c.print("No jobs running.")
		c.note = noteRead
	case "is-system-running":
		if !q.quiet {
			c.print("running")
		}
		c.note = noteRead
	case "daemon-reload", "daemon-reexec", "reset-failed", "kill", "set-property", "set-environment", "unset-environment", "import-environment", "clean",
		"freeze", "thaw", "log-level", "log-target", "service-log-level", "service-log-target", "cancel":
		m.other(c, &q)
	case "show-environment":
		c.print("LANG=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
		c.note = noteRead
	case "reboot", "poweroff", "halt", "kexec", "soft-reboot", "suspend", "hibernate", "hybrid-sleep", "rescue", "emergency", "default", "exit", "switch-root":
		powerOff(c, q.verb, nil)
	default:
		c.fail(1, "not understood", "Unknown command verb "+q.verb+".")
	}
}

func (m *manager) runJobs(c *serviceCall, q *ctlCall) {
	if len(q.names) == 0 {
		c.fail(1, "refused: no unit is named", "Too few arguments.")
		return
	}
	how := jobs[q.verb]
	var notes []string
	for _, name := range q.names {
		name = mangleUnit(name)
		job, exit := how.job, 0
		var note string
		u := loadUnit(name)
		switch {
		case u != nil && how.runs && m.of(u.id).state != stateActive:
			note = noteRecorded + "; it is not active"
		case u != nil && how.job == jobReload && q.verb != "reload" && (!u.reloadable() || m.of(u.id).state != stateActive):
			job = jobRestart
			fallthrough
		default:
			exit, note = m.run(c, q.verb, job, name)
		}
		if len(q.names) > 1 {
			note = name + ": " + note
		}
		notes = append(notes, note)
		if exit != 0 {
			c.exit = exit
		}
	}
	c.note = strings.Join(notes, "; ")
}

// changeFiles has the host's systemctl do what is done to files, and starts or stops what --now asks for.
func (m *manager) changeFiles(c *serviceCall, q *ctlCall) {
	if slices.Contains([]string{"enable", "disable", "reenable", "preset"}, q.verb) && c.root {
		for _, name := range q.names {
			if strings.Contains(name, "/") { // a file to be linked
				continue
			}
			if name = mangleUnit(name); loadUnit(name) == nil {
				c.fail(1, "no such unit", "Failed to "+q.verb+" unit: Unit file "+name+" does not exist.")
				return
			}
		}
	}
	args := []string{realSystemctl, "--root=/"}
	for _, o := range q.options {
		if o != "--now" && !strings.HasPrefix(o, "--root") {
			args = append(args, o)
		}
	}
	c.exit = c.exec(append(append(args, q.verb), q.names...))
	switch c.note = "done to the files of the copy by the host's own systemctl"; {
	case c.exit < 0:
		c.exit, c.note = 1, "the host's own systemctl could not be run"
	case slices.Contains([]string{"is-enabled", "get-default", "list-unit-files"}, q.verb):
		c.note = "read from the files of the copy"
	case c.exit != 0:
		c.note = "refused by the host's own systemctl"
	case q.now && slices.Contains([]string{"enable", "disable", "mask", "reenable"}, q.verb):
		job := jobStop
		if strings.HasSuffix(q.verb, "enable") {
			job = jobStart
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range q.names {
			exit, note := m.run(c, job, job, mangleUnit(name))
			c.note += "; " + note
			c.exit = max(c.exit, exit)
		}
	}
}

func (m *manager) isState(c *serviceCall, q *ctlCall) {
	want, c0 := stateActive, exitInactive
	if q.verb == "is-failed" {
		want, c0 = stateFailed, 1
	}
	c.note, c.exit = noteRead, c0
	for _, name := range q.names {
		state := stateInactive
		if u := loadUnit(mangleUnit(name)); u != nil {
			state = m.of(u.id).state
		} else if s := m.units[mangleUnit(name)]; s != nil {
			state = s.state
		}
		if state == want {
			c.exit = 0
		}
		if !q.quiet {
			c.print("%s", state)
		}
	}
}

func (m *manager) status(c *serviceCall, q *ctlCall) {
	c.note = noteRead
	if len(q.names) == 0 {
		c.print("    State: running\n     Jobs: 0 queued\n   Failed: 0 units")
		return
	}
	for i, name := range q.names {
		name = mangleUnit(name)
		u := loadUnit(name)
		if u == nil {
			c.fail(exitUnknownUnit, "no such unit", "Unit "+name+" could not be found.")
			continue
		}
		if i > 0 {
			c.print("")
		}
		s := m.of(u.id)
		dot := map[string]string{stateActive: "●", stateFailed: "×"}[s.state]
		if dot == "" {
			dot = "○"
		}
		c.print("%s %s - %s", dot, u.id, u.description())
		c.print("     Loaded: %s", u.loaded())
		line := s.state + " (" + s.sub(u) + ")"
		if !s.since.IsZero() {
			line += " since " + s.since.UTC().Format("Mon 2006-01-02 15:04:05 MST") + "; " + time.Since(s.since).Truncate(time.Second).String() + " ago"
		}
		c.print("     Active: %s", line)
		if s.real != nil && s.real.pid > 0 && s.state == stateActive {
			c.print("   Main PID: %d", s.real.pid)
		}
		if s.state != stateActive && c.exit == 0 {
			c.exit = exitInactive
		}
	}
}

func (u *unitFile) loaded() string {
	if u.masked {
		return "masked (Reason: Unit " + u.id + " is masked.)"
	}
	return "loaded (" + u.path + "; " + u.enabled() + ")"
}

// sub is the lower state of a unit.
func (s *unitState) sub(u *unitFile) string {
	switch {
	case s.state == stateFailed:
		return "Result: " + s.result
	case s.state != stateActive:
		return "dead"
	case !strings.HasSuffix(u.id, ".service"):
		return map[string]string{".socket": "listening", ".timer": "waiting", ".path": "waiting", ".mount": "mounted"}[filepath.Ext(u.id)]
	case u.kind() == "oneshot", u.sysv:
		return "exited"
	}
	return "running"
}

func (m *manager) show(c *serviceCall, q *ctlCall) {
	c.note = noteRead
	for i, name := range q.names {
		if i > 0 {
			c.print("")
		}
		name = mangleUnit(name)
		all := m.propertiesOf(name)
		for _, p := range all {
			if len(q.properties) > 0 && !slices.Contains(q.properties, p[0]) {
				continue
			}
			if q.value {
				c.print("%s", p[1])
			} else {
				c.print("%s=%s", p[0], p[1])
			}
		}
		for _, p := range q.properties {
			if !slices.ContainsFunc(all, func(have [2]string) bool { return have[0] == p }) {
				c.note = noteRead + ", where " + p + " is not known"
			}
		}
	}
}

// propertiesOf are those of a unit that can be told.
func (m *manager) propertiesOf(name string) [][2]string {
	u := loadUnit(name)
	if u == nil {
		return [][2]string{{"Id", name}, {"Names", name}, {"LoadState", "not-found"}, {"ActiveState", stateInactive}, {"SubState", "dead"}, {"UnitFileState", ""}, {"MainPID", "0"}, {"CanReload", "no"}}
	}
	s := m.of(u.id)
	load, sub, result, pid := "loaded", s.sub(u), "success", 0
	if u.masked {
		load = "masked"
	}
	if s.state == stateFailed {
		sub, result = "failed", s.result
	}
	if s.real != nil && s.state == stateActive {
		pid = s.real.pid
	}
	canReload := "no"
	if u.reloadable() {
		canReload = "yes"
	}
	list := [][2]string{
		{"Type", u.kind()},
		{"MainPID", strconv.Itoa(pid)},
		{"Result", result},
		{"NRestarts", "0"},
		{"Id", u.id},
		{"Names", u.id},
		{"Description", u.description()},
		{"LoadState", load},
		{"ActiveState", s.state},
		{"SubState", sub},
		{"FragmentPath", u.path},
		{"UnitFileState", u.enabled()},
		{"CanReload", canReload},
		{"NeedDaemonReload", "no"},
	}
	if !strings.HasSuffix(u.id, ".service") {
		list = list[4:]
	}
	return list
}

func (m *manager) cat(c *serviceCall, q *ctlCall) {
	c.note = "read from the files of the copy"
	for i, name := range q.names {
		name = mangleUnit(name)
		u := loadUnit(name)
		if u == nil {
			c.fail(1, "no such unit", "No files found for "+name+".")
			return
		}
		if i > 0 {
			c.print("")
		}
		for j, file := range append([]string{u.path}, dropIns(u.id)...) {
			text, err := readBounded(file)
			if err != nil {
				continue
			}
			if j > 0 {
				c.print("")
			}
			c.print("# %s\n%s", file, strings.TrimSuffix(text, "\n"))
		}
	}
}

func (m *manager) list(c *serviceCall, q *ctlCall) {
	c.note = "answered with the units that were recorded alone"
	var rows [][4]string
	for _, name := range m.known() {
		u := loadUnit(name)
		if u == nil || len(q.kinds) > 0 && !slices.Contains(q.kinds, strings.TrimPrefix(filepath.Ext(name), ".")) {
			continue
		}
		s := m.of(name)
		sub := s.sub(u)
		if s.state == stateFailed {
			sub = "failed"
		}
		if !q.all && s.state == stateInactive || len(q.states) > 0 && !slices.Contains(q.states, s.state) && !slices.Contains(q.states, sub) ||
			len(q.names) > 0 && !slices.ContainsFunc(q.names, func(p string) bool { ok, _ := filepath.Match(p, name); return ok || mangleUnit(p) == name }) {
			continue
		}
		rows = append(rows, [4]string{name, s.state, sub, u.description()})
	}
	if !q.noLegend {
		c.print("  UNIT LOAD ACTIVE SUB DESCRIPTION")
	}
	for _, r := range rows {
		c.print("  %s loaded %s %s %s", r[0], r[1], r[2], r[3])
	}
	if !q.noLegend {
		c.print("%d loaded units listed.", len(rows))
	}
}

func (m *manager) other(c *serviceCall, q *ctlCall) {
	if !c.root {
		c.fail(1, "refused: the caller is not root", "Failed to "+q.verb+": Access denied")
		return
	}
	c.note = noteRecorded
	for _, name := range q.names {
		if !slices.Contains([]string{"kill", "reset-failed"}, q.verb) {
			return
		}
		u := loadUnit(mangleUnit(name))
		if u == nil {
			c.fail(1, "no such unit", fmt.Sprintf("Failed to %s unit %s: Unit %[2]s not loaded.", map[string]string{"kill": "kill", "reset-failed": "reset failed state of"}[q.verb], mangleUnit(name)))
			continue
		}
		s := m.of(u.id)
		switch {
		case q.verb == "reset-failed" && s.state == stateFailed:
			s.state, s.result = stateInactive, ""
		case q.verb == "kill" && s.real != nil:
			s.real.kill()
		}
	}
}
