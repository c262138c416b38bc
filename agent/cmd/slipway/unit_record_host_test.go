package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/google/go-cmp/cmp"

	"slipway/systemd"
)

// openModes are what others than root may look at of what the agent makes: a path below the folder of its state, the mode, and the rule. All else is
// root's alone. A folder ends in a slash.
var openModes = []struct {
	path string
	mode fs.FileMode
	rule string
}{
	{"deployment-root/", 0o755, "C-29, V-56: folders of the layout"},
	{"deployment-root/*/", 0o755, "C-29, V-56: deployment groups, instructions, tracking"},
	{"deployment-root/*/d-*/", 0o755, "C-29, V-56"},
	{"deployment-root/*/d-*/bundle.tar", 0o644, "V-56"},
	{"deployment-root/*/d-*/.bundle-*", 0o644, "V-93"},
	{"deployment-root/*/d-*/deployment-archive/", 0o755, "I-16: as unpacked"},
	{"deployment-root/*/d-*/deployment-archive/?*", 0o644, "I-16: modes of the bundle"},
	{"deployment-root/*/d-*/deployment-archive/?*.sh", 0o755, "I-16: modes of the bundle; H-11"},
	{"deployment-root/*/d-*/logs/", 0o750, "X-11"},
	{"deployment-root/*/d-*/logs/scripts.log", 0o640, "X-11"},
	{"deployment-root/deployment-instructions/?*", 0o644, "V-56, V-94: the official agents read them"},
	{"deployment-root/deployment-logs/", 0o750, "X-11"},
	{"deployment-root/deployment-logs/*.log", 0o640, "X-11"},
	{"deployment-root/ongoing-deployment/d-*", 0o644, "V-41"},
	{"log/", 0o755, "C-29"},
	{"log/*.log", 0o640, "X-11"},
	{"state/", 0o755, "C-29"},
	{"state/*.pid", 0o644, "L-32, V-89"},
	{"state/*.pid.lock", 0o644, "L-33"},
	{"/run/slipway/", 0o755, "tmpfiles: where scripts touch the drain marker"},
	{"/run/slipway/drain", 0o644, "what takes the host out of the pool may be read by who watches it"},
}

// keepsModes looks at everything that the agent has made, while a hook runs and while it is drained.
func (h *serviceHost) keepsModes() {
	const number = 90
	h.put("slow.zip", slow(number))
	d := h.create("slow.zip")
	h.eventually("the hook runs", func() bool { return h.content(fmt.Sprintf("/srv/starts%d", number)) != "" })
	h.sh("slipway drain --reason test")
	home, used, closed := filepath.Dir(h.under), map[string]bool{}, 0
	for _, top := range []string{h.under, filepath.Join(home, "log"), filepath.Join(home, "state"), "/run/slipway"} {
		h.must(filepath.WalkDir(h.inside(top), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(strings.TrimPrefix(path, h.inside("/")), home+"/")
			if e.IsDir() {
				name += "/"
			}
			if info.Mode()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 {
				h.t.Errorf("%s is a %s", name, info.Mode())
			}
			if info.Mode()&0o077 == 0 {
				closed++
				return nil
			}
			for _, open := range slices.Backward(openModes) {
				if ok, _ := filepath.Match(open.path, name); ok && !strings.HasPrefix(name, "deployment-root/.slipway/") {
					if used[open.path] = true; open.mode != info.Mode().Perm() {
						break
					}
					return nil
				}
			}
			h.t.Errorf("%s has the mode %s and no rule for it", name, info.Mode())
			return nil
		}))
	}
	for _, open := range openModes {
		if !used[open.path] {
			h.t.Errorf("the exception %s (%s) is not needed", open.path, open.rule)
		}
	}
	if closed < 20 {
		h.t.Errorf("only %d files of the agent were seen that are root's alone", closed)
	}
	h.sh("slipway undrain")
	h.proceed(number)
	if status, problem := h.end(d); status != types.DeploymentStatusSucceeded {
		h.t.Errorf("deployment = %s, %s", status, problem)
	}
}

// hardened is one line of `systemd-analyze security`.
type hardened struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Exposure    string `json:"exposure"`
}

// isRecorded holds docs/hardening.md to what systemd says of the unit, and the unit to what the page says of it.
func (h *serviceHost) isRecorded() {
	var want []hardened
	h.must(json.Unmarshal([]byte(h.sh("systemd-analyze security --no-pager --json=short "+systemd.UnitName)), &want))
	page, err := os.ReadFile("../../../docs/hardening.md")
	h.must(err)
	_, table, _ := strings.Cut(string(page), "<!-- systemd-analyze -->\n")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	var got []hardened
	setting := regexp.MustCompile(`[A-Za-z]+=`)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.ReplaceAll(strings.TrimSpace(line), `\|`, "\x00"), " | ")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		if len(cells) != 5 || strings.TrimSuffix(cells[4], " |") == "" {
			h.t.Errorf("a line without its choice or reason: %s", line)
			continue
		}
		v := hardened{Name: strings.Trim(cells[0], "| `"), Description: cells[1], Exposure: strings.TrimPrefix(cells[2], "–")}
		v.Name = strings.ReplaceAll(v.Name, "\x00", "|")
		got = append(got, v)
		for _, key := range setting.FindAllString(v.Name, -1) {
			if on, set := strings.HasPrefix(cells[3], "on"), strings.Contains(systemd.Unit, "\n"+key); on != set {
				h.t.Errorf("the page says %q of %s; set in the unit: %t", cells[3], key, set)
			}
		}
	}
	byName := func(a, b hardened) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(want, byName)
	slices.SortFunc(got, byName)
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("docs/hardening.md (-systemd +page):\n%s", diff)
	}
	if said := h.sh("systemd-analyze security --no-pager " + systemd.UnitName + " | tail -1"); !strings.Contains(string(page), strings.TrimRight(said, ":-{ ")) {
		h.t.Errorf("the page does not have the score: %s", said)
	}

	// The ground for it all: what the unit sets holds for a hook, although that is in a scope.
	h.put("seccomp.zip", plain("sed -n s/Seccomp_filters://p /proc/self/status >>/srv/seccomp"))
	h.succeeds("seccomp.zip")
	h.write("/etc/systemd/system/slipway.service.d/hard.conf", "[Service]\nProtectClock=yes\nLockPersonality=yes\nRestrictRealtime=yes\n")
	h.sh("systemctl daemon-reload; systemctl restart slipway")
	h.succeeds("seccomp.zip")
	var without, with int // the container has filters of its own
	if n, err := fmt.Sscan(h.content("/srv/seccomp"), &without, &with); n != 2 || with < without+3 {
		h.t.Errorf("a hook has %d system call filters, with three more of the unit %d (%v)", without, with, err)
	}
	h.sh("rm -r /etc/systemd/system/slipway.service.d; systemctl daemon-reload; systemctl restart slipway")
}
