package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var limitGroups = map[string]uint32{"web": 40, "adm": 4, "primary": 1000}

func limitGroup(name string) (uint32, bool) {
	gid, ok := limitGroups[name]
	return gid, ok
}

// shown writes limits as a test compares them.
func shown(all []limit) string {
	number := func(v *uint64) string {
		switch {
		case v == nil:
			return "."
		case *v == unlimited:
			return "unlimited"
		}
		return fmt.Sprint(int64(*v))
	}
	var out []string
	for _, l := range all {
		out = append(out, l.item+"="+number(l.soft)+"/"+number(l.hard))
	}
	return strings.Join(out, " ")
}

// The files mean what they mean to pam_limits.
func TestLimits(t *testing.T) {
	deploy := &account{name: "deploy", uid: 1000, gid: 1000, groups: []uint32{1000, 40}}
	root := &account{name: "root", groups: []uint32{0}}
	tests := []struct {
		name, text string
		who        *account
		want       string
	}{
		{"soft and hard", "deploy soft nofile 1024\ndeploy hard nofile 4096\n", deploy, "nofile=1024/4096"},
		{"both", "deploy - nproc 99", deploy, "nproc=99/99"},
		{"others", "someone - nproc 99", deploy, ""},
		{"comments", "# deploy - nproc 1\n\n  deploy\t-\tnproc\t7 # seven\n", deploy, "nproc=7/7"},
		{"case of type and item", "deploy HARD NoFile 7", deploy, "nofile=./7"},
		{"units", "* - core 1\n* - cpu 2\n* - as 3\n* - msgqueue 4", deploy, "as=3072/3072 core=1024/1024 cpu=120/120 msgqueue=4/4"},
		{"no limit", "* - core unlimited\n* - nofile infinity\n* - as -1\n* - data -\n", deploy, "as=unlimited/unlimited core=unlimited/unlimited data=unlimited/unlimited nofile=777/777"},
		{"too large is no limit", "* - as 99999999999999999999\n* - core 18014398509481984", deploy, "as=unlimited/unlimited core=unlimited/unlimited"},
		{"nice and priority", "* - nice -5\n* - priority -3\n* - rtprio 9\n* soft nice 40", deploy, "nice=1/25 priority=-3/-3 rtprio=9/9"},
		{"the later of two that are equally near", "deploy - nproc 1\ndeploy - nproc 2", deploy, "nproc=2/2"},
		{"the nearer of two", "deploy - nproc 1\n@web - nproc 2\n* - nproc 3", deploy, "nproc=1/1"},
		{"group before all", "@web - nproc 2\n* - nproc 3", deploy, "nproc=2/2"},
		{"soft and hard are chosen apart", "deploy soft nproc 1\n* - nproc 3", deploy, "nproc=1/3"},
		{"primary group", "@primary - nproc 2", deploy, "nproc=2/2"},
		{"group of others", "@adm - nproc 2\n@nogroup - nproc 3", deploy, ""},
		{"range of users", "1000:1999 - nproc 2\n500:999 - nproc 3", deploy, "nproc=2/2"},
		{"open range", "1000: - nproc 2\n1001: - nproc 3", deploy, "nproc=2/2"},
		{"one user by id", ":1000 - nproc 2\n:1001 - nproc 3", deploy, "nproc=2/2"},
		{"one group by id, of all", "@:40 - nproc 2", deploy, "nproc=2/2"},
		{"range of groups is about the primary one", "@30:50 - nproc 2", deploy, ""},
		{"range of groups", "@900:1100 - nproc 2", deploy, "nproc=2/2"},
		{"per cent is about logins", "% - maxlogins 3\n%web - nproc 4", deploy, ""},
		{"not of a process", "deploy - maxlogins 3\ndeploy - maxsyslogins 3\ndeploy - chroot /x\n", deploy, ""},
		{"exempt", "deploy - nproc 1\ndeploy -\ndeploy - nofile 3", deploy, ""},
		{"exempt by group", "* - nproc 1\n@web -\n", deploy, ""},
		{"root has its own name only", "* - nproc 1\n@primary - nproc 2\n0: - nproc 3\nroot - nproc 4", root, "nproc=4/4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries, notes := parseLimits("limits.conf", []byte(tt.text), 777)
			if got := shown(limitsFor(entries, tt.who, limitGroup)); got != tt.want || len(notes) > 0 {
				t.Errorf("limits = %s, want %s; notes %q", got, tt.want, notes)
			}
		})
	}
}

// A line that means nothing is told with its number, and the others count.
func TestLimitsMistakes(t *testing.T) {
	text := "deploy - nproc\ndeploy medium nproc 1\ndeploy - noproc 1\ndeploy - nproc 12k\ndeploy - nice low\ndeploy - nproc -7\ndeploy - nproc 5\n"
	entries, notes := parseLimits("/etc/security/limits.d/a.conf", []byte(text), 777)
	want := []string{
		"/etc/security/limits.d/a.conf:1: 3 fields where domain, type, item and value belong; the line is passed over",
		`/etc/security/limits.d/a.conf:2: type "medium" is neither soft nor hard nor -; the line is passed over`,
		`/etc/security/limits.d/a.conf:3: item "noproc" is not known; the line is passed over`,
		`/etc/security/limits.d/a.conf:4: nproc "12k" is neither a number nor unlimited; the line is passed over`,
		`/etc/security/limits.d/a.conf:5: nice "low" is no integer; the line is passed over`,
		`/etc/security/limits.d/a.conf:6: nproc "-7" is neither a number nor unlimited; the line is passed over`,
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if got := shown(limitsFor(entries, &account{name: "deploy", uid: 1}, limitGroup)); got != "nproc=5/5" {
		t.Errorf("limits = %s", got)
	}
}

// A file that is none of limits does not drown the result of a script in notes: one that is too large could not be read back.
func TestLimitsOfNonsense(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"garbage here\n", "a soft " + strings.Repeat("x", 5000) + " 1\n"} {
		_, notes := parseLimits("/etc/security/limits.d/x.conf", []byte(strings.Repeat(line, 1000)), 1<<20)
		if len(notes) != maxLimitNotes+1 || !strings.Contains(notes[maxLimitNotes], "992 more lines") || len(strings.Join(notes, "")) > 8<<10 {
			t.Errorf("%d notes, %d bytes, the last %q", len(notes), len(strings.Join(notes, "")), notes[len(notes)-1])
		}
	}
}

func FuzzLimits(f *testing.F) {
	for _, s := range []string{"deploy - nproc 1\n", "@web hard nofile unlimited", "1:2 soft cpu 3", "a -", "* - nice -20", "@:40 - as 18446744073709551615", ": - core 0", "#"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, notes := parseLimits("f", data, 777)
		if lines := strings.Count(string(data), "\n") + 1; len(entries) > lines || len(notes) > lines {
			t.Errorf("%d entries and %d notes of %d lines", len(entries), len(notes), lines)
		}
		for _, l := range limitsFor(entries, &account{name: "deploy", uid: 1000, gid: 1000, groups: []uint32{1000, 40}}, limitGroup) {
			if _, ok := limitItems[l.item]; !ok || l.soft == nil && l.hard == nil {
				t.Errorf("limit %+v", l)
			}
		}
	})
}

// absent is for a program that is not there: what is no regular file is none.
const absent = "\x00"

// hostWith makes a runner whose shims see other files in the place of the host's, each by its path.
func hostWith(t *testing.T, files map[string]string) *Runner {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts over files of the host, for the shim alone")
	}
	r, dir := newRunner(t), t.TempDir()
	var mounts []string
	for path, text := range files {
		with := filepath.Join(dir, fmt.Sprint(len(mounts)))
		if text == absent {
			with = os.DevNull
		} else if strings.HasSuffix(path, "/") { // a folder with one file
			if err := os.Mkdir(with, 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(with, "one.conf"), text, 0o644)
		} else {
			put(t, with, text, 0o644)
		}
		mounts = append(mounts, fmt.Sprintf("mount --bind %s %s", with, path))
	}
	r.Shim = append([]string{"/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c", strings.Join(append(mounts, `exec "$0" "$@"`), " && ")}, r.Shim...)
	return r
}

const limitsScript = "#!/bin/bash\nfor i in n u c s v; do echo \"$i $(ulimit -S$i) $(ulimit -H$i)\"; done\nawk '{print \"nice \" $19}' /proc/self/stat\n"

// A script of another user has that user's limits, by the shim as by su; the agent's own scripts and the shim have none of them.
func TestUserLimits(t *testing.T) {
	const text = "daemon soft nofile 100\ndaemon hard nofile 200\n@daemon - nproc 40\n* soft core 0\ndaemon - stack 1000\ndaemon - priority 3\n1: - as 900000\n"
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	r := hostWith(t, map[string]string{
		"/etc/security/limits.conf": "* - nofile 50\n", "/etc/security/limits.d/": text,
		"/etc/passwd": strings.Replace(string(passwd), "/usr/sbin:/usr/sbin/nologin", "/usr/sbin:/bin/sh", 1), // daemon may log in
	})
	r.Container = containers(t)["cgroup2"] // where there is one
	run := func(mode, user string) []string {
		s := write(t, strings.Replace(limitsScript, "for i in", "cat /proc/$PPID/limits >\"$D/parent\" 2>&1\ngrep -h ^Uid /proc/$PPID/task/*/status | sort -u >>\"$D/parent\"\nfor i in", 1))
		if err := os.Chmod(base(s), 0o777); err != nil {
			t.Fatal(err)
		}
		s.RunAs, s.RunAsSet, s.RunAsMode = user, user != "", mode
		res := perform(t, r, s)
		if res.Err != nil || len(res.Notes) > 0 {
			t.Fatalf("%s: %v, %q, %q", mode, res.Err, res.Notes, res.Excerpt.Tail)
		}
		if mode == RunAsSetuid {
			for line := range strings.Lines(read(t, filepath.Join(base(s), "parent"))) {
				if f := strings.Fields(line); strings.HasPrefix(line, "Max stack size") && f[3] == "1024000" {
					t.Errorf("the shim has the limits: %s", line)
				}
				if strings.HasPrefix(line, "Uid") && line != "Uid:\t0\t0\t0\t0\n" {
					t.Errorf("a thread of the shim has another user: %q", line)
				}
			}
		}
		return res.Excerpt.Tail
	}
	own := run(RunAsSetuid, "")
	setuid := run(RunAsSetuid, "daemon")
	want := []string{"n 100 200", "u 40 40", strings.Replace(own[2], strings.Fields(own[2])[1], "0", 1), "s 1000 1000", "v 900000 900000", "nice 3"}
	if diff := cmp.Diff(want, setuid); diff != "" {
		t.Errorf("limits of another user (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(run(RunAsSu, "daemon"), setuid); diff != "" {
		t.Errorf("limits by su and by the shim (-su +shim):\n%s", diff)
	}
	if strings.Contains(own[0], "100") && own[5] == "nice 3" {
		t.Errorf("a script of the agent's own user has limits: %q", own)
	}
}

// A limit that cannot be set is told, and the script runs.
func TestLimitRefused(t *testing.T) {
	r := hostWith(t, map[string]string{"/etc/security/limits.d/": "daemon - nofile 999999999999\ndaemon - nproc many\ndaemon - core 1\n"})
	s := write(t, "#!/bin/sh\nulimit -c\n")
	s.RunAs, s.RunAsSet = "daemon", true
	res := perform(t, r, s)
	want := []string{
		`/etc/security/limits.d/one.conf:2: nproc "many" is neither a number nor unlimited; the line is passed over`,
		"limit nofile of /etc/security/limits.d/one.conf:1 is not set: operation not permitted",
	}
	if diff := cmp.Diff(want, res.Notes); diff != "" || res.Err != nil {
		t.Errorf("Err %v; notes (-want +got):\n%s", res.Err, diff)
	}
	if diff := cmp.Diff([]string{fmt.Sprint(1024 / 512)}, res.Excerpt.Tail); diff != "" && !cmp.Equal([]string{"1"}, res.Excerpt.Tail) {
		t.Errorf("core limit: %q", res.Excerpt.Tail)
	}
}

// A process that may not be traced, as one that is already, starts without the limits, which is told.
func TestLimitsUnderTracer(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is needed: packaging/test/run installs it")
	}
	r := hostWith(t, map[string]string{"/etc/security/limits.d/": "daemon - core 1\n"})
	r.Shim = append([]string{"/usr/bin/strace", "-f", "-qq", "-e", "trace=none", "-o", "/dev/null"}, r.Shim...)
	s := write(t, "#!/bin/sh\nulimit -c\n")
	s.RunAs, s.RunAsSet = "daemon", true
	res := perform(t, r, s)
	if res.Err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "limits are not set") {
		t.Errorf("Err, Notes = %v, %q", res.Err, res.Notes)
	}
}
