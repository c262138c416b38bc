package bundle

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setTime sets the modification time of an open file and leaves the access time. The call with a descriptor and no name is what
// futimens does; the wrappers of x/sys can say it only with a flag that kernels before 5.8 do not know.
func setTime(fd int, mtime unix.Timespec) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// setLinkTime sets the modification time of a symbolic link in an open folder.
func setLinkTime(folder *os.File, base, name string, mtime unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	if err := unix.UtimesNanoAt(int(folder.Fd()), base, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the time of the symbolic link %s: %w", name, err)
	}
	return nil
}

// room fails when the file system of an open file has not that many bytes free. File systems that do not say are trusted.
func room(f *os.File, need int64) error {
	var st unix.Statfs_t
	known := unix.Fstatfs(int(f.Fd()), &st) == nil && st.Blocks > 0
	if free := freeBytes(&st); known && need > free {
		return fmt.Errorf("%s are needed on the file system of %s and %s are free: %w", amount(need), f.Name(), amount(free), unix.ENOSPC)
	}
	return nil
}

func freeBytes(st *unix.Statfs_t) int64 {
	blocks := st.Bavail
	if os.Geteuid() == 0 {
		blocks = st.Bfree // the reserve is there for root
	}
	return int64(blocks) * st.Bsize
}

// outOfSpace says in words what a full file system or a quota reports, and leaves every other error alone.
func outOfSpace(err error, where string) error {
	var st unix.Statfs_t
	switch {
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("the disk quota on the file system of %s is used up: %w", where, err)
	case !errors.Is(err, unix.ENOSPC):
		return err
	case unix.Statfs(where, &st) != nil:
		return fmt.Errorf("the file system of %s is full: %w", where, err)
	case st.Files > 0 && st.Ffree == 0:
		return fmt.Errorf("the file system of %s has no inode left for another file, of %d: %w", where, st.Files, err)
	default:
		return fmt.Errorf("the file system of %s is full, %s are left: %w", where, amount(freeBytes(&st)), err)
	}
}
