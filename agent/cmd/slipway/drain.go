package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/agent/health"
)

func (p *program) drainCommand() *cobra.Command {
	var reason string
	var lasts time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "drain", Short: "take the instance out of the balancer's pool, the application running", Args: noArgs,
		Long: `drain makes the balancer's path answer 503 with a reason, so that the balancer sends nothing new here, until slipway undrain or the
end of --for. The application goes on and finishes what it has in hand. Nothing is asked of the service, and no deployment is kept away.

It writes the marker file health.drain_file, which survives a restart of the agent but not one of the host. A script may do the same
with touch.

Exit codes: 0 the marker is written and an agent that runs heeds it, 1 it could not be or does not.`,
		Example: "  slipway drain --reason 'kernel update'\n  slipway drain --reason 'load test' --for 10m\n  touch /run/slipway/drain",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flag("reason").Changed && reason == "" || cmd.Flag("for").Changed && lasts <= 0 {
				return errors.New("--reason needs a text and --for a time beyond now, such as 10m (see slipway drain --help)")
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.drain(cmd.Context(), cfg, reason, lasts, asJSON)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "what the balancer's path and the log say")
	cmd.Flags().DurationVar(&lasts, "for", 0, "end the drain by itself after this time (default: when slipway undrain is called)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *program) undrainCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "undrain", Short: "end what slipway drain or a marker has begun", Args: noArgs,
		Long: `undrain removes the drain marker, health.drain_file. The balancer's path is green again if the application is well and nothing else
drains: a termination of the instance, or a deployment.

Exit codes: 0 there is no marker any more, 1 it could not be removed.`,
		Example: "  slipway undrain\n  slipway undrain --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			return p.undrain(cmd.Context(), cfg, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// drained is the answer of drain and undrain for scripts.
type drained struct {
	Marker string     `json:"marker"`
	Drain  bool       `json:"drain"` // the marker is there
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	Path   string     `json:"path"`             // the balancer's
	Status string     `json:"status,omitempty"` // what it says now; empty: the agent does not answer
}

func (p *program) drain(ctx context.Context, cfg *config.Config, reason string, lasts time.Duration, asJSON bool) error {
	name := cfg.Health.DrainFile
	m := health.Marker{Reason: reason, Since: time.Now().UTC().Truncate(time.Second)}
	if m.Reason == "" {
		m.Reason = "slipway drain"
	}
	if lasts > 0 {
		m.Until = time.Now().UTC().Add(lasts).Truncate(time.Millisecond)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return failed(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return failed(fmt.Errorf("make the folder of the drain marker: %w", err))
	}
	if err := renameio.WriteFile(name, append(data, '\n'), 0o644, renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(0o644)); err != nil {
		return failed(fmt.Errorf("write the drain marker: %w (slipway drain needs to be root)", err))
	}
	if _, err := health.ReadMarker(name); err != nil {
		return failed(fmt.Errorf("the agent will not heed the marker: %w", err))
	}
	d := drained{Marker: name, Drain: true, Reason: m.Reason, Path: cfg.Health.Path}
	if lasts > 0 {
		d.Until = &m.Until
	}
	d.Status = p.askHealth(ctx, cfg, func(s health.State) bool { return s == health.Draining || s == health.Unconfigured })
	var unheeded error
	if d.Status != "" && d.Status != string(health.Draining) && d.Status != string(health.Unconfigured) {
		unheeded = failed(fmt.Errorf("the agent does not heed the marker %s: %s says %s; the agent was started with another health.drain_file", name, d.Path, d.Status))
	}
	if asJSON {
		return errors.Join(p.printJSON(d), unheeded)
	}
	until := "until slipway undrain"
	if d.Until != nil {
		until = "until " + local(m.Until)
	}
	if unheeded != nil {
		return unheeded
	}
	fmt.Fprintf(p.stdout, "drained: %s, %s\n", d.Reason, until)
	p.tellHealth(d)
	return nil
}

func (p *program) undrain(ctx context.Context, cfg *config.Config, asJSON bool) error {
	name := cfg.Health.DrainFile
	err := os.Remove(name)
	was := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(fmt.Errorf("remove the drain marker: %w", err))
	}
	d := drained{Marker: name, Path: cfg.Health.Path}
	d.Status = p.askHealth(ctx, cfg, func(s health.State) bool { return s != health.Draining })
	if asJSON {
		return p.printJSON(d)
	}
	if was {
		fmt.Fprintln(p.stdout, "undrained: the marker is removed")
	} else {
		fmt.Fprintf(p.stdout, "there was no drain marker at %s\n", name)
	}
	p.tellHealth(d)
	return nil
}

// tellHealth says what the balancer's path answers now.
func (p *program) tellHealth(d drained) {
	switch {
	case d.Status == "":
		fmt.Fprintf(p.stdout, "the agent does not answer here: what %s says was not seen\n", d.Path)
	case d.Status == string(health.Unconfigured):
		fmt.Fprintf(p.stdout, "%s answers 404 all the time: no application probe is configured\n", d.Path)
	default:
		fmt.Fprintf(p.stdout, "%s says: %s\n", d.Path, d.Status)
	}
}

// askHealth asks the agent on this host for the state of the application until it is as expected, for a few seconds at most.
func (p *program) askHealth(ctx context.Context, cfg *config.Config, expected func(health.State) bool) string {
	running, err := locked(filepath.Join(cfg.RootDir, ".slipway", "lock"))
	if err != nil || !running {
		return ""
	}
	r, err := readReport(cfg.RootDir)
	if err != nil || r == nil || r.Listen == "" {
		return ""
	}
	const patience, pause = 6 * time.Second, 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last health.State
	for {
		state, err := askState(ctx, "http://"+reachable(r.Listen)+cfg.Health.Path)
		if err == nil {
			last = state
		}
		if err == nil && expected(state) || ctx.Err() != nil {
			return string(last)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func askState(ctx context.Context, url string) (health.State, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"?format=json", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Status health.State `json:"status"`
	}
	return answer.Status, json.NewDecoder(resp.Body).Decode(&answer)
}

// reachable is a listener's address as a client on this host writes it: one that listens everywhere is asked on loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
