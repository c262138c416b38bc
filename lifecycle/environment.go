package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"slipway/hooks"
	"slipway/lifecycle/appspec"
	"slipway/lifecycle/bundle"
)

// workDir is where scripts start: the hooks package's default, or the archive they are of.
func workDir(set *Settings, rev revision) string {
	if set.WorkInArchive {
		return rev.archive
	}
	return ""
}

// surround gives an order its environment, and says what of it may appear nowhere. It returns a result if the script cannot be started for it;
// one that has been started before goes on with what it got then.
func (e *Engine) surround(ctx context.Context, t *Ticket, s appspec.Script, order *hooks.Script) *Result {
	d := t.deployment
	extra, err := e.envFile(d)
	if err != nil {
		if _, attach := e.opts.Runner.Attach(order.Dir); errors.Is(attach, hooks.ErrNotStarted) {
			r := failure(ctx, fmt.Errorf("script %s was not started: %w", s.Location, err))
			return &r
		}
	}
	for _, note := range extra.notes {
		e.log.Warn("variables of scripts", zap.String("deployment", d.ID), zap.String("note", note))
	}
	inherited := e.settings.Load().Environ
	if e.opts.HostEnviron != nil {
		inherited = slices.Concat(inherited, e.opts.HostEnviron())
	}
	order.Env, order.SudoEnv = e.environment(inherited, extra.set, d, t.Event, s)
	order.Redact = e.secrets(d)
	for _, kv := range extra.set {
		order.Redact = append(order.Redact, kv[1])
	}
	return nil
}

// secrets are the values that may appear in no log and no report.
func (e *Engine) secrets(d *Deployment) []string {
	var all []string
	if e.opts.Secrets != nil {
		all = append(all, e.opts.Secrets()...)
	}
	if d.Revision.GitHub.Token != "" {
		all = append(all, d.Revision.GitHub.Token)
	}
	return all
}

// concealed is an error whose text had a secret in it.
type concealed struct {
	error
	text string
}

func (c *concealed) Error() string { return c.text }
func (c *concealed) Unwrap() error { return c.error }

// conceal takes secrets out of what a result says. What scripts have printed has been through this with more values before.
func (e *Engine) conceal(d *Deployment, r Result) Result {
	redact := hooks.Redact(e.secrets(d))
	r.Script, r.Message, r.Log = redact(r.Script), redact(r.Message), redact(r.Log)
	if r.Err != nil {
		if was := r.Err.Error(); was != redact(was) {
			r.Err = &concealed{r.Err, redact(was)}
		}
	}
	return r
}

// deploymentVariables are those that the agent alone sets (H-20, H-21), and ownVariables how ours begin.
var deploymentVariables = []string{
	"LIFECYCLE_EVENT", "DEPLOYMENT_ID", "APPLICATION_NAME", "DEPLOYMENT_GROUP_NAME", "DEPLOYMENT_GROUP_ID",
	"BUNDLE_BUCKET", "BUNDLE_KEY", "BUNDLE_VERSION", "BUNDLE_ETAG", "BUNDLE_COMMIT",
}

const ownVariables = "SLIPWAY_"

// environment is what a script sees: the agent's environment without credentials, what env_file sets, then the variables of the deployment
// (H-20, H-21) and our own, which nothing else can set. keep names those of them that sudo has to be told to keep.
func (e *Engine) environment(inherited []string, extra [][2]string, d *Deployment, ev Event, s appspec.Script) (env, keep []string) {
	set := map[string]string{
		"LIFECYCLE_EVENT": string(ev), "DEPLOYMENT_ID": d.ID, "APPLICATION_NAME": d.Application,
		"DEPLOYMENT_GROUP_NAME": d.GroupName, "DEPLOYMENT_GROUP_ID": d.GroupID,
		"SLIPWAY_DEADLINE": time.Now().Add(s.Timeout).UTC().Format(time.RFC3339),
	}
	// A value that the revision does not have removes the variable (H-21).
	unset := map[string]bool{}
	bundleVar := func(name, value string) {
		if value == "" {
			unset[name] = true
			return
		}
		set[name] = value
	}
	switch d.Revision.Type {
	case bundle.S3:
		bundleVar("BUNDLE_BUCKET", d.Revision.S3.Bucket)
		bundleVar("BUNDLE_KEY", d.Revision.S3.Key)
		bundleVar("BUNDLE_VERSION", d.Revision.S3.Version)
		bundleVar("BUNDLE_ETAG", e.etag(d))
	case bundle.GitHub:
		bundleVar("BUNDLE_COMMIT", d.Revision.GitHub.CommitID)
	}
	for _, kv := range extra {
		if slices.Contains(deploymentVariables, kv[0]) || strings.HasPrefix(kv[0], ownVariables) {
			e.log.Warn("env_file sets a variable that the agent alone sets: passed over", zap.String("variable", kv[0]), zap.String("deployment", d.ID))
			continue
		}
		set[kv[0]] = kv[1]
	}
	env = make([]string, 0, len(inherited)+len(set))
	for _, kv := range inherited {
		name, _, _ := strings.Cut(kv, "=")
		if _, ours := set[name]; !ours && !unset[name] {
			env = append(env, kv)
			if strings.HasPrefix(name, ownVariables) {
				keep = append(keep, name)
			}
		}
	}
	for name, value := range set {
		env = append(env, name+"="+strings.ReplaceAll(value, "\x00", ""))
		keep = append(keep, name)
	}
	slices.Sort(keep)
	return env, keep
}

// etag is the one that the specification names, else the one that was downloaded (V-76, V-93).
func (e *Engine) etag(d *Deployment) string {
	if d.Revision.S3.ETag != "" {
		return d.Revision.S3.ETag
	}
	data, err := os.ReadFile(filepath.Join(e.root.deployment(d), etagFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
