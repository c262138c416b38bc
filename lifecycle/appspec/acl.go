package appspec

// ACLEntry is one entry of an access control list.
type ACLEntry struct {
	// IsDefault marks an entry of a directory's default list.
	IsDefault bool
	// Type is "user", "group", "mask" or "other".
	Type string
	// Name is the user or group; empty for mask, other, and a default entry of the owner or group itself.
	Name string
	// Perm is three characters, such as "r-x".
	Perm string
}

// String is the canonical text: [default:]type:name:perm, as setfacl and the install plan take it.
func (e ACLEntry) String() string {
	s := e.Type + ":" + e.Name + ":" + e.Perm
	if e.IsDefault {
		return "default:" + s
	}
	return s
}
