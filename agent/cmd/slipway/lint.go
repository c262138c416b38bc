package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"slipway/lifecycle/appspec"
	"slipway/lifecycle/appspec/lint"
)

// The exit codes of lint beside 0.
const (
	exitLintWarnings = 1
	exitLintErrors   = 2
)

const lintHelp = `lint says what is wrong with an appspec file, and with the bundle around it, before it is deployed: above all what every agent
passes over without a word, such as the scripts of an event that is misspelt. PATH is an appspec file, the directory that will become a bundle, a
bundle (zip, tar, tgz), or s3://BUCKET/KEY.

Every finding names a rule, as SW101; --explain says all about one, and docs/lint.md about all. Of other programs only sh -n and bash -n are
started, which read the scripts and run nothing of them.

--fix mends what has one right answer, in an appspec file or a directory, and shows what it did: events and keys that are misspelt beyond doubt,
overwrite: true in files entries, line ends, byte order marks, tabs, modes with a leading zero, execute bits. All else stays as it is, byte for byte.

For s3:// the credentials are those of the environment, else of the profile in ~/.aws/credentials, else the instance's role.

Exit codes: 0 nothing, or nothing but notes and warnings; 1 warnings, with --strict; 2 errors, or PATH could not be looked at.`

const lintExamples = `  slipway lint appspec.yml
  slipway lint . --fix
  slipway lint bundle.zip --strict
  slipway lint s3://releases/app/1.2.3.zip
  slipway lint . --format sarif > lint.sarif
  slipway lint --explain SW101`

// lintOptions are the flags of lint.
type lintOptions struct {
	format, explain, appspec string
	strict, fix              bool
}

func (p *program) lintCommand() *cobra.Command {
	var o lintOptions
	cmd := &cobra.Command{
		Use: "lint PATH", Short: "find the mistakes of an appspec and its bundle before a deployment does", Long: lintHelp, Example: lintExamples,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("explain") {
				return noArgs(cmd, args)
			}
			return takes(0, "a PATH")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("explain") {
				return p.explainRule(o.explain)
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			err := p.lint(ctx, args[0], o)
			var exit *exitError
			if err != nil && !errors.As(err, &exit) {
				err = &exitError{exitLintErrors, err}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.format, "format", "human", "human, json, sarif or github (annotations of GitHub Actions)")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "let warnings be an exit code of 1")
	cmd.Flags().BoolVar(&o.fix, "fix", false, "mend what has one right answer, and show what was done")
	cmd.Flags().StringVar(&o.explain, "explain", "", "say all about the rule with this `id`, and look at nothing")
	cmd.Flags().StringVar(&o.appspec, "appspec", "", "`name` of the appspec in the bundle, as in the deployment (default appspec.yml, then appspec.yaml)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"human", "json", "sarif", "github"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (p *program) explainRule(id string) error {
	rule, ok := lint.Find(id)
	if !ok {
		return &exitError{exitUsage, fmt.Errorf("there is no rule %q: findings name theirs, and docs/lint.md lists all", id)}
	}
	rule.Explain(p.stdout)
	return nil
}

func (p *program) lint(ctx context.Context, path string, o lintOptions) error {
	write, err := p.lintFormat(o.format)
	if err != nil {
		return err
	}
	if o.appspec != "" && (filepath.IsAbs(o.appspec) || !filepath.IsLocal(o.appspec)) {
		return fmt.Errorf("--appspec %s is not inside the bundle: it is a path from its top", o.appspec)
	}
	subject, err := p.lintSubject(ctx, path, o)
	if err != nil {
		return err
	}
	defer subject.close()
	if o.fix {
		if err := p.lintFix(ctx, subject, o); err != nil {
			return err
		}
	}
	report, err := subject.look(ctx, lint.Options{AppSpec: o.appspec, WorkTree: subject.dir})
	if err != nil {
		return fmt.Errorf("lint %s: %w", path, err)
	}
	if err := write(&report); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	switch {
	case report.Count(appspec.SeverityError) > 0:
		return &exitError{code: exitLintErrors}
	case o.strict && report.Count(appspec.SeverityWarning) > 0:
		return &exitError{code: exitLintWarnings}
	default:
		return nil
	}
}

// lintFormat is what writes a report in a format.
func (p *program) lintFormat(format string) (func(*lint.Report) error, error) {
	switch format {
	case "human":
		return func(r *lint.Report) error { r.Human(p.stdout, p.colourful()); return nil }, nil
	case "json":
		return func(r *lint.Report) error { return r.JSON(p.stdout) }, nil
	case "sarif":
		return func(r *lint.Report) error { return r.SARIF(p.stdout, buildVersion()) }, nil
	case "github":
		return func(r *lint.Report) error { r.GitHub(p.stdout); return nil }, nil
	default:
		return nil, fmt.Errorf("--format is %q; it has to be human, json, sarif or github", format)
	}
}

// colourful reports whether the output goes to a terminal that wants colours.
func (p *program) colourful() bool {
	f, ok := p.stdout.(*os.File)
	return ok && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// lintSubject is what is looked at. Of the three one is set.
type lintSubject struct {
	path   string
	file   string   // an appspec file by itself
	root   *os.Root // a bundle
	dir    bool     // which is a directory of the person, not an unpacked archive
	broken string   // why it could not be unpacked

	temporary string
}

func (s *lintSubject) close() {
	if s.root != nil {
		s.root.Close()
	}
	if s.temporary != "" {
		os.RemoveAll(s.temporary)
	}
}

// look lints it. Files are named so that a person can open them, or finds them in the archive.
func (s *lintSubject) look(ctx context.Context, o lint.Options) (lint.Report, error) {
	switch {
	case s.broken != "":
		return lint.Unreadable(s.path, s.broken), nil
	case s.file != "":
		data, err := readAppspec(s.file)
		if err != nil {
			return lint.Report{}, err
		}
		return lint.Appspec(s.file, data), nil
	}
	report, err := lint.Bundle(ctx, s.root.FS(), o)
	if err != nil {
		return lint.Report{}, err
	}
	report.Rename(func(name string) string {
		if s.dir {
			return filepath.Join(s.path, name)
		}
		return s.path + "/" + name
	})
	return report, nil
}

// readAppspec reads as much of a file as the parser may look at.
func readAppspec(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, appspec.MaxSize+1)
}

func (p *program) lintSubject(ctx context.Context, path string, o lintOptions) (*lintSubject, error) {
	if o.fix && strings.HasPrefix(path, "s3://") {
		return nil, fmt.Errorf("--fix cannot mend %s: mend the directory that it was packed from, and pack it anew", path)
	}
	if strings.HasPrefix(path, "s3://") {
		return p.lintS3(ctx, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist: name an appspec file, a directory, a bundle or s3://BUCKET/KEY", path)
	case err != nil:
		return nil, err
	case info.IsDir():
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, fmt.Errorf("open the bundle: %w", err)
		}
		return &lintSubject{path: path, root: root, dir: true}, nil
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a file nor a directory", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	format, ok := archiveFormat(path, f)
	if !ok {
		return &lintSubject{path: path, file: path}, nil
	}
	if o.fix {
		return nil, fmt.Errorf("--fix cannot mend the archive %s: mend the directory that it was packed from, and pack it anew", path)
	}
	return unpackForLint(ctx, path, f, format)
}
