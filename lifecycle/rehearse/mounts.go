package rehearse

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hostMount is a file system of the host that the copy has to show.
type hostMount struct {
	point string
	kind  string // its type
	flags uintptr
}

// ownFolders are those of the kernel and of what runs: the copy has its own.
var ownFolders = []string{"/proc", "/sys", "/dev", "/run"}

// pseudoKinds are file systems that hold the kernel's things, not files.
var pseudoKinds = []string{
	"proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "debugfs", "tracefs", "securityfs", "pstore", "bpf", "configfs", "efivarfs",
	"hugetlbfs", "fusectl", "binfmt_misc", "autofs", "nsfs", "rpc_pipefs", "selinuxfs", "nfsd", "ramfs",
}

// innerFolders belong to container engines, which cannot be reached from the copy.
var innerFolders = []string{"/var/lib/docker/", "/var/lib/containers/", "/var/lib/containerd/", "/var/lib/kubelet/"}

// plainKinds hold no sockets, pipes or devices: where no overlay can be over them they may be shown for reading.
var plainKinds = []string{"vfat", "msdos", "exfat", "iso9660", "udf", "ntfs", "ntfs3"}

// hostMounts reads what of mountinfo(5) the copy has to show, outer ones first, without the root, and the flags of the root.
func hostMounts(mountinfo string) (list []hostMount, root hostMount) {
	for text := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(text, " - ")
		f, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(super) < 3 {
			continue
		}
		m := hostMount{point: path.Clean(unescapeMount(f[4])), kind: super[0], flags: mountFlags(f[5], super[2])}
		// What is mounted later hides what was there.
		list = slices.DeleteFunc(list, func(o hostMount) bool { return within(o.point, m.point) })
		if m.point == "/" {
			root = m
			continue
		}
		list = append(list, m)
	}
	list = slices.DeleteFunc(list, func(m hostMount) bool {
		own := slices.ContainsFunc(ownFolders, func(dir string) bool { return within(m.point, dir) })
		inner := slices.ContainsFunc(innerFolders, func(dir string) bool { return strings.HasPrefix(m.point, dir) })
		return own || inner || slices.Contains(pseudoKinds, m.kind)
	})
	slices.SortStableFunc(list, func(a, b hostMount) int { return strings.Compare(a.point, b.point) })
	return list, root
}

// mountFlags are the options of a mount that its copy takes over.
func mountFlags(mount, super string) (flags uintptr) {
	for option := range strings.SplitSeq(mount+","+super, ",") {
		switch option {
		case "ro":
			flags |= unix.MS_RDONLY
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "noexec":
			flags |= unix.MS_NOEXEC
		}
	}
	return flags
}

// within reports whether a path is dir or lies below it.
func within(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, dir) && name[len(dir)] == '/'
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// overlayPath writes a path as an option of an overlay.
func overlayPath(name string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(name)
}
