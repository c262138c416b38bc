package hooks

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A hint is what the words of a program mean in a hook, and what to do about it.
type hint struct {
	words []string // of which the line has one, in lower case
	not   string   // that the line does not begin with
	text  string
}

// hints are tried in this order. They are looked for only where a script has failed.
var hints = []hint{
	{
		words: []string{"a password is required", "a terminal is required to read the password", "no askpass program specified"},
		text:  "sudo asks for a password, which nobody can give: it needs a NOPASSWD rule",
	},
	{
		words: []string{"is not in the sudoers file", "is not allowed to execute", "is not allowed to run sudo", "may not run sudo"},
		text:  "no rule of sudo allows it: see visudo",
	},
	{
		words: []string{"you are not allowed to set the following environment variables", "you are not allowed to preserve the environment"},
		text:  "the rule of sudo has to allow the variables of the deployment: give it the tag SETENV",
	},
	{
		words: []string{"must have a tty to run sudo"},
		text:  "hooks have no terminal, and sudo is told to want one: put \"Defaults !requiretty\" into its rules for this user",
	},
	{
		words: []string{"host key verification failed"},
		text:  "ssh does not know the host and cannot ask, for hooks have no terminal: put its key into known_hosts",
	},
	{
		words: []string{
			"inappropriate ioctl", "not a tty", "no tty present", "you must have a tty", "not a terminal", "a terminal is required", "open /dev/tty",
			"/dev/tty: no such device", "create /dev/tty", "must be run from a terminal", "could not read username for", "could not read password for",
		},
		not:  "mesg:", // of a login shell, which bears it
		text: "hooks have no terminal, and their standard input is empty: what a program asks for has to be in options, files or variables",
	},
}

// hint adds to the failure of a script what its last words mean, if it is known.
func (r *Result) hint(c *command) {
	f, ok := errors.AsType[*Failure](r.Err)
	if !ok || !errors.Is(f, ErrFailed) || r.Exit <= 0 {
		return
	}
	if c != nil {
		if why := c.through.noLogin(); why != "" {
			f.Detail += "; " + why
			return
		}
	}
	for _, line := range slices.Concat(r.Excerpt.Stderr, r.Excerpt.Tail) {
		lower := strings.ToLower(line)
		for _, h := range hints {
			if h.not != "" && strings.HasPrefix(lower, h.not) || !slices.ContainsFunc(h.words, func(w string) bool { return strings.Contains(lower, w) }) {
				continue
			}
			f.Detail += fmt.Sprintf("; %s (its output has %q)", h.text, clip(line, maxQuoted))
			return
		}
	}
}

// maxQuoted bounds what a message quotes of the output.
const maxQuoted = 160
