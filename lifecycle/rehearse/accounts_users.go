package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxAccounts is how large a file of accounts may be to be read.
const maxAccounts = 16 << 20

// account is a line of passwd(5) or group(5). Of a line that has too few fields nothing is known.
type account struct {
	name, id string
	rest     [4]string // of a user: group, comment, home, shell; of a group: its members
}

// parseAccounts reads passwd(5), with seven fields a line, or group(5), with four. Lines that are malformed, and those of NIS, are passed over.
// Of two lines with one name the first counts, as it does for the C library.
func parseAccounts(data []byte, fields int) map[string]account {
	all := map[string]account{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != fields || f[0] == "" || strings.ContainsAny(f[0][:1], "+-#") {
			continue
		}
		if _, err := strconv.ParseUint(f[2], 10, 32); err != nil {
			continue
		}
		a := account{name: f[0], id: f[2]}
		copy(a.rest[:], f[3:])
		if _, twice := all[a.name]; !twice {
			all[a.name] = a
		}
	}
	return all
}

// accountNames are the names of the ids of one side.
type accountNames struct{ users, groups map[string]string }

func (n *accountNames) user(id uint32) string  { return named(n.users, id) }
func (n *accountNames) group(id uint32) string { return named(n.groups, id) }

func named(names map[string]string, id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	return cmp.Or(names[number], number)
}

// accounts reads the names of the accounts of one side. What cannot be read has none.
func (s *Scanner) accounts(side int) *accountNames {
	names := func(path string, fields int) map[string]string {
		p := s.find(path)
		if p.layer < 0 {
			return nil
		}
		from := side
		if p.seen != written {
			from = lower
		}
		if side == upper && p.seen == vanished {
			return nil
		}
		data, _ := s.readIn(from, p, maxAccounts)
		byID := map[string]string{}
		for _, a := range parseAccounts(data, fields) {
			if have, ok := byID[a.id]; !ok || a.name < have { // any, but always the same
				byID[a.id] = clean(a.name)
			}
		}
		return byID
	}
	return &accountNames{names("/etc/passwd", 7), names("/etc/group", 4)}
}

// People tells of users and groups that were added, changed or removed, one line each, such as "user deploy added (uid 1001, home /home/deploy)".
// Of passwords it tells that they were changed, and nothing else.
func (s *Scanner) People(context.Context) ([]string, error) {
	var out []string
	for _, file := range []struct {
		path, kind string
		fields     int
		about      func(a account) []string
	}{
		{"/etc/passwd", "user", 7, aboutUser},
		{"/etc/group", "group", 4, aboutGroup},
	} {
		was, is, changed, err := s.contents(file.path, maxAccounts)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		if changed {
			out = append(out, accountChanges(file.kind, parseAccounts(was, file.fields), parseAccounts(is, file.fields), file.about)...)
		}
		if changed && was != nil && is == nil {
			out = append(out, file.path+" is gone")
		}
	}
	was, is, changed, err := s.contents("/etc/shadow", maxAccounts)
	if err != nil {
		out = append(out, err.Error())
	} else if changed {
		out = append(out, passwordChanges(was, is)...)
	}
	return out, nil
}

func aboutUser(a account) []string {
	return []string{"uid " + a.id, "gid " + a.rest[0], "comment " + a.rest[1], "home " + a.rest[2], "shell " + a.rest[3]}
}

func aboutGroup(a account) []string {
	return []string{"gid " + a.id, "members " + cmp.Or(a.rest[0], "none")}
}

// accountChanges compares two sets of accounts, in the order of their names.
func accountChanges(kind string, was, is map[string]account, about func(account) []string) (out []string) {
	for _, name := range sortedNames(was, is) {
		a, before := was[name]
		b, after := is[name]
		switch {
		case !before:
			out = append(out, fmt.Sprintf("%s %s added (%s)", kind, clean(name), clean(strings.Join(shortly(about(b)), ", "))))
		case !after:
			out = append(out, fmt.Sprintf("%s %s removed (%s)", kind, clean(name), clean(strings.Join(shortly(about(a)), ", "))))
		case a != b:
			var parts []string
			from, to := about(a), about(b)
			for i := range from {
				if from[i] != to[i] {
					_, value, _ := strings.Cut(from[i], " ")
					parts = append(parts, fmt.Sprintf("%s, was %s", to[i], cmp.Or(value, "empty")))
				}
			}
			out = append(out, fmt.Sprintf("%s %s changed (%s)", kind, clean(name), clean(strings.Join(parts, "; "))))
		}
	}
	return out
}

// shortly leaves out what needs no telling of a new account: its group, which has a line of its own, a comment, and empty fields.
func shortly(about []string) (out []string) {
	for _, part := range about {
		key, value, _ := strings.Cut(part, " ")
		if value == "" || part == "members none" || key == "comment" || key == "gid" && len(about) > 2 {
			continue
		}
		out = append(out, part)
	}
	return out
}

func sortedNames[V any](was, is map[string]V) []string {
	var names []string
	for name := range was {
		names = append(names, name)
	}
	for name := range is {
		if _, twice := was[name]; !twice {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// passwordChanges compares two files of shadow(5), of which no hash is ever shown.
func passwordChanges(was, is []byte) (out []string) {
	before, after := parseShadow(was), parseShadow(is)
	for _, name := range sortedNames(before, after) {
		a, hadOne := before[name]
		b, hasOne := after[name]
		if !hadOne || !hasOne || a == b { // a new or removed account has its line already
			if !hadOne && usable(b) {
				out = append(out, fmt.Sprintf("password of user %s set", clean(name)))
			}
			continue
		}
		switch {
		case b == "":
			out = append(out, fmt.Sprintf("password of user %s taken away: none is asked for", clean(name)))
		case usable(a) && !usable(b):
			out = append(out, fmt.Sprintf("password of user %s locked", clean(name)))
		case !usable(a) && usable(b):
			out = append(out, fmt.Sprintf("password of user %s set", clean(name)))
		default:
			out = append(out, fmt.Sprintf("password of user %s changed", clean(name)))
		}
	}
	return out
}

// usable reports whether somebody can log in with a password: * and ! are no hash.
func usable(hash string) bool { return hash != "" && !strings.ContainsAny(hash[:1], "*!") }

// parseShadow gives the second field of shadow(5) by name.
func parseShadow(data []byte) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok || name == "" {
			continue
		}
		hash, _, _ := strings.Cut(rest, ":")
		if _, twice := all[name]; !twice {
			all[name] = hash
		}
	}
	return all
}
