package rehearse

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostileCalls are attempts that no shell makes. Each returns the error that it met, or nil if it was let through. They run in the sandbox
// alone, and none would do harm outside of it.
var hostileCalls = map[string]func(arg string) error{
	"mount":         func(string) error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") },
	"umount":        func(string) error { return unix.Unmount("/dev/shm", unix.MNT_DETACH) },
	"pivot_root":    func(string) error { return unix.PivotRoot("/mnt", "/mnt") },
	"fsopen":        func(string) error { return raw(unix.SYS_FSOPEN, text("tmpfs"), 0, 0) },
	"open_tree":     func(string) error { return raw(unix.SYS_OPEN_TREE, atCWD, text("/etc"), unix.OPEN_TREE_CLONE) },
	"mount_setattr": func(string) error { return raw(unix.SYS_MOUNT_SETATTR, atCWD, text("/proc/sys"), 0) },
	"unshare mnt":   func(string) error { return unix.Unshare(unix.CLONE_NEWNS) },
	"unshare user":  func(string) error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"unshare time":  func(string) error { return unix.Unshare(unix.CLONE_NEWTIME) },
	"clone user": func(string) error {
		_, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
		return err
	},
	"clone3": func(string) error { return raw(unix.SYS_CLONE3, 0, 0, 0) },
	"setns own": func(string) error {
		fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, 0)
	},
	"open process 1": func(string) error {
		for _, name := range []string{"root", "cwd", "exe", "ns/mnt", "mem", "environ"} {
			if fd, err := unix.Open("/proc/1/"+name, unix.O_RDONLY, 0); err == nil {
				unix.Close(fd)
				return nil
			}
		}
		return unix.EACCES
	},
	"trace process 1":       func(string) error { return unix.PtraceAttach(1) },
	"trace a host process":  func(pid string) error { n, _ := strconv.Atoi(pid); return unix.PtraceAttach(n) },
	"signal a host process": func(pid string) error { n, _ := strconv.Atoi(pid); return unix.Kill(n, unix.SIGUSR1) },
	"open_by_handle_at": func(string) error {
		at, err := unix.Open("/etc", unix.O_RDONLY, 0)
		if err != nil {
			return nil //nolint:nilerr // it is not what was to fail
		}
		_, err = unix.OpenByHandleAt(at, unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0}), unix.O_RDONLY)
		return err
	},
	"mknod disk":    func(dir string) error { return unix.Mknod(dir+"/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) },
	"mknod mem":     func(dir string) error { return unix.Mknod(dir+"/mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) },
	"open a device": func(node string) error { _, err := unix.Open(node, unix.O_RDONLY, 0); return err },
	"reboot":        func(string) error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
	"settimeofday": func(string) error {
		var tv unix.Timeval
		_ = unix.Gettimeofday(&tv)
		return unix.Settimeofday(&tv)
	},
	"adjtimex": func(string) error {
		return raw(unix.SYS_ADJTIMEX, uintptr(unsafe.Pointer(&unix.Timex{Modes: 0x8000})), 0, 0)
	},
	"init_module": func(string) error { return unix.InitModule([]byte("no module"), "") },
	"bpf":         func(string) error { return raw(unix.SYS_BPF, 0, 0, 0) },
	"perf":        func(string) error { return raw(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0) },
	"keyctl": func(string) error {
		_, err := unix.AddKey("user", "walls", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
		return err
	},
	"syslog":      func(string) error { _, err := unix.Klogctl(3, make([]byte, 10)); return err },
	"swapoff":     func(string) error { return raw(unix.SYS_SWAPOFF, text("/dev/vda"), 0, 0) },
	"io_uring":    func(string) error { return raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[120]byte{})), 0) },
	"userfaultfd": func(string) error { return raw(unix.SYS_USERFAULTFD, 0, 0, 0) },
	"acct":        func(string) error { return raw(unix.SYS_ACCT, text("/tmp/acct"), 0, 0) },
	"vsock":       func(string) error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err },
	"audit": func(string) error {
		_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT)
		return err
	},
	"family of sockets that loads a module": func(string) error { _, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0); return err },
	"part of netlink that loads a module": func(string) error {
		_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM)
		return err
	},
	"name in netlink that loads a module": func(string) error {
		_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
		return err
	},
	"request that loads a module": func(string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return nil //nolint:nilerr // it is not what was to fail
		}
		for _, request := range []uintptr{siocGIFBR, siocGIFVLAN, siocBRADDBR} {
			if err := raw(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&[64]byte{}))); !errors.Is(err, unix.ENOPKG) {
				return nil // the word of the module
			}
		}
		return unix.ENOPKG
	},
	"line discipline that loads a module": func(string) error {
		fd, err := unix.Open("/dev/ptmx", unix.O_RDWR, 0)
		if err != nil {
			return nil //nolint:nilerr // programs need these
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSETD, 0)
	},
	"limit process 1": func(string) error {
		var limit unix.Rlimit
		if err := unix.Prlimit(1, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
			return err
		}
		return unix.Prlimit(1, unix.RLIMIT_NOFILE, &limit, nil)
	},
	"limit of core dumps by a pointer of which half is 0": func(string) error {
		const at = 1 << 32
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, at, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uintptr(0), 0)
		if errno != 0 {
			return nil
		}
		if _, _, errno := unix.Syscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, at, 0, 0, 0); errno != 0 { // of 0 bytes
			return nil
		}
		if text, err := os.ReadFile("/proc/self/limits"); err != nil || !regexp.MustCompile(`core file size +1 +1 `).Match(text) {
			return nil //nolint:nilerr // it is to be looked at
		}
		return unix.EPERM
	},
	"pair that loads a module": func(string) error {
		if _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); err != nil {
			return nil //nolint:nilerr // programs need these
		}
		if _, err := unix.Socketpair(unix.AF_VSOCK, unix.SOCK_STREAM, 0); !errors.Is(err, unix.EAFNOSUPPORT) { // another error is the family's own word
			return nil
		}
		if _, err := unix.Socketpair(unix.AF_INET, unix.SOCK_STREAM, 0); !errors.Is(err, unix.EAFNOSUPPORT) {
			return nil
		}
		return unix.EAFNOSUPPORT
	},
	"connect": func(name string) error { _, err := net.Dial("unix", name); return err },
	"capabilities": func(string) error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{{Effective: ^uint32(0), Permitted: ^uint32(0), Inheritable: ^uint32(0)}}
		return unix.Capset(&header, &data[0])
	},
	"chroot":        func(arg string) error { return breakOut(arg, false) },
	"chroot nested": func(arg string) error { return breakOut(arg, true) },
	"descriptors": func(string) error {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return nil //nolint:nilerr // it is to be looked at
		}
		for _, e := range entries {
			to, err := os.Readlink("/proc/self/fd/" + e.Name())
			if err == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/proc/") && to != "/dev/null" && !strings.HasPrefix(to, "/run/said") {
				fmt.Println(e.Name(), to)
				return nil
			}
		}
		return unix.EBADF
	},
}

const atCWD = ^uintptr(99) // AT_FDCWD

func text(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(p))
}

func raw(call, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(call, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// breakOut leaves a chroot in the classic way, and looks whether it reached a folder that only the host has.
func breakOut(hostOnly string, nested bool) error {
	dir, err := os.MkdirTemp("/var/tmp", "jail")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "inner"), 0o755); err != nil {
		return err
	}
	if nested {
		if err := unix.Chroot(dir); err != nil {
			return err
		}
		dir = "/inner"
	}
	top, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := unix.Fchdir(top); err != nil {
		return err
	}
	for range 100 {
		if err := unix.Chdir(".."); err != nil {
			return err
		}
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	_, err = os.Lstat(hostOnly)
	return err
}

// hostileMain makes one attempt in the sandbox.
func hostileMain(args []string) int {
	call := hostileCalls[args[0]]
	err := call(strings.Join(args[1:], " "))
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		fmt.Println("refused:", unix.ErrnoName(errno))
		return 3
	}
	fmt.Println("came through:", err)
	return 0
}
