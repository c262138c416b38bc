package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only what can be read again from the file is let go: what was written to, and what is of others, stays.
func TestReadOnly(t *testing.T) {
	const maps = `00400000-00999000 r-xp 00000000 fe:00 123 /usr/bin/slipway
00999000-01234000 r--p 00599000 fe:00 123 /usr/bin/slipway
01234000-012f0000 rw-p 00e34000 fe:00 123 /usr/bin/slipway
012f0000-01310000 rw-p 00000000 00:00 0
c000000000-c000400000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:00 124 /usr/lib/other
7f0000002000-7f0000001000 r--p 00000000 fe:00 123 /usr/bin/slipway
nonsense
`
	want := []mapping{{0x400000, 0x999000}, {0x999000, 0x1234000}}
	if diff := cmp.Diff(want, readOnly([]byte(maps), "/usr/bin/slipway"), cmp.AllowUnexported(mapping{})); diff != "" {
		t.Error(diff)
	}
	letGo() // and the program goes on
}
