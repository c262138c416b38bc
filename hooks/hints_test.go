package hooks

import (
	"strings"
	"testing"
)

// The words of programs that miss a terminal, or permission, are known; those of others are not taken for them.
func TestHints(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"stty: 'standard input': Inappropriate ioctl for device":                                                  "hooks have no terminal",
		"bash: /dev/tty: No such device or address":                                                               "hooks have no terminal",
		"fatal: could not read Username for 'https://github.com': No such device or address":                      "hooks have no terminal",
		"the input device is not a TTY":                                                                           "hooks have no terminal",
		"Host key verification failed.":                                                                           "known_hosts",
		"sudo: a terminal is required to read the password; either use the -S option to read from standard input": "NOPASSWD",
		"sudo: a password is required":                                                                            "NOPASSWD",
		"sudo: sorry, you must have a tty to run sudo":                                                            "requiretty",
		"deploy is not in the sudoers file.":                                                                      "no rule of sudo",
		"Sorry, user deploy is not allowed to execute '/bin/x' as root on web1.":                                  "no rule of sudo",
		"sudo: sorry, you are not allowed to set the following environment variables: DEPLOYMENT_ID":              "SETENV",
		"mesg: ttyname failed: Inappropriate ioctl for device":                                                    "",
		"connect to pretty host: refused":                                                                         "",
		"":                                                                                                        "",
	} {
		for _, failed := range []bool{true, false} {
			r := Result{Exit: 1, Excerpt: Excerpt{Tail: []string{"first", line}}, Err: &Failure{Kind: ErrFailed, Detail: "failed"}}
			if !failed {
				r.Err, want = &Failure{Kind: ErrTimedOut, Detail: "failed"}, ""
			}
			r.hint(nil)
			got := r.Err.Error()
			if (want == "") != !strings.Contains(got, ";") || !strings.Contains(got, want) {
				t.Errorf("%q: %s, want %q", line, got, want)
			}
		}
	}
}

// The real programs: each asks for what no hook can give, and the message says so.
func TestProgramsWithoutTerminal(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"stty size\n":                           "hooks have no terminal",
		"tty\n":                                 "hooks have no terminal",
		"exec 3</dev/tty\n":                     "hooks have no terminal",
		"read -r answer\n":                      "failed with exit code 1 (after", // the end of the input is all it sees
		"[ -t 0 ] || exit 9\n":                  "failed with exit code 9 (after",
		"test -r /dev/stdin && cat && exit 7\n": "failed with exit code 7 (after",
		"GIT_TERMINAL_PROMPT=1 GIT_ASKPASS= SSH_ASKPASS= git credential fill <<E\nprotocol=https\nhost=x.invalid\n\nE\n": "hooks have no terminal",
	} {
		res := perform(t, newRunner(t), write(t, "#!/bin/sh\n"+body))
		if kindOf(res.Err) != "failed" || !strings.Contains(res.Err.Error(), want) {
			t.Errorf("%q: %v, want %q; %q", body, res.Err, want, res.Excerpt.Tail)
		}
	}
}
