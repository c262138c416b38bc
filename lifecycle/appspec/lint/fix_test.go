package lint

import (
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"slipway/lifecycle/appspec"
)

// checkMend holds what Mend promises of any text: it is idempotent, no finding that it offered to mend is left, nothing gets worse, and
// a text with nothing to mend is returned as it is.
func checkMend(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	before := Appspec(name, data)
	after := Mend(name, data)
	if before.Fixable() == 0 {
		if string(after) != string(data) {
			t.Fatalf("%s: nothing to mend, and %q became %q", name, data, after)
		}
		return after
	}
	if again := Mend(name, after); string(again) != string(after) {
		t.Fatalf("%s: mended twice, %q became %q, then %q", name, data, after, again)
	}
	if worse(name, string(data), string(after)) {
		t.Fatalf("%s: %q became %q, which is refused", name, data, after)
	}
	return after
}

// Each mistake with one right answer, and what becomes of it. Comments and layout stay.
func TestMend(t *testing.T) {
	tests := []struct{ name, before, after string }{
		{"event", head + "hooks:\n  # first\n  BeoreInstall:   # why\n    - location: a.sh\n", head + "hooks:\n  # first\n  BeforeInstall:   # why\n    - location: a.sh\n"},
		{"event in quotes", head + "hooks:\n  \"BeoreInstall\":\n    - location: a.sh\n", head + "hooks:\n  BeforeInstall:\n    - location: a.sh\n"},
		{"event in JSON", "{\"version\": 0.0, \"os\": \"linux\", \"hooks\": {\"BeoreInstall\": [{\"location\": \"a\"}]}}", "{\"version\": 0.0, \"os\": \"linux\", \"hooks\": {BeforeInstall: [{\"location\": \"a\"}]}}"},
		{"event that is there already", head + "hooks:\n  BeoreInstall:\n    - location: a.sh\n  BeforeInstall:\n    - location: b.sh\n", ""},
		{"event that could be two", head + "hooks:\n  Install:\n    - location: a.sh\n", ""},
		{"two events with one meaning", head + "hooks:\n  BeoreInstall:\n    - location: a.sh\n  BefreInstall:\n    - location: b.sh\n", ""},
		{"location", head + "hooks:\n  AfterInstall:\n    - locaiton: a.sh # x\n", head + "hooks:\n  AfterInstall:\n    - location: a.sh # x\n"},
		{"two at once", head + "hooks:\n  AfterInstal:\n    - locaiton: a.sh\n      timout: 5\n", head + "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 5\n"},
		{"key that would be refused", head + "permission: x\n", ""},
		{"source and destination", head + "files:\n  - sorce: /\n    dest_ination: /x\n", head + "files:\n  - source: /\n    destination: /x\n"},
		{"object", head + "files:\n  - source: /\n    destination: /x\npermissions:\n  - objct: /x\n    mode: 644\n", head + "files:\n  - source: /\n    destination: /x\npermissions:\n  - object: /x\n    mode: 644\n"},
		{"overwrite", head + "files:\n  - source: a\n    destination: /x\n    overwrite: true # keep\n  - source: b\n    destination: /y\n    overwrite: yes\n", head + "file_exists_behavior: OVERWRITE\nfiles:\n  - source: a\n    destination: /x\n  - source: b\n    destination: /y\n"},
		{"overwrite that is said already", "version: 0.0\nos: linux\nfile_exists_behavior: OVERWRITE\nfiles:\n  - source: a\n    destination: /x\n    overwrite: true\n", "version: 0.0\nos: linux\nfile_exists_behavior: OVERWRITE\nfiles:\n  - source: a\n    destination: /x\n"},
		{"overwrite for some", head + "files:\n  - source: a\n    destination: /x\n    overwrite: true\n  - source: b\n    destination: /y\n", ""},
		{"overwrite: false", head + "files:\n  - source: a\n    destination: /x\n    overwrite: false\n", ""},
		{"overwrite against the top level", head + "file_exists_behavior: RETAIN\nfiles:\n  - source: a\n    destination: /x\n    overwrite: true\n", ""},
		{"BOM", bom + head + filesHead, head + filesHead},
		{"CRLF", strings.ReplaceAll(head+filesHead, "\n", "\r\n"), head + filesHead},
		{"CRLF and overwrite", strings.ReplaceAll(head+filesHead+"    overwrite: true\n", "\n", "\r\n"), head + "file_exists_behavior: OVERWRITE\n" + filesHead},
		{"tabs", head + "hooks:\n\tAfterInstall:\n\t\t- location: a.sh\n\t\t  timeout: 5\n", head + "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 5\n"},
		{"tabs that could mean two things", head + "hooks:\n  AfterInstall:\n\tBeforeInstall:\n", ""},
		{"tabs in brackets", head + "files: [\n\t{source: /, destination: /x}]\n", head + "files: [\n  {source: /, destination: /x}]\n"},
		{"mode", head + filesHead + "permissions:\n  - object: /srv/app\n    mode: 0644 # rw\n", head + filesHead + "permissions:\n  - object: /srv/app\n    mode: 644 # rw\n"},
		{"short mode", head + filesHead + "permissions:\n  - object: /srv/app\n    mode: 007\n", head + filesHead + "permissions:\n  - object: /srv/app\n    mode: '007'\n"},
		{"timeout in quotes", head + "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: \"300\"\n", head + "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 300\n"},
		{"nothing", head + filesHead, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.after
			if want == "" {
				want = tt.before
			}
			got := string(checkMend(t, "appspec.yml", []byte(tt.before)))
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if left := Appspec("appspec.yml", []byte(got)); left.Fixable() > 0 {
				t.Errorf("still to be mended: %v", left.Findings)
			}
		})
	}
}

// meaning is what a file says, without where it says it.
func meaning(t interface{ Fatalf(string, ...any) }, text string) *appspec.Spec {
	spec, diags := appspec.Parse("appspec.yml", []byte(text))
	if spec == nil {
		t.Fatalf("%v\n%s", diags.Err(), text)
	}
	return spec
}

func withoutPlaces() gocmp.Option {
	return gocmp.Options{
		gocmp.FilterValues(func(a, b appspec.Pos) bool { return true }, gocmp.Ignore()),
		gocmp.FilterPath(func(p gocmp.Path) bool {
			switch p.Last().String() {
			case ".src", ".kind", ".Unknown":
				return true
			}
			return false
		}, gocmp.Ignore()),
	}
}

// A file with mistakes sown into it is mended to mean what the file without them means.
func TestMendMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		event := rapid.SampledFrom(hostEvents).Draw(t, "event")
		mode := rapid.SampledFrom([]string{"", "644", "755", "4755", "007"}).Draw(t, "mode")
		timeout := rapid.IntRange(1, 5000).Draw(t, "timeout")
		comment := rapid.SampledFrom([]string{"", " # über", " # a: b"}).Draw(t, "comment")
		right := build(event, mode, timeout, comment, mistakes{})
		m := mistakes{
			event: rapid.Bool().Draw(t, "event typo"), key: rapid.Bool().Draw(t, "key typo"), bom: rapid.Bool().Draw(t, "BOM"),
			crlf: rapid.Bool().Draw(t, "CRLF"), mode: rapid.Bool().Draw(t, "mode zero"), tabs: rapid.Bool().Draw(t, "tabs"), at: rapid.IntRange(1, len(event)-2).Draw(t, "at"),
		}
		sown := build(event, mode, timeout, comment, m)
		got := string(Mend("appspec.yml", []byte(sown)))
		if diff := gocmp.Diff(meaning(t, right), meaning(t, got), withoutPlaces(), gocmp.AllowUnexported(appspec.Spec{}, appspec.EventHooks{})); diff != "" {
			t.Fatalf("-right +mended:\n%s\nsown:\n%s\nmended:\n%s", diff, sown, got)
		}
		if report := Appspec("appspec.yml", []byte(got)); report.Fixable() > 0 || report.Count(bad) > 0 {
			t.Fatalf("left: %v\n%s", report.Findings, got)
		}
		if strings.Count(got, comment) != strings.Count(right, comment) {
			t.Fatalf("a comment is lost:\n%s", got)
		}
	})
}

type mistakes struct {
	event, key, bom, crlf, mode, tabs bool
	at                                int
}

func build(event, mode string, seconds int, comment string, m mistakes) string {
	key := "timeout"
	if m.key {
		key = "timoeut"
	}
	if m.event {
		event = event[:m.at] + event[m.at+1:]
	}
	text := "version: 0.0" + comment + "\nos: linux\nfiles:\n  - source: /\n    destination: /srv/app\n"
	if mode != "" {
		text += "permissions:\n  - object: /srv/app\n    mode: "
		switch {
		case m.mode && mode[0] != '0':
			text += "0" + mode
		case mode[0] == '0' && !m.mode:
			text += "'" + mode + "'"
		default:
			text += mode
		}
		text += comment + "\n"
	}
	text += "hooks:" + comment + "\n  " + event + ":\n    - location: a.sh\n      " + key + ": " + strconv.Itoa(seconds) + comment + "\n"
	if m.tabs {
		text = strings.ReplaceAll(text, "  ", "\t")
	}
	if m.crlf {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if m.bom {
		text = bom + text
	}
	return text
}
