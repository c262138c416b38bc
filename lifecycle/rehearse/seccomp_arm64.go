package rehearse

import "golang.org/x/sys/unix"

const (
	nativeArch     = unix.AUDIT_ARCH_AARCH64
	foreignNumbers = 0 // there are none
)

// refusedHere are calls that only this architecture has.
var refusedHere []uint32
