package bundletest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"strings"
)

// rawTar writes headers as they are, then the end.
func rawTar(headers ...tar.Header) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, h := range headers {
		must(t.WriteHeader(&h))
		_, err := t.Write(make([]byte, h.Size))
		must(err)
	}
	must(t.Close())
	return b.Bytes()
}

// resum makes the checksum of the header at the offset right after it was changed.
func resum(b []byte, at int) []byte {
	h := b[at : at+512]
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// ustar is a plain old header, whose fields are where they are.
func ustar(name string, size int) []byte {
	return rawTar(tar.Header{Name: name, Size: int64(size), Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
}

// hostileTars lie in headers.
func hostileTars() []Hostile {
	hard := func(name, target string) Entry { return Entry{Name: name, Target: target, Hard: true} }
	symlink := func(name, target string) Entry {
		return Entry{Name: name, Mode: fs.ModeSymlink | 0o777, Target: target}
	}
	file := func(name, data string) Entry { return Entry{Name: name, Data: data} }
	row := func(name, says string, entries ...Entry) Hostile {
		return Hostile{Name: "tar: " + name, Format: "tar", Data: func() []byte { return Tar(entries...) }, Says: says}
	}
	good := func(name string, makes map[string]string, entries ...Entry) Hostile {
		h := row(name, "", entries...)
		h.Makes = makes
		return h
	}
	raw := func(name, says string, data func() []byte) Hostile {
		return Hostile{Name: "tar: " + name, Format: "tar", Data: data, Says: says}
	}
	return []Hostile{
		row("hard link to outside", "is a hard link to", hard("h", climbOut+"kept")),
		row("hard link to an absolute name", "has an absolute name", hard("h", "/etc/passwd")),
		row("hard link through a link", "leads through a symbolic link", symlink("l", linkOut), hard("h", "l/kept")),
		row("hard link to nothing", "not in the archive before it", hard("h", "f"), file("f", "x")),
		row("hard link to a folder", "which is a folder", file("d/f", "x"), hard("h", "d")),
		row("hard link beyond a file", "leads through a file", file("f", "x"), hard("h", "f/g")),
		row("hard link at the end of a link", "leads through", symlink("l", linkOut), file("f", "x"), hard("l/evil", "f")),
		row("hard link over a folder", "already has a folder", file("d/f", "x"), file("f", "x"), hard("d", "f")),
		good("hard links", map[string]string{"f": "x", "d/": "", "d/h": "x", "i": "x"}, file("f", "x"), hard("d/h", "./f"), hard("i", "d/h")),
		good("hard link to itself", map[string]string{"f": "x"}, file("f", "x"), hard("f", "f")),
		good("file over a hard link", map[string]string{"f": "first", "h": "last"}, file("f", "first"), hard("h", "f"), file("h", "last")),
		good("hard link to a link, then a file over it", map[string]string{"l": "-> " + linkOut + "/kept", "h": "last"},
			symlink("l", linkOut+"/kept"), hard("h", "l"), file("h", "last")),
		raw("header of git", "", func() []byte {
			return rawTar(tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": strings.Repeat("a", 40)}})
		}),
		raw("unknown type", "is of type 'Z'", func() []byte { b := ustar("f", 0); b[156] = 'Z'; return resum(b, 0) }),
		raw("name with NUL", "is damaged", func() []byte {
			b := rawTar(tar.Header{Name: strings.Repeat("n", 120) + "Z.txt", Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatPAX})
			return bytes.Replace(b, []byte("nZ.txt\n"), []byte("n\x00.txt\n"), 1)
		}),
		raw("negative size", "is damaged", func() []byte {
			b := ustar("f", 0)
			copy(b[124:136], bytes.Repeat([]byte{0xff}, 12))
			return resum(b, 0)
		}),
		raw("more announced than there is", "is cut off", func() []byte {
			b := ustar("f", 10)
			copy(b[124:136], "00000077777\x00")
			return resum(b, 0)
		}),
		raw("terabytes announced", "(limits.max_size)", func() []byte {
			b := ustar("f", 10)
			copy(b[124:136], "77777777777\x00")
			return resum(b, 0)
		}),
		raw("sparse bomb", "(limits.max_size)", func() []byte {
			b := ustar("f", 0)
			b[156] = 'S'
			copy(b[257:265], "ustar  \x00")
			clear(b[345:512])
			copy(b[386:398], "77777777777\x00")
			copy(b[483:495], "77777777777\x00")
			return resum(b, 0)
		}),
		raw("header with a wrong checksum", "is damaged behind", func() []byte {
			b := Tar(file("a", "1"), file("b", "2"))
			i := bytes.LastIndex(b, []byte("ustar"))
			b[i-257] ^= 1
			return b
		}),
		raw("cut off in a header", "is cut off", func() []byte { return ustar("f", 600)[:300] }),
		raw("cut off in content", "is cut off", func() []byte { return ustar("f", 600)[:700] }),
		raw("cut off in large content", "is cut off", func() []byte { return ustar("f", 1<<20)[:700<<10] }),
	}
}

// hostileStreams are broken below the tar.
func hostileStreams() []Hostile {
	whole := func() []byte {
		return Tgz(Files(map[string]string{"a": "1", "b/c": strings.Repeat("2 and more ", 5000)})...)
	}
	row := func(name, says string, data func() []byte) Hostile {
		return Hostile{Name: "tgz: " + name, Format: "tgz", Data: data, Says: says}
	}
	content := map[string]string{"a": "1", "b/": "", "b/c": strings.Repeat("2 and more ", 5000)}
	zipped := func(b []byte) []byte {
		var out bytes.Buffer
		z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		must(err)
		_, err = z.Write(b)
		must(err)
		must(z.Close())
		return out.Bytes()
	}
	return []Hostile{
		row("cut off", "is cut off", func() []byte { b := whole(); return b[:len(b)/2] }),
		row("cut off in the checksum", "is cut off", func() []byte { b := whole(); return b[:len(b)-4] }),
		row("wrong checksum", "is damaged behind its last entry", func() []byte { b := whole(); b[len(b)-8] ^= 1; return b }),
		row("damaged", "is damaged", func() []byte { b := whole(); b[len(b)/2] ^= 0xff; return b }),
		row("something behind it", "something else behind", func() []byte { return append(whole(), "rm -rf"...) }),
		{Name: "tgz: zeros behind it", Format: "tgz", Data: func() []byte { return append(whole(), make([]byte, 1000)...) }, Makes: content},
		{Name: "tgz: two members", Format: "tgz", Makes: content, Data: func() []byte {
			plain := Tar(Files(map[string]string{"a": "1", "b/c": strings.Repeat("2 and more ", 5000)})...)
			return append(zipped(plain[:1000]), zipped(plain[1000:])...)
		}},
		row("not a tar inside", "is damaged before its first entry", func() []byte { return zipped([]byte(strings.Repeat("hello ", 200))) }),
		row("bomb of zeros", "decompression bomb", func() []byte {
			return zipped(Tar(Entry{Name: "zeros", Data: string(make([]byte, 80<<20))}))
		}),
		row("bomb behind the end", "what follows the last entry: brings the content to", func() []byte {
			return zipped(append(Tar(Entry{Name: "f"}), make([]byte, 80<<20)...))
		}),
		row("bomb of headers", "one more than the 5000 entries", func() []byte { return zipped(Tar(numbered(HostileMaxFiles + 1)...)) }),
	}
}
