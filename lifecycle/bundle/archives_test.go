package bundle

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle/bundletest"
)

var update = flag.Bool("update", false, "rewrite golden files and generated documentation")

// docs/archives.md tells what becomes of every archive of the hostile table; it is generated from what Unpack answers.
func TestHostileArchivesAreDocumented(t *testing.T) {
	const name, begin, end = "../../docs/archives.md", "<!-- archives -->\n", "<!-- /archives -->\n"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", name, begin, end)
	}
	var b strings.Builder
	b.WriteString("| archive | outcome |\n|---|---|\n")
	for _, row := range bundletest.HostileArchives() {
		fmt.Fprintf(&b, "| %s | %s |\n", row.Name, cell(outcome(t, row)))
	}
	want := before + begin + b.String() + end + after
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("%s is out of date (make golden):\n%s", name, diff)
	}
}

// outcome is the message with which an archive is refused, or what is in the folder after it was unpacked.
func outcome(t *testing.T, row bundletest.Hostile) string {
	t.Helper()
	b := newBench(t, memoryFS(t))
	if _, err := Unpack(t.Context(), archiveFile(t, t.TempDir(), row.Data()), Format(row.Format), b.root, hostileLimits); err != nil {
		return "refused: " + err.Error()
	}
	var names []string
	for name, text := range treeOf(t, b.dir) {
		if strings.HasPrefix(text, "-> ") {
			name += " " + text
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if n := len(names); n > 6 {
		names = append(names[:6], fmt.Sprintf("… %d in all", n))
	}
	return strings.TrimSuffix("unpacked: "+strings.Join(names, ", "), ": ")
}

// cell keeps a text within its cell, and within a line that can be read.
func cell(text string) string {
	const most = 240
	text = strings.ToValidUTF8(text, "\uFFFD")
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return strings.NewReplacer("|", "\\|", "\n", "\\n", "<", "&lt;").Replace(text)
}
