package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"slipway/agent/lab"
)

func (p *program) hostCommand() *cobra.Command {
	var tags []string
	var h lab.Host
	cmd := &cobra.Command{
		Use: "host [ID]", Short: "list the hosts, or declare or change one", Args: cobra.MaximumNArgs(1),
		Long: `host lists the hosts that the lab knows. With an id (i-…, an ARN, or a name from the list) it declares that host or
changes its tags, Auto Scaling group and lifecycle state, which the host's metadata service then tells.`,
		Example: "  slipway-lab host\n  slipway-lab host i-0a1b2c3d4e5f67890 --tag Name=web\n  slipway-lab host i-0a1b2c3d4e5f67890 --state Terminated",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, err := p.client()
			if err != nil {
				return err
			}
			var hosts []lab.Host
			if len(args) == 0 {
				if err := c.do(cmd.Context(), "GET", "/lab/hosts", nil, &hosts); err != nil {
					return err
				}
			} else {
				if h.Tags, err = parseTags(tags); err != nil {
					return err
				}
				h.ID = args[0]
				hosts = make([]lab.Host, 1)
				if err := c.do(cmd.Context(), "POST", "/lab/hosts", h, &hosts[0]); err != nil {
					return err
				}
			}
			for _, h := range hosts {
				seen := "never seen"
				if !h.LastSeen.IsZero() {
					seen = "seen " + h.LastSeen.Format("15:04:05") + " " + h.Version
				}
				fmt.Fprintf(p.stdout, "%-22s %-12s %s %v %s\n", h.Name, h.LifecycleState, seen, h.Tags, h.ID)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "`KEY=VALUE`; all tags of the host, may be repeated")
	cmd.Flags().StringVar(&h.AutoScalingGroup, "asg", "", "Auto Scaling `group` that it belongs to")
	cmd.Flags().StringVar(&h.LifecycleState, "state", "", "target lifecycle `state`: InService, Terminated …")
	p.addEndpoint(cmd)
	return cmd
}

func (p *program) stopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stop", Short: "end the lab", Args: cobra.NoArgs, Example: "  slipway-lab stop --endpoint http://127.0.0.1:8403",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			return c.do(cmd.Context(), "POST", "/lab/shutdown", nil, nil)
		},
	}
	p.addEndpoint(cmd)
	return cmd
}
