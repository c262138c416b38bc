package hooks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A host without sudo: where there is one, the shim does not see it.
func TestSudoAbsent(t *testing.T) {
	r := newRunner(t)
	if sudo := findProgram("sudo", ""); sudo != "" {
		r = hostWith(t, map[string]string{sudo: absent})
	}
	s := write(t, "#!/bin/sh\n")
	s.Sudo = true
	if res := perform(t, r, s); kindOf(res.Err) != "failed" || !strings.Contains(res.Err.Error(), "cannot be run: it needs sudo, which is not installed (looked in ") {
		t.Errorf("Err = %v", res.Err)
	}
}

// passwdWith is the host's /etc/passwd, but for the login shell of a user.
func passwdWith(t *testing.T, user, shell string) string {
	t.Helper()
	data, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^(`+user+`:.*):[^:\n]*$`).ReplaceAllString(string(data), "${1}:"+shell)
}

// The real sudo and su, with the rules and the users of a host: H-14 to H-16, H-39, X-3, X-45.
func TestRealSudo(t *testing.T) {
	if findProgram("sudo", "") == "" || findProgram("su", "") == "" {
		t.Fatal("sudo and su are needed: packaging/test/run installs them")
	}
	const (
		all  = "root ALL=(ALL:ALL) ALL\n"
		sees = "id -un\necho \"$DEPLOYMENT_ID ${BUNDLE_KEY-none} $SLIPWAY_X $OTHER $HOME\"\n"
	)
	tests := []struct {
		name    string
		sudoers string
		shell   string // of daemon
		runAs   string
		mode    string
		sudo    bool
		body    string
		want    []string // of the output
		fails   string   // pattern of the message
	}{
		{name: "H-15", sudoers: all, sudo: true, body: sees, want: []string{"root", "d-1 k 1  /root"}},
		{name: "H-16", sudoers: all, shell: "/bin/sh", runAs: "daemon", sudo: true, body: sees, want: []string{"daemon", "d-1 k 1  /usr/sbin"}},
		{name: "env_reset and a secure path", sudoers: "Defaults env_reset,secure_path=/usr/bin:/bin\n" + all, sudo: true, body: "echo $PATH\n" + sees, want: []string{"/usr/bin:/bin", "root", "d-1 k 1  /root"}},
		{name: "no rule", sudoers: "daemon ALL=(ALL) ALL\n", sudo: true, fails: `no rule of sudo allows it: see visudo \(its output has "root is not in the sudoers file`},
		{name: "a rule for another program", sudoers: "root ALL=(ALL) NOPASSWD: /bin/true\n", sudo: true, fails: `no rule of sudo allows it: see visudo \(its output has "Sorry, user root is not allowed to execute`},
		{name: "requiretty", sudoers: "Defaults requiretty\n" + all, sudo: true, fails: `hooks have no terminal, and sudo is told to want one: put "Defaults !requiretty".*sorry, you must have a tty to run sudo`},
		{
			name: "within a script, as another user without NOPASSWD", sudoers: "daemon ALL=(ALL:ALL) ALL\n", runAs: "daemon", body: "sudo -n id\n",
			fails: `sudo asks for a password, which nobody can give: it needs a NOPASSWD rule`,
		},
		{
			name: "within a script, asking", sudoers: "daemon ALL=(ALL:ALL) ALL\n", runAs: "daemon", body: "sudo id\n",
			fails: `sudo asks for a password, which nobody can give`,
		},
		{
			name: "variables that the rule does not let through", sudoers: "daemon ALL=(ALL) NOPASSWD: /bin/true\n", runAs: "daemon", body: "X=1 sudo -n --preserve-env=X /bin/true\n",
			fails: `give it the tag SETENV`,
		},
		{name: "X-3 setuid without a login shell", shell: "/usr/sbin/nologin", runAs: "daemon", body: sees, want: []string{"daemon", "d-1 k 1 2 /usr/sbin"}},
		{
			name: "H-39 su without a login shell", shell: "/usr/sbin/nologin", runAs: "daemon", mode: RunAsSu, body: sees,
			fails: `run as daemon failed with exit code 1; su runs scripts by the login shell of the user, and that of daemon is /usr/sbin/nologin, which runs nothing; hooks.runas_mode: setuid does without one`,
		},
		{name: "H-14 su with one", shell: "/bin/sh", runAs: "daemon", mode: RunAsSu, body: sees, want: []string{"daemon", "d-1 k 1 2 /usr/sbin"}},
		{name: "su and the exit code of the script", shell: "/bin/sh", runAs: "daemon", mode: RunAsSu, body: "exit 7\n", fails: "failed with exit code 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"/etc/sudoers": tt.sudoers}
			if tt.shell != "" {
				files["/etc/passwd"] = passwdWith(t, "daemon", tt.shell)
			}
			s := write(t, "#!/bin/sh\n"+tt.body)
			s.Sudo, s.RunAs, s.RunAsSet, s.RunAsMode = tt.sudo, tt.runAs, tt.runAs != "", tt.mode
			s.Env = append(s.Env, "DEPLOYMENT_ID=d-1", "BUNDLE_KEY=k", "SLIPWAY_X=1", "OTHER=2", "HOME=/nowhere")
			r := hostWith(t, files)
			res := perform(t, r, s)
			if tt.fails != "" {
				if kindOf(res.Err) != "failed" || !regexp.MustCompile(tt.fails).MatchString(res.Err.Error()) {
					t.Errorf("Err = %v, want one like %s\n%q", res.Err, tt.fails, res.Excerpt.Stderr)
				}
				return
			}
			if diff := cmp.Diff(tt.want, res.Excerpt.Tail); diff != "" || res.Err != nil {
				t.Errorf("%v (-want +got):\n%s", res.Err, diff)
			}
		})
	}
}

// The path of a script reaches su's shell as it is.
func TestSuQuotes(t *testing.T) {
	s := write(t, "")
	s.Path = filepath.Join(base(s), "it's $(id) `id`;a.sh")
	put(t, s.Path, "#!/bin/sh\nid -un\n", 0o755)
	s.RunAs, s.RunAsSet, s.RunAsMode = "daemon", true, RunAsSu
	res := perform(t, hostWith(t, map[string]string{"/etc/passwd": passwdWith(t, "daemon", "/bin/sh")}), s)
	if diff := cmp.Diff([]string{"daemon"}, res.Excerpt.Tail); diff != "" || res.Err != nil {
		t.Errorf("%v (-want +got):\n%s", res.Err, diff)
	}
}
