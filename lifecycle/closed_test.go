package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// V-56, V-111: a closed deployment root is passed through by others and read by none of them: what an agent left before, and what comes. A hook as
// another user is reached all the same. Only the archive has the modes that its bundle gives it.
func TestClosedRoot(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	if err := errors.Join(os.Chmod(filepath.Dir(b.dir), 0o755), os.Chmod(b.dir, 0o755)); err != nil { // nobody has to reach it
		t.Fatal(err)
	}
	script := "#!/bin/sh\nid -un\n"
	appspec := b.appspecOf("AfterInstall=say.sh")
	if os.Geteuid() == 0 { // another user's script is for root alone
		appspec += "      runas: nobody\n"
	}
	b.put("v1", map[string]string{"appspec.yml": appspec, "content": "one", "say.sh": script})
	b.put("v2", map[string]string{"appspec.yml": appspec, "content": "two", "say.sh": script})
	b.deploy(b.spec("d-ONE", "v1"), DownloadBundle, Install, AfterInstall)
	if info, err := os.Stat(filepath.Join(b.dir, "root")); err != nil || info.Mode().Perm() != 0o755 {
		t.Fatalf("an open root: %v, %v", info, err)
	}
	b.Close()

	b.open(zap.NewNop(), func(o *Options) { o.Closed = true })
	spec := b.spec("d-TWO", "v2")
	b.deploy(spec, DownloadBundle, Install, AfterInstall)
	if said := b.read("root/g-1/d-TWO/logs/scripts.log"); os.Geteuid() == 0 && !strings.Contains(said, "nobody") {
		t.Errorf("AfterInstall said %q", said)
	}
	root := filepath.Join(b.dir, "root")
	passed := map[string]bool{} // seen in the walk
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		switch depth := strings.Count(rel, "/"); {
		case d.Name() == archiveFolder:
			return fs.SkipDir
		case d.IsDir() && mode&0o006 != 0, !d.IsDir() && filepath.Dir(path) == filepath.Join(root, trackingFolder) && mode != 0o600:
			t.Errorf("%s is %v", rel, mode)
		case depth == 2 && !d.IsDir() && !strings.HasPrefix(rel, ".slipway"): // of a deployment
			passed[d.Name()] = true
			if mode != 0o600 && strings.Contains(rel, "d-TWO") {
				t.Errorf("%s is %v", rel, mode)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !passed[bundleFile] {
		t.Errorf("the walk saw %v", passed)
	}
	for name, want := range map[string]os.FileMode{"": 0o711, instructionsFolder: 0o700, trackingFolder: 0o700, logsFolder: 0o750} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
}
