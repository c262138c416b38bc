package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// amazon is a running host of Amazon Linux in a folder: its package manager, its systemd and its web server do what a test needs of them,
// with real files. No real one can run here.
type amazon struct {
	t         *testing.T
	root      string
	commands  []string          // all but questions
	installed map[string]bool   // packages
	units     map[string]string // "enabled active"
	refuse    string            // httpd -t refuses a site that holds this
	dies      string            // a command at which the process ends, as by kill -9
	diesAt    int               // the same by its number, questions too, from 1; 0 never
	ran       int               // commands, questions too
	fails     map[string]string // command → its last words
}

var errKilled = errors.New("killed")

func newAmazon(t *testing.T) *amazon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("apply needs root: it sets owners")
	}
	root := fixture(t, releases["al2023"], map[string]string{
		"/etc/passwd": "root:x:0:0::/:/bin/sh\n", "/etc/group": "root:x:0:\n", "/var/lib/rpm/rpmdb.sqlite": "",
	})
	return &amazon{t: t, root: root, installed: map[string]bool{}, units: map[string]string{}, fails: map[string]string{}}
}

func (a *amazon) host() *Host {
	h := open(a.t, a.root)
	h.systemd, h.runner, h.pause = true, a, time.Microsecond
	return h
}

func (a *amazon) has(name string) string { return "/usr/bin/" + name }

func (a *amazon) run(_ context.Context, c command) (reply, error) {
	line := strings.Join(c.argv, " ")
	if c.argv[0] == "php" {
		line = "php"
	}
	question := c.argv[0] == "rpm" || strings.HasPrefix(line, "systemctl show") || c.argv[0] == "journalctl"
	if !question {
		a.commands = append(a.commands, line)
	}
	if a.ran++; a.ran == a.diesAt || a.dies != "" && strings.HasPrefix(line, a.dies) {
		panic(errKilled)
	}
	if words, ok := a.fails[line]; ok {
		return reply{code: 1, all: words}, nil
	}
	switch c.argv[0] {
	case "rpm":
		if !a.installed[c.argv[3]] {
			return reply{code: 1, all: "no package provides " + c.argv[3] + "\n"}, nil
		}
	case "dnf":
		a.install(c.argv[3:])
	case "systemctl":
		return a.systemctl(c.argv[1], c.argv[len(c.argv)-1]), nil
	case "journalctl":
		return reply{out: "(98)Address already in use: AH00072: make_sock: could not bind\n"}, nil
	case "httpd":
		site, _ := os.ReadFile(filepath.Join(a.root, "/etc/httpd/conf.d/tinitter.conf"))
		if a.refuse != "" && strings.Contains(string(site), a.refuse) {
			return reply{code: 1, all: "AH00526: Syntax error on line 15\nInvalid command '" + a.refuse + "'\n"}, nil
		}
	case "php":
		file := filepath.Join(a.root, c.argv[len(c.argv)-1])
		if c.stdin != "" {
			put(a.t, a.root, strings.TrimPrefix(file, a.root), c.stdin)
			if err := os.Chown(file, c.uid, c.gid); err != nil {
				a.t.Fatal(err)
			}
		}
		data, _ := os.ReadFile(file)
		out := ""
		for _, m := range madeBy().FindAllStringSubmatch(string(data), -1) {
			out += m[2] + "\n"
		}
		return reply{out: out, all: out}, nil
	}
	return reply{}, nil
}

func (a *amazon) install(names []string) {
	for _, n := range names {
		a.installed[n] = true
		switch {
		case n == "httpd":
			put(a.t, a.root, "/etc/passwd", "root:x:0:0::/:/bin/sh\napache:x:48:48::/:/sbin/nologin\n")
			put(a.t, a.root, "/etc/group", "root:x:0:\napache:x:48:\n")
			put(a.t, a.root, "/etc/httpd/conf.d/welcome.conf", "<LocationMatch \"^/+$\">\n    Options -Indexes\n</LocationMatch>\n")
			a.units["httpd.service"] = "disabled inactive"
		case strings.HasSuffix(n, "-fpm"):
			a.units["php-fpm.service"] = "disabled inactive"
		case n == "tzdata":
			put(a.t, a.root, "/usr/share/zoneinfo/Asia/Tokyo", "TZif")
		}
	}
}

func (a *amazon) systemctl(verb, unit string) reply {
	file, active, _ := strings.Cut(a.units[unit], " ")
	switch verb {
	case "show":
		load := "loaded"
		if file == "" {
			load = "not-found"
		}
		return reply{out: fmt.Sprintf("LoadState=%s\nActiveState=%s\nUnitFileState=%s\n", load, active, file)}
	case "enable":
		file = "enabled"
	case "start", "restart", "reload-or-restart":
		active = "active"
	}
	a.units[unit] = file + " " + active
	return reply{}
}

func (a *amazon) read(name string) string {
	data, err := os.ReadFile(filepath.Join(a.root, name))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(data)
}

func (a *amazon) apply(p *Profile) (o Outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != errKilled { //nolint:errorlint // it is this very value
				panic(r)
			}
			err = errKilled
		}
	}()
	return p.Apply(a.t.Context(), a.host(), nil)
}

func tinitter(t *testing.T, more string) *Profile {
	t.Helper()
	return profileOf(t, strings.Replace(string(Default()), "  port: 80\n", "  port: 80\n"+more, 1))
}

// From bare to serving, and then nothing (M1, M8).
func TestApplyOnAmazonLinux(t *testing.T) {
	a := newAmazon(t)
	p := tinitter(t, "")
	o, err := a.apply(p)
	if err != nil || len(o.Done) != 22 {
		t.Fatalf("Apply() made %d changes, %v\n%v", len(o.Done), err, o.Done)
	}
	golden(t, "al2023_commands.golden", strings.Join(a.commands, "\n")+"\n")
	if got := a.read("/etc/httpd/conf.d/welcome.conf.orig"); !strings.Contains(got, "LocationMatch") {
		t.Errorf("the original of welcome.conf is %q", got)
	}
	if diff := cmp.Diff(map[string]string{"httpd.service": "enabled active", "php-fpm.service": "enabled active"}, a.units); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
	a.commands = nil
	o, err = a.apply(p)
	if err != nil || len(o.Done) != 0 {
		t.Errorf("a second Apply() made %v, %v", o.Done, err)
	}
	if !slices.Equal(a.commands, []string{"php", "php"}) { // which looks into the database, to plan and to apply
		t.Errorf("a second Apply() ran %q", a.commands)
	}
	if _, err := os.Stat(filepath.Join(a.root, journalFile)); err == nil {
		t.Error("the journal is still there")
	}
}

// What has drifted is found, named, and mended; nothing else is touched.
func TestDrift(t *testing.T) {
	a := newAmazon(t)
	p := tinitter(t, "")
	if _, err := a.apply(p); err != nil {
		t.Fatal(err)
	}
	site := filepath.Join(a.root, "/etc/httpd/conf.d/tinitter.conf")
	for _, tt := range []struct {
		name  string
		drift func() error
		want  []string
	}{
		{"edited file", func() error { return os.WriteFile(site, []byte("# gone\n"), 0o644) }, []string{"edit file /etc/httpd/conf.d/tinitter.conf", "reload service httpd.service"}},
		{"mode of a file", func() error { return os.Chmod(site, 0o666) }, []string{"edit file /etc/httpd/conf.d/tinitter.conf", "reload service httpd.service"}},
		{"file removed", func() error { return os.Remove(filepath.Join(a.root, "/etc/php.d/90-tinitter.ini")) }, []string{"create file /etc/php.d/90-tinitter.ini", "reload service php-fpm.service"}},
		{"service stopped", func() error { a.units["php-fpm.service"] = "enabled inactive"; return nil }, []string{"start service php-fpm.service"}},
		{"service disabled", func() error { a.units["httpd.service"] = "disabled active"; return nil }, []string{"enable service httpd.service"}},
		{"package removed", func() error { a.installed["php8.4-mbstring"] = false; return nil }, []string{"install package php8.4-mbstring", "reload service php-fpm.service"}},
		{"owner of a folder", func() error { return os.Chown(filepath.Join(a.root, "/var/lib/tinitter/db"), 0, 0) }, []string{"edit directory /var/lib/tinitter/db"}},
		{"owner of the database", func() error { return os.Chown(filepath.Join(a.root, "/var/lib/tinitter/db/tinitter.sqlite3"), 0, 0) }, []string{"edit database /var/lib/tinitter/db/tinitter.sqlite3"}},
		{"zone of the clock", func() error { return os.Remove(filepath.Join(a.root, "/etc/localtime")) }, []string{"set timezone Asia/Tokyo"}},
	} {
		if err := tt.drift(); err != nil {
			t.Fatal(err)
		}
		planned, err := p.Plan(t.Context(), a.host())
		if got := named(planned); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: Plan() = %q, %v, want %q", tt.name, got, err, tt.want)
		}
		o, err := a.apply(p)
		if got := named(o.Done); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: Apply() = %q, %v, want %q", tt.name, got, err, tt.want)
		}
		if left, err := p.Plan(t.Context(), a.host()); err != nil || len(left) > 0 {
			t.Errorf("%s: still %q, %v", tt.name, named(left), err)
		}
	}
}

func named(changes []Change) []string {
	var list []string
	for _, c := range changes {
		list = append(list, c.String())
	}
	return list
}

// A configuration that the web server refuses is put back whole, and no service is touched; also when it was a crash before that left it.
func TestBrokenConfigurationIsPutBack(t *testing.T) {
	a := newAmazon(t)
	good, bad := tinitter(t, ""), tinitter(t, "  directives: [Nonsense on]\n")
	a.refuse = "Nonsense"
	if _, err := a.apply(good); err != nil {
		t.Fatal(err)
	}
	before := a.read("/etc/httpd/conf.d/tinitter.conf")
	for _, crash := range []string{"", "httpd -t"} {
		a.commands, a.dies = nil, crash
		if crash != "" {
			if _, err := a.apply(bad); !errors.Is(err, errKilled) {
				t.Fatalf("Apply() = %v, want a crash", err)
			}
			if a.read("/etc/httpd/conf.d/tinitter.conf") == before {
				t.Fatal("the crash came too early to tell anything")
			}
			if changes, err := good.Plan(t.Context(), a.host()); err != nil || !slices.Contains(named(changes), "reload service httpd.service") {
				t.Errorf("after a crash Plan() = %q, %v", named(changes), err)
			}
			a.dies = ""
		}
		o, err := a.apply(bad)
		if err == nil || !strings.Contains(err.Error(), "Invalid command 'Nonsense'") || !strings.Contains(err.Error(), "the configuration is as it was before (1 file put back), and no service was touched") {
			t.Errorf("Apply() = %v", err)
		}
		if crash == "" && (len(o.Undone) != 1 || !slices.Equal(named(o.NotDone), []string{"reload service httpd.service"})) {
			t.Errorf("Apply() put back %q and left %q", named(o.Undone), named(o.NotDone))
		}
		if got := a.read("/etc/httpd/conf.d/tinitter.conf"); got != before {
			t.Errorf("the site is not what it was:\n%s", got)
		}
		if slices.ContainsFunc(a.commands, func(c string) bool { return strings.HasPrefix(c, "systemctl") }) {
			t.Errorf("a service was touched: %q", a.commands)
		}
		if left, err := good.Plan(t.Context(), a.host()); err != nil || len(left) > 0 {
			t.Errorf("afterwards Plan() = %q, %v", named(left), err)
		}
	}
}

// A server that passes the test and then cannot use what it reads gets the old configuration back, and runs.
func TestFailedReloadIsPutBack(t *testing.T) {
	a := newAmazon(t)
	if _, err := a.apply(tinitter(t, "")); err != nil {
		t.Fatal(err)
	}
	before := a.read("/etc/httpd/conf.d/tinitter.conf")
	a.fails["systemctl reload-or-restart httpd.service"] = "Job for httpd.service failed.\n"
	_, err := a.apply(tinitter(t, "  directives: [Listen 81]\n"))
	for _, want := range []string{"reload service httpd.service: systemctl reload-or-restart httpd.service ended with status 1", "could not bind", "the configuration was put back, and httpd.service runs with it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply() = %v\nwant %q", err, want)
		}
	}
	if a.read("/etc/httpd/conf.d/tinitter.conf") != before || a.units["httpd.service"] != "enabled active" {
		t.Errorf("httpd is %s, the site %s", a.units["httpd.service"], a.read("/etc/httpd/conf.d/tinitter.conf"))
	}
}

// The failure of a step is told with the words of the program that failed, what was done and what was not.
func TestApplyStopsAtTheFirstFailure(t *testing.T) {
	a := newAmazon(t)
	p := profileOf(t, string(Default())+"extra_packages: [nosuch]\n")
	line := "dnf -y install tzdata httpd php8.4-cli php8.4-pdo php8.4-mbstring curl-minimal unzip php8.4-fpm nosuch"
	a.fails[line] = "Last metadata expiration check: 0:01:02 ago\nNo match for argument: nosuch\nError: Unable to find a match: nosuch\n"
	o, err := a.apply(p)
	if err == nil || !strings.Contains(err.Error(), "Error: Unable to find a match: nosuch") || len(o.Failed) != 9 || len(o.Done) != 0 || len(o.NotDone) != 14 {
		t.Errorf("Apply() = %v, failed %v, done %q, not done %d", err, o.Failed, named(o.Done), len(o.NotDone))
	}
	delete(a.fails, line)
	a.fails["systemctl start httpd.service"] = "Job for httpd.service failed because the control process exited with error code.\n"
	o, err = a.apply(p)
	if err == nil || !strings.Contains(err.Error(), "its last log lines:\n    (98)Address already in use") || !slices.Equal(named(o.Failed), []string{"enable service httpd.service", "start service httpd.service"}) {
		t.Errorf("Apply() = %v, failed %v", err, o.Failed)
	}
	delete(a.fails, "systemctl start httpd.service")
	if o, err = a.apply(p); err != nil || !slices.Equal(named(o.Done), []string{"start service httpd.service"}) {
		t.Errorf("after the cause is gone Apply() = %q, %v", named(o.Done), err)
	}
}

func TestMaskedServiceAndStrangeNodes(t *testing.T) {
	a := newAmazon(t)
	p := tinitter(t, "")
	if _, err := a.apply(p); err != nil {
		t.Fatal(err)
	}
	site := filepath.Join(a.root, "/etc/httpd/conf.d/tinitter.conf")
	if err := errors.Join(os.Remove(site), os.Mkdir(site, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.apply(p); err == nil || !strings.Contains(err.Error(), "tinitter.conf is there and is not a file: remove it\nnothing was changed") {
		t.Errorf("a folder in the place of the site: %v", err)
	}
	_ = os.Remove(site)
	// A link is replaced, its target stays as it is.
	put(t, a.root, "/etc/elsewhere.conf", "elsewhere\n")
	if err := os.Symlink("/etc/elsewhere.conf", site); err != nil {
		t.Fatal(err)
	}
	if _, err := a.apply(p); err != nil || a.read("/etc/elsewhere.conf") != "elsewhere\n" {
		t.Errorf("a link in the place of the site: %v", err)
	}
}

// Two applies at once: the second says who is at work and does nothing.
func TestOneApplyAtATime(t *testing.T) {
	a := newAmazon(t)
	child := lockedByChild(t, filepath.Join(a.root, lockFile))
	_, err := a.apply(tinitter(t, ""))
	if err == nil || !strings.Contains(err.Error(), "another slipway provision is at work: pid "+strconv.Itoa(child)) {
		t.Errorf("Apply() = %v", err)
	}
}

// Wherever an apply is killed, the next one brings the host to the same end, and every service has read what there is.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	whole := newAmazon(t)
	p := tinitter(t, "")
	if _, err := whole.apply(p); err != nil {
		t.Fatal(err)
	}
	want := contents(t, whole.root)
	for n := 1; n <= whole.ran; n++ {
		a := newAmazon(t)
		a.diesAt = n
		if _, err := a.apply(p); !errors.Is(err, errKilled) {
			t.Fatalf("at command %d of %d Apply() = %v", n, whole.ran, err)
		}
		written := contents(t, a.root)
		a.diesAt, a.commands = 0, nil
		if _, err := a.apply(p); err != nil {
			t.Errorf("killed at command %d: the next Apply() = %v", n, err)
		}
		if diff := cmp.Diff(want, contents(t, a.root)); diff != "" {
			t.Errorf("killed at command %d: the tree differs (-want +got):\n%s", n, diff)
		}
		for unit, site := range map[string]string{"httpd.service": "etc/httpd/conf.d/tinitter.conf", "php-fpm.service": "etc/php.d/90-tinitter.ini"} {
			began := slices.ContainsFunc(a.commands, func(c string) bool {
				return c == "systemctl start "+unit || c == "systemctl reload-or-restart "+unit
			})
			// One that had been started before the end had read its files, which were all written by then.
			if _, before := written[site]; !began && (!before || a.units[unit] != "enabled active") {
				t.Errorf("killed at command %d: %s is %s, and was not told to read its files", n, unit, a.units[unit])
			}
		}
	}
}

// contents are the regular files and links of a tree, with what is in them, but for the lock.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.Type()&os.ModeSymlink != 0 {
			m[rel], err = os.Readlink(name)
			return err
		}
		data, err := os.ReadFile(name)
		m[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
