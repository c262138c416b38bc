package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway/agent/config"
)

// docs/man holds a page for every command and one for the configuration. They are made of what --help and the table of keys say, so that neither
// can differ from the program; the packages install them.
func TestManPages(t *testing.T) {
	const dir = "../../../docs/man"
	p := &program{stdout: io.Discard, stderr: io.Discard, getenv: os.Getenv}
	pages := map[string]string{"slipway.yml.5": configurationPage()}
	for cmd := range commands(p.command()) {
		pages[pageName(cmd)+".8"] = commandPage(cmd)
	}
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	there, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if _, ok := pages[filepath.Base(path)]; !ok {
			t.Errorf("%s is of no command (make golden)", path)
		}
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is out of date (make golden):\n%s", name, diff)
		}
	}
}

// commands are all that a person is told of, the program itself first.
func commands(root *cobra.Command) func(func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) {
		for todo := []*cobra.Command{root}; len(todo) > 0; todo = todo[1:] {
			if !yield(todo[0]) {
				return
			}
			for _, sub := range todo[0].Commands() {
				if sub.IsAvailableCommand() && sub.Name() != "help" && todo[0].Name() != "completion" { // the library's own tell all in --help
					todo = append(todo, sub)
				}
			}
		}
	}
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func title(b *strings.Builder, name string, section int, of string) {
	fmt.Fprintf(b, ".TH %q %q \"\" \"slipway %s\" %q\n.nh\n.ad l\n", strings.ToUpper(name), fmt.Sprint(section), version0(), of)
}

// version0 is the file VERSION: the test binary has no stamp.
func version0() string {
	data, err := os.ReadFile("../../../VERSION")
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(data))
}

func commandPage(cmd *cobra.Command) string {
	var b strings.Builder
	title(&b, pageName(cmd), 8, "Slipway")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n\\fB%s\\fR\n.fi\n", roff(cmd.UseLine()))
	b.WriteString(".SH DESCRIPTION\n")
	prose(&b, orText(cmd.Long, cmd.Short))
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(sub.Name()), roff(sub.Short))
			}
		}
	}
	cmd.InitDefaultHelpFlag()
	flags(&b, "OPTIONS", cmd.NonInheritedFlags())
	flags(&b, "GLOBAL OPTIONS", cmd.InheritedFlags())
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(strings.TrimRight(cmd.Example, "\n")))
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, pageName(cmd.Parent())+"(8)")
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && cmd.Name() != "completion" {
			also = append(also, pageName(sub)+"(8)")
		}
	}
	if !cmd.HasParent() {
		also = append(also, "slipway.yml(5)")
	}
	slices.Sort(also)
	fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", roff(strings.Join(also, ", ")))
	return b.String()
}

func orText(text, without string) string {
	if text == "" {
		return without
	}
	return text
}

func flags(b *strings.Builder, heading string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", heading)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "\\fB\\-\\-" + roff(f.Name) + "\\fR"
		if f.Shorthand != "" {
			name = "\\fB\\-" + roff(f.Shorthand) + "\\fR, " + name
		}
		if value != "" {
			name += " \\fI" + roff(value) + "\\fR"
		}
		if f.DefValue != "" && !slices.Contains([]string{"false", "0", "0s", "[]"}, f.DefValue) {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", name, roff(usage))
	})
}

// prose writes text as help shows it: a paragraph is filled, what is indented or a list keeps its lines.
func prose(b *strings.Builder, text string) {
	for i, para := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		laid := false
		for line := range strings.Lines(para) {
			if kept := strings.HasPrefix(line, " "); kept != laid {
				b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[kept])
				laid = kept
			}
			b.WriteString(roff(strings.TrimSuffix(line, "\n")) + "\n")
		}
		if laid {
			b.WriteString(".fi\n")
		}
	}
}

// roff makes text safe for the formatter: backslashes, dashes that must stay such, and lines that begin like a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func configurationPage() string {
	var b strings.Builder
	title(&b, "slipway.yml", 5, "Slipway")
	b.WriteString(".SH NAME\nslipway.yml \\- configuration of slipway(8)\n.SH DESCRIPTION\n")
	prose(&b, `The layers of the configuration, each over the one before it: the defaults; the official agent's file as it stands,
/etc/codedeploy-agent/conf/codedeployagent.yml or /opt/codedeploy-agent/conf/codedeployagent.yml; /etc/slipway/slipway.yml;
/etc/slipway/conf.d/*.yml by name; environment variables; flags.

A key with dots is written as nested maps: log.level is "level" below "log". An unknown key of slipway.yml is an error. "slipway config check" says
whether the configuration is right, "slipway config print --explain" where each value comes from. The files are watched: a change is taken
over at once unless the key needs a restart.`)
	b.WriteString(".SH KEYS\n")
	for _, k := range config.Reference() {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(k.Name), roff(k.Doc))
		fmt.Fprintf(&b, "It is %s", roff(k.Type))
		if k.Default != "" {
			fmt.Fprintf(&b, ", by default %s", roff(k.Default))
		}
		fmt.Fprintf(&b, "; in the environment %s.", roff(k.Env))
		switch {
		case k.Ignored != "":
			fmt.Fprintf(&b, " Without effect: %s.", roff(k.Ignored))
		case !k.Live:
			b.WriteString(" A change needs a restart.")
		}
		b.WriteString("\n")
	}
	b.WriteString(".SH FILES\n.nf\n/etc/slipway/slipway.yml\n/etc/slipway/conf.d/*.yml\n/etc/codedeploy\\-agent/conf/codedeployagent.yml\n.fi\n.SH SEE ALSO\nslipway(8), slipway\\-config(8)\n")
	return b.String()
}
