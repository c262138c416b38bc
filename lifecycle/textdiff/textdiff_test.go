package textdiff

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestUnified(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ a, b, want string }{
		"equal":       {"a\n", "a\n", ""},
		"of nothing":  {"", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"},
		"to nothing":  {"a\n", "", "@@ -1 +0,0 @@\n-a\n"},
		"without end": {"a\n", "a", "@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n"},
		"two hunks": {
			"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12",
			"@@ -1,4 +1,4 @@\n-1\n+one\n 2\n 3\n 4\n@@ -9,3 +9,4 @@\n 9\n 10\n 11\n+12\n\\ No newline at end of file\n",
		},
		"lines that come again": {
			"x\nevent\n  s\n  t\nother\n  s\n  t\n", "x\nEvent\n  s\n  T\nother\n  s\n  t\n",
			"@@ -1,7 +1,7 @@\n x\n-event\n+Event\n   s\n-  t\n+  T\n other\n   s\n   t\n",
		},
		"seven equal lines part two hunks": {
			"a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
			"@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n",
		},
		"six do not": {
			"a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
			"@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n",
		},
	} {
		want := test.want
		if want != "" {
			want = "--- f\n+++ t\n" + want
		}
		if diff := cmp.Diff(want, Unified("f", "t", test.a, test.b)); diff != "" {
			t.Errorf("%s: Unified() (-want +got):\n%s", name, diff)
		}
	}
}

// A secret that has changed shows as a change, and not as itself.
func TestRedacted(t *testing.T) {
	t.Parallel()
	hide := func(text string) string {
		return strings.NewReplacer("hunter2", "***", "hunter3", "***", "BEGIN\nabc\nEND", "[key]", "BEGIN\ndef\nEND", "[key]").Replace(text)
	}
	for name, test := range map[string]struct{ a, b, want string }{
		"one line":  {"u=x\np=hunter2\n", "u=x\np=hunter3\n", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n u=x\n-p=***\n+p=***\n"},
		"beside":    {"u=x\np=hunter2\n", "u=y\np=hunter2\n", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n-u=x\n+u=y\n p=***\n"},
		"of more":   {"a\nBEGIN\nabc\nEND\n", "b\nBEGIN\ndef\nEND\n", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n-a\n+b\n [key]\n"},
		"only more": {"BEGIN\nabc\nEND\n", "BEGIN\ndef\nEND\n", ""},
	} {
		if diff := cmp.Diff(test.want, Redacted("f", "f", test.a, test.b, hide)); diff != "" {
			t.Errorf("%s: Redacted() (-want +got):\n%s", name, diff)
		}
	}
}

// No way is longer than the longest common subsequence asks for.
func TestEditsAreFew(t *testing.T) {
	t.Parallel()
	line := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOfN(line, 0, 40).Draw(t, "a"), rapid.SliceOfN(line, 0, 40).Draw(t, "b")
		kept := 0
		for _, e := range edits(a, b) {
			if e.kind == ' ' {
				kept++
			}
		}
		if want := common(a, b); kept != want {
			t.Fatalf("edits(%q, %q) keeps %d lines, and %d could be kept", a, b, kept, want)
		}
	})
}

// common is how many lines two lists have in common, in order.
func common(a, b []string) int {
	row := make([]int, len(b)+1)
	for i := range a {
		corner := 0
		for j := range b {
			up := row[j+1]
			if a[i] == b[j] {
				row[j+1] = corner + 1
			} else {
				row[j+1] = max(up, row[j])
			}
			corner = up
		}
	}
	return row[len(b)]
}

// Beyond the bound the difference is still right, and is found in time.
func TestVeryDifferentTexts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var b strings.Builder
		for range 20_000 {
			fmt.Fprintln(&b, random.IntN(3000))
		}
		return b.String()
	}
	a, b := text(), text()
	if got := applied(t, a, Unified("a", "b", a, b)); got != b {
		t.Error("the difference does not lead from the one text to the other")
	}
}

// patch(1) understands the differences.
func TestPatchUnderstands(t *testing.T) {
	t.Parallel()
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("patch is not installed: the fuzz target's reader stands alone")
	}
	name := filepath.Join(t.TempDir(), "f")
	line := rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "d\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return strings.Join(rapid.SliceOfN(line, 1, 30).Draw(t, name), "") + rapid.SampledFrom([]string{"", "end"}).Draw(t, name+" end")
		}
		a, b := text("a"), text("b")
		if a == b {
			return
		}
		if err := os.WriteFile(name, []byte(a), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(patch, "--binary", "--silent", "--fuzz=0", "-o", name+".new", name)
		cmd.Stdin = strings.NewReader(Unified("f", "f", a, b))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("patch: %v\n%s", err, out)
		}
		if got, err := os.ReadFile(name + ".new"); err != nil || string(got) != b {
			t.Fatalf("patch makes %q (%v), want %q", got, err, b)
		}
	})
}

func FuzzUnified(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nx\nc")
	f.Add("", "\n\n")
	f.Add("--- a\n+++ b\n", "@@ -1 +1 @@\n\\ No newline at end of file\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		got := Unified("a", "b", a, b)
		if (got == "") != (a == b) {
			t.Fatalf("Unified(%q, %q) = %q", a, b, got)
		}
		if to := applied(t, a, got); to != b {
			t.Fatalf("from %q, Unified leads to %q, not to %q:\n%s", a, to, b, got)
		}
	})
}

// applied reads a difference as patch(1) does, and applies it.
func applied(t *testing.T, a, diff string) string {
	t.Helper()
	if diff == "" {
		return a
	}
	from, list := lines(a), lines(diff)[2:]
	var to []string
	at := 0
	for i := 0; i < len(list); {
		var first, removed, added int
		head := strings.Fields(list[i])
		if len(head) != 4 || head[0] != "@@" {
			t.Fatalf("no head of a hunk: %q", list[i])
		}
		if n, _ := fmt.Sscanf(head[1], "-%d,%d", &first, &removed); n == 1 {
			removed = 1
		}
		if n, _ := fmt.Sscanf(head[2], "+%d,%d", new(int), &added); n == 1 {
			added = 1
		}
		if removed > 0 {
			first--
		}
		to = append(to, from[at:first]...)
		at = first
		for i++; removed > 0 || added > 0; i++ {
			kind, line := list[i][0], list[i][1:]
			if i+1 < len(list) && strings.HasPrefix(list[i+1], "\\ ") {
				line = strings.TrimSuffix(line, "\n")
				i++
			}
			if kind != '+' {
				if from[at] != line {
					t.Fatalf("line %d is %q and not %q", at+1, from[at], line)
				}
				at, removed = at+1, removed-1
			}
			if kind != '-' {
				to, added = append(to, line), added-1
			}
		}
	}
	return strings.Join(slices.Concat(to, from[at:]), "")
}

func BenchmarkUnified(b *testing.B) {
	var was, is strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&was, "setting_%d = %d\n", i, i)
		fmt.Fprintf(&is, "setting_%d = %d\n", i, i+i%10/9)
	}
	for b.Loop() {
		Unified("a", "b", was.String(), is.String())
	}
}
