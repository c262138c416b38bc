package rehearse

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle"
)

func TestAccountChanges(t *testing.T) {
	t.Parallel()
	const was = "root:x:0:0:root:/root:/bin/bash\nweb:x:33:33::/srv:/usr/sbin/nologin\nold:x:900:900::/:/bin/false\n"
	for name, test := range map[string]struct {
		is   string
		want []string
	}{
		"equal":   {was, nil},
		"added":   {was + "deploy:x:1001:1001:Deploys, it does:/home/deploy:/bin/bash\n", []string{"user deploy added (uid 1001, home /home/deploy, shell /bin/bash)"}},
		"removed": {strings.ReplaceAll(was, "old:x:900:900::/:/bin/false\n", ""), []string{"user old removed (uid 900, home /, shell /bin/false)"}},
		"changed": {
			strings.ReplaceAll(was, "web:x:33:33::/srv:/usr/sbin/nologin", "web:x:0:33:Web::/bin/sh"),
			[]string{"user web changed (uid 0, was 33; comment Web, was empty; home , was /srv; shell /bin/sh, was /usr/sbin/nologin)"},
		},
		"hostile":        {was + "a\x1b[2Jb:x:1:1::/:/\x07\n", []string{`user a\x1b[2Jb added (uid 1, home /, shell /\a)`}},
		"malformed":      {was + "short:x:1\n+::::::\n#x:x:1:1::/:/\n:x:1:1::/:/\nnoid:x:y:1::/:/\n\n", nil},
		"a second of it": {was + "root:x:1:1::/:/\n", nil},
	} {
		got := accountChanges("user", parseAccounts([]byte(was), 7), parseAccounts([]byte(test.is), 7), aboutUser)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
	}
	got := accountChanges("group", parseAccounts([]byte("root:x:0:\nweb:x:33:\n"), 4), parseAccounts([]byte("root:x:0:\nweb:x:33:deploy,ci\ndeploy:x:1001:\nops:x:5:ci\n"), 4), aboutGroup)
	want := []string{"group deploy added (gid 1001)", "group ops added (gid 5, members ci)", "group web changed (members deploy,ci, was none)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

// A hash is never part of what is told.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	was := "root:$6$aaa:1::::::\nweb:*:1::::::\nci:!$6$bbb:1::::::\nold:$6$ccc:1::::::\nopen:$6$ddd:1::::::\nsame:$6$eee:1::::::\n"
	is := "root:$6$zzz:1::::::\nweb:$6$yyy:1::::::\nci:!$6$bbb:2::::::\nopen::1::::::\nsame:$6$eee:9::::::\nnew:$6$xxx:1::::::\nlocked:!:1::::::\n"
	got := passwordChanges([]byte(was), []byte(is+"old:!$6$ccc:1::::::\n"))
	want := []string{
		"password of user new set", "password of user old locked", "password of user open taken away: none is asked for",
		"password of user root changed", "password of user web set",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(strings.Join(got, ""), "$6$") {
		t.Errorf("a hash is told: %q", got)
	}
}

func TestPackageChanges(t *testing.T) {
	t.Parallel()
	entry := func(name, arch, status, version string) string {
		return "Package: " + name + "\nStatus: " + status + "\nPriority: optional\nArchitecture: " + arch + "\nVersion: " + version + "\nDescription: a\n Package: not this one\n .\n\n"
	}
	const ok = "install ok installed"
	was := entry("bash", "amd64", ok, "5.2") + entry("curl", "amd64", ok, "7.1") + entry("vim", "amd64", ok, "9") + entry("nano", "amd64", ok, "6") + entry("libc6", "amd64", ok, "2") + entry("purged", "amd64", "purge ok not-installed", "1")
	is := entry("bash", "amd64", ok, "5.2") + entry("curl", "amd64", ok, "7.2") + entry("nano", "amd64", "deinstall ok config-files", "6") + entry("libc6", "amd64", ok, "2") + entry("libc6", "i386", ok, "2") +
		entry("nginx", "amd64", ok, "1.22.1-9") + entry("broken", "all", "install reinstreq half-installed", "3")
	want := []string{
		"package broken 3 left half-installed", "package curl changed from 7.1 to 7.2", "package libc6:i386 2 installed",
		"package nano 6 removed, its configuration files are still there", "package nginx 1.22.1-9 installed", "package vim 9 removed",
	}
	if diff := cmp.Diff(want, packageChanges(parseStatus([]byte(was)), parseStatus([]byte(is)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var many strings.Builder
	for i := range maxPackageLines + 10 {
		many.WriteString(entry("p"+strconv.Itoa(i), "all", ok, "1"))
	}
	if got := packageChanges(nil, parseStatus([]byte(many.String()))); len(got) != maxPackageLines+1 || !strings.Contains(got[maxPackageLines], "others") {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
}

func TestRPMLogged(t *testing.T) {
	t.Parallel()
	const log = "2024-01-02T15:04:05+0000 INFO --- logging initialized ---\n2024-01-02T15:04:05+0000 SUBDEBUG Installed: httpd-2.4.57-1.x86_64\n" +
		"2024-01-02T15:04:06+0000 SUBDEBUG Upgrade: php-8.2-1.x86_64\nJan 02 15:04:05 Erased: telnet-1-1.noarch\nInstalled:\n\n"
	want := []string{"package httpd-2.4.57-1.x86_64 installed", "package php-8.2-1.x86_64 updated", "package telnet-1-1.noarch removed"}
	if diff := cmp.Diff(want, rpmLogged([]byte(log))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The lines for the account, from what scripts do to a host.
func TestLinesOfTheHost(t *testing.T) {
	if !inside(t, false) {
		return
	}
	for name, test := range map[string]struct {
		does                   script
		people, cron, packages []string
	}{
		"nothing": {does: func(testing.TB, func(string) string) {}},
		"an account": {
			does: func(t testing.TB, at func(string) string) {
				appendTo(t, at("etc/passwd"), "deploy:x:1001:1001::/home/deploy:/bin/bash\n")
				appendTo(t, at("etc/group"), "deploy:x:1001:\n")
				appendTo(t, at("etc/shadow"), "deploy:$6$hash:1::::::\n")
				must(t, os.Rename(at("etc/passwd"), at("etc/passwd+")), os.Rename(at("etc/passwd+"), at("etc/passwd"))) // as useradd does
			},
			people: []string{"user deploy added (uid 1001, home /home/deploy, shell /bin/bash)", "group deploy added (gid 1001)", "password of user deploy set"},
		},
		"all of /etc": {
			does: func(t testing.TB, at func(string) string) { must(t, os.RemoveAll(at("etc"))) },
			people: []string{
				"user root removed (uid 0, home /root, shell /bin/bash)", "user web removed (uid 33, home /srv, shell /usr/sbin/nologin)", "/etc/passwd is gone",
				"group root removed (gid 0)", "group web removed (gid 33)", "/etc/group is gone",
			},
			cron: []string{"/etc/cron.d removed, with all of /etc", "/etc/cron.hourly removed, with all of /etc"},
		},
		"a file too large to be read": {
			does:   func(t testing.TB, at func(string) string) { must(t, os.Truncate(at("etc/passwd"), 1<<40)) },
			people: []string{"read /etc/passwd: it is too large"},
		},
		"crontabs and timers": {
			does: func(t testing.TB, at func(string) string) {
				write(t, at("var/spool/cron/crontabs/deploy"), "# mine\nMAILTO=ops\n0 * * * * /opt/app/tick\n")
				write(t, at("etc/cron.d/old"), "# now with a remark\n* * * * * root false\n")
				write(t, at("etc/cron.daily/clean"), "#!/bin/sh\n")
				write(t, at("etc/crontab"), "# nothing\n")
				must(t, os.Remove(at("etc/systemd/system/timers.target.wants/app.timer")))
				write(t, at("usr/lib/systemd/system/b.timer"), "[Timer]\n")
				must(t, os.Symlink("/usr/lib/systemd/system/b.timer", at("etc/systemd/system/timers.target.wants/b.timer")))
				write(t, at("home/x.timer"), "none of systemd's")
			},
			cron: []string{
				"/etc/cron.d/old: removed: * * * * * root true", "/etc/cron.d/old: added: * * * * * root false", "daily script clean added",
				"/etc/crontab added, with no entry of another text", "timer app.timer disabled", "timer b.timer enabled", "timer b.timer added",
				"crontab of deploy: added: MAILTO=ops", "crontab of deploy: added: 0 * * * * /opt/app/tick",
			},
		},
		"many scripts and entries of cron": {
			does: func(t testing.TB, at func(string) string) {
				must(t, os.RemoveAll(at("etc/cron.hourly")))
				write(t, at("etc/cron.d/old"), strings.Repeat("* * * * * root true\n", maxCronLines+3))
			},
			cron: append(slices.Repeat([]string{"/etc/cron.d/old: added: * * * * * root true"}, maxCronLines),
				"/etc/cron.d/old: 2 more entries have changed", "/etc/cron.hourly removed, with 20 paths in it"),
		},
		"packages": {
			does: func(t testing.TB, at func(string) string) {
				appendTo(t, at("var/lib/dpkg/status"), "Package: nginx\nStatus: install ok installed\nVersion: 1\n\n")
				write(t, at("var/lib/rpm/rpmdb.sqlite"), "changed")
				appendTo(t, at("var/log/dnf.rpm.log"), "2024-01-02T15:04:05+0000 SUBDEBUG Installed: httpd-1\n")
			},
			packages: []string{"package nginx 1 installed", "the database of rpm has changed; what follows is what dnf and yum have noted", "package httpd-1 installed"},
		},
		"by rpm itself": {
			does:     func(t testing.TB, at func(string) string) { write(t, at("var/lib/rpm/rpmdb.sqlite"), "changed") },
			packages: []string{"the database of rpm has changed; neither dnf nor yum has noted what was installed"},
		},
		"the list of packages is gone": {
			does:     func(t testing.TB, at func(string) string) { must(t, os.RemoveAll(at("var/lib/dpkg"))) },
			packages: []string{"the list of installed packages (/var/lib/dpkg/status) is gone"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOverlay(t, false, func(lower string) {
				fixture(t)(lower)
				at := func(name string) string { return filepath.Join(lower, name) }
				write(t, at("etc/shadow"), "root:*:1::::::\n")
				write(t, at("etc/cron.d/old"), "* * * * * root true\n")
				write(t, at("etc/systemd/system/app.timer"), "[Timer]\n")
				must(t, os.Mkdir(at("etc/systemd/system/timers.target.wants"), 0o755), os.Symlink("../app.timer", at("etc/systemd/system/timers.target.wants/app.timer")))
				write(t, at("var/lib/dpkg/status"), "Package: bash\nStatus: install ok installed\nVersion: 5\n\n")
				write(t, at("var/lib/rpm/rpmdb.sqlite"), "database")
				for i := range foldFrom {
					write(t, at(fmt.Sprintf("etc/cron.hourly/%d", i)), "#!/bin/sh\n")
				}
				write(t, at("var/log/dnf.rpm.log"), "2023-01-02T15:04:05+0000 SUBDEBUG Installed: old-1\n")
				must(t, os.MkdirAll(at("var/spool/cron/crontabs"), 0o755), os.MkdirAll(at("usr/lib/systemd/system"), 0o755))
			}, nil)
			test.does(t, func(name string) string { return filepath.Join(o.root, name) })
			o.mark(lifecycle.AfterInstall, true)
			for what, lines := range map[string]struct {
				get  func() ([]string, error)
				want []string
			}{
				"People()":   {func() ([]string, error) { return o.s.People(t.Context()) }, test.people},
				"Cron()":     {func() ([]string, error) { return o.s.Cron(t.Context()) }, test.cron},
				"Packages()": {func() ([]string, error) { return o.s.Packages(t.Context()) }, test.packages},
			} {
				got, err := lines.get()
				must(t, err)
				if diff := cmp.Diff(lines.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
		})
	}
}

func appendTo(t testing.TB, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err, f.Close())
}

// What a rehearsal leaves is read without harm, whatever it is, and what is told of it fits on lines of a terminal.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\n", "deploy:x:1:1::/home:/bin/sh\nroot:x:0:0::/root:/bin/bash")
	f.Add("web:x:33:\n", "web:x:33:a,b\n")
	f.Add("root:$6$h:1::::::\n", "root::1::::::\n\x00:\x1b")
	f.Fuzz(func(t *testing.T, was, is string) {
		lines := accountChanges("user", parseAccounts([]byte(was), 7), parseAccounts([]byte(is), 7), aboutUser)
		lines = append(lines, accountChanges("group", parseAccounts([]byte(was), 4), parseAccounts([]byte(is), 4), aboutGroup)...)
		lines = append(lines, passwordChanges([]byte(was), []byte(is))...)
		if was == is && len(lines) > 0 {
			t.Errorf("equal files differ: %q", lines)
		}
		printable(t, lines)
	})
}

func FuzzPackages(f *testing.F) {
	f.Add("Package: a\nStatus: install ok installed\nVersion: 1\n\n", "Package: a\nStatus: deinstall ok config-files\nVersion: 1\n")
	f.Add("2024 SUBDEBUG Installed: x", "Jan 02 Erased: y\nPackage:\n\nVersion\n: \n")
	f.Fuzz(func(t *testing.T, was, is string) {
		lines := packageChanges(parseStatus([]byte(was)), parseStatus([]byte(is)))
		if was == is && len(lines) > 0 {
			t.Errorf("equal lists differ: %q", lines)
		}
		lines = append(lines, rpmLogged([]byte(is))...)
		gone, come := lineChanges(entries([]byte(was)), entries([]byte(is)))
		if len(entries([]byte(was)))-len(gone) != len(entries([]byte(is)))-len(come) {
			t.Errorf("of %q and %q, %q have gone and %q come", was, is, gone, come)
		}
		printable(t, lines)
	})
}

func printable(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		if clean(line) != line {
			t.Errorf("%q is not fit for a terminal", line)
		}
	}
}

func TestIDMap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text            string
		outside, inside uint32
		andBack         uint32
	}{
		"the host":         {"         0          0 4294967295\n", 1000, 1000, 1000},
		"not to be read":   {"", 1000, 1000, 1000},
		"malformed":        {"a b c\n", 1000, 1000, 1000},
		"one user":         {"0 1000 1\n", 1000, 0, 1000},
		"somebody else":    {"0 1000 1\n", 1001, overflow, overflow},
		"of several parts": {"0 1000 1\n1 100000 65536\n", 100010, 11, 100010},
	} {
		m := parseIDMap(test.text)
		if got := m.in(test.outside); got != test.inside || m.out(got) != test.andBack {
			t.Errorf("%s: %d is %d inside and %d again, want %d and %d", name, test.outside, got, m.out(got), test.inside, test.andBack)
		}
	}
}
