package bundletest

import (
	"io/fs"
	"slices"
	"strings"
)

// Outside is the folder beside the one unpacked into that hostile archives aim at: a test makes it, with a file "kept" in it, and
// looks at it afterwards.
const Outside = "outside"

// Hostile is an archive that is made to do harm, that is broken, or that only looks so.
type Hostile struct {
	Name   string
	Format string // tar, tgz, zip
	Data   func() []byte
	// Says is a part of the message with which it is refused; empty if it is unpacked.
	Says string
	// Makes is what is in the folder after it was unpacked: contents by name, "-> target" for a link, names of folders with a slash.
	Makes map[string]string
}

// The limits that the table is made for: small enough that a bomb goes off in no time.
const (
	HostileMaxSize  = 256 << 20
	HostileMaxFiles = 5000
	HostileMaxRatio = 200
)

// HostileArchives is the table.
func HostileArchives() []Hostile {
	return slices.Concat(hostileNames(), hostileZips(), hostileZstd(), hostileZipForms(), hostileTars(), hostileStreams(), mistakenFiles())
}

const (
	climbOut = "../" + Outside + "/"
	linkOut  = "../" + Outside
)

// hostileNames are about names and links, which zip and tar have in common.
func hostileNames() []Hostile {
	long := strings.Repeat("a", 255)
	symlink := func(name, target string) Entry {
		return Entry{Name: name, Mode: fs.ModeSymlink | 0o777, Target: target}
	}
	file := func(name, data string) Entry { return Entry{Name: name, Data: data} }
	rows := []struct {
		name    string
		entries []Entry
		says    string
		makes   map[string]string
	}{
		{name: "name climbs", entries: []Entry{file(climbOut+"evil", "x")}, says: `climbs: its name has a ".."`},
		{name: "name climbs from within", entries: []Entry{file("a/b/../../../"+Outside+"/evil", "x")}, says: "climbs"},
		{name: "name climbs and comes back", entries: []Entry{file("a/../b", "x")}, says: "climbs"},
		{name: "folder climbs", entries: []Entry{{Name: climbOut + "evil/"}}, says: "climbs"},
		{name: "link climbs", entries: []Entry{symlink(climbOut+"evil", "x")}, says: "climbs"},
		{name: "name is two dots", entries: []Entry{symlink("..", "x")}, says: "climbs"},
		{name: "name is absolute", entries: []Entry{file("/tmp/evil", "x")}, says: "has an absolute name"},
		{name: "name with two slashes", entries: []Entry{file("//tmp/evil", "x")}, says: "has an absolute name"},
		{name: "name is the folder itself", entries: []Entry{symlink(".", "x")}, says: "name of the folder"},
		{name: "through a link that leaves", entries: []Entry{symlink("l", linkOut), file("l/evil", "x")}, says: `leads through "l", which is a symbolic link`},
		{name: "through a link to the root", entries: []Entry{symlink("l", "/"), file("l/tmp/evil", "x")}, says: "leads through"},
		{name: "through a link that stays", entries: []Entry{file("d/f", "x"), symlink("l", "d"), file("l/g", "x")}, says: "leads through"},
		{name: "through a chain of links", entries: []Entry{symlink("a", "."), symlink("b", "a/.."), symlink("c", "b/"+Outside), file("c/evil", "x")}, says: "leads through"},
		{name: "through a deep link", entries: []Entry{file("d/e/f", "x"), symlink("d/e/l", "../../"+linkOut), file("d/e/l/evil", "x")}, says: `leads through "d/e/l"`},
		{name: "folder over a link", entries: []Entry{symlink("l", linkOut), {Name: "l/"}}, says: "leads through"},
		{name: "file over a link", entries: []Entry{symlink("l", linkOut+"/kept"), file("l", "x")}, makes: map[string]string{"l": "x"}},
		{name: "link over a file", entries: []Entry{file("l", "x"), symlink("l", linkOut+"/kept")}, makes: map[string]string{"l": "-> " + linkOut + "/kept"}},
		{name: "link over a link", entries: []Entry{symlink("l", linkOut), symlink("l", "a")}, makes: map[string]string{"l": "-> a"}},
		{name: "link over a folder", entries: []Entry{file("d/f", "x"), symlink("d", linkOut)}, says: "where the archive already has a folder"},
		{name: "file over a folder", entries: []Entry{file("d/f", "x"), file("d", "x")}, says: "where the archive already has a folder"},
		{name: "folder over a file", entries: []Entry{file("d", "x"), {Name: "d/"}}, says: `needs a folder at "d", which is a file`},
		{name: "through a file", entries: []Entry{file("d", "x"), file("d/f", "x")}, says: `needs a folder at "d", which is a file`},
		{
			name: "links that lead anywhere", entries: []Entry{symlink("a", "/var/log/app"), symlink("b", linkOut), symlink("c", "nowhere"), symlink("d", "d")},
			makes: map[string]string{"a": "-> /var/log/app", "b": "-> " + linkOut, "c": "-> nowhere", "d": "-> d"},
		},
		{name: "the same file twice", entries: []Entry{file("f", "first and longer"), file("f", "last")}, makes: map[string]string{"f": "last"}},
		{name: "the same file in disguise", entries: []Entry{file("d/f", "first"), file("./d//f", "last")}, makes: map[string]string{"d/": "", "d/f": "last"}},
		{name: "the same folder twice", entries: []Entry{{Name: "d/"}, file("d/f", "x"), {Name: "d/", Mode: 0o700}}, makes: map[string]string{"d/": "", "d/f": "x"}},
		{name: "names that differ in case", entries: []Entry{file("Read", "1"), file("read", "2")}, makes: map[string]string{"Read": "1", "read": "2"}},
		{name: "names that look alike in Unicode", entries: []Entry{file("caf\u00e9", "1"), file("cafe\u0301", "2")}, makes: map[string]string{"caf\u00e9": "1", "cafe\u0301": "2"}},
		{name: "name that is no UTF-8", entries: []Entry{file("caf\xe9", "1")}, makes: map[string]string{"caf\xe9": "1"}},
		{name: "name with a newline", entries: []Entry{file("a\nb", "1")}, makes: map[string]string{"a\nb": "1"}},
		{name: "name with a backslash", entries: []Entry{file(`a\..\b`, "1")}, makes: map[string]string{`a\..\b`: "1"}},
		{name: "name of 4,096 bytes", entries: []Entry{file(strings.Repeat(long+"/", 16)[:4096-1]+"f", "x")}, says: "has a name of more than 3840 bytes"},
		{name: "part of 256 bytes", entries: []Entry{file(long+"a", "x")}, says: "has a part of more than 255 bytes"},
		{name: "part of 255 bytes", entries: []Entry{file(long, "x")}, makes: map[string]string{long: "x"}},
		{name: "300 folders deep", entries: []Entry{file(strings.Repeat("d/", 300)+"f", "x")}, says: "folders deep"},
		{name: "a named pipe", entries: []Entry{{Name: "p", Mode: fs.ModeNamedPipe | 0o644}}, says: "is a named pipe"},
		{name: "a character device", entries: []Entry{{Name: "null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}, says: "is a device"},
		{name: "a block device", entries: []Entry{{Name: "loop", Mode: fs.ModeDevice | 0o666}}, says: "is a device"},
		{name: "too many entries", entries: numbered(HostileMaxFiles + 1), says: "one more than the 5000 entries"},
		{
			name: "too many folders that have no entry", entries: []Entry{file(strings.Repeat("a/", 250)+"f", ""), file(strings.Repeat("b/", 250)+"f", ""), file("c", "")},
			makes: nested("a", 250, nested("b", 250, map[string]string{"c": ""})),
		},
	}
	var out []Hostile
	for _, r := range rows {
		for _, f := range []struct {
			format string
			pack   func(...Entry) []byte
		}{{"zip", Zip}, {"tar", Tar}} {
			// archive/tar cannot be brought to write a name that is not UTF-8.
			if f.format == "tar" && r.name == "name that is no UTF-8" {
				continue
			}
			out = append(out, Hostile{
				Name: f.format + ": " + r.name, Format: f.format, Says: r.says, Makes: r.makes,
				Data: func() []byte { return f.pack(r.entries...) },
			})
		}
	}
	return out
}

func numbered(n int) []Entry {
	var out []Entry
	for i := range n {
		out = append(out, Entry{Name: "f" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + itoa(i)})
	}
	return out
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// nested adds folders one in the other, with an empty file f in the last.
func nested(part string, depth int, to map[string]string) map[string]string {
	for i := 1; i <= depth; i++ {
		to[strings.Repeat(part+"/", i)] = ""
	}
	to[strings.Repeat(part+"/", depth)+"f"] = ""
	return to
}

// mistakenFiles are files that are no archive of the type they are said to be.
func mistakenFiles() []Hostile {
	files := Files(map[string]string{"f": "x"})
	row := func(name, format, says string, data func() []byte) Hostile {
		return Hostile{Name: name, Format: format, Data: data, Says: says}
	}
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	page := "<!DOCTYPE html>\n<html><body>Sign in</body></html>"
	failure := `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>`
	return []Hostile{
		row("empty", "zip", "it has 0 bytes", text("")),
		row("empty as tar", "tar", "it has 0 bytes", text("")),
		row("a page as zip", "zip", "an HTML page", text(page)),
		row("a page as tar", "tar", "an HTML page", text(page)),
		row("an error of S3", "tgz", "an XML document", text(failure)),
		row("an error of an API", "zip", "a JSON document", text(`{"message": "Not Found"}`)),
		row("a text", "tar", "is no archive", text("hello")),
		row("zeros", "tar", "nothing but zeros", func() []byte { return make([]byte, 4096) }),
		row("a pointer of Git LFS", "zip", "Git LFS pointer", text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")),
		row("a tar as zip", "zip", "register the revision with bundle type tar", func() []byte { return Tar(files...) }),
		row("a tgz as zip", "zip", "register the revision with bundle type tgz", func() []byte { return Tgz(files...) }),
		row("a zip as tar", "tar", "register the revision with bundle type zip", func() []byte { return Zip(files...) }),
		row("a tar as tgz", "tgz", "register the revision with bundle type tar", func() []byte { return Tar(files...) }), // I-18b
		row("xz", "tar", "compressed with xz", text("\xfd7zXZ\x00\x00\x04")),
		row("zstd", "tgz", "compressed with zstd", text("\x28\xb5\x2f\xfd\x04\x00")),
		{Name: "a tgz as tar", Format: "tar", Data: func() []byte { return Tgz(files...) }, Makes: map[string]string{"f": "x"}}, // I-18a
	}
}
