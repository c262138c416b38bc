package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// directives are the assignments of a unit, as section/key → values.
func directives(t *testing.T, unit string) map[string][]string {
	t.Helper()
	out, section := map[string][]string{}, ""
	for line := range strings.Lines(unit) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("no assignment: %q", line)
			}
			out[section+"/"+key] = append(out[section+"/"+key], value)
		}
	}
	return out
}

func TestUnit(t *testing.T) {
	got := directives(t, Unit)
	for key, want := range map[string]string{
		"Service/Type":                     "notify",
		"Service/NotifyAccess":             "main",
		"Service/ExecStart":                "/usr/bin/slipway run",
		"Service/Restart":                  "always",
		"Service/RestartPreventExitStatus": "78",
		"Service/KillMode":                 "process", // anything else kills hooks that have no scope of their own
		"Service/Delegate":                 "yes",
		"Service/TimeoutStopSec":           "150", // longer than stop_timeout (120 s)
		"Service/TimeoutAbortSec":          "10",  // not as long as a stop: a stuck agent finishes nothing
		"Unit/Wants":                       "network-online.target",
		"Unit/After":                       "network-online.target",
		"Unit/ConditionPathExists":         "!" + HoldFile,
		"Install/WantedBy":                 "multi-user.target",
	} {
		if !slices.Contains(got[key], want) {
			t.Errorf("%s = %q, want %q", key, got[key], want)
		}
	}
	if got["Service/WatchdogSec"] == nil {
		t.Error("no watchdog")
	}
	// Each of these would change what a hook may do: it inherits them.
	for _, key := range []string{"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "NoNewPrivileges", "SystemCallFilter", "CapabilityBoundingSet", "UMask", "MemoryMax", "TasksMax"} {
		if got["Service/"+key] != nil {
			t.Errorf("%s is set", key)
		}
	}
	if !strings.Contains(Preset, "enable "+UnitName) {
		t.Errorf("the preset does not enable %s", UnitName)
	}
}

func TestFilesEndInNewline(t *testing.T) {
	for name, text := range map[string]string{UnitName: Unit, SliceName: Slice, PresetName: Preset, TmpfilesName: Tmpfiles} {
		file, err := os.ReadFile(name)
		if err != nil || string(file) != text || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: the embedded text is not the file's, or does not end in a newline (%v)", name, err)
		}
	}
}

// The service manager's own opinion, where it is installed.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed: the units were not verified by it")
		return
	}
	dir := t.TempDir()
	for name, text := range map[string]string{UnitName: strings.Replace(Unit, "/usr/bin/slipway run", "/bin/true", 1), SliceName: Slice} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(analyze, "verify", "--man=no", path)
		cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=warning")
		out, err := cmd.CombinedOutput()
		// Complaints about other units of the machine are not ours.
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, name) {
				t.Errorf("systemd-analyze verify: %s", line)
			}
		}
		if err != nil && strings.TrimSpace(string(out)) != "" {
			t.Logf("%v: %s", err, out)
		}
	}
}
