package rehearse

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle"
)

// Programs beside systemctl, and what the account says of a call.
func TestOtherManagers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the units of this test are root's")
	}
	w := openWatched(t, `{"Booted":true,"Active":["watch-stay.service"]}`)
	files := map[string]string{"/etc/init.d/watch-old": "#!/bin/sh\necho \"old: $1\"\nexit 4\n", "/usr/local/bin/none": ""}
	for name, text := range unitsOfTests {
		files[name] = text
	}
	w.do(watchOrder{Files: files, Script: ":"})
	for _, c := range []struct {
		needs, script, out, err string
		exit                    int
		call, answer            string // of the last; "" call: none was noted
	}{
		{"/usr/sbin/service", "service watch-stay status", "*", "", 0, "service watch-stay status", noteRead},
		{"/usr/sbin/service", "service watch-web status", "*", "", 3, "service watch-web status", noteRead},
		{"/usr/sbin/service", "service watch-web start", "", "", 0, "service watch-web start", "recorded"},
		{"/usr/sbin/service", "service watch-web status >/dev/null; systemctl is-active watch-web", "active\n", "", 0, "systemctl is-active watch-web", noteRead},
		{"/usr/sbin/service", "service nosuch restart", "", "Failed to restart nosuch.service: Unit nosuch.service not found.\n", 5, "service nosuch restart", "no such unit"},
		{"/usr/sbin/service", "service nosuch frob", "", "nosuch: unrecognized service\n", 1, "service nosuch frob", "no such service"},
		{"/usr/sbin/service", "service watch-old frob", "old: frob\n", "", 4, "service watch-old frob", "done by the host's own /etc/init.d/watch-old"},
		{"/usr/sbin/service", "service watch-old start", "", "", 0, "service watch-old start", "recorded"},
		{"/usr/sbin/service", "/etc/init.d/watch-old start", "old: start\n", "", 4, "", ""}, // runs as it is
		{"/usr/sbin/invoke-rc.d", "invoke-rc.d --force watch-web restart 2>/dev/null; systemctl is-active watch-web", "active\n", "", 0, "systemctl is-active watch-web", noteRead},
		{"/usr/bin/journalctl", "journalctl -u x", "-- No entries --\n", "", 0, "journalctl -u x", "answered with an empty journal"},
		{"/usr/bin/journalctl", "journalctl -q", "", "", 0, "journalctl -q", "answered with an empty journal"},
		{"/usr/bin/loginctl", "loginctl", "No sessions.\n", "", 0, "loginctl", "answered with no sessions"},
		{"/usr/bin/hostnamectl", "[ \"$(hostnamectl hostname)\" = \"$(hostname)\" ]", "", "", 0, "hostnamectl hostname", "read"},
		{"/usr/bin/hostnamectl", "hostnamectl set-hostname other", "", "", 0, "hostnamectl set-hostname other", "recorded; nothing is set"},
		{"/usr/bin/timedatectl", "timedatectl set-timezone UTC", "", "", 0, "timedatectl set-timezone UTC", "recorded; nothing is set"},
		{"/sbin/reboot", "reboot && /sbin/shutdown -r now && echo goes on", "goes on\n", "", 0, "shutdown -r now", "recorded; the host would go down here, and the deployment end"},
		{"/usr/bin/systemctl", "telinit 0", "", "", 0, "telinit 0", "recorded; the host would go down here, and the deployment end"},
		{"/lib/systemd/systemd", "init 6", "", "", 0, "init 6", "recorded; the host would go down here, and the deployment end"}, // systemd hands over to systemctl
		{"/usr/bin/systemctl", "systemctl --user start x", "", "Failed to connect to bus: No medium found\n", 1, "systemctl --user start x", "refused: users have no service manager in a rehearsal"},
		{"/usr/bin/systemctl", "systemctl set-environment PASSWORD=hunter2", "", "", 0, "systemctl set-environment PASSWORD=***", "recorded"},
		{"/usr/bin/systemctl", "systemctl --version | grep -c ^systemd", "1\n", "", 0, "systemctl --version", "done by the host's own systemctl, as no service manager is asked"},
		{"/usr/bin/systemctl", "setpriv --reuid=33 --regid=33 --clear-groups systemctl restart watch-web", "", "*", 4, "systemctl restart watch-web", "refused: Access denied See"},
		{"/usr/sbin/apache2", "grep -c apache2 <(ls /run)", "1\n", "", 0, "", ""}, // of tmpfiles.d
	} {
		if _, err := os.Stat(c.needs); err != nil || strings.HasPrefix(c.script, "setpriv") && os.Geteuid() != 0 {
			t.Logf("%s is not on this host, or not root's", c.needs)
			continue
		}
		before := len(w.run(":").Calls)
		got := w.run(c.script)
		if got.Exit != c.exit || c.out != "*" && got.Out != c.out || c.err != "*" && got.Err != c.err {
			t.Errorf("%s\n got: exit %d, %q, %q\nwant: exit %d, %q, %q", c.script, got.Exit, got.Out, got.Err, c.exit, c.out, c.err)
		}
		if c.call == "" {
			if len(got.Calls) != before {
				t.Errorf("%s: noted %+v", c.script, got.Calls[before:])
			}
			continue
		}
		if last := got.Calls[len(got.Calls)-1]; len(got.Calls) == before || last.Call != c.call || !strings.HasPrefix(last.Answer, c.answer) {
			t.Errorf("%s: noted %+v; want %q, %q", c.script, got.Calls[before:], c.call, c.answer)
		}
	}
}

// On a host without systemd the answers say that it would not have given them.
func TestCallsBelongToEvents(t *testing.T) {
	w := openWatched(t, `{}`)
	w.do(watchOrder{Mark: lifecycle.ApplicationStop, Script: "systemctl stop nosuch"})
	got := w.do(watchOrder{Mark: lifecycle.ApplicationStart, Script: "systemctl start nosuch; rm /run/slipway-rehearsal/services; systemctl start nosuch"})
	for i := range got.Calls {
		if got.Calls[i].At.IsZero() {
			t.Errorf("no time: %+v", got.Calls[i])
		}
		got.Calls[i].At = got.Calls[0].At
	}
	const not = "no such unit; the host does not run systemd: there the call would fail"
	want := []lifecycle.ServiceCall{
		{At: got.Calls[0].At, By: lifecycle.ApplicationStop, Call: "systemctl stop nosuch", Answer: not, Exit: 5},
		{At: got.Calls[0].At, By: lifecycle.ApplicationStart, Call: "systemctl start nosuch", Answer: not, Exit: 5},
	}
	if diff := cmp.Diff(want, got.Calls); diff != "" {
		t.Errorf("Calls() mismatch (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(got.Err, "Failed to connect to bus: no such file or directory\n") || got.Exit != 1 {
		t.Errorf("without the recorder: exit %d, %q", got.Exit, got.Err)
	}
}

func TestParseSystemctl(t *testing.T) {
	for line, want := range map[string]ctlCall{
		"":                                      {verb: "list-units"},
		"-q is-active a b":                      {verb: "is-active", names: []string{"a", "b"}, quiet: true, options: []string{"-q"}},
		"is-active a --quiet":                   {verb: "is-active", names: []string{"a"}, quiet: true, options: []string{"--quiet"}},
		"-qa show a":                            {verb: "show", names: []string{"a"}, quiet: true, all: true, options: []string{"-qa"}},
		"show -p A,B -pC --property=D a":        {verb: "show", names: []string{"a"}, properties: []string{"A", "B", "C", "D"}, options: []string{"-p", "A,B", "-pC", "--property=D"}},
		"show -P A a":                           {verb: "show", names: []string{"a"}, properties: []string{"A"}, value: true, options: []string{"-P", "A"}},
		"enable --now -- -x":                    {verb: "enable", names: []string{"-x"}, now: true, options: []string{"--now"}},
		"list-units --type service --no-legend": {verb: "list-units", kinds: []string{"service"}, noLegend: true, options: []string{"--type", "service", "--no-legend"}},
	} {
		got, wrong := parseSystemctl(strings.Fields(line))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(ctlCall{}), cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" || wrong != "" {
			t.Errorf("parseSystemctl(%q): %s (-want +got):\n%s", line, wrong, diff)
		}
	}
	for line, want := range map[string]string{
		"-x": "systemctl: unrecognized option '-x'", "-qx": "systemctl: invalid option -- 'x'", "start --property": "systemctl: option '--property' requires an argument",
	} {
		if _, wrong := parseSystemctl(strings.Fields(line)); wrong != want {
			t.Errorf("parseSystemctl(%q) = %q, want %q", line, wrong, want)
		}
	}
}

func TestParseUnit(t *testing.T) {
	s := map[string][]string{}
	parseUnit("# a\n; b\nX=0\n[Service]\nExecStart=/bin/a \\\n# in between\n  b\nEnvironment=A=1\nEnvironment=B=2\nExecStop = \nnonsense\n[Unit]\nDescription= D \n", s)
	parseUnit("[Service]\nExecStart=\nExecStart=/bin/c\n", s) // a drop-in
	want := map[string][]string{"Service.ExecStart": {"/bin/c"}, "Service.Environment": {"A=1", "B=2"}, "Unit.Description": {"D"}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("parseUnit() mismatch (-want +got):\n%s", diff)
	}
}

func TestCommandLines(t *testing.T) {
	e := &execution{unit: &unitFile{id: "a@b-c.service"}, env: []string{"TWO=x y", "ONE=1", "ONE=2"}}
	for line, want := range map[string][]string{
		`/bin/a b  "c d" 'e "f'`:                  {"/bin/a", "b", "c d", `e "f`},
		`/bin/a $TWO ${TWO}s $ONE $NONE "" a$ONE`: {"/bin/a", "x", "y", "x ys", "2", "", "a$ONE"},
		`/bin/a \x20 $$ 5$ \\ a\ b`:               {"/bin/a", "x20", "$", "5$", `\`, "a b"},
	} {
		words, err := splitWords(line)
		if err != nil {
			t.Errorf("splitWords(%q): %v", line, err)
			continue
		}
		if got := e.expand(words); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{`a "b`, `a 'b`, `a \`} {
		if words, err := splitWords(line); err == nil {
			t.Errorf("splitWords(%q) = %q", line, words)
		}
	}
	if got := e.unit.specified("%i %I %p %n %%"); got != "b-c b/c a a@b-c.service %" {
		t.Errorf("specified() = %q", got)
	}
	if got := environmentLines("A=1\n# B=2\n C = 'x y' \nnonsense\n1D=3\n"); !slices.Equal(got, []string{"A=1", "C=x y"}) {
		t.Errorf("environmentLines() = %q", got)
	}
}

func TestParseVolatile(t *testing.T) {
	for line, want := range map[string]*volatileFolder{
		"d /run/httpd 710 root apache": {"/run/httpd", "root", "apache", 0o710},
		"d /var/run/x":                 {"/run/x", "-", "-", 0o755},
		"D! /run/x - - - -":            {"/run/x", "-", "-", 0o755},
		"d /run/%u":                    nil,
		"d /run/../etc":                nil,
		"d /var/tmp 1777":              nil,
		"f /run/x":                     nil,
		"d":                            nil,
		"":                             nil,
	} {
		got, ok := parseVolatile(line)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("parseVolatile(%q) = %+v, %v", line, got, ok)
		}
	}
}

func FuzzUnit(f *testing.F) {
	f.Add("[Service]\nExecStart=-@/bin/a \"b c\" $D ${E} \\\n %i\nEnvironment=\"A=1 2\"\n", "d /run/x 0755 root root")
	f.Fuzz(func(t *testing.T, text, line string) {
		u := &unitFile{id: "a@b.service", settings: map[string][]string{}}
		parseUnit(text, u.settings)
		for _, values := range u.settings {
			for _, v := range values {
				words, err := splitWords(u.specified(v))
				if err == nil && len((&execution{unit: u}).expand(words)) > len(words) {
					t.Errorf("%q: more words than there are", v)
				}
			}
		}
		if v, ok := parseVolatile(line); ok && (!strings.HasPrefix(v.path, "/run/") || strings.Contains(v.path+"/", "/../") || v.mode > 0o7777) {
			t.Errorf("parseVolatile(%q) = %+v", line, v)
		}
		_, _ = parseSystemctl(strings.Fields(line))
		environmentLines(text)
	})
}
