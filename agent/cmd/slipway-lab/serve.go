package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"slipway/agent/lab"
)

const serveHelp = `serve starts the lab and runs it until it is interrupted or told to stop.

--dir receives what agents and clients need: env (shell exports), agent.yml (configuration for slipway run --config, in
the official agent's spelling), agent-2.yml … for further instances, agent-onpremises.yml for a registered machine,
signer.pem and, with --tls, ca.pem.`

// serveFlags are what serve is told.
type serveFlags struct {
	lab.Options
	dir, env, calls string
	hosts, tags     []string
	json, verbose   bool
}

func (p *program) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: "serve", Short: "start the lab", Long: serveHelp, Args: cobra.NoArgs,
		Example: `  slipway-lab serve
  slipway-lab serve --listen 127.0.0.1:8400 --dir /tmp/lab --env /tmp/lab/env --log /tmp/lab/calls.json
  slipway-lab serve --instances 2 --tag Name=web --event-timeout 5m
  slipway-lab serve --host arn:aws:iam::123456789012:user/kiosk,Name=kiosk --tls`,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), f) },
	}
	s := cmd.Flags()
	s.StringVar(&f.Listen, "listen", "127.0.0.1:0", "`address` of the gateway; with a port, the other listeners take those after it")
	s.StringVar(&f.dir, "dir", "", "`folder` for the files that agents and clients need")
	s.StringVar(&f.env, "env", "", "`file` for the shell exports")
	s.StringVar(&f.calls, "log", "", "`file` for one JSON line per call, - for standard output")
	s.StringVar(&f.Region, "region", "us-east-1", "region that the lab plays")
	s.StringVar(&f.Account, "account", "123456789012", "account that the lab plays")
	s.StringVar(&f.AccessKey, "access-key", "", "access key of the operator (default: one of the lab's own, shown at the start)")
	s.StringVar(&f.SecretKey, "secret-key", "", "secret key that goes with it")
	s.IntVar(&f.Instances, "instances", 1, "EC2 identities, each with a metadata service of its own")
	s.StringArrayVar(&f.tags, "tag", nil, "`KEY=VALUE` of all instances; may be repeated")
	s.StringArrayVar(&f.hosts, "host", nil, "`ID[,KEY=VALUE…]` of a further host: i-… or the ARN of an on-premises machine's user; may be repeated")
	s.StringArrayVar(&f.Buckets, "bucket", nil, "S3 `bucket` that exists from the start; may be repeated (default slipway-lab)")
	s.BoolVar(&f.Lenient, "lenient", false, "accept any signature, and none")
	s.BoolVar(&f.TLS, "tls", false, "serve all but metadata over TLS, by an authority of the lab's own")
	s.BoolVar(&f.Secure, "auth-policy", false, "speak the auth-policy variant of the command service")
	s.DurationVar(&f.EventTimeout, "event-timeout", time.Hour, "when a lifecycle event that no agent completes fails")
	s.DurationVar(&f.Minute, "minute", time.Minute, "how long a minute of blue/green waits lasts")
	s.DurationVar(&f.PollWait, "poll-wait", time.Second, "how long a poll waits for a command; -1s for not at all")
	s.BoolVar(&f.json, "json", false, "print endpoints and keys as one JSON object")
	s.BoolVarP(&f.verbose, "verbose", "v", false, "tell on standard error what happens")
	return cmd
}

// serve runs the lab until ctx ends.
func (p *program) serve(ctx context.Context, f serveFlags) error {
	if f.Instances == 0 {
		f.Instances = -1 // the library's word for none
	}
	for _, text := range f.hosts {
		h, err := parseHost(text)
		if err != nil {
			return err
		}
		f.Hosts = append(f.Hosts, h)
	}
	calls, closeCalls, err := p.callLog(f.calls)
	if err != nil {
		return &exitError{exitFailure, err}
	}
	defer closeCalls()
	f.Calls = calls
	if f.verbose {
		f.Log = zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(p.stderr), zap.InfoLevel))
	}
	l, err := lab.Start(f.Options)
	if err != nil {
		return &exitError{exitFailure, err}
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		l.Close(closing) //nolint:errcheck // the process ends anyway
	}()
	files, err := p.prepare(l, f)
	if err != nil {
		return &exitError{exitFailure, err}
	}
	p.announce(l, f, files)
	select {
	case <-ctx.Done():
	case <-l.Done():
	}
	return nil
}

// prepare tags the instances and writes the files.
func (p *program) prepare(l *lab.Lab, f serveFlags) (map[string]string, error) {
	tags, err := parseTags(f.tags)
	if err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		for _, h := range l.Hosts() {
			if h.Endpoint != "" {
				if _, err := l.DeclareHost(lab.Host{ID: h.ID, Tags: tags}); err != nil {
					return nil, err
				}
			}
		}
	}
	files := map[string]string{}
	if f.dir != "" {
		if files, err = l.WriteFiles(f.dir); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.dir, err)
		}
	}
	if f.env != "" {
		path, err := filepath.Abs(f.env)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := l.WriteEnvironment(path, files["ca"]); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.env, err)
		}
		files["env"] = path
	}
	return files, nil
}

// announce prints where everything is.
func (p *program) announce(l *lab.Lab, f serveFlags, files map[string]string) {
	info := l.Info()
	if f.json {
		json.NewEncoder(p.stdout).Encode(struct { //nolint:errcheck // a reader that is gone
			lab.Info
			Files map[string]string `json:"files,omitempty"`
		}{info, files})
		return
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "lab is up\n")
	fmt.Fprintf(w, "  gateway\t%s\tCodeDeploy, S3 and the command service: AWS_ENDPOINT_URL\n", info.Endpoints.Gateway)
	fmt.Fprintf(w, "  control\t%s\thost-command service\n", info.Endpoints.Control)
	fmt.Fprintf(w, "  s3\t%s\tbuckets by path\n", info.Endpoints.S3)
	fmt.Fprintf(w, "  admin\t%s\t/lab/…: SLIPWAY_LAB_ENDPOINT\n", info.Endpoints.Admin)
	for _, h := range l.Hosts() {
		if h.Endpoint != "" {
			fmt.Fprintf(w, "  imds\t%s\t%s\n", h.Endpoint, h.Name)
		}
	}
	fmt.Fprintf(w, "  keys\t%s\t%s\n", info.AccessKey, info.SecretKey)
	fmt.Fprintf(w, "  region\t%s\taccount %s\n", info.Region, info.Account)
	for _, purpose := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(w, "  %s\t%s\t\n", purpose, files[purpose])
	}
	w.Flush()
}

// callLog opens what --log names.
func (p *program) callLog(path string) (io.Writer, func(), error) {
	switch path {
	case "":
		return nil, func() {}, nil
	case "-":
		return p.stdout, func() {}, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("call log: %w", err)
	}
	return file, func() { file.Close() }, nil
}

// parseHost reads ID[,KEY=VALUE…].
func parseHost(text string) (lab.Host, error) {
	id, rest, tagged := strings.Cut(text, ",")
	h := lab.Host{ID: id}
	if !tagged {
		return h, nil
	}
	tags, err := parseTags(strings.Split(rest, ","))
	h.Tags = tags
	return h, err
}

// parseTags reads KEY=VALUE pairs; none gives nil.
func parseTags(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	tags := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("tag %q: give KEY=VALUE", pair)
		}
		tags[key] = value
	}
	return tags, nil
}
