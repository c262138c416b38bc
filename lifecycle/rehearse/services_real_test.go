package rehearse

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"slipway/lifecycle"
)

// Debian's Apache, started and stopped by its own unit file, answers in the copy.
func TestRealApache(t *testing.T) {
	if _, err := os.Stat("/lib/systemd/system/apache2.service"); err != nil {
		t.Skip("Apache is not on this host")
	}
	if os.Geteuid() != 0 {
		t.Skip("Apache's port and its log need root")
	}
	w := openWatched(t, `{"Booted":true,"Real":true}`)
	const get = `for i in $(seq 100); do curl -s -o /dev/null -w '%{http_code} ' http://127.0.0.1/ && exit; sleep 0.1; done; exit 1`
	got := w.do(watchOrder{Mark: lifecycle.ApplicationStart, Script: "systemctl start apache2 && systemctl is-active apache2 && " + get})
	if got.Exit != 0 || got.Out != "active\n200 " {
		log := w.run("cat /run/slipway-rehearsal/log/*; tail -5 /var/log/apache2/error.log")
		t.Fatalf("exit %d, %q, %q; want 200\n%s\n%+v", got.Exit, got.Out, got.Err, log.Out, got.Calls)
	}
	if c := got.Calls[0]; !strings.HasPrefix(c.Answer, "started for real: apache2 (pid ") || c.Exit != 0 || c.Call != "systemctl start apache2" || c.By != lifecycle.ApplicationStart {
		t.Errorf("call: %+v", c)
	}
	if !slices.ContainsFunc(got.Listen, func(l lifecycle.Listener) bool {
		return strings.HasSuffix(l.Address, ":80") && strings.Contains(l.Command, "apache2")
	}) {
		t.Errorf("listeners: %+v", got.Listen)
	}
	if got = w.run("systemctl reload apache2 && service apache2 restart && " + get); got.Exit != 0 || got.Out != "200 " {
		t.Errorf("after reload and restart: exit %d, %q, %q, %+v", got.Exit, got.Out, got.Err, got.Calls)
	}
	if got = w.run("systemctl stop apache2; systemctl is-active apache2"); got.Out != "inactive\n" || got.Exit != 3 || len(got.Left) != 0 {
		t.Errorf("after stop: exit %d, %q, left %+v", got.Exit, got.Out, got.Left)
	}
	if got = w.run("echo Nonsense >> /etc/apache2/apache2.conf; systemctl start apache2; e=$?; systemctl is-failed apache2; exit $e"); got.Exit != 1 || got.Out != "failed\n" ||
		!strings.HasPrefix(got.Err, "Job for apache2.service failed because the control process exited with error code.\n") {
		t.Errorf("broken: exit %d, %q, %q", got.Exit, got.Out, got.Err)
	}
	if got = w.run("journalctl -u apache2 --no-pager"); !strings.Contains(got.Out, "Nonsense") {
		t.Errorf("the journal says %q", got.Out)
	}
}

func TestRealServices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the units of this test are root's")
	}
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip("perl is the daemon of this test")
	}
	w := openWatched(t, `{"Booted":true,"Real":true,"Active":["watch-web"]}`)
	files := map[string]string{
		"/etc/watch.env": "# words\nGREETING=\"good day\"\n",
		"/usr/local/bin/watch-notify": "#!/usr/bin/perl\nuse IO::Socket::UNIX; open F,'>',\"$ENV{RUNTIME_DIRECTORY}/said\"; print F \"@ARGV|$ENV{GREETING}|\",`pwd`; close F;" +
			"IO::Socket::UNIX->new(Type=>SOCK_DGRAM,Peer=>$ENV{NOTIFY_SOCKET})->send(\"STATUS=up\\nREADY=1\\n\"); sleep 1000;\n",
		"/etc/systemd/system/watch-notify.service": "[Service]\nType=notify\nEnvironmentFile=-/etc/none\nEnvironmentFile=/etc/watch.env\nEnvironment=\"TWO=a b\" ONE=1\n" +
			"WorkingDirectory=/usr\nRuntimeDirectory=watch-notify\nExecStartPre=-/bin/false\nExecStart=/usr/local/bin/watch-notify ${TWO} $TWO \\\n  %n 'x y' $$5\n",
		"/etc/systemd/system/watch-bad.service":    "[Service]\nExecStart=/bin/sh -c 'echo no way; exit 7'\n",
		"/etc/systemd/system/watch-silent.service": "[Service]\nType=notify\nExecStart=/bin/sh -c 'exit 0'\n",
		"/etc/systemd/system/watch-pre.service":    "[Service]\nExecStartPre=/bin/false\nExecStart=/bin/sleep 1000\n",
		"/etc/systemd/system/watch-dyn.service":    "[Service]\nDynamicUser=yes\nExecStart=/bin/sleep 1002\n",
	}
	for name, text := range unitsOfTests {
		files[name] = text
	}
	w.do(watchOrder{Files: files, Script: ":"})
	for _, c := range []struct {
		script, out, err string
		exit             int
		answer           string // how that of the last call begins
		left             []string
	}{
		{"systemctl is-active watch-web", "active\n", "", 0, noteRead, nil}, // on the host
		{"systemctl start watch-web", "", "", 0, "started for real: watch-web (pid ", []string{"/bin/sleep 1000"}},
		{"systemctl start watch-web", "", "", 0, "recorded; it is active already", []string{"/bin/sleep 1000"}},
		{"kill -9 $(systemctl show -p MainPID --value watch-web); sleep 0.3; systemctl is-active watch-web", "failed\n", "", 3, noteRead, nil},
		{"systemctl restart watch-web; systemctl is-active watch-web", "active\n", "", 0, noteRead, []string{"/bin/sleep 1000"}},
		{"systemctl stop watch-web", "", "", 0, "stopped for real", nil},
		{"systemctl start watch-once; systemctl is-active watch-once", "inactive\n", "", 3, noteRead, nil},
		{"systemctl start watch-stay; systemctl is-active watch-stay", "active\n", "", 0, noteRead, nil},
		{
			"systemctl start watch-notify; cat /run/watch-notify/said", "a b a b watch-notify.service x y $5|good day|/usr\n", "", 0, "started for real: watch-notify (pid ",
			[]string{"/usr/bin/perl /usr/local/bin/watch-notify a b a b watch-notify.service x y $5"},
		},
		{"systemctl stop watch-notify", "", "", 0, "stopped for real", nil},
		{"systemctl start watch-bad", "", "*", 1, "started for real, and failed: ExecStart=/bin/sh -c 'echo no way; exit 7': it has ended with code 7", nil},
		{"journalctl -u watch-bad", "no way\n", "", 0, "answered with what the daemon has said", nil},
		{"systemctl start watch-silent", "", "*", 1, "started for real, and failed: ", nil},
		{"systemctl start watch-pre", "", "*", 1, "started for real, and failed: ExecStartPre=/bin/false: exit status 1", nil},
		{"systemctl start watch-dyn", "", "", 0, "started for real: watch-dyn", []string{"/bin/sleep 1002"}},
	} {
		got := w.run(c.script)
		var left []string
		for _, l := range got.Left {
			left = append(left, l.Command)
		}
		last := got.Calls[len(got.Calls)-1]
		if got.Exit != c.exit || got.Out != c.out || c.err != "*" && got.Err != c.err || !strings.HasPrefix(last.Answer, c.answer) || !slices.Equal(left, c.left) {
			t.Errorf("%s\n got: exit %d, %q, %q, answer %q, left %q\nwant: exit %d, %q, %q, answer %q, left %q",
				c.script, got.Exit, got.Out, got.Err, last.Answer, left, c.exit, c.out, c.err, c.answer, c.left)
		}
	}
}
