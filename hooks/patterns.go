package hooks

import (
	"bytes"
	"encoding/binary"
	"maps"
	"regexp"
	"sync"
)

// pattern is one way to know a secret by its look: the first group of the expression is what is hidden. Every match contains one of the
// needles.
type pattern struct {
	needles    []string
	also       string // and this
	expression func() *regexp.Regexp
}

// lazy compiles an expression at the first suspicion: the shim of a quiet script never pays for it.
func lazy(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// A needle is a piece of needleLen bytes. Looking for them all at once decides, at the speed of reading, that there is nothing to do, which
// is nearly always so.
const needleLen = 4

// before makes needles of a text of three bytes with each of the bytes that may come before it.
func before(bytes, text string) []string {
	var all []string
	for i := range len(bytes) {
		all = append(all, bytes[i:i+1]+text)
	}
	return all
}

var patterns = []pattern{
	{needles: []string{"AKIA", "ASIA"}, expression: lazy(`\b(?:AKIA|ASIA)([A-Z0-9]{12,})`)}, // ids of AWS access keys
	{needles: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "ub_p"}, expression: lazy(`\b(?:gh[pousr]_|github_pat_)([A-Za-z0-9_]{16,})`)},
	{needles: []string{"pat-", "ldt-", "lrt-", "ptt-", "cbt-"}, expression: lazy(`\bgl(?:pat|dt|rt|ptt|cbt)-([A-Za-z0-9_.-]{16,})`)},            // GitLab
	{needles: []string{"xoxa", "xoxb", "xoxe", "xoxp", "xoxr", "xoxs", "xapp"}, expression: lazy(`\b(?:xox[abeprs]|xapp)-([A-Za-z0-9-]{10,})`)}, // Slack
	{needles: []string{".eyJ"}, expression: lazy(`\beyJ([A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?)`)},                        // JSON Web Tokens
	{needles: []string{"oriz", "ORIZ"}, expression: lazy(`(?i)authorization["']?[ \t]*[:=][ \t]*["']?([^\r\n"']+)`)},
	{needles: []string{"eare", "EARE"}, expression: lazy(`(?i)\bbearer[ \t]+([A-Za-z0-9._~+/=-]{16,})`)},
	{ // the password in an address
		needles: before("abcdefghijklmnopqrstuvwxyzS", "://"), also: "@",
		expression: lazy(`[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#@"'<>]*:([^\s/?#"'<>]+)@`),
	},
	{ // AWS secret keys, session tokens and signatures by their names
		needles: []string{"secr", "Secr", "SECR", "_tok", "_TOK", "Toke", "ntok", "ytok", "-tok", "-Tok", "-TOK", "-Sig", "-sig", "-Cre", "-cre"},
		expression: lazy(`(?i)(?:(?:aws_?)?secret_?(?:access_?)?key|(?:aws_?)?(?:session|security)_?token|private-token|x-amz-(?:security-token|signature|credential))` +
			`["']?[ \t]*[:=][ \t]*["']?([^\s"',;&]+)`),
	},
	{ // what is assigned to a name that ends like a secret's; not what is said of one ("password: required"), nor a $variable
		needles: []string{
			"assw", "ASSW", "assW", "assp", "ASSP", "L_PW", "l_pw", "pi_k", "PI_K", "pi-k", "pike", "PIKE", "piKe", "_tok", "_TOK", "secr", "Secr", "SECR",
		},
		expression: lazy(`(?i)(?:password|passwd|passphrase|mysql_pwd|api[_-]?key|[a-z0-9]_token|[a-z0-9]_secret|client-?secret)` +
			`(?:["']?[ \t]*=>?[ \t]*["']?|["'][ \t]*:[ \t]*["'])([^\s"'&;,$<{%*\[(=][^\s"'&;]{3,})`),
	},
}

// keyNeedle is in every head of a private key.
const keyNeedle = "E KE"

// What a needle makes suspicious: one bit for each pattern, and these.
const (
	suspectValue = 1 << 31
	suspectKey   = 1 << 30
)

// scanner finds needles: it looks at two bytes of every three, of which each needle has just one pair. No look depends on another, which
// is what makes it fast.
type scanner struct {
	pairs [1 << 16]uint8    // by two bytes: bit n says that a needle may begin n bytes before
	maybe [1 << 12]bool     // by the hash of four: they may be a needle
	words map[uint32]uint32 // needle → what it makes suspicious
}

var patternScanner = sync.OnceValue(func() *scanner {
	s := &scanner{words: map[uint32]uint32{}}
	for i, p := range patterns {
		for _, n := range p.needles {
			s.add([]byte(n), 1<<i)
		}
	}
	s.add([]byte(keyNeedle), suspectKey)
	return s
})

func (s *scanner) clone() *scanner {
	return &scanner{pairs: s.pairs, maybe: s.maybe, words: maps.Clone(s.words)}
}

func (s *scanner) add(needle []byte, suspicion uint32) {
	for i := range needleLen - 1 {
		s.pairs[binary.BigEndian.Uint16(needle[i:])] |= 1 << i
	}
	n := binary.BigEndian.Uint32(needle)
	s.maybe[hash(n)] = true
	s.words[n] |= suspicion
}

// hash spreads four bytes over the twelve bits of maybe.
func hash(n uint32) uint32 { return n * 0x9E3779B1 >> 20 }

// next is where a needle from at on ends, none ending before, and what it makes suspicious; -1 if there is none.
func (s *scanner) next(text []byte, at int) (int, uint32) {
	const stride = needleLen - 1
	for i := at; i+1 < len(text); i += stride {
		begins := s.pairs[uint16(text[i])<<8|uint16(text[i+1])]
		if begins == 0 {
			continue
		}
		for back := stride - 1; back >= 0; back-- {
			start := i - back
			if begins>>back&1 == 0 || start < at || start+needleLen > len(text) {
				continue
			}
			n := binary.BigEndian.Uint32(text[start:])
			if !s.maybe[hash(n)] {
				continue
			}
			if suspicion := s.words[n]; suspicion != 0 {
				return start + stride, suspicion
			}
		}
	}
	return -1, 0
}

// suspicions are those of all needles in a line.
func (s *scanner) suspicions(line []byte) (all uint32) {
	for at := 0; ; {
		hit, suspicion := s.next(line, at)
		if hit < 0 {
			return all
		}
		all |= suspicion
		at = hit - needleLen + 2
	}
}

// rarest is the piece of a value that other text is least likely to have: letters that are common make it more so.
func rarest(value []byte) []byte {
	best, least := value[:needleLen], 1<<30
	for i := 0; i+needleLen <= len(value); i++ {
		score := 0
		for _, b := range value[i : i+needleLen] {
			score += 1 + bytes.IndexByte([]byte("zqxjkvbywgpfmucdlhrsnioate "), b) // 0 for all others
		}
		if score < least {
			best, least = value[i:i+needleLen], score
		}
	}
	return best
}
