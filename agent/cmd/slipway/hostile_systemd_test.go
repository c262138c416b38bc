package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway/systemd/systemdtest"
)

// The table of hooks that do what they should not, by the built program in scopes of a real systemd.
func TestHostileTableInSystemd(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	tests := filepath.Join(t.TempDir(), "slipway.test")
	build := exec.Command("go", "test", "-c", "-o", tests, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, text)
	}
	binary, err := os.ReadFile(tests)
	if err != nil {
		t.Fatal(err)
	}
	program := buildSlipway(t, "in-scopes")
	machine := systemdtest.Boot(t, systemdtest.Options{Packages: []string{"procps"}, Prepare: func(root string) error {
		if err := os.WriteFile(filepath.Join(root, "usr/local/bin/slipway.test"), binary, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "usr/bin/slipway"), program, 0o755)
	}})
	out, err := machine.Run(t.Context(), "env", "SLIPWAY_BINARY=/usr/bin/slipway", containmentEnv+"=systemd", "HOSTILE_BYTES=16777216", "TMPDIR=/var/tmp",
		"/usr/local/bin/slipway.test", "-test.run", "^TestHostileTable$", "-test.v", "-test.timeout", "5m")
	for line := range strings.Lines(out) {
		if _, row, ok := strings.Cut(line, "hostile: "); ok {
			t.Log(strings.TrimRight(row, "\n"))
		}
	}
	if err != nil {
		t.Errorf("%v", err)
	}
	if !strings.Contains(out, "containment systemd") {
		t.Errorf("it did not run in scopes:\n%s", out)
	}
}
