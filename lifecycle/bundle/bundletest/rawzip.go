package bundletest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// rawEntry is an entry of a zip of which every field may lie. Zero fields tell the truth.
type rawEntry struct {
	name, localName string // localName: what the local header says, if another name
	data            []byte
	packed          []byte // data as it stands in the archive; nil for data itself
	method          uint16
	flags           uint16
	host            byte   // made by: 0 FAT, 3 Unix
	external        uint32 // attributes
	size            uint32 // announced
	crc             uint32 // announced
	shared          bool   // has the place of the entry before it
	extra           []byte
}

const unixHost = 3

// rawZip writes entries as they are, then the list; count is the number of entries announced, or -1 for the true one.
func rawZip(count int, entries ...rawEntry) []byte {
	var out, list bytes.Buffer
	le := binary.LittleEndian
	put := func(b *bytes.Buffer, values ...any) {
		for _, v := range values {
			must(binary.Write(b, le, v))
		}
	}
	var place uint32
	for _, e := range entries {
		if e.packed == nil {
			e.packed = e.data
		}
		if e.crc == 0 {
			e.crc = crc32.ChecksumIEEE(e.data)
		}
		if e.size == 0 {
			e.size = uint32(len(e.data))
		}
		local := e.localName
		if local == "" {
			local = e.name
		}
		if !e.shared {
			place = uint32(out.Len())
			put(&out, []byte("PK\x03\x04"), uint16(20), e.flags, e.method, uint16(0), uint16(0x58b1), e.crc, uint32(len(e.packed)), e.size,
				uint16(len(local)), uint16(0), []byte(local), e.packed)
		}
		put(&list, []byte("PK\x01\x02"), byte(20), e.host, uint16(20), e.flags, e.method, uint16(0), uint16(0x58b1), e.crc, uint32(len(e.packed)), e.size,
			uint16(len(e.name)), uint16(len(e.extra)), uint16(0), uint16(0), uint16(0), e.external, place, []byte(e.name), e.extra)
	}
	if count < 0 {
		count = len(entries)
	}
	start := uint32(out.Len())
	length := uint32(list.Len())
	out.Write(list.Bytes())
	put(&out, []byte("PK\x05\x06"), uint16(0), uint16(0), uint16(count), uint16(count), length, start, uint16(0))
	return out.Bytes()
}

func deflated(data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

// zeros are so many megabytes of zeros, and what deflate makes of them; one megabyte is compressed and its block repeated.
func zeros(megabytes int) (data, packed []byte) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	must(err)
	_, err = w.Write(make([]byte, 1<<20))
	must(err)
	must(w.Flush())
	block := b.Len()
	must(w.Close())
	packed = append(bytes.Repeat(b.Bytes()[:block], megabytes), b.Bytes()[block:]...)
	return make([]byte, megabytes<<20), packed
}

// hostileZips lie in the content of entries.
func hostileZips() []Hostile {
	text := []byte("<?php echo 1; // a text that is long enough to be worth compressing compressing compressing\n")
	good := rawEntry{name: "good", data: []byte("good"), host: unixHost, external: 0o100644 << 16}
	packed := func(change func(*rawEntry)) func() []byte {
		return func() []byte {
			e := rawEntry{name: "f", data: text, packed: deflated(text), method: 8, host: unixHost, external: 0o100644 << 16}
			change(&e)
			return rawZip(-1, good, e)
		}
	}
	row := func(name, says string, data func() []byte) Hostile {
		return Hostile{Name: "zip: " + name, Format: "zip", Data: data, Says: says}
	}
	n := uint32(len(text))
	return []Hostile{
		row("wrong checksum", `entry "f" is damaged: its checksum is wrong`, packed(func(e *rawEntry) { e.crc = 1 })),
		row("wrong checksum of a stored entry", "its checksum is wrong", packed(func(e *rawEntry) { e.method, e.packed, e.crc = 0, nil, 1 })),
		row("more than announced", "lies about its size: more comes out", packed(func(e *rawEntry) { e.size = n - 1 })),
		row("nothing announced", "lies about its size", func() []byte {
			return rawZip(-1, good, rawEntry{name: "f", packed: deflated(text), method: 8, host: unixHost, external: 0o100644 << 16, crc: 1})
		}),
		row("less than announced", "damaged", packed(func(e *rawEntry) { e.size = n + 1 })),
		row("stored size differs", "lies about its size", packed(func(e *rawEntry) { e.method, e.packed, e.size = 0, nil, n+5 })),
		row("damaged content", "cannot be decompressed", packed(func(e *rawEntry) { e.packed = bytes.Repeat([]byte{0xff}, 60) })),
		row("content cut off", "cannot be decompressed", packed(func(e *rawEntry) { e.packed = e.packed[:20] })),
		row("large content damaged", "is damaged", func() []byte {
			big := bytes.Repeat(text, 20_000)
			p := deflated(big)
			p[len(p)/2] ^= 0xff
			return rawZip(-1, rawEntry{name: "f", data: big, packed: p, method: 8})
		}),
		row("encrypted", "is encrypted", packed(func(e *rawEntry) { e.flags = 1 })),
		row("compressed with xz", "method 95 (xz)", packed(func(e *rawEntry) { e.method = 95 })),
		row("compressed with an unknown method", "method 77", packed(func(e *rawEntry) { e.method = 77 })),
		row("name with NUL", "has a NUL in its name", packed(func(e *rawEntry) { e.name = "f\x00.txt" })),
		row("no name", "an entry has no name", packed(func(e *rawEntry) { e.name, e.localName = "", "f" })),
		row("a socket", "is a socket", packed(func(e *rawEntry) { e.external = 0o140644 << 16 })),
		row("link without a target", "without a target", packed(func(e *rawEntry) { e.data, e.packed, e.method, e.external = nil, nil, 0, 0o120777<<16 })),
		row("link with a NUL", "a NUL in its target", packed(func(e *rawEntry) {
			e.data, e.packed, e.method, e.external = []byte("a\x00b"), nil, 0, 0o120777<<16
		})),
		row("link of 5,000 bytes", "a target of more than", packed(func(e *rawEntry) {
			e.data, e.packed, e.method, e.external = bytes.Repeat([]byte("a"), 5000), nil, 0, 0o120777<<16
		})),
		row("climbs with backslashes", "climbs", packed(func(e *rawEntry) { e.name, e.host = `..\`+Outside+`\evil`, 0 })),
		{
			Name: "zip: backslashes of a program for Windows", Format: "zip", Data: packed(func(e *rawEntry) { e.name, e.host, e.external = `d\f`, 0, 0 }),
			Makes: map[string]string{"good": "good", "d/": "", "d/f": string(text)},
		},
		{
			Name: "zip: local header has another name", Format: "zip", Data: packed(func(e *rawEntry) { e.localName = climbOut + "evil" }),
			Makes: map[string]string{"good": "good", "f": string(text)},
		},
		row("bomb of zeros", "decompression bomb", func() []byte {
			data, packed := zeros(80)
			return rawZip(-1, rawEntry{name: "zeros", data: data, packed: packed, method: 8})
		}),
		row("bomb that announces nothing", "lies about its size", func() []byte {
			data, packed := zeros(80)
			return rawZip(-1, rawEntry{name: "zeros", data: data, packed: packed, method: 8, size: 1000})
		}),
		row("bomb of entries that share a place", "decompression bomb", func() []byte {
			data, packed := zeros(1)
			entries := []rawEntry{{name: "0", data: data, packed: packed, method: 8}}
			for i := range 100 {
				e := entries[0]
				e.name, e.shared = "1"+itoa(i), true
				entries = append(entries, e)
			}
			return rawZip(-1, entries...)
		}),
		row("too big", "(limits.max_size)", func() []byte {
			return rawZip(-1, rawEntry{name: "f", data: text, packed: deflated(text), method: 8, size: 300 << 20})
		}),
	}
}

// hostileZipForms are zips whose outer form is broken.
func hostileZipForms() []Hostile {
	whole := func() []byte { return Zip(Files(map[string]string{"a": "1", "b/c": "2"})...) }
	row := func(name, says string, change func([]byte) []byte) Hostile {
		return Hostile{Name: "zip: " + name, Format: "zip", Data: func() []byte { return change(whole()) }, Says: says}
	}
	end := func(b []byte) []byte { return b[len(b)-22:] }
	le := binary.LittleEndian
	content := map[string]string{"a": "1", "b/": "", "b/c": "2"}
	good := func(name string, change func([]byte) []byte) Hostile {
		h := row(name, "", change)
		h.Makes = content
		return h
	}
	return []Hostile{
		row("cut off", "is cut off", func(b []byte) []byte { return b[:len(b)-10] }),
		row("cut in half", "is cut off", func(b []byte) []byte { return b[:len(b)/2] }),
		row("cut off in front", "corrupt", func(b []byte) []byte { return b[40:] }),
		row("nothing but its end", "outside the file", func(b []byte) []byte { return end(b) }),
		row("count too high", "it lists 2 entries and says it has 3", func(b []byte) []byte { le.PutUint16(end(b)[10:], 3); return b }),
		row("count too low", "it lists 2 entries and says it has 1", func(b []byte) []byte { le.PutUint16(end(b)[10:], 1); return b }),
		row("list too long", "outside the file", func(b []byte) []byte { le.PutUint32(end(b)[12:], 1<<30); return b }),
		row("list too short", "corrupt", func(b []byte) []byte { le.PutUint32(end(b)[12:], le.Uint32(end(b)[12:])-60); return b }),
		row("volume of several", "several volumes", func(b []byte) []byte { le.PutUint16(end(b)[4:], 1); return b }),
		row("zip64 without its record", "outside the file", func(b []byte) []byte { le.PutUint32(end(b)[16:], 1<<32-1); return b }),
		row("entry outside the file", "would lie outside", func(b []byte) []byte {
			list := bytes.Index(b, []byte("PK\x01\x02"))
			le.PutUint32(b[list+42:], 1<<31-1)
			return b
		}),
		row("entry points elsewhere", "is not where", func(b []byte) []byte {
			list := bytes.Index(b, []byte("PK\x01\x02"))
			le.PutUint32(b[list+42:], 3)
			return b
		}),
		good("behind a program", func(b []byte) []byte { return append([]byte("#!/bin/sh\nexec unzip \"$0\"\n"), b...) }),
		good("with a comment", func(b []byte) []byte {
			le.PutUint16(end(b)[20:], 5000)
			return append(b, bytes.Repeat([]byte("PK"), 2500)...)
		}),
		{Name: "zip: no entries", Format: "zip", Data: func() []byte { return rawZip(-1) }, Makes: map[string]string{}},
	}
}
