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

// suspects are what every match of a pattern contains. They decide with a few fast searches over a whole block that there is
// nothing to do, which is nearly always so.
var suspects = [][]byte{
	[]byte("AKIA"), []byte("ASIA"),
	[]byte("ghp_"), []byte("gho_"), []byte("ghu_"), []byte("ghs_"), []byte("ghr_"), []byte("github_pat_"),
	[]byte("ecret"), []byte("ECRET"),
	[]byte("uthorization"), []byte("UTHORIZATION"),
	[]byte("ession_token"), []byte("ESSION_TOKEN"), []byte("essionToken"), []byte("essiontoken"),
	[]byte("ecurity-Token"), []byte("ecurity-token"), []byte("ecurity_token"), []byte("ECURITY_TOKEN"),
	[]byte("-Signature"), []byte("-signature"),
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
	if !suspicious(text) {
		return text
	}
	var out []byte
	for line := range bytes.Lines(text) {
		if suspicious(line) {
			for _, p := range patterns() {
				line = p.find.ReplaceAll(line, p.with)
			}
		}
		out = append(out, line...)
	}
	return out
}

func suspicious(text []byte) bool {
	for _, s := range suspects {
		if bytes.Contains(text, s) {
			return true
		}
	}
	return false
}
