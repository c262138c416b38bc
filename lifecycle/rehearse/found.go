package rehearse

import "slipway/lifecycle"

// CountMax is how many paths of a removed directory are counted. A Fold that is larger says "more than that".
const CountMax = 10_000

// found is a path that is not what it was.
type found struct {
	path  string
	kind  kind
	mode  uint32 // what it is now, or was if it is removed
	what  aspects
	by    uint16 // index into Scanner.made
	layer uint8
	// scripted says that a script had to do with it, last or before.
	scripted bool
	fold     int // paths below it that it stands for
}

type kind uint8

const (
	added kind = iota
	changed
	removed
)

func (k kind) String() string {
	return [...]string{lifecycle.FileAdded, lifecycle.FileChanged, lifecycle.FileRemoved}[k]
}

// aspects say in what a path has changed. Times are none of them: see Ignored.
type aspects uint8

const (
	byType aspects = 1 << iota
	byContent
	byLink
	byMode
	byOwner
	byACL
	byXattr
)

var aspectNames = [...]string{"type", "content", "link", "mode", "owner", "acl", "xattr"}

func (a aspects) names() (list []string) {
	for i, name := range aspectNames {
		if a&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// Ignored names what is not a change: what two runs of the same deployment may differ in without doing anything different.
var Ignored = []string{
	"times of access, change and modification",
	"inode and link numbers, and whether names are hard links of one file",
	"holes of sparse files",
	"an SELinux context or IMA/EVM value that only one side has",
	"a file that was written anew and is equal to what it was",
}
