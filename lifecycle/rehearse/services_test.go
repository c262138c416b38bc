package rehearse

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway/systemd/systemdtest"
)

// The units of these tests, which no host has.
var unitsOfTests = map[string]string{
	"/etc/systemd/system/watch-web.service":      "[Unit]\nDescription=The web\n[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
	"/usr/lib/systemd/system/watch-once.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
	"/etc/systemd/system/watch-stay.service":     "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
	"/etc/systemd/system/watch-many@.service":    "[Unit]\nDescription=Number %i\n[Service]\nExecStart=/bin/sleep 1000\n",
}

// What a real systemd 252 answers was looked at once: TestRecorderAgainstSystemd compares.
var systemctlCalls = []struct {
	script string
	exit   int
	out    string // of standard output; "*": whatever
	err    string // likewise
}{
	{"systemctl start nosuch", 5, "", "Failed to start nosuch.service: Unit nosuch.service not found.\n"},
	{"systemctl restart nosuch.service", 5, "", "Failed to restart nosuch.service: Unit nosuch.service not found.\n"},
	{"systemctl stop nosuch", 5, "", "Failed to stop nosuch.service: Unit nosuch.service not loaded.\n"},
	{"systemctl reload nosuch", 5, "", "Failed to reload nosuch.service: Unit nosuch.service not found.\n"},
	{"systemctl try-restart nosuch", 5, "", "Failed to try-restart nosuch.service: Unit nosuch.service not found.\n"},
	{"systemctl status nosuch", 4, "", "Unit nosuch.service could not be found.\n"},
	{"systemctl is-active nosuch", 3, "inactive\n", ""},
	{"systemctl is-failed nosuch", 1, "inactive\n", ""},
	{"systemctl is-enabled nosuch", 1, "", "Failed to get unit file state for nosuch.service: No such file or directory\n"},
	{"systemctl cat nosuch", 1, "", "No files found for nosuch.service.\n"},
	{"systemctl enable nosuch", 1, "", "Failed to enable unit: Unit file nosuch.service does not exist.\n"},
	{"systemctl show -p LoadState --value nosuch", 0, "not-found\n", ""},
	{"systemctl frobnicate", 1, "", "Unknown command verb frobnicate.\n"},
	{"systemctl --frobnicate", 1, "", "systemctl: unrecognized option '--frobnicate'\n"},
	{"systemctl start", 1, "", "Too few arguments.\n"},
	{"systemctl is-active watch-web", 3, "inactive\n", ""},
	{"systemctl status watch-web", 3, "*", ""},
	{"systemctl reload watch-web", 1, "", "watch-web.service is not active, cannot reload.\n"},
	{"systemctl try-restart watch-web; systemctl is-active watch-web", 3, "inactive\n", ""},
	{"systemctl start watch-web", 0, "", ""},
	{"systemctl is-active watch-web.service", 0, "active\n", ""},
	{"systemctl is-active -q watch-web nosuch", 0, "", ""},
	{"systemctl is-active watch-web nosuch", 0, "active\ninactive\n", ""},
	{"systemctl status watch-web", 0, "*", ""},
	{"systemctl show -p ActiveState,SubState watch-web", 0, "ActiveState=active\nSubState=running\n", ""},
	{"systemctl show watch-web --property=Id --property CanReload", 0, "Id=watch-web.service\nCanReload=yes\n", ""},
	{"systemctl reload watch-web", 0, "", ""},
	{"systemctl restart watch-web", 0, "", ""},
	{"systemctl stop watch-web; systemctl is-active watch-web", 3, "inactive\n", ""},
	{"systemctl is-failed watch-web", 1, "inactive\n", ""},
	{"systemctl is-enabled watch-web", 1, "disabled\n", ""},
	{"systemctl enable watch-web", 0, "", "Created symlink /etc/systemd/system/multi-user.target.wants/watch-web.service -> /etc/systemd/system/watch-web.service.\n"},
	{"systemctl is-enabled watch-web", 0, "enabled\n", ""},
	{"systemctl show -p UnitFileState watch-web", 0, "UnitFileState=enabled\n", ""},
	{"systemctl disable --now watch-web", 0, "", "Removed \"/etc/systemd/system/multi-user.target.wants/watch-web.service\".\n"},
	{"systemctl enable --now -q watch-web; systemctl is-active watch-web", 0, "active\n", ""},
	{"systemctl stop watch-web", 0, "", ""},
	{"systemctl start watch-once; systemctl is-active watch-once", 3, "inactive\n", ""},
	{"systemctl start watch-stay; systemctl is-active watch-stay", 0, "active\n", ""},
	{"systemctl show -p SubState watch-stay", 0, "SubState=exited\n", ""},
	{"systemctl reload watch-stay", 3, "", "Failed to reload watch-stay.service: Job type reload is not applicable for unit watch-stay.service.\n"},
	{"systemctl start watch-many@7; systemctl is-active watch-many@7", 0, "active\n", ""},
	{"systemctl show -p Description --value watch-many@7", 0, "Number 7\n", ""},
	{"systemctl is-system-running", 0, "running\n", ""},
	{"systemctl daemon-reload", 0, "", ""},
	{"systemctl reset-failed", 0, "", ""},
	{"systemctl list-jobs", 0, "No jobs running.\n", ""},
	{"systemctl cat watch-once", 0, "# /usr/lib/systemd/system/watch-once.service\n[Service]\nType=oneshot\nExecStart=/bin/true\n", ""},
	{"systemctl mask -q watch-once; systemctl start watch-once", 1, "", "Failed to start watch-once.service: Unit watch-once.service is masked.\n"},
	{"ls -l /run/systemd/system >/dev/null", 0, "", ""},
}

func TestSystemctl(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the units of this test are root's")
	}
	w := openWatched(t, `{"Booted":true}`)
	w.do(watchOrder{Files: unitsOfTests, Script: ":"})
	for _, c := range systemctlCalls {
		got := w.run(c.script)
		if got.Exit != c.exit || c.out != "*" && got.Out != c.out || c.err != "*" && got.Err != c.err {
			t.Errorf("%s\n got: exit %d, %q, %q\nwant: exit %d, %q, %q", c.script, got.Exit, got.Out, got.Err, c.exit, c.out, c.err)
		}
	}
}

// The table says what systemd itself says.
func TestRecorderAgainstSystemd(t *testing.T) {
	h := systemdtest.Boot(t, systemdtest.Options{Prepare: func(root string) error {
		for name, text := range unitsOfTests {
			at := filepath.Join(root, strings.Replace(name, "/usr/lib/", "/lib/", 1))
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
				return err
			}
		}
		return nil
	}})
	for _, c := range systemctlCalls {
		cmd := h.Enter(t.Context(), "env", "-i", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", c.script)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		err, exit := cmd.Run(), 0
		if e := (*exec.ExitError)(nil); errors.As(err, &e) {
			exit = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		said := strings.ReplaceAll(out.String(), "# /lib/", "# /usr/lib/")
		if exit != c.exit || c.out != "*" && said != c.out || c.err != "*" && complaint.String() != c.err {
			t.Errorf("%s\n systemd: exit %d, %q, %q\nrecorder: exit %d, %q, %q", c.script, exit, said, complaint.String(), c.exit, c.out, c.err)
		}
	}
}
