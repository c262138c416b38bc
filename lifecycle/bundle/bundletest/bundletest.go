// Package bundletest makes archives for tests: well-formed ones of any size, and hostile ones. The same entries give the same bytes.
//
// It imports neither testing nor the code under test, so that any package's tests and any program may use it. Its writers panic on an
// entry that cannot be written: that is a mistake in the test.
package bundletest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// methodZstd is zstd's number among the methods of a zip.
const methodZstd = 93

// Time is the modification time of entries that have none of their own.
var Time = time.Date(2024, time.May, 17, 8, 30, 2, 0, time.UTC)

// Entry is one entry of an archive.
type Entry struct {
	Name string
	// Mode is the type and the permission bits, set-id bits included. Without a type, a name that ends in a slash is a folder and
	// anything else a file; without permission bits it is 0644, or 0755 for a folder.
	Mode fs.FileMode
	Data string
	// Target is where a symbolic link leads, or, with Hard, which entry a hard link is another name of. Only a tar has those.
	Target      string
	Hard        bool
	Time        time.Time // zero for Time
	UID, GID    int       // of a tar
	User, Group string    // of a tar
}

// Files are entries for a map from names to contents, in the order of the names. A name that ends in .sh is executable; a content that
// begins with "-> " is a symbolic link.
func Files(m map[string]string) []Entry {
	var out []Entry
	for _, name := range slices.Sorted(maps.Keys(m)) {
		e := Entry{Name: name, Data: m[name]}
		if target, ok := strings.CutPrefix(e.Data, "-> "); ok {
			e = Entry{Name: name, Mode: fs.ModeSymlink | 0o777, Target: target}
		} else if strings.HasSuffix(name, ".sh") {
			e.Mode = 0o755
		}
		out = append(out, e)
	}
	return out
}

// Tree is n small files as a web application has them, with an appspec that installs all of it into a folder: fifty to a folder,
// from a few hundred bytes to some kilobytes each, 4 KiB on average, text that compresses to about a half.
func Tree(n int, destination string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		appspec := "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: " + destination + "\n"
		if !yield(Entry{Name: "appspec.yml", Data: appspec}) {
			return
		}
		var text []byte
		random := uint64(n)*2862933555777941757 + 3037000493
		for i := range n {
			if i%50 == 0 && !yield(Entry{Name: fmt.Sprintf("src/module%03d/part%02d/", i/1000, i/50%20)}) {
				return
			}
			random = random*6364136223846793005 + 1442695040888963407
			size := 256 + int(random>>40)%7680
			text = fmt.Appendf(text[:0], "<?php\n// part %d\n", i)
			for len(text) < size {
				random = random*6364136223846793005 + 1442695040888963407
				text = append(strconv.AppendUint(append(text, "function f"...), random>>44, 16), "($a) { return $this->render('"...)
				text = append(strconv.AppendUint(text, random>>20&0xffffff, 16), "', ['x' => "...)
				text = append(strconv.AppendUint(text, random>>33&0xffff, 10), "]); }\n"...)
			}
			if !yield(Entry{Name: fmt.Sprintf("src/module%03d/part%02d/File%05d.php", i/1000, i/50%20, i), Data: string(text)}) {
				return
			}
		}
	}
}

// GitHub puts entries into a folder with the name that GitHub gives it, as its tarballs and zipballs have it (I-20).
func GitHub(account, repository, commit string, entries []Entry) []Entry {
	top := fmt.Sprintf("%s-%s-%.7s/", account, repository, commit)
	out := []Entry{{Name: top}}
	for _, e := range entries {
		e.Name = top + e.Name
		out = append(out, e)
	}
	return out
}

// Zip packs entries into a zip.
func Zip(entries ...Entry) []byte { return pack(WriteZip, entries) }

// ZipZstd packs entries into a zip whose contents are compressed with zstd.
func ZipZstd(entries ...Entry) []byte { return pack(WriteZipZstd, entries) }

// Tar packs entries into a tar without compression.
func Tar(entries ...Entry) []byte { return pack(WriteTar, entries) }

// Tgz packs entries into a tar compressed with gzip.
func Tgz(entries ...Entry) []byte { return pack(WriteTgz, entries) }

func pack(write func(io.Writer, iter.Seq[Entry]) error, entries []Entry) []byte {
	var b bytes.Buffer
	must(write(&b, slices.Values(entries)))
	return b.Bytes()
}

func must(err error) {
	if err != nil {
		panic("bundletest: " + err.Error())
	}
}

// WriteZip packs entries into a zip, one after the other.
func WriteZip(w io.Writer, entries iter.Seq[Entry]) error {
	return writeZip(zip.NewWriter(w), zip.Deflate, entries)
}

// WriteZipZstd packs entries into a zip whose contents are compressed with zstd, one after the other.
func WriteZipZstd(w io.Writer, entries iter.Seq[Entry]) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(methodZstd, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) })
	return writeZip(z, methodZstd, entries)
}

func writeZip(z *zip.Writer, method uint16, entries iter.Seq[Entry]) error {
	for e := range entries {
		e = e.complete()
		h := &zip.FileHeader{Name: e.Name, Method: method, Modified: e.Time}
		h.SetMode(e.Mode)
		content := e.Data
		if e.Mode&fs.ModeSymlink != 0 {
			content, h.Method = e.Target, zip.Store
		}
		if e.Mode.IsDir() {
			h.Method = zip.Store
		}
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(f, content); err != nil {
			return err
		}
	}
	return z.Close()
}

// WriteTar packs entries into a tar, one after the other.
func WriteTar(w io.Writer, entries iter.Seq[Entry]) error {
	t := tar.NewWriter(w)
	for e := range entries {
		if err := writeTarEntry(t, e.complete()); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeTarEntry(t *tar.Writer, e Entry) error {
	h := &tar.Header{
		Name: e.Name, Mode: int64(e.Mode.Perm()), ModTime: e.Time, Uid: e.UID, Gid: e.GID, Uname: e.User, Gname: e.Group,
		Typeflag: tar.TypeReg, Format: tar.FormatPAX,
	}
	for bit, octal := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if e.Mode&bit != 0 {
			h.Mode |= octal
		}
	}
	switch {
	case e.Hard:
		h.Typeflag, h.Linkname = tar.TypeLink, e.Target
	case e.Mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case e.Mode.IsDir():
		h.Typeflag = tar.TypeDir
	case e.Mode&fs.ModeCharDevice != 0:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 1, 3
	case e.Mode&fs.ModeDevice != 0:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, 7, 0
	case e.Mode&fs.ModeNamedPipe != 0:
		h.Typeflag = tar.TypeFifo
	default:
		h.Size = int64(len(e.Data))
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(t, e.Data[:h.Size])
	return err
}

// WriteTgz packs entries into a tar compressed with gzip, one after the other.
func WriteTgz(w io.Writer, entries iter.Seq[Entry]) error {
	z := gzip.NewWriter(w)
	if err := WriteTar(z, entries); err != nil {
		return err
	}
	return z.Close()
}

// complete fills in what an entry leaves out.
func (e Entry) complete() Entry {
	if e.Time.IsZero() {
		e.Time = Time
	}
	if e.Mode.Type() == 0 && strings.HasSuffix(e.Name, "/") {
		e.Mode |= fs.ModeDir
	}
	if e.Mode.Perm() == 0 {
		e.Mode |= 0o644
		if e.Mode.IsDir() {
			e.Mode |= 0o111
		}
	}
	if e.Mode.IsDir() && !strings.HasSuffix(e.Name, "/") {
		e.Name += "/"
	}
	return e
}
