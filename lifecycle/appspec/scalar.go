package appspec

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The forms of a plain scalar in YAML 1.1 as the reference's reader has them, commas and all. They are tried in this order, and
// only for a scalar that cannot be told to be text by its first characters.
var (
	timeForm    = pattern(`(?m)^-?\d{4}-\d{1,2}-\d{1,2}(?:[Tt]|[ \t\r\n\f\v]+)\d{1,2}:\d\d:\d\d(?:\.\d*)?(?:[ \t\r\n\f\v]*(?:Z|[-+]\d{1,2}:?(?:\d\d)?))?$`)
	dateForm    = pattern(`(?m)^\d{4}-(?:1[012]|0\d|\d)-(?:[12]\d|3[01]|0\d|\d)$`)
	base60Form  = pattern(`(?m)^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}(\.[0-9_]*)?$`)
	floatForm   = pattern(`(?m)^[-+]?(?:[0-9][0-9_,]*)?\.[0-9]*(?:[eE][-+][0-9]+)?$`)
	binaryForm  = pattern(`(?m)^[-+]?0b[01_,]+$`)
	octalForm   = pattern(`(?m)^[-+]?0[0-7_,]+$`)
	decimalForm = pattern(`(?m)^[-+]?(?:0|[1-9](?:[0-9]|,[0-9]|_[0-9])*)$`)
	hexForm     = pattern(`(?m)^[-+]?0x[0-9a-fA-F_,]+$`)
)

// pattern compiles a regular expression when it is first asked for: the program is also started for work in which no appspec is read.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// separators are the marks that a number may have between its digits.
var separators = strings.NewReplacer(",", "", "_", "")

// words are the plain scalars that are no text, in lower case. y and n are text.
var words = map[string]value{
	"~": {kind: null}, "null": {kind: null},
	"yes": {kind: boolean, truth: true}, "true": {kind: boolean, truth: true}, "on": {kind: boolean, truth: true},
	"no": {kind: boolean}, "false": {kind: boolean}, "off": {kind: boolean},
}

// unreadable says why the reference's reader refuses a plain scalar.
type unreadable string

const (
	readable  unreadable = ""
	isTime    unreadable = "time"   // it would become a date or time, which are not allowed
	notNumber unreadable = "number" // it has the form of a number and is none, such as 0x_
)

// resolve reads a plain scalar.
func resolve(s string) (value, unreadable) {
	if s == "" {
		return value{kind: null}, readable
	}
	if looksLikeText(s) {
		return resolveWord(s), readable
	}
	switch {
	case timeForm().MatchString(s), dateForm().MatchString(s):
		return value{kind: text, text: s}, isTime
	case matchLine(s, ".inf"), matchLine(s, "+.inf"):
		return value{kind: float, text: s, number: &number{float: math.Inf(1)}}, readable
	case matchLine(s, "-.inf"):
		return value{kind: float, text: s, number: &number{float: math.Inf(-1)}}, readable
	case matchLine(s, ".nan"):
		return value{kind: float, text: s, number: &number{float: math.NaN()}}, readable
	case s[0] == ':' && len(s) > 1:
		return value{kind: symbol, text: symbolName(s)}, readable
	case base60Form().MatchString(s):
		return resolveBase60(s), readable
	case floatForm().MatchString(s):
		return resolveFloat(s)
	default:
		return resolveInteger(s)
	}
}

// matchLine compares without regard to case.
func matchLine(s, form string) bool { return strings.EqualFold(s, form) }

// looksLikeText is true if, after at most one character that is no digit, dot, colon or dash, there is a letter or one of the
// marks that no number has. Text of several lines looks like text too.
func looksLikeText(s string) bool {
	if strings.IndexByte(s, '\n') >= 0 {
		return true
	}
	first, size := utf8.DecodeRuneInString(s)
	if isTextual(first) {
		return true
	}
	if strings.ContainsRune("0123456789.:-", first) || size == len(s) {
		return false
	}
	second, _ := utf8.DecodeRuneInString(s[size:])
	return isTextual(second)
}

func isTextual(r rune) bool {
	return unicode.IsLetter(r) || strings.ContainsRune("_ \t\r\n\f\v!@#$%^&*(){}<>|/\\~;=", r)
}

func resolveWord(s string) value {
	if utf8.RuneCountInString(s) > 5 {
		return value{kind: text, text: s}
	}
	if v, ok := words[strings.ToLower(s)]; ok {
		v.text = s
		return v
	}
	return value{kind: text, text: s}
}

func symbolName(s string) string {
	s = s[1:]
	if q := s[0]; q == '"' || q == '\'' {
		if end := strings.LastIndexByte(s, q); end > 0 {
			return strings.TrimPrefix(s[1:end], ":")
		}
	}
	return s
}

// resolveBase60 gives the first part the weight of hours whether there are two parts or three, as the reference does: 3:00 is
// three hours.
func resolveBase60(s string) value {
	v := value{kind: integer, text: s}
	if strings.Contains(s, ".") {
		v.kind = float
	}
	sum, weight := new(big.Int), int64(3600)
	var fsum float64
	for part := range strings.SplitSeq(s, ":") {
		if v.kind == float {
			f, _ := strconv.ParseFloat(leadingFloat(part), 64)
			fsum += f * float64(weight)
		} else {
			sum.Add(sum, new(big.Int).Mul(leadingInteger(part), big.NewInt(weight)))
		}
		weight /= 60
	}
	v.number = &number{integer: sum, float: fsum}
	if v.kind == float {
		v.number.integer = nil
	}
	return v
}

// leadingFloat is the part of s that the reference's to_f reads.
func leadingFloat(s string) string {
	s = strings.ReplaceAll(s, "_", "")
	return strings.TrimSuffix(s, ".")
}

func resolveFloat(s string) (value, unreadable) {
	if strings.Trim(s, "+-") == "." {
		return value{kind: text, text: s}, readable
	}
	plain := separators.Replace(s)
	f, ok := parseFloat(plain)
	if !ok {
		return value{kind: text, text: s}, notNumber
	}
	return value{kind: float, text: s, number: &number{float: f}}, readable
}

func parseFloat(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

func resolveInteger(s string) (value, unreadable) {
	var base int
	switch {
	case binaryForm().MatchString(s):
		base = 2
	case octalForm().MatchString(s):
		base = 8
	case decimalForm().MatchString(s):
		base = 10
	case hexForm().MatchString(s):
		base = 16
	default:
		return value{kind: text, text: s}, readable
	}
	digits := separators.Replace(s)
	sign := ""
	if digits[0] == '+' || digits[0] == '-' {
		sign, digits = digits[:1], digits[1:]
	}
	if base == 2 || base == 16 {
		digits = digits[2:]
	}
	if digits == "" {
		return value{kind: text, text: s}, notNumber
	}
	return value{kind: integer, text: s, number: &number{integer: parseInteger(sign+digits, base)}}, readable
}

// maxDigits bounds the arithmetic on numbers: turning a million digits from one base into another takes seconds. No field of an
// appspec has a use for more.
const maxDigits = 4096

func parseInteger(s string, base int) *big.Int {
	n, ok := new(big.Int).SetString(s[:min(len(s), maxDigits)], base)
	if !ok {
		return new(big.Int)
	}
	return n
}

// leadingInteger is the reference's to_i of a text: white space, a sign, digits with single underscores between them, and
// whatever follows is ignored. Nothing at all is 0.
func leadingInteger(s string) *big.Int {
	s = strings.TrimLeft(s, "\t\n\v\f\r ")
	end := 0
	if s != "" && (s[0] == '+' || s[0] == '-') {
		end = 1
	}
	digit := func(i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }
	var b strings.Builder
	b.WriteString(s[:end])
	for digit(end) {
		b.WriteByte(s[end])
		end++
		if end < len(s) && s[end] == '_' && digit(end+1) {
			end++
		}
	}
	return parseInteger(b.String(), 10)
}

// number is an integer of any size, or a float when integer is nil.
type number struct {
	integer *big.Int
	float   float64
}

// truncate is the number without its fraction; ok is false for an infinity and for what is not a number.
func (n *number) truncate() (_ *big.Int, ok bool) {
	if n.integer != nil {
		return n.integer, true
	}
	if math.IsInf(n.float, 0) || math.IsNaN(n.float) {
		return nil, false
	}
	i, _ := big.NewFloat(n.float).Int(nil)
	return i, true
}

// String writes a float the way the reference does: always with a fraction, and with an exponent from 1e15 up and from 1e-5 down.
func (n *number) String() string {
	if n.integer != nil {
		return n.integer.String()
	}
	switch {
	case math.IsNaN(n.float):
		return "NaN"
	case math.IsInf(n.float, 0):
		return strings.TrimPrefix(strings.ReplaceAll(strconv.FormatFloat(n.float, 'g', -1, 64), "Inf", "Infinity"), "+")
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(n.float, 'e', -1, 64), "e")
	if e, _ := strconv.Atoi(exponent); n.float == 0 || e >= -4 && e < 15 {
		s := strconv.FormatFloat(n.float, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	return mantissa + "e" + exponent
}
