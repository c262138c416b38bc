package rehearse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// wallsVariable is how far the process is. It is not there when EnterInside has returned.
const wallsVariable = "SLIPWAY_REHEARSAL_WALLS"

// Values of wallsVariable once the program was executed in the copy.
const (
	enteredOwn  = "entered with a network of its own"
	enteredHost = "entered with the network of the host"
)

// The descriptors of the inside beside those of Inside.
const (
	insideOrders = 5
	insideTells  = 6
)

// insideOrder is what the inside has to know.
type insideOrder struct {
	HostNet, UserNS bool
	Size            int64
	Exe             string // this program, by its path on the host
	Run             runShape
	Counted         bool // nothing of the kernel's bounds the processes
	MemoryBound     bool
	PIDs            int64
}

// EnterInside puts the process that Sandbox.Start has started within the walls, and is the first thing it may do: its root becomes the copy, its
// devices, proc and /run become its own, system calls are filtered, capabilities dropped. For that the program is executed once more,
// from its place in the copy, with the same arguments; so EnterInside returns nil in a process that never was outside. In any other
// process it is an error, and nothing has changed.
func EnterInside() error {
	stage := os.Getenv(wallsVariable)
	if os.Getpid() != 1 || stage == "" {
		return errors.New("this process is in no sandbox: it is started by a rehearsal, not by hand")
	}
	tell := os.NewFile(insideTells, "status")
	defer tell.Close()
	if stage != "enter" {
		walls, err := arrived(stage == enteredHost)
		if err == nil {
			err = json.NewEncoder(tell).Encode(insideStatus{Walls: walls})
		}
		return err
	}
	err := enter()
	status := insideStatus{Error: err.Error()}
	errors.As(err, &status.No)
	_ = json.NewEncoder(tell).Encode(status) // who is gone knows
	return err
}

// enter does not return unless it fails.
func enter() error {
	runtime.LockOSThread() // capabilities and filter are a thread's, and what that executes has them
	orders := os.NewFile(insideOrders, "orders")
	text, err := io.ReadAll(io.LimitReader(orders, 1<<20))
	orders.Close()
	var o insideOrder
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return fmt.Errorf("read what the sandbox is to be: %w", err)
	}
	var self unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &self); err != nil {
		return fmt.Errorf("look at this program: %w", err)
	}
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("open this program: %w", err)
	}
	_ = unix.Unshare(unix.CLONE_NEWCGROUP) // Linux 4.6; what /proc tells of cgroups is all that it hides
	m := &furnisher{insideOrder: o}
	if err := m.furnish(); err != nil {
		return err
	}
	if err := turn(mergedRoot); err != nil {
		return err
	}
	exe, err := m.place(program, &self)
	program.Close()
	if err != nil {
		return err
	}
	if err := prepareWatch(exe, o.HostNet); err != nil {
		return err
	}
	if err := m.shut(); err != nil {
		return err
	}
	entered := enteredOwn
	if o.HostNet {
		entered = enteredHost
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, wallsVariable+"=") })
	return fmt.Errorf("execute %s in the copy: %w", exe, syscall.Exec(exe, os.Args, append(env, wallsVariable+"="+entered)))
}

// turn makes a mount the root, and leaves the old root behind for good.
func turn(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter the copy: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return noRights("/proc", "make the copy the root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return noRights("/proc", "leave the root of the host", err)
	}
	return unix.Chdir("/")
}

// place finds this program in the copy: the process must not run what is a file of the host, which it could reach through /proc.
func (m *furnisher) place(program *os.File, self *unix.Stat_t) (string, error) {
	var there unix.Stat_t
	if err := unix.Stat(m.Exe, &there); err == nil && there.Size == self.Size && there.Mtim == self.Mtim && there.Mode&unix.S_IFMT == unix.S_IFREG && there.Mode&0o111 != 0 {
		return m.Exe, nil
	}
	exe := "/run/slipway-rehearsal/" + path.Base(strings.TrimSuffix(m.Exe, " (deleted)"))
	if err := os.Mkdir(path.Dir(exe), 0o755); err != nil {
		return "", err
	}
	to, err := os.OpenFile(exe, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, program)
	if err = errors.Join(err, to.Close()); err != nil {
		return "", fmt.Errorf("copy this program: %w", err)
	}
	return exe, nil
}

// shut closes the doors behind: descriptors, sockets without a file, system calls, capabilities.
func (m *furnisher) shut() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null of the copy: %w", err)
	}
	if err := unix.Dup3(null, 0, 0); err != nil { // that of the host could have its mode changed by it
		return err
	}
	for fd := 1; fd <= 2; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			if err := unix.Dup3(null, fd, 0); err != nil {
				return err
			}
		}
	}
	if err := unix.CloseRange(insideTells+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			var fd int
			if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd > insideTells {
				unix.CloseOnExec(fd)
			}
		}
	}
	unix.Umask(0o022)
	if m.Counted && m.UserNS {
		limit := unix.Rlimit{Cur: uint64(m.PIDs), Max: uint64(m.PIDs)}
		_ = unix.Setrlimit(unix.RLIMIT_NPROC, &limit) // they are counted besides
	}
	if m.HostNet {
		if err := scopeAbstract(); err != nil {
			return err
		}
	} else if err := loopbackUp(); err != nil {
		return err
	}
	if err := limitCores(); err != nil {
		return fmt.Errorf("limit core dumps: %w", err)
	}
	if err := installFilter(seccompFilter()); err != nil {
		return noRights("/proc", "filter system calls", err)
	}
	set, _ := capabilities(!m.HostNet, m.MemoryBound)
	return limitCapabilities(set)
}

// arrived checks the walls from within.
func arrived(hostNet bool) ([]lifecycle.Fact, error) {
	reapOrphans() // before anything else can have the first thread
	if err := os.Unsetenv(wallsVariable); err != nil {
		return nil, err
	}
	unix.CloseOnExec(insideTells)
	for fd := 3; fd <= 4; fd++ {
		unix.CloseOnExec(fd)
	}
	status := readText("/proc/self/status")
	caps, err := effective()
	if err != nil {
		return nil, err
	}
	allowed, names := capabilities(!hostNet, caps&(1<<unix.CAP_SYS_RESOURCE) != 0)
	if !strings.Contains(status, "\nSeccomp:\t2") || caps&^allowed != 0 {
		return nil, errors.New("the walls do not stand: the system call filter or the limit of capabilities is not in force")
	}
	// No process of a script may look into this one, trace it, or reach its descriptors.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("guard this process: %w", err)
	}
	// Whoever kills all processes may not end this one: the kernel spares it only what it does not catch itself, and the runtime catches the rest.
	signal.Notify(make(chan os.Signal, 1))
	swallowLog()
	walls := []lifecycle.Fact{
		{Name: "capabilities", Value: names},
		{Name: "system calls", Value: fmt.Sprintf("a filter refuses %d: mounts, namespaces, modules, clocks, reboot, keys, bpf and the like", len(refusedCalls)+len(refusedHere)+len(absentCalls))},
		{Name: "devices", Value: "null, zero, full, random, urandom, tty, pseudo-terminals and shared memory of its own"},
		{Name: "/run", Value: "its own, without sockets; no service manager, message bus or container engine can be reached"},
	}
	network := "its own, which leads nowhere"
	if hostNet {
		network = "that of the host: what listens there, on loopback too, can be reached"
	}
	walls = append(walls, lifecycle.Fact{Name: "network", Value: network})
	return walls, nil
}

// loopbackUp starts the only interface of the network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("start the loopback interface: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was sent
	request, err := unix.NewIfreq("lo")
	if err == nil {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
	}
	if err != nil {
		return fmt.Errorf("start the loopback interface: %w", err)
	}
	return nil
}

// scopeAbstract keeps the processes from the host's sockets that have no file: on the host's network these are in reach. That is Landlock's since
// Linux 6.12; before, there must be none that listens.
func scopeAbstract() error {
	const (
		version       = 1
		scopeAbstract = 1
		firstABI      = 6
	)
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	if errno == 0 && int(abi) >= firstABI {
		attr := struct{ fs, net, scoped uint64 }{scoped: scopeAbstract}
		fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
		if errno != 0 {
			return fmt.Errorf("keep the sandbox from sockets without a file: %w", errno)
		}
		defer unix.Close(int(fd)) //nolint:errcheck // the rules are in force, or an error is returned
		if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
			return fmt.Errorf("keep the sandbox from sockets without a file: %w", errno)
		}
		return nil
	}
	if names := abstractListeners(readText("/proc/net/unix")); len(names) > 0 {
		return &Refusal{
			What: "share the network of the host", Why: "a script could reach sockets of the host that have no file, such as " + names[0] + ", which Linux can prevent since 6.12",
			Remedy: "rehearse without the network of the host, or stop what listens there",
		}
	}
	return nil
}

// reapInterval is how long an orphan of the sandbox may stay a zombie.
const reapInterval = 50 * time.Millisecond

// reapOrphans waits for processes whose parents have ended: they are children of the first thread, to which the kernel gives orphans. What this program
// itself starts it starts from other threads, and waits for itself; so one goroutine has the first thread for its own. The runtime gives a new
// goroutine to the thread of the one that waits for it, or to one that is idle: those that were given another thread keep it from the next.
func reapOrphans() {
	const tries = 32
	over, landed := make(chan struct{}), make(chan bool)
	defer close(over)
	for range tries {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != os.Getpid() {
				landed <- false
				<-over
				runtime.UnlockOSThread()
				return
			}
			landed <- true
			for {
				var status unix.WaitStatus
				if pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WNOTHREAD, nil); pid <= 0 || err != nil {
					time.Sleep(reapInterval)
				}
			}
		}()
		if <-landed {
			return
		}
	}
}

// swallowLog listens where programs send their log entries, so that they do not fail for it; nothing is done with them.
func swallowLog() {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return
	}
	_ = os.Chmod("/dev/log", 0o666)
	go func() {
		for buf := make([]byte, 8<<10); ; {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
}
