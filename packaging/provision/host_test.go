package provision_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/packaging/provision"
	"slipway/systemd/systemdtest"
)

// machine is a real systemd host without a web server, PHP and a database. Its apt has a folder of packages and no network.
type machine struct {
	*systemdtest.Host
	t    *testing.T
	root string // its file system, as seen from the test
}

func newMachine(t *testing.T, program string) *machine {
	t.Helper()
	host := systemdtest.Boot(t, systemdtest.Options{Packages: []string{"procps", "iproute2", "ca-certificates", "curl"}})
	m := &machine{host, t, host.Root()}
	folder := debs(t, m.root)
	if out, err := exec.Command("cp", "-a", folder, filepath.Join(m.root, "srv/debs")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m.Write("/etc/dpkg/dpkg.cfg.d/test", "force-unsafe-io\n", 0o644) // the disk is memory
	m.Write("/etc/apt/sources.list", "deb [trusted=yes] file:/srv/debs ./\n", 0o644)
	m.Put(program, "/usr/bin/slipway", 0o755)
	if left := m.Run("ls -d /etc/apache2 /etc/php /etc/mysql 2>/dev/null; true"); left != "" {
		t.Fatalf("the host is not bare: %s", left)
	}
	return m
}

// Try runs a line of shell in the host. It may fail; the error is that of the process.
func (m *machine) Try(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := m.Enter(ctx, "/bin/sh", "-c", line).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Run is Try for a line that has to succeed.
func (m *machine) Run(line string) string {
	m.t.Helper()
	out, err := m.Try(line)
	if err != nil {
		m.t.Fatalf("in the host: %s: %v\n%s", line, err, out)
	}
	return out
}

// outside is a program of the test's machine that is given the file system of the host, which only has a name in a mount namespace of its own.
func (m *machine) outside(program string, args ...string) *exec.Cmd {
	pid, dir, _ := strings.Cut(strings.TrimPrefix(m.root, "/proc/"), "/root")
	return exec.Command("nsenter", append([]string{"-t", pid, "-m", "--", program}, append(args, dir)...)...)
}

// Eventually waits until a line of shell succeeds.
func (m *machine) Eventually(what, line string) {
	m.t.Helper()
	var out string
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out, err = m.Try(line); err == nil {
			return
		}
	}
	m.t.Fatalf("not seen in the host: %s: %v\n%s", what, err, out)
}

// Write makes a file in the host.
func (m *machine) Write(path, text string, mode os.FileMode) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		m.t.Fatal(err)
	}
}

// Put copies a file into the host.
func (m *machine) Put(from, to string, mode os.FileMode) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Write(to, string(data), mode)
}

// TestHosts runs on hosts of their own, side by side.
func TestHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("installs real packages on real hosts")
	}
	program := filepath.Join(t.TempDir(), "slipway")
	cmd := exec.Command("go", "build", "-o", program, "slipway/agent/cmd/slipway")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); testSQLite(t, newMachine(t, program)) })
	t.Run("MariaDB", func(t *testing.T) { t.Parallel(); testMariaDB(t, newMachine(t, program)) })
	t.Run("image", func(t *testing.T) { t.Parallel(); testImage(t, newMachine(t, program), program) })
}

// provision runs slipway provision in the host; it has to end with a code and to say all of want.
func (m *machine) provision(code int, args string, want ...string) string {
	m.t.Helper()
	out, err := m.Try("slipway provision " + args)
	got := 0
	if err != nil {
		got = -1
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Try gives it bare
			got = exit.ExitCode()
		}
	}
	if got != code {
		m.t.Errorf("provision %s ended with %d, want %d\n%s", args, got, code, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			m.t.Errorf("provision %s does not say %q:\n%s", args, w, out)
		}
	}
	return out
}

// deploy puts the sample application into the document root by its own script, as a deployment does.
func (m *machine) deploy() {
	m.t.Helper()
	if out, err := exec.Command("cp", "-a", "../../testdata/tinitter/.", filepath.Join(m.root, "Tinitter")).CombinedOutput(); err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	m.Run("sh /Tinitter/deploy/after_install.sh")
	m.serves()
}

// serves asks the page and the application's own health, which reads from its database.
func (m *machine) serves() {
	m.t.Helper()
	if got := m.Run("curl -sS http://127.0.0.1/health; echo; curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1/"); got != "ok\n\n200" {
		m.t.Errorf("the site answers %q", got)
	}
}

// post says something on the page with its form, and reads it back.
func (m *machine) post(word string) {
	m.t.Helper()
	page := m.Run(`cd /tmp && token=$(curl -sS -c jar http://127.0.0.1/ | sed -n 's/.*name="token" value="\([^"]*\)".*/\1/p') &&
curl -sS -b jar -c jar -L -o /dev/null --data-urlencode "token=$token" --data-urlencode "name=tester" --data-urlencode "body=` + word + `" http://127.0.0.1/posts && curl -sS http://127.0.0.1/`)
	if !strings.Contains(page, word) {
		m.t.Errorf("what was posted is not on the page:\n%s", page)
	}
}

// From bare to the sample application serving by real Apache and PHP; a second apply changes nothing; drift is found and mended; what is
// wrong is refused with the site still up (M1, M8).
func testSQLite(t *testing.T, m *machine) {
	plan := m.provision(2, "plan", "install package libapache2-mod-php8.2\n", "start service apache2.service\n", "+    DocumentRoot \"/Tinitter/htdocs\"\n")
	if again := m.provision(2, "plan"); again != plan {
		t.Errorf("planning has changed something:\n%s", again)
	}
	m.provision(0, "apply", "done: install package apache2\n", "testing the configuration: apache2ctl -t\n", "done: reload service apache2.service\n")
	m.provision(0, "apply", "0 changes made")
	m.deploy()
	m.post("first-words")
	m.provision(0, "verify", "nothing has drifted") // a deployment is no drift
	if got := m.Run("date +%Z; curl -sS -H 'Connection: keep-alive' -o /dev/null -D - http://127.0.0.1/ | grep -i '^keep-alive'; php -r 'echo ini_get(\"internal_encoding\"), ini_get(\"date.timezone\");'"); !strings.HasPrefix(got, "JST\nKeep-Alive: timeout=65") || !strings.HasSuffix(got, "UTF-8Asia/Tokyo") {
		t.Errorf("clock, keep-alive and settings of PHP are %q", got)
	}
	if got := m.Run("curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1/balancer"); got != "503" {
		t.Errorf("without an agent its health answers %s", got)
	}

	t.Log("drift")
	m.Run("echo '# by hand' >>/etc/apache2/sites-available/tinitter.conf")
	m.Run("systemctl disable -q --now apache2")
	m.Run("apt-get -q -y remove php8.2-mbstring")
	m.Run("chmod 777 /Tinitter/htdocs; chown root /var/lib/tinitter/db")
	m.provision(2, "verify", "-# by hand\n", "enable service apache2.service\n", "start service apache2.service\n", "install package php8.2-mbstring\n", "-mode 0777\n", "-owner root\n+owner www-data\n")
	m.provision(0, "apply", "done: start service apache2.service\n")
	m.provision(0, "verify", "nothing has drifted")
	m.serves()
	m.post("after-the-drift")

	t.Log("what is wrong")
	pid := m.Run("systemctl show -p MainPID --value apache2")
	m.Write("/root/broken.yml", strings.Replace(string(provision.Default()), "  port: 80\n", "  port: 80\n  directives: [KeepAliveTimeuot 5]\n", 1), 0o644)
	m.provision(1, "apply --profile /root/broken.yml", "Invalid command 'KeepAliveTimeuot'", "put back: edit file /etc/apache2/sites-available/tinitter.conf", "(1 file put back), and no service was touched")
	m.serves()
	if now := m.Run("systemctl show -p MainPID --value apache2"); now != pid {
		t.Errorf("the web server is process %s, it was %s", now, pid)
	}
	m.provision(0, "verify", "nothing has drifted")
	m.Write("/root/typo.yml", string(provision.Default())+"extra_packages: [php8.2-nosuch]\n", 0o644)
	m.provision(1, "apply --profile /root/typo.yml", "Unable to locate package php8.2-nosuch")
	m.provision(0, "verify", "nothing has drifted")

	t.Log("a service that does not start, and a port that is taken")
	m.Write("/etc/systemd/system/apache2.service.d/fire.conf", "[Service]\nExecStartPre=/bin/sh -c 'echo the disk is on fire; exit 4'\n", 0o644)
	m.Run("systemctl daemon-reload; systemctl stop apache2")
	m.provision(1, "apply", "start service apache2.service: ", "the disk is on fire")
	m.Run("rm -r /etc/systemd/system/apache2.service.d; systemctl daemon-reload; systemctl reset-failed apache2")
	m.Run("systemd-run -q --unit squatter php -S 0.0.0.0:80")
	m.Eventually("another server", "curl -sS -o /dev/null http://127.0.0.1/")
	m.provision(1, "apply", "port 80 is taken by pid ", "php -S 0.0.0.0:80), so apache2.service could not listen on it", "nothing was changed")
	m.Run("systemctl stop squatter")
	m.provision(0, "apply", "done: start service apache2.service\n", "1 change made")

	t.Log("PHP by PHP-FPM instead, and the agent's file for the balancer")
	fpm := strings.Replace(string(provision.Default()), "handler: platform", "handler: fpm", 1)
	m.Write("/root/fpm.yml", strings.Replace(fpm, "upstream: http://127.0.0.1:8427/health", "file: /run/slipway/healthy", 1), 0o644)
	m.provision(0, "apply --profile /root/fpm.yml", "done: install package php8.2-fpm\n", "testing the configuration: php-fpm8.2 -t\n")
	m.provision(0, "apply --profile /root/fpm.yml", "0 changes made")
	m.post("by-fpm")
	const ask = "curl -sS -w '%{http_code}' http://127.0.0.1/balancer"
	m.Run("mkdir -p /run/slipway; rm -f /run/slipway/healthy")
	if got := m.Run(ask); !strings.HasSuffix(got, "503") {
		t.Errorf("without the file the balancer gets %q", got)
	}
	m.Run("echo ok >/run/slipway/healthy")
	if got := m.Run(ask); got != "ok\n200" {
		t.Errorf("with the file the balancer gets %q", got)
	}
}

// The same with MariaDB on the host: database, user, rights, tables, and what the deployment scripts are told.
func testMariaDB(t *testing.T, m *machine) {
	schema, err := os.ReadFile("../../testdata/tinitter/schema/mysql.sql")
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(provision.Default()), "database:\n")
	m.Write("/root/mariadb.yml", before+`database:
  kind: mariadb
  name: tinitter
  user: tinitter
  password_file: /etc/slipway/tinitter-db.password
  schema_file: mysql.sql
environment: {file: /etc/slipway/tinitter.env, prefix: TINITTER_}
`, 0o644)
	m.Write("/root/mysql.sql", string(schema), 0o644)
	m.Write("/etc/slipway/tinitter.env", "TINITTER_SECRET=0123456789012345678901234567890123456789\n", 0o644)
	m.provision(1, "apply --profile /root/mariadb.yml", "the password file /etc/slipway/tinitter-db.password is missing: make it with")
	const password = `it's a "secret" \ %d`
	m.Write("/etc/slipway/tinitter-db.password", password+"\n", 0o600)
	out := m.provision(2, "plan --profile /root/mariadb.yml", "install package mariadb-server\n", "+table posts\n", "+TINITTER_DB_PASSWORD=(hidden)\n")
	out += m.provision(0, "apply --profile /root/mariadb.yml", "done: create database tinitter\n", "done: edit file /etc/slipway/tinitter.env\n")
	m.provision(0, "apply --profile /root/mariadb.yml", "0 changes made")
	if got := m.Run("cat /etc/slipway/tinitter.env; stat -c %a /etc/slipway/tinitter.env /etc/slipway/tinitter.env.orig"); !strings.Contains(got, "TINITTER_SECRET=") || !strings.HasSuffix(got, "TINITTER_DB_PASSWORD="+password+"\n600\n600") {
		t.Errorf("the file of the settings is\n%s", got)
	}
	m.deploy()
	m.post("in-mariadb")
	if got := m.Run("mariadb -N -e 'SELECT COUNT(*) FROM tinitter.posts'; ls /var/lib/tinitter/db"); got != "1" {
		t.Errorf("MariaDB and the folder of the SQLite file hold %q", got)
	}

	t.Log("drift")
	m.Run("mariadb -e \"REVOKE INSERT ON \\`tinitter\\`.* FROM tinitter@localhost; GRANT DROP ON \\`tinitter\\`.* TO tinitter@localhost; ALTER USER tinitter@localhost IDENTIFIED BY 'other'\"")
	m.provision(2, "verify --profile /root/mariadb.yml", "-grant DROP\n", "+grant INSERT\n", "-password another one\n+password as in its file\n")
	// Nobody sees the password on a command line: a watcher looks at all of them while it is being set.
	m.Write("/root/pattern", password[:len(`it's a "secret"`)]+"\n", 0o600)
	m.Run(`systemd-run -q --unit watcher sh -c 'while :; do cat /proc/[0-9]*/cmdline | tr "\0" " " | grep -a -F -f /root/pattern >>/root/seen; done'`)
	m.Eventually("that the watcher sees what it should not", `sh -c 'sleep 0.1' x "$(cat /root/pattern)"; test -s /root/seen`)
	m.Run(": >/root/seen")
	out += m.provision(0, "apply --profile /root/mariadb.yml", "done: edit database tinitter\n")
	m.Run("systemctl stop watcher")
	if seen := m.Run("cat /root/seen"); seen != "" || strings.Contains(out, "secret") {
		t.Errorf("the password was seen on a command line (%q) or in the output:\n%s", seen, out)
	}
	m.Run("systemctl disable -q --now mariadb")
	m.provision(2, "verify --profile /root/mariadb.yml", "start service mariadb.service\n", "enable service mariadb.service\n")
	m.provision(0, "apply --profile /root/mariadb.yml", "done: start service mariadb.service\n")
	m.provision(0, "verify --profile /root/mariadb.yml", "nothing has drifted")
	m.post("after-the-drift")
	m.Write("/root/broken.yml", strings.Replace(m.Run("cat /root/mariadb.yml"), "  port: 80\n", "  port: 80\n  directives: [Nonsense]\n", 1), 0o644)
	m.provision(1, "apply --profile /root/broken.yml", "Invalid command 'Nonsense'")
	m.serves()
}

// An image is provisioned from outside while its system does not run, and what boots from it serves (M7).
func testImage(t *testing.T, m *machine, program string) {
	m.PowerOff()
	// As if an apply before had been ended in the middle of an installation.
	m.Write("/usr/sbin/policy-rc.d", "#!/bin/sh\n# Written by slipway provision for the time of an installation.\nexit 101\n", 0o755)
	for _, want := range []string{"done: create database /var/lib/tinitter/db/tinitter.sqlite3\n", "\n0 changes made\n"} {
		out, err := m.outside(program, "provision", "apply", "--root").CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "note: no systemd runs here: services are enabled and not started\n") {
			t.Fatalf("apply --root: %v, want %q\n%s", err, want, out)
		}
	}
	if _, err := os.Stat(filepath.Join(m.root, "usr/sbin/policy-rc.d")); err == nil {
		t.Error("what kept the services down is still in the image")
	}
	m.Start()
	m.Eventually("the web server", "systemctl is-active apache2")
	m.Run("ln -sfn ../usr/share/zoneinfo/Asia/Tokyo /etc/localtime") // systemd-nspawn gives its hosts the zone of the machine at every boot
	m.provision(0, "verify", "nothing has drifted")
	m.deploy()
	m.post("from-an-image")
}
