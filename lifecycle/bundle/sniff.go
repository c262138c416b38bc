package bundle

import (
	"bytes"
	"fmt"
	"strings"
)

// content is what the first bytes of a file look like.
type content string

const (
	isZip     content = "a zip archive"
	isTar     content = "a tar archive"
	isGzip    content = "compressed with gzip"
	isBzip2   content = "compressed with bzip2"
	isUnknown content = "not an archive"
)

// magics are the beginnings by which files are known. The first that fits is taken.
var magics = []struct {
	at    int
	magic string
	is    content
}{
	{0, "PK\x03\x04", isZip},
	{0, "PK\x05\x06", isZip},
	{0, "PK\x07\x08", "a zip archive in several volumes"},
	{0, "\x1f\x8b", isGzip},
	{0, "BZh", isBzip2},
	{257, "ustar", isTar},
	{0, "\xfd7zXZ\x00", "compressed with xz"},
	{0, "\x28\xb5\x2f\xfd", "compressed with zstd"},
	{0, "\x1f\x9d", "compressed with compress"},
	{0, "LZIP", "compressed with lzip"},
	{0, "7z\xbc\xaf\x27\x1c", "a 7-Zip archive"},
	{0, "Rar!", "a RAR archive"},
	{0, "\xed\xab\xee\xdb", "an RPM package"},
	{0, "!<arch>", "an ar archive or a Debian package"},
	{0, "\x7fELF", "a program"},
	{0, "#!", "a script"},
	{0, "%PDF", "a PDF document"},
	{0, "version https://git-lfs", "a Git LFS pointer, not the file it stands for"},
}

// sniff looks at the first bytes of a file, 512 or more if it has them.
func sniff(head []byte) content {
	for _, m := range magics {
		if len(head) >= m.at && bytes.HasPrefix(head[m.at:], []byte(m.magic)) {
			return m.is
		}
	}
	if tarChecksum(head) {
		return isTar
	}
	text := strings.ToLower(string(bytes.TrimSpace(bytes.TrimPrefix(head[:min(len(head), 512)], []byte("\xef\xbb\xbf")))))
	switch {
	case strings.HasPrefix(text, "<!doctype html") || strings.HasPrefix(text, "<html"):
		return "an HTML page"
	case strings.HasPrefix(text, "<?xml") || strings.HasPrefix(text, "<error"):
		return "an XML document"
	case strings.HasPrefix(text, "{") || strings.HasPrefix(text, "["):
		return "a JSON document"
	case text == "":
		return "nothing but blanks"
	case bytes.Count(head, []byte{0}) == len(head):
		return "nothing but zeros"
	}
	return isUnknown
}

// tarChecksum knows the header of a tar from before ustar by its checksum.
func tarChecksum(head []byte) bool {
	if len(head) < 512 || head[0] == 0 {
		return false
	}
	var want, sum int64
	digits := 0
	for _, c := range bytes.Trim(head[148:156], " \x00") {
		if c < '0' || c > '7' {
			return false
		}
		want, digits = want*8+int64(c-'0'), digits+1
	}
	for i, c := range head[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return digits > 0 && sum == want
}

// mistaken is the error for a file that is not what its bundle type says.
func mistaken(format Format, is content, head []byte) error {
	switch is {
	case isZip:
		return &ArchiveError{Problem: fmt.Sprintf("the bundle type is %s, but the bundle is a zip archive: register the revision with bundle type zip", format)}
	case isGzip:
		return &ArchiveError{Problem: fmt.Sprintf("the bundle type is %s, but the bundle is compressed with gzip: register the revision with bundle type tgz", format)}
	case isTar:
		return &ArchiveError{Problem: fmt.Sprintf("the bundle type is %s, but the bundle is a tar archive without compression: register the revision with bundle type tar", format)}
	case isUnknown:
		return &ArchiveError{Problem: fmt.Sprintf("the bundle type is %s, but the bundle is no archive: it begins with %q", format, head[:min(len(head), 16)])}
	default:
		return &ArchiveError{Problem: fmt.Sprintf("the bundle type is %s, but the bundle looks like %s%s: make it a tar, tgz or zip", format, is, excerpt(is, head))}
	}
}

// excerpt shows what an answer that was stored instead of the bundle says.
func excerpt(is content, head []byte) string {
	if !strings.HasSuffix(string(is), "page") && !strings.HasSuffix(string(is), "document") || is == "a PDF document" {
		return ""
	}
	return fmt.Sprintf(", it begins with %q", bytes.TrimSpace(head[:min(len(head), 80)]))
}

// amount is a number of bytes that prints as a person reads it.
type amount int64

// String is the number in the largest unit that leaves one or more before the point.
func (b amount) String() string {
	if b < 1024 {
		return fmt.Sprintf("%d bytes", int64(b))
	}
	v, unit := float64(b)/1024, 0
	for v >= 1024 && unit < 3 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", v, [...]string{"KiB", "MiB", "GiB", "TiB"}[unit])
}
