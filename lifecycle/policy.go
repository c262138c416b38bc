package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"slipway/lifecycle/appspec"
)

// Policy says what of an appspec is refused although the official agent's first generation takes it. The same of a bundle is in
// bundle.Limits.
type Policy struct {
	RejectSetID      bool // modes with a set-id bit (V-107, reject_unsafe_permissions_in_bundle)
	RejectUnconfined bool // SELinux types that confine nothing (V-108, reject_unconfined_selinux_in_bundle)
}

// unconfined are the types of V-108.
var unconfined = []string{"unconfined_t", "kernel_t", "init_t"}

// errPolicy says that a revision has what the configuration of this host refuses.
var errPolicy = errors.New("this host refuses it")

// allows is an error for the first permission that the policy refuses.
func (p Policy) allows(spec *appspec.Spec) error {
	const setID = 0o6000
	for _, perm := range spec.Permissions {
		at := fmt.Sprintf("%s:%d:%d", spec.Name, perm.Pos.Line, perm.Pos.Col)
		mode, err := strconv.ParseUint(perm.Mode, 8, 32)
		if p.RejectSetID && perm.ModeSet && err == nil && mode&setID != 0 {
			return fmt.Errorf("%s: mode %s of %s has a set-id bit, and %w (reject_unsafe_permissions_in_bundle)", at, perm.Mode, perm.Object, errPolicy)
		}
		if p.RejectUnconfined && perm.Context != nil && slices.Contains(unconfined, perm.Context.Type) {
			return fmt.Errorf("%s: the SELinux type %s of %s confines nothing, and %w (reject_unconfined_selinux_in_bundle)", at, perm.Context.Type, perm.Object, errPolicy)
		}
	}
	return nil
}
