package bundle

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle/bundletest"
)

// fuzzUnpack says of any bytes: no panic, nothing outside the folder changes, the limits hold, and what comes out is files, folders
// and links.
func fuzzUnpack(f *testing.F, formats ...Format) {
	// Short seeds: the fuzzer spends its time on making long ones shorter.
	const short = 4 << 10
	for _, row := range bundletest.HostileArchives() {
		for _, format := range formats {
			if row.Format != string(format) {
				continue
			}
			if data := row.Data(); len(data) < short {
				f.Add(data)
			}
		}
	}
	few := bundletest.Files(map[string]string{"appspec.yml": "version: 0.0\n", "d/run.sh": "#!/bin/sh\n", "l": "-> d"})
	for _, data := range [][]byte{bundletest.Zip(few...), bundletest.Tar(few...)[:3584], bundletest.Tgz(few...)} {
		f.Add(data)
	}
	limits := Limits{MaxSize: 1 << 20, MaxFiles: 300, MaxRatio: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range formats {
			b := newBench(t, memoryFS(t))
			archive := archiveFile(t, b.base, data)
			before := b.outside(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			stats, err := Unpack(ctx, archive, format, b.root, limits)
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%s: no end after 20 s", format)
			}
			cancel()
			archive.Close()
			b.root.Close()
			if diff := cmp.Diff(before, b.outside(t)); diff != "" {
				t.Fatalf("%s: something outside changed (-before +after):\n%s", format, diff)
			}
			entries := 0
			for name := range treeOf(t, b.dir) {
				entries++
				info, err := os.Lstat(b.dir + "/" + name)
				if err != nil {
					t.Fatal(err)
				}
				if kind := info.Mode().Type(); kind != 0 && kind != os.ModeDir && kind != os.ModeSymlink {
					t.Errorf("%s: %q is %v", format, name, info.Mode())
				}
			}
			// The entry that goes over the limit may have made a folder.
			if entries > limits.MaxFiles+1 || err == nil && stats.Bytes > limits.MaxSize {
				t.Errorf("%s: %d entries, %+v", format, entries, stats)
			}
			os.RemoveAll(b.base)
		}
	})
}

func FuzzUnpackZip(f *testing.F) { fuzzUnpack(f, Zip) }

func FuzzUnpackTar(f *testing.F) { fuzzUnpack(f, Tar, Tgz) }
