package rehearse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// host is what the hostile scripts aim at, and what must be the same after each.
type host struct {
	t        *testing.T
	dir      string // files that the copy shows
	upper    string // where what is written in copies lies; "": in memory
	runDir   string // a folder below /run, if it could be made, that the copy must not show
	sentinel *exec.Cmd
	mark     string // the name of a file that is made in copies alone
	reached  chan string
}

func newHost(t *testing.T) *host {
	h := &host{t: t, mark: fmt.Sprintf("walls-marker-%d", os.Getpid()), reached: make(chan string, 16)}
	var err error
	if h.dir, err = os.MkdirTemp("/var/tmp", "walls-host-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(h.dir) })
	for name, content := range map[string]string{"a/one": "1", "a/b/two": "2", "log": "begun\n", "secret": "s"} {
		file := filepath.Join(h.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(h.dir+"/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
	h.listen(h.dir + "/socket")
	h.listen("@" + h.mark)
	if os.Geteuid() == 0 {
		var st unix.Stat_t
		if err := unix.Stat("/", &st); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mknod(h.dir+"/disk", unix.S_IFBLK|0o600, int(st.Dev)); err != nil {
			t.Fatal(err)
		}
		h.runDir = "/run/" + h.mark
		if err := os.Mkdir(h.runDir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(h.runDir) })
		h.listen(h.runDir + "/socket")
	}
	h.sentinel = exec.Command("sleep", "600")
	if err := h.sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.sentinel.Process.Kill(); _ = h.sentinel.Wait() })
	return h
}

// listen is a service of the host.
func (h *host) listen(name string) {
	l, err := net.Listen("unix", name)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
			h.reached <- name
		}
	}()
}

// state is all of the host that is compared.
func (h *host) state() map[string]string {
	s := map[string]string{}
	h.tree(s, h.dir, true)
	h.tree(s, "/etc", false)
	devices, _ := os.ReadDir("/dev")
	for _, e := range devices {
		var st unix.Stat_t
		if unix.Lstat("/dev/"+e.Name(), &st) == nil {
			s["/dev/"+e.Name()] = fmt.Sprintf("%o %d:%d %x", st.Mode, st.Uid, st.Gid, st.Rdev)
		}
	}
	roots, _ := os.ReadDir("/")
	for _, e := range roots {
		var st unix.Stat_t
		if unix.Lstat("/"+e.Name(), &st) == nil {
			s["/"+e.Name()] = fmt.Sprintf("%o %d:%d %d", st.Mode, st.Uid, st.Gid, st.Ino)
		}
	}
	for line := range strings.Lines(readText("/proc/self/mountinfo")) {
		if f := strings.Fields(line); !within(f[4], "/run/netns") && !within(f[4], "/tmp") && !strings.HasPrefix(f[4], "/dev/shm/") { // others may work there
			s["mount "+f[4]+" "+f[0]] = f[3] + " " + f[5]
		}
	}
	for _, pattern := range []string{"/proc/sys/kernel/*", "/proc/sys/vm/*", "/proc/sys/net/ipv4/ip_*", "/proc/sys/net/core/*", "/proc/sys/fs/protected_*", "/proc/sys/fs/*-max*"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if !slices.Contains([]string{"ns_last_pid", "random", "pty", "stat_refresh", "user_events_max"}, filepath.Base(name)) {
				s[name] = readText(name)
			}
		}
	}
	var name unix.Utsname
	_ = unix.Uname(&name)
	s["hostname"] = unix.ByteSliceToString(name.Nodename[:])
	stat := readText(fmt.Sprintf("/proc/%d/stat", h.sentinel.Process.Pid))
	if f := strings.Fields(stat); len(f) > 21 {
		s["sentinel"] = f[2] + " " + f[21]
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupName + strconv.Itoa(os.Getpid()) + "*")
	s["cgroups"] = strings.Join(groups, " ")
	return s
}

func (h *host) tree(s map[string]string, dir string, content bool) {
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(name, &st) != nil {
			return nil //nolint:nilerr // what may not be read may not be compared
		}
		text := fmt.Sprintf("%o %d:%d %d %d %d", st.Mode, st.Uid, st.Gid, st.Size, st.Ino, st.Mtim.Nano())
		if content && e.Type().IsRegular() {
			data, _ := os.ReadFile(name)
			sum := sha256.Sum256(data)
			text += " " + hex.EncodeToString(sum[:])
		}
		s[name] = text
		return nil
	})
}

// same compares, and looks for processes of the sandbox that are left.
func (h *host) same(before map[string]string) {
	h.t.Helper()
	after := h.state()
	for name, was := range before {
		if is, there := after[name]; is != was {
			h.t.Errorf("%s of the host has changed: it was %q, and is %q (%v)", name, was, is, there)
		}
		delete(after, name)
	}
	for name, is := range after {
		h.t.Errorf("%s is new on the host: %q", name, is)
	}
	select {
	case name := <-h.reached:
		h.t.Errorf("a socket of the host was reached: %s", name)
	default:
	}
	if left := processesWith(h.mark); len(left) > 0 {
		h.t.Errorf("processes of the sandbox are left: %q", left)
	}
}

// processesWith finds processes by a word of their command line.
func processesWith(word string) (list []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte(word)) {
			list = append(list, file+" "+string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})))
		}
	}
	return list
}

// attempt is a hostile script.
type attempt struct {
	name   string
	script string // DIR, MARK, RUN, PID are replaced
	// want is in what it says; exit status 0 is a failure of the walls if it is "refused". "": it may do as it likes.
	want string
	ends bool // the sandbox may be ended over it
	o    Options
}

const refused = "refused"

var attempts = []attempt{
	{name: "write to devices", script: "for d in /dev/vda /dev/sda /dev/nvme0n1 /dev/mem /dev/kmsg /dev/kvm /dev/loop0; do [ -e $d ] && echo THERE; done; chmod 000 /dev/null /dev/zero; chown 1 /dev/null; echo x > /dev/vda; rm -f /dev/null /dev/tty; [ -b /dev/vda ] || echo none", want: "none"},
	{name: "kill -9 -1", script: "kill -9 -1; echo still"},
	{name: "kill process 1", script: "for s in $(seq 64); do kill -$s 1; done; sleep 0.1; echo alive", want: "alive"},
	{name: "remount", script: "mount -o remount,rw / || mount -o remount,rw,bind /proc/sys", want: refused},
	{name: "mount --bind", script: "mount --bind /etc /mnt", want: refused},
	{name: "mount proc", script: "mkdir -p /tmp/MARK; mount -t proc proc /tmp/MARK", want: refused},
	{name: "umount -a", script: "umount -a -l; umount -l /proc/sys", want: refused},
	{name: "sysctl", script: "echo evil > /proc/sys/kernel/core_pattern || sysctl -w vm.swappiness=1 || echo 1 > /proc/sys/net/ipv4/ip_forward", want: refused},
	{name: "sysrq", script: "echo h > /proc/sysrq-trigger", want: refused},
	{name: "sysfs", script: "echo 1 > /sys/kernel/mm/ksm/run || mkdir /sys/fs/cgroup/MARK", want: refused},
	{name: "root of process 1", script: "ls /proc/1/root/ || cat /proc/1/environ || ls -L /proc/1/fd/1 || chmod 777 /proc/1/exe", want: refused},
	{name: "the program itself", script: "chmod 0 $SELF; echo broken > $SELF; echo done", want: "done"},
	{name: "date", script: "date -s 2001-01-01", want: refused},
	{name: "hostname", script: "hostname MARK", want: refused},
	{name: "insmod", script: "echo x > /tmp/x.ko; insmod /tmp/x.ko || modprobe dummy", want: refused},
	{name: "nsenter", script: "nsenter -t 1 -m -- ls / || nsenter -t 1 -n true || unshare -m true", want: refused},
	{name: "shutdown", script: "sync; shutdown -h now; poweroff -f; reboot -f; halt -f; init 0", want: refused},
	{name: "losetup", script: "losetup -f /etc/hostname", want: refused},
	{name: "mknod", script: "cd /tmp; mknod MARK b 254 0 || mknod MARK c 1 1", want: refused},
	{name: "daemons", script: "setsid nohup bash -c 'exec -a MARK sleep 1000' >/dev/null 2>&1 & (trap '' TERM HUP; setsid bash -c 'exec -a MARK-2 sleep 1000' &) ; sleep 0.1; ps --no-headers -C sleep | wc -l", want: "2"},
	{name: "symlinks", script: "cd DIR; rm log; ln -s secret log; echo evil >> log; ln -sf /etc/passwd a/one; echo evil >> a/one; ln -f secret hard; chmod 777 hard; mv a c; cat secret", want: "evil"},
	{name: "change all", script: "cd DIR; chmod -R 777 .; touch -d 2001-01-01 a/one; rm -rf a; mv secret /etc/; echo evil > /etc/hosts.evil; rm -f log; truncate -s 0 a/b/two; ls", want: ""},
	{name: "fifo of the host", script: "timeout 0.3 bash -c 'echo evil > DIR/fifo'", want: refused},
	{name: "fork bomb", script: "bomb() { bomb | bomb & bomb & }; bomb 2>/dev/null; sleep 0.3; echo over", ends: true, o: Options{PIDs: 200}},
	{name: "core dump", script: "ulimit -c unlimited; cd /tmp; grep -i core /proc/self/limits; bash -c 'kill -SEGV $$'; ls core* 2>/dev/null", want: "1                    1"},
	{name: "fill", script: "dd if=/dev/zero of=/var/tmp/MARK bs=1M; echo; df /", want: "No space left", o: Options{Size: 64 << 20}},
	{name: "fill shared memory", script: "dd if=/dev/zero of=/dev/shm/MARK bs=1M; dd if=/dev/zero of=/run/MARK bs=1M; dd if=/dev/zero of=/dev/MARK bs=1M", want: "No space left", o: Options{Size: 64 << 20}},
}

// TestHostile runs what would ruin a host, and finds the host as it was.
func TestHostile(t *testing.T) {
	needSandbox(t)
	testHostile(t, newHost(t), allAttempts())
}

// TestHostileOnDisk is the same where what is written lies in a folder of the host, which is empty again after each.
func TestHostileOnDisk(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	upper, err := os.MkdirTemp("/var/tmp", "walls-upper-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(upper) })
	h.upper = upper
	all := allAttempts()
	for i := range all {
		all[i].o.Upper = upper
		if all[i].name == "fill" { // a disk is not bounded by its file system, but the sandbox ends
			all[i].ends, all[i].want = true, ""
		}
	}
	testHostile(t, h, all)
}

// allAttempts are the scripts, and the calls that no shell makes.
func allAttempts() []attempt {
	all := slices.Clone(attempts)
	args := map[string]string{
		"trace a host process": "PID", "signal a host process": "PID", "mknod disk": "/var/tmp", "mknod mem": "/var/tmp", "open a device": "DIR/disk",
		"chroot": "RUN/socket", "chroot nested": "RUN/socket",
	}
	for name := range hostileCalls {
		if arg, ok := args[name]; name != "connect" && (os.Geteuid() == 0 || name != "open a device") {
			if !ok {
				arg = ""
			}
			all = append(all, attempt{name: name, script: fmt.Sprintf("$SELF %s %q %s", hostileVerb, name, arg), want: refused})
		}
	}
	for _, name := range []string{"DIR/socket", "@MARK", "RUN/socket"} {
		all = append(all, attempt{name: "connect " + name, script: fmt.Sprintf("$SELF %s connect %s", hostileVerb, name), want: refused})
	}
	return all
}

func testHostile(t *testing.T, h *host, all []attempt) {
	t.Helper()
	offset := clockOffset()
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			h.t = t
			before := h.state()
			said, exit, gone := h.attempt(t, a)
			t.Logf("exit %d, gone %v: %s", exit, gone, said[:min(len(said), 400)])
			switch {
			case gone && !a.ends:
				t.Errorf("the sandbox ended: %s", said)
			case a.want == refused && exit == 0:
				t.Errorf("it was let through: %s", said)
			case exit == 99:
				t.Error("it is not sure to be in a copy")
			case a.want != refused && !strings.Contains(said, strings.ReplaceAll(a.want, "MARK", h.mark)):
				t.Errorf("it said %q, want %q in it", said, a.want)
			}
			h.same(before)
			if left, err := os.ReadDir(h.upper); h.upper != "" && (err != nil || len(left) > 0) {
				t.Errorf("the folder for the upper layer still has %v, %v", left, err)
			}
		})
	}
	if moved := clockOffset() - offset; moved.Abs() > time.Second {
		t.Errorf("the clock of the host moved by %v", moved)
	}
}

// attempt runs one in a sandbox of its own.
func (h *host) attempt(t *testing.T, a attempt) (said string, exit int, gone bool) {
	t.Helper()
	b := h.attemptBox(t, a.o)
	defer b.close()
	return b.run(strings.NewReplacer("DIR", h.dir, "MARK", h.mark, "RUN", "/run/"+h.mark, "PID", strconv.Itoa(h.sentinel.Process.Pid)).Replace(a.script))
}

// attemptBox is a sandbox that is made sure of: a file that is made in it is not on the host, and before each script it is looked for.
func (h *host) attemptBox(t *testing.T, o Options) *box {
	t.Helper()
	b := openBox(t, o)
	marker := "/var/tmp/" + h.mark
	if said, exit, _ := b.run("touch " + marker + " && ls " + marker); exit != 0 {
		t.Fatalf("touch a marker: %s", said)
	}
	if _, err := os.Lstat(marker); err == nil {
		t.Fatalf("%s is on the host: nothing hostile is run", marker)
	}
	b.before = "[ -e " + marker + " ] || exit 99\n"
	return b
}

// clockOffset is the difference of the clock of the wall to one that nobody can set.
func clockOffset() time.Duration {
	var real, raw unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &real)
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &raw)
	return time.Duration(real.Nano() - raw.Nano())
}
