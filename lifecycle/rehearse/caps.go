package rehearse

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keptCaps are what scripts of deployments need. What they could reach the kernel, the clock, the disks, the log or the processes of the host
// with is not among them.
var keptCaps = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP,
}

const keptNames = "chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, setfcap"

// capabilities is a set of kept ones. With a network of their own processes may also make packets, and where their memory is bounded raise limits: it is also
// the right to outlive others when memory runs out.
func capabilities(ownNet, memoryBound bool) (set uint64, names string) {
	for _, c := range keptCaps {
		set |= 1 << c
	}
	names = keptNames
	if ownNet {
		set |= 1 << unix.CAP_NET_RAW
		names += ", net_raw"
	}
	if memoryBound {
		set |= 1 << unix.CAP_SYS_RESOURCE
		names += ", sys_resource"
	}
	return set, names
}

// limitCapabilities leaves the calling thread, and whatever it executes, with the given capabilities at most.
func limitCapabilities(set uint64) error {
	had, err := effective()
	if err != nil {
		return fmt.Errorf("look at the capabilities: %w", err)
	}
	set &= had // of a container's root some are missing
	last, ok := readInt("/proc/sys/kernel/cap_last_cap")
	if !ok {
		last = 63
	}
	for c := 0; c <= int(last); c++ {
		if set&(1<<c) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL { //nolint:errorlint // a bare errno; EINVAL: the kernel has no such capability
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		word := uint32(set >> (32 * i))
		data[i].Effective, data[i].Permitted = word, word
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
