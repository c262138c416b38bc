package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"slipway/systemd"
)

// isInstalled takes the package's files away and lets the program install itself, as on a host without the package.
func (h *serviceHost) isInstalled() {
	h.sh("systemctl disable --quiet --now slipway; rm -r /usr/lib/systemd/system/slipway* /usr/lib/tmpfiles.d/slipway.conf /etc/slipway/conf.d; mv /usr/bin/slipway /usr/local/bin/; systemctl daemon-reload")
	files := func() string {
		return h.sh("find /etc/systemd /etc/tmpfiles.d /usr/lib/systemd/system /etc/slipway /etc/init.d -name '*' -printf '%M %p %l\n' | sort")
	}
	slipway := func(want int, args string) string {
		h.t.Helper()
		code, out := h.code("slipway " + args)
		if code != want {
			h.t.Errorf("slipway %s = %d, want %d: %s", args, code, want, out)
		}
		return out
	}
	before := files()
	slipway(3, "service status")
	slipway(1, "service start")
	if out := slipway(0, "service install"); out != "installed and enabled /etc/systemd/system/slipway.service\nstart it with: slipway service start\n" {
		h.t.Errorf("install says %q", out)
	}
	same := func(execStart string) {
		h.t.Helper()
		want := strings.Replace(systemd.Unit, "ExecStart=/usr/bin/slipway run\n", "ExecStart="+execStart+"\n", 1)
		if diff := cmp.Diff(want, h.content("/etc/systemd/system/"+systemd.UnitName)); diff != "" {
			h.t.Errorf("the unit (-want +got):\n%s", diff)
		}
	}
	same("/usr/local/bin/slipway run")
	if got := h.sh("systemctl is-enabled slipway; systemctl is-active slipway || :"); got != "enabled\ninactive" {
		h.t.Errorf("installed, it is %q", got)
	}
	slipway(1, "service install") // there is one
	slipway(3, "service status")
	slipway(0, "service start")
	pid := h.running(0)
	if out := slipway(0, "service status"); !strings.Contains(out, fmt.Sprintf("is running, PID %d", pid)) {
		h.t.Errorf("status says %s", out)
	}
	h.succeeds("plain.zip")
	slipway(0, "service restart")
	h.running(pid)
	slipway(0, "service stop")
	slipway(3, "service status")
	h.write(filepath.Join(h.under, statusFile), "{")
	slipway(4, "service status")
	h.must(os.Remove(h.inside(filepath.Join(h.under, statusFile))))
	slipway(0, "service start")
	slipway(0, "service uninstall") // while it runs
	gone := func() {
		h.t.Helper()
		if diff := cmp.Diff(before, files()); diff != "" {
			h.t.Errorf("after uninstall (-before +after):\n%s", diff)
		}
		if got := h.sh("systemctl show --value -p LoadState,ActiveState slipway.service | sort | tr '\n' ' '"); !slices.Equal(strings.Fields(got), []string{"inactive", "not-found"}) {
			h.t.Errorf("after uninstall the unit is %q", got)
		}
	}
	gone()
	slipway(3, "service status")
	// The program and its configuration in places that systemd would read otherwise.
	const home, odd = "/srv/100% of $HOME{{Path}}", `/srv/the "$HOME" \n of 5%{{Path}}.yml`
	h.must(os.Mkdir(h.inside(home), 0o755))
	h.sh(`cp /usr/local/bin/slipway '` + home + `'; cp /etc/slipway/slipway.yml '` + odd + `'`)
	if code, out := h.code(`'` + home + `/slipway' service install --now --config '` + odd + `'`); code != 0 {
		h.t.Errorf("install: %s", out)
	}
	same(`"/srv/100%% of $HOME\x7b\x7bPath\x7d\x7d/slipway" run --config "/srv/the \x22$$HOME\x22 \x5cn of 5%%\x7b\x7bPath\x7d\x7d.yml"`)
	pid = h.running(0)
	if got := h.sh(fmt.Sprintf(`tr '\0' '\n' </proc/%d/cmdline`, pid)); got != home+"/slipway\nrun\n--config\n"+odd {
		h.t.Errorf("it runs as %s", got)
	}
	slipway(0, "service uninstall")
	gone()
	if code, out := h.code(`mkdir /srv/\' && cp /usr/local/bin/slipway /srv/\' && /srv/\'/slipway service install`); code != 1 || !strings.Contains(out, "systemd starts no program whose path has quotes or backslashes: move /srv/'/slipway") {
		h.t.Errorf("install from a place that systemd does not take = %d, %s", code, out)
	}
	gone()
}
