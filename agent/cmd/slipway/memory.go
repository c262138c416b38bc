package main

import (
	"bufio"
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// letGo gives back what only the start of the daemon has needed: garbage, and the program's own pages. The kernel maps the pages around each one that is
// touched, and the start touches most of the program once; those that are needed again are mapped again from the cache of files, at a microsecond
// each.
func letGo() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, m := range readOnly(maps, self) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED) // it is only less spare if it fails
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// readOnly finds where a file is mapped and cannot be written to: what is dropped of that is still in the file.
func readOnly(maps []byte, file string) (found []mapping) {
	const fields = 6 // addresses, permissions, offset, device, inode, path
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != fields || f[5] != file || len(f[1]) < 2 || f[1][1] != '-' {
			continue
		}
		low, high, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(low, 16, strconv.IntSize)
		to, err2 := strconv.ParseUint(high, 16, strconv.IntSize)
		if err1 == nil && err2 == nil && from < to {
			found = append(found, mapping{uintptr(from), uintptr(to)})
		}
	}
	return found
}
