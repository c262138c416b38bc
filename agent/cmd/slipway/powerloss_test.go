package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system in an image whose content can be had as it is at one instant: what a disk would hold if the power went. The image
// lies on a btrfs, which copies it by reference in one step, between two writes of the file system in it.
type disk struct {
	t                    *testing.T
	outer, image, folder string
	options              string // of a mount
	n                    int
}

// newDisk makes one of a kind that mkfs knows, mounted at a folder.
func newDisk(t *testing.T, kind string) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts file systems")
	}
	for _, name := range []string{"mkfs.btrfs", "mkfs." + kind} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s", name)
		}
	}
	base := memoryDir(t)
	d := &disk{t: t, outer: filepath.Join(base, "outer"), folder: filepath.Join(base, "disk"), options: "loop"}
	if kind == "xfs" {
		// Every image has the same identity, and the one before may still be mounted in the mount namespace of another test's host, which
		// has a copy of all that was mounted when it was made.
		d.options += ",nouuid"
	}
	d.image = filepath.Join(d.outer, "image")
	below := filepath.Join(base, "btrfs")
	for _, dir := range []string{d.outer, d.folder} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.run("truncate", "-s", "4G", below)
	d.run("mkfs.btrfs", "-q", below)
	if out, err := exec.Command("mount", "-o", "loop", below, d.outer).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount a btrfs through a loop device: %v: %s", err, out)
	}
	t.Cleanup(func() { d.release(d.outer) })
	d.run("truncate", "-s", "512M", d.image)
	d.run("mkfs."+kind, "-q", d.image)
	d.mount(d.image)
	t.Cleanup(d.unmount)
	return d
}

func (d *disk) run(args ...string) {
	d.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func (d *disk) mount(image string) {
	d.t.Helper()
	d.patiently("mount", "-o", d.options, image, d.folder)
}

func (d *disk) unmount() { d.t.Helper(); d.release(d.folder) }

// release unmounts a folder and what is below it.
func (d *disk) release(folder string) { d.t.Helper(); d.patiently("umount", folder) }

// patiently runs a command until it succeeds: a process that has just been killed may keep the folder busy for a moment.
func (d *disk) patiently(args ...string) {
	d.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// sync puts all on the disk.
func (d *disk) sync() {
	d.t.Helper()
	f, err := os.Open(d.folder)
	if err == nil {
		defer f.Close()
		err = unix.Syncfs(int(f.Fd()))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// freeze keeps the disk as it is now, and returns the name of that image.
func (d *disk) freeze() string {
	d.t.Helper()
	d.n++
	name := fmt.Sprintf("%s-%d", d.image, d.n)
	from, err := os.Open(d.image)
	if err != nil {
		d.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(name)
	if err != nil {
		d.t.Fatal(err)
	}
	defer to.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		d.t.Fatalf("keep the disk as it is: %v", err)
	}
	return name
}

// cut is an instant at which the power goes.
type cut struct {
	image    string
	reported bool // the end of Install had been reported before
}

// TestPowerLoss lets the power go at random instants of a deployment: what the disk holds then is mounted, and the agent started on it.
func TestPowerLoss(t *testing.T) {
	aside(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			d := newDisk(t, kind)
			r := newRounds(t, d.folder)
			d.sync()
			for cuts := times(t, "CRASH_CUTS", 5); cuts > 0; {
				cuts -= r.powerLosses(d, cuts)
				if r.exceptions() > 5 {
					t.Fatal("and so on")
				}
			}
			r.kill()
			for _, phase := range append(order, reported) {
				if c := r.table[phase]; c != nil {
					tell(t, "power", kind, phase, c.kills, c.old, c.new, c.exceptions)
				}
			}
		})
	}
}

// reported is the phase after the report of an installation's end.
const reported = "reported"

// powerLosses is one deployment, the disk at some instants of it, and what becomes of each. It returns their number.
func (r *rounds) powerLosses(d *disk, most int) int {
	r.t.Helper()
	next := map[string]string{"v1": "v2", "v2": "v1"}[r.now]
	before := treeOf(r.t, r.site)
	going := r.create(next)
	var cuts []cut
	freeze := func() { cuts = append(cuts, cut{d.freeze(), isClosed(going.installed)}) }
	r.pause(30 * time.Millisecond)
	freeze() // in most cases during DownloadBundle
	for _, phase := range []string{phaseStaging, phaseCommitted, phaseTidying} {
		r.within(going, phase)
		freeze()
	}
	<-going.installed
	freeze()
	r.end(going)
	r.stop()
	if most < len(cuts) {
		cuts = cuts[len(cuts)-most:]
	}
	for _, c := range cuts {
		d.unmount()
		d.mount(c.image)
		r.powerBack(c, going.id, next, before)
		r.stop()
		d.unmount()
		r.must(os.Remove(c.image))
		d.mount(d.image)
	}
	r.start()
	r.now = next
	return len(cuts)
}

func (r *rounds) pause(most time.Duration) {
	timer := time.NewTimer(time.Duration(r.rng.Float64() * float64(most)))
	defer timer.Stop()
	<-timer.C
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// powerBack starts the agent on what was left: alone first, then with the service, and brings the old revision again.
func (r *rounds) powerBack(at cut, id, next string, before map[string]node) {
	r.t.Helper()
	phase := r.phase(id)
	if at.reported {
		phase = reported
	}
	if r.table[phase] == nil {
		r.table[phase] = new(counts)
	}
	c := r.table[phase]
	c.kills++
	exception := func(err error) {
		if err != nil {
			c.exceptions++
			r.t.Errorf("power loss in a deployment of %s over %s, %s: %v", next, r.now, phase, err)
		}
	}
	r.offline()
	which, err := oldOrNew(before, r.trees[next], treeOf(r.t, r.site))
	exception(err)
	switch which {
	case "old":
		c.old++
	case "new":
		c.new++
	}
	if at.reported && which == "old" {
		exception(fmt.Errorf("Install had been reported, and the tree is the old one"))
	}
	if left := r.leftovers(); len(left) > 0 {
		exception(fmt.Errorf("left after recovery: %v", left))
	}
	r.output = syncBuffer{}
	r.start()
	r.bring(r.now)
	if which, err := oldOrNew(nil, r.trees[r.now], treeOf(r.t, r.site)); err != nil || which != "new" {
		exception(fmt.Errorf("the next deployment succeeds, and %w", err))
	}
	for line := range strings.Lines(r.output.String()) {
		if strings.Contains(line, "ticket set aside") || strings.Contains(line, "neither be finished nor undone") {
			exception(fmt.Errorf("the agent says %s", line))
		}
	}
}
