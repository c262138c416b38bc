package bundletest

import (
	"bytes"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// zstded is what zstd makes of data, in one frame that says how long its content is.
func zstded(data []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(err)
	return w.EncodeAll(data, nil)
}

// zstdFrame is a frame with a window of 2 to that power, that says nothing of its length, with blocks that each repeat a byte up to
// 128 KiB.
func zstdFrame(window, blocks int) []byte {
	const repeats, length = 1, 128 << 10
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(window-10) << 3}
	for i := range blocks {
		head := length<<3 | repeats<<1
		if i == blocks-1 {
			head |= 1
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return b
}

// hostileZstd are zips whose contents are compressed with zstd.
func hostileZstd() []Hostile {
	small := []byte(strings.Repeat("a text that is long enough to be worth compressing\n", 20))
	big := []byte(strings.Repeat("a text that is long enough to be worth compressing\n", 20_000))
	entry := func(data []byte, change func(*rawEntry)) func() []byte {
		return func() []byte {
			e := rawEntry{name: "f", data: data, packed: zstded(data), method: methodZstd, host: unixHost, external: 0o100644 << 16}
			change(&e)
			return rawZip(-1, e)
		}
	}
	row := func(name, says string, data func() []byte) Hostile {
		return Hostile{Name: "zstd: " + name, Format: "zip", Data: data, Says: says}
	}
	good := func(name string, data []byte, change func(*rawEntry)) Hostile {
		return Hostile{Name: "zstd: " + name, Format: "zip", Data: entry(data, change), Makes: map[string]string{"f": string(data)}}
	}
	zeros := func(blocks int) []byte { return make([]byte, blocks*128<<10) }
	bomb := func(blocks int, announced uint32) func() []byte {
		return entry(zeros(blocks), func(e *rawEntry) { e.packed, e.size = zstdFrame(17, blocks), announced })
	}
	out := []Hostile{
		good("empty", []byte{}, func(*rawEntry) {}),
		good("two frames", bytes.Repeat(small, 2), func(e *rawEntry) { e.packed = bytes.Repeat(zstded(small), 2) }),
		good("the largest window", zeros(80), func(e *rawEntry) { e.packed = zstdFrame(23, 80) }),
		row("bomb of zeros", "decompression bomb", bomb(640, 0)),
		row("bomb that announces little", "lies about its size: more comes out", bomb(640, 1000)),
		row("bomb that announces more", "lies about its size: more comes out", bomb(640, 1<<20)),
		row("huge window of a large entry", "a window of more than 8.0 MiB", entry(zeros(80), func(e *rawEntry) { e.packed = zstdFrame(30, 80) })),
		row("huge window of a small entry", "cannot be decompressed", entry(zeros(1), func(e *rawEntry) { e.packed = zstdFrame(40, 1) })),
		row("needs a dictionary", "cannot be decompressed", entry(small, func(e *rawEntry) {
			e.packed = append([]byte{0x28, 0xb5, 0x2f, 0xfd, 1, 0x40, 7}, zstdFrame(17, 1)[6:]...)
		})),
	}
	for _, c := range []struct {
		name string
		data []byte
		less string // what is said when less comes out than announced
	}{{"small", small, "lies about its size"}, {"large", big, "cannot be decompressed"}} {
		name, data, n := c.name, c.data, uint32(len(c.data))
		out = append(out,
			good(name, data, func(*rawEntry) {}),
			good(name+" of the old method", data, func(e *rawEntry) { e.method = 20 }),
			row(name+" cut off", "cannot be decompressed", entry(data, func(e *rawEntry) { e.packed = e.packed[:len(e.packed)/2] })),
			row(name+" damaged", "is damaged", entry(data, func(e *rawEntry) { e.packed[len(e.packed)/2] ^= 0xff })),
			row(name+" not compressed", "cannot be decompressed", entry(data, func(e *rawEntry) { e.packed = e.data })),
			row(name+" with a wrong checksum", "its checksum is wrong", entry(data, func(e *rawEntry) { e.crc = 1 })),
			row(name+" with more than announced", "lies about its size: more comes out", entry(data, func(e *rawEntry) { e.size = n - 1 })),
			row(name+" with less than announced", c.less, entry(data, func(e *rawEntry) { e.size = n + 1 })),
		)
	}
	return out
}
