package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is shown is the change: patch(1) makes the one text of the other with it.
func TestUnifiedDiff(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("patch is not installed")
	}
	dir := t.TempDir()
	line := rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "d\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return strings.Join(rapid.SliceOfN(line, 0, 30).Draw(t, name), "") + rapid.SampledFrom([]string{"", "end"}).Draw(t, name+" end")
		}
		before, after := text("before"), text("after")
		if before == after {
			if got := unifiedDiff("f", []byte(before), []byte(after)); got != "" {
				t.Fatalf("a difference where there is none: %q", got)
			}
			return
		}
		name := filepath.Join(dir, "f")
		if err := os.WriteFile(name, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(patch, "--binary", "--silent", "--fuzz=0", "-o", name+".new", name)
		cmd.Stdin = strings.NewReader(unifiedDiff("f", []byte(before), []byte(after)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, unifiedDiff("f", []byte(before), []byte(after)))
		}
		got, err := os.ReadFile(name + ".new")
		if os.IsNotExist(err) { // nothing is left
			got = nil
		} else if err != nil {
			t.Fatal(err)
		}
		if string(got) != after {
			t.Fatalf("got %q, want %q\n%s", got, after, unifiedDiff("f", []byte(before), []byte(after)))
		}
	})
}

// Lines that come again do not make the change look larger than it is.
func TestUnifiedDiffIsSmall(t *testing.T) {
	got := unifiedDiff("f", []byte("x\nevent\n  s\n  t\nother\n  s\n  t\n"), []byte("x\nEvent\n  s\n  T\nother\n  s\n  t\n"))
	want := "--- f\n+++ f\n@@ -1,7 +1,7 @@\n x\n-event\n+Event\n   s\n-  t\n+  T\n other\n   s\n   t\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
