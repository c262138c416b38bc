package appspec

import "strings"

// MatchPattern reports whether name, relative to a permission entry's object, matches the pattern (I-43): "*" is any run of
// characters, everything else is itself, and a name with a slash matches nothing but the pattern "**", which matches every name.
func MatchPattern(pattern, name string) bool {
	return pattern == "**" || matchName(pattern, name)
}

// matchName matches a single name. It goes back to the last star only, so that no pattern makes it exponential.
func matchName(pattern, name string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
