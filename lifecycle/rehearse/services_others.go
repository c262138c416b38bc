package rehearse

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// isRedHat tells whether programs of the host speak as those of Amazon Linux and its kin do.
func isRedHat() bool {
	_, err := os.Stat("/etc/system-release")
	return err == nil
}

// withSystemd tells whether the host's systemctl was put aside: then service and chkconfig are others' words for it.
func withSystemd() bool {
	_, err := os.Stat(realSystemctl)
	return err == nil
}

func initScript(name string) string {
	if strings.ContainsAny(name, "/\x00") || name == "" {
		return ""
	}
	at := filepath.Join("/etc/init.d", name)
	if info, err := os.Stat(at); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return ""
	}
	return at
}

// service is the one of Debian and of Red Hat. On a host with systemd both hand the usual actions over to systemctl.
func (m *manager) service(c *serviceCall, args []string) {
	if len(args) > 0 && args[0] == "--status-all" {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range m.known() {
			sign := map[bool]string{true: "+", false: "-"}[m.of(name).state == stateActive]
			c.print(" [ %s ]  %s", sign, strings.TrimSuffix(name, ".service"))
		}
		c.note = noteRead
		return
	}
	if len(args) == 0 {
		c.fail(1, "refused: not understood", "Usage: service < option > | --status-all | [ service_name [ command | --full-restart ] ]")
		return
	}
	if strings.HasPrefix(args[0], "-") {
		c.note = "answered with nothing"
		return
	}
	name, action := strings.TrimSuffix(args[0], ".sh"), ""
	if len(args) > 1 {
		action = args[1]
	}
	if action == "--full-restart" {
		action = jobRestart
	}
	unit := mangleUnit(name)
	usual := slices.Contains([]string{"start", "stop", "restart", "try-restart", "reload", "force-reload", "status", "condrestart", "reload-or-restart", "force-stop"}, action)
	switch script := initScript(name); {
	case usual && (withSystemd() || loadUnit(unit) != nil):
		if action == "force-stop" {
			action = "kill"
		}
		if action == "force-reload" {
			action = "reload-or-restart"
		}
		if isRedHat() {
			c.err.WriteString("Redirecting to /bin/systemctl " + action + " " + unit + "\n")
		}
		m.systemctl(c, []string{action, unit})
	case legacyAction(name, action) != "":
		c.exit, c.note = c.exec(append([]string{legacyAction(name, action)}, args[2:]...)), "done by the host's own script for that action"
	case script != "":
		c.exit, c.note = c.exec(append([]string{script}, args[1:]...)), "done by the host's own "+script
	case isRedHat() && withSystemd():
		c.fail(2, "refused: no such action", "The service command supports only basic LSB actions (start, stop, restart, try-restart, reload, reload-or-restart, force-reload, status, condrestart). For other actions, please try to use systemctl.")
	default:
		c.fail(1, "no such service", name+": unrecognized service")
	}
}

// legacyAction is a program of Red Hat's for an action that systemctl does not have.
func legacyAction(name, action string) string {
	if strings.ContainsAny(name+action, "/\x00") || action == "" {
		return ""
	}
	at := filepath.Join("/usr/libexec/initscripts/legacy-actions", name, action)
	if info, err := os.Stat(at); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return ""
	}
	return at
}

// rcService is OpenRC's.
func (m *manager) rcService(c *serviceCall, args []string) {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	switch {
	case len(args) < 1:
		c.fail(1, "refused: not understood", "rc-service: you need to specify a service")
	case initScript(args[0]) == "":
		c.fail(1, "no such service", "rc-service: service `"+args[0]+"' does not exist")
	case len(args) > 1:
		m.bySimpleWord(c, args[0]+".service", args[1])
	default:
		c.note = noteRead
	}
}

// initctl is Upstart's.
func (m *manager) initctl(c *serviceCall, args []string) {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(args) < 2 {
		c.note = noteRecorded + "; nothing is known of jobs of init"
		return
	}
	if _, err := os.Stat(filepath.Join("/etc/init", filepath.Base(args[1])+".conf")); err != nil {
		c.fail(1, "no such job", "initctl: Unknown job: "+args[1])
		return
	}
	m.bySimpleWord(c, args[1]+".service", args[0])
	if c.exit == 0 {
		c.print("%s %s/%s", args[1], map[bool]string{true: "stop", false: "start"}[args[0] == "stop"], map[bool]string{true: "waiting", false: "running"}[args[0] == "stop"])
	}
}

// bySimpleWord keeps the state of a service that no unit file tells of.
func (m *manager) bySimpleWord(c *serviceCall, unit, word string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.of(unit)
	switch word {
	case "status":
		c.note = noteRead
		if s.state != stateActive {
			c.exit = exitInactive
		}
	case "start", "restart", "reload":
		s.state, s.since, c.note = stateActive, time.Now(), noteRecorded
	case "stop":
		s.state, s.since, c.note = stateInactive, time.Now(), noteRecorded
	default:
		c.note = noteRecorded
	}
}

// chkconfig is Red Hat's: with systemd it hands services that have units over to systemctl.
func (m *manager) chkconfig(c *serviceCall, args []string) {
	var words []string
	option := ""
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--level" || a == "--levels":
			i++
		case strings.HasPrefix(a, "-"):
			option = a
		default:
			words = append(words, a)
		}
	}
	name := ""
	if len(words) > 0 {
		name = words[0]
	}
	u := loadUnit(name + ".service")
	verb := map[string]string{"on": "enable", "off": "disable", "reset": "preset"}
	switch {
	case name == "":
		c.note = "answered with nothing: the services are not listed"
	case u == nil:
		c.fail(1, "no such service", "error reading information on service "+name+": No such file or directory")
	case option == "--add" || option == "--del" || option == "--override":
		c.note = noteRecorded + "; the links of its script are not made"
	case len(words) == 1:
		c.note = "read from the files of the copy"
		if option == "--list" {
			c.print("%s\t%s", name, u.enabled())
		} else if u.enabled() != "enabled" {
			c.exit = 1
		}
	case verb[words[1]] != "" && !u.sysv:
		c.err.WriteString("Note: Forwarding request to 'systemctl " + verb[words[1]] + " " + name + ".service'.\n")
		m.systemctl(c, []string{verb[words[1]], name + ".service"})
	default:
		c.note = noteRecorded + "; the links of its script are not made"
	}
}

// journalctl knows what daemons said that were started for real.
func (m *manager) journalctl(c *serviceCall, args []string) {
	c.note = "answered with an empty journal"
	unit := ""
	for i, a := range args {
		switch {
		case (a == "-u" || a == "--unit") && i+1 < len(args):
			unit = args[i+1]
		case strings.HasPrefix(a, "--unit="):
			unit = strings.TrimPrefix(a, "--unit=")
		case strings.HasPrefix(a, "-u"):
			unit = a[2:]
		}
	}
	if m.starter != nil && unit != "" {
		if text, err := readBounded(logOf(mangleUnit(unit))); err == nil && text != "" {
			c.out.WriteString(text)
			c.note = "answered with what the daemon has said"
			return
		}
	}
	if !slices.Contains(args, "-q") && !slices.Contains(args, "--quiet") {
		c.print("-- No entries --")
	}
}

func loginctl(c *serviceCall, args []string) {
	switch verb := firstWord(args); verb {
	case "", "list-sessions":
		c.print("No sessions.")
		c.note = "answered with no sessions"
	case "list-users":
		c.print("No users.")
		c.note = "answered with no users"
	case "list-seats":
		c.print("No seats.")
		c.note = "answered with no seats"
	case "enable-linger", "disable-linger":
		c.note = noteRecorded + "; nothing is written below /var/lib/systemd/linger"
	default:
		c.note = noteRecorded
	}
}

// controlHost is hostnamectl and timedatectl: what they read is told, what they would set is not set.
func controlHost(c *serviceCall, args []string) {
	host, _ := os.Hostname()
	zone := "UTC"
	if target, err := os.Readlink("/etc/localtime"); err == nil {
		if _, name, ok := strings.Cut(target, "zoneinfo/"); ok {
			zone = name
		}
	}
	now := time.Now()
	verb := firstWord(args)
	c.note = "read"
	switch {
	case c.args[0] == "hostnamectl" && (verb == "" || verb == "status"):
		c.print(" Static hostname: %s", host)
	case c.args[0] == "hostnamectl" && verb == "hostname" && args[len(args)-1] == "hostname":
		c.print("%s", host)
	case c.args[0] == "timedatectl" && (verb == "" || verb == "status"):
		c.print("               Local time: %s", now.Format("Mon 2006-01-02 15:04:05 MST"))
		c.print("           Universal time: %s", now.UTC().Format("Mon 2006-01-02 15:04:05 MST"))
		c.print("                Time zone: %s", zone)
	case c.args[0] == "timedatectl" && verb == "show":
		c.print("Timezone=%s", zone)
	case !c.root:
		c.fail(1, "refused: the caller is not root", "Access denied")
	default:
		c.note = noteRecorded + "; nothing is set"
	}
}

// powerOff is every way to end the host. In a rehearsal the host goes on, and so does the script.
func powerOff(c *serviceCall, name string, args []string) {
	if !c.root {
		c.fail(1, "refused: the caller is not root", "Failed to "+name+": Access denied")
		return
	}
	c.note = noteRecorded + "; the host would go down here, and the deployment end"
	if name == "shutdown" && slices.Contains(args, "-c") {
		c.note = noteRecorded
	}
}

func firstWord(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}
