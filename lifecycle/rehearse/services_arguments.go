package rehearse

import (
	"fmt"
	"slices"
	"strings"
)

// ctlCall is a command line of systemctl, read.
type ctlCall struct {
	verb       string
	names      []string
	properties []string
	quiet, now bool
	value, all bool
	noLegend   bool
	user       bool
	kinds      []string // of --type
	states     []string // of --state
	root       string
	help       string   // an option that asks systemctl about itself
	options    []string // as they were, for a systemctl that changes files
}

// valued are the options of systemctl that have a value, which may be the next word.
var valued = map[string]string{
	"-t": "--type", "-p": "--property", "-P": "--value-property", "-s": "--signal", "-n": "--lines", "-o": "--output", "-H": "--host", "-M": "--machine",
}

var valuedLong = []string{
	"--type", "--property", "--signal", "--lines", "--output", "--host", "--machine", "--state", "--root", "--image", "--job-mode", "--kill-whom", "--kill-who",
	"--kill-mode", "--what", "--preset-mode", "--message", "--when", "--boot-loader-entry", "--boot-loader-menu", "--timestamp", "--check-inhibitors",
}

// plain are the options of systemctl without a value.
var plain = []string{
	"--now", "--quiet", "-q", "--no-block", "--no-pager", "--force", "-f", "--full", "-l", "--no-legend", "--plain", "--all", "-a", "--user", "--system", "--runtime",
	"--value", "--failed", "--no-reload", "--no-ask-password", "--wait", "--version", "--help", "-h", "--global", "--recursive", "-r", "--reverse", "--after",
	"--before", "--with-dependencies", "--no-wall", "--dry-run", "--firmware-setup", "--legend", "--read-only", "--mkdir", "--marked", "--no-warn",
	"--show-types", "--show-transaction", "-T", "--ignore-dependencies", "-i", "--legend=false",
}

// parseSystemctl reads a command line. wrong is what systemctl says of one that it does not understand.
func parseSystemctl(args []string) (c ctlCall, wrong string) {
	var words []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			words = append(words, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			words = append(words, a)
			continue
		}
		if !strings.HasPrefix(a, "--") && len(a) > 2 && valued[a[:2]] == "" { // -qa is -q -a
			for _, letter := range a[1:] {
				if !slices.Contains(plain, "-"+string(letter)) {
					return c, fmt.Sprintf("systemctl: invalid option -- '%c'", letter)
				}
				c.set("-"+string(letter), "")
			}
			c.options = append(c.options, a)
			continue
		}
		name, value, has := strings.Cut(a, "=")
		if long := valued[a[:min(2, len(a))]]; long != "" && !strings.HasPrefix(a, "--") {
			name, value, has = long, a[2:], len(a) > 2
		}
		switch needs := slices.Contains(valuedLong, name) || name == "--value-property"; {
		case needs && !has && i+1 == len(args):
			return c, fmt.Sprintf("systemctl: option '%s' requires an argument", a)
		case needs && !has:
			i++
			value = args[i]
			c.options = append(c.options, a, value)
		case needs, slices.Contains(plain, name), slices.Contains(plain, a):
			c.options = append(c.options, a)
		default:
			return c, fmt.Sprintf("systemctl: unrecognized option '%s'", a)
		}
		c.set(name, value)
	}
	if len(words) > 0 {
		c.verb, c.names = words[0], words[1:]
	} else {
		c.verb = "list-units"
	}
	return c, ""
}

func (c *ctlCall) set(name, value string) {
	list := func(to *[]string) { *to = append(*to, strings.Split(value, ",")...) }
	switch name {
	case "--quiet", "-q":
		c.quiet = true
	case "--now":
		c.now = true
	case "--value":
		c.value = true
	case "--all", "-a":
		c.all = true
	case "--no-legend":
		c.noLegend = true
	case "--legend":
		c.noLegend = value == "false"
	case "--user", "--global":
		c.user = true
	case "--failed":
		c.states = append(c.states, stateFailed)
	case "--state":
		list(&c.states)
	case "--type":
		list(&c.kinds)
	case "--property":
		list(&c.properties)
	case "--value-property":
		c.value = true
		list(&c.properties)
	case "--root":
		c.root = value
	case "--help", "-h", "--version":
		c.help = name
	}
}
