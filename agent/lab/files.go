package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// onPremisesName is the IAM user that a host outside EC2 may poll as.
const onPremisesName = "slipway-lab-host"

// Environment is what the aws client, the SDKs and scripts need, as NAME=value.
func (l *Lab) Environment() []string {
	e := l.endpoints
	env := []string{
		"AWS_ACCESS_KEY_ID=" + l.options.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + l.options.SecretKey,
		"AWS_REGION=" + l.options.Region,
		"AWS_DEFAULT_REGION=" + l.options.Region,
		"AWS_ENDPOINT_URL=" + e.Gateway,
		"AWS_PAGER=",
		"SLIPWAY_LAB_ENDPOINT=" + e.Admin,
		"SLIPWAY_LAB_GATEWAY=" + e.Gateway,
		"SLIPWAY_LAB_CONTROL=" + e.Control,
		"SLIPWAY_LAB_S3=" + e.S3,
		"SLIPWAY_LAB_BUCKET=" + l.options.Buckets[0],
	}
	if len(e.Metadata) > 0 {
		env = append(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+e.Metadata[0], "SLIPWAY_LAB_INSTANCE="+l.instances[0].Name)
	}
	return env
}

// WriteFiles writes into dir what a client or an agent needs to talk to this lab, and returns the path of each
// file by its purpose:
//
//	env               shell exports
//	agent             configuration in the reference agent's spelling, for --config; the first instance
//	agent-onpremises  the same for a host that is registered by an IAM user
//	onpremises        that registration
//	signer            certificate that vouches for specifications (trust.ca_file)
//	ca                certificate of the listeners' authority, with TLS only
//
// Further instances get agent-2, agent-3 … Each agent has a root of its own below dir. A file is replaced whole.
func (l *Lab) WriteFiles(dir string) (map[string]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files := map[string]string{}
	write := func(purpose, name, text string, mode os.FileMode) {
		if err == nil {
			files[purpose] = filepath.Join(dir, name)
			err = renameio.WriteFile(files[purpose], []byte(text), mode)
		}
	}
	info := l.Info()
	write("signer", "signer.pem", info.Signer, 0o644)
	if l.authority != nil {
		write("ca", "ca.pem", info.Authority, 0o644)
	}
	if err == nil {
		files["env"] = filepath.Join(dir, "env")
		err = l.WriteEnvironment(files["env"], files["ca"])
	}
	user := fmt.Sprintf("arn:%s:iam::%s:user/%s", partition(l.options.Region), l.options.Account, onPremisesName)
	write("onpremises", "onpremises.yml", fmt.Sprintf("---\nregion: %s\niam_user_arn: %s\naws_access_key_id: %s\naws_secret_access_key: %s\n",
		l.options.Region, user, l.options.AccessKey, l.options.SecretKey), 0o600)
	write("agent-onpremises", "agent-onpremises.yml", l.agentConfig(filepath.Join(dir, "onpremises-host"), files["onpremises"], "", false), 0o644)
	for i, url := range l.endpoints.Metadata {
		purpose := "agent"
		if i > 0 {
			purpose = fmt.Sprintf("agent-%d", i+1)
		}
		write(purpose, purpose+".yml", l.agentConfig(filepath.Join(dir, l.instances[i].Name), filepath.Join(dir, "none.yml"), url, i == 0), 0o644)
	}
	return files, err
}

// WriteEnvironment writes the environment as shell exports; ca is the file of the listeners' authority, if any.
func (l *Lab) WriteEnvironment(path, ca string) error {
	env := l.Environment()
	if ca != "" {
		env = append(env, "AWS_CA_BUNDLE="+ca, "SSL_CERT_FILE="+ca)
	}
	return renameio.WriteFile(path, []byte(exports(env)), 0o600)
}

// exports is shell that sets and exports variables.
func exports(env []string) string {
	var b strings.Builder
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return b.String()
}

// agentConfig is the configuration of one agent. The keys without colons are Slipway's, which the reference ignores.
// Only the first listens for health checks, since they all have the default port.
func (l *Lab) agentConfig(home, onPremises, metadata string, first bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
:program_name: codedeploy-agent
:root_dir: %[1]s/deployment-root
:log_dir: %[1]s/log
:pid_dir: %[1]s/state
:on_premises_config_file: %[2]s
:deploy_control_endpoint: %[3]s
:s3_endpoint_override: %[4]s
:enable_auth_policy: %[5]t
:codedeploy_test_profile: beta
:wait_between_runs: 1
:max_revisions: 5
:verbose: false
`, home, onPremises, l.endpoints.Control, l.endpoints.S3, l.options.Secure)
	b.WriteString("s3:\n  path_style: true\n")
	if !first {
		b.WriteString("listen: 'off'\n")
	}
	if metadata != "" {
		fmt.Fprintf(&b, "imds:\n  endpoint: %s\n", metadata)
	}
	return b.String()
}
