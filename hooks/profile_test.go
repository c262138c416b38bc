package hooks

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// C-31: what /etc/profile exports is told, and what a shell sets by itself is not.
func TestProfileEnvironment(t *testing.T) {
	if _, err := os.Stat("/etc/profile"); err != nil {
		t.Skip("this host has no /etc/profile")
	}
	env, err := ProfileEnvironment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range env {
		if name, _, ok := strings.Cut(kv, "="); !ok || slices.Contains([]string{"BASH", "SHLVL", "PWD", "_", "UID"}, name) {
			t.Errorf("%q is the shell's own", kv)
		}
	}
}
