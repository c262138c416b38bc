package control

import (
	"errors"
	"fmt"
	"strings"
)

// Status is the state of a command as the service keeps it (P-26).
type Status string

// The states of a command. No status in an answer, and an unknown one, mean "carry on".
const (
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Succeeded  Status = "Succeeded"
	Failed     Status = "Failed"
)

// Terminal reports whether the command is at its end.
func (s Status) Terminal() bool { return s == Succeeded || s == Failed }

// HostCommand is a command as received (P-19).
type HostCommand struct {
	ID          string // HostCommandIdentifier: what acknowledgement and completion name
	HostID      string // whom the service believes to be talking to
	ExecutionID string // of which deployment: what Spec wants
	Name        string // the lifecycle event
}

// Check reports whether the command is one for this host: its host identifier is the agent's own, or the last part of that
// ARN, and it says what to do. The reference takes any substring, the empty one included (P-41); this is X-12.
func (c *HostCommand) Check(hostID string) error {
	switch {
	case c.ID == "":
		return errors.New("command without an identifier: it can be neither carried out nor answered")
	case c.HostID == "":
		return fmt.Errorf("command %s names no host", c.ID)
	case !sameHost(c.HostID, hostID):
		return fmt.Errorf("command %s is for host %q, and this is %q", c.ID, c.HostID, hostID)
	case c.Name == "":
		return fmt.Errorf("command %s has no name", c.ID)
	case c.ExecutionID == "":
		return fmt.Errorf("command %s names no deployment", c.ID)
	}
	return nil
}

// sameHost compares a host identifier from outside with the own one.
func sameHost(theirs, own string) bool {
	if theirs == own {
		return true
	}
	// arn:partition:service:region:account:resource, where resource is instance/i-…, user/name or assumed-role/role/session.
	f := strings.SplitN(own, ":", 6)
	if len(f) != 6 || f[0] != "arn" {
		return false
	}
	resource := f[5]
	return theirs == resource || theirs == resource[strings.LastIndexByte(resource, '/')+1:]
}
