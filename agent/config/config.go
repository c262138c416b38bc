package config

import "time"

// Bytes is an amount of storage. Zero means that there is no limit where it bounds something.
type Bytes int64

// Config is the whole configuration of the agent, validated and complete: every field holds its default
// unless a layer said otherwise. Reload makes a new value; a Config is never changed after Load.
type Config struct {
	// What the reference agent knows too, by its names (C-3 to C-20, V-101 to V-114).

	RootDir                   string        // root_dir: deployment root, absolute (I-1)
	LogDir                    string        // log_dir: absolute (C-4)
	PIDDir                    string        // pid_dir: absolute (C-4)
	ProgramName               string        // program_name: names of log and pid file (C-5)
	Verbose                   bool          // verbose: log level debug unless log.level says otherwise (C-6)
	WaitBetweenRuns           time.Duration // wait_between_runs: pause after a poll that brought nothing (C-7)
	MaxRevisions              int           // max_revisions: at least 1 (C-8)
	ProxyURI                  string        // proxy_uri: proxy of command service, S3 and GitHub; may hold a password (C-9)
	OnPremisesConfigFile      string        // on_premises_config_file (C-12)
	DeployControlEndpoint     string        // deploy_control_endpoint (C-13, P-3)
	S3EndpointOverride        string        // s3_endpoint_override (C-13, I-12)
	EnableAuthPolicy          bool          // enable_auth_policy: the secure door and its API model (C-14, P-11)
	UseFIPSMode               bool          // use_fips_mode (C-15)
	DisableIMDSv1             bool          // disable_imds_v1; already taken into account in IMDS.AllowV1 (C-11)
	EnableDeploymentsLog      bool          // enable_deployments_log (C-16)
	OngoingDeploymentTracking string        // ongoing_deployment_tracking: folder name in the root (C-17, P-85)
	HTTPReadTimeout           time.Duration // http_read_timeout (C-18)
	TestProfile               string        // codedeploy_test_profile, lower case: prod, beta, gamma (C-20e)
	UseMockCommandService     bool          // use_mock_command_service (C-20f, P-11)
	EnableArchiveReuse        bool          // enable_archive_reuse (V-101)
	DisableCoreDumps          bool          // disable_core_dumps (V-102)
	Reject                    Reject        // reject_*_in_bundle (V-105 to V-109)
	IgnoreOwnershipInBundle   bool          // ignore_ownership_in_bundle (V-110)
	RestrictAgentDirs         bool          // restrict_agent_dir_permissions (V-111)
	RestrictLogDir            bool          // restrict_log_dir_permissions (V-111)
	RestrictHookEnv           bool          // restrict_hook_env_to_allowlist (V-112)
	StripLoaderEnv            bool          // strip_loader_env_in_hooks (V-113)

	// What only Slipway knows.

	Trust            Trust
	Listen           string // listen: host:port of the health listener; "" when it is off
	Log              Log
	Start            Start
	StopTimeout      time.Duration // stop_timeout: how long a DownloadBundle or Install may go on after SIGTERM
	MaxConcurrent    int           // max_concurrent: commands side by side
	Hooks            Hooks
	Health           Health
	Limits           Limits
	Install          Install
	Retention        Retention
	OldRevisionHooks string // old_revision_hooks: run, skip-if-missing, skip
	Preflight        Preflight
	Poll             Poll
	IMDS             IMDS
	AllowEnvironment bool // credentials.allow_environment; ask AllowEnvCredentials
	S3               S3
	GitHubTokenFile  string // github_token_file: a token for private repositories, one line

	// Warnings tells what was accepted but will not do what its author may think, in the order of the layers.
	Warnings []Problem

	origins map[string]origin // by key name; a key that is absent holds its default
}

// Reject says which bundles are refused although the reference agent's first generation takes them.
type Reject struct {
	Symlinks                 bool // V-105
	PathTraversal            bool // V-106; always on
	UnsafePermissions        bool // V-107
	UnconfinedSELinux        bool // V-108
	SymlinkPermissionTargets bool // V-109; always on
}

// Trust says whose signature on a deployment specification counts.
type Trust struct {
	Signer string   // integrity, ca, pin
	CAFile string   // trust.ca_file: PEM, needed when Signer is ca
	Pins   []string // trust.pins: SHA-256 of signer certificates, lower-case hex; needed when Signer is pin
}

// Log says what is logged, how, and to which file beside standard output.
type Log struct {
	Level  string // debug, info, warn, error; verbose already taken into account
	Format string // auto, human, json
	File   string // resolved: the path to write to, "" for none
}

// Start says what the first poll waits for.
type Start struct {
	WaitFor string        // cloud-init, off
	Wait    time.Duration // at most so long
}

// Hooks bounds the scripts of a deployment.
type Hooks struct {
	Grace            time.Duration // from TERM to KILL
	OpenOutput       string        // warn, fail: what a script is told that leaves a process holding its output
	OpenOutputWait   time.Duration // how long such output is waited for after the script's own end
	RunAsMode        string        // setuid, su
	WorkingDirectory string        // root, archive
	EnvFile          string        // path of a file with variables, with {group} and {application} in it; "" for none
	Containment      string        // auto, systemd, cgroup2, none: where a script and all it starts are held together
	Limits           HookLimits
}

// HookLimits bound what one script and all it starts may take together; 0 is no limit.
type HookLimits struct {
	Memory Bytes
	CPU    int // percent of one processor
	PIDs   int // processes and threads
}

// Health is the answer on the balancer's path.
type Health struct {
	Path   string
	Probe  Probe
	Rise   int           // successes in a row until healthy
	Fall   int           // failures in a row until unhealthy
	MaxAge time.Duration // an older probe result counts as a failure
	Grace  time.Duration // how long after the start failures count as starting up

	DrainFile          string // marker that drains while it is there
	DrainOnTermination bool
	DrainOnBlock       bool
	DrainOnInstall     bool
	StatusFile         string // is there while the application is healthy; "" for none
	Gate               bool   // ValidateService fails where the application is not fit
	GateTimeout        time.Duration
}

// Probe is how the application is asked. What is empty is not probed; all that is probed must be good.
type Probe struct {
	URL      string
	Status   string // as the balancer writes it: "200", "200,302", "200-399"
	Body     string // text that the answer must contain; "" for any
	Timeout  time.Duration
	Interval time.Duration

	Latency    time.Duration // a later answer of the URL is bad; 0 for any
	TCP        []string      // addresses that must accept a connection
	File       string        // must be there
	FileMaxAge time.Duration // and not be older; 0 for any age
	Command    []string      // program and arguments; must end with 0
}

// Any reports whether anything is probed.
func (p *Probe) Any() bool {
	return p.URL != "" || len(p.TCP) > 0 || p.File != "" || len(p.Command) > 0
}

// Limits bounds what a bundle may unpack to. Zero is no limit.
type Limits struct {
	MaxSize  Bytes // unpacked bytes in all
	MaxFiles int
	MaxRatio int // unpacked bytes per packed byte
}

// Install says how the old revision makes place for the new one.
type Install struct {
	Space string // coexist, replace
}

// Retention says which deployments are kept beside max_revisions. Zero does not matter.
type Retention struct {
	MaxAge  time.Duration
	MinFree Bytes
}

// Preflight says whether the new revision is checked before the old one is stopped.
type Preflight struct {
	Mode string        // early, off
	Wait time.Duration // how long the first event of a deployment waits for the answer
}

// Poll bounds the pauses of the poll loop when the service does not answer.
type Poll struct {
	BackoffMin  time.Duration // after the first failure
	BackoffMax  time.Duration // at most
	DeniedPause time.Duration // while the service refuses this host's credentials
}

// IMDS says how the instance metadata service is asked.
type IMDS struct {
	Endpoint string // "" for AWS_EC2_METADATA_SERVICE_ENDPOINT or the link-local address
	AllowV1  bool   // already false where disable_imds_v1 is true
}

// S3 tunes the download of a bundle.
type S3 struct {
	PathStyle   bool
	PartSize    Bytes
	Concurrency int
}

// AllowEnvCredentials says whether AWS_ACCESS_KEY_ID and its kin may be used: where credentials.allow_environment
// is true, and in the reference agent's test profiles (P-77).
func (c *Config) AllowEnvCredentials() bool {
	return c.AllowEnvironment || c.TestProfile == "beta" || c.TestProfile == "gamma"
}
