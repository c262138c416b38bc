package hooks

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// What is known as a secret by its look, and what is not. Put together here so that no scanner takes them for real.
func TestPatterns(t *testing.T) {
	t.Parallel()
	jwt := "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"
	tests := []struct{ in, want string }{
		{"glpat-" + strings.Repeat("a1", 10), "glpat-[redacted]"},
		{"export T=xox" + "b-1234567890-abcdef", "export T=xoxb-[redacted]"},
		{"got " + jwt + " back", "got eyJ[redacted] back"},
		{"curl -H 'X: Bearer " + strings.Repeat("t0", 10) + "'", "curl -H 'X: Bearer [redacted]'"},
		{"the bearer of this", "the bearer of this"},
		{"cloning https://deploy:s3cr3t-w0rd@git.example.com/app.git", "cloning https://deploy:[redacted]@git.example.com/app.git"},
		{"postgres://app:pw@db/app and redis://:pw2@cache:6379", "postgres://app:[redacted]@db/app and redis://:[redacted]@cache:6379"},
		{"https://example.com:8080/a@b", "https://example.com:8080/a@b"},
		{"git clone ssh://git@example.com/app", "git clone ssh://git@example.com/app"},
		{"DB_PASSWORD=hunter22 x", "DB_PASSWORD=[redacted] x"},
		{"+ PGPASSWORD='hunter 22'", "+ PGPASSWORD='[redacted] 22'"},
		{`'password' => 'hunter22',`, `'password' => '[redacted]',`},
		{`{"dbPassword": "hunter22", "apiKey":"0123456789"}`, `{"dbPassword": "[redacted]", "apiKey":"[redacted]"}`},
		{"mysql:host=db;password=hunter22;x=1", "mysql:host=db;password=[redacted];x=1"},
		{"--api-key=0123456789 --client-secret=abcdefgh", "--api-key=[redacted] --client-secret=[redacted]"},
		{"auth_token = abcdefgh", "auth_token = [redacted]"},
		{"PRIVATE-TOKEN: abcdefgh", "PRIVATE-TOKEN: [redacted]"},
		// A prompt, a sentence, a name, a variable and a placeholder are none.
		{"Password: ", "Password: "},
		{"password: required", "password: required"},
		{"if ($password == 'x') login($password);", "if ($password == 'x') login($password);"},
		{"PASSWORD=$DB_PASSWORD PASSWORD=<yours> password=***", "PASSWORD=$DB_PASSWORD PASSWORD=<yours> password=***"},
		{"unexpected token, expected ';'", "unexpected token, expected ';'"},
		// Keys in one line, as JSON has them, and one that does not end.
		{`"-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\n"`, `"-----BEGIN RSA PRIVATE KEY-----[redacted]-----END RSA PRIVATE KEY-----\n"`},
		{"-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"},
	}
	r := newRedactor(nil)
	for _, tt := range tests {
		if got := string(r.clean([]byte(tt.in))); got != tt.want {
			t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// Values are hidden whole, also where they overlap; one of several lines is hidden line by line.
func TestRedactValues(t *testing.T) {
	t.Parallel()
	r := newRedactor([]string{"abcdef", "defghi", "abc", "first line\n  second line\nx\n", "aaaa"})
	for in, want := range map[string]string{
		"xabcdefghix":               "x[redacted]x",
		"abcdef abcdef":             "[redacted] [redacted]",
		"first line\nsecond line":   "[redacted]\n[redacted]",
		"abc":                       "abc", // too short
		"aaaaaa b":                  "[redacted] b",
		"PASSWORD=abcdefghi-more !": "PASSWORD=[redacted] !",
	} {
		if got := string(r.clean([]byte(in))); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Redact([]string{"defghi"})("the word is defghi"); got != "the word is [redacted]" {
		t.Errorf("Redact() = %q", got)
	}
}

// A private key is hidden, line by line, wherever the pieces of the output end; what follows is shown.
func TestRedactPrivateKey(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "    ", "web_1  | "} {
		text := "before\n" + prefix + "-----BEGIN OPENSSH PRIVATE KEY-----\n" + prefix + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz\n" +
			prefix + "QyNTUxOQAAACB=\n" + prefix + "-----END OPENSSH PRIVATE KEY-----\nafter\n"
		want := "before\n" + prefix + "-----BEGIN OPENSSH PRIVATE KEY-----\n" + prefix + "[redacted]\n" + prefix + "[redacted]\n" + prefix + "-----END OPENSSH PRIVATE KEY-----\nafter\n"
		lines := strings.SplitAfter(text, "\n")
		for cut := range lines {
			s := &strand{red: newRedactor(nil)}
			got := string(s.clean([]byte(strings.Join(lines[:cut], "")))) + string(s.clean([]byte(strings.Join(lines[cut:], ""))))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("prefix %q, cut at line %d (-want +got):\n%s", prefix, cut, diff)
			}
		}
	}
	// One that is cut off ends with the first line that cannot belong to it.
	got := Redact(nil)("-----BEGIN PRIVATE KEY-----\nMIIEow\nError: disk full\nMIIEow\n")
	if want := "-----BEGIN PRIVATE KEY-----\n[redacted]\nError: disk full\nMIIEow\n"; got != want {
		t.Errorf("a key that is cut off: %q", got)
	}
}

// Wherever a secret lies, in whatever pieces it is read, and where a long line is split: none of it is logged.
func TestSecretsAcrossPieces(t *testing.T) {
	t.Parallel()
	akia, value := "AKIA"+"IOSFODNN7EXAMPLE", "correct-horse-battery-staple"
	logged := func(in io.Reader, values ...string) string {
		o := newOutput(Script{}, newRedactor(values))
		o.read("stdout", in)
		return string(o.mem.last.buf) + string(o.mem.head)
	}
	for _, secret := range []string{akia, value, "https://u:" + value + "@host/", "Authorization: Basic " + value, "aws_secret_access_key=" + value} {
		for _, before := range []int{0, 1, 100, maxLine - len(secret) - 1, maxLine - len(secret), maxLine - len(secret)/2, maxLine - 5, maxLine - 1, maxLine, maxLine + maxOver - 9, 2*maxLine - 7} {
			text := strings.Repeat("x", max(before-1, 0)) + " " + secret + " " + strings.Repeat("y", maxLine)
			got := logged(strings.NewReader(text), value)
			for _, part := range []string{secret, value, akia[4:], value[:12], value[8:]} {
				if strings.Contains(got, part) {
					t.Errorf("%d bytes before %q: %q is logged", before, secret, part)
				}
			}
		}
		text := "a " + secret + "\n" + secret + " b"
		if got := logged(iotest.OneByteReader(strings.NewReader(text)), value); strings.Contains(got, secret[len(secret)-8:len(secret)-2]) && !strings.HasPrefix(secret, "https") {
			t.Errorf("byte by byte: %q", got)
		}
	}
	// A secret without an end: the line is swallowed, the next one is not.
	endless := "Authorization: " + strings.Repeat("0123456789abcdef", 5*maxLine/16) + "\nnext line\n"
	if got := logged(strings.NewReader(endless)); strings.Contains(got, "0123456789") || !strings.Contains(got, "next line") {
		t.Errorf("a secret without an end: %d bytes logged, %.60q", len(got), got)
	}
}

// Redaction keeps lines apart, is stable, and lets no value through.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"plain\n", "AKIA" + "IOSFODNN7EXAMPLE", "x=swordfish\n", "-----BEGIN PRIVATE KEY-----\nMII\n", "://a:b@c", "password=>x\xff", "swordfishswordfis"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		r := newRedactor([]string{"swordfish", "fishy"})
		whole := r.clean(bytes.Clone(data))
		if bytes.Contains(whole, []byte("swordfish")) || bytes.Count(whole, newline) != bytes.Count(data, newline) {
			t.Errorf("clean(%q) = %q", data, whole)
		}
		// In two pieces of whole lines it comes to the same.
		if len(data) == 0 {
			return
		}
		cut := bytes.LastIndexByte(data[:((at%len(data))+len(data))%len(data)], '\n') + 1
		s := &strand{red: r}
		if got := append(bytes.Clone(s.clean(bytes.Clone(data[:cut]))), s.clean(bytes.Clone(data[cut:]))...); !bytes.Equal(got, whole) {
			t.Errorf("in pieces of %d: %q, whole %q", cut, got, whole)
		}
	})
}

// Control sequences may stand in the middle of a secret, as grep --color puts them there: what is shown without them is clean all the same, and
// loses no more than them.
func TestSecretsAmongControlSequences(t *testing.T) {
	t.Parallel()
	akia := "AKIA" + "IOSFODNN7EXAMPLE"
	for in, want := range map[string]string{
		"x \x1b[01;31m\x1b[Kcorrect\x1b[m\x1b[K-horse y":               "x [redacted] y",
		"x corr\x00ect-horse y":                                        "x [redacted] y",
		"key \x1b[1m" + akia[:6] + "\x1b[0m" + akia[6:]:                "key AKIA[redacted]",
		"see \x1b]8;;http://host/\x1b\\the page\x1b]8;;\x1b\\ for why": "see the page for why",
		"\x1b]0;title\x07denied":                                       "denied",
	} {
		o := newOutput(Script{}, newRedactor([]string{"correct-horse"}))
		o.read("stderr", strings.NewReader(in+"\n"))
		var r Result
		o.fill(&r)
		for _, got := range [][]string{r.Excerpt.Stderr, r.Excerpt.Tail} {
			if len(got) != 1 || got[0] != want {
				t.Errorf("%q is told as %q, want %q", in, got, want)
			}
		}
	}
}

// What a result says in words is clean too: paths, first lines, what holds the output.
func TestSecretsInMessages(t *testing.T) {
	t.Parallel()
	akia := "AKIA" + "IOSFODNN7EXAMPLE"
	for name, change := range map[string]func(*Script){
		"interpreter": func(s *Script) { put(t, s.Path, "#!/opt/"+akia+"/perl\n", 0o755) },
		"path":        func(s *Script) { s.Path += "-" + akia },
		"directory":   func(s *Script) { s.WorkDir = "/" + akia },
		"user":        func(s *Script) { s.RunAs, s.RunAsSet = "correct-horse", true },
		"left over": func(s *Script) {
			begun := fifo(t, base(*s)+"/begun") // until then it is the script's own command line that is seen
			put(t, s.Path, "#!/bin/sh\nsh -c 'echo >"+begun+"; sleep 3; :' token=correct-horse "+akia+" &\nread x <"+begun+"\n", 0o755)
		},
	} {
		s := write(t, "#!/bin/sh\n")
		s.Redact, s.OpenOutput, s.OpenOutputWait, s.Timeout = []string{"correct-horse"}, OpenOutputWarn, 1, 0
		change(&s)
		res := perform(t, newRunner(t), s)
		text := fmt.Sprintf("%v %v %v %v %s", res.Err, res.Notes, res.Left, res.Holders, read(t, s.Dir+"/"+resultFile))
		if name != "user" && strings.Contains(text, akia) || name != "user" && strings.Contains(text, "correct-horse") || !strings.Contains(text, redacted) {
			t.Errorf("%s: %s", name, text)
		}
	}
}
