package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/agent/control"
	"slipway/hooks"
	"slipway/lifecycle/rehearse"
)

// Exit codes, as `slipway --help` tells them.
const (
	exitFailure    = 1  // what was asked for did not work
	exitUsage      = 2  // unknown command, flag or argument
	exitChanges    = 2  // plan: a deployment would change something
	exitNotRunning = 3  // status: the agent is not running (LSB)
	exitUnknown    = 4  // status: it cannot be told (LSB)
	exitNoSandbox  = 4  // dry-run: this host gives no sandbox, nothing was run
	exitConfig     = 78 // the configuration is wrong; systemd does not restart (EX_CONFIG)
)

// version is stamped at link time from the file VERSION.
var version = "" //nolint:gochecknoglobals // the linker can set nothing else

// buildVersion is the stamped version, or what the Go tool recorded for a build without a stamp.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

// An exitError ends the program with a code of its own. Its text is printed unless it is empty.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// program is what a command sees of the world.
type program struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	environ        []string
	configFile     string
}

// run is the whole program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	// The shim of a hook is started for every script: it skips the command tree.
	if len(args) > 1 && args[1] == shimVerb {
		return hooks.ShimMain(args[2:])
	}
	// In a rehearsal the program is systemctl and its like too, and the process that holds the sandbox.
	if len(args) > 0 && rehearse.IsRecorded(args[0]) {
		return rehearse.RecorderMain(args)
	}
	if len(args) > 1 && args[1] == stageVerb {
		return rehearse.StageMain(args[2:])
	}
	p := &program{stdout: stdout, stderr: stderr, getenv: os.Getenv, environ: os.Environ()}
	if len(args) > 1 && args[1] == insideVerb {
		return p.insideMain()
	}
	if len(args) > 0 && filepath.Base(args[0]) == localName {
		return p.codedeployLocal(args[1:])
	}
	cmd := p.command()
	cmd.SetArgs(args[1:])
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.Execute()
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if text := exit.Error(); text != "" {
			fmt.Fprintln(stderr, "slipway: "+printableText(text))
		}
		return exit.code
	}
	fmt.Fprintln(stderr, "slipway: "+printableText(err.Error()))
	return exitUsage
}

const rootHelp = `slipway is the program on the instance of a CodeDeploy deployment. It polls for commands, fetches and verifies the
revision, runs the lifecycle hooks, installs the files, and reports. The commands beside it tell of the deployments of this host, and set
right what is left of them; they need neither the service nor a network.

It reads the configuration of the official agent as it stands, and works in the same deployment root.

Exit codes:
  0   done
  1   it did not work; the message says what, why and what to do. verify: something differs; lint --strict: warnings
  2   unknown command, flag or argument. lint: errors; plan and provision plan: something would change; provision verify: it has drifted
  3   status: the agent is not running
  4   status: it cannot be told; alb-check: likewise; dry-run: no sandbox can be had here, nothing was run
  78  the configuration is wrong`

const rootExamples = `  slipway run
  slipway run --config /etc/codedeploy-agent/conf/codedeployagent.yml
  slipway config print --explain
  slipway status --json
  slipway history
  slipway rollback fleet --dry-run
  slipway lint bundle.zip
  slipway dry-run bundle.zip`

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use: "slipway", Short: "deployment agent of an instance", Long: rootHelp, Example: rootExamples,
		SilenceUsage: true, SilenceErrors: true, Version: buildVersion(), Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "configuration `file`, either form (default /etc/codedeploy-agent/conf/codedeployagent.yml, then /etc/slipway/slipway.yml)")
	root.PersistentFlags().StringVar(&p.configFile, "config-file", "", "the same, as the official agents spell it")
	root.PersistentFlags().StringVar(&p.configFile, "config_file", "", "the same, as the official agents spell it")
	for _, alias := range []string{"config-file", "config_file"} {
		if f := root.PersistentFlags().Lookup(alias); f != nil {
			f.Hidden = true
		}
	}
	root.AddCommand(
		p.runCommand(), p.statusCommand(), p.configCommand(), p.versionCommand(), p.historyCommand(), p.showCommand(), p.pruneCommand(),
		p.rollbackCommand(), p.verifyCommand(), p.adoptCommand(), p.forgetCommand(), p.imagePrepCommand(), p.doctorCommand(), p.serviceCommand(), p.migrateCommand(), p.logsCommand(), p.runHookCommand(), p.localCommand(), p.drainCommand(), p.undrainCommand(), p.albCheckCommand(), p.provisionCommand(), p.lintCommand(), p.explainCommand(), p.planCommand(), p.dryRunCommand(), p.schemaCommand(), p.reportCommand(),
	)
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"config", "config-file", "config_file"} {
			// A script whose variable is empty must not silently get the default files.
			if f := cmd.Flag(name); f != nil && f.Changed && p.configFile == "" {
				return fmt.Errorf("--%s is empty: name a file, or leave the flag out for the default files", name)
			}
		}
		return nil
	}
	strictHelp(root)
	return root
}

// noArgs refuses arguments in one line, with the command that was probably meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasAvailableSubCommands() {
		return fmt.Errorf("%s takes no argument: %q (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	const twoLetters = 2
	cmd.SuggestionsMinimumDistance = twoLetters
	meant := fmt.Sprintf("see %s --help", cmd.CommandPath())
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		meant = fmt.Sprintf("did you mean %s?", s[0])
	}
	return fmt.Errorf("unknown command %q for %s (%s)", args[0], cmd.CommandPath(), meant)
}

// strictHelp makes the library's own commands, help and completion, answer a name that they do not know as the others do.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Short, cmd.Run = "tell about a command", nil
			cmd.RunE = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				if err := noArgs(about, rest); err != nil {
					return err
				}
				about.InitDefaultHelpFlag() // which only a command that runs has otherwise
				return about.Help()
			}
		case "completion":
			cmd.Short, cmd.Args = "print the completion script of a shell", noArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

func (p *program) load() (*config.Config, error) {
	cfg, err := config.Load(p.loadOptions())
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	return cfg, nil
}

// newTrust reads the files that the trust settings name, which loading does not.
func newTrust(cfg *config.Config) (*control.Trust, error) {
	trust, err := control.NewTrust(control.TrustOptions{Signer: cfg.Trust.Signer, CAFile: cfg.Trust.CAFile, Pins: cfg.Trust.Pins})
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	return trust, nil
}

func (p *program) loadOptions() config.LoadOptions {
	return config.LoadOptions{File: p.configFile, Getenv: p.getenv, Environ: p.environ}
}
