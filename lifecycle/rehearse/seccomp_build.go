package rehearse

import "golang.org/x/sys/unix"

// Offsets into what a filter sees of a call: struct seccomp_data, little-endian.
const (
	seenNumber = 0
	seenArch   = 4
	seenArg0   = 16
	seenArg1   = 24
	seenArg2   = 32
)

// filter builds a filter.
type filter struct{ code []unix.SockFilter }

func (f *filter) load(offset uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// and keeps those bits of what was loaded.
func (f *filter) and(bits uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: bits})
}

func (f *filter) give(result uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: result})
}

// when has a part of the filter run only if the comparison with what was loaded holds. The part has at most 255 instructions.
func (f *filter) when(how uint16, k uint32, part func()) {
	at := f.jump(how, k)
	part()
	f.code[at].Jf = uint8(len(f.code) - at - 1)
}

// unless has it run only if the comparison does not hold.
func (f *filter) unless(how uint16, k uint32, part func()) {
	at := f.jump(how, k)
	part()
	f.code[at].Jt = uint8(len(f.code) - at - 1)
}

func (f *filter) jump(how uint16, k uint32) int {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | how, K: k})
	return len(f.code) - 1
}

// call says what becomes of a system call: what the part does not decide is allowed. Before and after, the number of the call is what was loaded.
func (f *filter) call(number uint32, part func()) {
	f.when(unix.BPF_JEQ, number, func() {
		part()
		f.give(unix.SECCOMP_RET_ALLOW)
	})
}

func fails(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }
