package config

import "time"

// pathKeys are where the agent keeps its things.
var pathKeys = []key{
	{
		name: "root_dir", kind: kindPath, def: "/opt/codedeploy-agent/deployment-root", origin: originReference, // C-3, I-1
		field: func(c *Config) any { return &c.RootDir },
		doc:   "Deployment root: revisions, pointers and all state of the agent.",
	},
	{
		name: "log_dir", kind: kindPath, def: "/var/log/aws/codedeploy-agent", origin: originReference, // C-4
		field: func(c *Config) any { return &c.LogDir },
		doc:   "Folder of the log files.",
	},
	{
		name: "pid_dir", kind: kindPath, def: "/opt/codedeploy-agent/state/.pid", origin: originReference, // C-4
		field: func(c *Config) any { return &c.PIDDir },
		doc:   "Folder of the pid and lock files.",
	},
	{
		name: "program_name", kind: kindText, def: "codedeploy-agent", origin: originReference, // C-5
		field: func(c *Config) any { return &c.ProgramName }, check: checkFileName,
		doc: "Base name of the log file and the pid file.",
	},
	{
		name: "ongoing_deployment_tracking", kind: kindText, def: "ongoing-deployment", origin: originReference, // C-17, P-85
		field: func(c *Config) any { return &c.OngoingDeploymentTracking }, check: checkFileName,
		doc: "Name of the folder in the deployment root that the reference agent tracks its commands in.",
	},
	{
		name: "on_premises_config_file", kind: kindPath, def: "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml", origin: originReference, // C-12
		field: func(c *Config) any { return &c.OnPremisesConfigFile },
		doc:   "Registration of an on-premises instance; it need not exist.",
	},
}

// referenceKeys say how the agent works.
var referenceKeys = []key{
	{
		name: "verbose", kind: kindBool, def: "false", live: true, origin: originReference, // C-6
		field: func(c *Config) any { return &c.Verbose },
		doc:   "Log at level debug, unless log.level is set.",
	},
	{
		name: "wait_between_runs", kind: kindSeconds, def: "1", live: true, max: int64(time.Hour), origin: originReference, // C-7, P-36
		field: func(c *Config) any { return &c.WaitBetweenRuns },
		doc:   "Pause after a poll that brought nothing; after a command the next poll follows at once.",
	},
	{
		name: "max_revisions", kind: kindInt, def: "5", min: 1, live: true, origin: originReference, // C-8, I-22
		field: func(c *Config) any { return &c.MaxRevisions },
		doc:   "Revisions kept on disk per deployment group.",
	},
	{
		name: "enable_deployments_log", kind: kindBool, def: "true", origin: originReference, // C-16, H-26
		field: func(c *Config) any { return &c.EnableDeploymentsLog },
		doc:   "Write the output of all hooks to one log below the deployment root too.",
	},
	{
		name: "http_read_timeout", kind: kindSeconds, def: "80", min: int64(time.Second), origin: originReference, // C-18, P-31
		field: func(c *Config) any { return &c.HTTPReadTimeout },
		doc:   "How long an answer of the command service may take.",
	},
	{
		name: "enable_archive_reuse", kind: kindBool, def: "true", live: true, origin: originReference2, // V-101
		field: func(c *Config) any { return &c.EnableArchiveReuse },
		doc:   "Take the archive of the deployment that a restart names from disk instead of downloading it again.",
	},
	{
		name: "disable_core_dumps", kind: kindBool, def: "true", origin: originReference2, // V-102
		field: func(c *Config) any { return &c.DisableCoreDumps },
		doc:   "The agent itself leaves no core dump.",
	},
	{
		name: "archive_max_extraction_size", kind: kindBytes, of: "limits.max_size", live: true, origin: originReference2, // V-104
		doc: "Another name of limits.max_size.",
	},
}

// serviceKeys say whom the agent talks to, and as whom.
var serviceKeys = []key{
	{
		name: "proxy_uri", kind: kindURL, secret: true, origin: originReference, // C-9
		field: func(c *Config) any { return &c.ProxyURI },
		doc:   "HTTP proxy of the command service, S3 and GitHub; never used for instance metadata.",
	},
	{
		name: "deploy_control_endpoint", kind: kindURL, origin: originReference, // C-13, P-3
		field: func(c *Config) any { return &c.DeployControlEndpoint },
		doc:   "URL of the command service, used as it stands.",
	},
	{
		name: "s3_endpoint_override", kind: kindURL, origin: originReference, // C-13, I-12
		field: func(c *Config) any { return &c.S3EndpointOverride },
		doc:   "URL of S3, used as it stands.",
	},
	{
		name: "enable_auth_policy", kind: kindBool, def: "false", origin: originReference, // C-14, P-11
		field: func(c *Config) any { return &c.EnableAuthPolicy },
		doc:   "Use the command service's secure door, which holds hosts to an IAM policy.",
	},
	{
		name: "use_fips_mode", kind: kindBool, def: "false", origin: originReference, // C-15
		field: func(c *Config) any { return &c.UseFIPSMode },
		doc:   "Use FIPS endpoints; only in the regions that have them.",
	},
	{
		name: "disable_imds_v1", kind: kindBool, def: "false", origin: originReference, // C-11, P-75
		field: func(c *Config) any { return &c.DisableIMDSv1 },
		doc:   "Never read instance metadata without a session token, whatever imds.allow_v1 says; false alone allows nothing.",
	},
	{
		name: "codedeploy_test_profile", kind: kindText, def: "prod", origin: originReference, // C-20e, P-77
		field: func(c *Config) any { return &c.TestProfile },
		doc:   "beta or gamma: credentials may come from the environment.",
	},
	{
		name: "use_mock_command_service", kind: kindBool, def: "false", origin: originReference, // C-20f, P-11
		field: func(c *Config) any { return &c.UseMockCommandService },
		doc:   "Speak the mock variant of the command protocol.",
	},
}

// hardeningKeys are the second generation's switches that refuse or tighten.
var hardeningKeys = []key{
	{
		name: "reject_symlinks_in_bundle", kind: kindBool, def: "false", live: true, origin: originReference2, // V-105
		field: func(c *Config) any { return &c.Reject.Symlinks },
		doc:   "Refuse a bundle that holds a symbolic link or a file with several names.",
	},
	{
		name: "reject_path_traversal_in_bundle", kind: kindBool, def: "true", origin: originReference2, // V-106
		field: func(c *Config) any { return &c.Reject.PathTraversal }, ignored: "paths that leave the bundle are always refused",
		doc: "Refuse a bundle, hook or source that leaves the archive.",
	},
	{
		name: "reject_unsafe_permissions_in_bundle", kind: kindBool, def: "false", live: true, origin: originReference2, // V-107
		field: func(c *Config) any { return &c.Reject.UnsafePermissions },
		doc:   "Refuse set-id files in a bundle and set-id modes in an appspec.",
	},
	{
		name: "reject_unconfined_selinux_in_bundle", kind: kindBool, def: "false", live: true, origin: originReference2, // V-108
		field: func(c *Config) any { return &c.Reject.UnconfinedSELinux },
		doc:   "Refuse the SELinux types unconfined_t, kernel_t and init_t in an appspec.",
	},
	{
		name: "reject_symlink_permission_targets", kind: kindBool, def: "true", live: true, origin: originReference2, // V-109
		field: func(c *Config) any { return &c.Reject.SymlinkPermissionTargets }, ignored: "permissions are never applied through a link",
		doc: "Refuse to set permissions on what a symbolic link points to.",
	},
	{
		name: "ignore_ownership_in_bundle", kind: kindBool, def: "false", live: true, origin: originReference2, // V-110
		field: func(c *Config) any { return &c.IgnoreOwnershipInBundle },
		doc:   "Unpacked files belong to the agent's user, whatever the archive says.",
	},
	{
		name: "restrict_agent_dir_permissions", kind: kindBool, def: "false", origin: originReference2, // V-111
		field: func(c *Config) any { return &c.RestrictAgentDirs },
		doc:   "Keep the deployment root from other users: folders 0711, so that scripts which run as them can be reached, the agent's own 0700 and its files 0600. What is there already is closed at start, and is not opened again by false.",
	},
	{
		name: "restrict_log_dir_permissions", kind: kindBool, def: "false", origin: originReference2, // V-111
		field: func(c *Config) any { return &c.RestrictLogDir },
		doc:   "Keep the log folder (log_dir) from other users: 0750. Log files are 0640 in any case.",
	},
	{
		name: "restrict_hook_env_to_allowlist", kind: kindBool, def: "false", live: true, origin: originReference2, // V-112
		field: func(c *Config) any { return &c.RestrictHookEnv },
		doc:   "Hooks get the deployment's variables plus PATH, HOME and USER, and nothing of the agent's environment.",
	},
	{
		name: "strip_loader_env_in_hooks", kind: kindBool, def: "false", live: true, origin: originReference2, // V-113
		field: func(c *Config) any { return &c.StripLoaderEnv },
		doc:   "Hooks do not inherit LD_PRELOAD, LD_LIBRARY_PATH and LD_AUDIT.",
	},
}

// ignoredKeys are understood and have no counterpart here. One that stands at its default is passed over in
// silence: the file that the reference agent ships must load without a word.
var ignoredKeys = []key{
	{name: "children", kind: kindInt, def: "1", min: 1, max: 1, origin: originReference, ignored: "there is one process", doc: "Worker processes; only 1 was ever accepted."},                                                            // C-20
	{name: "max_runs_per_worker", kind: kindInt, def: "0", origin: originReference, ignored: "there is no worker process to renew", doc: "Polls until the worker process is renewed."},                                                   // C-20a
	{name: "wait_between_spawning_children", kind: kindSeconds, def: "1", origin: originReference, ignored: "there is one process", doc: "Pause between worker processes."},                                                              // C-20b
	{name: "wait_after_throttle_error", kind: kindSeconds, def: "60", origin: originReference, ignored: "poll.backoff_min and poll.backoff_max rule", doc: "Pause after throttling at start."},                                           // C-20c
	{name: "wait_after_connection_problem", kind: kindSeconds, def: "5", origin: originReference, ignored: "poll.backoff_min and poll.backoff_max rule", doc: "Pause after a failed connection at start."},                               // C-20c
	{name: "wait_after_error", kind: kindSeconds, def: "30", origin: originReference, ignored: "poll.backoff_min and poll.backoff_max rule", doc: "Pause after an error; unused by the reference agent too."},                            // C-20h
	{name: "kill_agent_max_wait_time_seconds", kind: kindSeconds, def: "7200", origin: originReference, ignored: "stop_timeout rules, and a running hook is never killed by a stop", doc: "How long a stop waits for running commands."}, // C-19
	{name: "user", kind: kindText, origin: originReference, ignored: "the agent does not change its user; set User= in the service unit", doc: "User to run as."},                                                                        // C-20d
	{name: "group", kind: kindText, origin: originReference, ignored: "the agent does not change its group; set Group= in the service unit", doc: "Group to run as."},                                                                    // C-20d
	{name: "plugins", kind: kindList, def: "codedeploy", origin: originReference, ignored: "there are no plugins", doc: "Plugins of the reference agent."},                                                                               // C-20g
	{name: "shared_dir", kind: kindText, origin: originReference, ignored: "the reference agent does not use it either", doc: "Unused."},                                                                                                 // C-20h
	{name: "instance_service_region", kind: kindText, origin: originReference, ignored: "the reference agent does not use it either", doc: "Unused."},                                                                                    // C-20h
	{name: "instance_service_endpoint", kind: kindText, origin: originReference, ignored: "the reference agent does not use it either", doc: "Unused."},                                                                                  // C-20h
	{name: "instance_service_port", kind: kindText, origin: originReference, ignored: "the reference agent does not use it either", doc: "Unused."},                                                                                      // C-20h
	{name: "ssl_verify_peer", kind: kindBool, def: "true", origin: originReference, ignored: "the peer is always verified; a private authority goes into AWS_CA_BUNDLE", doc: "TLS verification."},                                       // V-116, P-16
	{name: "log_aws_wire", kind: kindBool, def: "false", origin: originReference, ignored: "there is no wire log; verbose logs every call without its payload", doc: "Trace HTTP to a file."},                                            // C-10
	{name: "enable_command_port", kind: kindBool, def: "false", origin: originReference2, ignored: "there is no command port; slipway status tells what it told", doc: "Control port of the second generation."},                         // V-103
	{name: "disable_powershell_profile_in_hooks", kind: kindBool, def: "false", origin: originReference2, ignored: "it matters on Windows only", doc: "Run PowerShell hooks without a profile."},                                         // V-114
}
