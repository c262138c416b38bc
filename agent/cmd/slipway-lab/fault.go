package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"slipway/agent/lab"
)

func (p *program) faultCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fault", Short: "spoil answers of the lab",
		Long: `fault puts faults in, lists them and takes them out. A fault spoils the answers of one service (control, codedeploy,
s3, imds), of one operation of it if named: PollHostCommand … or, for s3 and imds, the HTTP method.`,
		Example: `  slipway-lab fault add control PutHostCommandComplete --code ThrottlingException --times 12
  slipway-lab fault add s3 GET --truncate 1000 --path bundle.zip
  slipway-lab fault add imds --delay 2s
  slipway-lab fault list
  slipway-lab fault clear`,
	}
	p.addEndpoint(cmd)
	cmd.AddCommand(p.faultAdd(), p.faultList(), p.faultClear())
	return cmd
}

func (p *program) faultAdd() *cobra.Command {
	var f lab.Fault
	var delay, skew time.Duration
	cmd := &cobra.Command{
		Use: "add SERVICE [OPERATION]", Short: "put a fault in and print its id", Args: cobra.RangeArgs(1, 2),
		Example: "  slipway-lab fault add control PollHostCommand --status 500 --times 3\n  slipway-lab fault add control --skew 10m",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			f.Service, f.Delay, f.Skew = args[0], lab.Duration(delay), lab.Duration(skew)
			if len(args) > 1 {
				f.Operation = args[1]
			}
			var added struct{ ID string }
			if err := c.do(cmd.Context(), "POST", "/lab/faults", f, &added); err != nil {
				return err
			}
			fmt.Fprintln(p.stdout, added.ID)
			return nil
		},
	}
	s := cmd.Flags()
	s.StringVar(&f.ID, "id", "", "`name` of the fault (default: one of the lab's choice)")
	s.StringVar(&f.Path, "path", "", "only for paths that contain this `text`")
	s.IntVar(&f.Times, "times", 0, "go after so many answers (default: stay)")
	s.IntVar(&f.Skip, "skip", 0, "let so many calls pass first")
	s.DurationVar(&delay, "delay", 0, "hold the answer back")
	s.IntVar(&f.Status, "status", 0, "answer with this HTTP status")
	s.StringVar(&f.Code, "code", "", "answer with this error `code`: ThrottlingException, SlowDown, AccessDenied …")
	s.StringVar(&f.Message, "message", "", "and this `text`")
	s.BoolVar(&f.Reset, "reset", false, "break the connection without an answer")
	s.Int64Var(&f.TruncateAfter, "truncate", 0, "break the connection after so many `bytes` of the body")
	s.BoolVar(&f.Tamper, "tamper", false, "change one byte of the body")
	s.StringVar(&f.Body, "body", "", "answer with this `text` as the body")
	s.DurationVar(&skew, "skew", 0, "move the clock of the control service")
	return cmd
}

func (p *program) faultList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list the faults that are in, one JSON object per line", Args: cobra.NoArgs, Example: "  slipway-lab fault list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			var all []lab.Fault
			if err := c.do(cmd.Context(), "GET", "/lab/faults", nil, &all); err != nil {
				return err
			}
			lines := json.NewEncoder(p.stdout)
			for _, f := range all {
				if err := lines.Encode(f); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (p *program) faultClear() *cobra.Command {
	return &cobra.Command{
		Use: "clear [ID]", Short: "take out a fault, or all", Args: cobra.MaximumNArgs(1), Example: "  slipway-lab fault clear f1",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			path := "/lab/faults"
			if len(args) > 0 {
				path += "/" + url.PathEscape(args[0])
			}
			var gone struct{ Removed int }
			if err := c.do(cmd.Context(), "DELETE", path, nil, &gone); err != nil {
				if errors.Is(err, errNotFound) {
					return &exitError{exitFailure, err}
				}
				return err
			}
			fmt.Fprintf(p.stdout, "%d taken out\n", gone.Removed)
			return nil
		},
	}
}
