package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"slipway/agent/lab"
	"slipway/systemd"
	"slipway/systemd/systemdtest"
)

// What the official agent's package puts on a host (C-30, C-31), with a program that is a process and no more: what that agent does to a host when it
// deploys, reference does.
const (
	officialUnit = `[Unit]
Description=AWS CodeDeploy Host Agent
[Service]
Type=forking
ExecStart=/bin/bash -a -c '[ -f /etc/profile ] && source /etc/profile; /opt/codedeploy-agent/bin/codedeploy-agent start'
ExecStop=/opt/codedeploy-agent/bin/codedeploy-agent stop
RemainAfterExit=no
Restart=on-failure
[Install]
WantedBy=multi-user.target
`
	officialProgram = `#!/bin/sh
pid=/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid
case $1 in
start) mkdir -p "${pid%/*}" && { sleep 1000000 >/dev/null 2>&1 & echo $! >"$pid"; } ;;
stop) kill "$(cat "$pid")" && rm -f "$pid" ;;
esac
`
	onPremisesUser = "arn:aws:iam::123456789012:user/slipway-lab-host"
)

// migrationHost is a real host with the official agent's files, unit and deployments on it, registered as an on-premises instance.
type migrationHost struct {
	*serviceHost
	official *reference
	dir      *host // /srv of the host, as a process on it names it
	n        int   // revisions that were deployed
	users    []string
}

// swapped is a revision, whose ApplicationStop says what environment it is given.
func (m *migrationHost) swapped(n int) map[string]string {
	r := m.dir.swapRevision(n)
	r["stop.sh"] = fmt.Sprintf("#!/bin/sh\necho \"stop of revision %d in $SITE_ENV\" >>/srv/proof\n", n)
	return r
}

func newMigrationHost(t *testing.T) *migrationHost {
	t.Helper()
	l, err := lab.Start(lab.Options{Instances: -1, Hosts: []lab.Host{{ID: onPremisesUser}}, PollWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l.Close(ctx)
	})
	info := l.Info()
	keys := credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, "")
	lh := &labHost{
		host: &host{t: t}, lab: l,
		deploy: codedeploy.New(codedeploy.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().Gateway)}),
		store:  s3.New(s3.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true}),
	}
	_, err = lh.deploy.CreateApplication(t.Context(), &codedeploy.CreateApplicationInput{ApplicationName: aws.String(labApplication)})
	lh.must(err)
	group, err := lh.deploy.CreateDeploymentGroup(t.Context(), &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"),
	})
	lh.must(err)
	program := string(buildSlipway(t, "1.0.0"))
	m := &migrationHost{serviceHost: &serviceHost{labHost: lh}, dir: &host{t: t, dir: "/srv"}}
	m.machine = systemdtest.Boot(t, systemdtest.Options{Packages: []string{"procps"}, ShareNet: true, Prepare: func(root string) error {
		profile, err := os.ReadFile(filepath.Join(root, "etc/profile"))
		if err != nil {
			return err
		}
		for name, file := range map[string]struct {
			text string
			mode os.FileMode
		}{
			"usr/bin/slipway": {program, 0o755},
			"usr/lib/systemd/system/" + systemd.UnitName:      {systemd.Unit, 0o644},
			"usr/lib/systemd/system/" + systemd.SliceName:     {systemd.Slice, 0o644},
			"etc/default/slipway":                             {"SLIPWAY_LISTEN=127.0.0.1:0\n", 0o644},
			"etc/profile":                                     {string(profile) + "SITE_ENV=\"the production\"\n", 0o644},
			"opt/codedeploy-agent/bin/codedeploy-agent":       {officialProgram, 0o755},
			"usr/lib/systemd/system/codedeploy-agent.service": {officialUnit, 0o644},
			"etc/codedeploy-agent/conf/codedeployagent.yml": {fmt.Sprintf("---\n:log_aws_wire: false\n:log_dir: '/var/log/aws/codedeploy-agent/'\n:pid_dir: '/opt/codedeploy-agent/state/.pid/'\n:program_name: codedeploy-agent\n"+
				":root_dir: '/opt/codedeploy-agent/deployment-root'\n:verbose: false\n:wait_between_runs: 1\n:proxy_uri:\n:max_revisions: 5\n:deploy_control_endpoint: %s\n:s3_endpoint_override: %s\n:codedeploy_test_profile: beta\n",
				l.Endpoints().Control, l.Endpoints().S3), 0o644},
			"etc/codedeploy-agent/conf/codedeploy.onpremises.yml": {fmt.Sprintf("---\nregion: %s\niam_user_arn: %s\naws_access_key_id: %s\naws_secret_access_key: %s\n", info.Region, onPremisesUser, info.AccessKey, info.SecretKey), 0o600},
		} {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(file.text), file.mode); err != nil {
				return err
			}
		}
		return os.Symlink("/usr/lib/systemd/system/codedeploy-agent.service", filepath.Join(root, "etc/systemd/system/multi-user.target.wants/codedeploy-agent.service"))
	}})
	m.official = &reference{t: t, top: m.machine.Root(), root: "/opt/codedeploy-agent/deployment-root", group: aws.ToString(group.DeploymentGroupId), site: "/srv/site", keep: 5}
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := m.machine.Enter(context.Background(), "journalctl", "-u", systemd.UnitName, "--no-pager", "-n", "60", "-o", "cat").CombinedOutput()
			t.Logf("journal of the host:\n%s", journal)
		}
	})
	return m
}

// says is what a line of shell prints on the host, and its exit code where it is not 0.
func (m *migrationHost) says(line string) string {
	m.t.Helper()
	out, _ := m.machine.Run(m.t.Context(), "/bin/sh", "-c", "("+line+") 2>&1 || echo \"exit $?\"")
	return strings.TrimSpace(out)
}

// which is the state of both services.
func (m *migrationHost) which() string {
	m.t.Helper()
	return strings.Join(strings.Fields(m.says("for s in codedeploy-agent slipway; do systemctl is-enabled $s; systemctl is-active $s; done; :")), " ")
}

const (
	theirs = "enabled active disabled inactive"
	ours   = "disabled inactive enabled active"
)

// byOfficial deploys the next revision as the official agent does, which must be the one that runs.
func (m *migrationHost) byOfficial() {
	m.t.Helper()
	if got := m.which(); got != theirs {
		m.t.Fatalf("codedeploy-agent and slipway are %s, want %s", got, theirs)
	}
	m.n++
	if err := m.official.deploy(fmt.Sprintf("d-OFFICIAL%d", m.n), m.swapped(m.n)); err != nil {
		m.t.Fatalf("the official agent cannot deploy revision %d: %v", m.n, err)
	}
	m.looks()
}

// bySlipway has the service deploy the next revision.
func (m *migrationHost) bySlipway() {
	m.t.Helper()
	if got := m.which(); got != ours {
		m.t.Fatalf("codedeploy-agent and slipway are %s, want %s", got, ours)
	}
	m.n++
	key := fmt.Sprint("revision-", m.n)
	m.put(key, zipped(m.swapped(m.n)))
	m.bring(key)
	m.looks()
}

// looks compares the site with what the last revision and the users have there: nothing of an earlier revision, nothing of the users' gone.
func (m *migrationHost) looks() {
	m.t.Helper()
	site := &host{t: m.t.(*testing.T), dir: m.inside("/srv")}
	if diff := cmp.Diff(joined(m.swapped(m.n), m.users...), site.siteFiles()); diff != "" {
		m.t.Fatalf("site of revision %d (-want +got):\n%s", m.n, diff)
	}
}

// migrate runs slipway migrate, which has to print these lines, and first what it would do, which has to do none of it.
func (m *migrationHost) migrate(flags string, want ...string) {
	m.t.Helper()
	before := m.which() + m.says("cat /etc/default/slipway; ls -lR /etc/slipway /etc/codedeploy-agent /etc/systemd/system")
	for _, way := range []struct{ flag, mark string }{{" --dry-run", "would "}, {"", "done: "}} {
		got := m.says("slipway migrate " + flags + way.flag)
		if diff := cmp.Diff(way.mark+strings.Join(want, "\n"+way.mark), got); diff != "" {
			m.t.Fatalf("migrate %s%s (-want +got):\n%s", flags, way.flag, diff)
		}
		if after := m.which() + m.says("cat /etc/default/slipway; ls -lR /etc/slipway /etc/codedeploy-agent /etc/systemd/system"); way.flag != "" && after != before {
			m.t.Fatalf("migrate %s --dry-run has changed the host (-before +after):\n%s", flags, cmp.Diff(before, after))
		}
	}
	if got := m.says("slipway migrate " + flags); got != "nothing is left to do" {
		m.t.Errorf("migrate %s a second time: %q", flags, got)
	}
}

// TestMigrateHost takes a real host over from the official agent and gives it back, twice, with deployments by each in turns to the same place: no
// false conflict on either side, all of the old revision gone, all of the users' kept, and always one agent that runs and is enabled (I-1 to I-42,
// C-30, C-31, P-78).
func TestMigrateHost(t *testing.T) {
	if reason := systemdtest.Missing(); reason != "" {
		t.Skip(reason)
	}
	m := newMigrationHost(t)
	m.byOfficial()
	m.users = []string{"uploads/mine", "shared/mine", "dir-1/mine"}
	for _, name := range m.users {
		m.official.write(filepath.Join("/srv/site", name), "user", 0o644)
	}
	m.byOfficial()
	tracked := m.inside("/opt/codedeploy-agent/deployment-root/ongoing-deployment/d-OFFICIAL9")
	m.must(os.MkdirAll(filepath.Dir(tracked), 0o755))
	m.must(os.WriteFile(tracked, []byte("command"), 0o644))
	if got := m.says("slipway migrate"); !strings.Contains(got, "the official agent is at d-OFFICIAL9: wait for its end, or stop the deployment") || !strings.HasSuffix(got, "exit 1") {
		t.Errorf("migrate with a command in hand: %s", got)
	}
	m.must(os.Remove(tracked))

	const keep, variables = "keep a copy of /etc/codedeploy-agent/conf/codedeployagent.yml, for when its package is removed", "write the variable that /etc/profile exports to /etc/default/slipway"
	m.migrate("", "stop codedeploy-agent", "disable codedeploy-agent", keep, variables, "enable slipway", "start slipway")
	m.bySlipway()
	m.bySlipway()
	if got, want := m.content("/srv/proof"), "stop of revision 2 in the production\nstop of revision 3 in the production\n"; got != want {
		t.Errorf("scripts of the old revisions wrote %q, want %q", got, want)
	}
	if got := m.lab.Hosts()[0]; got.ID != onPremisesUser || !strings.HasPrefix(got.Version, "SLIPWAY_1.0.0") {
		t.Errorf("the service sees %+v", got)
	}
	m.machine.Reboot()
	if got := m.which(); got != ours {
		t.Errorf("after a boot codedeploy-agent and slipway are %s, want %s", got, ours)
	}

	m.migrate("--back", "stop slipway", "disable slipway", "remove the variables of /etc/profile from /etc/default/slipway", "enable codedeploy-agent", "start codedeploy-agent")
	if got := m.content("/etc/default/slipway"); got != "SLIPWAY_LISTEN=127.0.0.1:0\n" {
		t.Errorf("the environment file after --back: %q", got)
	}
	m.byOfficial()
	m.byOfficial()
	m.migrate("", "stop codedeploy-agent", "disable codedeploy-agent", variables, "enable slipway", "start slipway")
	m.bySlipway()
	m.migrate("--back", "stop slipway", "disable slipway", "remove the variables of /etc/profile from /etc/default/slipway", "enable codedeploy-agent", "start codedeploy-agent")
	m.byOfficial()

	// A host on which the official agent never was.
	m.machine.Must("/bin/sh", "-ec", "systemctl -q disable --now codedeploy-agent; rm -r /usr/lib/systemd/system/codedeploy-agent.service /etc/codedeploy-agent /opt/codedeploy-agent /etc/slipway; systemctl daemon-reload")
	if got, want := m.says("slipway migrate --dry-run"), "nothing to take over: the official agent is not on this host (no codedeploy-agent.service, no /etc/codedeploy-agent/conf/codedeployagent.yml, nothing in /opt/codedeploy-agent/bin)\nwould enable slipway\nwould start slipway"; got != want {
		t.Errorf("migrate --dry-run without the official agent:\n%s\nwant\n%s", got, want)
	}
}
