// Package systemdtest boots real hosts with systemd as process 1, for tests. A host is a Debian system in a container of systemd-nspawn:
// its own processes, mounts, network and cgroups, with the kernel of this machine. Its disk is an overlay of a root that is made once per
// list of packages and kept in the user's cache folder; what a test changes is in memory and gone after the test.
//
// Nothing of a host outlasts its test, not even if that is killed: mounts and network live in name spaces of their own, processes end
// with the test's, and cgroups that could not be removed are by the next host that is booted.
package systemdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Options says what host to boot. The zero value is one with systemd and D-Bus, on cgroup v2, that sees no network but its loopback.
type Options struct {
	// Packages are those of Debian that the host has beside systemd and dbus. Each list costs a minute once and some hundred MB of cache.
	Packages []string
	// Legacy gives the host cgroup v1, as Amazon Linux 2 has it, where this machine has v1 hierarchies.
	Legacy bool
	// NetNS is the path of a network name space for the host, such as /run/netns/web1; "" for one of its own.
	NetNS string
	// ShareNet gives the host the network of this machine instead: the test's own servers on loopback are in its reach, and its in the test's.
	ShareNet bool
	// Size is how much the host may write, in bytes; 2 GiB when zero. It is memory.
	Size int64
	// From makes the disk of the host a copy of another host's, as an instance's is one of its image: what was written there is below what is
	// written here. That host must be off, and stays off: its disk is read-only from then on. Packages are those of that host.
	From *Host
	// Prepare changes the host's files before it is booted for the first time.
	Prepare func(root string) error
}

// Host is a booted system.
type Host struct {
	t      testing.TB
	opts   Options
	name   string
	dir    string        // where its disk is mounted, in the name space of the holder alone
	lower  string        // what is below what it has written, as overlayfs is told it
	image  bool          // its disk is one: it does not start again
	holder *exec.Cmd     // has the mounts
	let    io.Closer     // ends the holder
	groups []string      // its cgroups
	log    lockedBuffer  // of systemd-nspawn and the console
	run    *supervisor   // nil while it is off
	closed chan struct{} // the test is over
}

// bootTime bounds a boot. It takes two seconds, on a busy machine many times that.
const bootTime = 2 * time.Minute

var hosts atomic.Int64 // counts those of this process, for their names

// Boot boots a host and waits until systemd says that it is running. It skips the test where that cannot be done (Missing) and fails it
// where it should have worked. At the end of the test the host is destroyed.
func Boot(t testing.TB, o Options) *Host {
	t.Helper()
	if reason := Missing(); reason != "" {
		t.Skip(reason)
	}
	if o.Legacy && !exists("/sys/fs/cgroup/systemd/cgroup.procs") {
		t.Skip("needs cgroup v1 hierarchies, which this machine does not have")
	}
	sweepCgroups()
	h := &Host{t: t, opts: o, name: fmt.Sprintf("%d-%d", os.Getpid(), hosts.Add(1)), dir: t.TempDir(), closed: make(chan struct{})}
	t.Cleanup(h.destroy)
	if o.From != nil {
		h.must(o.From.freeze())
		h.lower = filepath.Join(o.From.dir, "upper") + ":" + o.From.lower
	} else {
		h.lower = lowerRoot(t, o.Packages)
	}
	h.must(h.mount())
	if o.Prepare != nil {
		h.must(o.Prepare(h.Root()))
	}
	var err error
	h.groups, err = makeCgroups(h.name)
	h.must(err)
	h.Start()
	return h
}

func (h *Host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("test host: %v", err)
	}
}

// holderScript mounts the disk and waits for the end of its input. What systemd-nspawn leaves in /run is covered. Mounts that the host does not
// need are let go first: a copy of them here would keep another test from unmounting what lies below. A disk that is an image's is left as it is,
// with its name and its id.
const holderScript = `set -e
mounts=$(cat /proc/self/mountinfo)
while read -r _ _ _ _ at _; do
	case $at in / | /proc | /proc/* | /sys | /sys/* | /dev | /dev/pts | /dev/mqueue | /run) continue ;; esac
	case $1/ in "$at"/*) continue ;; esac
	case :$2/ in *:"$at"/*) continue ;; esac
	umount -l "$at" 2>/dev/null || :
done <<END
$mounts
END
mount -t tmpfs -o "mode=755,size=$3" slipway-test "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" slipway-test "$1/root"
case $2 in *:*) ;; *) echo slipway-test >"$1/root/etc/hostname"; : >"$1/root/etc/machine-id" ;; esac
mkdir -p /run/systemd/nspawn; mount -t tmpfs slipway-test /run/systemd/nspawn
echo mounted; exec cat`

// freeze makes the disk of a host that is off an image: it can be read as before, and not be written any more.
func (h *Host) freeze() error {
	switch {
	case h.run != nil:
		return errors.New("the host whose disk is to be an image is on: power it off first")
	case h.image:
		return nil
	}
	h.image = true
	cmd := exec.CommandContext(context.Background(), "nsenter", "-t", strconv.Itoa(h.holder.Process.Pid), "-m", "--", "sh", "-ec",
		`umount "$1/root"; mount -t overlay -o "lowerdir=$1/upper:$2" slipway-test "$1/root"`, "freeze", h.dir, h.lower)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make its disk an image: %w\n%s", err, out)
	}
	return nil
}

// mount makes the host's disk, in a mount name space that ends with the last process in it. That of a host that is made from an image begins as
// a copy of the image's, where the lower layers are.
func (h *Host) mount() error {
	size := h.opts.Size
	if size <= 0 {
		size = 2 << 30
	}
	args := []string{"unshare", "--mount", "sh", "-c", holderScript, "holder", h.dir, h.lower, strconv.FormatInt(size, 10)}
	if from := h.opts.From; from != nil {
		args = append([]string{"nsenter", "-t", strconv.Itoa(from.holder.Process.Pid), "-m", "--"}, args...)
	}
	h.holder = exec.CommandContext(context.Background(), args[0], args[1:]...)
	h.holder.Stderr = &h.log
	in, err := h.holder.StdinPipe()
	if err != nil {
		return err
	}
	out, err := h.holder.StdoutPipe()
	if err != nil {
		return err
	}
	h.let = in
	if err := h.holder.Start(); err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(out, int64(len("mounted\n"))))
	if string(said) != "mounted\n" {
		return fmt.Errorf("mount its disk: %w\n%s", errors.Join(err, h.holder.Wait()), h.log.String())
	}
	return nil
}

// Root is the path of the host's disk as this process sees it. Files may be read and written there at any time, also while it is off.
// Absolute symbolic links in it lead out of it.
func (h *Host) Root() string {
	return filepath.Join("/proc", strconv.Itoa(h.holder.Process.Pid), "root", h.dir, "root")
}

// Cgroup is the folder of the host's cgroup in a hierarchy of this machine, such as "memory" or "unified", "" for cgroup v2 where that is
// all there is. Limits that are written there hold for the whole host.
func (h *Host) Cgroup(hierarchy string) string {
	return filepath.Join("/sys/fs/cgroup", hierarchy, cgroupParent, h.name)
}

// Start boots a host that is off, after PowerOff or Kill.
func (h *Host) Start() {
	h.t.Helper()
	if h.run != nil {
		h.t.Fatal("test host: it is on already")
	}
	if h.image {
		h.t.Fatal("test host: its disk is an image of other hosts")
	}
	h.run = h.supervise()
	h.await("")
}

// On reports whether the host runs.
func (h *Host) On() bool { return h.run != nil && h.run.running() }

// Leader is the pid of the host's process 1 as this machine sees it. It is another one after each boot.
func (h *Host) Leader() int {
	h.t.Helper()
	if h.run == nil {
		h.t.Fatal("test host: it is off")
	}
	pid, err := h.run.leader()
	h.must(err)
	return pid
}

// await waits until systemd is done with booting, in another boot than the one with the given id.
func (h *Host) await(before string) {
	h.t.Helper()
	var state string
	for end := time.Now().Add(bootTime); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if !h.run.running() {
			break
		}
		pid, err := h.run.leader()
		if err != nil || strconv.Itoa(pid) == before {
			continue
		}
		out, _ := h.enter(h.t.Context(), pid, "systemctl", "is-system-running").Output()
		switch state = strings.TrimSpace(string(out)); state {
		case "degraded":
			failed, _ := h.enter(h.t.Context(), pid, "systemctl", "--failed", "--no-legend", "--plain").Output()
			h.t.Logf("test host: units have failed:\n%s", failed)
			return
		case "running":
			return
		}
	}
	h.t.Fatalf("test host: it does not boot (%s):\n%s", state, h.log.String())
}

func (h *Host) enter(ctx context.Context, leader int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(leader), "-a", "--"}, args...)...)
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second // what it has started in the host may hold its output when the context has ended it
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	return cmd
}

// Enter is a command in the host's name spaces, but in the cgroup of the test: right for asking systemd, wrong for anything that cares where
// it lives.
func (h *Host) Enter(ctx context.Context, args ...string) *exec.Cmd {
	h.t.Helper()
	return h.enter(ctx, h.Leader(), args...)
}

// Command is a command that runs in the host as a unit of its own, as systemd-run starts it. Its standard streams are those of the
// returned command, and so is its exit code.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	h.t.Helper()
	return h.Enter(ctx, append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--"}, args...)...)
}

// Run runs a command in the host as a unit of its own and returns what it wrote, both streams together. The error has that too.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	h.t.Helper()
	out, err := h.Command(ctx, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("in the test host, %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Must is Run for what has to succeed.
func (h *Host) Must(args ...string) string {
	h.t.Helper()
	out, err := h.Run(h.t.Context(), args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// Reboot restarts the host in the orderly way and waits until it is up again.
func (h *Host) Reboot() {
	h.t.Helper()
	before := h.Leader()
	h.must(syscall.Kill(before, sigRTMin+5)) // systemd: start reboot.target
	h.await(strconv.Itoa(before))
}

// PowerOff shuts the host down in the orderly way. Its disk stays.
func (h *Host) PowerOff() {
	h.t.Helper()
	h.must(syscall.Kill(h.Leader(), sigRTMin+4)) // systemd: start poweroff.target
	h.off()
}

// Kill ends the host at once, as a loss of power does. Its disk stays, with all that was written to it.
func (h *Host) Kill() {
	h.t.Helper()
	h.must(syscall.Kill(h.Leader(), syscall.SIGKILL))
	h.off()
}

const sigRTMin = 34 // as the C library counts

func (h *Host) off() {
	h.t.Helper()
	select {
	case <-h.run.done:
		h.run = nil
	case <-time.After(bootTime):
		h.t.Fatalf("test host: it does not go off:\n%s", h.log.String())
	}
}

func (h *Host) destroy() {
	close(h.closed)
	if h.run != nil {
		h.run.kill()
		<-h.run.done
	}
	if h.t.Failed() {
		h.t.Logf("console of the test host:\n%s", h.log.String())
	}
	if err := endCgroups(h.groups); err != nil {
		h.t.Errorf("test host: its cgroups stay: %v", err)
	}
	if h.holder != nil && h.holder.Process != nil {
		h.let.Close()
		if err := h.holder.Wait(); err != nil && !h.t.Failed() {
			h.t.Errorf("test host: the process with its mounts: %v", err)
		}
	}
}

// supervisor runs systemd-nspawn, again after each reboot.
type supervisor struct {
	done chan struct{} // closed when the host is off

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

// nspawnScript enters the cgroups and the mounts of the host and becomes systemd-nspawn.
const nspawnScript = `holder=$1; shift
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift
exec nsenter -t "$holder" -m -- systemd-nspawn "$@"`

// exitReboot is how systemd-nspawn ends when the host wants to be booted again.
const exitReboot = 133

func (h *Host) supervise() *supervisor {
	s := &supervisor{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The death signal comes when the thread ends that started the process: this one is not given to others.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.done)
		for first := true; ; first = false {
			cmd := h.nspawn()
			s.mu.Lock()
			s.cmd = cmd
			err := cmd.Start()
			s.mu.Unlock()
			if first {
				started <- err
			}
			if err != nil {
				fmt.Fprintln(&h.log, "start systemd-nspawn:", err)
				return
			}
			err = cmd.Wait()
			fmt.Fprintln(&h.log, "systemd-nspawn ended:", err)
			select {
			case <-h.closed:
				return
			default:
			}
			if cmd.ProcessState.ExitCode() != exitReboot {
				return
			}
		}
	}()
	h.must(<-started)
	return s
}

func (h *Host) nspawn() *exec.Cmd {
	args := append([]string{"-c", nspawnScript, "nspawn", strconv.Itoa(h.holder.Process.Pid)}, h.groups...)
	args = append(args, "--", "--quiet", "--boot", "--directory="+filepath.Join(h.dir, "root"), "--machine=slipway-"+h.name,
		"--register=no", "--keep-unit", "--console=pipe", "--settings=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--kill-signal=SIGRTMIN+4")
	switch {
	case h.opts.ShareNet:
	case h.opts.NetNS != "":
		args = append(args, "--network-namespace-path="+h.opts.NetNS)
	default:
		args = append(args, "--private-network")
	}
	cmd := exec.CommandContext(context.Background(), "sh", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="+map[bool]string{false: "1", true: "0"}[h.opts.Legacy])
	cmd.Stdout, cmd.Stderr = &h.log, &h.log
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// leader is the only child of systemd-nspawn once that has come so far.
func (s *supervisor) leader() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid := s.cmd.Process.Pid
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return 0, errors.New("systemd-nspawn has not started anything yet")
	}
	return strconv.Atoi(fields[0])
}

func (s *supervisor) running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *supervisor) kill() {
	if pid, err := s.leader(); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Kill()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
