package alb_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/alb-check.md tells what each finding means, and of no other.
func TestDocsNameEveryFinding(t *testing.T) {
	read := func(name, pattern string) []string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(data), -1) {
			codes = append(codes, m[1])
		}
		slices.Sort(codes)
		return slices.Compact(codes)
	}
	made := read("inspect.go", `i\.(?:cause|risk|add)\((?:kind, )?"([a-z0-9-]+)"`)
	told := read("../../../docs/alb-check.md", "(?m)^\\| `([a-z][a-z0-9-]*)` \\|")
	if diff := cmp.Diff(made, told); diff != "" || len(made) < 20 {
		t.Errorf("docs/alb-check.md (-made +told):\n%s", diff)
	}
}
