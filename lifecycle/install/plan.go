package install

import (
	"cmp"
	"fmt"
	"iter"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says what an Op does.
type Kind uint8

// The kinds, in the order in which a plan has them: first what is made, then permissions, then what goes.
const (
	MakeDir     Kind = iota + 1 // a directory is made
	ResetDir                    // a directory of the previous revision stays and gets back the mode and owner of a new one
	AddFile                     // a file is added
	ReplaceFile                 // a file takes the place of what is there
	AddLink                     // a symbolic link is added
	ReplaceLink                 // a symbolic link takes the place of what is there
	Unchanged                   // a file of ours is there already, equal in all respects
	Keep                        // what is there stays and is not ours: RETAIN, or equal in type and content
	Chown                       // owner or group is set
	Chmod                       // mode is set
	SetACL                      // the access control list is set
	SetContext                  // the SELinux context is set
	RemoveFile                  // a file or link of the previous revision goes
	RemoveDir                   // a directory of the previous revision goes, if it is then empty
	Adopt                       // what is there becomes the group's
	KeepAside                   // what is replaced or removed was changed on this host, and is kept aside
)

var kindNames = [...]string{
	MakeDir: "mkdir", ResetDir: "reset", AddFile: "add", ReplaceFile: "replace", AddLink: "link", ReplaceLink: "relink",
	Unchanged: "same", Keep: "keep", Chown: "chown", Chmod: "chmod", SetACL: "setfacl", SetContext: "semanage", RemoveFile: "remove", RemoveDir: "rmdir", Adopt: "adopt", KeepAside: "aside",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Op is one step of a plan as a person reads it.
type Op struct {
	Kind   Kind
	Path   string // absolute, as the appspec names it
	Source string // absolute path in the unpacked bundle, for files and links
	Detail string // link text, mode, owner:group, list or context
	Bytes  int64  // size of a file that is written
}

func (o Op) String() string {
	s := fmt.Sprintf("%-8s %s", o.Kind, o.Path)
	if o.Detail != "" {
		s += " " + o.Detail
	}
	return s
}

// dirID and the other indexes keep an op small: a plan of 200,000 files has to fit into some tens of megabytes.
type dirID int32

// action is what becomes of the target of a file op.
type action uint8

const (
	actAdd     action = iota // nothing is there
	actReplace               // something is there that goes
	actSame                  // our own file is there and equal: nothing to do
	actAdopt                 // what is there becomes ours
)

// file is one file or link to install.
type file struct {
	name     string // last part of source and target alike (I-25, I-27)
	size     int64
	mtime    int64  // nanoseconds since the epoch
	ino      uint64 // of the staged file
	was      int64  // if ours: the time of the file or link that is there
	src      int32  // index into Plan.sources
	dir      dirID
	perm     int32 // index into Plan.perms plus one; 0: none
	mode     uint32
	uid, gid uint32
	act      action
	ours     bool // a previous revision's cleanup file names the target
	maybe    bool // and what is there may be equal: size and time are
	other    bool // what stands at the target is certainly not equal: its type or size is another
	overDir  bool // what stands at the target is a directory of the previous revision
}

func (f *file) link() bool { return f.mode&unix.S_IFMT == unix.S_IFLNK }

// removal is one path of the previous revision that goes and that nothing of the new one takes the place of.
type removal struct {
	name string
	ino  uint64
	was  int64 // the time of a file or link
	dir  dirID
	sub  bool // a directory
}

// Plan is an installation that can be shown, encoded and applied. It is made by Make and not changed after that.
type Plan struct {
	req      Request
	behavior Behavior
	tx       string // names the transaction that carries it out

	dirs     []dir
	sources  []string // source directories relative to the archive; "." is its root
	files    []file
	links    map[int32]string // texts of the links among files, by index
	order    []int32          // execution order (I-38): an index into files, or ^ of one into dirs
	perms    []permission
	permsOf  [][]int32 // for each of perms what it selects, in execution order, coded as in order
	removals []removal // in the order of I-41
	labels   []string  // paths whose SELinux rule goes with the previous revision
	selinux  bool      // the host has it
	kept     []string
	modified []Modified
	leftOut  []Conflict
	lists    fileLists
	basis    listIdentity     // the cleanup file that the plan goes by
	replaces bool             // the previous revision is removed first
	removes  bool             // this is that removal
	forgoes  bool             // nothing is kept aside: there is no room for it
	aside    map[key]struct{} // where those stand that are kept aside
	previous string           // the deployment that had installed what goes

	spaces   []Space
	bytes    int64
	warnings []string

	probe func(point string) error // a test's way to stop the transaction at any point
	moves moves
}

// Ops yields the whole plan in execution order.
func (p *Plan) Ops() iter.Seq[Op] {
	return func(yield func(Op) bool) {
		_ = p.eachMade(yield) && p.eachKept(yield) && p.eachPermission(yield) && p.eachRemoval(yield) && p.eachModified(yield)
	}
}

func (p *Plan) eachMade(yield func(Op) bool) bool {
	for _, i := range p.order {
		var op Op
		switch {
		case p.req.Adopt:
			op = Op{Kind: Adopt, Path: p.path(i)}
		case i < 0:
			op = Op{Kind: MakeDir, Path: p.dirs[^i].shown}
			if p.dirs[^i].live() {
				op.Kind = ResetDir
			}
		default:
			f := &p.files[i]
			op = Op{Path: p.target(i), Source: p.source(i), Detail: p.links[i]}
			switch {
			case f.act == actSame:
				op.Kind = Unchanged
			case f.link() && f.act == actReplace:
				op.Kind = ReplaceLink
			case f.link():
				op.Kind = AddLink
			case f.act == actReplace:
				op.Kind, op.Bytes = ReplaceFile, f.size
			default:
				op.Kind, op.Bytes = AddFile, f.size
			}
		}
		if !yield(op) {
			return false
		}
	}
	return true
}

func (p *Plan) eachKept(yield func(Op) bool) bool {
	for _, path := range p.kept {
		if !yield(Op{Kind: Keep, Path: path}) {
			return false
		}
	}
	return true
}

func (p *Plan) eachPermission(yield func(Op) bool) bool {
	for n := range p.perms {
		if p.req.Adopt {
			break // they are part of what the next installation does
		}
		for _, i := range p.permsOf[n] {
			for op := range p.perms[n].ops(p.path(i), i >= 0 && p.files[i].link()) {
				if !yield(op) {
					return false
				}
			}
		}
	}
	return true
}

func (p *Plan) eachRemoval(yield func(Op) bool) bool {
	for i := range p.removals {
		r := &p.removals[i]
		op := Op{Kind: RemoveFile, Path: join(p.dirs[r.dir].shown, r.name)}
		if r.sub {
			op.Kind = RemoveDir
		}
		if !yield(op) {
			return false
		}
	}
	return true
}

// target is the path of a file op as the appspec names it.
func (p *Plan) target(i int32) string { return join(p.dirs[p.files[i].dir].shown, p.files[i].name) }

// source is the path in the unpacked bundle that a file op copies.
func (p *Plan) source(i int32) string {
	return join(join(p.req.Archive, p.sources[p.files[i].src]), p.files[i].name)
}

// path is the target of an op coded as in Plan.order.
func (p *Plan) path(i int32) string {
	if i < 0 {
		return p.dirs[^i].shown
	}
	return p.target(i)
}

// Counts says how much a plan does.
type Counts struct {
	Directories int // made
	Files       int // written
	Links       int // written
	Replaced    int // of Files and Links, how many take the place of something
	Unchanged   int
	Kept        int // found and left alone
	Adopted     int // files, links and directories that become the group's
	Removed     int // files, links and directories of the previous revision that go
	Bytes       int64
}

// Counts counts the plan's ops.
func (p *Plan) Counts() Counts {
	c := Counts{Kept: len(p.kept), Removed: len(p.removals), Bytes: p.bytes}
	for _, i := range p.order {
		if p.req.Adopt {
			c.Adopted++
			continue
		}
		if i < 0 {
			if !p.dirs[^i].live() {
				c.Directories++
			}
			continue
		}
		f := &p.files[i]
		switch {
		case f.act == actSame:
			c.Unchanged++
			continue
		case f.link():
			c.Links++
		default:
			c.Files++
		}
		if f.act == actReplace {
			c.Replaced++
		}
	}
	return c
}

// Warnings are what the deployer should know although the installation goes on, in order.
func (p *Plan) Warnings() []string { return p.warnings }

// Spaces says what the plan needs on each file system and what is free there.
func (p *Plan) Spaces() []Space { return p.spaces }

// Summary says in one line what the plan does.
func (p *Plan) Summary() string {
	c := p.Counts()
	parts := []string{fmt.Sprintf("%d file%s (%s)", c.Files, plural(c.Files), bytesText(c.Bytes))}
	for _, e := range []struct {
		n         int
		one, many string
	}{
		{c.Links, "link", "links"},
		{c.Directories, "directory made", "directories made"},
		{c.Replaced, "replaced", ""},
		{c.Unchanged, "unchanged", ""},
		{c.Kept, "kept as found", ""},
		{c.Adopted, "adopted", ""},
		{len(p.leftOut), "left out", ""},
		{c.Removed, "removed", ""},
		{len(p.aside), "changed on this host and kept aside", ""},
		{len(p.warnings), "warning", "warnings"},
	} {
		if e.n > 1 {
			e.one = cmp.Or(e.many, e.one)
		}
		if e.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", e.n, e.one))
		}
	}
	return strings.Join(parts, ", ")
}

// Manifest says what an applied plan has left on disk.
type Manifest struct {
	Group, Deployment string
	Transaction       string // names the journal, and the hidden files while there were any
	Counts            Counts
	Took              time.Duration
	Aside             string   // the folder in which files are kept that were changed on this host; empty if there are none
	Warnings          []string // the plan's, and what could not be tidied up after the installation was complete
}
