// Package bundletest makes archives for tests: well-formed ones of any size, and hostile ones.
package bundletest

import "io"

// File is one entry of an archive.
type File struct {
	Name string
	Mode uint32 // unix permission bits with set-id bits
	Data string
	Link string // target, for a symbolic link
}

// WriteZip packs the files into a zip.
func WriteZip(w io.Writer, files []File) error { return nil }

// WriteTar packs the files into a tar.
func WriteTar(w io.Writer, files []File) error { return nil }

// WriteTgz packs the files into a tar compressed with gzip.
func WriteTgz(w io.Writer, files []File) error { return nil }
