package install

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Files are equal when both have the size that they should and the same content; that a file is longer or shorter than it was is seen.
func TestEqualFiles(t *testing.T) {
	const buffer = 64
	for _, tt := range []struct {
		size, src, dst int
		differ         bool // in the last byte
		want           bool
	}{
		{size: 0, src: 0, dst: 0, want: true},
		{size: 0, src: 0, dst: 1},
		{size: 0, src: 1, dst: 1},
		{size: 5, src: 5, dst: 5, want: true},
		{size: 5, src: 5, dst: 5, differ: true},
		{size: 5, src: 5, dst: 6},
		{size: 5, src: 6, dst: 5},
		{size: 5, src: 6, dst: 6},
		{size: 5, src: 5, dst: 4},
		{size: 5, src: 4, dst: 4},
		{size: buffer - 1, src: buffer - 1, dst: buffer - 1, want: true},
		{size: buffer, src: buffer, dst: buffer, want: true},
		{size: buffer, src: buffer, dst: buffer, differ: true},
		{size: buffer, src: buffer, dst: buffer + 1},
		{size: buffer, src: buffer + 1, dst: buffer + 1},
		{size: buffer + 1, src: buffer + 1, dst: buffer + 1, want: true},
		{size: 3 * buffer, src: 3 * buffer, dst: 3 * buffer, want: true},
		{size: 3 * buffer, src: 3 * buffer, dst: 3 * buffer, differ: true},
		{size: 3 * buffer, src: 3 * buffer, dst: 3*buffer + 1},
		{size: 3 * buffer, src: 2 * buffer, dst: 2 * buffer},
	} {
		t.Run(fmt.Sprintf("%d, of %d and %d, differ %t", tt.size, tt.src, tt.dst, tt.differ), func(t *testing.T) {
			var dirs [2]int
			for i, size := range []int{tt.src, tt.dst} {
				data := bytes.Repeat([]byte("ab"), size/2+1)[:size]
				if tt.differ && i == 1 {
					data[size-1]++
				}
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "f"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer closeFD(fd)
				dirs[i] = fd
			}
			got, err := equalFiles(dirs[0], dirs[1], "f", int64(tt.size), [2][]byte{make([]byte, buffer), make([]byte, buffer)})
			if err != nil || got != tt.want {
				t.Errorf("equal %t, %v, want %t", got, err, tt.want)
			}
		})
	}
}
