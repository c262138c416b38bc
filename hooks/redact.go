package hooks

import (
	"bytes"
	"regexp"
	"sync"
)

// redactor takes secrets out of text: values it was told, and what looks like the keys and tokens of AWS and GitHub.
// Lines stay lines, so that it may be used on many at once. The zero value and nil know the patterns alone.
type redactor struct {
	values [][]byte
}

const redacted = "[redacted]"

// minSecret keeps a value such as "1" from turning every log into a riddle.
const minSecret = 4

func newRedactor(values []string) *redactor {
	r := &redactor{}
	for _, v := range values {
		if len(v) >= minSecret {
			r.values = append(r.values, []byte(v))
		}
	}
	return r
}

// needles are pieces of four bytes of which every match of a pattern contains one. Looking for them decides, at the speed of
// reading, that there is nothing to do, which is nearly always so.
var needles = []string{
	"AKIA", "ASIA",
	"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "_pat", // GitHub
	"cret", "CRET", // secret
	"hori", "HORI", // authorization
	"n_to", "N_TO", "nTok", "ntok", "y_to", "Y_TO", "yTok", "ytok", "y-To", "y-to", // session and security token
	"-Sig", "-sig", "-Cre", "-cre", // of a signed address
}

const needleLen = 4

// scanner finds needles: it looks at every fourth byte, and closer only where that byte is one of a needle's.
type scanner struct {
	shift [256]int
	pairs [1 << 16]bool // the last two bytes of needles
	words map[[needleLen]byte]bool
}

var newScanner = sync.OnceValue(func() *scanner {
	s := &scanner{words: map[[needleLen]byte]bool{}}
	for i := range s.shift {
		s.shift[i] = needleLen
	}
	for _, n := range needles {
		for i := range needleLen {
			s.shift[n[i]] = min(s.shift[n[i]], needleLen-1-i)
		}
		s.pairs[int(n[2])<<8|int(n[3])] = true
		s.words[[needleLen]byte([]byte(n))] = true
	}
	return s
})

func (s *scanner) finds(text []byte) bool {
	for i := needleLen - 1; i < len(text); {
		if d := s.shift[text[i]]; d > 0 {
			i += d
			continue
		}
		if s.pairs[int(text[i-1])<<8|int(text[i])] && s.words[[needleLen]byte(text[i-3:i+1])] {
			return true
		}
		i++
	}
	return false
}

type pattern struct {
	find *regexp.Regexp
	with []byte
}

// patterns are compiled at the first suspicion: the shim of a quiet script never pays for them.
var patterns = sync.OnceValue(func() []pattern {
	var all []pattern
	for _, p := range [][2]string{
		{`\b(AKIA|ASIA)[A-Z0-9]{12,}`, "${1}" + redacted},
		{`\b(gh[pousr]_|github_pat_)[A-Za-z0-9_]{16,}`, "${1}" + redacted},
		{`(?i)(authorization["']?[ \t]*[:=][ \t]*["']?)[^\r\n"']+`, "${1}" + redacted},
		{
			`(?i)((?:aws_?)?secret_?(?:access_?)?key|(?:aws_?)?(?:session|security)_?token|x-amz-(?:security-token|signature|credential))` +
				`(["']?[ \t]*[:=][ \t]*["']?)[^\s"',;&]+`, "${1}${2}" + redacted,
		},
	} {
		all = append(all, pattern{regexp.MustCompile(p[0]), []byte(p[1])})
	}
	return all
})

// clean returns text without secrets: text itself if there are none.
func (r *redactor) clean(text []byte) []byte {
	if r != nil {
		for _, v := range r.values {
			if bytes.Contains(text, v) {
				text = bytes.ReplaceAll(text, v, []byte(redacted))
			}
		}
	}
	scan := newScanner()
	if !scan.finds(text) {
		return text
	}
	var out []byte
	for line := range bytes.Lines(text) {
		if scan.finds(line) {
			for _, p := range patterns() {
				line = p.find.ReplaceAll(line, p.with)
			}
		}
		out = append(out, line...)
	}
	return out
}
