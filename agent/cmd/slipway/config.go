package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"slipway/agent/config"
)

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "look at the configuration and check it", Args: noArgs,
		Example: "  slipway config check --config /etc/slipway/slipway.yml\n  slipway config print --explain",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.configCheckCommand(), p.configPrintCommand())
	return cmd
}

func (p *program) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "say whether the configuration is right: exit 0, or 78 with file, line and key", Args: noArgs,
		Example: "  slipway config check\n  slipway config check --config ./codedeployagent.yml",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			if _, err := newTrust(cfg); err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(p.stdout, "warning: "+w.Error())
			}
			fmt.Fprintln(p.stdout, "the configuration is right")
			return nil
		},
	}
}

func (p *program) configPrintCommand() *cobra.Command {
	var explain, asJSON bool
	cmd := &cobra.Command{
		Use: "print", Short: "print every key with its value; --explain adds where it came from", Args: noArgs,
		Example: "  slipway config print\n  SLIPWAY_LOG_LEVEL=debug slipway config print --explain\n  slipway config print --json",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.printConfig(cfg.Explain(), explain, asJSON)
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false, "say where each value came from")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the sources")
	return cmd
}

// jsonSetting is config.Setting as scripts read it.
type jsonSetting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Doc    string `json:"doc"`
	Note   string `json:"note,omitempty"`
}

func (p *program) printConfig(settings []config.Setting, explain, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		out := make([]jsonSetting, len(settings))
		for i, s := range settings {
			out[i] = jsonSetting(s)
		}
		return enc.Encode(out)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	for _, s := range settings {
		if explain {
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.Key, s.Value, s.Source)
		} else {
			fmt.Fprintf(w, "%s\t%s\n", s.Key, s.Value)
		}
	}
	return w.Flush()
}
