package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway/agent/config"
	"slipway/agent/identity"
)

// credentialVariables hold credentials: no script gets them (X-8, V-76), and their values are in no log.
var credentialVariables = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ACCESS_KEY", "AWS_SECRET_KEY",
	"AMAZON_ACCESS_KEY_ID", "AMAZON_SECRET_ACCESS_KEY", "AMAZON_SESSION_TOKEN", gitHubTokenVariable,
}

// notForHooks are other variables of the agent that no script gets: where credentials are, and what systemd tells the service itself.
var notForHooks = []string{
	"AWS_CREDENTIAL_FILE", "AWS_CREDENTIALS_FILE",
	"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "SYSTEMD_EXEC_PID",
}

// loaderVariables change what programs load (V-113).
var loaderVariables = []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"}

// allowed is all that scripts inherit under restrict_hook_env_to_allowlist (V-112).
var allowed = []string{"PATH", "HOME", "USER"}

// hookEnvironment is the part of the agent's environment that scripts inherit, and what they may know of this host.
func hookEnvironment(environ []string, c *config.Config, who *identity.Identity) []string {
	var env []string
	for _, kv := range environ {
		name, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok || name == "", slices.Contains(notForHooks, name), slices.Contains(credentialVariables, name), strings.HasPrefix(name, "SLIPWAY_"):
		case c.RestrictHookEnv && !slices.Contains(allowed, name):
		case c.StripLoaderEnv && slices.Contains(loaderVariables, name):
		default:
			env = append(env, kv)
		}
	}
	if who != nil {
		env = append(env, "SLIPWAY_REGION="+who.Region)
		if who.InstanceID != "" {
			env = append(env, "SLIPWAY_INSTANCE_ID="+who.InstanceID)
		}
	}
	return env
}

// agentVersion is what the agent says it is to the service. Beside an official agent's .version file, which the service's fleet view
// knows, that text is kept (P-14, V-100); without one it is our own.
func (p *program) agentVersion(root string) string {
	for _, name := range []string{filepath.Join(filepath.Dir(root), ".version"), "/opt/codedeploy-agent/.version"} {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		text := string(data)
		if i := strings.LastIndex(text, ": "); i >= 0 {
			text = text[i+2:]
		}
		if text = strings.TrimSpace(text); text != "" {
			return text
		}
	}
	return "SLIPWAY_" + buildVersion()
}
