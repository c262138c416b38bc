package rehearse

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What others write on the disk ends no rehearsal, as far as it can be told from what the rehearsal writes.
func TestDiskWatch(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	const mib = 1 << 20
	write := func(t *testing.T, name string, size int) {
		t.Helper()
		must(t, os.WriteFile(name, bytes.Repeat([]byte{'x'}, size), 0o600))
	}
	for _, tt := range []struct {
		name           string
		others, layers int // MiB
		links          int // names of the file in the layers
		ends           string
	}{
		{name: "nobody writes"},
		{name: "others write", others: 100},
		{name: "the rehearsal writes within its bound", layers: 30},
		{name: "both, within the bound", others: 100, layers: 30},
		{name: "the rehearsal writes more", layers: 40, ends: "what may be written into /named, 32 MiB, is used up"},
		{name: "a file of many names counts once", layers: 30, links: 5},
		{name: "others fill the disk", others: 300, ends: "are free on the file system of /named"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "disk")
			mounted(t, base, "tmpfs", "size=512m")
			store := filepath.Join(base, "store")
			must(t, os.MkdirAll(filepath.Join(store, "u0/a/b"), 0o755))
			w := newDiskWatch(store, "/named", 32*mib)
			write(t, filepath.Join(base, "theirs"), tt.others*mib)
			ours := filepath.Join(store, "u0/a/b/ours")
			write(t, ours, tt.layers*mib)
			for i := range tt.links {
				must(t, os.Link(ours, ours+strings.Repeat("i", i+1)))
			}
			for range 3 { // the second look goes by what the first has found
				if why := w.look(); (why == "") != (tt.ends == "") || !strings.Contains(why, tt.ends) {
					t.Errorf("it ends because of %q, want %q", why, tt.ends)
				}
			}
		})
	}
}
