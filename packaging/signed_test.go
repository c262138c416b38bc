package packaging

import (
	"bytes"
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
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("needs gpg: install the package gnupg")
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
