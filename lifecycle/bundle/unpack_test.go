package bundle

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle/bundle/bundletest"
)

// unpackInto unpacks data into a fresh folder and returns it.
func unpackInto(t *testing.T, data []byte, format Format) (string, Stats) {
	t.Helper()
	b := newBench(t, memoryFS(t))
	stats, err := Unpack(t.Context(), archiveFile(t, t.TempDir(), data), format, b.root, DefaultLimits)
	if err != nil {
		t.Fatalf("Unpack(%s): %v", format, err)
	}
	return b.dir, stats
}

// attributes are mode, owner and time of everything in a folder.
func attributes(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, name)
		out[rel] = fmt.Sprintf("%o %d:%d %s", st.Mode, st.Uid, st.Gid, info.ModTime().UTC().Format(time.RFC3339Nano))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sample() []bundletest.Entry {
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	return []bundletest.Entry{
		{Name: "./", Mode: fs.ModeDir | 0o711},
		{Name: "appspec.yml", Data: "version: 0.0\n"},
		{Name: "bin/", Mode: fs.ModeDir | 0o750, Time: old},
		{Name: "bin/run.sh", Mode: 0o755, Data: "#!/bin/sh\n", Time: old},
		{Name: "bin/secret", Mode: 0o600, Data: "s"},
		{Name: "empty"},
		{Name: "big", Data: strings.Repeat("0123456789abcdef", 40_000)},
		{Name: "closed/", Mode: fs.ModeDir | 0o555, Time: old},
		{Name: "closed/in/", Mode: fs.ModeDir | 0o500, Time: old},
		{Name: "closed/in/f", Mode: 0o444, Data: "f"},
		{Name: "implied/f", Data: "f"},
		{Name: "current", Mode: fs.ModeSymlink | 0o777, Target: "releases/1", Time: old},
		{Name: "log", Mode: fs.ModeSymlink | 0o777, Target: "/var/log/app"},
		{Name: strings.Repeat("long-", 40) + "/" + strings.Repeat("name-", 30) + ".txt", Data: "long"},
		{Name: "\u65e5\u672c\u8a9e/caf\u00e9.txt", Data: "utf-8"},
	}
}

// I-18, I-19, X-5, X-6: what is unpacked is what the programs of the reference unpack: contents, modes, times, owners, links.
func TestUnpackLikeThePrograms(t *testing.T) {
	entries := sample()
	tarred := append(entries,
		bundletest.Entry{Name: "setuid", Mode: fs.ModeSetuid | 0o755, Data: "x"},
		bundletest.Entry{Name: "setgid/", Mode: fs.ModeDir | fs.ModeSetgid | 0o775},
		bundletest.Entry{Name: "sticky/", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		bundletest.Entry{Name: "theirs", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o750, UID: 4242, GID: 4243, Data: "x"},
		bundletest.Entry{Name: "by-name", UID: 4242, GID: 4243, User: "nobody", Group: "daemon", Data: "x"},
		bundletest.Entry{Name: "unknown-name", UID: 4242, GID: 4243, User: "no-such-user", Group: "no-such-group", Data: "x"},
		bundletest.Entry{Name: "their-link", Mode: fs.ModeSymlink | 0o777, Target: "theirs", UID: 4242, GID: 4243},
		bundletest.Entry{Name: "hard", Hard: true, Target: "bin/run.sh"},
	)
	setID := append(sample(), bundletest.Entry{Name: "setuid", Mode: fs.ModeSetuid | 0o755, Data: "x"})
	for _, c := range []struct {
		format  Format
		data    []byte
		program func(archive, to string) []string
	}{
		{Zip, bundletest.Zip(setID...), func(archive, to string) []string { return []string{"unzip", "-qo", archive, "-d", to} }},
		{Tar, bundletest.Tar(tarred...), func(archive, to string) []string { return []string{"tar", "-xpsf", archive, "-C", to} }},
		{Tgz, bundletest.Tgz(tarred...), func(archive, to string) []string { return []string{"tar", "-xpszf", archive, "-C", to} }},
		{Tar, bundletest.Tgz(tarred...), func(archive, to string) []string { return []string{"tar", "-xpsf", archive, "-C", to} }},
	} {
		t.Run(string(c.format), func(t *testing.T) {
			theirs := filepath.Join(memoryFS(t), "theirs")
			if err := os.Mkdir(theirs, 0o755); err != nil {
				t.Fatal(err)
			}
			argv := c.program(archiveFile(t, t.TempDir(), c.data).Name(), theirs)
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // unzip spells other names out
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", argv, err, out)
			}
			ours, stats := unpackInto(t, c.data, c.format)
			if diff := cmp.Diff(treeOf(t, theirs), treeOf(t, ours)); diff != "" {
				t.Errorf("content (-theirs +ours):\n%s", diff)
			}
			want, got := attributes(t, theirs), attributes(t, ours)
			// A folder without an entry has the time of the unpacking.
			for _, name := range []string{"implied", strings.Repeat("long-", 40), "\u65e5\u672c\u8a9e"} {
				want[name], _, _ = strings.Cut(want[name], "20")
				got[name], _, _ = strings.Cut(got[name], "20")
			}
			if c.format == Zip { // unzip leaves links the time of the unpacking
				for _, name := range []string{"current", "log"} {
					delete(want, name)
				}
				if got["current"] != fmt.Sprintf("120777 %d:%d 2001-02-03T04:05:06Z", os.Getuid(), os.Getgid()) {
					t.Errorf("current: %s", got["current"])
				}
				delete(got, "current")
				delete(got, "log")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("attributes (-theirs +ours):\n%s", diff)
			}
			files := 9
			if c.format != Zip {
				files += 5
			} else {
				files++
			}
			if stats.Links != 2 && c.format == Zip || stats.Files < files-1 || stats.Bytes < 640_000 {
				t.Errorf("Stats = %+v", stats)
			}
		})
	}
}

// The offset of the file does not matter: it is where the download left it.
func TestUnpackReadsFromTheStart(t *testing.T) {
	for format, data := range map[Format][]byte{Zip: bundletest.Zip(sample()...), Tar: bundletest.Tar(sample()...), Tgz: bundletest.Tgz(sample()...)} {
		b := newBench(t, memoryFS(t))
		f := archiveFile(t, t.TempDir(), data)
		if _, err := f.Seek(100, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(t.Context(), f, format, b.root, DefaultLimits); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// The zip reader here reads the list of entries by itself: it must see what archive/zip sees.
func TestZipListLikeTheLibrary(t *testing.T) {
	var wide bytes.Buffer
	z := zip.NewWriter(&wide)
	for i := range 70_000 { // more than 65,535 need zip64
		h := &zip.FileHeader{Name: fmt.Sprintf("d%d/f%d", i/1000, i), Modified: bundletest.Time}
		h.SetMode(0o640)
		if _, err := z.CreateHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"sample": bundletest.Zip(sample()...), "zip64": wide.Bytes(), "behind something": append([]byte(strings.Repeat("prefix", 1000)), bundletest.Zip(sample()...)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(data)
			want, err := zip.NewReader(r, r.Size())
			if err != nil {
				t.Fatal(err)
			}
			dir, err := openZip(r, r.Size())
			if err != nil || dir == nil {
				t.Fatalf("openZip() = %v, %v", dir, err)
			}
			i := 0
			for e, err := range dir.entries() {
				if err != nil {
					t.Fatal(err)
				}
				f := want.File[i]
				i++
				body, _ := f.DataOffset()
				var header [zipLocalLen]byte
				if err := readAt(r, header[:], e.offset); err != nil {
					t.Fatal(err)
				}
				at, err := e.bodyAt(header[:])
				if err != nil {
					t.Fatal(err)
				}
				got := fmt.Sprint(e.name, e.mode, e.size, e.packed, e.crc, e.method, e.mtime.Sec, at)
				if wanted := fmt.Sprint(f.Name, f.Mode(), f.UncompressedSize64, f.CompressedSize64, f.CRC32, f.Method, f.Modified.Unix(), body); got != wanted {
					t.Fatalf("entry %d = %s, want %s", i, got, wanted)
				}
			}
			if i != len(want.File) {
				t.Errorf("%d entries, want %d", i, len(want.File))
			}
		})
	}
}

// Extra fields: wide sizes, times, names.
func TestZipExtraFields(t *testing.T) {
	utc := bundletest.Time.Unix()
	for _, c := range []struct {
		name string
		in   zipEntry
		b    []byte
		want zipEntry
		says string
	}{
		{
			name: "zip64 sizes", in: zipEntry{size: 1<<32 - 1, packed: 1<<32 - 1, offset: 7}, b: []byte("\x01\x00\x10\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"),
			want: zipEntry{size: 2 << 32, packed: 1 << 32, offset: 7},
		},
		{name: "zip64 too short", in: zipEntry{name: "f", size: 1<<32 - 1}, b: []byte("\x01\x00\x04\x00\x00\x00\x00\x00"), says: "too short"},
		{name: "extended time stamp", b: append([]byte("UT\x05\x00\x01"), byte(utc), byte(utc>>8), byte(utc>>16), byte(utc>>24)), want: zipEntry{mtime: unix.Timespec{Sec: utc}}},
		{name: "time before 1970", b: []byte("UT\x05\x00\x01\xff\xff\xff\xff"), want: zipEntry{mtime: unix.Timespec{Sec: -1}}},
		{name: "unicode path of another name", in: zipEntry{name: "raw"}, b: []byte("up\x06\x00\x01\x00\x00\x00\x00x"), want: zipEntry{name: "raw"}},
		{name: "unicode path", in: zipEntry{name: "raw"}, b: []byte("up\x08\x00\x01\x58\x4c\x31\x62caf"), want: zipEntry{name: "raw"}},
		{name: "padding", b: []byte("\x00\x00\xff\xff\x00"), want: zipEntry{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.in.extra(c.b, []byte(c.in.name))
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("extra() = %v, want it to say %q", err, c.says)
				}
				return
			}
			if c.in != c.want || err != nil {
				t.Errorf("entry %+v, %v; want %+v", c.in, err, c.want)
			}
		})
	}
}

// Archives of other programs: attributes of FAT, no modes, bzip2, a tar from before ustar, GNU's long names and sparse files.
func TestUnpackFromOtherPrograms(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	long := strings.Repeat("folder-with-a-long-name/", 8)
	for name, data := range map[string]string{"f": "x", long + strings.Repeat("n", 150): "long", "big": strings.Repeat("big ", 100_000)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(in, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(in, name), []byte(data), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("f", filepath.Join(in, "l")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(in, "f"), filepath.Join(in, "h")); err != nil {
		t.Fatal(err)
	}
	hole, err := os.Create(filepath.Join(in, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hole.WriteAt([]byte("end"), 3<<20); err != nil {
		t.Fatal(err)
	}
	hole.Close()
	want, wantAttributes := treeOf(t, in), attributes(t, in)
	for _, c := range []struct {
		format Format
		argv   []string
	}{
		{Tar, []string{"tar", "--format=gnu", "-cf", "OUT", "."}},
		{Tar, []string{"tar", "--format=gnu", "--sparse", "-cf", "OUT", "."}},
		{Tar, []string{"tar", "--format=posix", "--sparse", "-cf", "OUT", "."}},
		{Tar, []string{"tar", "--format=posix", "-cjf", "OUT", "."}},
		{Tgz, []string{"tar", "--format=posix", "-czf", "OUT", "f", "h", "l", "big", "sparse", strings.SplitN(long, "/", 2)[0]}},
		{Zip, []string{"zip", "-qry", "OUT", "."}},
		{Zip, []string{"zip", "-qryZ", "bzip2", "OUT", "."}},
		{Zip, []string{"zip", "-qry0", "OUT", "."}},
		{Zip, []string{"sh", "-c", "zip -qry - . > OUT"}}, // sizes behind the content
	} {
		t.Run(strings.Join(c.argv[:3], " "), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "archive."+string(c.format))
			for i := range c.argv {
				c.argv[i] = strings.ReplaceAll(c.argv[i], "OUT", out)
			}
			cmd := exec.Command(c.argv[0], c.argv[1:]...)
			cmd.Dir, cmd.Env = in, append(os.Environ(), "LC_ALL=C.UTF-8")
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", c.argv, err, said)
			}
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := unpackInto(t, data, c.format)
			if diff := cmp.Diff(want, treeOf(t, got)); diff != "" {
				t.Errorf("content (-packed +unpacked):\n%s", diff)
			}
			gotAttributes := attributes(t, got)
			for name, was := range wantAttributes {
				// Whole seconds: older formats have no more.
				a, b := strings.Split(was, "."), strings.Split(strings.TrimSuffix(gotAttributes[name], "Z"), ".")
				if strings.TrimSuffix(a[0], "Z") != b[0] {
					t.Errorf("%s: %s, want %s", name, gotAttributes[name], was)
				}
			}
			if strings.Contains(strings.Join(c.argv, " "), "--sparse") {
				var st unix.Stat_t
				if err := unix.Stat(filepath.Join(got, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
					t.Errorf("the sparse file has %d blocks, %v", st.Blocks, err)
				}
			}
		})
	}
}

// What is compressed with zstd comes out as what is compressed otherwise.
func TestZipZstd(t *testing.T) {
	entries := append(sample(), numberedFiles(200)...)
	for i := range 6 { // each larger than what is unpacked at once
		entries = append(entries, bundletest.Entry{Name: fmt.Sprintf("large%d", i), Data: strings.Repeat(string(noise(1000+i)), 3000)})
	}
	want, _ := unpackInto(t, bundletest.Zip(entries...), Zip)
	got, _ := unpackInto(t, bundletest.ZipZstd(entries...), Zip)
	if diff := cmp.Diff(treeOf(t, want), treeOf(t, got)); diff != "" {
		t.Errorf("content (-deflate +zstd):\n%s", diff)
	}
}

// A zip that was not made on Unix has no modes.
func TestZipWithoutModes(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"d/", "d/f"} {
		if _, err := z.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := z.CreateHeader(&zip.FileHeader{Name: "readonly", ExternalAttrs: 1}); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir, _ := unpackInto(t, b.Bytes(), Zip)
	for name, want := range map[string]fs.FileMode{"d": fs.ModeDir | 0o755, "d/f": 0o644, "readonly": 0o444} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// V7 tars have no magic.
func TestTarFromBeforeUstar(t *testing.T) {
	b := bundletest.Tar(bundletest.Entry{Name: "f", Data: "x"})
	plain := func(h []byte) {
		clear(h[257:512])
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	}
	plain(b[:512])
	dir, _ := unpackInto(t, b, Tar)
	if diff := cmp.Diff(map[string]string{"f": "x"}, treeOf(t, dir)); diff != "" {
		t.Error(diff)
	}
}
