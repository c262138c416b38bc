package appspec

// MatchPattern reports whether name, relative to a permission entry's object, matches the pattern (I-43): "*" is any run of
// characters, everything else is itself, and a name with a slash matches nothing but the pattern "**", which matches every name.
func MatchPattern(pattern, name string) bool { return false }
