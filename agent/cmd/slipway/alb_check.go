package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/spf13/cobra"

	"slipway/agent/config"
	"slipway/agent/health/alb"
	"slipway/agent/identity"
)

// albFlags are what alb-check was told.
type albFlags struct {
	group, endpoint, target string
	address, port           string
	names                   []string
	settings                alb.Target
	pace, idle              time.Duration
	asJSON                  bool
}

func (p *program) albCheckCommand() *cobra.Command {
	var f albFlags
	cmd := &cobra.Command{
		Use: "alb-check [URL]", Short: "ask a target as an Application Load Balancer would, and say what it would make of it", Args: takes(1),
		Long: `alb-check asks a target the way the health checker of an Application Load Balancer does: one GET on a connection of its own, with the
address as Host, following no redirect, verifying no certificate. It says whether and when the balancer would send traffic there, why not, and
what would hurt although the target is healthy.

Without a URL it asks this host, at its own address. With --target-group-arn it takes the settings from the target group and shows what the
balancer itself found; that needs credentials (of the environment, else of this instance) which may call
elasticloadbalancing:DescribeTargetGroups and DescribeTargetHealth. A flag given beside wins over the group's setting.

Exit codes: 0 the target would be healthy, 1 it would not, 2 a setting that no target group can have, 4 it cannot be told.`,
		Example: `  slipway alb-check
  slipway alb-check http://10.0.1.23:8427/health --interval 10s --healthy 2
  slipway alb-check --port 80 --path /health --matcher 200-399 --name www.example.com
  slipway alb-check --target-group-arn arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := f.take(args); err != nil {
				return err
			}
			return p.albCheck(ctx, &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.group, "target-group-arn", "", "take the settings from this target group, and show what the balancer found")
	flags.StringVar(&f.target, "target", "", "the target of the group to ask about: instance id or address (default this host)")
	flags.StringVar(&f.endpoint, "endpoint", "", "`URL` of the balancer's API (default AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2, AWS_ENDPOINT_URL, then the region's)")
	flags.StringVar(&f.address, "address", "", "address of the target (default this host's own)")
	flags.StringVar(&f.port, "port", "", "port of the target (default 80, with HTTPS 443)")
	flags.StringVar(&f.settings.Path, "path", "", "path with query (default /)")
	flags.StringVar(&f.settings.Protocol, "protocol", "", "HTTP or HTTPS (default HTTP)")
	flags.StringVar(&f.settings.Version, "protocol-version", "", "HTTP1 or HTTP2 (default HTTP1)")
	flags.StringVar(&f.settings.Matcher, "matcher", "", "success codes: 200, 200,302 or 200-399 (default 200)")
	flags.DurationVar(&f.settings.Interval, "interval", 0, "time from check to check (default 30s)")
	flags.DurationVar(&f.settings.Timeout, "timeout", 0, "time of one check (default 5s)")
	flags.IntVar(&f.settings.Healthy, "healthy", 0, "healthy threshold (default 5)")
	flags.IntVar(&f.settings.Unhealthy, "unhealthy", 0, "unhealthy threshold (default 2)")
	flags.StringArrayVar(&f.names, "name", nil, "a host name of the site, tried where the address alone is answered badly; may be given again")
	flags.DurationVar(&f.idle, "idle-timeout", time.Minute, "idle timeout of the balancer, which the target's keep-alive has to exceed")
	flags.DurationVar(&f.pace, "pace", 200*time.Millisecond, "time between the checks that are made here")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// take reads the URL, whose parts are flags in another form.
func (f *albFlags) take(args []string) error {
	if f.pace <= 0 || f.idle <= 0 {
		return errors.New("--pace and --idle-timeout need a time beyond 0 (see slipway alb-check --help)")
	}
	if f.group == "" && (f.target != "" || f.endpoint != "") {
		return errors.New("--target and --endpoint belong to --target-group-arn (see slipway alb-check --help)")
	}
	if len(args) == 0 {
		return nil
	}
	given := args[0]
	if !strings.Contains(given, "://") {
		given = "http://" + given
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no URL of a target: write http://10.0.1.23:8080/health (see slipway alb-check --help)", args[0])
	}
	if f.address != "" || f.port != "" || f.settings.Path != "" || f.settings.Protocol != "" {
		return errors.New("a URL and --address, --port, --path or --protocol say the same: give one or the other (see slipway alb-check --help)")
	}
	f.address, f.port, f.settings.Protocol = u.Hostname(), u.Port(), strings.ToUpper(u.Scheme)
	if u.Path != "" || u.RawQuery != "" {
		f.settings.Path = u.RequestURI()
	}
	return nil
}

// albAnswer is what alb-check prints as JSON.
type albAnswer struct {
	*alb.Report
	FirstMS int64       `json:"healthy_after_ms,omitempty"`
	AgainMS int64       `json:"healthy_again_after_ms,omitempty"`
	Group   string      `json:"target_group,omitempty"`
	Self    string      `json:"self,omitempty"` // the target of the group that this is
	States  []alb.State `json:"balancer,omitempty"`
}

func (p *program) albCheck(ctx context.Context, f *albFlags) error {
	answer := albAnswer{}
	if f.group != "" {
		if err := p.readGroup(ctx, f, &answer); err != nil {
			return albFailed(err)
		}
	}
	t := f.settings
	port := f.port
	if port == "" {
		port = "80"
		if strings.EqualFold(t.Protocol, alb.HTTPS) {
			port = "443"
		}
	}
	if f.address == "" {
		own, err := ownAddress(ctx)
		if err != nil {
			return &exitError{exitUnknown, err}
		}
		f.address = own
	}
	t.Address = net.JoinHostPort(f.address, port)
	r, err := alb.Check(ctx, t, alb.Options{Pace: f.pace, Names: f.names, Idle: f.idle})
	if err != nil {
		return albFailed(err)
	}
	answer.Report, answer.FirstMS, answer.AgainMS = r, r.First.Milliseconds(), r.Again.Milliseconds()
	if f.asJSON {
		err = p.printJSON(answer)
	} else {
		p.printALB(&answer)
	}
	if err == nil && !r.Healthy {
		return &exitError{code: exitFailure}
	}
	return err
}

// albFailed gives an error its exit code: a setting is the caller's mistake, the rest cannot be told.
func albFailed(err error) error {
	if setting := (*alb.SettingError)(nil); errors.As(err, &setting) {
		return fmt.Errorf("%w (see slipway alb-check --help)", err)
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return err
	}
	return &exitError{exitUnknown, err}
}

// readGroup fills what no flag said from the target group, and finds this host among its targets.
func (p *program) readGroup(ctx context.Context, f *albFlags, answer *albAnswer) error {
	region, partition, err := alb.ParseARN(f.group)
	if err != nil {
		return err
	}
	keys, id, err := p.albCredentials(ctx)
	if err != nil {
		return err
	}
	endpoint := cmp.Or(f.endpoint, p.getenv("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"), p.getenv("AWS_ENDPOINT_URL"), alb.Endpoint(region, partition))
	client := &alb.Client{Endpoint: endpoint, Region: region, Credentials: keys}
	g, err := client.Group(ctx, f.group)
	if err != nil {
		return err
	}
	if answer.States, err = client.States(ctx, f.group); err != nil {
		return err
	}
	switch {
	case g.Type == "lambda" || !g.Checked:
		return fmt.Errorf("target group %s has no health check of an address: it is of type %s", g.Name, g.Type)
	case g.Settings.Version == "GRPC":
		return fmt.Errorf("target group %s speaks gRPC, which is not checked", g.Name)
	}
	answer.Group = g.Name
	s := &f.settings
	s.Path, s.Protocol, s.Version, s.Matcher = cmp.Or(s.Path, g.Settings.Path), cmp.Or(s.Protocol, g.Settings.Protocol), cmp.Or(s.Version, g.Settings.Version), cmp.Or(s.Matcher, g.Settings.Matcher)
	s.Interval, s.Timeout = cmp.Or(s.Interval, g.Settings.Interval), cmp.Or(s.Timeout, g.Settings.Timeout)
	s.Healthy, s.Unhealthy = cmp.Or(s.Healthy, g.Settings.Healthy), cmp.Or(s.Unhealthy, g.Settings.Unhealthy)
	own, err := ownAddress(ctx)
	if err != nil {
		own = "" // it is only one of the ways to find this host
	}
	port := strconv.Itoa(g.Port)
	for _, t := range answer.States {
		if t.ID == cmp.Or(f.target, id) || f.target == "" && (t.ID == own || t.ID == f.address) {
			answer.Self, port = t.ID, strconv.Itoa(t.Port)
			break
		}
	}
	if f.target != "" && answer.Self == "" {
		return &exitError{exitUnknown, fmt.Errorf("target %s is not registered with %s", f.target, g.Name)}
	}
	if net.ParseIP(answer.Self) != nil {
		f.address = cmp.Or(f.address, answer.Self)
	}
	if g.CheckPort != alb.TrafficPort {
		port = g.CheckPort
	}
	f.port = cmp.Or(f.port, port)
	return nil
}

// albCredentials are those of the environment, else this host's own; id is the instance's, where that is known.
func (p *program) albCredentials(ctx context.Context) (keys aws.CredentialsProvider, id string, err error) {
	if access, secret := p.getenv("AWS_ACCESS_KEY_ID"), p.getenv("AWS_SECRET_ACCESS_KEY"); access != "" && secret != "" {
		return credentials.NewStaticCredentialsProvider(access, secret, p.getenv("AWS_SESSION_TOKEN")), "", nil
	}
	cfg, err := p.load()
	if err != nil {
		return nil, "", err
	}
	who, err := identity.Resolve(ctx, identityOptions(cfg, p.getenv))
	if err != nil {
		return nil, "", fmt.Errorf("the target group needs credentials: %w", err)
	}
	return who.Credentials, who.InstanceID, nil
}

func identityOptions(cfg *config.Config, getenv func(string) string) identity.Options {
	return identity.Options{
		OnPremisesFile: cfg.OnPremisesConfigFile, HostID: getenv("AWS_HOST_IDENTIFIER"), Region: getenv("AWS_REGION"),
		AllowIMDSv1: cfg.IMDS.AllowV1, IMDSEndpoint: cfg.IMDS.Endpoint, AllowEnvCredentials: cfg.AllowEnvCredentials(), Getenv: getenv,
	}
}

// ownAddress is the address of this host on the network, that a balancer would know it by. Nothing is sent.
func ownAddress(ctx context.Context) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", "192.0.2.1:9") // of a network for documentation: any route will do
	if err != nil {
		return "", fmt.Errorf("the address of this host is not known: %w; give --address or a URL", err)
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, err
}

func (p *program) printALB(a *albAnswer) {
	w, t := p.stdout, a.Target
	fmt.Fprintf(w, "%s (%s, success codes %s, every %s, timeout %s, healthy %d, unhealthy %d)\n", t.URL(), t.Version, t.Matcher, t.Interval, t.Timeout, t.Healthy, t.Unhealthy)
	if a.Healthy {
		fmt.Fprintf(w, "  healthy      after %s when it is new, after %s when it was unhealthy\n", took(a.First), took(a.Again))
	} else {
		fmt.Fprintf(w, "  unhealthy    %s: %s\n", a.Reason, a.Text)
	}
	fmt.Fprintf(w, "  checks      ")
	for _, c := range a.Checks {
		word := strconv.Itoa(c.Status)
		if c.Status == 0 {
			word = "none"
		}
		fmt.Fprintf(w, " %s %s", word, took(c.Took))
	}
	fmt.Fprintln(w)
	for _, f := range a.Findings {
		fmt.Fprintf(w, "  %-11s  %s: %s\n               %s\n", f.Kind, f.Code, f.Text, f.Remedy)
	}
	if a.Group == "" {
		return
	}
	fmt.Fprintf(w, "the balancer's own view of %s:\n", a.Group)
	for _, s := range a.States {
		mark := " "
		if s.ID == a.Self {
			mark = "*"
		}
		fmt.Fprintf(w, "%s %s:%d  %s\n", mark, s.ID, s.Port, strings.TrimSpace(strings.Join([]string{s.State, s.Reason, s.Description}, "  ")))
	}
	if a.Self == "" {
		fmt.Fprintln(w, "this host is not among them")
	}
}
