package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// load writes the text to a file of that name and loads it with --config.
func load(t *testing.T, name, text string) (*Config, error) {
	t.Helper()
	return Load(LoadOptions{File: put(t, t.TempDir(), name, text)})
}

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func warnings(c *Config) string {
	var lines []string
	for _, w := range c.Warnings {
		lines = append(lines, w.String())
	}
	return strings.Join(lines, "\n")
}

func TestDefaults(t *testing.T) {
	got, err := Load(LoadOptions{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		RootDir: "/opt/codedeploy-agent/deployment-root", LogDir: "/var/log/aws/codedeploy-agent", PIDDir: "/opt/codedeploy-agent/state/.pid",
		ProgramName: "codedeploy-agent", WaitBetweenRuns: time.Second, MaxRevisions: 5,
		OnPremisesConfigFile: "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml", // C-12
		EnableDeploymentsLog: true, OngoingDeploymentTracking: "ongoing-deployment",  // C-16, C-17
		HTTPReadTimeout: 80 * time.Second, TestProfile: "prod", // C-18, C-20e
		EnableArchiveReuse: true, DisableCoreDumps: true, Reject: Reject{PathTraversal: true, SymlinkPermissionTargets: true}, // V-101, V-102
		Trust: Trust{Signer: "integrity", Pins: []string{}}, Listen: "127.0.0.1:8427", Log: Log{Level: "info", Format: "auto"},
		Start: Start{WaitFor: "cloud-init", Wait: 5 * time.Minute}, StopTimeout: 2 * time.Minute, MaxConcurrent: 4,
		Hooks: Hooks{Grace: 5 * time.Second, OpenOutput: "warn", OpenOutputWait: 2 * time.Second, RunAsMode: "setuid", WorkingDirectory: "root", Containment: "auto"},
		Health: Health{
			Path: "/health", Probe: Probe{Status: "200", Timeout: 3 * time.Second, Interval: 5 * time.Second, TCP: []string{}, Command: []string{}}, Rise: 2, Fall: 3, MaxAge: 30 * time.Second,
			Grace: 30 * time.Second, DrainFile: "/run/slipway/drain", DrainOnTermination: true, GateTimeout: time.Minute,
		},
		Limits: Limits{MaxSize: 64 << 30, MaxFiles: 1_000_000, MaxRatio: 1000}, Install: Install{Space: "coexist"},
		OldRevisionHooks: "skip-if-missing", Preflight: Preflight{Mode: "early", Wait: 30 * time.Second},
		Poll: Poll{BackoffMin: time.Second, BackoffMax: 90 * time.Second, DeniedPause: 5 * time.Minute},
		S3:   S3{PartSize: 8 << 20, Concurrency: 5},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
	if got.AllowEnvCredentials() {
		t.Error("credentials of the environment are allowed by default (X-9)")
	}
}

// The layers, each over the one before, and what Explain says of them.
func TestLayers(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/codedeploy-agent/conf/codedeployagent.yml", ":max_revisions: 1\n:http_read_timeout: 1\n:wait_between_runs: 1\n:root_dir: /r1\n:log_dir: /l1\n")
	put(t, root, "etc/slipway/slipway.yml", "max_revisions: 2\nhttp_read_timeout: 2\nwait_between_runs: 2\nroot_dir: /r2\n")
	put(t, root, "etc/slipway/conf.d/10-a.yml", "max_revisions: 3\nhttp_read_timeout: 3\nwait_between_runs: 3\n")
	put(t, root, "etc/slipway/conf.d/20-b.yml", "max_revisions: 4\nhttp_read_timeout: 4\n")
	put(t, root, "etc/slipway/conf.d/.30-c.yml.swp", "broken: [")
	put(t, root, "etc/slipway/conf.d/30-c.yml~", "broken: [")
	put(t, root, "etc/slipway/conf.d/40-d.yaml", "max_revisions: 99\n")
	c, err := Load(LoadOptions{
		Root:    root,
		Environ: []string{"SLIPWAY_MAX_REVISIONS=5", "SLIPWAY_HTTP_READ_TIMEOUT=5", "SLIPWAY_LISTEN=", "SLIPWAY_MAX_REVISON=7", "SLIPWAY_DEADLINE=1", "PATH=/bin"},
		Flags:   map[string]string{"max-revisions": "6"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Setting{}
	for _, s := range c.Explain() {
		got[s.Key] = s
	}
	for key, want := range map[string][2]string{
		"max_revisions":     {"6", "flag --max-revisions"},
		"http_read_timeout": {"5s", "environment SLIPWAY_HTTP_READ_TIMEOUT"},
		"wait_between_runs": {"3s", root + "/etc/slipway/conf.d/10-a.yml:3"},
		"root_dir":          {"/r2", root + "/etc/slipway/slipway.yml:4"},
		"log_dir":           {"/l1", root + "/etc/codedeploy-agent/conf/codedeployagent.yml:5"},
		"log.file":          {"/l1/codedeploy-agent.log", root + "/etc/codedeploy-agent/conf/codedeployagent.yml:5"}, // C-24
		"listen":            {"127.0.0.1:8427", "default"},
	} {
		if got[key].Value != want[0] || got[key].Source != want[1] {
			t.Errorf("%s = %q from %q; want %q from %q", key, got[key].Value, got[key].Source, want[0], want[1])
		}
	}
	if c.MaxRevisions != 6 || c.Log.File != "/l1/codedeploy-agent.log" {
		t.Errorf("config = %+v", c)
	}
	wantWarnings := root + "/etc/slipway/conf.d/40-d.yaml: is not read (its name must end in .yml)\n" +
		"environment SLIPWAY_MAX_REVISON: unknown variable is ignored (did you mean SLIPWAY_MAX_REVISIONS?)"
	if w := warnings(c); w != wantWarnings {
		t.Errorf("warnings = %s", w)
	}
}

func TestFiles(t *testing.T) {
	const strict, lenient = "slipway.yml", "codedeployagent.yml"
	ca := put(t, t.TempDir(), "ca.pem", "")
	tests := []struct {
		name, file, text string
		want             func(c *Config) bool
		warn             string // "" for none
		fails            string // instead of want
	}{
		{"C-1 colon keys", lenient, ":max_revisions: 7\n", func(c *Config) bool { return c.MaxRevisions == 7 }, "", ""},
		{"C-1 plain keys", lenient, "max_revisions: 7\n", func(c *Config) bool { return c.MaxRevisions == 7 }, "", ""},
		{"C-1 any name with colon keys", "mine.yaml", "x: 1\n:max_revisions: 7\n", func(c *Config) bool { return c.MaxRevisions == 7 }, `unknown key "x" is ignored`, ""},
		{"C-34 conf.yml", "conf.yml", "max_revisions: 7\nx: 1\n", func(c *Config) bool { return c.MaxRevisions == 7 }, `unknown key "x" is ignored`, ""},
		{"C-1 last duplicate wins", lenient, ":max_revisions: 7\n:max_revisions: 8\n", func(c *Config) bool { return c.MaxRevisions == 8 }, "", ""},
		{"C-1 last duplicate wins, an empty one too", lenient, ":max_revisions: 7\nmax_revisions:\n", func(c *Config) bool { return c.MaxRevisions == 5 }, "", ""},
		{"C-1 duplicate", strict, "max_revisions: 7\nmax_revisions: 8\n", nil, "", "slipway.yml:2:1: max_revisions is set twice, first on line 1"},
		{"duplicate through a dotted name", strict, "trust: {signer: integrity}\ntrust.signer: integrity\n", nil, "", "trust.signer is set twice"},
		{"C-1 unknown key", lenient, ":max_revisons: 7\n", func(c *Config) bool { return c.MaxRevisions == 5 }, `:1:1: unknown key "max_revisons" is ignored (did you mean max_revisions?)`, ""},
		{"unknown key", strict, "\nmax_revisons: 7\n", nil, "", `slipway.yml:2:1: unknown key "max_revisons"`},
		{"unknown key in a section", strict, "trust:\n  signr: pin\n", nil, "", "did you mean trust.signer?"},
		{"key without its section", strict, "signer: pin\n", nil, "", "did you mean trust.signer?"},
		{"hyphens for underscores", strict, "root-dir: /x\n", nil, "", "did you mean root_dir?"},
		{"nothing like it", strict, "zzzzzzzzzzzz: 1\n", nil, "", `unknown key "zzzzzzzzzzzz"`},
		{"C-1 empty", lenient, "", nil, "", "codedeployagent.yml: is empty"},
		{"C-1 only a marker", lenient, "---\n", nil, "", "is empty"},
		{"empty of ours", strict, "# all comments\n", func(c *Config) bool { return c.MaxRevisions == 5 }, "", ""},
		{"C-1 not a map", lenient, "- a\n", nil, "", "codedeployagent.yml:1:1: the file must hold keys and values"},
		{"not a map", strict, "hello\n", nil, "", "slipway.yml:1:1: the file must hold keys and values"},
		{"C-1 not YAML", lenient, ":a: [\n", nil, "", "is not YAML"},
		{"tab", strict, "trust:\n\tsigner: pin\n", nil, "", "slipway.yml:2:1: is not YAML"},
		{"first document only", lenient, ":max_revisions: 7\n---\n:max_revisions: 8\n", func(c *Config) bool { return c.MaxRevisions == 7 }, "", ""},
		{"two documents", strict, "max_revisions: 7\n---\nmax_revisions: 8\n", nil, "", "slipway.yml:3:1: a second document"},
		{"BOM and CRLF", strict, "\xef\xbb\xbfmax_revisions: 7\r\nlog_dir: /x\r\n", func(c *Config) bool { return c.MaxRevisions == 7 && c.LogDir == "/x" }, "", ""},
		{"section is a text", strict, "trust: pin\n", nil, "", "trust is a section"},
		{"text is a section", strict, "root_dir: {a: b}\n", nil, "", "root_dir is a path, not a section"},
		{"text is a list", strict, "root_dir: [a]\n", nil, "", "root_dir is a path, not a list"},
		{"empty section", strict, "trust:\n", func(c *Config) bool { return c.Trust.Signer == "integrity" }, "", ""},
		{"key is a list", strict, "? [a]\n: b\n", nil, "", "a key must be a text"},
		{"our sections in the reference agent's file", lenient, ":max_revisions: 7\ntrust: {signer: ca, ca_file: " + ca + "}\n", func(c *Config) bool { return c.Trust.Signer == "ca" }, "", ""},
		{"alias", strict, "root_dir: &d /x\nlog_dir: *d\ntrust: &t\n  pins: []\n", func(c *Config) bool { return c.LogDir == "/x" }, "", ""},
		{"alias to itself", strict, "health: &h\n  probe: *h\n", nil, "", "unknown key"},

		{"C-3 relative root_dir", lenient, ":root_dir: x\n", func(c *Config) bool { return filepath.IsAbs(c.RootDir) && filepath.Base(c.RootDir) == "x" }, "", ""},
		{"C-4 slash at the end", lenient, ":pid_dir: '/run/p/'\n:log_dir: logs/\n", func(c *Config) bool { return c.PIDDir == "/run/p" && filepath.IsAbs(c.LogDir) }, "", ""},
		{"C-5", lenient, ":program_name: agent2\n", func(c *Config) bool { return c.ProgramName == "agent2" }, "", ""},
		{"C-5 with a slash", lenient, ":program_name: a/b\n", nil, "", `"a/b" is not a file name`},
		{"C-6", lenient, ":verbose: true\n", func(c *Config) bool { return c.Verbose && c.Log.Level == "debug" }, "", ""},
		{"C-6 log.level says otherwise", strict, "verbose: true\nlog: {level: warn}\n", func(c *Config) bool { return c.Log.Level == "warn" }, "", ""},
		{"C-6 Ruby's truth", lenient, ":verbose: 1\n", func(c *Config) bool { return c.Verbose }, `"1" is taken for true`, ""},
		{"C-6 YAML 1.1", lenient, ":verbose: no\n:enable_auth_policy: On\n", func(c *Config) bool { return !c.Verbose && c.EnableAuthPolicy }, "", ""},
		{"bool is a number", strict, "verbose: 1\n", nil, "", "slipway.yml:1:10: verbose must be true or false"},
		{"C-7", lenient, ":wait_between_runs: 30\n", func(c *Config) bool { return c.WaitBetweenRuns == 30*time.Second }, "", ""},
		{"C-7 quoted", lenient, ":wait_between_runs: '3'\n", func(c *Config) bool { return c.WaitBetweenRuns == 3*time.Second }, "", ""},
		{"C-7 to integer", lenient, ":wait_between_runs: 1.9\n", func(c *Config) bool { return c.WaitBetweenRuns == time.Second }, "taken for 1 seconds", ""},
		{"C-7 to integer, words", lenient, ":wait_between_runs: soon\n", func(c *Config) bool { return c.WaitBetweenRuns == 0 }, "taken for 0 seconds", ""},
		{"C-7 to integer, digits in front", lenient, ":wait_between_runs: 5 seconds\n", func(c *Config) bool { return c.WaitBetweenRuns == 5*time.Second }, "taken for 5 seconds", ""},
		{"C-7 negative", lenient, ":wait_between_runs: -1\n", nil, "", "wait_between_runs must be"},
		{"C-7 far too large", lenient, ":wait_between_runs: 99999999999999999999\n", nil, "", "wait_between_runs is too large"},
		{"C-7 words", strict, "wait_between_runs: soon\n", nil, "", "not a duration"},
		{"C-8", lenient, ":max_revisions: '3'\n", func(c *Config) bool { return c.MaxRevisions == 3 }, "", ""},
		{"C-8 X-36 zero", lenient, ":max_revisions: 0\n", nil, "", "codedeployagent.yml:1:17: max_revisions must be an integer, at least 1, not 0"},
		{"C-8 X-36 words", lenient, ":max_revisions: many\n", nil, "", `max_revisions must be an integer, at least 1, not "many"`},
		{"C-8 X-36 fraction", lenient, ":max_revisions: 2.5\n", nil, "", "max_revisions must be"},
		{"C-8 none", lenient, ":max_revisions:\n", func(c *Config) bool { return c.MaxRevisions == 5 }, "", ""},
		{"C-9", lenient, ":proxy_uri: http://u:p@proxy:3128\n", func(c *Config) bool { return c.ProxyURI == "http://u:p@proxy:3128" }, "", ""},
		{"C-9 none", lenient, ":proxy_uri: ''\n", func(c *Config) bool { return c.ProxyURI == "" }, "", ""},
		{"C-9 not a URL", lenient, ":proxy_uri: proxy:3128\n", nil, "", "proxy_uri is not a URL"},
		{"C-10", lenient, ":log_aws_wire: true\n", func(*Config) bool { return true }, "log_aws_wire has no effect", ""},
		{"C-11", lenient, ":disable_imds_v1: true\n", func(c *Config) bool { return c.DisableIMDSv1 && !c.IMDS.AllowV1 }, "", ""},
		{"C-11 false allows nothing", lenient, ":disable_imds_v1: false\n", func(c *Config) bool { return !c.IMDS.AllowV1 }, "", ""},
		{"C-11 true wins", lenient, ":disable_imds_v1: true\nimds: {allow_v1: true}\n", func(c *Config) bool { return !c.IMDS.AllowV1 }, "imds.allow_v1 has no effect", ""},
		{"C-12", lenient, ":on_premises_config_file: /o.yml\n", func(c *Config) bool { return c.OnPremisesConfigFile == "/o.yml" }, "", ""},
		{"C-13", lenient, ":deploy_control_endpoint: http://127.0.0.1:1\n:s3_endpoint_override: ''\n", func(c *Config) bool {
			return c.DeployControlEndpoint == "http://127.0.0.1:1" && c.S3EndpointOverride == ""
		}, "", ""},
		{"C-13 password", lenient, ":deploy_control_endpoint: http://u:swordfish@example.com\n", func(c *Config) bool {
			return len(c.Warnings) == 1 && !strings.Contains(c.Warnings[0].Error(), "swordfish")
		}, "not encrypted: http://u:xxxxx@example.com", ""},
		{"C-13 V-6 cleartext", lenient, ":deploy_control_endpoint: http://example.com\n", func(*Config) bool { return true }, "deploy_control_endpoint is not encrypted", ""},
		{"C-13 V-6 no scheme", lenient, ":deploy_control_endpoint: example.com\n", nil, "", "must begin with http:// or https://"},
		{"C-14 C-15", lenient, ":enable_auth_policy: true\n:use_fips_mode: true\n", func(c *Config) bool { return c.EnableAuthPolicy && c.UseFIPSMode }, "", ""},
		{"C-16 C-17 C-18", lenient, ":enable_deployments_log: false\n:ongoing_deployment_tracking: t\n:http_read_timeout: 5\n", func(c *Config) bool {
			return !c.EnableDeploymentsLog && c.OngoingDeploymentTracking == "t" && c.HTTPReadTimeout == 5*time.Second
		}, "", ""},
		{"C-19", lenient, ":kill_agent_max_wait_time_seconds: 60\n", func(*Config) bool { return true }, "stop_timeout rules", ""},
		{"C-20", lenient, ":children: '1'\n", func(*Config) bool { return true }, "", ""},
		{"C-20 two", lenient, ":children: 2\n", nil, "", "children must be an integer from 1 to 1, not 2"},
		{"C-20a", lenient, ":max_runs_per_worker: 0\n", func(*Config) bool { return true }, "", ""},
		{"C-20a another", lenient, ":max_runs_per_worker: 3\n", func(*Config) bool { return true }, "max_runs_per_worker has no effect", ""},
		{"C-20b C-20c defaults", lenient, ":wait_between_spawning_children: 1\n:wait_after_throttle_error: 60\n:wait_after_connection_problem: 5\n:wait_after_error: 30\n", func(*Config) bool { return true }, "", ""},
		{"C-20d", lenient, ":user: codedeploy\n", func(*Config) bool { return true }, "set User= in the service unit", ""},
		{"C-20e", lenient, ":codedeploy_test_profile: :BETA\n", func(c *Config) bool { return c.TestProfile == "beta" && c.AllowEnvCredentials() }, "", ""},
		{"C-20f", lenient, ":use_mock_command_service: true\n", func(c *Config) bool { return c.UseMockCommandService }, "", ""},
		{"C-20g", lenient, ":plugins: ['codedeploy']\n", func(*Config) bool { return true }, "", ""},
		{"C-20h", lenient, ":shared_dir: /x\n", func(*Config) bool { return true }, "shared_dir has no effect", ""},

		{"V-101 V-102", strict, "enable_archive_reuse: false\ndisable_core_dumps: false\n", func(c *Config) bool { return !c.EnableArchiveReuse && !c.DisableCoreDumps }, "", ""},
		{"V-103", strict, "enable_command_port: true\n", func(*Config) bool { return true }, "there is no command port", ""},
		{"V-104", strict, "archive_max_extraction_size: 10 mb\n", func(c *Config) bool { return c.Limits.MaxSize == 10_000_000 }, "", ""},
		{"V-104 fraction", strict, "archive_max_extraction_size: 1.5GB\n", nil, "", "is not a size"},
		{"V-105", strict, "reject_symlinks_in_bundle: true\n", func(c *Config) bool { return c.Reject.Symlinks }, "", ""},
		{"V-106 is always on", strict, "reject_path_traversal_in_bundle: true\n", func(c *Config) bool { return c.Reject.PathTraversal }, "", ""},
		{"V-107 V-108 V-109", strict, "reject_unsafe_permissions_in_bundle: true\nreject_unconfined_selinux_in_bundle: true\nreject_symlink_permission_targets: true\n", func(c *Config) bool {
			return c.Reject.UnsafePermissions && c.Reject.UnconfinedSELinux && c.Reject.SymlinkPermissionTargets
		}, "", ""},
		{"V-110 V-111", strict, "ignore_ownership_in_bundle: true\nrestrict_agent_dir_permissions: true\nrestrict_log_dir_permissions: true\n", func(c *Config) bool {
			return c.IgnoreOwnershipInBundle && c.RestrictAgentDirs && c.RestrictLogDir
		}, "", ""},
		{"V-112 V-113", strict, "restrict_hook_env_to_allowlist: true\nstrip_loader_env_in_hooks: true\n", func(c *Config) bool { return c.RestrictHookEnv && c.StripLoaderEnv }, "", ""},
		{"V-114", strict, "disable_powershell_profile_in_hooks: true\n", func(*Config) bool { return true }, "Windows only", ""},
		{"V-116", strict, "ssl_verify_peer: false\n", func(*Config) bool { return true }, "always verified", ""},

		{"trust.signer", strict, "trust: {signer: pins}\n", nil, "", "did you mean pin?"},
		{"ca without its file", strict, "trust: {signer: ca}\n", nil, "", "slipway.yml:1: trust.signer is ca, but trust.ca_file is not set"},
		{"ca with a missing file", strict, "trust: {signer: ca, ca_file: /does/not/exist}\n", nil, "", "trust.ca_file cannot be read"},
		{"pin without pins", strict, "trust: {signer: pin}\n", nil, "", "trust.pins is empty"},
		{"pin malformed", strict, "trust: {signer: pin, pins: [abc]}\n", nil, "", "64 hexadecimal digits"},
		{"duration without unit", strict, "stop_timeout: 30\n", nil, "", "write 30s"},
		{"duration out of range", strict, "hooks: {grace: 11m}\n", nil, "", "hooks.grace must be a duration from 0s to 10m, not 11m"},
		{"integer out of range", strict, "max_concurrent: 0\n", nil, "", "max_concurrent must be an integer from 1 to 64, not 0"},
		{"listen", strict, "listen: 8427\n", nil, "", "write host:port or off"},
		{"listen off", strict, "listen: off\n", func(c *Config) bool { return c.Listen == "" }, "", ""},
		{"health.path taken", strict, "health: {path: /metrics}\n", nil, "", "taken by the agent itself"},
		{"statuses", strict, "health: {probe: {status: '200,300-250'}}\n", nil, "", "write status codes"},
		{"gate without a probe", strict, "health: {gate: true}\n", nil, "", "health.gate is true, but nothing is probed"},
		{"probe of no address", strict, "health: {probe: {tcp: [db]}}\n", nil, "", "write host:port, not \"db\""},
		{"results always too old", strict, "health: {max_age: 1s, probe: {url: 'http://x'}}\n", nil, "", "every result would be too old"},
		{"backoff upside down", strict, "poll: {backoff_min: 2m}\n", nil, "", "less than poll.backoff_min"},
		{"empty where it cannot be", strict, "root_dir: ''\n", nil, "", "root_dir must not be empty"},
		{"C-3 empty in the reference agent's file", lenient, ":root_dir: ''\n", func(c *Config) bool { return c.RootDir == "/opt/codedeploy-agent/deployment-root" }, "", ""},
		{"credentials.allow_environment", strict, "credentials: {allow_environment: true}\n", func(c *Config) bool { return c.AllowEnvCredentials() }, "", ""},
		{"hooks.env_file", strict, "hooks: {env_file: '-/etc/slipway/{application}/{group}.env'}\n", func(c *Config) bool { return c.Hooks.EnvFile == "-/etc/slipway/{application}/{group}.env" }, "", ""},
		{"hooks.env_file relative", strict, "hooks: {env_file: env}\n", nil, "", "no absolute path"},
		{"hooks.env_file placeholder", strict, "hooks: {env_file: '/x/{id}'}\n", nil, "", "another placeholder"},
		{"hooks.working_directory", strict, "hooks: {working_directory: archive}\n", func(c *Config) bool { return c.Hooks.WorkingDirectory == "archive" }, "", ""},
		{"log.file off", strict, "log_dir: /x\nlog: {file: off}\n", func(c *Config) bool { return c.Log.File == "" }, "", ""},
		{"log.file", strict, "log: {file: /x/y.log}\n", func(c *Config) bool { return c.Log.File == "/x/y.log" }, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, tt.file, tt.text)
			if tt.fails != "" {
				e, ok := errors.AsType[*InvalidError](err)
				if !ok || !strings.Contains(err.Error(), tt.fails) || len(e.Problems) != 1 {
					t.Fatalf("Load() = %v, want one problem with %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !tt.want(c) {
				t.Errorf("config = %+v", c)
			}
			w := warnings(c)
			// What this version does not enforce yet is told; the table above is about the values.
			if strings.Contains(w, "has no effect: this version") {
				return
			}
			if (w != "") != (tt.warn != "") || !strings.Contains(w, tt.warn) {
				t.Errorf("warnings = %q, want %q", w, tt.warn)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	path := put(t, t.TempDir(), "slipway.yml", "trust:\n  signr: pin\nproxy_uri: http://u:hunter2@h:x/\nlog: {level: inof}\n")
	_, err := Load(LoadOptions{
		File: path, Environ: []string{"SLIPWAY_HOOKS_GRACE=fast"}, Flags: map[string]string{"root-dri": "/x"},
	})
	want := strings.ReplaceAll(`FILE:2:3: unknown key "trust.signr"
    2 |   signr: pin
      |   ^^^^^ did you mean trust.signer?
FILE:3:12: proxy_uri is not a URL: invalid port ":x" after host (write http://host:port or https://host)
FILE:4:14: log.level must be one of debug, info, warn, error, not "inof"
    4 | log: {level: inof}
      |              ^^^^ did you mean info?
environment SLIPWAY_HOOKS_GRACE: hooks.grace is not a duration: "fast" (write 30s or 2m)
flag --root-dri: unknown key (did you mean root-dir?)`, "FILE", path)
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("Load() error mismatch (-want +got):\n%s", diff)
	}
	if p, ok := errors.AsType[Problem](err); !ok || p.Line != 2 || p.Key != "trust.signr" {
		t.Errorf("first problem = %+v", p)
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{dir + "/none.yml": "no such file", dir: "not a regular file"} {
		_, err := Load(LoadOptions{File: name})
		if _, ok := errors.AsType[*InvalidError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s) = %v, want %q", name, err, want)
		}
	}
	put(t, dir, "big.yml", strings.Repeat("# padding\n", maxFileSize/10+1))
	if _, err := Load(LoadOptions{File: dir + "/big.yml"}); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("a huge file: %v", err)
	}
	// A dangling link at a default path is a mistake, not an absence.
	root := t.TempDir()
	put(t, root, "etc/codedeploy-agent/conf/x", "")
	if err := os.Symlink("gone", root+"/etc/codedeploy-agent/conf/codedeployagent.yml"); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(LoadOptions{Root: root}); err == nil || !strings.Contains(err.Error(), "codedeployagent.yml: cannot be read") {
		t.Errorf("a dangling link: %v", err)
	}
}

// C-2: the fall-back file counts only where the first is absent.
func TestFallbackFile(t *testing.T) {
	root := t.TempDir()
	put(t, root, "opt/codedeploy-agent/conf/codedeployagent.yml", ":max_revisions: 2\n:root_dir: /fallback\n")
	c, err := Load(LoadOptions{Root: root})
	if err != nil || c.RootDir != "/fallback" {
		t.Fatalf("fall-back not read: %v, %v", c, err)
	}
	put(t, root, "etc/codedeploy-agent/conf/codedeployagent.yml", ":max_revisions: 3\n")
	c, err = Load(LoadOptions{Root: root})
	if err != nil || c.MaxRevisions != 3 || c.RootDir == "/fallback" {
		t.Errorf("fall-back read beside the first: %+v, %v", c, err)
	}
}

// --config FILE replaces the default files, and brings its conf.d if it is a slipway.yml.
func TestNamedFile(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/slipway/slipway.yml", "max_revisions: 9\n")
	named := put(t, root, "x/slipway.yml", "max_revisions: 2\n")
	put(t, root, "x/conf.d/a.yml", "max_concurrent: 7\n")
	other := put(t, root, "x/other.yml", "max_revisions: 3\n")
	c, err := Load(LoadOptions{File: named, Root: root})
	if err != nil || c.MaxRevisions != 2 || c.MaxConcurrent != 7 {
		t.Errorf("slipway.yml: %+v, %v", c, err)
	}
	c, err = Load(LoadOptions{File: other, Root: root})
	if err != nil || c.MaxRevisions != 3 || c.MaxConcurrent != 4 {
		t.Errorf("other.yml: %+v, %v", c, err)
	}
}

// The file that the reference agent ships loads without a word.
func TestShippedReferenceFile(t *testing.T) {
	c, err := Load(LoadOptions{File: "testdata/codedeployagent.yml"})
	if err != nil || len(c.Warnings) > 0 {
		t.Errorf("Load() = %v, warnings %v", err, c.Warnings)
	}
}

func TestEnvironment(t *testing.T) {
	// Every key has a variable of its own, and none is taken twice.
	seen := map[string]string{}
	for _, k := range Reference() {
		if other, twice := seen[k.Env]; twice {
			t.Errorf("%s belongs to %s and %s", k.Env, other, k.Name)
		}
		seen[k.Env] = k.Name
	}
	ca := put(t, t.TempDir(), "ca.pem", "")
	env := map[string]string{"SLIPWAY_TRUST_SIGNER": "ca", "SLIPWAY_TRUST_CA_FILE": ca, "SLIPWAY_TRUST_PINS": strings.Repeat("a", 64) + ", " + strings.Repeat("B", 64)}
	c, err := Load(LoadOptions{Root: t.TempDir(), Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	want := Trust{Signer: "ca", CAFile: ca, Pins: []string{strings.Repeat("a", 64), strings.Repeat("b", 64)}}
	if diff := cmp.Diff(want, c.Trust); diff != "" {
		t.Errorf("trust mismatch (-want +got):\n%s", diff)
	}
}

func TestBytes(t *testing.T) { // V-104
	for text, want := range map[string]Bytes{
		"0": 0, "123": 123, "5B": 5, "1KB": 1000, "2 mb": 2e6, "3Gb": 3e9, "4TB": 4e12, "1KiB": 1024, "1mib": 1 << 20, "1GIB": 1 << 30, "8TiB": 8 << 40,
		"9223372036854775807": 1<<63 - 1,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
		if back, err := ParseBytes(want.String()); err != nil || back != want {
			t.Errorf("%d is written %q, which reads %d, %v", want, want, back, err)
		}
	}
	for _, text := range []string{"", "B", "1.5GB", "-1", "1K", "1 XB", "1PB", "9223372036854775808", "9223372036854776KB", "8388608TiB", "0x10", "1_000"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	o := LoadOptions{File: "testdata/everything.yml", Environ: os.Environ()}
	for b.Loop() {
		if _, err := Load(o); err != nil {
			b.Fatal(err)
		}
	}
}

// L-12: the named file is laid over the default files, which do not matter where they are wrong.
func TestUnder(t *testing.T) {
	root := t.TempDir()
	put(t, root, referenceFile, ":root_dir: /default/root\n:log_dir: /default/log\n")
	named := put(t, root, "T.yml", ":root_dir: /named/root\n")
	load := func(o LoadOptions) *Config {
		t.Helper()
		c, err := Load(o)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := load(LoadOptions{File: named, Under: true, Root: root}); c.RootDir != "/named/root" || c.LogDir != "/default/log" {
		t.Errorf("root_dir %s, log_dir %s", c.RootDir, c.LogDir)
	}
	if c := load(LoadOptions{File: named, Root: root}); c.LogDir == "/default/log" {
		t.Error("the default file counts where it was not asked for")
	}
	if c := load(LoadOptions{Under: true, Root: root}); c.RootDir != "/default/root" {
		t.Errorf("without a name: root_dir %s", c.RootDir)
	}
	put(t, root, referenceFile, ":root_dir: [\n")
	if c := load(LoadOptions{File: named, Under: true, Root: root}); c.RootDir != "/named/root" || c.LogDir == "/default/log" {
		t.Errorf("over a broken file: root_dir %s, log_dir %s", c.RootDir, c.LogDir)
	}
	if _, err := Load(LoadOptions{File: filepath.Join(root, "none"), Under: true, Root: root}); err == nil {
		t.Error("a named file that is missing is passed over")
	}
}
