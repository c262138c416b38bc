package lint

import (
	"slices"
	"strings"
	"testing"

	"slipway/lifecycle/appspec"
)

// head is the beginning of every valid file.
const head = "version: 0.0\nos: linux\n"

// whole puts the head before a piece of an appspec that has none.
func whole(piece string) string {
	switch {
	case strings.Contains(piece, "version:"):
		return piece
	case strings.HasPrefix(piece, "---\n"):
		return "---\n" + head + piece[len("---\n"):]
	case strings.Contains(piece, "\r\n"):
		return strings.ReplaceAll(head, "\n", "\r\n") + piece
	default:
		return head + piece
	}
}

func ids(r Report) (all []string) {
	for _, f := range r.Findings {
		all = append(all, f.ID)
	}
	return all
}

// Every rule of the parser is in the table, in its order, and every rule has all that --explain prints.
func TestRules(t *testing.T) {
	var want, got []string
	for _, r := range appspec.Rules() {
		want = append(want, r.ID)
	}
	for _, r := range Rules() {
		if strings.HasPrefix(r.ID, "SW0") {
			got = append(got, r.ID)
		}
		if r.Title == "" || r.Remedy == "" || r.Severity == "" {
			t.Errorf("rule %+v has a gap", r)
		}
		for _, s := range []string{r.Why, r.Remedy} {
			if !strings.HasSuffix(s, ".") {
				t.Errorf("%s: %q is no sentence", r.ID, s)
			}
		}
		if found, ok := Find(strings.ToLower(r.ID)); !ok || found.ID != r.ID {
			t.Errorf("Find(%s) = %v, %v", r.ID, found.ID, ok)
		}
	}
	if !slices.Equal(want, got) {
		t.Errorf("rules of the parser: got %v, want %v", got, want)
	}
	if all := Rules(); !slices.IsSortedFunc(all, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("the rules are not in the order of their ids")
	}
}

// Every example does what it is an example of, and what is called good has nothing worse than a note.
func TestExamples(t *testing.T) {
	for _, r := range Rules() {
		if r.Bad == "" {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			report := Appspec("appspec.yml", []byte(whole(r.Bad)))
			if !slices.Contains(ids(report), r.ID) {
				t.Errorf("the bad example has %v:\n%s", ids(report), r.Bad)
			}
			for _, f := range report.Findings {
				if f.ID == r.ID && f.Severity != r.Severity {
					t.Errorf("severity %s, and the table says %s", f.Severity, r.Severity)
				}
			}
			if r.Good == "" {
				return
			}
			report = Appspec("appspec.yml", []byte(whole(r.Good)))
			if slices.Contains(ids(report), r.ID) || report.Count(bad)+report.Count(warn) > 0 {
				t.Errorf("the good example has %v:\n%s", ids(report), r.Good)
			}
		})
	}
}

// A rule that says what --fix does, does it with its example.
func TestFixes(t *testing.T) {
	for _, r := range Rules() {
		if r.Fix == "" || r.Bad == "" || r.ID == "SW032" || r.ID == "SW033" || r.ID == "SW042" {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			before := whole(r.Bad)
			report := Appspec("appspec.yml", []byte(before))
			for _, f := range report.Findings {
				if f.ID == r.ID && !f.Fixable {
					t.Errorf("not fixable: %s", f)
				}
			}
			after := Mend("appspec.yml", []byte(before))
			if left := ids(Appspec("appspec.yml", after)); slices.Contains(left, r.ID) {
				t.Errorf("still there in\n%s", after)
			}
			if again := Mend("appspec.yml", after); string(again) != string(after) {
				t.Errorf("mended twice:\n%s", again)
			}
		})
	}
}
