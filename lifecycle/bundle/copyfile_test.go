package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file that is another size by the time it is read is copied as it is then (I-17).
func TestCopyOfFileThatChanges(t *testing.T) {
	for _, tt := range []struct{ size, is int }{
		{0, 0},
		{0, 5},
		{5, 0},
		{5, 5},
		{5, 4},
		{5, 6},
		{5, 7},
		{5, 2 * copySmall},
		{copySmall, copySmall},
		{copySmall, copySmall - 1},
		{copySmall, copySmall + 1},
		{copySmall, 3*copySmall + 1},
		{copySmall + 1, copySmall + 1},
		{copySmall + 1, 3},
		{3 * copySmall, 4*copySmall + 1},
	} {
		t.Run(fmt.Sprintf("%d is %d", tt.size, tt.is), func(t *testing.T) {
			dir := t.TempDir()
			text := strings.Repeat("0123456789abcdef!", tt.is/17+1)[:tt.is]
			name := filepath.Join(dir, "from")
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			from, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			to, err := os.Create(filepath.Join(dir, "to"))
			if err != nil {
				t.Fatal(err)
			}
			f := &filler{ctx: t.Context(), copier: &copier{}}
			f.noClone.Store(true) // which would not look at the size
			if err := f.do(copyJob{from: from, to: to, size: int64(tt.size)}); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to.Name())
			if err != nil || string(got) != text {
				t.Errorf("%d bytes, %v, want %d", len(got), err, tt.is)
			}
		})
	}
}
