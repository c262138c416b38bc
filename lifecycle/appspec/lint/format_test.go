package lint

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"slipway/lifecycle/appspec"
)

// sample has a finding of each severity, one of a file as a whole, and names that have to be escaped.
func sample() Report {
	r := Appspec("a, b: 100%.yml", []byte("version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: ~/x\nhooks:\n  ApplicationStop:\n    - location: stöp.sh\n\u00a0 é:\n    - location: a.sh\n"))
	r.Findings = append(r.Findings, Finding{Diagnostic: appspec.Diagnostic{ID: secretFile, Severity: warn, File: "conf/.env", Message: "\"a\nb\x1b[2J\" looks\nodd", Suggestion: "remove: it, 100%"}})
	return r
}

func TestHuman(t *testing.T) {
	r := sample()
	var plain, colour, empty bytes.Buffer
	r.Human(&plain, false)
	golden(t, "testdata/human.golden", plain.String())
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("plain output has escapes")
	}
	r.Human(&colour, true)
	golden(t, "testdata/colour.golden", strings.ReplaceAll(colour.String(), "\x1b", "ESC"))
	if strings.Contains(colour.String(), "\x1b[2J") {
		t.Error("a message of the bundle steers the terminal")
	}
	(&Report{}).Human(&empty, false)
	if got, want := empty.String(), "nothing to say: no errors, no warnings, no notes\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGitHub(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	r.GitHub(&b)
	golden(t, "testdata/github.golden", b.String())
	if lines := strings.Count(b.String(), "\n"); lines != len(r.Findings) {
		t.Errorf("%d lines for %d findings: %q", lines, len(r.Findings), b.String())
	}
}

func TestJSON(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/json.golden", b.String())
	if !json.Valid(b.Bytes()) {
		t.Error("not valid")
	}
}

// SARIF 2.1.0: what the schema requires of a log, a run, a tool, a rule, a result, a location and a region, and that indexes and ids agree.
func TestSARIF(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	if err := r.SARIF(&b, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	var log map[string]any
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	if log["version"] != "2.1.0" || !strings.Contains(log["$schema"].(string), "sarif-2.1.0") {
		t.Errorf("version %v, schema %v", log["version"], log["$schema"])
	}
	run := log["runs"].([]any)[0].(map[string]any)
	driver := run["tool"].(map[string]any)["driver"].(map[string]any)
	if driver["name"] == "" || driver["version"] != "1.2.3" || run["columnKind"] != "unicodeCodePoints" {
		t.Errorf("driver %v", driver["name"])
	}
	rules := driver["rules"].([]any)
	levels := map[any]bool{"error": true, "warning": true, "note": true}
	seen := map[any]bool{}
	for _, x := range rules {
		rule := x.(map[string]any)
		if rule["id"] == "" || seen[rule["id"]] || rule["name"] == "" || !levels[rule["defaultConfiguration"].(map[string]any)["level"]] ||
			rule["shortDescription"].(map[string]any)["text"] == "" || rule["fullDescription"].(map[string]any)["text"] == "" {
			t.Errorf("rule %v", rule)
		}
		seen[rule["id"]] = true
	}
	results := run["results"].([]any)
	if len(results) != len(r.Findings) || len(results) < 4 {
		t.Fatalf("%d results of %d findings", len(results), len(r.Findings))
	}
	regions := 0
	for _, x := range results {
		result := x.(map[string]any)
		rule := rules[int(result["ruleIndex"].(float64))].(map[string]any)
		place := result["locations"].([]any)[0].(map[string]any)["physicalLocation"].(map[string]any)
		uri := place["artifactLocation"].(map[string]any)["uri"].(string)
		if rule["id"] != result["ruleId"] || !levels[result["level"]] || result["message"].(map[string]any)["text"] == "" || uri == "" || strings.ContainsAny(uri, " ") {
			t.Errorf("result %v", result)
		}
		if region, ok := place["region"].(map[string]any); ok {
			regions++
			if region["startLine"].(float64) < 1 || region["startColumn"].(float64) < 1 || region["endColumn"].(float64) <= region["startColumn"].(float64) {
				t.Errorf("region %v", region)
			}
		}
	}
	if regions != len(results)-1 {
		t.Errorf("%d regions", regions)
	}
}

// docs/lint.md holds the rules between two marks; they are generated from the table that the linter reads by.
func TestRulesAreDocumented(t *testing.T) {
	const begin, end = "<!-- rules -->\n", "<!-- /rules -->\n"
	data := document(t)
	before, rest, found := strings.Cut(data, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("docs/lint.md has no %q … %q", begin, end)
	}
	var b strings.Builder
	Markdown(&b)
	golden(t, documentName, before+begin+b.String()+end+after)
}

// Explain says of every rule what it is, and shows its examples with what nobody would see.
func TestExplain(t *testing.T) {
	for _, r := range Rules() {
		var b strings.Builder
		r.Explain(&b)
		for _, part := range []string{r.ID, r.Title, r.Why, r.Remedy} {
			if !strings.Contains(b.String(), part) {
				t.Errorf("%s: no %q in\n%s", r.ID, part, b.String())
			}
		}
		if strings.ContainsAny(b.String(), "\t\r\ufeff") {
			t.Errorf("%s: a character that nobody sees in %q", r.ID, b.String())
		}
	}
}
