package agent

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each rule of sections 1 to 7 of the protocol is held by a test that names it, or names the rule that replaces it.
func TestEveryProtocolRuleIsTested(t *testing.T) {
	cited := map[string]bool{}
	rule := regexp.MustCompile(`P-\d+`)
	for _, dir := range []string{".", "../lifecycle", "../hooks"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			for _, r := range rule.FindAllString(string(data), -1) {
				cited[r] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= 59; n++ {
		if r := fmt.Sprintf("P-%d", n); !cited[r] {
			t.Errorf("no test names %s", r)
		}
	}
}
