package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixture is a tree with an os-release and, on request, other files.
func fixture(t *testing.T, release string, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "/etc/os-release", release)
	for name, content := range files {
		put(t, root, name, content)
	}
	return root
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, root string) *Host {
	t.Helper()
	h, err := Open(Options{Root: root, LockWait: -1, Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// booted makes an image look like a running host whose systemd knows of nothing yet.
type booted struct{ runner }

func (b booted) run(ctx context.Context, c command) (reply, error) {
	if c.argv[0] == "systemctl" && c.argv[1] == "show" {
		return reply{out: "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"}, nil
	}
	return b.runner.run(ctx, c)
}

var releases = map[string]string{
	"al2023":   "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\nPRETTY_NAME=\"Amazon Linux 2023.6.20250211\"\n",
	"al2":      "NAME=\"Amazon Linux\"\nVERSION=\"2\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\nPRETTY_NAME=\"Amazon Linux 2\"\n",
	"rhel9":    "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
	"debian12": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
	"ubuntu":   "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
}

// The plan of a bare host of each family, whole: packages, paths and units by the names that they have there (M1). No host of Amazon Linux
// is needed for it, and none was there when it was written.
func TestPlanOfABareHost(t *testing.T) {
	t.Parallel()
	password := filepath.Join("etc", "app.password")
	mariadb := strings.Split(string(Default()), "database:\n")[0] +
		"database:\n  kind: mariadb\n  name: tinitter\n  user: tinitter\n  password_file: /etc/app.password\n" +
		"  schema: CREATE TABLE IF NOT EXISTS posts (id INT);\nenvironment: {file: /etc/slipway/tinitter.env, prefix: TINITTER_}\n"
	for name, release := range releases {
		for kind, text := range map[string]string{"sqlite": string(Default()), "mariadb": mariadb} {
			t.Run(name+"_"+kind, func(t *testing.T) {
				t.Parallel()
				root := fixture(t, release, nil)
				if kind == "mariadb" {
					put(t, root, password, "secret\n")
					if err := os.Chmod(filepath.Join(root, password), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				h := open(t, root)
				h.systemd, h.runner = true, booted{h.runner}
				p := profileOf(t, text)
				changes, err := p.Plan(t.Context(), h)
				if err != nil {
					t.Fatal(err)
				}
				var b strings.Builder
				fmt.Fprintf(&b, "%s, profile %s\n", h.Platform(), p.Name())
				for _, c := range changes {
					fmt.Fprintf(&b, "\n%s\n%s", c, c.Diff)
				}
				if strings.Contains(b.String(), "secret\n") {
					t.Error("the plan shows the password")
				}
				golden(t, name+"_"+kind+".golden", b.String())
				if _, err := os.Stat(filepath.Join(root, "var")); err == nil {
					t.Error("planning has made something")
				}
			})
		}
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ release, want string }{
		{releases["al2023"], "Amazon Linux 2023"},
		{releases["al2"], "Amazon Linux 2"},
		{"ID=\"amzn\"\nVERSION_ID=\"2018.03\"\nPRETTY_NAME=\"Amazon Linux AMI 2018.03\"\n", `this is "Amazon Linux AMI 2018.03" (ID=amzn VERSION_ID=2018.03), which no table describes`},
		{releases["rhel9"], "RHEL 9 and its kin"},
		{"ID=almalinux\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=8.10\n", "RHEL 8 and its kin"},
		{"ID=someclone\nID_LIKE=\"rhel fedora\"\nVERSION_ID=9.3\n", "RHEL 9 and its kin"},
		{"ID=someclone\nID_LIKE=\"rhel fedora\"\nVERSION_ID=7.9\n", "which no table describes"},
		{releases["debian12"], "Debian 12"},
		{"ID='debian'\nVERSION_ID='13'\n", "Debian 13"},
		{"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux trixie/sid\"\n", "which no table describes"},
		{releases["ubuntu"], "Ubuntu 24.04"},
		{"ID=alpine\nVERSION_ID=3.20\n", "which no table describes"},
		{"", "which no table describes"},
	} {
		h, err := Open(Options{Root: fixture(t, tt.release, nil)})
		got := fmt.Sprint(err)
		if err == nil {
			got = h.Platform()
		}
		if got != tt.want && !(err != nil && strings.Contains(got, tt.want)) {
			t.Errorf("%q is %s, want %s", tt.release, got, tt.want)
		}
	}
	if _, err := Open(Options{Root: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is "+"/") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Open(Options{Root: "/no/such/root"}); err == nil {
		t.Error("a missing root is no error")
	}
}

// What the platform does not have is refused before anything is looked at.
func TestWhatAPlatformDoesNotHave(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ release, profile, want string }{
		{"al2023", "php: {handler: mod_php}\n", "p.yml: php.handler is mod_php, and Amazon Linux 2023 has fpm"},
		{"al2", "php: {version: '8.4'}\n", "p.yml: php.version is 8.4, and Amazon Linux 2 has 8.2, 8.1"},
		{"debian12", "database: {kind: mariadb, name: a, user: b, password_file: /etc/none}\n", "the password file /etc/none is missing: make it with"},
		{"debian12", "database: {kind: mariadb, name: a, user: b, password_file: /etc/open}\n", "can be read or changed by others than root"},
		{"debian12", "database: {kind: sqlite, file: /srv/db, schema_file: /no/such/schema.sql}\n", "read the schema of the database: open /no/such/schema.sql"},
	} {
		h := open(t, fixture(t, releases[tt.release], map[string]string{"/etc/open": "secret\n"}))
		_, err := profileOf(t, small+tt.profile).Plan(t.Context(), h)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s on %s: %v, want %q", tt.profile, tt.release, err, tt.want)
		}
	}
}
