package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/hooks"
	"slipway/packaging/image"
)

func (p *program) migrateCommand() *cobra.Command {
	var back, dry, asJSON bool
	cmd := &cobra.Command{
		Use: "migrate", Short: "take this host over from the official agent, or give it back", Args: noArgs,
		Long: `migrate takes this host over from the official agent: it stops and disables that agent, keeps a copy of its configuration, hands what /etc/profile
exports to the service as that agent's unit did, and enables and starts Slipway. The deployment root is shared as it stands: the next deployment
finds all that the other agent has installed. --back is the way back.

It refuses while either agent has a command in hand. Run it with --dry-run first: that prints every step and does none. Steps may be repeated; a
failed one stops the rest. Where the official agent never was it says so; what is left then is to enable and start Slipway.`,
		Example: "  slipway migrate --dry-run\n  slipway migrate\n  slipway migrate --back",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.migrate(ctx, cfg, back, dry, asJSON)
		},
	}
	cmd.Flags().BoolVar(&back, "back", false, "give the host back to the official agent")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print the steps, do none")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// jsonStep is one that migrate did, or would do. A note is for a person: there is nothing to do about it here.
type jsonStep struct {
	What  string `json:"what"`
	Note  bool   `json:"note,omitempty"`
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

func (p *program) migrate(ctx context.Context, cfg *config.Config, back, dry, asJSON bool) error {
	m := &image.Migration{
		Top: "/", RootDir: cfg.RootDir, Tracking: cfg.OngoingDeploymentTracking, Services: hostServices{p}, Profile: hooks.ProfileEnvironment,
		Waiting: func() (string, error) { return p.waiting(ctx, cfg) },
	}
	plan := m.Forth
	if back {
		plan = m.Back
	}
	steps, err := plan(ctx)
	if err != nil {
		return failed(err)
	}
	did := []jsonStep{}
	var wrong error
	for _, s := range steps {
		j := jsonStep{What: s.What, Note: s.Note()}
		if !dry && wrong == nil && !j.Note {
			if wrong = s.Do(ctx); wrong != nil {
				j.Error = wrong.Error()
			}
			j.Done = wrong == nil
		}
		did = append(did, j)
		if !asJSON {
			p.printStep(j, dry)
		}
	}
	if asJSON {
		err = p.printJSON(struct {
			DryRun bool       `json:"dry_run"`
			Steps  []jsonStep `json:"steps"`
		}{dry, did})
	} else if !slices.ContainsFunc(did, func(j jsonStep) bool { return !j.Note }) {
		fmt.Fprintln(p.stdout, "nothing is left to do")
	}
	if wrong != nil {
		return failed(fmt.Errorf("%w: what comes after it was not done; run it again", wrong))
	}
	return err
}

func (p *program) printStep(j jsonStep, dry bool) {
	mark := "would "
	switch {
	case j.Note:
		mark = ""
	case dry:
	case j.Error != "":
		mark = "failed: "
	case j.Done:
		mark = "done: "
	default:
		mark = "not done: "
	}
	fmt.Fprintln(p.stdout, mark+j.What)
}

// waiting tells a command of ours that is in hand.
func (p *program) waiting(ctx context.Context, cfg *config.Config) (string, error) {
	engine, err := p.guest(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer engine.Close()
	return engine.Unfinished(), nil
}

// hostServices are those of the service manager, whoever's they are.
type hostServices struct{ p *program }

func (s hostServices) named(name string) (service.Service, error) {
	return service.New(&supervised{}, &service.Config{Name: name})
}

func (s hostServices) Running(_ context.Context, name string) (bool, error) {
	svc, err := s.named(name)
	if errors.Is(err, service.ErrNoServiceSystemDetected) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if svc.Platform() != "linux-systemd" {
		return false, nil // an image that is being built: nothing runs
	}
	state, err := svc.Status()
	if errors.Is(err, service.ErrNotInstalled) || err != nil && strings.Contains(err.Error(), "failed state") {
		return false, nil
	}
	return state == service.StatusRunning, err
}

func (s hostServices) Start(_ context.Context, name string) error { return s.control(name, "start") }

func (s hostServices) Stop(_ context.Context, name string) error { return s.control(name, "stop") }

func (s hostServices) control(name, verb string) error {
	svc, err := s.named(name)
	if err != nil {
		return err
	}
	return service.Control(svc, verb)
}
