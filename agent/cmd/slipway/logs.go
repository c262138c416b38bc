package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"slipway/agent/config"
	"slipway/hooks"
	"slipway/lifecycle"
)

// logsOptions are the flags of logs.
type logsOptions struct {
	follow, asJSON bool
	last           int // lines; everything when negative
}

func (p *program) logsCommand() *cobra.Command {
	o := logsOptions{last: -1}
	cmd := &cobra.Command{
		Use: "logs [DEPLOYMENT]", Short: "print what the scripts of a deployment said, or say", Args: takes(1),
		Long: `logs prints the scripts.log of a deployment, its older files first: of the one in hand, or else the last one. The beginning of the
deployment's id is enough, where only one begins so.

With -f it goes on as the scripts do. With a DEPLOYMENT it ends when that has ended; without, it tells of whatever comes, a line
"==> GROUP DEPLOYMENT EVENT <==" before each, until SIGINT (Ctrl-C) or SIGTERM. Both end it with 0.

Lines are as they are in the file. On a terminal they have colours, unless NO_COLOR is set, and no control characters.`,
		Example:           "  slipway logs\n  slipway logs d-ABC -n 50\n  slipway logs -f\n  slipway logs d-ABC -f --json",
		ValidArgsFunction: p.completes(func(args []string) (groups, deployments bool) { return false, len(args) == 0 }),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !cmd.Flag("lines").Changed:
				o.last = -1
			case o.last < 0:
				return fmt.Errorf("-n is %d: say how many lines to print, or leave it out for all (see slipway logs --help)", o.last)
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.logs(ctx, cfg, args, o)
		},
	}
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what is said from now on")
	cmd.Flags().IntVarP(&o.last, "lines", "n", -1, "begin with the last `N` lines; all, if it is left out")
	cmd.Flags().Lookup("lines").DefValue = "0" // which the help leaves out
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print a line of JSON for each line")
	return cmd
}

func (p *program) logs(ctx context.Context, cfg *config.Config, args []string, o logsOptions) error {
	k, err := readKnown(cfg.RootDir)
	if err != nil {
		return err
	}
	past, err := k.told(args)
	if err != nil {
		return err
	}
	out := newLogPrinter(p, o.asJSON, o.follow && len(args) == 0, k)
	if o.follow {
		return p.followLogs(ctx, cfg.RootDir, k, past, len(args) > 0, o.last, out)
	}
	if past == nil {
		return failed(fmt.Errorf("no deployment is known on this host, under %s", cfg.RootDir))
	}
	if past.ScriptsLog == "" {
		return failed(fmt.Errorf("deployment %s has no scripts.log: none of its scripts has run here, or it is not on disk any more (slipway show %[1]s)", past.Deployment))
	}
	log := &scriptsLog{group: past.Group, deployment: past.Deployment, path: past.ScriptsLog}
	defer log.close()
	if err := log.begin(o.last); err != nil {
		return failed(err)
	}
	if _, err := log.drain(ctx, out.line, true); err != nil {
		return failed(err)
	}
	return out.flush()
}

// told is the deployment whose log is wanted: the one that is named, else the one in hand, else the last; nil where there is none.
func (k *known) told(args []string) (*lifecycle.Past, error) {
	if len(args) > 0 {
		return k.deployment(args[0], "")
	}
	for _, p := range k.past {
		if _, ok := k.inHand[p.Deployment]; ok {
			return p, nil
		}
	}
	if len(k.past) == 0 {
		return nil, nil
	}
	return k.past[0], nil
}

// scriptsLog reads the log of a deployment, and knows of which event and script a line is.
type scriptsLog struct {
	group, deployment string
	path              string
	reader            *hooks.LogReader
	event, script     string
	skip              int // so many lines are left out
}

// logLine is a line of a scriptsLog. Raw is valid until the next one.
type logLine struct {
	group, deployment string
	event, script     string // empty where it is not known
	raw               []byte
}

func (l logLine) entry() hooks.Entry { return hooks.ParseEntry(l.raw) }

// begin goes to the last lines of what is there by now, or with a negative number to the beginning.
func (l *scriptsLog) begin(last int) error {
	l.reader = hooks.NewLogReader(l.path)
	if last < 0 {
		return nil
	}
	count := hooks.NewLogReader(l.path)
	defer func() { _ = count.Close() }()
	lines := 0
	for {
		_, err := count.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		lines++
	}
	if len(count.Rest()) > 0 {
		lines++
	}
	l.skip = max(lines-last, 0)
	return nil
}

// drainMost is how many lines are taken at once: another log, or the end, is not to wait for more.
const drainMost = 10_000

// drain gives away the lines that are there, and says whether there may be more at once. At the end of everything a line that has no end
// is one too.
func (l *scriptsLog) drain(ctx context.Context, yield func(logLine) error, all bool) (more bool, err error) {
	for n := 0; all || n < drainMost; n++ {
		raw, err := l.reader.Next()
		if errors.Is(err, io.EOF) && all {
			raw, err = l.reader.Rest(), nil
			if len(raw) == 0 {
				return false, nil
			}
		}
		if errors.Is(err, io.EOF) {
			l.skip = 0 // what comes now is new
			return false, nil
		}
		if err != nil || ctx.Err() != nil {
			return false, err
		}
		line := l.line(raw)
		if l.skip > 0 {
			l.skip--
			continue
		}
		if err := yield(line); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (l *scriptsLog) line(raw []byte) logLine {
	// Only what may be a header is taken apart: a log can be long.
	const stamp = len(time.DateTime) + 1
	if len(raw) > stamp && (raw[stamp] == 'L' || raw[stamp] == 'S') {
		switch e := hooks.ParseEntry(raw); e.Kind {
		case hooks.EntryEvent:
			l.event, l.script = e.Text, ""
		case hooks.EntryScript:
			l.script = e.Text
		}
	}
	return logLine{group: l.group, deployment: l.deployment, event: l.event, script: l.script, raw: raw}
}

func (l *scriptsLog) close() {
	if l.reader != nil {
		_ = l.reader.Close()
	}
}

// logPrinter prints lines of logs.
type logPrinter struct {
	out     *bufio.Writer
	asJSON  bool
	headers bool // say whose the lines are that follow
	colours bool
	known   *known
	last    [3]string // whose lines were printed last
}

func newLogPrinter(p *program, asJSON, headers bool, k *known) *logPrinter {
	_, colours := p.terminal()
	return &logPrinter{out: bufio.NewWriterSize(p.stdout, 64<<10), asJSON: asJSON, headers: headers, colours: colours, known: k}
}

// terminal reports whether the output is read by a person, and whether it may have colours.
func (p *program) terminal() (tty, colours bool) {
	f, ok := p.stdout.(*os.File)
	tty = ok && term.IsTerminal(int(f.Fd()))
	return tty, tty && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb"
}

// Colours of a terminal.
const (
	sgrBold  = "\x1b[1m"
	sgrFaint = "\x1b[2m"
	sgrRed   = "\x1b[31m"
	sgrGreen = "\x1b[32m"
	sgrCyan  = "\x1b[36m"
	sgrReset = "\x1b[0m"
)

// jsonLine is a line of a log as programs read it.
type jsonLine struct {
	Time       *time.Time `json:"time"`
	Deployment string     `json:"deployment"`
	Event      string     `json:"event"`
	Script     string     `json:"script"`
	Stream     string     `json:"stream"` // stdout, stderr; empty for the words of the agent
	Text       string     `json:"text"`
}

func (p *logPrinter) line(l logLine) error {
	if p.asJSON {
		return p.json(l)
	}
	if p.headers {
		if err := p.header(l); err != nil {
			return err
		}
	}
	style := map[string]string{hooks.EntryStderr: sgrRed, hooks.EntryEvent: sgrBold + sgrCyan, hooks.EntryScript: sgrCyan}[l.entry().Kind]
	return p.styled(style, saidLine(string(l.raw)))
}

// header says whose the lines are that follow, where that changes.
func (p *logPrinter) header(l logLine) error {
	of := [3]string{l.group, l.deployment, l.event}
	if of == p.last {
		return nil
	}
	gap := "\n"
	if p.last == [3]string{} {
		gap = ""
	}
	p.last = of
	if _, err := p.out.WriteString(gap); err != nil {
		return err
	}
	name := p.known.name(l.group)
	if name == l.group { // it may have a name by now
		if k, err := readKnown(p.known.root); err == nil {
			p.known, name = k, k.name(l.group)
		}
	}
	return p.styled(sgrBold, printable(fmt.Sprintf("==> %s %s %s <==", name, l.deployment, or(l.event, "-"))))
}

// styled prints a line of its own in a colour, where there may be colours.
func (p *logPrinter) styled(style, text string) error {
	if style != "" && p.colours {
		text = style + text + sgrReset
	}
	_, err := p.out.WriteString(text + "\n")
	return err
}

func (p *logPrinter) json(l logLine) error {
	e := l.entry()
	j := jsonLine{Deployment: l.deployment, Event: l.event, Script: l.script, Text: e.Text}
	if at := e.At.UTC(); !e.At.IsZero() {
		j.Time = &at
	}
	switch e.Kind {
	case hooks.EntryStdout, hooks.EntryStderr:
		j.Stream = e.Kind
	case hooks.EntryEvent:
		j.Text = "LifecycleEvent - " + j.Text
	case hooks.EntryScript:
		j.Text = "Script - " + j.Text
	}
	data, err := json.Marshal(j)
	if err == nil {
		_, err = p.out.Write(append(data, '\n'))
	}
	return err
}

func (p *logPrinter) flush() error {
	if err := p.out.Flush(); err != nil {
		return failed(fmt.Errorf("print the log: %w", err))
	}
	return nil
}
