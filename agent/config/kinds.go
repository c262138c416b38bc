package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is how a value is written and what it becomes.
type kind int

const (
	kindText     kind = iota // string
	kindPath                 // string, made absolute
	kindURL                  // string, http or https with a host
	kindAddress              // string, host:port or off
	kindEnum                 // string, one of the row's
	kindBool                 // bool
	kindInt                  // int
	kindSeconds              // time.Duration, a bare number is seconds: the reference agent's way
	kindDuration             // time.Duration, with its unit
	kindBytes                // Bytes
	kindList                 // []string
)

// input is a value as some layer wrote it, before it is given a meaning.
type input struct {
	text    string
	list    []input // elements of a sequence
	isList  bool
	isMap   bool
	null    bool // nothing was written: the key keeps what it had
	symbol  bool // plain text of a file, where a leading colon makes a Ruby symbol
	lenient bool // of the reference agent's file: convert as it does
}

// outcome is the meaning of an input.
type outcome struct {
	value any    // of the type of the row's field
	text  string // the same, written in the one way that Explain shows
	note  string // a warning: what was made of it
}

// mistake is why an input has no meaning, with what to write instead.
type mistake struct{ message, suggestion string }

func (m *mistake) Error() string { return m.message }

func wrong(suggestion, format string, args ...any) *mistake {
	return &mistake{fmt.Sprintf(format, args...), suggestion}
}

// read gives the input its meaning under the row of a key. The error is a *mistake.
func (k *key) read(in input) (outcome, error) {
	if k.kind == kindList {
		return k.readList(in)
	}
	if in.isList || in.isMap {
		return outcome{}, wrong("", "%s is %s, not a %s", k.name, k.typeName(), map[bool]string{true: "list", false: "section"}[in.isList])
	}
	if in.symbol && in.lenient {
		in.text = strings.TrimPrefix(in.text, ":")
	}
	if in.lenient {
		in.text = strings.TrimSpace(in.text)
	}
	switch k.kind {
	case kindBool:
		return k.readBool(in)
	case kindInt:
		return k.readInt(in)
	case kindSeconds, kindDuration:
		return k.readDuration(in)
	case kindBytes:
		return k.readBytes(in)
	default:
		return k.readText(in.text)
	}
}

func (k *key) readText(text string) (outcome, error) {
	if text == "" && k.def != "" {
		return outcome{}, wrong("leave it out for "+k.def, "%s must not be empty", k.name)
	}
	if text == "" {
		return outcome{value: "", text: ""}, nil
	}
	switch k.kind {
	case kindPath:
		// The reference agent takes a relative path from its working folder; from here on it is absolute (C-4).
		abs, err := filepath.Abs(text)
		if err != nil {
			return outcome{}, wrong("", "%s: %v", k.name, err)
		}
		text = abs
	case kindURL:
		if err := checkURL(text); err != nil {
			return outcome{}, wrong("write http://host:port or https://host", "%s is not a URL: %v", k.name, err)
		}
	case kindAddress:
		if strings.EqualFold(text, off) {
			return outcome{value: "", text: off}, nil
		}
		if _, port, err := net.SplitHostPort(text); err != nil || !isPort(port) {
			return outcome{}, wrong("write host:port or off", "%s is not an address: %q", k.name, text)
		}
	case kindEnum:
		if !slices.Contains(k.enum, text) {
			return outcome{}, wrong(suggest(text, k.enum), "%s must be one of %s, not %q", k.name, strings.Join(k.enum, ", "), text)
		}
	}
	if k.check != nil {
		if err := k.check(text); err != nil {
			return outcome{}, wrong("", "%s: %v", k.name, err)
		}
	}
	return outcome{value: text, text: text}, nil
}

// readList takes a sequence, or its elements with commas between them in one text.
func (k *key) readList(in input) (outcome, error) {
	if in.isMap {
		return outcome{}, wrong("", "%s is a list, not a section", k.name)
	}
	if !in.isList {
		for part := range strings.SplitSeq(in.text, ",") {
			in.list = append(in.list, input{text: strings.TrimSpace(part)})
		}
	}
	got := []string{}
	for _, e := range in.list {
		if e.isList || e.isMap {
			return outcome{}, wrong("", "%s is a list of texts", k.name)
		}
		if e.text == "" {
			continue
		}
		if k.enum != nil && !slices.Contains(k.enum, e.text) {
			return outcome{}, wrong(suggest(e.text, k.enum), "%s may hold %s, not %q", k.name, strings.Join(k.enum, ", "), e.text)
		}
		if k.check != nil {
			if err := k.check(e.text); err != nil {
				return outcome{}, wrong("", "%s: %v", k.name, err)
			}
		}
		got = append(got, e.text)
	}
	return outcome{value: got, text: strings.Join(got, ", ")}, nil
}

func (k *key) readBool(in input) (outcome, error) {
	switch strings.ToLower(in.text) {
	case "true", "yes", "on":
		return outcome{value: true, text: "true"}, nil
	case "false", "no", off:
		return outcome{value: false, text: "false"}, nil
	}
	if in.lenient {
		// To Ruby all but false and nil is true.
		return outcome{value: true, text: "true", note: fmt.Sprintf("%s: %q is taken for true, as the reference agent takes it", k.name, in.text)}, nil
	}
	return outcome{}, wrong("write true or false", "%s must be true or false, not %q", k.name, in.text)
}

func (k *key) readInt(in input) (outcome, error) {
	n, err := strconv.ParseInt(in.text, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(in.text, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<31 {
			return outcome{}, wrong("", "%s must be %s, not %q", k.name, k.typeName(), in.text)
		}
		n = int64(f)
	}
	if n < k.min || k.max != 0 && n > k.max || n > math.MaxInt32 {
		return outcome{}, wrong("", "%s must be %s, not %d", k.name, k.typeName(), n)
	}
	return outcome{value: int(n), text: strconv.FormatInt(n, 10)}, nil
}

func (k *key) readDuration(in input) (outcome, error) {
	d, note, err := k.duration(in)
	if err != nil {
		return outcome{}, err
	}
	if d < 0 || int64(d) < k.min || k.max != 0 && int64(d) > k.max {
		return outcome{}, wrong("", "%s must be %s, not %s", k.name, k.typeName(), in.text)
	}
	return outcome{value: d, text: durationText(d), note: note}, nil
}

func (k *key) duration(in input) (d time.Duration, note string, err error) {
	if d, err := time.ParseDuration(in.text); err == nil {
		return d, "", nil
	}
	seconds, err := strconv.ParseFloat(in.text, 64)
	ok := err == nil && math.Abs(seconds) < math.MaxInt64/float64(time.Second)
	switch {
	case k.kind == kindDuration && ok:
		return 0, "", wrong("write "+in.text+"s", "%s needs a unit: %q", k.name, in.text)
	case k.kind == kindDuration, !in.lenient && !ok:
		return 0, "", wrong("write 30s or 2m", "%s is not a duration: %q", k.name, in.text)
	case ok && !in.lenient:
		return time.Duration(seconds * float64(time.Second)), "", nil
	}
	// C-7: Ruby's to_i reads the digits in front and takes nothing for 0.
	digits := leadingDigits(in.text)
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil && digits != "" {
		return 0, "", wrong("", "%s is too large: %q", k.name, in.text)
	}
	if digits != in.text {
		note = fmt.Sprintf("%s: %q is taken for %d seconds, as the reference agent takes it", k.name, in.text, n)
	}
	return time.Duration(n) * time.Second, note, nil
}

func (k *key) readBytes(in input) (outcome, error) {
	n, err := ParseBytes(in.text)
	if err != nil {
		return outcome{}, wrong("write bytes, or an integer with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB", "%s: %v", k.name, err)
	}
	if int64(n) < k.target().min || k.target().max != 0 && int64(n) > k.target().max {
		return outcome{}, wrong("", "%s must be %s, not %s", k.name, k.target().typeName(), in.text)
	}
	return outcome{value: n, text: n.String()}, nil
}

// typeName describes the values of a key in a few words, for messages and documentation.
func (k *key) typeName() string {
	switch k.kind {
	case kindPath:
		return "a path"
	case kindURL:
		return "a URL"
	case kindAddress:
		return "host:port or off"
	case kindEnum:
		return strings.Join(k.enum, ", ")
	case kindBool:
		return "true or false"
	case kindInt:
		return "an integer" + k.bounds(func(n int64) string { return strconv.FormatInt(n, 10) })
	case kindSeconds:
		return "seconds or a duration" + k.bounds(func(n int64) string { return durationText(time.Duration(n)) })
	case kindDuration:
		return "a duration" + k.bounds(func(n int64) string { return durationText(time.Duration(n)) })
	case kindBytes:
		return "a number of bytes" + k.bounds(func(n int64) string { return Bytes(n).String() })
	case kindList:
		if k.enum != nil {
			return "a list of " + strings.Join(k.enum, ", ")
		}
		return "a list"
	default:
		return "a text"
	}
}

func (k *key) bounds(show func(int64) string) string {
	switch {
	case k.max != 0:
		return " from " + show(k.min) + " to " + show(k.max)
	case k.min != 0:
		return ", at least " + show(k.min)
	default:
		return ", at least 0"
	}
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		// The cause of a *url.Error, without the URL: that may hold a password.
		if e, ok := errors.AsType[*url.Error](err); ok {
			return e.Err
		}
		return errors.New("it cannot be parsed")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it must begin with http:// or https://")
	case u.Hostname() == "":
		return errors.New("it has no host")
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n <= math.MaxUint16
}

func leadingDigits(s string) string {
	n := 0
	for n < len(s) && (s[n] >= '0' && s[n] <= '9' || n == 0 && (s[n] == '-' || s[n] == '+')) {
		n++
	}
	if n == 1 && (s[0] == '-' || s[0] == '+') {
		return ""
	}
	return s[:n]
}
