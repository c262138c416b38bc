package rehearse

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The states of a unit, as systemctl tells them.
const (
	stateActive   = "active"
	stateInactive = "inactive"
	stateFailed   = "failed"
)

// manager is what the recorder knows of the services.
type manager struct {
	options RecorderOptions
	starter *starter // nil: nothing is started for real

	mu    sync.Mutex // guards what follows, and lets one job go on at a time
	units map[string]*unitState
}

// unitState is a unit that something was done to, or that ran on the host.
type unitState struct {
	state  string
	since  time.Time
	onHost bool   // it runs on the host, and not in the sandbox
	result string // of the last job that failed
	real   *daemon
}

func newManager(o RecorderOptions) *manager {
	m := &manager{options: o, units: map[string]*unitState{}}
	if o.Real {
		m.starter = newStarter(o.Log)
	}
	began := time.Now()
	for _, name := range o.Active {
		m.units[mangleUnit(name)] = &unitState{state: stateActive, since: began, onHost: true}
	}
	return m
}

// answer fills in what the program says, its exit code, and what the account says of it.
func (m *manager) answer(c *serviceCall) {
	switch name := c.args[0]; name {
	case "systemctl":
		m.systemctl(c, c.args[1:])
	case "service":
		m.service(c, c.args[1:])
	case "rc-service":
		m.rcService(c, c.args[1:])
	case "chkconfig":
		m.chkconfig(c, c.args[1:])
	case "initctl":
		m.initctl(c, c.args[1:])
	case "journalctl":
		m.journalctl(c, c.args[1:])
	case "loginctl":
		loginctl(c, c.args[1:])
	case "hostnamectl", "timedatectl":
		controlHost(c, c.args[1:])
	case "runlevel":
		c.print("N 3")
		c.note = noteRead
	case "shutdown", "reboot", "poweroff", "halt", "init", "telinit":
		powerOff(c, name, c.args[1:])
	default:
		c.fail(127, "no such program is answered", name+": command not found")
	}
}

// of is the state of a unit, as it is now.
func (m *manager) of(id string) *unitState {
	s := m.units[id]
	if s == nil {
		s = &unitState{state: stateInactive}
		m.units[id] = s
	}
	if s.real != nil && s.state == stateActive && !s.real.running() && !s.real.remains {
		s.state, s.since = stateInactive, time.Now()
		if !s.real.endedWell() {
			s.state, s.result = stateFailed, "exit-code"
		}
	}
	return s
}

// The jobs that systemctl asks for.
const (
	jobStart   = "start"
	jobStop    = "stop"
	jobRestart = "restart"
	jobReload  = "reload"
)

// run does a job to a unit and returns the exit code, with the message for the standard error in c. verb is the word that the caller has used.
func (m *manager) run(c *serviceCall, verb, job string, name string) (exit int, note string) {
	complain := func(code int, why string) (int, string) {
		fmt.Fprintf(&c.err, "Failed to %s %s: %s\n", verb, name, why)
		return code, "refused: " + strings.TrimSuffix(why, ".")
	}
	u := loadUnit(name)
	switch {
	case u == nil && job == jobStop:
		if s := m.units[name]; s == nil || !s.onHost {
			_, _ = complain(exitNotInstalled, "Unit "+name+" not loaded.")
			return exitNotInstalled, "no such unit"
		}
		u = &unitFile{id: name}
	case u == nil:
		_, _ = complain(exitNotInstalled, "Unit "+name+" not found.")
		return exitNotInstalled, "no such unit"
	case !c.root:
		return complain(exitNoPermission, "Access denied\nSee system logs and 'systemctl status "+name+"' for details.")
	case u.masked && job != jobStop:
		return complain(1, "Unit "+name+" is masked.")
	case u.yes("Unit.RefuseManualStart") && (job == jobStart || job == jobRestart), u.yes("Unit.RefuseManualStop") && job == jobStop:
		return complain(exitNoPermission, "Operation refused, unit "+name+" may be requested by dependency only (it is configured to refuse manual start/stop).")
	}
	s := m.of(u.id)
	active := s.state == stateActive
	if job == jobReload && !u.reloadable() {
		return complain(3, "Job type reload is not applicable for unit "+name+".")
	}
	if job == jobReload && !active {
		fmt.Fprintf(&c.err, "%s is not active, cannot reload.\n", name)
		return 1, "refused: it is not active"
	}
	if m.starter != nil && strings.HasSuffix(u.id, ".service") {
		return m.runReal(c, u, s, job)
	}
	m.pretend(u, s, job)
	note = noteRecorded
	switch {
	case active && job == jobStart:
		note += "; it is active already"
	case !active && job == jobStop:
		note += "; it is not active"
	}
	return 0, note
}

// pretend changes the state of a unit as the job would, if that succeeded.
func (m *manager) pretend(u *unitFile, s *unitState, job string) {
	switch {
	case job == jobReload, job == jobStart && s.state == stateActive, job == jobStop && s.state == stateInactive:
		return
	case job == jobStop:
		s.state, s.onHost = stateInactive, false
	case u.lasts():
		s.state, s.onHost = stateActive, false
	default:
		s.state = stateInactive
	}
	s.since, s.result = time.Now(), ""
}

// Exit codes of systemctl beside 0 and 1 (LSB).
const (
	exitInactive     = 3
	exitUnknownUnit  = 4
	exitNoPermission = 4
	exitNotInstalled = 5
)

// known are the units that something is known of, for lists.
func (m *manager) known() []string {
	var names []string
	for n := range m.units {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
