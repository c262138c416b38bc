package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"slipway/agent"
	"slipway/agent/config"
	"slipway/agent/control"
	"slipway/agent/doctor"
	"slipway/agent/identity"
	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
	"slipway/systemd"
)

// examination is the time that all checks have together.
const examination = 5 * time.Second

// What a host needs to work with.
const (
	leastBytes  = 1 << 30
	leastInodes = 50_000
)

func (p *program) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "go through what an agent needs, and say what is missing and what to do", Args: noArgs,
		Long: `doctor goes through the checklist of an operator, all at once and within five seconds: who this host is, its credentials and what they may do, the
way to the command service, the clock, disks, folders, the unit, other agents, the last poll, the last deployment and the balancer's path. Each
line says ok, warn, fail or skip, and for a problem what to do. It changes nothing and takes no command from the service.

Exit codes: 0 nothing failed, 1 something did, 78 the configuration is wrong.`,
		Example: "  slipway doctor\n  slipway doctor --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return p.doctor(ctx, cfg, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type jsonFinding struct {
	Name   string        `json:"name"`
	Status doctor.Status `json:"status"`
	Text   string        `json:"text"`
	Remedy string        `json:"remedy,omitempty"`
	TookMS int64         `json:"took_ms"`
}

func (p *program) doctor(ctx context.Context, cfg *config.Config, asJSON bool) error {
	found := doctor.Examine(ctx, p.checklist(ctx, cfg), examination)
	var err error
	if asJSON {
		out := struct {
			Worst    doctor.Status `json:"worst"`
			Findings []jsonFinding `json:"findings"`
		}{doctor.Worst(found), []jsonFinding{}}
		for _, f := range found {
			out.Findings = append(out.Findings, jsonFinding{f.Name, f.Status, f.Text, f.Remedy, f.Took.Milliseconds()})
		}
		err = p.printJSON(out)
	} else {
		err = p.printFindings(found)
	}
	if err == nil && doctor.Worst(found) == doctor.Fail {
		return &exitError{code: exitFailure}
	}
	return err
}

func (p *program) printFindings(found []doctor.Finding) error {
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	counts := map[doctor.Status]int{}
	for _, f := range found {
		counts[f.Status]++
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.Name, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", f.Remedy)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%d ok, %d warn, %d fail, %d skipped\n", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail], counts[doctor.Skip])
	return nil
}

// patient is what the checks that need the identity of the host share: it is asked for once.
type patient struct {
	p      *program
	cfg    *config.Config
	client *http.Client
	known  chan struct{} // closed once the rest is set
	who    *identity.Identity
	err    error
}

// host waits until it is known who this host is. why is the reason where it is not.
func (h *patient) host(ctx context.Context) (who *identity.Identity, why string) {
	select {
	case <-h.known:
	case <-ctx.Done():
		return nil, "who this host is was not known in time"
	}
	if h.err != nil {
		return nil, "it is not known who this host is"
	}
	return h.who, ""
}

func (p *program) checklist(ctx context.Context, c *config.Config) []doctor.Check {
	h := &patient{p: p, cfg: c, known: make(chan struct{})}
	var clientErr error
	h.client, clientErr = control.NewHTTPClient(control.HTTPOptions{ProxyURI: c.ProxyURI, ReadTimeout: c.HTTPReadTimeout, Getenv: p.getenv})
	if clientErr != nil {
		h.client = http.DefaultClient
	}
	go func() {
		defer close(h.known)
		h.who, h.err = identity.Resolve(ctx, identityOptions(c, p.getenv))
	}()
	return []doctor.Check{
		{Name: "configuration", Run: func(context.Context) doctor.Result { return configured(c, clientErr) }},
		{Name: "host identity", Run: h.identified},
		{Name: "region", Run: h.region},
		{Name: "credentials", Run: h.credentials},
		{Name: "command service", Run: h.endpoint},
		{Name: "permission to ask", Run: h.permitted},
		{Name: "last bundle", Run: h.bundle},
		{Name: "clock", Run: h.clock},
		doctor.Writable("deployment root", c.RootDir, "root_dir"),
		doctor.Room("space", c.RootDir, leastBytes, leastInodes),
		doctor.Executable("hooks", c.RootDir),
		doctor.Writable("logs", c.LogDir, "log_dir"),
		doctor.OtherAgent("other agents", "/proc", "/"),
		doctor.Unit("unit", "/", systemd.UnitName, systemd.HoldFile),
		{Name: "agent", Run: func(context.Context) doctor.Result { return polled(c, systemd.Running()) }},
		{Name: "where hooks live", Run: func(context.Context) doctor.Result { return contained(c.RootDir) }},
		{Name: "last deployment", Run: func(context.Context) doctor.Result { return deployed(c.RootDir) }},
		{Name: "balancer's path", Run: func(ctx context.Context) doctor.Result { return answered(ctx, c) }},
	}
}

func problem(status doctor.Status, remedy, format string, args ...any) doctor.Result {
	return doctor.Result{Status: status, Text: fmt.Sprintf(format, args...), Remedy: remedy}
}

func fine(format string, args ...any) doctor.Result {
	return doctor.Result{Status: doctor.OK, Text: fmt.Sprintf(format, args...)}
}

func skipped(why string) doctor.Result { return doctor.Result{Status: doctor.Skip, Text: why} }

func configured(c *config.Config, clientErr error) doctor.Result {
	switch {
	case clientErr != nil:
		return problem(doctor.Fail, "correct proxy_uri, or the file of authorities", "%v", clientErr)
	case len(c.Warnings) > 0:
		return problem(doctor.Warn, "slipway config check", "%s", c.Warnings[0].Error())
	}
	return fine("right")
}

func (h *patient) identified(ctx context.Context) doctor.Result {
	who, why := h.host(ctx)
	var unknown *identity.UnknownError
	switch {
	case errors.As(h.err, &unknown):
		var tried []string
		for _, a := range unknown.Tried {
			tried = append(tried, a.Source+": "+a.Err.Error())
		}
		return problem(doctor.Fail, unknown.Remedy, "nothing says who this host is: %s", strings.Join(tried, "; "))
	case h.err != nil:
		return problem(doctor.Fail, "correct the file", "%v", h.err)
	case who == nil:
		return problem(doctor.Fail, "look at the way to the metadata service (169.254.169.254): routes, firewall, hop limit", "%s", why)
	}
	return fine("%s", who.HostID)
}

func (h *patient) region(ctx context.Context) doctor.Result {
	who, why := h.host(ctx)
	if who == nil {
		return skipped(why)
	}
	if zone, err := who.Metadata(ctx, "placement/region"); err == nil && zone != "" && zone != who.Region {
		return problem(doctor.Fail, "unset AWS_REGION in the service's environment, unless this host really deploys from another region", "the instance is in %s, and AWS_REGION says %s", zone, who.Region)
	}
	if e := h.cfg.DeployControlEndpoint; e != "" && strings.Contains(e, "amazonaws") && !strings.Contains(e, who.Region) {
		return problem(doctor.Fail, "correct deploy_control_endpoint, or leave it out", "the region is %s, and deploy_control_endpoint is %s", who.Region, e)
	}
	return fine("%s (%s)", who.Region, who.Partition)
}

func (h *patient) credentials(ctx context.Context) doctor.Result {
	who, why := h.host(ctx)
	if who == nil {
		return skipped(why)
	}
	keys, err := who.Credentials.Retrieve(ctx)
	switch {
	case err != nil && who.OnPremises:
		return problem(doctor.Fail, "renew the file of the session, or register the host anew", "no credentials: %v", err)
	case err != nil:
		return problem(doctor.Fail, "attach an instance profile: aws ec2 associate-iam-instance-profile", "no credentials of an instance profile: %v", err)
	case keys.CanExpire && time.Until(keys.Expires) < 0:
		return problem(doctor.Fail, "compare date -u with the real time; if it is right, the metadata service hands out old keys", "the credentials expired at %s", keys.Expires.Format(time.DateTime))
	case keys.CanExpire:
		return fine("there, until %s", keys.Expires.Local().Format(time.DateTime))
	}
	return fine("there")
}

// commands is the address of the command service.
func (h *patient) commands(who *identity.Identity) (string, error) {
	return identity.CommandEndpoint(identity.EndpointOptions{
		Override: h.cfg.DeployControlEndpoint, Region: who.Region, Domain: who.Domain, CheckPartition: who.CheckPartition,
		FIPS: h.cfg.UseFIPSMode, AuthPolicy: h.cfg.EnableAuthPolicy,
	})
}

// proxy is the one that a request to the command service goes through, for messages.
func (h *patient) proxy() string {
	if h.cfg.ProxyURI != "" {
		return h.cfg.ProxyURI
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if v := h.p.getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// service gives an address of the command service to a check of it.
func (h *patient) service(ctx context.Context, check func(address string) doctor.Check) doctor.Result {
	who, why := h.host(ctx)
	if who == nil {
		return skipped(why)
	}
	address, err := h.commands(who)
	if err != nil {
		return problem(doctor.Fail, "correct the region, use_fips_mode or deploy_control_endpoint", "%v", err)
	}
	return check(address).Run(ctx)
}

func (h *patient) endpoint(ctx context.Context) doctor.Result {
	return h.service(ctx, func(address string) doctor.Check { return doctor.Endpoint("", address, h.proxy(), h.client) })
}

func (h *patient) clock(ctx context.Context) doctor.Result {
	return h.service(ctx, func(address string) doctor.Check { return doctor.Clock("", address, h.client, time.Now) })
}

// permitted asks the service for the specification of an execution that does not exist: unlike a poll that takes no command from it.
func (h *patient) permitted(ctx context.Context) doctor.Result {
	who, why := h.host(ctx)
	if who == nil {
		return skipped(why)
	}
	address, err := h.commands(who)
	if err != nil {
		return skipped("the address of the service is not known")
	}
	c, err := control.New(control.Options{
		Endpoint: address, Region: who.Region, HostID: who.HostID, Version: h.p.agentVersion(h.cfg.RootDir), Secure: h.cfg.EnableAuthPolicy,
		Mock: h.cfg.UseMockCommandService, Credentials: who.Credentials, HTTP: h.client, Log: zap.NewNop(),
	})
	if err != nil {
		return problem(doctor.Fail, "correct the configuration", "%v", err)
	}
	_, err = c.Spec(ctx, "slipway-doctor")
	var api *control.APIError
	switch {
	case errors.As(err, &api) && api.Denied():
		return problem(doctor.Fail, "on EC2: attach the instance profile with packaging/iam/instance-profile.json (under enable_auth_policy instance-profile-auth-policy.json); on premises: register the host anew", "the service refuses this host: %v", err)
	case errors.As(err, &api) && api.ClockSkewed():
		return problem(doctor.Fail, "systemctl enable --now chronyd", "the service refuses the time of this host: %v", err)
	case errors.As(err, &api):
		return fine("the service knows this host: it answers %s to a question for what does not exist", api.Code)
	case err == nil || errors.As(err, new(*control.SpecError)):
		return fine("the service knows this host")
	}
	return skipped("the service does not answer")
}

// bundle looks whether what was deployed last could be fetched again.
func (h *patient) bundle(ctx context.Context) doctor.Result {
	past, err := lifecycle.History(h.cfg.RootDir)
	if err != nil {
		return skipped(err.Error())
	}
	for _, d := range past {
		at, ok := s3Location(d.Revision)
		if !ok {
			continue
		}
		who, why := h.host(ctx)
		if who == nil {
			return skipped(why)
		}
		objects, err := newObjects(h.cfg, h.cfg.S3EndpointOverride, who, h.client, zap.NewNop())
		if err != nil {
			return problem(doctor.Fail, "correct s3_endpoint_override or the region", "%v", err)
		}
		if err := objects.Look(ctx, at); err != nil {
			return problem(doctor.Fail, "grant s3:GetObject and s3:GetObjectVersion on the bucket (packaging/iam/instance-profile.json), or restore the object", "%v", err)
		}
		return fine("%s can be read", d.Revision)
	}
	return skipped("no deployment from S3 is known here yet")
}

// s3Location reads what a history says of a revision.
func s3Location(text string) (bundle.S3Location, bool) {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, key, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return bundle.S3Location{}, false
	}
	key, version, _ := strings.Cut(key, "?versionId=")
	return bundle.S3Location{Bucket: bucket, Key: key, Version: version}, true
}

// stale is how old the last answer to a poll may be.
const stale = 5 * time.Minute

// polled looks at the agent of this host. Where systemd has not booted the host, as on a developer's machine, the remedies need none.
func polled(c *config.Config, booted bool) doctor.Result {
	running, err := locked(filepath.Join(c.RootDir, ".slipway", "lock"))
	if err != nil {
		return problem(doctor.Warn, "run it as root", "whether the agent runs cannot be told: %v", err)
	}
	if !running {
		remedy := "systemctl start slipway; if it ends at once: journalctl -u slipway -n 50"
		if !booted {
			remedy = "slipway run, or slipway service install where systemd is process 1; a developer's machine needs no agent"
		}
		return problem(doctor.Fail, remedy, "the agent is not running")
	}
	r, err := readReport(c.RootDir)
	switch {
	case err != nil || r == nil:
		return problem(doctor.Warn, "slipway status", "the agent runs and has left no word of itself")
	case strings.HasPrefix(r.LinkText, bootWaitText):
		return problem(doctor.Warn, "cloud-init status --long says what it is at; start.wait_for: off does not wait", "the agent runs, and takes no command yet: %s", r.LinkText)
	case r.Link != agent.Online:
		return problem(doctor.Fail, "see the lines above: identity, credentials, command service, clock", "the agent runs, and its link to the service is %s: %s", r.Link, or(r.LinkText, "no reason yet"))
	case time.Since(r.LastPoll) > stale:
		remedy := "systemctl restart slipway; a hook in hand goes on"
		if !booted {
			remedy = fmt.Sprintf("kill -TERM %d, and slipway run again; a hook in hand goes on", r.PID)
		}
		return problem(doctor.Fail, remedy, "the last answer to a poll is %s old", time.Since(r.LastPoll).Round(time.Second))
	}
	return fine("running, PID %d, last poll %s ago", r.PID, time.Since(r.LastPoll).Round(time.Second))
}

// contained tells what holds hooks together, as the agent has found it.
func contained(root string) doctor.Result {
	r, err := readReport(root)
	switch {
	case err != nil || r == nil || r.Hooks == nil:
		return skipped("no agent has said so yet")
	case r.Hooks.Mode == containNone:
		return problem(doctor.Warn, "run the agent as root under systemd, or mount cgroup v2; hooks.containment: auto takes what there is", "hooks are held together by their process group alone: %s", r.Hooks.Reason)
	}
	return fine("%s", r.Hooks)
}

func deployed(root string) doctor.Result {
	past, err := lifecycle.History(root)
	switch {
	case err != nil:
		return problem(doctor.Warn, "look at "+root+"/.slipway/history.jsonl", "%v", err)
	case len(past) == 0:
		return skipped("there was none yet")
	}
	last := past[0]
	if f := last.Failed(); f != nil {
		return problem(doctor.Warn, "slipway show "+last.Deployment, "%s failed at %s (code %d)", last.Deployment, f.Event, f.Code)
	}
	return fine("%s, %s ago", last.Deployment, time.Since(last.Last).Round(time.Second))
}

func answered(ctx context.Context, c *config.Config) doctor.Result {
	r, err := readReport(c.RootDir)
	if err != nil || r == nil || r.Listen == "" {
		return skipped("the agent serves none")
	}
	if c.Health.Probe.URL == "" {
		return skipped("nothing is probed (health.probe.url)")
	}
	healthy := func(status int) bool { return status == http.StatusOK }
	return doctor.Answers("", "http://"+r.Listen+c.Health.Path, healthy, http.DefaultClient, "curl -s http://"+r.Listen+c.Health.Path+"?verbose says why").Run(ctx)
}
