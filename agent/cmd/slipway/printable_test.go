package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"slipway/lifecycle/rehearse"
)

// hostileWords is what scripts say and a person is to read as it is: a title of the window, a cleared screen, a C1 control in both forms, a bell, a line that
// is written over, letters that are turned around, no character at all.
const (
	hostileWords = `printf 'a\033]0;owned\007\033[2J\302\233\233\rb\342\200\256c\177\n\377end\r\n'`
	readableOne  = `a\x1b]0;owned\a\x1b[2J\u009b` + "\uFFFD" + `\rb\u202ec\x7f`
	readableTwo  = "\uFFFDend"
)

// notCharacters are the codes of what is no character, in place of which there may be U+FFFD: where it has come through JSON.
var notCharacters = strings.NewReplacer(`\x9b`, "\uFFFD", `\xff`, "\uFFFD")

var ownControls = regexp.MustCompile("\x1b\\[[0-9;]*m|\r\x1b\\[K|\r\n")

// Whatever shows what scripts say shows it such that it steers no terminal, on one and behind a pipe.
func TestScriptsSteerNoTerminal(t *testing.T) {
	d := newDesk(t)
	script := "#!/bin/sh\n" + hostileWords + "\n" + hostileWords + " >&2\nexit 7\n"
	name := "scripts/\x1b[31mv\u202e.sh" // one may be in a name as well
	bundle := d.tree("b", map[string]string{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - source: F\n    destination: " + d.path("site") + "\nhooks:\n  AfterInstall:\n    - location: \"scripts/\\e[31mv\\u202e.sh\"\n      timeout: 90\n",
		"F":           "f\n",
		name:          script,
	})
	commands := [][]string{
		{"run-hook", bundle, "AfterInstall", "-v"}, {"local", bundle, "-c", "T.yml"}, {"logs"}, {"report"}, {"show"}, {"history"}, {"plan", bundle},
	}
	if err := rehearse.Possible(t.Context()); err == nil || os.Geteuid() == 0 {
		commands = append(commands, []string{"dry-run", bundle})
	}
	silent := []string{"history", "plan", "show"} // of what scripts have said; show has an excerpt, which never has control characters
	for _, args := range commands {
		if args[0] != "local" {
			args = append(args, "--config", "T.yml")
		}
		if args[0] == "show" {
			known, _ := filepath.Glob(d.path("deployment-root/*/d-*-local"))
			if len(known) == 0 {
				t.Fatal("no deployment is known")
			}
			args = append(args, filepath.Base(known[0]))
		}
		check := func(t *testing.T, text string, most *regexp.Regexp) {
			if most != nil {
				text = most.ReplaceAllString(text, "\n")
			}
			if !utf8.ValidString(text) {
				t.Errorf("it is no UTF-8: %q", text)
			}
			for line := range strings.Lines(text) {
				for _, r := range strings.TrimSuffix(line, "\n") {
					if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u202e' {
						t.Errorf("%q is in %q", r, line)
					}
				}
			}
			for _, want := range []string{readableOne, readableTwo} {
				if !strings.Contains(notCharacters.Replace(text), want) && !slices.Contains(silent, args[0]) {
					t.Errorf("%s is not in\n%s", want, text)
				}
			}
		}
		t.Run(args[0]+" in a pipe", func(t *testing.T) {
			_, out, errs := d.run("slipway", args...)
			check(t, out, nil)
			for _, r := range errs {
				if r < ' ' && r != '\t' && r != '\n' || r == '\u202e' {
					t.Errorf("%q is in the error %q", r, errs)
				}
			}
		})
		t.Run(args[0]+" on a terminal", func(t *testing.T) {
			d.env = []string{"TERM=xterm"}
			defer func() { d.env = nil }()
			shown, _, wait := onTerminal(t, d.command("slipway", args...), 400)
			wait()
			check(t, shown.String(), ownControls)
		})
	}
}
