package rehearse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/lifecycle"
)

// needSandbox skips a test on hosts that refuse one, which root's in CI is not.
func needSandbox(t testing.TB) {
	t.Helper()
	if err := Possible(t.Context()); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// smallLower is a root with a shell and little else, to be destroyed in a moment.
func smallLower(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("/var/tmp", "walls-lower-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `set -e; root=$1; shift
mkdir -p $root/usr/bin $root/etc $root/tmp $root/var/tmp
for p in "$@"; do
  [ -e "$p" ] && cp -L "$p" $root/usr/bin/
  ldd "$p" 2>/dev/null | grep -o '/[^ ]*' | while read -r l; do d=$(dirname $l); mkdir -p $root$d; cp -Ln $l $root$l; done
done
ln -s usr/bin $root/bin; echo small > $root/etc/hostname`
	args := []string{"-c", script, "sh", root, self}
	for _, name := range []string{"bash", "rm", "ls", "touch", "cat", "mkdir"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, program)
	}
	if out, err := exec.Command("sh", args...).CombinedOutput(); err != nil {
		t.Fatalf("make a small root: %v: %s", err, out)
	}
	return root
}

// TestRemoveAll is the script of the walkthrough, gone wrong: everything is removed, in the copy.
func TestRemoveAll(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	lower := smallLower(t)
	h.tree(map[string]string{}, lower, true)
	before, small := h.state(), map[string]string{}
	h.tree(small, lower, true)
	b := openBox(t, Options{lower: lower})
	said, _, gone := b.run("touch /MARKER; cd /; rm -rf --no-preserve-root / 2>/run/errors; echo left: /etc/* /usr/bin/*")
	if gone || !strings.Contains(said, "left: /etc/* /usr/bin/*") {
		t.Errorf("gone %v, it said %q", gone, said)
	}
	if err := b.Scan(t.Context(), lifecycle.BeforeInstall, true); err != nil {
		t.Error(err)
	}
	changes, omitted, err := b.Changes(t.Context(), ChangesOptions{})
	if err != nil || omitted != 0 || !slices.ContainsFunc(changes, func(c lifecycle.FileChange) bool { return c.Path == "/usr" && c.Kind == lifecycle.FileRemoved }) {
		t.Errorf("Changes() = %+v, %d, %v; /usr was removed", changes, omitted, err)
	}
	b.close()
	after := map[string]string{}
	h.tree(after, lower, true)
	if fmt.Sprint(after) != fmt.Sprint(small) {
		t.Error("the lower folder has changed")
	}
	h.same(before)
}

// TestRemoveAllOfThisHost is the same with the real root below. What is left is what the recorder stands in for, which is mounted.
func TestRemoveAllOfThisHost(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	before := h.state()
	b := h.attemptBox(t, Options{})
	said, _, gone := b.run("rm -rf --no-preserve-root / 2>/dev/null; echo left: /usr/bin/* /etc/*")
	_, names, told := strings.Cut(said, "left: ")
	if gone || !told {
		t.Fatalf("gone %v, it said %q", gone, said)
	}
	for name := range strings.FieldsSeq(names) {
		if os.Geteuid() == 0 && !IsRecorded(name) && !strings.HasSuffix(name, "/*") {
			t.Errorf("%s is left", name)
		}
	}
	b.close()
	h.same(before)
}

func TestChangesOfASandbox(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	b := openBox(t, Options{LeaveOut: []string{h.dir + "/b"}, Writable: []string{h.dir}})
	ctx := t.Context()
	if err := b.Base(ctx); err != nil {
		t.Fatal(err)
	}
	if said, exit, _ := b.run("cd " + h.dir + "; echo password=hunter2 >> log && rm secret && mkdir b && echo x > b/c"); exit != 0 {
		t.Fatal(said)
	}
	if err := b.Scan(ctx, lifecycle.AfterInstall, true); err != nil {
		t.Fatal(err)
	}
	changes, omitted, err := b.Changes(ctx, ChangesOptions{Redact: func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }})
	var got []string
	for _, c := range changes {
		got = append(got, c.Kind+" "+strings.TrimPrefix(c.Path, h.dir)+" "+string(c.By))
		if strings.Contains(c.Diff, "hunter2") || c.Path == h.dir+"/log" && !strings.Contains(c.Diff, "+password=***") {
			t.Errorf("the difference of %s is %q", c.Path, c.Diff)
		}
	}
	want := []string{"changed /log AfterInstall", "removed /secret AfterInstall"}
	if err != nil || omitted != 0 || !slices.Equal(got, want) {
		t.Errorf("Changes() = %q, %d, %v, want %q", got, omitted, err, want)
	}
	if _, err := b.People(ctx); err != nil {
		t.Error(err)
	}
}

// TestDisk keeps what is written on a disk, and leaves nothing there.
func TestDisk(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	upper, err := os.MkdirTemp("/var/tmp", "walls-upper-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(upper) })
	before := h.state()
	b := openBox(t, Options{Upper: upper, Size: 64 << 20, Writable: []string{h.dir}})
	if said, exit, _ := b.run("rm -r " + h.dir + "/a && mkdir " + h.dir + "/a && echo new > " + h.dir + "/a/one && cat " + h.dir + "/a/one"); exit != 0 || said != "new" {
		t.Errorf("exit %d: %s", exit, said)
	}
	if list, _ := os.ReadDir(upper); len(list) != 1 {
		t.Errorf("the folder for the upper layer has %v", list)
	}
	// A disk is not bounded by its file system, but the sandbox ends.
	said, _, gone := b.run("dd if=/dev/zero of=" + h.dir + "/big bs=1M count=2000 2>&1; sleep 5; echo still")
	if !gone {
		t.Errorf("the sandbox wrote more than it may: %s", said)
	}
	if err := b.inside.Wait(); err == nil || !strings.Contains(err.Error(), "is used up") {
		t.Errorf("Wait() = %v, want that the space is used up", err)
	}
	b.close()
	if list, _ := os.ReadDir(upper); len(list) != 0 {
		t.Errorf("the folder for the upper layer still has %v", list)
	}
	h.same(before)
}

// TestKilled: a sandbox ends with the process that it is of, and leaves nothing.
func TestKilled(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	before := h.state()
	cmd := exec.Command(os.Args[0], ownerVerb, h.mark)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("the owner of a sandbox said %q, %v", line, err)
	}
	if len(processesWith(h.mark)) < 2 {
		t.Error("no process lives in the sandbox")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	pattern := fmt.Sprintf("/sys/fs/cgroup/*/%s*", cgroupName)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, _ := filepath.Glob(pattern)
		left = slices.DeleteFunc(left, func(dir string) bool { // others may rehearse
			return strings.TrimSpace(readText(dir+"/cgroup.procs")) != ""
		})
		if len(processesWith(h.mark)) == 0 && len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("20 s later there are still %q and %q", processesWith(h.mark), left)
		}
	}
	h.same(before)
}

// ownerVerb is a process that holds a sandbox with a daemon in it until it is killed.
const ownerVerb = "test-owner"

func ownerMain(mark string) int {
	s, err := Open(context.Background(), Options{Size: 64 << 20})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	inside, err := s.Start(context.Background(), []string{"", insideVerb}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = io.WriteString(inside.In, "(setsid bash -c 'exec -a "+mark+" sleep 600' >/dev/null 2>&1 &); sleep 0.2\n")
	if _, err := inside.Out.ReadString('\n'); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("up")
	select {}
}

// TestReap: orphans of the sandbox do not stay as zombies, and the children of process 1 are left to it.
func TestReap(t *testing.T) {
	needSandbox(t)
	b := openBox(t, Options{})
	said, exit, _ := b.run("for i in 1 2 3 4 5; do (setsid sleep 0.05 &); done; for i in $(seq 100); do sleep 0.05; ps -eo stat,comm | grep -q '^Z\\|sleep$' || exit 7; done; ps -eo stat,comm")
	if exit != 7 {
		t.Errorf("orphans are left: %s", said)
	}
	for range 20 {
		if _, exit, gone := b.run("exit 5"); exit != 5 || gone {
			t.Fatalf("exit status %d of a child of process 1", exit)
		}
	}
}

// TestStageKilled: what the stage would have removed is removed for it.
func TestStageKilled(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	before := h.state()
	upper, err := os.MkdirTemp("/var/tmp", "walls-upper-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(upper) })
	s, err := Open(t.Context(), Options{Upper: upper, Size: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, Sandbox: s}
	if b.inside, err = s.Start(t.Context(), []string{"", insideVerb}, nil); err != nil {
		t.Fatal(err)
	}
	if said, exit, _ := b.run("(setsid bash -c 'exec -a " + h.mark + " sleep 600' >/dev/null 2>&1 &); echo x > /var/tmp/" + h.mark); exit != 0 {
		t.Fatal(said)
	}
	_ = s.stage.Process.Kill()
	<-s.ended
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Close() = %v, want that the stage was killed", err)
	}
	for deadline := time.Now().Add(20 * time.Second); len(processesWith(h.mark)) > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if list, _ := os.ReadDir(upper); len(list) != 0 {
		t.Errorf("the folder for the upper layer still has %v", list)
	}
	for _, dir := range s.opened.Cgroups {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
	h.same(before)
}

func TestExitOfInside(t *testing.T) {
	needSandbox(t)
	b := openBox(t, Options{})
	b.inside.In.Close()
	if err := b.inside.Wait(); err != nil {
		t.Errorf("Wait() = %v", err)
	}
	if _, err := b.Start(t.Context(), []string{"", insideVerb}, nil); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second Start gives %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Scan(t.Context(), lifecycle.Install, false); !errors.Is(err, errStageGone) {
		t.Errorf("Scan of a closed sandbox gives %v", err)
	}
}

// TestNeverOutside: what is to run within the walls does nothing elsewhere.
func TestNeverOutside(t *testing.T) {
	if err := EnterInside(); err == nil {
		t.Error("EnterInside succeeds in a process that is in no sandbox")
	}
	t.Setenv(wallsVariable, enteredOwn)
	if err := EnterInside(); err == nil {
		t.Error("EnterInside believes its environment")
	}
	if code := StageMain([]string{"x"}); code == 0 {
		t.Error("StageMain takes any argument")
	}
}

// TestHostNetwork shares the network, and nothing else.
func TestHostNetwork(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	before := h.state()
	s, err := Open(t.Context(), Options{HostNet: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, Sandbox: s}
	defer b.close()
	b.inside, err = s.Start(t.Context(), []string{"", insideVerb}, nil)
	if r := (*Refusal)(nil); errors.As(err, &r) {
		t.Skip(err) // before Linux 6.12, with abstract sockets on the host
	}
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := os.Readlink("/proc/self/ns/net")
	if said, _, _ := b.run("readlink /proc/self/ns/net"); said != ours {
		t.Errorf("its network is %q, the host's is %q", said, ours)
	}
	for _, name := range []string{"@" + h.mark, h.dir + "/socket"} {
		if said, exit, _ := b.run("$SELF " + hostileVerb + " connect " + name); exit != 3 {
			t.Errorf("connect %s: %s", name, said)
		}
	}
	if said, exit, _ := b.run("ip link set lo down || ip addr add 10.99.99.99/32 dev lo || echo 1 > /sys/class/net/lo/mtu"); exit == 0 {
		t.Errorf("the network of the host was changed: %s", said)
	}
	// /proc/PID/net has files of the host's network.
	for _, name := range []string{"self/comm", "thread-self/comm", "1/comm", "sys/vm/swappiness"} {
		if said, exit, _ := b.run("echo 1 > /proc/" + name); exit == 0 || !strings.Contains(said, "Read-only file system") {
			t.Errorf("/proc/%s can be written to: %s", name, said)
		}
	}
	if said, exit, _ := b.run("grep -q lo: /proc/net/dev && echo out > /dev/stdout && echo err > /proc/self/fd/2 && ip -br link show lo"); exit != 0 {
		t.Errorf("what programs need of /proc is not there: %s", said)
	}
	b.close()
	h.same(before)
}

// TestPrograms: what looks at the network does so through the filter.
func TestPrograms(t *testing.T) {
	needSandbox(t)
	b := openBox(t, Options{})
	for _, script := range []string{
		"ip address show lo", "ip route show", "ip -6 route show", "ss --tcp --udp --listening --numeric --processes", "ss --unix", "getent ahosts localhost",
		"getent hosts 127.0.0.1", "ping -c 1 -W 5 127.0.0.1 || ! type ping", "perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, getprotobyname(\"tcp\")) && socket(S, AF_INET, SOCK_DGRAM, 17) or die'",
	} {
		if said, exit, _ := b.run(script); exit != 0 || strings.Contains(said, "not supported") {
			t.Errorf("%s: exit status %d: %s", script, exit, said)
		}
	}
}

// TestCounted: processes are counted where nothing of the kernel bounds them. A user has a limit besides.
func TestCounted(t *testing.T) {
	needSandbox(t)
	b := openBox(t, Options{PIDs: 100, noCgroups: true})
	said, exit, gone := b.run("for i in $(seq 150); do sleep 5 & done 2>/dev/null; set -- /proc/[0-9]*; echo; echo $#")
	said = said[strings.LastIndexByte(said, '\n')+1:]
	var n int
	if _, err := fmt.Sscan(said, &n); !gone && (os.Geteuid() == 0 || exit == 0 && (err != nil || n > 103)) { // a shell that cannot fork gives up
		t.Errorf("%s processes lived in the sandbox", said)
	}
	if gone {
		if err := b.inside.Wait(); err == nil || !strings.Contains(err.Error(), "more than 100 processes") {
			t.Errorf("Wait() = %v", err)
		}
	}
}

func BenchmarkSandbox(b *testing.B) {
	needSandbox(b)
	for b.Loop() {
		s, err := Open(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		inside, err := s.Start(b.Context(), []string{"", StageVerb, withinVerb}, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(inside.Wait(), s.Close()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAsUser runs the tests of sandboxes as an ordinary user, who has them by user namespaces.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root becomes the user")
	}
	program := forAll(t)
	run := func(filter string) (string, error) {
		cmd := exec.Command(program, "-test.v", "-test.run", filter)
		cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=/var/tmp"}
		cmd.SysProcAttr = asUser()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	said, err := run("^(TestHostile|TestHostileOnDisk|TestChangesOfASandbox|TestDisk|TestKilled|TestStageKilled|TestReap|TestExitOfInside|TestHostNetwork|TestPrograms|TestCounted|TestWritable)$")
	if err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, said)
	}
	if strings.Contains(said, "--- SKIP: TestReap") {
		t.Skip(said) // this host has no user namespaces
	}
}

// forAll is this program where every user may run it.
func forAll(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "walls-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := dir + "/rehearse.test"
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// asUser starts a program as a user that no host has.
func asUser() *syscall.SysProcAttr {
	const nobodyInParticular = 54321
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyInParticular, Gid: nobodyInParticular}}
}
