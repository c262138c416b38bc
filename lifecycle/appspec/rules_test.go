package appspec

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// head is the beginning of every valid file.
const head = "version: 0.0\nos: linux\n"

// verdictOf is what Parse makes of a file: "ok", or the id of the first diagnostic.
func verdictOf(t *testing.T, text string) (*Spec, string) {
	t.Helper()
	spec, diags := Parse("appspec.yml", []byte(text))
	if (spec == nil) != (diags.Err() != nil) {
		t.Fatalf("Parse(%q) gave spec %v and error %v", text, spec, diags.Err())
	}
	if spec == nil {
		return nil, diags[0].ID
	}
	return spec, "ok"
}

// TestAccepts holds what is accepted and what is refused, and as what, by rule.
func TestAccepts(t *testing.T) {
	tests := []struct{ rule, text, want string }{
		{"A-6 CRLF", "version: 0.0\r\nos: linux\r\n", "ok"},
		{"A-6 last duplicate wins", "version: 1\nos: linux\nversion: 0.0\n", "ok"},
		{"A-6 first document only", head + "---\nversion: 1\n", "ok"},
		{"A-6 nothing is read behind the first document", head + "...\n\t@ : [\n", "ok"},
		{"A-6 the document ends where a line stands to its left", " version: 0.0\n os: linux\nfiles: abc\n", "ok"},
		{"A-6 JSON, with tabs", "{\n\t\"version\": 0.0,\n\t\"os\": \"linux\"\n}", "ok"},
		{"A-6 tab as indentation", head + "files:\n\t- source: /\n", badSyntax},
		{"A-6 tab on an empty line after a value", "version: 0.0\nos: linux\n\t\nfiles: []\n", badSyntax},
		{"A-6 tab after a value", "version: 0.0\t\nos: linux\t# here\n", "ok"},
		{"A-6 tab after a dash", head + "files:\n-\tsource: /\n\tdestination: /x\n", badSyntax},
		{"A-6 key over two lines in brackets", head + "x: {a\n b: 1}\n", badSyntax},
		{"A-6 value over two lines in brackets", head + "x: {a: b\n c}\n", "ok"},
		{"A-6 key over two lines in brackets, quoted", head + "x: {\"a\"\n : 1}\n", badSyntax},
		{"A-6 colon without a key", head + ": x\n", badSyntax},
		{"A-6 comment right behind a bracket", head + "files: []# none\n", "ok"},
		{"A-6 key of 1,025 characters", head + strings.Repeat("k", 1025) + ": 1\n", badSyntax},
		{"A-6 key of 1,024 characters", head + strings.Repeat("k", 1024) + ": 1\n", "ok"},
		{"A-6 other directives", "%FOO bar\n---\n" + head, badSyntax},
		{"A-6 version directive", "%YAML 1.2\n---\n" + head, "ok"},
		{"A-7 alias", head + "x: &a 1\ny: *a\n", hasAlias},
		{"A-7 alias of nothing", head + "y: *a\n", hasAlias},
		{"A-7 anchor without alias", head + "x: &a 1\n", "ok"},
		{"A-7 date, even under a key that nobody reads", head + "x: 2024-01-01\n", disallowed},
		{"A-7 date as a key", head + "hooks: {2024-01-01: []}\n", disallowed},
		{"A-7 time", head + "x: 2024-01-01 00:00:00 +09:00\n", disallowed},
		{"A-7 quoted date", head + "x: '2024-01-01'\n", "ok"},
		{"A-7 no date", head + "x: 2024-13-01\n", "ok"},
		{"A-7 tagged object", head + "x: !ruby/range 1..2\n", disallowed},
		{"A-7 tagged collection", head + "x: !!set {a}\n", disallowed},
		{"A-7 symbol", head + "x: :sym\n", "ok"},
		{"A-7 unknown tag", head + "x: !foo bar\n", "ok"},
		{"A-8 empty", "", emptyFile},
		{"A-8 white space", " \n\n", emptyFile},
		{"A-8 comment", "# nothing\n", emptyFile},
		{"A-8 marker", "---\n", emptyFile},
		{"A-8 false", "no\n", emptyFile},
		{"A-8 null", "~\n", emptyFile},
		{"A-8 scalar", "appspec\n", notAMapping},
		{"A-8 list", "- version: 0.0\n", rootIsList},
		{"A-9 unknown keys", head + "x: 1\nfiles: [{source: a, destination: b, c: d}]\n", "ok"},
		{"A-10 version before os", "version: 1\nos: x\nhooks: []\n", badVersion},
		{"A-10 os before hooks", "hooks: []\nos: x\nversion: 0\n", badOS},
		{"A-10 hooks before files", head + "files: a\nhooks: []\n", hooksType},
		{"A-10 files before permissions", head + "permissions: a\nfiles: a\n", filesType},
		{"A-10 permissions before file_exists_behavior", head + "file_exists_behavior: x\npermissions: a\n", permsType},
		{"A-11 zero", "version: 0\nos: linux\n", "ok"},
		{"A-11 minus zero", "version: -0.0\nos: linux\n", "ok"},
		{"A-11 base 60", "version: 0:0\nos: linux\n", "ok"},
		{"A-11 exponent without sign is text", "version: 0.0e5\nos: linux\n", badVersion},
		{"A-11 exponent with sign", "version: 0.0e+5\nos: linux\n", "ok"},
		{"A-11 text", "version: '0.0'\nos: linux\n", badVersion},
		{"A-11 missing", "os: linux\n", badVersion},
		{"A-11 tagged", "version: !!float '0'\nos: linux\n", "ok"},
		{"A-12 other system", "version: 0\nos: windows\n", badOS},
		{"A-12 capitals", "version: 0\nos: Linux\n", badOS},
		{"A-12 missing", "version: 0\n", badOS},
		{"A-13 null", head + "file_exists_behavior: ~\n", "ok"},
		{"A-13 false", head + "file_exists_behavior: false\n", badBehavior},
		{"A-13 small letters", head + "file_exists_behavior: retain\n", badBehavior},
		{"A-14 false sections", head + "files: no\nhooks: off\npermissions: false\n", "ok"},
		{"A-14 null sections", head + "files:\nhooks:\npermissions:\n", "ok"},
		{"A-14 empty maps as lists", head + "files: {}\npermissions: {}\n", "ok"},
		{"A-14 files is a map", head + "files: {source: a, destination: b}\n", filesType},
		{"A-14 permissions is a map", head + "permissions: {object: a}\n", permsType},
		{"A-14 hooks is text", head + "hooks: ''\n", hooksType},
		{"A-16 event is a map", head + "hooks: {A: {location: a}}\n", scriptType},
		{"A-16 event is an empty map", head + "hooks: {A: {}}\n", "ok"},
		{"A-16 event is text", head + "hooks: {A: a.sh}\n", eventType},
		{"A-16 event is false", head + "hooks: {A: no}\n", eventType},
		{"A-16 script is text", head + "hooks: {A: [a.sh]}\n", scriptType},
		{"A-16 script is null", head + "hooks: {A: [~]}\n", scriptType},
		{"A-17 unknown events are validated", head + "hooks: {Nonsense: [{}]}\n", noLocation},
		{"A-18 blank", head + "hooks: {A: [{location: \" \\t\"}]}\n", noLocation},
		{"A-18 null", head + "hooks: {A: [{location: ~}]}\n", noLocation},
		{"A-18 climbs", head + "hooks: {A: [{location: ../../x}]}\n", "ok"},
		{"A-24 no source", head + "files: [{destination: /x}]\n", noSource},
		{"A-24 null source, and no destination", head + "files: [{source: ~}]\n", noSource},
		{"A-24 no destination", head + "files: [{source: /}]\n", noDestination},
		{"A-24 null entry", head + "files:\n  -\n", fileType},
		{"A-24 text entry", head + "files: [/x]\n", noSource},
		{"A-25 not text", head + "files: [{source: 1, destination: [2]}]\n", "ok"},
		{"A-25 empty", head + "files: [{source: '', destination: ''}]\n", "ok"},
		{"A-27 blank", head + "permissions: [{object: ' '}]\n", noObject},
		{"A-27 missing", head + "permissions: [{}]\n", noObject},
		{"A-27 text entry", head + "permissions: [/x]\n", permType},
		{"A-29 text", head + "permissions: [{object: /x, except: a}]\n", exceptType},
		{"A-29 empty", head + "permissions: [{object: /x, except: []}]\n", "ok"},
		{"A-30 text", head + "permissions: [{object: /x, type: file}]\n", typesType},
		{"A-30 other member", head + "permissions: [{object: /x, type: [link]}]\n", badType},
		{"A-31 number", head + "permissions: [{object: /x, owner: 1000}]\n", "ok"},
		{"A-36 text", head + "permissions: [{object: /x, acls: 'bob:6'}]\n", aclsType},
		{"A-36 not text", head + "permissions: [{object: /x, acls: [7:7]}]\n", aclsType},
		{"A-36 empty", head + "permissions: [{object: /x, acls: []}]\n", "ok"},
		{"A-39 no type", head + "permissions: [{object: /x, context: {name: u}}]\n", noContextType},
		{"A-39 list", head + "permissions: [{object: /x, context: [a]}]\n", contextType},
		{"A-39 no range", head + "permissions: [{object: /x, context: {type: t}}]\n", "ok"},
		{"A-40 number", head + "permissions: [{object: /x, context: {type: t, range: 0}}]\n", rangeType},
		{
			"order within an entry: pattern, except, type, owner, group, mode, acls, context",
			head + "permissions: [{object: /x, context: [], acls: a, mode: x, type: file, except: a}]\n", exceptType,
		},
		{"size", strings.Repeat("#", MaxSize+1), tooLarge},
		{"size", strings.Repeat("#", MaxSize-len(head)-1) + "\n" + head, "ok"},
		{"depth", head + "x: " + strings.Repeat("[", maxDepth+1), tooDeep},
		{"depth", head + "x: " + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + "\n", "ok"},
		{"depth in blocks", head + "x:\n " + strings.Repeat("- ", maxDepth+1), tooDeep},
		{"UTF-16", "\xff\xfev\x00", notUTF8},
		{"Latin-1", "# caf\xe9\n" + head, notUTF8},
		{"NUL", head + "x: a\x00b\n", notUTF8},
		{"DEL", head + "x: \x7f\n", notUTF8},
		{"form of a number", head + "x: 0x_\n", badNumber},
	}
	for _, tt := range tests {
		if _, got := verdictOf(t, tt.text); got != tt.want {
			t.Errorf("%s: Parse(%.80q) is %s, want %s", tt.rule, tt.text, got, tt.want)
		}
	}
}

// TestIntendedDifferences is the whole list of what we read otherwise than the reference does, with both readings.
func TestIntendedDifferences(t *testing.T) {
	mode := func(s *Spec) string { return s.Permissions[0].Mode }
	timeout := func(s *Spec) string { return s.Scripts("A")[0].Timeout.String() }
	const (
		perm   = head + "permissions: [{object: /x, mode: "
		script = head + "hooks: {A: [{location: a, timeout: "
	)
	tests := []struct {
		reason, text    string
		field           func(*Spec) string
		reference, want string
	}{
		{bom, "\ufeff" + head, func(s *Spec) string { return s.OS }, "refused", "linux"},
		{plainMode, perm + "0644}]", mode, "420", "644"},
		{plainMode, perm + "0755}]", mode, "refused", "755"},
		{plainMode, perm + "02775}]", mode, "1533", "2775"},
		{plainMode, perm + "0_644}]", mode, "420", "644"},
		{plainMode, perm + "+0644}]", mode, "420", "644"},
		{plainMode, perm + "000644}]", mode, "420", "644"},
		{plainMode, perm + "007}]", mode, "007", "007"},
		{sameTimeout, script + "0300}]}", timeout, "192 s", "5m0s"},
		{sameTimeout, script + "'0300'}]}", timeout, "300 s", "5m0s"},
		{sameTimeout, script + "'1,000'}]}", timeout, "1 s", "16m40s"},
		{sameTimeout, script + "1,000 }]}", timeout, "1000 s", "16m40s"},
		{sameTimeout, script + "'0x10'}]}", timeout, "refused", "16s"},
		{sameTimeout, script + "0x10}]}", timeout, "16 s", "16s"},
		{sameTimeout, script + "'3:00'}]}", timeout, "3 s", "3h0m0s"},
		{sameTimeout, script + "3:00}]}", timeout, "10800 s", "3h0m0s"},
		{sameTimeout, script + "'1.5e+3'}]}", timeout, "1 s", "25m0s"},
	}
	for _, tt := range tests {
		text := strings.Replace(tt.text, "timeout: 1,000 }", "timeout: !!int '1,000' }", 1) // a comma ends a plain text in brackets
		spec, verdict := verdictOf(t, text)
		if spec == nil {
			t.Errorf("Parse(%q) is %s, want %s, because %s", text, verdict, tt.want, tt.reason)
			continue
		}
		if got := tt.field(spec); got != tt.want {
			t.Errorf("Parse(%q) gives %s, want %s (the reference: %s), because %s", text, got, tt.want, tt.reference, tt.reason)
		}
	}
}

// sameTimeout is the third reason to differ.
const sameTimeout = "quotes around a number of seconds do not change it; the reference reads '0300' as 300 and 0300 as 192"

// TestScripts holds.
func TestScripts(t *testing.T) {
	const s = time.Second
	tests := []struct {
		rule, entry string
		want        Script
	}{
		{"A-18 trimmed", `location: " a.sh\n"`, Script{Location: "a.sh", Timeout: 3600 * s}},
		{"A-18 no-break space is text", "location: \"\u00a0a.sh\"", Script{Location: "\u00a0a.sh", Timeout: 3600 * s}},
		{"A-18 list as text", `location: [a.sh, 1, ~, 'b"#{x}']`, Script{Location: `["a.sh", 1, nil, "b\"\#{x}"]`, Timeout: 3600 * s}},
		{"A-18 map as text", "location: {a: {b: 1.50}}", Script{Location: `{"a"=>{"b"=>1.5}}`, Timeout: 3600 * s}},
		{"A-18 number as text", "location: 0x1F", Script{Location: "31", Timeout: 3600 * s}},
		{"A-18 float as text", "location: 1.0e+20", Script{Location: "1.0e+20", Timeout: 3600 * s}},
		{"A-18 boolean as text", "location: yes", Script{Location: "true", Timeout: 3600 * s}},
		{"A-19 default", "location: a", Script{Location: "a", Timeout: 3600 * s}},
		{"A-19 null", "location: a\n      timeout: ~", Script{Location: "a", Timeout: 3600 * s}},
		{"A-19 false", "location: a\n      timeout: off", Script{Location: "a", Timeout: 3600 * s}},
		{"A-19 quoted", "location: a\n      timeout: '30'", Script{Location: "a", Timeout: 30 * s}},
		{"A-19 text behind", "location: a\n      timeout: 30s", Script{Location: "a", Timeout: 30 * s}},
		{"A-19 fraction", "location: a\n      timeout: 1.9", Script{Location: "a", Timeout: 1 * s}},
		{"A-6 underscore", "location: a\n      timeout: 1_000", Script{Location: "a", Timeout: 1000 * s}},
		{"A-6 comma", "location: a\n      timeout: 1,000", Script{Location: "a", Timeout: 1000 * s}},
		{"A-6 base 60", "location: a\n      timeout: 1:30", Script{Location: "a", Timeout: 5400 * s}},
		{"A-19 no upper bound, but that of a duration", "location: a\n      timeout: 99999999999999999999", Script{Location: "a", Timeout: 9223372036 * s}},
		{"A-20 trimmed", "location: a\n      runas: ' root '", Script{Location: "a", Timeout: 3600 * s, RunAs: "root", RunAsSet: true}},
		{"A-20 null", "location: a\n      runas: ~", Script{Location: "a", Timeout: 3600 * s}},
		{"A-20 empty counts", "location: a\n      runas: ''", Script{Location: "a", Timeout: 3600 * s, RunAsSet: true}},
		{"A-20 number", "location: a\n      runas: 0", Script{Location: "a", Timeout: 3600 * s, RunAs: "0", RunAsSet: true}},
		{"A-21 true", "location: a\n      sudo: yes", Script{Location: "a", Timeout: 3600 * s, Sudo: true}},
		{"A-21 false", "location: a\n      sudo: no", Script{Location: "a", Timeout: 3600 * s}},
		{"A-21 null", "location: a\n      sudo:", Script{Location: "a", Timeout: 3600 * s}},
		{"A-21 zero", "location: a\n      sudo: 0", Script{Location: "a", Timeout: 3600 * s, Sudo: true}},
		{"A-21 quoted false", "location: a\n      sudo: 'false'", Script{Location: "a", Timeout: 3600 * s, Sudo: true}},
		{"A-6 merge key", "location: a\n      <<: {timeout: 7, location: b}", Script{Location: "b", Timeout: 7 * s}},
		{"A-6 last duplicate wins", "location: a\n      location: b", Script{Location: "b", Timeout: 3600 * s}},
	}
	for _, tt := range tests {
		spec, verdict := verdictOf(t, head+"hooks:\n  A:\n    - "+tt.entry+"\n")
		if spec == nil {
			t.Errorf("%s: %q is refused as %s", tt.rule, tt.entry, verdict)
			continue
		}
		got := spec.Scripts("A")[0]
		got.Pos, got.LocationPos, got.TimeoutPos, got.RunAsPos, got.SudoPos = Pos{}, Pos{}, Pos{}, Pos{}, Pos{}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %q mismatch (-want +got):\n%s", tt.rule, tt.entry, d)
		}
	}
	for _, timeout := range []string{"0", "0.5", "-1", "abc", "''", "'x30'", "-.5"} { // 0 or less
		if _, got := verdictOf(t, head+"hooks: {A: [{location: a, timeout: "+timeout+"}]}"); got != badTimeout {
			t.Errorf("timeout %s is %s, want %s", timeout, got, badTimeout)
		}
	}
	for _, timeout := range []string{"true", "[]", "{}", ".inf", ".nan", ":x"} { // type errors
		if _, got := verdictOf(t, head+"hooks:\n  A:\n  - location: a\n    timeout: "+timeout+"\n"); got != timeoutType {
			t.Errorf("timeout %s is %s, want %s", timeout, got, timeoutType)
		}
	}
}

// TestEventsOrder holds A-16 and the order of duplicates.
func TestEventsOrder(t *testing.T) {
	const text = head + `hooks:
  B: [{location: first}]
  Dropped:
  Empty: []
  A: [{location: a}]
  yes: [{location: never}]
  B: [{location: second}, {location: third}]
  Late: [{location: l}]
  Late: ~
`
	spec, verdict := verdictOf(t, text)
	if spec == nil {
		t.Fatalf("refused as %s", verdict)
	}
	if d := cmp.Diff([]string{"B", "Empty", "A"}, spec.Events()); d != "" {
		t.Errorf("Events() mismatch (-want +got):\n%s", d)
	}
	var locations []string
	for _, s := range spec.Scripts("B") {
		locations = append(locations, s.Location)
	}
	if d := cmp.Diff([]string{"second", "third"}, locations); d != "" {
		t.Errorf("Scripts(B) mismatch (-want +got):\n%s", d)
	}
	for _, name := range []string{"yes", "true", "Dropped", "Late", "Empty", "C"} {
		if got := spec.Scripts(name); len(got) != 0 {
			t.Errorf("Scripts(%s) = %v, want none", name, got)
		}
	}
	if got := spec.Hooks[3]; got.Name != "true" || got.Text {
		t.Errorf("the key yes is %+v, want the name true, and no text (A-6)", got)
	}
}

// TestPositions: every value has the line and column of its first character.
func TestPositions(t *testing.T) {
	const text = "version: 0.0\nos:   linux\nfiles:\n  - source: \"é\"\n    destination: /x\nhooks:\n  A:\n    - location: a.sh\n      timeout: 5\n" +
		"      runas: ~\npermissions:\n- {object: é, mode: 0644, acls: [\"a:7\"], type: [file], bogus: 1}\nfile_exists_behavior: RETAIN\n"
	spec, verdict := verdictOf(t, text)
	if spec == nil {
		t.Fatalf("refused as %s", verdict)
	}
	p, s := spec.Permissions[0], spec.Scripts("A")[0]
	got := map[string]Pos{
		"os": spec.OSPos, "file": spec.Files[0].Pos, "source": spec.Files[0].SourcePos, "destination": spec.Files[0].DestinationPos,
		"event": spec.Hooks[0].Pos, "script": s.Pos, "location": s.LocationPos, "timeout": s.TimeoutPos, "runas": s.RunAsPos,
		"permission": p.Pos, "object": p.ObjectPos, "mode": p.ModePos, "acls": p.ACLsPos, "type": p.TypesPos, "owner": p.OwnerPos,
		"behavior": spec.FileExistsBehaviorPos, "unknown": spec.Unknown[0].Pos,
	}
	want := map[string]Pos{
		"os": {2, 7}, "file": {4, 5}, "source": {4, 13}, "destination": {5, 18}, "event": {7, 3}, "script": {8, 7}, "location": {8, 17},
		"timeout": {9, 16}, "runas": {}, "permission": {12, 3}, "object": {12, 12}, "mode": {12, 21}, "acls": {12, 33}, "type": {12, 48},
		"owner": {}, "behavior": {13, 23}, "unknown": {12, 56},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("positions mismatch (-want +got):\n%s", d)
	}
}

// TestUnknown holds A-9: unknown keys are ignored, and noted.
func TestUnknown(t *testing.T) {
	const text = head + "Hooks: {}\nhooks: {A: [{locaiton: x, location: y}]}\nfiles: [{source: a, destination: b, overwrite: true}]\n" +
		"permissions: [{object: a, user: x, context: {type: t, role: r}}]\n"
	spec, verdict := verdictOf(t, text)
	if spec == nil {
		t.Fatalf("refused as %s", verdict)
	}
	var got []string
	for _, u := range spec.Unknown {
		got = append(got, u.Path+" "+u.Name)
		if len(u.Known) == 0 || u.Len != len(u.Name) {
			t.Errorf("%+v: no known keys, or a wrong length", u)
		}
	}
	if d := cmp.Diff([]string{" Hooks", "hooks.A[0] locaiton", "files[0] overwrite", "permissions[0] user", "permissions[0].context role"}, got); d != "" {
		t.Errorf("Unknown mismatch (-want +got):\n%s", d)
	}
}

// TestDefects holds: what is accepted and cannot be used says so.
func TestDefects(t *testing.T) {
	tests := []struct{ entry, want string }{
		{"files: [{source: a, destination: b}]", ""},
		{"files: [{source: '', destination: ''}]", ""},
		{"files: [{source: 1, destination: b}]", "source is the number 1"},
		{"files: [{source: a, destination: [b]}]", "destination is a list"},
		{"permissions: [{object: 1}]", ""},
		{"permissions: [{object: a, owner: root, group: ~, pattern: no}]", ""},
		{"permissions: [{object: a, owner: 0}]", "owner is the number 0"},
		{"permissions: [{object: a, owner: ''}]", "owner is empty"},
		{"permissions: [{object: a, group: yes}]", "group is yes, which YAML reads as true"},
		{"permissions: [{object: a, pattern: 1}]", "pattern is the number 1"},
		{"permissions: [{object: a, except: [a, 1]}]", "a member of except is the number 1"},
		{"permissions: [{object: a, except: [~]}]", "a member of except is empty"},
		{"permissions: [{object: a, context: {type: 5}}]", "type is the number 5"},
	}
	for _, tt := range tests {
		spec, verdict := verdictOf(t, head+tt.entry+"\n")
		if spec == nil {
			t.Errorf("%s is refused as %s", tt.entry, verdict)
			continue
		}
		var err error
		if len(spec.Files) > 0 {
			err = spec.Files[0].Defect
		} else {
			err = spec.Permissions[0].Defect
		}
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: defect %v, want %q", tt.entry, err, tt.want)
		}
	}
}

// TestWindows holds A-12 and section 6 for the other system.
func TestWindows(t *testing.T) {
	tests := []struct{ text, want string }{
		{"version: 0.0\nos: windows\n", "ok"},
		{"version: 0.0\nos: windows\npermissions: []\n", "ok"},
		{"version: 0.0\nos: windows\npermissions: [{object: x}]\n", notOnWindows},
		{"version: 0.0\nos: windows\npermissions: [{}]\n", noObject},
		{head, badOS},
	}
	for _, tt := range tests {
		doc, diags := Read("appspec.yml", []byte(tt.text))
		if doc == nil {
			t.Fatal(diags.Err())
		}
		got := "ok"
		if spec, diags := doc.Spec("windows"); spec == nil {
			got = diags[0].ID
		}
		if got != tt.want {
			t.Errorf("Spec(windows) of %q is %s, want %s", tt.text, got, tt.want)
		}
	}
}
