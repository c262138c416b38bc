package appspec

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestDiagnostics holds what a person reads, by files that are wrong in one way each. Every rule has at least one.
func TestDiagnostics(t *testing.T) {
	files, err := filepath.Glob("testdata/diagnostics/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	seen := map[string]bool{
		tooLarge: true, tooDeep: true, // too large for testdata: TestAccepts
		notOnWindows: true, // TestWindows
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, diags := Parse("appspec.yml", data)
		var b strings.Builder
		for _, d := range diags {
			seen[d.ID] = true
			b.WriteString(d.ID + " " + d.String() + "\n")
		}
		if err := diags.Err(); err != nil {
			b.WriteString("--\n" + err.Error() + "\n")
		}
		golden := strings.TrimSuffix(file, ".yml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), b.String()); d != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", file, d)
		}
		if id := strings.ToUpper(filepath.Base(file)[:5]); strings.HasPrefix(id, "SW") && (len(diags) == 0 || diags[0].ID != id) {
			t.Errorf("%s: the first diagnostic is not %s:\n%s", file, id, b.String())
		}
	}
	for _, r := range Rules() {
		if !seen[r.ID] {
			t.Errorf("no file shows %s", r.ID)
		}
	}
}

// TestRules: the table is what documentation and users rely on.
func TestRules(t *testing.T) {
	last := ""
	for _, r := range Rules() {
		if r.ID <= last || len(r.ID) != 5 || !strings.HasPrefix(r.ID, "SW0") {
			t.Errorf("%s after %s: ids are SW0xx and ascend", r.ID, last)
		}
		last = r.ID
		if !strings.HasSuffix(r.Why, ".") || r.class == "" {
			t.Errorf("%s: no sentence, or no class: %+v", r.ID, r)
		}
	}
}

func TestError(t *testing.T) {
	_, diags := Parse("config/appspec.yml", []byte("version: 0.0\nos: Linux\nfiles: x\n"))
	err := diags.Err()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Err() = %T, want *Error", err)
	}
	if e.ID != badOS || e.More != 1 || e.Pos != (Pos{2, 5}) || e.File != "config/appspec.yml" {
		t.Errorf("got %+v", e)
	}
	const want = `config/appspec.yml:2:5: os is the text "Linux"; this host runs linux
    2 | os: Linux
      |     ^^^^^ write os: linux
and 1 more error in this file`
	if d := cmp.Diff(want, err.Error()); d != "" {
		t.Errorf("Error() mismatch (-want +got):\n%s", d)
	}
	warning := Diagnostics{{ID: "SW101", Severity: SeverityWarning, Message: "x"}}
	if err := warning.Err(); err != nil {
		t.Errorf("Err() of a warning = %v, want nil", err)
	}
	if err := Diagnostics(nil).Err(); err != nil {
		t.Errorf("Err() of nothing = %v, want nil", err)
	}
}

// TestDiagnosticsBound: a file that is wrong everywhere costs no more than one that is wrong a hundred times.
func TestDiagnosticsBound(t *testing.T) {
	_, diags := Parse("appspec.yml", []byte(head+"files: ["+strings.Repeat("~,", 10_000)+"]"))
	if len(diags) != maxDiagnostics {
		t.Errorf("%d diagnostics, want %d", len(diags), maxDiagnostics)
	}
	if n := len(diags.Err().Error()); n > 1000 {
		t.Errorf("the error has %d bytes", n)
	}
}
