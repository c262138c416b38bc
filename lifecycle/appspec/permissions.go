package appspec

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

func (c *checker) permissions(section *value) {
	if section.isFalse() {
		return
	}
	entries, ok := section.each()
	if !ok {
		c.refuse(permsType, section, fmt.Sprintf("permissions is %s; it has to be a list", describe(section)), "begin each entry with - object:")
		return
	}
	if section.kind == mapping && len(entries) > 0 {
		c.refuse(permsType, section, "permissions is a map; it has to be a list of maps", "write a dash before the first key: - object:")
		return
	}
	for i, entry := range entries {
		c.permission(fmt.Sprintf("permissions[%d]", i), entry)
	}
}

func (c *checker) permission(path string, entry *value) {
	if entry.kind != mapping {
		c.refuse(permType, entry, fmt.Sprintf("an entry of permissions is %s; it has to be a map", describe(entry)), "write - object: and a path on the host")
		return
	}
	object := entry.get("object")
	p := Permission{Pos: entry.pos(), ObjectPos: given(object)}
	if !object.isNull() {
		p.Object = trim(object.String())
	}
	if p.Object == "" {
		c.missing(noObject, object, entry, "object", "an entry of permissions has no object", "write object: and a path on the host")
		return
	}
	if c.spec.OS == "windows" {
		c.refuse(notOnWindows, entry, "permissions are not for Windows hosts", "remove the section")
		return
	}
	c.unknown(path, entry, permissionKeys)
	pattern, owner, group := entry.get("pattern"), entry.get("owner"), entry.get("group")
	p.Pattern, p.PatternPos = "**", given(pattern)
	if !pattern.isFalse() {
		p.Pattern = pattern.String()
	}
	excepts := c.except(&p, entry.get("except"))
	c.types(&p, entry.get("type"))
	p.Owner, p.OwnerPos, p.Group, p.GroupPos = owner.orEmpty(), given(owner), group.orEmpty(), given(group)
	c.mode(&p, entry.get("mode"))
	c.acls(&p, entry.get("acls"))
	contexts := c.context(path, &p, entry.get("context"))
	wanted := []named{{name: "owner", value: owner}, {name: "group", value: group}}
	if !pattern.isFalse() {
		wanted = append(wanted, named{name: "pattern", value: pattern})
	}
	p.Defect = c.wantText(slices.Concat(wanted, excepts, contexts)...)
	for _, n := range wanted[:2] {
		if p.Defect == nil && n.value.isText() && n.value.text == "" {
			p.Defect = c.defect(n.value, n.name+" is empty, and nobody has this name", "write a name, or remove the key")
		}
	}
	c.spec.Permissions = append(c.spec.Permissions, p)
}

func (v *value) orEmpty() string {
	if v.isNull() {
		return ""
	}
	return v.String()
}

// except reads a list of patterns and gives its members, which have to be text by the time they are matched.
func (c *checker) except(p *Permission, v *value) (members []named) {
	p.ExceptPos = given(v)
	if v.isFalse() {
		return nil
	}
	items, ok := v.each()
	if !ok {
		c.refuse(exceptType, v, fmt.Sprintf("except is %s; it has to be a list", describe(v)), "write it in brackets: except: ["+clip(v.String(), 60)+"]")
		return nil
	}
	for _, item := range items {
		p.Except = append(p.Except, item.String())
		members = append(members, named{"a member of except", item, true})
	}
	return members
}

func (c *checker) types(p *Permission, v *value) {
	p.TypesPos = given(v)
	if v.isFalse() {
		p.Types = []string{"file", "directory"}
		return
	}
	items, ok := v.each()
	if !ok {
		c.refuse(typesType, v, fmt.Sprintf("type is %s; it has to be a list", describe(v)), "write type: [file], type: [directory] or both")
		return
	}
	p.Types = make([]string, 0, len(items))
	for _, item := range items {
		if !item.isText() || item.text != "file" && item.text != "directory" {
			c.refuse(badType, item, fmt.Sprintf("type holds %s", describe(item)), oneOf([]string{"file", "directory"}, item))
			continue
		}
		p.Types = append(p.Types, item.text)
	}
}

// mode reads octal digits. A plain number with a leading zero is the octal number that it looks like, where the reference
// takes 0644 for 420 and refuses 0755.
func (c *checker) mode(p *Permission, v *value) {
	p.ModePos = given(v)
	if v.isNull() {
		return
	}
	mode := v.String()
	if digits, ok := leadingZero(v); ok && digits[0] != '-' {
		mode = strings.TrimLeft(digits, "0")
	}
	if n := utf8.RuneCountInString(mode); n < 3 {
		mode = strings.Repeat("0", 3-n) + mode
	}
	switch {
	case utf8.RuneCountInString(mode) > 4:
		c.refuse(badMode, v, fmt.Sprintf("mode is %s; it has to be at most four octal digits", describe(v)), "write octal digits in quotes, such as '0644'")
	case strings.Trim(mode, "01234567") != "":
		c.refuse(badMode, v, fmt.Sprintf("mode is %s; a mode has the digits 0 to 7 only", describe(v)), "write octal digits in quotes, such as '0644'")
	default:
		p.Mode, p.ModeSet = mode, true
	}
}

func (c *checker) acls(p *Permission, v *value) {
	p.ACLsPos = given(v)
	if v.isNull() {
		return
	}
	items, ok := v.each()
	if !ok {
		c.refuse(aclsType, v, fmt.Sprintf("acls is %s; it has to be a list", describe(v)), "write a dash before each entry, as in - bob:rw")
		return
	}
	p.ACLsSet = true
	for _, item := range items {
		if !item.isText() {
			c.refuse(aclsType, item, fmt.Sprintf("an ACL entry is %s; it has to be text", describe(item)), `put it in quotes, as in "bob:rw"`)
			continue
		}
		entry, why := parseACL(item.text)
		if why != "" {
			c.refuse(badACL, item, fmt.Sprintf("the ACL entry %s %s", shown(item.text), why), "write [default:][user|group|mask|other:][name]:permissions")
			continue
		}
		p.ACLs = append(p.ACLs, entry)
	}
}

func (c *checker) context(path string, p *Permission, v *value) (members []named) {
	p.ContextPos = given(v)
	if v.isNull() {
		return nil
	}
	typ, ok := v.at("type")
	if !ok {
		c.refuse(contextType, v, fmt.Sprintf("context is %s; it has to be a map", describe(v)), "write name:, type: and range: below it")
		return nil
	}
	if typ.isNull() {
		c.missing(noContextType, typ, v, "type", "a context has no type", "write type: and an SELinux type, such as httpd_sys_content_t")
		return nil
	}
	c.unknown(path+".context", v, contextKeys)
	name, _ := v.at("name")
	ranged, _ := v.at("range")
	p.Context = &Context{Name: name.orEmpty(), Type: typ.String(), Pos: v.pos()}
	members = []named{{name: "type", value: typ}, {name: "name", value: name}}
	if ranged.isNull() {
		return members
	}
	if !ranged.isText() {
		c.refuse(rangeType, ranged, fmt.Sprintf("range is %s; it has to be text", describe(ranged)), "write it in quotes, such as \"s0:c0.c3\"")
		return members
	}
	normal, why := normalRange(ranged.text)
	if why != "" {
		c.refuse(badRange, ranged, fmt.Sprintf("the range %s %s", shown(ranged.text), why), "write s<n>[-s<n>][:<categories>], such as s0-s3:c0.c3")
	}
	p.Context.Range = normal
	return members
}
