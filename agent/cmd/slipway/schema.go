package main

import (
	"github.com/spf13/cobra"

	"slipway/lifecycle/appspec"
)

func (p *program) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "print a JSON Schema of the appspec, for editors", Args: noArgs,
		Long: `schema prints a JSON Schema (draft 2020-12) of an appspec file. An editor that knows YAML completes keys with it, shows what they mean, and
marks mistakes. It is stricter than the agent about keys and events that mean nothing.`,
		Example: "  slipway schema > appspec.schema.json",
		RunE: func(*cobra.Command, []string) error {
			_, err := p.stdout.Write(appspec.Schema())
			return err
		},
	}
}
