package appspec

import (
	"fmt"
	"strings"
	"testing"
)

// TestMode holds. An empty want means that the mode is refused.
func TestMode(t *testing.T) {
	tests := []struct{ mode, want string }{
		{"644", "644"},
		{"'0644'", "0644"},
		{"'4755'", "4755"},
		{"4755", "4755"},
		{"12", "012"},
		{"'7'", "007"},
		{"0", "000"},
		{"''", "000"},
		{"0000", "000"},
		{"00", "000"},
		{"1_0", "010"},
		{"0x1ff", "511"},
		{"0b111", "007"},
		{"!!str 0644", "0644"},
		{"!!int '0755'", "755"},
		{"\"0\"", "000"},
		{"888", ""},
		{"u+x", ""},
		{"0o644", ""},
		{"10755", ""},
		{"'10755'", ""},
		{"010755", ""},
		{"-644", ""},
		{"-0644", ""},
		{"7:55", ""},
		{"6.0", ""},
		{"yes", ""},
		{"' 644'", ""},
		{"[644]", ""},
		{"'é44'", ""},
	}
	for _, tt := range tests {
		spec, verdict := verdictOf(t, head+"permissions:\n  - object: /x\n    mode: "+tt.mode+"\n")
		got := ""
		if spec != nil {
			got = spec.Permissions[0].Mode
		} else if verdict != badMode {
			t.Errorf("mode %s is refused as %s, want %s", tt.mode, verdict, badMode)
		}
		if got != tt.want {
			t.Errorf("mode %s is %q, want %q", tt.mode, got, tt.want)
		}
	}
	spec, _ := verdictOf(t, head+"permissions: [{object: /x, mode: ~}]\n")
	if p := spec.Permissions[0]; p.ModeSet || p.Mode != "" || p.ModePos != (Pos{}) {
		t.Errorf("a null mode is %q, set %v, at %v", p.Mode, p.ModeSet, p.ModePos)
	}
}

// TestACL holds. An empty want means that the entry is refused.
func TestACL(t *testing.T) {
	tests := []struct{ entry, want string }{
		{"bob:6", "user:bob:rw-"},
		{"g:dev:-w-", "group:dev:-w-"},
		{"m:7", "mask::rwx"},
		{"mask::7", "mask::rwx"},
		{"m::rwx", "mask::rwx"},
		{"d:u:bob:rwx", "default:user:bob:rwx"},
		{"d::rwx", "default:user::rwx"},
		{"default:other:5", "default:other::r-x"},
		{"d:m:x", "default:mask::--x"},
		{"d:g::r", "default:group::r--"},
		{"d:u::rw", "default:user::rw-"},
		{"u:bob:", "user:bob:---"},
		{"u:bob:xxr-", "user:bob:r-x"},
		{"u:bob:0", "user:bob:---"},
		{"g:rwx", "user:g:rwx"},
		{"u:m:7", "user:mask:rwx"}, // a name written m
		{"g:other:7", "group:other:rwx"},
		{"d:default:7", "default:user:default:rwx"},
		{"default:d:7", "default:user:d:rwx"},
		{"u::7", ""},
		{"g::7", ""},
		{"o:7", ""},
		{"other::7", ""},
		{":7", ""},
		{"7", ""},
		{"", ""},
		{"invalid:bob:7", ""},
		{"d:d:bob:7", ""},
		{"default:d::7", ""},
		{"u:g:bob:7", ""},
		{"d:u:bob:7:rwx", ""},
		{"m:bob:7", ""},
		{"m:m:7", ""},
		{"other:o:7", ""},
		{"D:u:bob:7", ""},
		{"bob:8", ""},
		{"bob:77", ""},
		{"bob:rwX", ""},
		{"bob:é", ""},
	}
	for _, tt := range tests {
		entry, why := parseACL(tt.entry)
		got := ""
		if why == "" {
			got = entry.String()
		}
		if got != tt.want {
			t.Errorf("parseACL(%q) = %q (%s), want %q", tt.entry, got, why, tt.want)
		}
		if again, why := parseACL(got); got != "" && (why != "" || again != entry) {
			t.Errorf("parseACL(%q) is not what it is canonical for: %v, %s", got, again, why)
		}
	}
}

// TestRange holds. An empty want means that the range is refused.
func TestRange(t *testing.T) {
	tests := []struct{ in, want string }{
		{"s0", "s0"},
		{"s0-s3", "s0-s3"},
		{"s2-s2", "s2"},
		{"s00-s01:c1,c0", "s0-s1:c0.c1"},
		{"s3-s7:c5,c8.c10,c17", "s3-s7:c5,c8.c10,c17"},
		{"s0:c5,c3,c4,c1", "s0:c1,c3.c5"},
		{"s0:c0.c1023", "s0:c0.c1023"},
		{"s0:c007", "s0:c7"},
		{"s0:c1.c1", "s0:c1"},
		{"s0:c1,", "s0:c1"},
		{"s99999999999999999999", "s99999999999999999999"},
		{"s3-s0", ""},
		{"", ""},
		{"s", ""},
		{"0", ""},
		{"S0", ""},
		{"s0 ", ""},
		{"s-1", ""},
		{"s0-", ""},
		{"-s0", ""},
		{"s0-s1-s2", ""},
		{"s0:", ""},
		{":c0", ""},
		{"s0:c0:c1", ""},
		{"s0:c", ""},
		{"s0:0", ""},
		{"s0:c1024", ""},
		{"s0:c5.c3", ""},
		{"s0:c1,c1", ""},
		{"s0:c0.c3,c2", ""},
		{"s0:c1.c2.c3", ""},
		{"s0:,c1", ""},
		{"s0:c1.", ""},
		{"s0: c1", ""},
		{"s٣", ""},
	}
	for _, tt := range tests {
		got, why := normalRange(tt.in)
		if (why != "") != (tt.want == "") || got != tt.want {
			t.Errorf("normalRange(%q) = %q (%s), want %q", tt.in, got, why, tt.want)
		}
		if again, _ := normalRange(got); got != "" && again != got {
			t.Errorf("normalRange(%q) = %q, want the same", got, again)
		}
	}
}

// TestMatchPattern holds I-43.
func TestMatchPattern(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"**", "a", true},
		{"**", "a/b/c", true},
		{"**", ".x", true},
		{"*", "a/b", false},
		{"***", "a", true},
		{"***", "a/b", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"*", ".hidden", true},
		{"*.sh", "a.sh", true},
		{"*.sh", ".sh", true},
		{"*.sh", "a.sh.bak", false},
		{"*.sh", "A.SH", false},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "abc", true},
		{"a*b*c", "acb", false},
		{"a?c", "abc", false},
		{"a?c", "a?c", true},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{`\*`, "*", false},
		{`\*`, `\x`, true},
		{"**/x", "a/x", false},
		{"**/x", "x", false},
		{"d/*", "d/a", false},
		{"d/*", "d", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"*é*", "caféine", true},
		{"*aab", "aaab", true},
		{"a**", "a", true},
	}
	for _, tt := range tests {
		if got := MatchPattern(tt.pattern, tt.name); got != tt.want {
			t.Errorf("MatchPattern(%q, %q) = %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
	long := strings.Repeat("a", 5000)
	if MatchPattern(strings.Repeat("a*", 2000)+"b", long) {
		t.Error("a pattern that ends in b matches a name that does not")
	}
}

// TestMatchPatternAgainstSet compares with the definition: the set of places in the pattern that a part of the name leads to.
func TestMatchPatternAgainstSet(t *testing.T) {
	bySet := func(pattern, name string) bool {
		at := map[int]bool{0: true}
		spread := func() {
			for i := range len(pattern) {
				if at[i] && pattern[i] == '*' {
					at[i+1] = true
				}
			}
		}
		spread()
		for i := range len(name) {
			next := map[int]bool{}
			for p := range at {
				switch {
				case p == len(pattern):
				case pattern[p] == '*':
					next[p] = true
				case pattern[p] == name[i]:
					next[p+1] = true
				}
			}
			at = next
			spread()
		}
		return at[len(pattern)]
	}
	words := func(letters string, most int) (all []string) {
		all = []string{""}
		for from := 0; most > 0; most-- {
			to := len(all)
			for ; from < to; from++ {
				for _, l := range letters {
					all = append(all, all[from]+string(l))
				}
			}
		}
		return all
	}
	n := 0
	for _, pattern := range words("ab*", 5) {
		if pattern == "**" {
			continue
		}
		for _, name := range words("ab", 5) {
			n++
			if got, want := MatchPattern(pattern, name), bySet(pattern, name); got != want {
				t.Fatalf("MatchPattern(%q, %q) = %v, want %v", pattern, name, got, want)
			}
		}
	}
	if n < 10_000 {
		t.Errorf("only %d pairs", n)
	}
}

// TestSelects holds I-45 and I-46: except excludes direct children only.
func TestSelects(t *testing.T) {
	tests := []struct {
		pattern string
		except  []string
		name    string
		want    bool
	}{
		{"**", nil, "a/b.txt", true},
		{"**", []string{"*.txt"}, "b.txt", false},
		{"**", []string{"*.txt"}, "a/b.txt", true},
		{"**", []string{"**"}, "a/b.txt", true},
		{"**", []string{"**"}, "a", false},
		{"*.sh", []string{"x*", "y*"}, "y.sh", false},
		{"*.sh", []string{"x*", "y*"}, "z.sh", true},
		{"*.sh", nil, "z", false},
	}
	for _, tt := range tests {
		p := Permission{Pattern: tt.pattern, Except: tt.except}
		if got := p.Selects(tt.name); got != tt.want {
			t.Errorf("pattern %s except %v: Selects(%s) = %v, want %v", tt.pattern, tt.except, tt.name, got, tt.want)
		}
	}
}

// TestApplies holds A-30.
func TestApplies(t *testing.T) {
	tests := []struct {
		typ             string
		file, directory bool
	}{
		{"~", true, true},
		{"no", true, true},
		{"[]", false, false},
		{"{}", false, false},
		{"[file]", true, false},
		{"[directory]", false, true},
		{"[file, file]", true, false},
		{"[directory, file]", true, true},
	}
	for _, tt := range tests {
		spec, verdict := verdictOf(t, fmt.Sprintf("%spermissions: [{object: /x, type: %s}]\n", head, tt.typ))
		if spec == nil {
			t.Errorf("type %s is refused as %s", tt.typ, verdict)
			continue
		}
		p := spec.Permissions[0]
		if p.Applies("file") != tt.file || p.Applies("directory") != tt.directory {
			t.Errorf("type %s applies to %v", tt.typ, p.Types)
		}
	}
}
