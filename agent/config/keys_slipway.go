package config

import "time"

// Values that other code compares with.
const (
	off  = "off"
	auto = "auto"
)

// slipwayKeys are ours alone.
var slipwayKeys = []key{
	{
		name: "trust.signer", kind: kindEnum, def: "integrity", enum: []string{"integrity", "ca", "pin"}, origin: originSlipway,
		field: func(c *Config) any { return &c.Trust.Signer },
		doc:   "Whose specification counts: integrity checks digest and signature, ca the signer's chain too, pin the signer's certificate.",
	},
	{
		name: "trust.ca_file", kind: kindPath, origin: originSlipway,
		field: func(c *Config) any { return &c.Trust.CAFile },
		doc:   "PEM file of the authorities that a signer must come from; needed by trust.signer ca.",
	},
	{
		name: "trust.pins", kind: kindList, origin: originSlipway, check: checkPin,
		field: func(c *Config) any { return &c.Trust.Pins },
		doc:   "SHA-256 fingerprints (hex) of the signer certificates to accept; needed by trust.signer pin.",
	},
	{
		name: "listen", kind: kindAddress, def: "127.0.0.1:8427", origin: originSlipway,
		field: func(c *Config) any { return &c.Listen },
		doc:   "Address of /livez, /readyz, the balancer's path and /metrics; off for none.",
	},
	{
		name: "log.level", kind: kindEnum, def: "info", enum: []string{"debug", "info", "warn", "error"}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Log.Level },
		doc:   "Least severity that is logged.",
	},
	{
		name: "log.format", kind: kindEnum, def: auto, enum: []string{auto, "human", "json"}, origin: originSlipway,
		field: func(c *Config) any { return &c.Log.Format },
		doc:   "Form of the log on standard output; auto is human on a terminal and in the journal, and json elsewhere.",
	},
	{
		name: "log.file", kind: kindText, def: auto, origin: originSlipway, check: checkLogFile,
		field: func(c *Config) any { return &c.Log.File },
		doc:   "Log file beside standard output: a path, off, or auto for <log_dir>/<program_name>.log where log_dir is set.",
	},
	{
		name: "start.wait_for", kind: kindEnum, def: "cloud-init", enum: []string{"cloud-init", off}, origin: originSlipway,
		field: func(c *Config) any { return &c.Start.WaitFor },
		doc:   "What must be over before the first command is taken: cloud-init waits for the end of user-data where cloud-init works at this boot.",
	},
	{
		name: "start.wait", kind: kindDuration, def: "5m", max: int64(24 * time.Hour), origin: originSlipway,
		field: func(c *Config) any { return &c.Start.Wait },
		doc:   "How long the start waits for that at most; then commands are taken all the same, with a warning.",
	},
	{
		name: "stop_timeout", kind: kindDuration, def: "120s", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.StopTimeout },
		doc:   "How long a download or an installation may go on after a stop before it is suspended.",
	},
	{
		name: "max_concurrent", kind: kindInt, def: "4", min: 1, max: 64, origin: originSlipway,
		field: func(c *Config) any { return &c.MaxConcurrent },
		doc:   "Commands that may run side by side.",
	},
	{
		name: "hooks.grace", kind: kindDuration, def: "5s", max: int64(10 * time.Minute), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.Grace },
		doc:   "Time between TERM and KILL for a hook that is over its timeout.",
	},
	{
		name: "hooks.open_output", kind: kindEnum, def: "warn", enum: []string{"warn", "fail"}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.OpenOutput },
		doc:   "What happens when a hook leaves a process that holds its output: a warning, or failure with code 6.",
	},
	{
		name: "hooks.open_output_wait", kind: kindDuration, def: "2s", max: int64(time.Hour), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.OpenOutputWait },
		doc:   "How long such output is waited for after the hook's own end.",
	},
	{
		name: "hooks.runas_mode", kind: kindEnum, def: "setuid", enum: []string{"setuid", "su"}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.RunAsMode },
		doc:   "How a hook becomes its runas user: by system calls, or through su for sites that need PAM.",
	},
	{
		name: "hooks.working_directory", kind: kindEnum, def: "root", enum: []string{"root", "archive"}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.WorkingDirectory },
		doc:   "Where hooks start: in /, or in the unpacked archive that they are of.",
	},
	{
		name: "hooks.env_file", kind: kindText, live: true, origin: originSlipway, check: checkEnvFile,
		field: func(c *Config) any { return &c.Hooks.EnvFile },
		doc:   "File with variables for hooks, such as /etc/slipway/env/{group}.env; {application} works too, and a minus sign before the path makes it optional.",
	},
	{
		name: "hooks.containment", kind: kindEnum, def: auto, enum: []string{auto, "systemd", "cgroup2", "none"}, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.Containment },
		doc:   "What holds a hook and all it starts together: a scope of systemd, a cgroup v2, or nothing but its process group; auto is the first that is there.",
	},
	{
		name: "hooks.limits.memory", kind: kindBytes, def: "0", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.Limits.Memory },
		doc:   "Most memory that one hook and all it starts may use together; 0 for no limit. A hook over it is killed.",
	},
	{
		name: "hooks.limits.cpu", kind: kindInt, def: "0", max: 100000, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.Limits.CPU },
		doc:   "Most processor time of one hook and all it starts, in percent of one processor (200 is two); 0 for no limit.",
	},
	{
		name: "hooks.limits.pids", kind: kindInt, def: "0", max: 1 << 22, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Hooks.Limits.PIDs },
		doc:   "Most processes and threads that one hook may have at a time; 0 for no limit.",
	},
	{
		name: "old_revision_hooks", kind: kindEnum, def: "skip-if-missing", enum: []string{"run", "skip-if-missing", "skip"}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.OldRevisionHooks },
		doc:   "Whether events of the old revision run its hooks.",
	},
	{
		name: "preflight.mode", kind: kindEnum, def: "early", enum: []string{"early", off}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Preflight.Mode },
		doc:   "Fetch and check the new revision before the old one is stopped.",
	},
	{
		name: "preflight.wait", kind: kindDuration, def: "30s", max: int64(time.Hour), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Preflight.Wait },
		doc:   "How long the first event of a deployment waits for that check.",
	},
	{
		name: "install.space", kind: kindEnum, def: "coexist", enum: []string{"coexist", "replace"}, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Install.Space },
		doc:   "coexist needs room for both revisions; replace removes the old one first where they do not fit, and cannot undo that.",
	},
	{
		name: "retention.max_age", kind: kindDuration, def: "0s", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Retention.MaxAge },
		doc:   "Deployments older than this are removed from disk, whatever max_revisions says; 0 for no limit.",
	},
	{
		name: "retention.min_free", kind: kindBytes, def: "0", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Retention.MinFree },
		doc:   "Old deployments are removed until so much is free where the deployment root lies; 0 for no floor.",
	},
	{
		name: "limits.max_size", kind: kindBytes, def: "64GiB", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Limits.MaxSize },
		doc:   "Most bytes that a bundle may unpack to; 0 for no limit.",
	},
	{
		name: "limits.max_files", kind: kindInt, def: "1000000", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Limits.MaxFiles },
		doc:   "Most entries that a bundle may hold; 0 for no limit.",
	},
	{
		name: "limits.max_ratio", kind: kindInt, def: "1000", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Limits.MaxRatio },
		doc:   "Most unpacked bytes per packed byte; 0 for no limit.",
	},
	{
		name: "poll.backoff_min", kind: kindDuration, def: "1s", min: int64(100 * time.Millisecond), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Poll.BackoffMin },
		doc:   "Pause after the first failed poll; it doubles with each further one.",
	},
	{
		name: "poll.backoff_max", kind: kindDuration, def: "90s", min: int64(100 * time.Millisecond), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Poll.BackoffMax },
		doc:   "Longest pause after failed polls.",
	},
	{
		name: "poll.denied_pause", kind: kindDuration, def: "5m", min: int64(time.Second), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Poll.DeniedPause },
		doc:   "Pause between polls while the service refuses this host's credentials.",
	},
	{
		name: "imds.endpoint", kind: kindURL, origin: originSlipway,
		field: func(c *Config) any { return &c.IMDS.Endpoint },
		doc:   "URL of the instance metadata service; AWS_EC2_METADATA_SERVICE_ENDPOINT or the link-local address where empty.",
	},
	{
		name: "imds.allow_v1", kind: kindBool, def: "false", origin: originSlipway,
		field: func(c *Config) any { return &c.IMDS.AllowV1 },
		doc:   "Read instance metadata without a session token where none can be had.",
	},
	{
		name: "credentials.allow_environment", kind: kindBool, def: "false", origin: originSlipway,
		field: func(c *Config) any { return &c.AllowEnvironment },
		doc:   "Use AWS_ACCESS_KEY_ID and its kin where no on-premises file registers the host.",
	},
	{
		name: "s3.path_style", kind: kindBool, def: "false", origin: originSlipway,
		field: func(c *Config) any { return &c.S3.PathStyle },
		doc:   "Put the bucket into the path instead of the host name.",
	},
	{
		name: "s3.part_size", kind: kindBytes, def: "8MiB", min: 1 << 20, max: 1 << 30, origin: originSlipway,
		field: func(c *Config) any { return &c.S3.PartSize },
		doc:   "Size of the parts that a bundle is downloaded in.",
	},
	{
		name: "s3.concurrency", kind: kindInt, def: "5", min: 1, max: 32, origin: originSlipway,
		field: func(c *Config) any { return &c.S3.Concurrency },
		doc:   "Parts that are downloaded side by side.",
	},
	{
		name: "github_token_file", kind: kindPath, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.GitHubTokenFile },
		doc:   "File with a GitHub token for revisions that bring none.",
	},
}

// healthKeys are the balancer's path and the probe behind it.
var healthKeys = []key{
	{
		name: "health.path", kind: kindText, def: "/health", origin: originSlipway, check: checkURLPath,
		field: func(c *Config) any { return &c.Health.Path },
		doc:   "Path that the balancer asks.",
	},
	{
		name: "health.probe.url", kind: kindURL, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.URL },
		doc:   "URL of the application that decides the answer; without one the path says that nothing is probed.",
	},
	{
		name: "health.probe.status", kind: kindText, def: "200", live: true, origin: originSlipway, check: checkStatuses,
		field: func(c *Config) any { return &c.Health.Probe.Status },
		doc:   "Status codes that count as healthy, as the balancer writes them: 200, 200,302 or 200-399.",
	},
	{
		name: "health.probe.body", kind: kindText, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.Body },
		doc:   "Text that the application's answer must contain.",
	},
	{
		name: "health.probe.timeout", kind: kindDuration, def: "3s", min: int64(10 * time.Millisecond), max: int64(2 * time.Minute), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.Timeout },
		doc:   "How long the application's answer may take; every kind of probe.",
	},
	{
		name: "health.probe.latency", kind: kindDuration, def: "0s", max: int64(2 * time.Minute), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.Latency },
		doc:   "An answer that comes later than this counts as bad; 0 for no bound but the timeout.",
	},
	{
		name: "health.probe.tcp", kind: kindList, live: true, origin: originSlipway, check: checkAddress,
		field: func(c *Config) any { return &c.Health.Probe.TCP },
		doc:   "Addresses, host:port, that must accept a connection.",
	},
	{
		name: "health.probe.file", kind: kindPath, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.File },
		doc:   "A file that must be there.",
	},
	{
		name: "health.probe.file_max_age", kind: kindDuration, def: "0s", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.FileMaxAge },
		doc:   "How long ago that file may have been written last; 0 for no limit.",
	},
	{
		name: "health.probe.command", kind: kindList, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.Command },
		doc:   "A program and its arguments that must end with status 0; it is started without a shell.",
	},
	{
		name: "health.probe.interval", kind: kindDuration, def: "5s", min: int64(100 * time.Millisecond), max: int64(5 * time.Minute), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Probe.Interval },
		doc:   "Time from one probe to the next.",
	},
	{
		name: "health.rise", kind: kindInt, def: "2", min: 1, max: 100, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Rise },
		doc:   "Good probes in a row until the answer turns healthy.",
	},
	{
		name: "health.fall", kind: kindInt, def: "3", min: 1, max: 100, live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Fall },
		doc:   "Bad probes in a row until the answer turns unhealthy.",
	},
	{
		name: "health.max_age", kind: kindDuration, def: "30s", min: int64(time.Second), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.MaxAge },
		doc:   "A probe result older than this counts as bad.",
	},
	{
		name: "health.grace", kind: kindDuration, def: "30s", max: int64(time.Hour), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Grace },
		doc:   "How long after the start bad probes count as starting up, before there was a good one.",
	},
	{
		name: "health.drain_file", kind: kindPath, def: "/run/slipway/drain", origin: originSlipway,
		field: func(c *Config) any { return &c.Health.DrainFile },
		doc:   "Marker that takes the instance out of the pool while it is there; slipway drain writes it, scripts may touch it.",
	},
	{
		name: "health.drain_on_termination", kind: kindBool, def: "true", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.DrainOnTermination },
		doc:   "Drain when the instance metadata says that the instance is being taken out of service.",
	},
	{
		name: "health.drain_on_block", kind: kindBool, def: "false", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.DrainOnBlock },
		doc:   "Drain from BeforeBlockTraffic of a deployment until before BeforeAllowTraffic is reported, it fails, or 15 minutes are over.",
	},
	{
		name: "health.drain_on_install", kind: kindBool, def: "false", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.DrainOnInstall },
		doc:   "The same from ApplicationStop to ValidateService, for deployments without a balancer.",
	},
	{
		name: "health.status_file", kind: kindPath, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.StatusFile },
		doc:   "File that is there exactly while the application is healthy, for a web server that answers the balancer itself.",
	},
	{
		name: "health.gate", kind: kindBool, def: "false", live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.Gate },
		doc:   "Fail ValidateService of a deployment whose application is not found fit for traffic after its scripts.",
	},
	{
		name: "health.gate_timeout", kind: kindDuration, def: "60s", min: int64(time.Second), max: int64(time.Hour), live: true, origin: originSlipway,
		field: func(c *Config) any { return &c.Health.GateTimeout },
		doc:   "How long the application has for that.",
	},
}
