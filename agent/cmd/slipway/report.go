package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"slipway/agent/config"
	"slipway/lifecycle"
	"slipway/lifecycle/appspec/lint"
	told "slipway/lifecycle/report"
)

// reportOptions are the flags of report.
type reportOptions struct {
	last, asJSON         bool
	group, html, account string
}

func (p *program) reportCommand() *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use: "report [DEPLOYMENT]", Short: "tell what a deployment did, as text or as one page", Args: takes(1),
		Long: `report tells what became of a deployment: what it left of the host, its events as bars, and each script with its user, its time, its exit
and what it said. It tells of the one that is named, or else of the last one. The beginning of the deployment's id is enough, where only one begins so.

With --html it writes a page that stands for itself: it needs no network, no script and no other file, and can be mailed, kept or printed. Only its
owner may read the file (mode 0600), as it holds what scripts have said. A file that is there is replaced, whole or not at all; - prints the page.

--account tells of a rehearsal, or of another host: it takes the JSON that report --json prints.

As text it is plain in a pipe; on a terminal it has colours, unless NO_COLOR is set. No control characters of a script reach either.

Exit codes: 0 it was told, whatever became of the deployment; 1 it is not known or cannot be read, or the page cannot be written; 2 there is no such
option or argument; 78 the configuration is wrong.`,
		Example: `  slipway report
  slipway report d-ABC --html report.html
  slipway report --last --group fleet
  slipway report d-ABC --json > account.json
  slipway report --account account.json --html report.html`,
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return false, len(args) == 0 }),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"group", "html", "account"} {
				if f := cmd.Flag(name); f.Changed && f.Value.String() == "" {
					return fmt.Errorf("--%s is empty: name something, or leave it out (see %s --help)", name, cmd.CommandPath())
				}
			}
			switch {
			case o.last && len(args) > 0:
				return fmt.Errorf("--last and %q name two deployments: give one of them (see %s --help)", args[0], cmd.CommandPath())
			case o.account != "" && (o.last || o.group != "" || len(args) > 0):
				return fmt.Errorf("--account names what is told already: give neither a DEPLOYMENT nor --last nor --group with it (see %s --help)", cmd.CommandPath())
			case o.asJSON && o.html != "":
				return fmt.Errorf("--json and --html are two forms: give one of them (see %s --help)", cmd.CommandPath())
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			account, err := p.account(ctx, args, o)
			if err != nil {
				return err
			}
			return p.report(account, o)
		},
	}
	cmd.Flags().BoolVar(&o.last, "last", false, "tell of the last deployment, as without a DEPLOYMENT")
	cmd.Flags().StringVar(&o.group, "group", "", "look only among the deployments of this `GROUP`, by its id or its name")
	cmd.Flags().StringVar(&o.html, "html", "", "write a page to this `FILE`; - prints it")
	cmd.Flags().StringVar(&o.account, "account", "", "tell of what is in this `FILE` of JSON; - reads it from the standard input")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	_ = cmd.RegisterFlagCompletionFunc("group", p.completes(func([]string) (groups, deployments bool) { return true, false }))
	return cmd
}

// account is what is to be told.
func (p *program) account(ctx context.Context, args []string, o reportOptions) (*lifecycle.Account, error) {
	if o.account != "" {
		return readAccount(o.account)
	}
	cfg, err := p.load()
	if err != nil {
		return nil, err
	}
	k, err := readKnown(cfg.RootDir)
	if err != nil {
		return nil, err
	}
	group := ""
	if o.group != "" {
		if group, err = k.group(o.group); err != nil {
			return nil, err
		}
	}
	past, err := k.reported(args, group)
	if err != nil {
		return nil, err
	}
	account, err := lifecycle.AccountOf(cfg.RootDir, k.past, past, lifecycle.AccountOptions{InHand: k.inHand[past.Deployment]})
	if err != nil {
		return nil, failed(fmt.Errorf("read what the scripts of %s have said: %w", past.Deployment, err))
	}
	account.Host = k.hostFacts(cfg, past)
	if d, ok := k.divergence(past); ok {
		account.Notes = append(account.Notes, "diverged "+d.text())
	}
	k.lintInto(ctx, account, past)
	return account, nil
}

// reported is the deployment that is named, else the last one.
func (k *known) reported(args []string, group string) (*lifecycle.Past, error) {
	if len(args) > 0 {
		return k.deployment(args[0], group)
	}
	for _, p := range k.past {
		if group == "" || p.Group == group {
			return p, nil
		}
	}
	where := ", under " + k.root
	if group != "" {
		where = " of group " + k.full(group) + where
	}
	return nil, failed(fmt.Errorf("no deployment is known on this host%s", where))
}

// maxAccount bounds the JSON that is read, in bytes.
const maxAccount = 64 << 20

func readAccount(name string) (*lifecycle.Account, error) {
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, failed(err)
		}
		defer f.Close()
		in = f
	}
	data, err := readLimited(in, maxAccount+1)
	switch {
	case err != nil:
		return nil, failed(fmt.Errorf("read the account: %w", err))
	case len(data) > maxAccount:
		return nil, failed(fmt.Errorf("%s is larger than %s, which no account is", name, sizeText(maxAccount)))
	}
	account := new(lifecycle.Account)
	if err := json.Unmarshal(data, account); err != nil {
		return nil, failed(fmt.Errorf("%s is no account, as slipway report --json prints it: %w", name, err))
	}
	return account, nil
}

// hostFacts are what a reader elsewhere may want to know, as it is now.
func (k *known) hostFacts(cfg *config.Config, past *lifecycle.Past) []lifecycle.Fact {
	list := []lifecycle.Fact{}
	fact := func(name, value string) {
		if value != "" {
			list = append(list, lifecycle.Fact{Name: name, Value: value})
		}
	}
	if name, err := os.Hostname(); err == nil {
		fact("host", name)
	}
	fact("system", systemName())
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fact("kernel", unix.ByteSliceToString(u.Release[:])+", "+runtime.GOARCH)
	}
	fact("agent", "slipway "+buildVersion())
	fact("deployment root", cfg.RootDir)
	fact("installed", k.installed(past))
	fact("archive", or(past.Archive, "not on disk any more"))
	fact("scripts.log", or(past.ScriptsLog, "there is none"))
	return list
}

// systemName is what the system calls itself; empty if it does not say.
func systemName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"'`)
		}
	}
	return ""
}

// lintPatience is how long a report waits for the linter.
const lintPatience = 20 * time.Second

// lintInto adds what the linter says of the unpacked bundle, where that is still on disk.
func (k *known) lintInto(ctx context.Context, account *lifecycle.Account, past *lifecycle.Past) {
	if past.Archive == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lintPatience)
	defer cancel()
	found, err := lintFolder(ctx, past.Archive, appSpecOf(past))
	if err != nil {
		account.Notes = append(account.Notes, fmt.Sprintf("the linter could not look at %s: %v", past.Archive, err))
		return
	}
	account.Findings = found
}

// appSpecOf is the name of the appspec that a deployment had; empty for the usual one.
func appSpecOf(past *lifecycle.Past) string {
	if n := len(past.Events); n > 0 {
		return past.Events[n-1].AppSpec
	}
	return ""
}

func lintFolder(ctx context.Context, dir, appspec string) ([]lifecycle.Finding, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	said, err := lint.Bundle(ctx, root.FS(), lint.Options{AppSpec: appspec})
	if err != nil {
		return nil, err
	}
	return findingsOf(&said), nil
}

// findingsOf are what the linter has found, for an account.
func findingsOf(said *lint.Report) []lifecycle.Finding {
	list := []lifecycle.Finding{}
	for i := range said.Findings {
		f := &said.Findings[i]
		place := f.File
		if f.Pos.Line > 0 {
			place = fmt.Sprintf("%s:%d:%d", f.File, f.Pos.Line, f.Pos.Col)
		}
		list = append(list, lifecycle.Finding{ID: f.ID, Severity: string(f.Severity), Place: place, Message: f.Message, Advice: f.Suggestion})
	}
	return list
}

// report tells of an account in the form that is asked for.
func (p *program) report(account *lifecycle.Account, o reportOptions) error {
	switch {
	case o.asJSON:
		return p.printJSON(account)
	case o.html == "-":
		if err := told.HTML(p.stdout, account); err != nil {
			return failed(fmt.Errorf("print the report: %w", err))
		}
		return nil
	case o.html != "":
		size, err := writePage(o.html, account)
		if err != nil {
			return failed(err)
		}
		fmt.Fprintf(p.stdout, "%s holds the report (%s)\n", printable(o.html), sizeText(size))
		return nil
	}
	if err := told.Text(p.stdout, account, p.textOptions()); err != nil {
		return failed(fmt.Errorf("print the report: %w", err))
	}
	return nil
}

// textOptions are for the output of this program as it is.
func (p *program) textOptions() told.TextOptions {
	tty, colours := p.terminal()
	options := told.TextOptions{Colour: colours, Unicode: tty && p.utf8(), In: time.Local}
	if tty {
		options.Width = p.columns()
	}
	return options
}

// writePage replaces a file by the page. A crash leaves the old file or the new one. It holds the output of scripts, so that it is its owner's alone, as the
// logs that it is made of are no matter of everybody.
func writePage(name string, account *lifecycle.Account) (int64, error) {
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("write the report: %s is there and is no file: name another one, or - to print the page", name)
	}
	var b bytes.Buffer
	if err := told.HTML(&b, account); err != nil {
		return 0, fmt.Errorf("make the report: %w", err)
	}
	const mine = 0o600
	if err := renameio.WriteFile(name, b.Bytes(), mine, renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(mine)); err != nil {
		return 0, fmt.Errorf("write the report: %w", err)
	}
	return int64(b.Len()), nil
}

// utf8 reports whether the reader's locale has more than ASCII.
func (p *program) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := p.getenv(name); value != "" {
			value = strings.ToLower(value)
			return strings.HasSuffix(value, "utf-8") || strings.HasSuffix(value, "utf8")
		}
	}
	return false
}

// columns is how wide the terminal is that the output goes to.
func (p *program) columns() int {
	const usual = 80
	if f, ok := p.stdout.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return usual
}
