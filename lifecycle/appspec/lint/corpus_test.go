package lint

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"slipway/lifecycle/appspec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// corpusDir is the folder of real appspec files. It is no part of this repository: see the corpus test of package appspec.
func corpusDir(t testing.TB) string {
	t.Helper()
	named := os.Getenv("SLIPWAY_CORPUS")
	dir := filepath.Join(cmp.Or(named, filepath.Join("..", "..", "..", "..", "shared", "corpus")), "appspec")
	if _, err := os.Stat(filepath.Join(dir, "verdicts.jsonl")); err != nil {
		if named == "" {
			t.Skip("the appspec corpus does not lie beside this checkout (../shared/corpus) and SLIPWAY_CORPUS is not set")
		}
		t.Fatalf("the appspec corpus is missing: %v", err)
	}
	return dir
}

// corpusFile is a file of the corpus. Accepted is true if the reference agent takes it.
type corpusFile struct {
	name     string
	data     []byte
	accepted bool
}

func corpusFiles(t testing.TB) (all []corpusFile) {
	t.Helper()
	dir := corpusDir(t)
	f, err := os.Open(filepath.Join(dir, "verdicts.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var v struct {
			File string
			OK   *bool
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, v.File))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, corpusFile{v.File, data, v.OK != nil && *v.OK})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// wrong are the files that the reference agent accepts and that are wrong all the same, and what is wrong with each. No other file that
// the reference accepts has a finding of severity error.
var wrong = map[string]struct{ ids, reason string }{
	"a001.yml": {"SW103", "ApplicationStart stands at the top level, beside hooks: the script never runs"},
	"a011.yml": {"SW103", "a backslash before AfterInstall makes it a key of the top level: the script never runs"},
	"a028.yml": {"SW101", "AfterInnstall: the script never runs"},
	"a042.yml": {"SW116", "destination is a list: Install fails"},
	"a083.yml": {"SW103", "AfterInstall stands at the top level, beside hooks: the script never runs"},
	"a094.yml": {"SW101", "validateService: the script never runs"},
	"a124.yml": {"SW101", "BeoreInstall: the script never runs"},
	"a133.yml": {"SW103", "ApplicationStart stands at the top level, beside hooks: the script never runs"},
	"a145.yml": {"SW101 SW111", "ApplicatiionStart never runs, and file for files installs nothing"},
	"a147.yml": {"SW103 SW103", "all events stand at the top level: nothing runs"},
	"a155.yml": {"SW102", "AfterAllowTestTraffic is for ECS: the script never runs on a host"},
	"a156.yml": {"SW102", "AfterAllowTestTraffic is for ECS: the script never runs on a host"},
	"a164.yml": {"SW114", "BeforeInstall stands twice: of two scripts one is lost"},
	"a238.yml": {"SW111", "permission for permissions: nothing is set"},
	"a239.yml": {"SW111", "permission for permissions: nothing is set"},
	"a249.yml": {"SW111", "flies for files: nothing is installed"},
	"a260.yml": {"SW111", "flies for files: nothing is installed"},
	"a262.yml": {"SW111", "flies for files: nothing is installed"},
	"a266.yml": {"SW101", "validateService: the script never runs"},
	"a271.yml": {"SW111", "flies for files: nothing is installed"},
	"a295.yml": {"SW103", "ApplicationStart stands at the top level, beside hooks: the script never runs"},
}

// TestCorpus lints all real files. A file that the reference agent accepts has a finding of severity error only if it is in the table,
// one that it refuses has one unless this agent accepts it on purpose. How often each rule speaks is in a golden file, to see what a
// change does to real files, and half of the files have no more than one finding.
func TestCorpus(t *testing.T) {
	counts := map[string]int{}
	var lengths []int
	files := corpusFiles(t)
	errs := 0
	for _, f := range files {
		report := Appspec(f.name, f.data)
		var errors []string
		once := map[string]bool{}
		for i := range report.Findings {
			x := &report.Findings[i]
			if x.Severity == bad {
				errors = append(errors, x.ID)
			}
			if key := fmt.Sprintf("%s %-7s %s", x.ID, x.Severity, x.Rule().Title); !once[key] {
				once[key] = true
				counts[key]++
			}
		}
		slices.Sort(errors)
		lengths = append(lengths, len(report.Findings))
		if f.accepted {
			if got := strings.Join(errors, " "); got != wrong[f.name].ids {
				t.Errorf("%s: errors %q, want %q (%s)\n%v", f.name, got, wrong[f.name].ids, wrong[f.name].reason, report.Findings)
			}
			if len(errors) > 0 {
				errs++
				t.Logf("judged wrong: %s: %s: %s", f.name, wrong[f.name].ids, wrong[f.name].reason)
			}
		}
		for _, want := range refusal(f) {
			if !slices.Contains(errors, want) {
				t.Errorf("%s: the parser says %s, the linter %q", f.name, want, errors)
			}
		}
	}
	slices.Sort(lengths)
	median := lengths[len(lengths)/2]
	t.Logf("%d files: %d accepted by the reference and wrong; findings of a file: median %d, nine of ten at most %d, most %d", len(files), errs, median, lengths[len(lengths)*9/10], lengths[len(lengths)-1])
	if median > 1 {
		t.Errorf("the median file has %d findings: that is noise", median)
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%4d %s\n", counts[key], key)
	}
	golden(t, "testdata/corpus.golden", b.String())
}

// refusal is what the parser says of a file, for the system that the file is for.
func refusal(f corpusFile) (ids []string) {
	doc, diags := appspec.Read(f.name, f.data)
	if doc != nil {
		_, diags = doc.Spec(osOf(doc))
	}
	for _, d := range diags {
		ids = append(ids, d.ID)
	}
	return ids
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (make golden writes it anew) -want +got:\n%s", name, diff)
	}
}

// Whatever is mended in a real file stays mended, brings nothing new that is worse, and leaves everything else of the file alone.
func TestCorpusMend(t *testing.T) {
	mended := 0
	for _, f := range corpusFiles(t) {
		after := checkMend(t, f.name, f.data)
		if string(after) != string(f.data) {
			mended++
		}
	}
	t.Logf("%d files mended", mended)
}

const documentName = "../../../docs/lint.md"

func document(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(documentName)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
