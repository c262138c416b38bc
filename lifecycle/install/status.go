package install

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// status is what a directory has besides its contents.
type status struct {
	Mode   uint32 `json:"mode"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Access []byte `json:"acl,omitempty"`
	Dflt   []byte `json:"default,omitempty"`
	Label  []byte `json:"label,omitempty"` // nil: left alone
}

func (s *status) equal(o *status) bool {
	return s.Mode == o.Mode && s.UID == o.UID && s.GID == o.GID && bytes.Equal(s.Access, o.Access) && bytes.Equal(s.Dflt, o.Dflt) && bytes.Equal(s.Label, o.Label)
}

func readStatus(fd int) (status, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return status{}, err
	}
	s := status{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	var err error
	if s.Access, err = getACL(fd, aclAccess); err != nil {
		return s, err
	}
	s.Dflt, err = getACL(fd, aclDefault)
	return s, err
}

// apply makes a directory have the status. Mode comes last: a change of owner may take bits off it, and with a list its
// group bits are the list's mask.
func (s *status) apply(fd int) error {
	if err := unix.Fchown(fd, int(s.UID), int(s.GID)); err != nil {
		return fmt.Errorf("change the owner: %w", err)
	}
	if err := setACL(fd, aclAccess, s.Access); err != nil {
		return aclErr(err)
	}
	if err := setACL(fd, aclDefault, s.Dflt); err != nil {
		return aclErr(err)
	}
	if s.Label != nil {
		if err := unix.Fsetxattr(fd, labelAttr, s.Label, 0); err != nil {
			return fmt.Errorf("set the SELinux context: %w", err)
		}
	}
	if err := unix.Fchmod(fd, s.Mode); err != nil {
		return fmt.Errorf("change the mode: %w", err)
	}
	return nil
}

// given gives the status of a directory after the entry has been applied to it.
func (m *permission) given(s status) status {
	a := m.on(attrs{s.Mode, s.UID, s.GID}, true)
	s.Mode, s.UID, s.GID = a.mode, a.uid, a.gid
	if m.aclSet {
		access, dflt := completeACL(m.acl, s.Mode)
		s.Mode = groupBits(access, s.Mode)
		s.Access, s.Dflt = encodeACL(access), encodeACL(dflt)
		if len(access) == 3 { // the mode says it all, and the kernel keeps no list
			s.Access = nil
		}
	}
	if m.context != nil {
		s.Label = []byte(labelText(m.context))
	}
	return s
}

// applyTo gives a staged file its owner, mode, list and label, in this order.
func (m *permission) applyTo(fd int, mode uint32, labelled bool) error {
	if m.aclSet {
		access, _ := completeACL(m.acl, mode)
		if err := setACL(fd, aclAccess, encodeACL(access)); err != nil {
			return fmt.Errorf("set the access control list: %w", aclErr(err))
		}
	}
	if labelled {
		return setLabel(fd, m)
	}
	return nil
}

// notPermitted reports that the kernel does not let us, or the file system cannot, do a thing that the official agent tries
// and does without (I-39).
func notPermitted(err error) bool { return errors.Is(err, unix.EPERM) || unsupported(err) }
