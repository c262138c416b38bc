package install

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/lifecycle/appspec"
)

// An access control list is written as the kernel's extended attribute: a version, then entries of tag, permissions and
// id, sorted by tag. No setfacl is needed, and a list costs a system call instead of a process.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	aclVersion = 2
)

// The tags, in the order in which the kernel wants them.
const (
	tagUserObj  uint16 = 0x01
	tagUser     uint16 = 0x02
	tagGroupObj uint16 = 0x04
	tagGroup    uint16 = 0x08
	tagMask     uint16 = 0x10
	tagOther    uint16 = 0x20
)

// aclEntry is one entry with its name looked up; id is noID for those without a name.
type aclEntry struct {
	tag  uint16
	perm uint16
	id   uint32
	dflt bool
}

func aclTag(e appspec.ACLEntry) uint16 {
	switch {
	case e.Type == "mask":
		return tagMask
	case e.Type == "other":
		return tagOther
	case e.Type == "group" && e.Name == "":
		return tagGroupObj
	case e.Type == "group":
		return tagGroup
	case e.Name == "":
		return tagUserObj
	}
	return tagUser
}

func aclPerm(text string) (perm uint16) {
	for _, c := range text {
		switch c {
		case 'r':
			perm |= 4
		case 'w':
			perm |= 2
		case 'x':
			perm |= 1
		}
	}
	return perm
}

// completeACL adds to the entries of the appspec what a list must have, from the mode of the path it is for (I-50, each
// path by itself: X-47).
func completeACL(given []aclEntry, mode uint32) (access, dflt []aclEntry) {
	var named, hasMask, dfltNamed bool
	for _, e := range given {
		named = named || !e.dflt && e.id != noID
		hasMask = hasMask || !e.dflt && e.tag == tagMask
		dfltNamed = dfltNamed || e.dflt && e.id != noID
		if e.dflt {
			dflt = putACL(dflt, e)
		} else {
			access = putACL(access, e)
		}
	}
	bits := map[uint16]uint16{tagUserObj: uint16(mode >> 6 & 7), tagGroupObj: uint16(mode >> 3 & 7), tagOther: uint16(mode & 7)}
	for tag, perm := range bits {
		access = putACL(access, aclEntry{tag: tag, perm: perm, id: noID})
		if len(dflt) > 0 && !slices.ContainsFunc(dflt, func(e aclEntry) bool { return e.tag == tag }) {
			dflt = append(dflt, aclEntry{tag: tag, perm: perm, id: noID})
		}
	}
	if named && !hasMask {
		access = append(access, aclEntry{tag: tagMask, perm: bits[tagGroupObj], id: noID})
	}
	if i := slices.IndexFunc(dflt, func(e aclEntry) bool { return e.tag == tagGroupObj }); dfltNamed && !slices.ContainsFunc(dflt, func(e aclEntry) bool { return e.tag == tagMask }) {
		dflt = append(dflt, aclEntry{tag: tagMask, perm: dflt[i].perm, id: noID})
	}
	return access, dflt
}

// putACL adds an entry, in place of one for the same user, group or class.
func putACL(list []aclEntry, e aclEntry) []aclEntry {
	e.dflt = false
	if i := slices.IndexFunc(list, func(o aclEntry) bool { return o.tag == e.tag && o.id == e.id }); i >= 0 {
		list[i] = e
		return list
	}
	return append(list, e)
}

// encodeACL gives the attribute's value; nil for no list.
func encodeACL(list []aclEntry) []byte {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b aclEntry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// groupBits is what a list makes of the group bits of a mode: they show the mask, if there is one.
func groupBits(access []aclEntry, mode uint32) uint32 {
	for _, e := range access {
		if e.tag == tagMask {
			return mode&^0o070 | uint32(e.perm)<<3
		}
	}
	return mode
}

// getACL reads a list; nil if there is none or the file system knows none.
func getACL(fd int, name string) ([]byte, error) {
	buf := make([]byte, 512)
	for {
		n, err := unix.Fgetxattr(fd, name, buf)
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ENODATA), unsupported(err):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
		default:
			return nil, err
		}
	}
}

// setACL writes a list, or takes it away.
func setACL(fd int, name string, value []byte) error {
	if value != nil {
		return unix.Fsetxattr(fd, name, value, 0)
	}
	if err := unix.Fremovexattr(fd, name); err != nil && !errors.Is(err, unix.ENODATA) && !unsupported(err) {
		return err
	}
	return nil
}

// aclErr says what to do about a file system without lists.
func aclErr(err error) error {
	if unsupported(err) {
		return errors.New("the file system has no access control lists: mount it with acl, or leave acls out of the permissions section")
	}
	return err
}

func labelText(c *appspec.Context) string {
	user, level := c.Name, c.Range
	if user == "" {
		user = "system_u"
	}
	if level == "" {
		level = "s0"
	}
	return strings.Join([]string{user, "object_r", c.Type, level}, ":")
}
