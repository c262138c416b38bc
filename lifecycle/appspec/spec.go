package appspec

import (
	"slices"
	"time"
)

// Pos is a place in the appspec file. Lines and columns count from 1; a column counts characters, not bytes. The zero Pos means
// that there is no place to point at: an empty file, a value that is not given or null.
type Pos struct {
	Line, Col int
}

// Spec is a valid appspec file.
type Spec struct {
	// Name is the file's name as given to Parse. It is used only in messages.
	Name string
	// OS is "linux" or "windows". Parse accepts "linux" alone.
	OS    string
	OSPos Pos
	// Files are the entries of the files section in order.
	Files []File
	// Permissions are the entries of the permissions section in order.
	Permissions []Permission
	// FileExistsBehavior is "DISALLOW", "OVERWRITE", "RETAIN", or empty when the file does not say.
	FileExistsBehavior    string
	FileExistsBehaviorPos Pos
	// Hooks are the events in the order of the file. Use Scripts to find those that an event runs.
	Hooks []EventHooks
	// Unknown are the keys that mean nothing where they stand, in the order of the file. They are ignored, not refused.
	Unknown []UnknownKey

	src *source
}

// EventHooks is one event of the hooks section and its scripts.
type EventHooks struct {
	// Name is the event as written. For a key that is not text in YAML 1.1 it is the value as text: "true" for yes.
	Name string
	// Text is false for a key such as yes or 1, which YAML 1.1 reads as a boolean or a number. No lifecycle event has such a
	// name, so its scripts never run.
	Text    bool
	Scripts []Script
	Pos     Pos

	kind kind
}

// Script is one entry of an event (A-18..A-21).
type Script struct {
	// Location is relative to the root of the bundle. It is trimmed and not empty; it may climb out of the bundle by "..", which the
	// reader of the bundle has to refuse.
	Location string
	// Timeout is positive, whole seconds, 3600 s unless given.
	Timeout time.Duration
	// RunAs is the user, trimmed. RunAsSet tells an empty name, which the reference agent hands to su, from none.
	RunAs    string
	RunAsSet bool
	// Sudo is true for anything but false and null, 'false' in quotes and 0 included.
	Sudo bool

	Pos                                        Pos
	LocationPos, TimeoutPos, RunAsPos, SudoPos Pos
}

// File is one entry of the files section.
type File struct {
	// Source is relative to the root of the bundle; empty means the root itself. Destination is a path on the host.
	Source, Destination string
	// Defect is not nil if a value is no text: such an entry is accepted, and fails the Install step.
	Defect error

	Pos                       Pos
	SourcePos, DestinationPos Pos
}

// Permission is one entry of the permissions section (A-27..A-33).
type Permission struct {
	// Object is trimmed and not empty.
	Object string
	// Pattern and Except are in the language of MatchPattern. Pattern is "**" unless given.
	Pattern string
	Except  []string
	// Types holds "file" and "directory", both unless given. An empty list selects nothing.
	Types []string
	// Owner and Group are empty when not given. An empty text that is given is a Defect.
	Owner, Group string
	// Mode is three or four octal digits, kept as text because it is written so into the install plan. ModeSet is false, and Mode
	// empty, when not given.
	Mode    string
	ModeSet bool
	// ACLs are the entries in the order of the file; ACLsSet tells an empty list from none.
	ACLs    []ACLEntry
	ACLsSet bool
	// Context is nil when not given.
	Context *Context
	// Defect is not nil if a value is of a type that the entry cannot be applied with, such as a number for an owner. The
	// entry is accepted; the Install step fails once the entry selects a path.
	Defect error

	Pos                                              Pos
	ObjectPos, PatternPos, ExceptPos, TypesPos       Pos
	OwnerPos, GroupPos, ModePos, ACLsPos, ContextPos Pos
}

// Applies reports whether the entry is for paths of the given type, "file" or "directory".
func (p *Permission) Applies(typ string) bool { return slices.Contains(p.Types, typ) }

// Selects reports whether the pattern matches a name relative to Object, and no except does (I-45). An except never matches a
// name with a slash, not even as "**" (I-46).
func (p *Permission) Selects(name string) bool {
	return MatchPattern(p.Pattern, name) &&
		!slices.ContainsFunc(p.Except, func(except string) bool { return matchName(except, name) })
}

// Context is an SELinux context.
type Context struct {
	// Name is the SELinux user, empty when not given.
	Name string
	// Type is never empty text unless the file says so.
	Type string
	// Range is in normal form, empty when not given.
	Range string
	Pos   Pos
}

// UnknownKey is a key that has no meaning where it stands.
type UnknownKey struct {
	// Path leads to the mapping that holds the key, as in "hooks.AfterInstall[0]"; empty at the top.
	Path string
	Name string
	// Known are the keys that mean something there.
	Known []string
	Pos   Pos
	Len   int
}

// Events are the names of the events that the file has scripts or an empty list for, in order; an event whose value is null is
// not among them. Keys that are not text are left out.
func (s *Spec) Events() []string {
	names := make([]string, 0, len(s.Hooks))
	for _, h := range s.Hooks {
		if h.Text {
			names = append(names, h.Name)
		}
	}
	return names
}

// Scripts are the scripts of one event in order, none for an event that the file does not have.
func (s *Spec) Scripts(event string) []Script {
	for _, h := range s.Hooks {
		if h.Text && h.Name == event {
			return h.Scripts
		}
	}
	return nil
}
