package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle"
	"slipway/lifecycle/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// load reads an account of testdata.
func load(t testing.TB, name string) *lifecycle.Account {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	a := new(lifecycle.Account)
	if err := json.Unmarshal(data, a); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

func html(t testing.TB, a *lifecycle.Account) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, a); err != nil {
		t.Fatalf("HTML() = %v", err)
	}
	return b.Bytes()
}

func text(t testing.TB, a *lifecycle.Account, o report.TextOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := report.Text(&b, a, o); err != nil {
		t.Fatalf("Text() = %v", err)
	}
	return b.Bytes()
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s mismatch (-want +got):\n%s", name, diff)
	}
}

// What the reports of a full rehearsal, of a deployment whose Install was recorded, of a failed one, of one by another agent and of nothing at all look like.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rehearsal", "installed", "failed", "foreign", "empty"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := load(t, name)
			page := html(t, a)
			golden(t, name+".html", page)
			wellFormed(t, page)
			golden(t, name+".txt", text(t, a, report.TextOptions{}))
			golden(t, name+".tty", text(t, a, report.TextOptions{Width: 80, Colour: true, Unicode: true}))
		})
	}
}

// wellFormed parses a page as XML: every element is closed in its order, and there is no character that XML may not hold.
func wellFormed(t testing.TB, page []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v, after …%q", err, page[max(0, d.InputOffset()-200):d.InputOffset()])
		}
	}
}

// Every link of a page leads to a part of it, no id is there twice, and nothing is loaded from anywhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rehearsal", "installed", "failed", "foreign", "empty"} {
		page := html(t, load(t, name))
		ids, links := map[string]int{}, map[string]bool{}
		d := xml.NewDecoder(bytes.NewReader(page))
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			e, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			for _, a := range e.Attr {
				switch a.Name.Local {
				case "id":
					ids[a.Value]++
				case "href":
					links[strings.TrimPrefix(a.Value, "#")] = true
				case "src", "srcset", "onclick", "onerror":
					t.Errorf("%s: %s has %s=%q", name, e.Name.Local, a.Name.Local, a.Value)
				}
			}
			switch e.Name.Local {
			case "script", "link", "img", "iframe", "object", "base", "form":
				t.Errorf("%s: there is a <%s>", name, e.Name.Local)
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: id %q is there %d times", name, id, n)
			}
		}
		for link := range links {
			if ids[link] == 0 {
				t.Errorf("%s: a link leads to #%s, which is not there", name, link)
			}
		}
		if bytes.Contains(page, []byte("url(")) || bytes.Contains(page, []byte("@import")) {
			t.Errorf("%s: the style loads something", name)
		}
	}
}

// Of a real deployment nobody has watched the host: what is not known is left out, and not shown as empty.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	a := load(t, "failed")
	said := string(html(t, a)) + string(text(t, a, report.TextOptions{}))
	_, body, _ := strings.Cut(said, "</style>")
	for _, part := range []string{"id=\"files\"", "id=\"health\"", "Processes", "Users", "Walls", "Findings", "planned", "\nfiles", "No path"} {
		if strings.Contains(body, part) {
			t.Errorf("the report of a real deployment has %q", part)
		}
	}
	a.FilesRecorded = true // Install has noted nothing
	if said := string(html(t, a)); !strings.Contains(said, "What Install changed; what scripts changed on the host is not known.") || !strings.Contains(said, "Install left every path as it was.") {
		t.Error("a deployment whose Install has changed nothing does not say so")
	}
	a.FilesRecorded, a.FilesOmitted = false, 3
	if said := string(text(t, a, report.TextOptions{})); !strings.Contains(said, "no path that was looked at is other than it was") || !strings.Contains(said, "3 more paths") {
		t.Error("a deployment whose paths were not looked at does not say so")
	}
	a.Rehearsal, a.FilesOmitted = true, 0 // who has watched and seen no change says so
	if said := string(html(t, a)); !strings.Contains(said, "No path is other than it was.") || strings.Contains(said, "What Install changed") {
		t.Error("a rehearsal without a change does not say so")
	}
}

// What a prediction says of the plan.
func TestPrediction(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]lifecycle.Prediction{
		"The plan named 2 paths: each became what it said.":                                                         {Planned: 2, Met: 2},
		"The plan named 1 path: 0 became what it said; scripts made 1 change of their own, which no plan can name.": {Planned: 1, Hooks: 1, Missed: []string{"/a"}},
		"The plan could name no path; scripts made 3 changes of their own, which no plan can name.":                 {Hooks: 3},
		"The plan named 1 path: each became what it said; Install did 2 things that it had not named.":              {Planned: 1, Met: 1, Unplanned: []string{"/b", "/c"}},
	} {
		var out bytes.Buffer
		if err := report.Text(&out, &lifecycle.Account{Rehearsal: true, Prediction: &p}, report.TextOptions{Width: 200}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%+v: no %q in\n%s", p, want, out.String())
		}
	}
}
