package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// byteUnits are the units of V-104, the larger before those that they end in.
var byteUnits = []struct {
	name   string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// ParseBytes reads an amount as the keys that are one do: an integer, alone or with a unit in any case (V-104).
func ParseBytes(text string) (Bytes, error) {
	number, factor := strings.TrimSpace(text), int64(1)
	for _, u := range byteUnits {
		if len(number) > len(u.name) && strings.EqualFold(number[len(number)-len(u.name):], u.name) {
			number, factor = strings.TrimSpace(number[:len(number)-len(u.name)]), u.factor
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return Bytes(n * factor), nil
}

// String writes the amount with the largest unit that divides it, so that it can be read back.
func (b Bytes) String() string {
	if b == 0 {
		return "0"
	}
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "KB"} {
		for _, u := range byteUnits {
			if u.name == unit && int64(b)%u.factor == 0 {
				return strconv.FormatInt(int64(b)/u.factor, 10) + unit
			}
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// durationText writes 2m for 2m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func checkFileName(text string) error {
	if text == "." || text == ".." || strings.ContainsAny(text, "/\x00\n") {
		return fmt.Errorf("%q is not a file name", text)
	}
	return nil
}

func checkPin(text string) error {
	if len(text) != 64 || strings.Trim(strings.ToLower(text), "0123456789abcdef") != "" {
		return fmt.Errorf("%q is not a SHA-256 fingerprint of 64 hexadecimal digits", text)
	}
	return nil
}

func checkURLPath(text string) error {
	if !strings.HasPrefix(text, "/") || strings.ContainsAny(text, " ?#\t\r\n") {
		return fmt.Errorf("%q is not a path that begins with /", text)
	}
	switch text {
	case "/livez", "/readyz", "/metrics":
		return fmt.Errorf("%s is taken by the agent itself", text)
	}
	return nil
}

func checkLogFile(text string) error {
	if text != auto && text != off && !strings.HasPrefix(text, "/") {
		return fmt.Errorf("%q is neither auto, off nor an absolute path", text)
	}
	return nil
}

// checkEnvFile takes a path with placeholders, a minus sign before it or not.
func checkEnvFile(text string) error {
	path := strings.TrimPrefix(text, "-")
	if text != "" && !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q is no absolute path, nor one with a minus sign before it", text)
	}
	if rest := strings.NewReplacer("{group}", "", "{application}", "").Replace(path); strings.ContainsAny(rest, "{}") {
		return fmt.Errorf("%q has another placeholder than {group} and {application}", text)
	}
	return nil
}

// checkStatuses takes what a target group's matcher takes: codes and ranges of them between commas.
func checkStatuses(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.Atoi(from)
		high := low
		if err == nil && ranged {
			high, err = strconv.Atoi(to)
		}
		if err != nil || low < 100 || high > 599 || high < low {
			return errors.New("write status codes such as 200, 200,302 or 200-399")
		}
	}
	return nil
}

// checkAddress wants host:port.
func checkAddress(text string) error {
	if host, port, err := net.SplitHostPort(text); err != nil || host == "" || !isPort(port) {
		return fmt.Errorf("write host:port, not %q", text)
	}
	return nil
}
