package rehearse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRefusals: every refusal names what the host forbids, and the remedy.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		userns bool
		err    error
		files  map[string]string
		why    string
		remedy string
	}{
		{"debian", true, unix.EPERM, map[string]string{"sys/kernel/unprivileged_userns_clone": "0\n"}, "kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"none allowed", true, unix.ENOSPC, map[string]string{"sys/user/max_user_namespaces": "0\n"}, "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces="},
		{"many", true, unix.ENOSPC, map[string]string{"sys/user/max_user_namespaces": "5\n", "sys/user/max_mnt_namespaces": "7\n"}, "user.max_mnt_namespaces is 7", "raise the limit"},
		{"ubuntu", true, unix.EPERM, map[string]string{"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "apparmor_restrict_unprivileged_userns is 1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"not compiled in", true, unix.EINVAL, nil, "the kernel has no user namespaces", "run it as root"},
		{"container", true, unix.EPERM, map[string]string{"self/status": "Name:\tx\nSeccomp:\t2\n"}, "a seccomp filter forbids it", "outside of the container"},
		{"whatever", true, unix.EPERM, nil, "operation not permitted", "run it as root"},
		{"root in a container", false, unix.EPERM, nil, "operation not permitted", "CAP_SYS_ADMIN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proc := fakeProc(t, test.files)
			r := noNamespaces(proc, test.userns, test.err)
			if !strings.Contains(r.Why, test.why) || !strings.Contains(r.Remedy, test.remedy) {
				t.Errorf("noNamespaces() = %v, want %q and %q in it", r, test.why, test.remedy)
			}
		})
	}
	r := noRights(fakeProc(t, map[string]string{"sys/kernel/apparmor_restrict_unprivileged_userns": "1"}), "mount it", unix.EACCES)
	if !strings.Contains(r.Error(), "apparmor_restrict_unprivileged_userns=0") {
		t.Errorf("noRights() = %v", r)
	}
	for pattern, want := range map[string]bool{"core": false, "": false, "|/usr/bin/handler %p": false, "/var/core.%p": false, "@/run/cores": true, "@@/run/cores\n": true} {
		err := noQuietCores(fakeProc(t, map[string]string{"sys/kernel/core_pattern": pattern}))
		if got := err != nil; got != want || want && !strings.Contains(err.Error(), "sysctl -w kernel.core_pattern=core") {
			t.Errorf("noQuietCores() with %q = %v", pattern, err)
		}
	}
}

func fakeProc(t *testing.T, files map[string]string) string {
	t.Helper()
	proc := t.TempDir()
	for name, content := range files {
		file := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

// refusedVerb is a process that asks for a sandbox where there can be none.
const refusedVerb = "test-refused"

// refusedMain takes from this process what a sandbox needs, then asks for one in another program.
func refusedMain(how string) int {
	runtime.LockOSThread()
	var err error
	switch how {
	case "ask":
		err := Possible(context.Background())
		if r := (*Refusal)(nil); errors.As(err, &r) {
			fmt.Println("refused:", err)
			return 0
		}
		fmt.Println("not refused:", err)
		return 1
	case "filter":
		if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err == nil {
			err = installFilter(seccompFilter())
		}
	case "sysctl":
		if wholeNamespace() {
			err = errors.New("this is the namespace of the host: nothing is set")
			break
		}
		if err = os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err == nil {
			err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(1000), syscall.Setuid(1000))
		}
	}
	if err == nil {
		err = syscall.Exec("/proc/self/exe", []string{os.Args[0], refusedVerb, "ask"}, os.Environ())
	}
	fmt.Println(err)
	return 1
}

// TestRefused asks in processes that may not have a namespace: by a filter as containers have it, and by a sysctl, of a namespace of its own.
func TestRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root becomes those who are refused")
	}
	program := forAll(t)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	for _, test := range []struct {
		how  string
		attr *syscall.SysProcAttr
		want []string
	}{
		{"filter", asUser(), []string{"start a process with a user namespace", "seccomp filter"}},
		{"sysctl", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}, []string{"user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces="}},
	} {
		limit := readText("/proc/sys/user/max_user_namespaces")
		cmd := exec.Command(program, refusedVerb, test.how)
		cmd.Dir, cmd.SysProcAttr = "/", test.attr
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %s", test.how, out)
		if err != nil || !strings.HasPrefix(string(out), "refused: ") {
			t.Errorf("%s: %v, %s", test.how, err, out)
		}
		for _, part := range test.want {
			if !strings.Contains(string(out), part) {
				t.Errorf("%s: %s, want %q in it", test.how, out, part)
			}
		}
		if now := readText("/proc/sys/user/max_user_namespaces"); now != limit {
			t.Fatalf("the limit of this namespace was %s, and is %s", limit, now)
		}
	}
}

func TestUpperThatIsNone(t *testing.T) {
	needSandbox(t)
	_, err := Open(t.Context(), Options{Upper: filepath.Join(t.TempDir(), "none")})
	if r := (*Refusal)(nil); !errors.As(err, &r) || !strings.Contains(r.Remedy, "existing folder") {
		t.Errorf("Open() = %v, want a Refusal", err)
	}
	if _, err = Open(t.Context(), Options{Size: 1}); err == nil {
		t.Error("Open takes a size of 1 byte")
	}
}

func TestHostMounts(t *testing.T) {
	const table = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:25 / /tmp rw,nosuid,nodev,noexec shared:1 - tmpfs tmpfs rw
29 27 8:1 / /home rw,relatime - xfs /dev/sdb rw
30 29 8:2 / /home/with\040space ro,relatime - ext4 /dev/sdc rw
31 27 0:31 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 27 0:40 / /boot/efi rw - vfat /dev/sda1 rw
33 27 0:41 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
34 27 0:42 / /srv/old rw - nfs4 server:/x rw
35 27 0:43 / /srv rw - btrfs /dev/sdd ro,subvol=/
36 27 0:44 / /run/user/0 rw - tmpfs tmpfs rw
37 27 0:45 / /mnt/auto rw - autofs x rw
broken
`
	list, root := hostMounts(table)
	var got []string
	for _, m := range list {
		got = append(got, fmt.Sprintf("%s %s %x", m.point, m.kind, m.flags))
	}
	want := []string{
		"/boot/efi vfat 0", "/home xfs 0", "/home/with space ext4 1", "/srv btrfs 1", "/tmp tmpfs a",
	}
	if !slices.Equal(got, want) || root.kind != "ext4" {
		t.Errorf("hostMounts() = %q, %v, want %q", got, root, want)
	}
}

func TestBoundPaths(t *testing.T) {
	const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01   123 /var/lib/my sql.sock
0000000000000000: 00000002 00000000 00010000 0001 01 12345678 @abstract
0000000000000000: 00000003 00000000 00000000 0002 01 77 @connected
0000000000000000: 00000003 00000000 00000000 0001 03  1234
0000000000000000: 00000003 00000000 00000000 0001 03  1235 /tmp/../tmp/x
`
	if got, want := boundPaths(table), []string{"/var/lib/my sql.sock", "/tmp/x"}; !slices.Equal(got, want) {
		t.Errorf("boundPaths() = %q, want %q", got, want)
	}
	if got, want := abstractListeners(table), []string{"@abstract"}; !slices.Equal(got, want) {
		t.Errorf("abstractListeners() = %q, want %q", got, want)
	}
}

func TestCgroupTrees(t *testing.T) {
	const table = `39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
`
	const own = "8:pids:/system.slice/x\n4:memory:/docker/1/y\n1:cpu:/\n0::/\n"
	got := fmt.Sprint(cgroupTrees(table, own))
	if want := "[{/sys/fs/cgroup/pids/system.slice/x 1 [pids]} {/sys/fs/cgroup/memory/y 1 [memory]}]"; got != want {
		t.Errorf("cgroupTrees() = %s, want %s", got, want)
	}
	if got := cgroupTrees(table, "8:pids:/elsewhere\n4:memory:/elsewhere\n"); len(got) != 1 {
		t.Errorf("cgroupTrees() of a process outside of what is mounted = %v", got)
	}
}

// FuzzTables: what the kernel tells is read whatever it is.
func FuzzTables(f *testing.F) {
	f.Add("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n", "8:pids:/x\n")
	f.Add(`1 2 3 \0 \04 ro - x y z`, "0000: 1 2 3 4 5 6 /x\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		list, _ := hostMounts(a)
		for _, m := range list {
			if !strings.HasPrefix(m.point, "/") && strings.Contains(m.point, "..") {
				t.Errorf("a mount point %q", m.point)
			}
		}
		boundPaths(b)
		abstractListeners(b)
		cgroupTrees("", b)
		identity(b)
	})
}

// TestSubIDs reads /etc/subuid.
func TestOutOfMemory(t *testing.T) {
	for name, test := range map[string]struct {
		file, text string
		want       bool
	}{
		"none":      {"memory.events", "low 0\nmax 17\noom 0\noom_kill 0\noom_group_kill 0\n", false},
		"version 2": {"memory.events", "low 0\nmax 17\noom 1\noom_kill 1\noom_group_kill 0\n", true},
		"version 1": {"memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fakeProc(t, map[string]string{test.file: test.text})
			if got := (&bounds{memory: dir + "/memory.max"}).outOfMemory(); got != test.want {
				t.Errorf("outOfMemory() = %v", got)
			}
		})
	}
	if (&bounds{}).outOfMemory() {
		t.Error("out of memory that is not bounded")
	}
}

func TestSubIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("# none\nann:100000:65536\n1001:165536:65536\nbroken\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		uid  int
		want string
	}{{"ann", 1000, "[100000 65536]"}, {"bob", 1001, "[165536 65536]"}, {"", 1002, "[]"}} {
		if got := fmt.Sprint(subIDs(file, test.name, test.uid)); got != test.want {
			t.Errorf("subIDs(%q, %d) = %s, want %s", test.name, test.uid, got, test.want)
		}
	}
}
