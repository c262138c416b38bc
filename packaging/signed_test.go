package packaging

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway/systemd/systemdtest"
)

// throwAway is an OpenPGP key of this run of the tests.
type throwAway struct {
	sync.Once
	home           string // of gpg
	secret, public string // files
	passphrase     string
	err            error
}

var key = throwAway{passphrase: "throw away"}

// signingKey makes the key that packages of tests are signed with.
func signingKey(t *testing.T) *throwAway {
	t.Helper()
	for _, need := range [][2]string{{"gpg", "gpg"}, {"gpg-agent", "gpg-agent"}, {"gpgv", "gpgv"}} {
		if _, err := exec.LookPath(need[0]); err != nil {
			t.Skipf("needs %s: install the package %s", need[0], need[1])
		}
	}
	key.Do(func() {
		if key.home, key.err = os.MkdirTemp("", "slipway-key-"); key.err != nil { // not in a test's folder: the socket of gpg-agent lies in it
			return
		}
		key.secret, key.public = filepath.Join(key.home, "secret.asc"), filepath.Join(key.home, "public.asc")
		for _, args := range [][]string{
			{"--quick-gen-key", "Throw Away <throwaway@example.org>", "rsa3072", "sign", "1d"},
			{"--armor", "--output", key.secret, "--export-secret-keys"},
			{"--armor", "--output", key.public, "--export"},
			{"--output", filepath.Join(key.home, "public.gpg"), "--export"},
		} {
			if key.err = run(os.Environ(), "gpg", append([]string{"--homedir", key.home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", key.passphrase}, args...)...); key.err != nil {
				return
			}
		}
	})
	if key.err != nil {
		t.Fatalf("make a key: %v", key.err)
	}
	return &key
}

func throwKeyAway() {
	if key.home != "" {
		_ = exec.Command("gpgconf", "--homedir", key.home, "--kill", "all").Run()
		os.RemoveAll(key.home)
	}
}

// spoilt is a copy of a file with one byte changed, at the distance from its end.
func spoilt(t *testing.T, name string, fromEnd int) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-fromEnd] ^= 1
	copied := filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// The rpm is signed in its header, which holds a digest of the payload: rpm knows both, and what was changed.
func TestSignedRPM(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	if _, err := exec.LookPath("rpmkeys"); err != nil {
		t.Skip("needs rpmkeys: install the package rpm")
	}
	rpm := filepath.Join(built(t, current(t)), "slipway-"+current(t)+"-1.x86_64.rpm")
	db := t.TempDir()
	checksig := func(name string) (string, error) {
		out, err := exec.Command("rpmkeys", "--dbpath", db, "--checksig", name).CombinedOutput()
		return string(out), err
	}
	if got, err := checksig(rpm); err == nil || !strings.Contains(got, "SIGNATURES NOT OK") {
		t.Errorf("without the key: %v, %s", err, got)
	}
	if err := run(os.Environ(), "rpmkeys", "--dbpath", db, "--import", signingKey(t).public); err != nil {
		t.Fatal(err)
	}
	got, err := checksig(rpm)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(got), "digests signatures OK") {
		t.Errorf("with the key: %v, %s", err, got)
	}
	t.Log(strings.TrimPrefix(got, filepath.Dir(rpm)+"/"))
	got, err = checksig(spoilt(t, rpm, 1<<20))
	if err == nil || !strings.Contains(got, "NOT OK") {
		t.Errorf("one byte of the payload changed: %v, %s", err, got)
	}
	t.Log(filepath.Base(got))
}

// The deb carries a signature of its members as debsig-verify reads it: over all of them, one after the other.
func TestSignedDeb(t *testing.T) {
	deb := filepath.Join(built(t, current(t)), "slipway_"+current(t)+"-1_amd64.deb")
	signingKey(t)
	verify := func(name string) (string, error) {
		t.Helper()
		signature := filepath.Join(t.TempDir(), "origin.asc")
		text, err := exec.Command("ar", "p", name, "_gpgorigin").Output()
		if err == nil {
			err = os.WriteFile(signature, text, 0o600)
		}
		if err != nil {
			t.Fatalf("the signature in %s: %v", name, err)
		}
		signed, err := exec.Command("ar", "p", name, "debian-binary", "control.tar.gz", "data.tar.xz").Output()
		if err != nil || len(signed) < 1<<20 {
			t.Fatalf("%d bytes are signed in %s: %v", len(signed), name, err)
		}
		cmd := exec.Command("gpgv", "--homedir", key.home, "--keyring", filepath.Join(key.home, "public.gpg"), signature, "-")
		cmd.Stdin = bytes.NewReader(signed)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if got, err := verify(deb); err != nil || !strings.Contains(got, "Good signature from \"Throw Away") {
		t.Errorf("the signature: %v, %s", err, got)
	}
	if got, err := verify(spoilt(t, deb, 1<<20)); err == nil || !strings.Contains(got, "BAD signature") {
		t.Errorf("one byte of the payload changed: %v, %s", err, got)
	}
	if err := run(os.Environ(), "dpkg-deb", "--info", deb); err != nil { // and dpkg takes no offence at it
		t.Error(err)
	}
}

// TestDigestsAndSBOM: SHA256SUMS names every other file and holds, and the SBOM of a program names its version and what it is made of.
func TestDigestsAndSBOM(t *testing.T) {
	version := current(t)
	dir := built(t, version)
	cmd := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := f.Name(); name != "SHA256SUMS" && !strings.Contains(string(out), name+": OK\n") {
			t.Errorf("SHA256SUMS does not name %s", name)
		}
	}
	program := filepath.Join(dir, "slipway_"+version+"_linux_amd64")
	data, err := os.ReadFile(program + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(data, &sbom); err != nil {
		t.Fatal(err)
	}
	if sbom.BOMFormat != "CycloneDX" || sbom.Metadata.Component.Name != "slipway" || sbom.Metadata.Component.Version != "v"+version {
		t.Errorf("the SBOM is one of %+v", sbom.Metadata.Component)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]string{}
	for _, c := range sbom.Components {
		in[c.Name] = c.Version
	}
	for _, m := range info.Deps {
		if in[m.Path] != m.Version {
			t.Errorf("the program has %s %s in it, and the SBOM %q of it", m.Path, m.Version, in[m.Path])
		}
	}
	if len(info.Deps) < 5 {
		t.Errorf("the program has only %d modules in it", len(info.Deps))
	}
}
