package control

import "errors"

const (
	maxNesting = 40   // a signed message has about a dozen levels
	maxValues  = 8192 // and some hundred values, one more for each kilobyte of streamed content
)

var errTruncated = errors.New("it breaks off, or is not PKCS#7 at all")

// checkNesting walks through BER without building anything, and refuses what is nested too deep, is incomplete, or is followed by
// something else. The library that parses the message recurses, copies at each level and searches the rest at each value: a few
// hundred kilobytes of nothing but small values in each other would keep it busy for hours.
func checkNesting(data []byte) error {
	const unknown = -1
	var ends []int // of the enclosing values; unknown while it takes an end-of-contents to tell
	at := 0
	for range maxValues {
		for len(ends) > 0 && ends[len(ends)-1] == at {
			ends = ends[:len(ends)-1]
		}
		if len(ends) == 0 && at > 0 {
			if at != len(data) {
				return errors.New("something follows the message")
			}
			return nil
		}
		h, ok := readHeader(data[at:])
		if !ok {
			return errTruncated
		}
		at += h.size
		limit := len(data)
		for i := len(ends) - 1; i >= 0; i-- {
			if ends[i] != unknown {
				limit = ends[i]
				break
			}
		}
		switch {
		case h.endOfContents && len(ends) > 0 && ends[len(ends)-1] == unknown:
			ends = ends[:len(ends)-1]
		case h.indefinite:
			ends = append(ends, unknown)
		case h.length > limit-at:
			return errTruncated
		case h.constructed:
			ends = append(ends, at+h.length)
		default:
			at += h.length
		}
		if at > limit {
			return errTruncated
		}
		if len(ends) > maxNesting {
			return errors.New("it is nested too deep")
		}
	}
	return errors.New("it is in too many pieces")
}

// header is what precedes the content of a BER value.
type header struct {
	size, length                           int
	constructed, indefinite, endOfContents bool
}

// readHeader reads tag and length.
func readHeader(data []byte) (h header, ok bool) {
	if len(data) < 2 {
		return h, false
	}
	h.constructed = data[0]&0x20 != 0
	h.size = 1
	if data[0]&0x1f == 0x1f {
		for h.size < len(data) && data[h.size]&0x80 != 0 {
			h.size++
		}
		h.size++
	}
	if h.size >= len(data) {
		return h, false
	}
	l := data[h.size]
	h.size++
	switch {
	case l < 0x80:
		h.length = int(l)
	case l == 0x80:
		if !h.constructed {
			return h, false
		}
		h.indefinite = true
	default:
		n := int(l & 0x7f)
		if n > 4 || h.size+n > len(data) {
			return h, false
		}
		for _, b := range data[h.size : h.size+n] {
			h.length = h.length<<8 | int(b)
		}
		h.size += n
		if h.length < 0 {
			return h, false
		}
	}
	h.endOfContents = data[0] == 0 && h.length == 0 && h.size == 2
	return h, true
}
