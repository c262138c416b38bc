package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// The stage's own file system is mounted over /run, which every host has and no copy shows; so it is in the way of nothing.
const (
	stageRoot  = "/run"
	mergedRoot = stageRoot + "/merged"
	skeleton   = stageRoot + "/skeleton"
	pinned     = stageRoot + "/lower" // the file systems of the host that overlays are over, each alone
)

// copier makes the copy in the stage's mount namespace.
type copier struct {
	openBody
	store  string // where upper and work folders are
	layers []Layer
	made   map[string]bool // mount points
	walls  []lifecycle.Fact
	hidden []string           // file systems that the copy does not show
	shown  []string           // that it shows for reading alone
	dead   int                // sockets that lead nowhere
	tried  int                // overlays, also those that could not be mounted
	points []string           // all mount points of the host
	disk   *lifecycle.Scratch // the folder on disk, in the namespace of the stage; nil: memory
}

func (c *copier) fact(name, format string, args ...any) {
	c.walls = append(c.walls, lifecycle.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
}

// build mounts all of the copy that is outside of the pid namespace.
func (c *copier) build() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return noRights("/proc", "make the mounts private", err)
	}
	mounts, root := hostMounts(readText("/proc/self/mountinfo") + "\n")
	c.points = points()
	disk := -1
	if c.Upper != "" {
		var err error
		if disk, err = c.openUpper(); err != nil {
			return err
		}
		defer unix.Close(disk) //nolint:errcheck // it was for a path
	}
	size := c.Size
	if c.Upper != "" { // what Base copies may not lie on the disk
		size = max(min(size, availableMemory()/2), minSize)
	}
	inodes := max(size/4096, 256<<10)
	data := fmt.Sprintf("mode=0755,size=%d,nr_inodes=%d", size, inodes)
	if err := unix.Mount("slipway", stageRoot, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, data); err != nil {
		return noRights("/proc", "mount a file system in memory", err)
	}
	c.store, c.made = stageRoot, map[string]bool{}
	for _, dir := range []string{mergedRoot, skeleton, pinned} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if disk >= 0 {
		if err := c.useDisk(disk); err != nil {
			return err
		}
	}
	if c.UserNS && !c.takesMarks() {
		return &Refusal{
			What: "keep the marks of an overlay in a user namespace", Why: "the file system of the upper layer takes no extended attributes of users (memory does since Linux 6.6)",
			Remedy: "name a folder on a disk with --upper, or run it as root",
		}
	}
	if c.Lower != "" {
		mounts, root = nil, hostMount{}
	}
	if err := c.overlays(mounts, root); err != nil {
		return err
	}
	if err := c.finish(); err != nil {
		return err
	}
	return c.singleFiles(mounts)
}

func (c *copier) openUpper() (int, error) {
	const prefix = ".slipway-rehearsal-"
	lifecycle.SweepScratch(c.Upper, prefix, openWork) // of those that were killed
	disk, err := lifecycle.NewScratch(c.Upper, prefix)
	if err != nil {
		return -1, &Refusal{What: "use " + c.Upper + " for what is written", Why: err.Error(), Remedy: "name an existing folder that may be written to"}
	}
	c.disk = disk
	fd, err := unix.Open(disk.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", disk.Dir, err)
	}
	return fd, nil
}

// useDisk makes the folder on disk the store. It is reached by its descriptor, should it lie where the stage has mounted something.
func (c *copier) useDisk(fd int) error {
	c.store = stageRoot + "/disk"
	if err := os.Mkdir(c.store, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), c.store, "", unix.MS_BIND, ""); err != nil {
		return noRights("/proc", "reach "+c.Upper, err)
	}
	return nil
}

func (c *copier) takesMarks() bool {
	dir := c.store + "/marks"
	if os.Mkdir(dir, 0o700) != nil {
		return false
	}
	defer os.Remove(dir)
	return unix.Setxattr(dir, "user.overlay.probe", []byte("y"), 0) == nil
}

// overlays mounts one overlay for / and one for each file system below it. In a user namespace mounts that came with it cannot be taken apart, so
// that there is one overlay for each folder that has none below it, and a skeleton that holds them.
func (c *copier) overlays(mounts []hostMount, root hostMount) error {
	lower := c.Lower
	if lower == "" {
		lower = "/"
	}
	if c.UserNS && c.Lower == "" {
		if err := likeFolder(skeleton, "/"); err != nil {
			return err
		}
		if err := c.bones("/", mounts); err != nil {
			return err
		}
		lower = skeleton
	}
	if err := c.overlay(lower, "/", root.flags&^unix.MS_NOEXEC&^unix.MS_NOSUID); err != nil {
		return c.noOverlay(root, err)
	}
	if c.UserNS && c.Lower == "" {
		return c.limbs("/", mounts)
	}
	for _, m := range mounts {
		if isFolder(m.point) {
			c.show(m)
		}
	}
	return nil
}

func isFolder(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// mountedBelow reports whether the host has a mount strictly below a folder, also one that the copy leaves out.
func mountedBelow(points []string, dir string) bool {
	return slices.ContainsFunc(points, func(p string) bool { return p != dir && within(p, dir) })
}

// points are all mount points that there were before the stage mounted anything of its own.
func points() (list []string) {
	for text := range strings.Lines(readText("/proc/self/mountinfo") + "\n") {
		if f := strings.Fields(text); len(f) > 4 {
			if p := unescapeMount(f[4]); p != "/" && !strings.HasPrefix(p, stageRoot+"/") {
				list = append(list, p)
			}
		}
	}
	return list
}

// overlay mounts one, and remembers its layer.
func (c *copier) overlay(lower, at string, flags uintptr) error {
	name := strconv.Itoa(c.tried)
	c.tried++
	lower = pin(lower, filepath.Join(pinned, name))
	upper, work := filepath.Join(c.store, "u"+name), filepath.Join(c.store, "w"+name)
	if err := likeFolder(upper, lower); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	if c.UserNS {
		if err := c.own(upper, lower, at); err != nil {
			return err
		}
	}
	options := "lowerdir=" + overlayPath(lower) + ",upperdir=" + overlayPath(upper) + ",workdir=" + overlayPath(work)
	tries := []string{options + ",redirect_dir=off,metacopy=off,index=off", options + ",redirect_dir=off", options}
	if c.UserNS {
		tries = []string{options + ",userxattr"}
	}
	var err error
	for _, o := range tries {
		if err = unix.Mount("overlay", path.Join(mergedRoot, at), "overlay", flags|unix.MS_NODEV, o); !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return err
	}
	c.made[at] = true
	layer := Layer{Upper: upper, Lower: lower, At: at, UserXattr: c.UserNS}
	if c.store != stageRoot {
		layer.Beside = filepath.Join(stageRoot, filepath.Base(upper))
	}
	c.layers = append(c.layers, layer)
	return nil
}

// pin mounts a folder of the host a second time, without what is mounted below it, at a place that is the stage's own, and returns that place. The
// host may unmount its own and remove the mount point while the rehearsal goes on, which takes the mount from every namespace that has it there.
// Where it cannot be done, as in a user namespace for a folder that has mounts below it, the folder is used as it is.
func pin(folder, at string) string {
	if os.Mkdir(at, 0o700) != nil || unix.Mount(folder, at, "", unix.MS_BIND, "") != nil {
		return folder
	}
	return at
}

// show makes a file system of the host part of the copy: under an overlay; for reading, if it is plain and takes none; else as an empty folder.
func (c *copier) show(m hostMount) {
	err := c.overlay(m.point, m.point, m.flags)
	if err == nil {
		return
	}
	at := path.Join(mergedRoot, m.point)
	if slices.Contains(plainKinds, m.kind) && unix.Mount(m.point, at, "", unix.MS_BIND, "") == nil {
		flags := m.flags | unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID
		if unix.Mount("", at, "", flags, "") == nil {
			c.made[m.point] = true
			c.shown = append(c.shown, m.point)
			return
		}
		_ = unix.Unmount(at, unix.MNT_DETACH)
	}
	c.hidden = append(c.hidden, fmt.Sprintf("%s (%s: %v)", m.point, m.kind, err))
}

// noOverlay explains why there can be none over /.
func (c *copier) noOverlay(root hostMount, err error) error {
	r := noRights("/proc", "mount an overlay of /", err)
	switch {
	case errors.Is(err, unix.ENODEV):
		r.Why, r.Remedy = "the kernel has no overlay file system", "load the module: modprobe overlay"
	case errors.Is(err, unix.EINVAL) && root.kind == "overlay":
		r.Why += " (/ is an overlay of overlays already, and the kernel allows two of them)"
		r.Remedy = "run it outside of the container"
	case errors.Is(err, unix.EINVAL) && c.Upper != "":
		r.Remedy = "name a folder with --upper that is on ext4, xfs or btrfs, or leave it away"
	case c.UserNS && errors.Is(err, unix.EPERM):
		r.Why += " (before Linux 5.11 a user namespace may not mount overlays)"
		r.Remedy = "run it as root"
	}
	return r
}

// finish puts into the copy what no overlay brings: mount points, and dead sockets in place of those of the host.
func (c *copier) finish() error {
	for _, dir := range ownFolders {
		if err := os.Mkdir(mergedRoot+dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, name := range socketPaths() {
		if slices.ContainsFunc(ownFolders, func(dir string) bool { return within(name, dir) }) {
			continue
		}
		c.deaden(name)
	}
	c.tell()
	return nil
}

// deaden puts a socket that nobody listens on in place of one of the host. There were kernels that led from an overlay to the real one.
func (c *copier) deaden(name string) {
	var st unix.Stat_t
	at := mergedRoot + name
	if unix.Lstat(at, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return
	}
	if resolved, err := filepath.EvalSymlinks(path.Dir(at)); err != nil || !within(resolved, mergedRoot) {
		return
	}
	var above unix.Stat_t
	if unix.Lstat(path.Dir(at), &above) != nil || os.Remove(at) != nil {
		return
	}
	if unix.Mknod(at, unix.S_IFSOCK|st.Mode&0o7777, 0) == nil {
		_ = unix.Chmod(at, st.Mode&0o7777)
		_ = unix.Lchown(at, int(st.Uid), int(st.Gid))
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, path.Dir(at), []unix.Timespec{above.Atim, above.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	c.dead++
}

// singleFiles copies what of single files is mounted over others, as container engines do with /etc/resolv.conf.
func (c *copier) singleFiles(mounts []hostMount) error {
	for _, m := range mounts {
		if !c.UserNS && !isFolder(m.point) {
			_ = copyFile(mergedRoot+m.point, m.point) // else the copy has what lies beneath
		}
	}
	return nil
}

func (c *copier) tell() {
	where := fmt.Sprintf("in memory, at most %s", bytesText(c.Size))
	if c.Upper != "" {
		where = fmt.Sprintf("in %s, at most %s of it", c.Upper, bytesText(c.Size))
	}
	also := ""
	switch n := len(c.layers) - 1; {
	case n == 1:
		also = " and of " + c.layers[1].At
	case n > 1:
		also = fmt.Sprintf(" and of %d folders and file systems below it", n)
	}
	c.fact("files", "overlay of /%s; what is written is kept %s", also, where)
	if len(c.shown) > 0 {
		c.fact("for reading alone", "%s", strings.Join(c.shown, ", "))
	}
	if len(c.hidden) > 0 {
		c.fact("not in the copy", "%s", strings.Join(c.hidden, ", "))
	}
	if c.dead > 0 {
		c.fact("sockets of the host", "%d lead nowhere", c.dead)
	}
	switch {
	case !c.UserNS:
		c.fact("user namespace", "no (root)")
	case onlyOne():
		c.fact("user namespace", "this user is root in the copy, and nobody else exists: what belongs to others, root's files included, belongs to nobody and cannot be changed (Permission denied, Value too large for defined data type), and no script can run as another user")
	default:
		c.fact("user namespace", "this user is root in the copy, with the users of /etc/subuid: the files of root and of others belong to nobody and cannot be changed")
	}
}

// onlyOne reports whether the user namespace has a single user.
func onlyOne() bool {
	f := strings.Fields(readText("/proc/self/uid_map"))
	return len(f) == 3 && f[2] == "1"
}

func bytesText(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
