package appspec

import "strings"

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

// aclTypes are the spellings of a type, aclSelf those that may stand in the place of the name.
var (
	aclTypes = map[string]string{
		"u": "user", "user": "user", "g": "group", "group": "group", "m": "mask", "mask": "mask", "o": "other", "other": "other",
	}
	aclSelf = map[string]string{"m": "mask", "mask": "mask", "o": "other", "other": "other"}
)

// parseACL reads one entry (A-36..A-38). why is empty, or says what is wrong with the entry.
func parseACL(entry string) (e ACLEntry, why string) {
	fields := strings.Split(entry, ":")
	n := len(fields)
	if n < 2 || n > 4 {
		return e, "has to have two to four fields"
	}
	isDefault := func(field string) bool { return field == "d" || field == "default" }
	if n == 4 {
		if !isDefault(fields[0]) {
			return e, "has four fields, and the first is not default"
		}
		e.IsDefault = true
	}
	if n >= 3 {
		field := fields[n-3]
		switch {
		case isDefault(field) && e.IsDefault:
			return e, "says default twice"
		case isDefault(field):
			e.IsDefault = true
		case aclTypes[field] == "":
			return e, "has an unknown type " + shown(field)
		default:
			e.Type = aclTypes[field]
		}
	}
	e.Name = fields[n-2]
	if self, ok := aclSelf[e.Name]; ok {
		e.Name = self // a user named m is read as one named mask
		if e.Type == "" {
			e.Type, e.Name = self, ""
		}
	}
	if e.Type == "" {
		e.Type = "user"
	}
	switch {
	case e.Name != "" && (e.Type == "mask" || e.Type == "other"):
		return e, "has a name, which " + e.Type + " cannot have"
	case e.Name == "" && !e.IsDefault && e.Type != "mask":
		return e, "is for the owner, the group or others, which mode sets"
	}
	e.Perm, why = parsePerm(fields[n-1])
	return e, why
}

// parsePerm reads one octal digit, or any mix of r, w, x and -.
func parsePerm(s string) (perm, why string) {
	bits := []byte("---")
	if len(s) == 1 && s[0] >= '0' && s[0] <= '7' {
		for i, bit := range []byte{4, 2, 1} {
			if (s[0]-'0')&bit != 0 {
				bits[i] = "rwx"[i]
			}
		}
		return string(bits), ""
	}
	for _, r := range s {
		i := strings.IndexRune("rwx", r)
		switch {
		case i >= 0:
			bits[i] = "rwx"[i]
		case r != '-':
			return "", "has the permission " + shown(string(r)) + "; there are r, w, x and -, or one digit 0 to 7"
		}
	}
	return string(bits), ""
}
