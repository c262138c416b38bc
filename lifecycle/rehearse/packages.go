package rehearse

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxStatus is how large dpkg's list may be to be read: with 3,000 packages it has 4 MiB.
	maxStatus = 64 << 20
	// maxPackageLines is how many packages are told of.
	maxPackageLines = 500
)

// rpmDatabases are where rpm keeps what is installed, by version and distribution.
var rpmDatabases = []string{
	"/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages", "/var/lib/rpm/Packages.db",
	"/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/Packages", "/usr/lib/sysimage/rpm/Packages.db",
}

// rpmLogs are where dnf and yum note what they did.
var rpmLogs = []string{"/var/log/dnf.rpm.log", "/var/log/yum.log"}

// Packages tells of packages that were installed, changed or removed, one line each, such as "package nginx 1.22.1-9 installed". dpkg's list
// is read; of rpm's database it only tells that it has changed, and what the logs of dnf and yum say of it. What came by pip, npm and the
// like are changed files.
func (s *Scanner) Packages(context.Context) ([]string, error) {
	var out []string
	was, is, changed, err := s.contents("/var/lib/dpkg/status", maxStatus)
	switch {
	case err != nil:
		out = append(out, err.Error())
	case changed && is == nil && was != nil:
		out = append(out, "the list of installed packages (/var/lib/dpkg/status) is gone")
	case changed:
		out = append(out, packageChanges(parseStatus(was), parseStatus(is))...)
	}
	return append(out, s.rpm()...), nil
}

// debPackage is what counts of a package of dpkg.
type debPackage struct{ version, state string }

// parseStatus reads dpkg's list of packages. Only those count that have left something on the host.
func parseStatus(data []byte) map[string]debPackage {
	all := map[string]debPackage{}
	var name, arch, status, version string
	end := func() {
		fields := strings.Fields(status)
		if name != "" && len(fields) == 3 && fields[2] != "not-installed" {
			if _, twice := all[name]; twice && arch != "" { // of several architectures
				name += ":" + arch
			}
			all[name] = debPackage{version, fields[2]}
		}
		name, arch, status, version = "", "", "", ""
	}
	for line := range bytes.Lines(data) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			end()
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch text := bytes.TrimSpace(value); string(key) {
		case "Package":
			name = string(text)
		case "Architecture":
			arch = string(text)
		case "Status":
			status = string(text)
		case "Version":
			version = string(text)
		}
	}
	end()
	return all
}

// packageChanges compares two lists, in the order of the names.
func packageChanges(was, is map[string]debPackage) (out []string) {
	const installed = "installed"
	for _, name := range sortedNames(was, is) {
		a, b := was[name], is[name]
		if a == b {
			continue
		}
		if len(out) == maxPackageLines {
			return append(out, fmt.Sprintf("and more than %d others", maxPackageLines))
		}
		line := "package " + clean(name) + " "
		switch {
		case a.state != installed && b.state == installed:
			line += clean(b.version) + " installed"
		case b.state == installed:
			line += fmt.Sprintf("changed from %s to %s", clean(a.version), clean(b.version))
		case b.state == "":
			line += clean(a.version) + " removed"
		case b.state == "config-files":
			line += clean(a.version) + " removed, its configuration files are still there"
		default:
			line += fmt.Sprintf("%s left %s", clean(b.version), clean(b.state))
		}
		out = append(out, line)
	}
	return out
}

// rpm tells of rpm's database, which only rpm can read.
func (s *Scanner) rpm() (out []string) {
	if !slices.ContainsFunc(rpmDatabases, func(name string) bool { return s.find(name).seen != asBefore }) {
		return nil
	}
	var logged []string
	for _, name := range rpmLogs {
		was, is, changed, err := s.contents(name, maxStatus)
		if err != nil || !changed {
			continue
		}
		logged = append(logged, rpmLogged(bytes.TrimPrefix(is, was))...)
	}
	if len(logged) == 0 {
		return []string{"the database of rpm has changed; neither dnf nor yum has noted what was installed"}
	}
	if len(logged) > maxPackageLines {
		logged = append(logged[:maxPackageLines], fmt.Sprintf("and %d others", len(logged)-maxPackageLines))
	}
	return append([]string{"the database of rpm has changed; what follows is what dnf and yum have noted"}, logged...)
}

// rpmWords are how dnf and yum begin what they note of a package, and how that is told.
var rpmWords = []struct{ word, how string }{
	{"Installed:", "installed"},
	{"Updated:", "updated"},
	{"Upgraded:", "updated"},
	{"Upgrade:", "updated"},
	{"Erased:", "removed"},
	{"Erase:", "removed"},
	{"Reinstalled:", "installed again"},
	{"Downgraded:", "downgraded"},
	{"Downgrade:", "downgraded"},
}

// rpmLogged reads lines of the log of yum ("Jan 02 15:04:05 Installed: httpd-2.4.57-1.x86_64") and of dnf
// ("2024-01-02T15:04:05+0000 SUBDEBUG Installed: httpd-2.4.57-1.x86_64").
func rpmLogged(data []byte) (out []string) {
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		for i, word := range fields[:max(len(fields)-1, 0)] {
			for _, w := range rpmWords {
				if word == w.word {
					out = append(out, "package "+clean(fields[i+1])+" "+w.how)
				}
			}
		}
	}
	return out
}
