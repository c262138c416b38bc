package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"slipway/agent/config"
	"slipway/lifecycle"
)

// Services is what is asked of the service manager of the host.
type Services interface {
	Running(ctx context.Context, name string) (bool, error)
	Start(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
}

// Migration takes a host over from the official agent, or gives it back.
type Migration struct {
	Top      string // "/" outside tests
	RootDir  string // the deployment root, which both agents share as it stands
	Tracking string // its folder of the official agent's commands in hand (C-17)
	Services Services
	// Profile returns the variables that a login shell exports, which the official agent's unit hands to it, and with it to hooks (C-31).
	Profile func(ctx context.Context) ([]string, error)
	// Waiting tells a command of ours that is in hand, "" for none. It is asked before a host is given back.
	Waiting func() (string, error)
}

// Step is one thing that a migration does. Steps are carried out in order, and each may be repeated.
type Step struct {
	What string // what it does, in one line
	do   func(ctx context.Context) error
}

// Note reports whether the step does nothing: it tells a person something.
func (s Step) Note() bool { return s.do == nil }

// Do carries the step out.
func (s Step) Do(ctx context.Context) error {
	if s.do == nil {
		return nil
	}
	if err := s.do(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.What, err)
	}
	return nil
}

// Names of the official agent, and what is kept of it.
const (
	officialService = "codedeploy-agent"
	ourService      = "slipway"
	officialConfig  = "etc/codedeploy-agent/conf/codedeployagent.yml"
	keptConfig      = "etc/slipway/official/codedeployagent.yml"

	officialConfigFallback = "opt/codedeploy-agent/conf/codedeployagent.yml" // C-2
)

// environmentFiles are those that the unit reads, by family of distribution: the first folder that there is.
func (m *Migration) environmentFile() string {
	for _, dir := range []string{"etc/sysconfig", "etc/default"} {
		if info, err := os.Stat(m.path(dir)); err == nil && info.IsDir() {
			return filepath.Join(dir, ourService)
		}
	}
	return filepath.Join("etc/default", ourService)
}

func (m *Migration) path(name string) string { return filepath.Join(m.Top, name) }

// traces are what the official agent's package, or an earlier migration, has left on the host, each of which alone says that it is or was there.
func (m *Migration) traces() []string {
	return []string{
		officialConfig, officialConfigFallback, keptConfig, "opt/codedeploy-agent/bin/codedeploy-agent", "etc/init.d/" + officialService,
		"etc/systemd/system/" + officialService + ".service", "usr/lib/systemd/system/" + officialService + ".service", "lib/systemd/system/" + officialService + ".service",
	}
}

// official reports whether there is anything to take over. What an earlier migration has written to the environment file counts.
func (m *Migration) official(running bool) bool {
	if running || len(m.links(officialService)) > 0 || slices.ContainsFunc(m.traces(), func(name string) bool { return exists(m.path(name)) }) {
		return true
	}
	data, err := os.ReadFile(m.path(m.environmentFile()))
	return err == nil && strings.Contains(string(data), blockBegin)
}

// Forth is the way from the official agent: the steps that are left to do. Where that agent is not and never was, a note says so, and what is left is
// to enable and start ours. lifecycle.ErrInHand: that agent has a command in hand.
func (m *Migration) Forth(ctx context.Context) ([]Step, error) {
	if name, err := m.fresh(); err != nil || name != "" {
		if err == nil {
			err = fmt.Errorf("%w: the official agent is at %s: wait for its end, or stop the deployment", lifecycle.ErrInHand, name)
		}
		return nil, err
	}
	running, err := m.Services.Running(ctx, officialService)
	if err != nil {
		return nil, fmt.Errorf("look whether %s runs: %w", officialService, err)
	}
	if !m.official(running) {
		note := Step{What: fmt.Sprintf("nothing to take over: the official agent is not on this host (no %s.service, no /%s, nothing in /opt/codedeploy-agent/bin)", officialService, officialConfig)}
		return append([]Step{note}, m.install(ctx, ourService)...), nil
	}
	steps, err := m.retire(ctx, officialService)
	if err != nil {
		return nil, err
	}
	kept, err := m.keepConfig()
	if err != nil {
		return nil, err
	}
	environment, err := m.takeEnvironment(ctx)
	if err != nil {
		return nil, err
	}
	return append(append(append(steps, kept...), environment...), m.install(ctx, ourService)...), nil
}

// Back is the way to the official agent. lifecycle.ErrInHand: a command of ours is in hand.
func (m *Migration) Back(ctx context.Context) ([]Step, error) {
	switch what, err := m.Waiting(); {
	case err != nil:
		return nil, err
	case what != "":
		return nil, fmt.Errorf("%w: %s: wait for its end", lifecycle.ErrInHand, what)
	}
	steps, err := m.retire(ctx, ourService)
	if err != nil {
		return nil, err
	}
	if kept, err := os.ReadFile(m.path(keptConfig)); err == nil && !exists(m.path(officialConfig)) && !exists(m.path(officialConfigFallback)) {
		steps = append(steps, Step{"restore /" + officialConfig + " as it was", func(context.Context) error { return m.write(officialConfig, kept, 0o644) }})
	}
	name := m.environmentFile()
	if before, err := os.ReadFile(m.path(name)); err == nil {
		if after := withoutBlock(string(before)); after != string(before) {
			steps = append(steps, Step{"remove the variables of /etc/profile from /" + name, func(context.Context) error { return m.write(name, []byte(after), 0o644) }})
		}
	}
	return append(steps, m.install(ctx, officialService)...), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// trackingLife is how long the official agent itself believes a tracking file (P-86).
const trackingLife = 24 * time.Hour

// fresh names a deployment that the official agent has in hand.
func (m *Migration) fresh() (string, error) {
	entries, err := os.ReadDir(filepath.Join(m.RootDir, m.Tracking))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look what the official agent has in hand: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) < trackingLife {
			return e.Name(), nil
		}
	}
	return "", nil
}

// links are what makes systemd start a service at boot.
func (m *Migration) links(service string) []string {
	found, err := filepath.Glob(m.path("etc/systemd/system/*.wants/" + service + ".service"))
	if err != nil {
		return nil // the top has a name that is a pattern
	}
	return found
}

// retire stops a service and keeps it from the next boot.
func (m *Migration) retire(ctx context.Context, service string) ([]Step, error) {
	var steps []Step
	running, err := m.Services.Running(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("look whether %s runs: %w", service, err)
	}
	if running {
		steps = append(steps, Step{"stop " + service, func(ctx context.Context) error { return m.Services.Stop(ctx, service) }})
	}
	if links := m.links(service); len(links) > 0 {
		steps = append(steps, Step{"disable " + service, func(context.Context) error {
			var errs []error
			for _, l := range links {
				errs = append(errs, os.Remove(l))
			}
			return errors.Join(errs...)
		}})
	}
	return steps, nil
}

// install enables and starts a service, if its unit is there.
func (m *Migration) install(ctx context.Context, service string) []Step {
	var unit string
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		if path := filepath.Join(dir, service+".service"); unit == "" && exists(m.path(path)) {
			unit = "/" + path
		}
	}
	if unit == "" {
		return []Step{{What: fmt.Sprintf("left to you: install the package of %s, whose unit is not here; it then starts with systemctl enable --now %s", service, service)}}
	}
	var steps []Step
	if len(m.links(service)) == 0 {
		steps = append(steps, Step{"enable " + service, func(context.Context) error {
			link := m.path("etc/systemd/system/multi-user.target.wants/" + service + ".service")
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				return err
			}
			return os.Symlink(unit, link)
		}})
	}
	if running, err := m.Services.Running(ctx, service); err == nil && !running {
		steps = append(steps, Step{"start " + service, func(ctx context.Context) error { return m.Services.Start(ctx, service) }})
	}
	return steps
}

// keepConfig keeps a copy of the official agent's file, whose package may take it along: see config.KeptReferenceFile.
func (m *Migration) keepConfig() ([]Step, error) {
	name := officialConfig
	if !exists(m.path(name)) {
		name = officialConfigFallback
	}
	data, err := os.ReadFile(m.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the official agent's configuration: %w", err)
	}
	if _, err := config.Load(config.LoadOptions{File: m.path(name)}); err != nil {
		return nil, fmt.Errorf("the official agent's configuration cannot be taken over: %w", err)
	}
	if now, err := os.ReadFile(m.path(keptConfig)); err == nil && bytes.Equal(now, data) {
		return nil, nil
	}
	return []Step{{"keep a copy of /" + name + ", for when its package is removed", func(context.Context) error { return m.write(keptConfig, data, 0o644) }}}, nil
}

// Marks around what is ours in the environment file.
const (
	blockBegin = "# What /etc/profile exports, which the official agent's hooks had: taken over by slipway migrate.\n"
	blockEnd   = "# End of what slipway migrate took over.\n"
)

func withoutBlock(text string) string {
	before, rest, ok := strings.Cut(text, blockBegin)
	_, after, ok2 := strings.Cut(rest, blockEnd)
	if !ok || !ok2 {
		return text
	}
	return before + after
}

// takeEnvironment writes what /etc/profile exports to the file that the unit reads.
func (m *Migration) takeEnvironment(ctx context.Context) ([]Step, error) {
	exported, err := m.Profile(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask /etc/profile for the environment of hooks: %w", err)
	}
	name := m.environmentFile()
	before, err := os.ReadFile(m.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the environment of the service: %w", err)
	}
	after := withoutBlock(string(before))
	if len(exported) > 0 {
		if after != "" && !strings.HasSuffix(after, "\n") {
			after += "\n"
		}
		after += blockBegin
		slices.Sort(exported)
		for _, kv := range exported {
			key, value, _ := strings.Cut(kv, "=")
			if !strings.ContainsAny(value, "\n\x00") {
				after += key + "=" + quoted(value) + "\n"
			}
		}
		after += blockEnd
	}
	if after == string(before) {
		return nil, nil
	}
	what := fmt.Sprintf("write %d variables that /etc/profile exports to /%s", len(exported), name)
	if len(exported) == 1 {
		what = "write the variable that /etc/profile exports to /" + name
	}
	return []Step{{what, func(context.Context) error { return m.write(name, []byte(after), 0o644) }}}, nil
}

// quoted is a value as systemd reads it from an environment file.
func quoted(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", "$", `\$`).Replace(value) + `"`
}

func (m *Migration) write(name string, data []byte, mode os.FileMode) error {
	path := m.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, data, mode, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
}
