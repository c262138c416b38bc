package provision_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// wantedDebs is all that the tests on a real host install. The host has no network: the packages are fetched outside, once, and lie in a folder
// that its apt reads.
var wantedDebs = []string{
	"apache2", "libapache2-mod-php8.2", "php8.2-cli", "php8.2-fpm", "php8.2-sqlite3", "php8.2-mbstring", "php8.2-mysql",
	"mariadb-server", "mariadb-client", "tzdata", "curl", "unzip",
}

// fetching keeps tests that run side by side from fetching the same.
var fetching sync.Mutex

// debs gives a folder with those packages and what they need on top of a root, and an index of them. It is kept in the user's cache.
func debs(t *testing.T, root string) string {
	t.Helper()
	fetching.Lock()
	defer fetching.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append(status, strings.Join(wantedDebs, " ")...))
	dir := filepath.Join(cache, "slipway", "provision", "debs-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(filepath.Join(dir, "Packages")); err == nil {
		return dir
	}
	work := t.TempDir()
	for _, d := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// apt resolves the paths that it is given, which one through the mount namespace of a host does not survive.
	for _, d := range []string{"etc/apt", "usr/share/keyrings"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, "root", d)), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(root, d), filepath.Join(work, "root", d)).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(work, "status"), status, 0o644); err != nil {
		t.Fatal(err)
	}
	options := []string{
		"-q", "-y", "-o", "APT::Sandbox::User=root", "-o", "Dir=" + filepath.Join(work, "root"), "-o", "Dir::State::status=" + filepath.Join(work, "status"),
		"-o", "Dir::State::lists=" + filepath.Join(work, "lists"), "-o", "Dir::Cache=" + work, "-o", "Dir::Cache::archives=" + filepath.Join(work, "archives"),
		"-o", "Debug::NoLocking=1", "-o", "Dir::Bin::methods=/usr/lib/apt/methods", "-o", "Dir::Bin::dpkg=/usr/bin/dpkg",
	}
	for _, args := range [][]string{{"update"}, append([]string{"--no-install-recommends", "--download-only", "install"}, wantedDebs...)} {
		if out, err := exec.Command("apt-get", append(options, args...)...).CombinedOutput(); err != nil {
			if os.Getenv("SLIPWAY_SYSTEMDTEST") == "must" {
				t.Fatalf("apt-get %s: %v\n%s", args[0], err, out)
			}
			t.Skipf("the packages of the test cannot be fetched: apt-get %s: %v\n%s", args[0], err, out)
		}
	}
	index(t, filepath.Join(work, "archives"))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	whole := filepath.Join(fresh, "debs")
	if out, err := exec.Command("cp", "-a", filepath.Join(work, "archives"), whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Rename(whole, dir); err != nil {
		if _, there := os.Stat(filepath.Join(dir, "Packages")); there != nil { // another process may have made it meanwhile
			t.Fatal(err)
		}
	}
	return dir
}

// index writes what apt reads of a folder of packages.
func index(t *testing.T, dir string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no packages in %s: %v", dir, err)
	}
	var b strings.Builder
	for _, name := range list {
		control, err := exec.Command("dpkg-deb", "--field", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", control, filepath.Base(name), len(data), sha256.Sum256(data))
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
