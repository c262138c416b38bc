package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"slipway/agent/lab"
	"slipway/lifecycle/bundle/bundletest"
)

// fleet is two hosts behind a real haproxy that is set up like a balancer: each with a mount namespace, an agent, and an Apache with PHP of its
// own, in which the sample application runs; MariaDB is shared. The lab is the service, and drives haproxy as the service drives a balancer.
type fleet struct {
	*labHost // the lab and the API; its host is not started
	dir      string
	web      [2]*webHost
	front    string // haproxy's address
	socket   string // haproxy's
	db       *mariadb

	mu      sync.Mutex        // guards blocked
	blocked map[string]string // how many requests a host had been sent when it was out of the pool
}

// webHost is one of the hosts.
type webHost struct {
	*host
	name          string // of haproxy: web1, web2
	site, health  string // addresses of Apache and of the agent
	scratch, data string
}

const (
	fleetProbe    = 300 * time.Millisecond // of agent and haproxy
	fleetRise     = 2
	fleetFall     = 2
	fleetSecret   = "0123456789abcdef0123456789abcdef"
	fleetPassword = "not-a-secret-here"
)

// newFleet makes a fleet with revision v1 on it.
func newFleet(t *testing.T) *fleet {
	if os.Geteuid() != 0 {
		t.Skip("mount namespaces and users of their own need root")
	}
	for _, name := range []string{"haproxy", "apache2", "php", "mariadbd"} {
		tool(t, name)
	}
	if out := command(t, "php", "-m"); !strings.Contains(out, "pdo_mysql") {
		t.Skip("PHP has no pdo_mysql (packaging/test/run installs it)")
	}
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &fleet{dir: dir, front: "127.0.0.1:" + freePort(t), socket: filepath.Join(dir, "haproxy"), blocked: map[string]string{}}
	started := make(chan *mariadb, 1)
	go func() { defer close(started); started <- newMariaDB(t, filepath.Join(dir, "db")) }()

	l, err := lab.Start(lab.Options{Instances: 2, PollWait: 2 * time.Second, Traffic: f.traffic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	files, err := l.WriteFiles(filepath.Join(dir, "lab"))
	if err != nil {
		t.Fatal(err)
	}
	info := l.Info()
	keys := credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, "")
	f.labHost = &labHost{
		host: &host{t: t, dir: dir}, lab: l,
		deploy: codedeploy.New(codedeploy.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().Gateway)}),
		store:  s3.New(s3.Options{Region: info.Region, Credentials: keys, BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true}),
	}
	if f.db = <-started; f.db == nil {
		t.Fatal("no database")
	}
	scratch := filepath.Join(dir, "scratch") // where each host has its own folder mounted
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, config := range []string{files["agent"], files["agent-2"]} {
		f.web[i] = f.newWebHost(t, i, config, scratch)
	}
	f.startHAProxy(t)
	f.api(t)
	return f
}

func (f *fleet) newWebHost(t *testing.T, i int, config, scratch string) *webHost {
	t.Helper()
	home := filepath.Join(f.dir, fmt.Sprintf("web%d", i+1))
	w := &webHost{
		host: &host{t: t, dir: home, config: config}, name: filepath.Base(home), site: "127.0.0.1:" + freePort(t), health: "127.0.0.1:" + freePort(t),
		scratch: filepath.Join(home, "scratch"), data: filepath.Join(home, "data"),
	}
	for _, name := range []string{home, w.scratch, w.data, filepath.Join(home, "httpd"), filepath.Join(home, "run")} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(w.site)
	httpd := strings.TrimSpace(command(t, "../../../testdata/tinitter-tests/private-apache.sh", filepath.Join(home, "httpd"), port, scratch+"/Tinitter/htdocs"))
	conf, err := os.OpenFile(filepath.Join(home, "httpd/httpd.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(home, "run/healthy")
	// The two ways of docs/health.md in which the web server answers the balancer itself.
	fmt.Fprintf(conf, `
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass "/proxied" "http://%[1]s/health"
RewriteEngine On
RewriteCond %[2]s !-f
RewriteRule ^/balancer$ - [R=503,L]
Alias "/balancer" "%[2]s"
<Directory %[3]s>
    Require all granted
</Directory>
`, w.health, status, filepath.Dir(status))
	conf.Close()
	w.extra = []string{
		"SLIPWAY_LISTEN=" + w.health, "SLIPWAY_HEALTH_PROBE_URL=http://" + w.site + "/health", "SLIPWAY_HEALTH_PROBE_INTERVAL=" + fleetProbe.String(),
		"SLIPWAY_HEALTH_PROBE_TIMEOUT=2s", fmt.Sprint("SLIPWAY_HEALTH_RISE=", fleetRise), fmt.Sprint("SLIPWAY_HEALTH_FALL=", fleetFall), "SLIPWAY_HEALTH_STATUS_FILE=" + status,
		"SLIPWAY_HEALTH_DRAIN_FILE=" + home + "/run/drain", "SLIPWAY_HEALTH_GATE=true", "TINITTER_ROOT=" + scratch, "TINITTER_HTTPD=" + httpd, "TINITTER_URL=http://" + w.site,
		"TINITTER_DATA=" + w.data, "TINITTER_SECRET=" + fleetSecret, "TINITTER_DSN=mysql:host=127.0.0.1;port=" + f.db.port + ";dbname=tinitter;charset=utf8mb4",
		"TINITTER_DB_USER=tinitter", "TINITTER_DB_PASSWORD=" + fleetPassword, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
	}
	t.Cleanup(func() {
		w.kill()
		w.stopApache()
		if t.Failed() {
			t.Logf("output of slipway on %s:\n%s\nApache:\n%s", w.name, w.output.String(), w.read("httpd/logs/error.log"))
		}
	})
	w.startIn(scratch)
	return w
}

// startIn starts the agent in a mount namespace of its own, in which the host's folder is the scratch root. The hooks and what they start are
// in it too.
func (w *webHost) startIn(scratch string) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	w.cmd = w.program("run", "--config", w.config)
	w.cmd.Path, w.cmd.Args = "/bin/sh", []string{"sh", "-c", `mount --bind "$0" "$1" && shift && exec "$@"`, w.scratch, scratch, self, "run", "--config", w.config}
	w.cmd.Stdout, w.cmd.Stderr = &w.output, &w.output
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(w.cmd, w.exited)
}

func (w *webHost) stopApache() {
	pid, err := strconv.Atoi(strings.TrimSpace(w.read("httpd/httpd.pid")))
	if err != nil {
		return
	}
	syscall.Kill(pid, syscall.SIGTERM)
	for range 1500 {
		if syscall.Kill(pid, 0) != nil || zombie(pid) { // gone, or waiting for whoever has adopted it
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Errorf("the Apache of %s, process %d, does not end", w.name, pid)
}

// startHAProxy starts a balancer of the two sites, which asks Apache, and watches the agents' own listeners beside.
func (f *fleet) startHAProxy(t *testing.T) {
	t.Helper()
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "global\n stats socket %s level admin\n log 127.0.0.1:1 local0 emerg\ndefaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n", f.socket)
	fmt.Fprintf(&cfg, "frontend front\n bind %s\n default_backend site\n", f.front)
	for _, b := range []struct{ name, path string }{{"site", "/balancer"}, {"agents", "/health"}} {
		fmt.Fprintf(&cfg, "backend %s\n balance roundrobin\n option httpchk\n http-check send meth GET uri %s ver HTTP/1.1 hdr Host 127.0.0.1 hdr User-Agent ELB-HealthChecker/2.0\n http-check expect status 200\n timeout check 2s\n", b.name, b.path)
		for _, w := range f.web {
			_, port, _ := net.SplitHostPort(map[string]string{"site": w.site, "agents": w.health}[b.name])
			fmt.Fprintf(&cfg, " server %s %s check port %s inter %s rise %d fall %d\n", w.name, w.site, port, fleetProbe, fleetRise, fleetFall)
		}
	}
	name := filepath.Join(f.dir, "haproxy.cfg")
	if err := os.WriteFile(name, []byte(cfg.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, tool(t, "haproxy"), "-db", "-f", name)
	f.eventually("haproxy runs", func() bool { _, err := f.balancer("show info"); return err == nil })
}

// balancer sends a command to haproxy.
func (f *fleet) balancer(command string) (string, error) {
	conn, err := net.Dial("unix", f.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	fmt.Fprintln(conn, command)
	data, err := io.ReadAll(conn)
	return string(data), err
}

// server is a column of a server's row in haproxy's statistics.
func (f *fleet) server(backend, name, column string) string {
	text, err := f.balancer("show stat")
	if err != nil {
		return err.Error()
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return "unreadable"
	}
	for _, row := range rows[1:] {
		if row[slices.Index(rows[0], "pxname")] == backend && row[slices.Index(rows[0], "svname")] == name {
			return row[slices.Index(rows[0], column)]
		}
	}
	return "missing"
}

func (f *fleet) status(w *webHost) string { return f.server("site", w.name, "status") }

// traffic is what the service does with a balancer: out of the pool, and wait until the connections are done; into it, and wait until it is healthy.
func (f *fleet) traffic(ctx context.Context, event string, h lab.Host) error {
	name := "web1"
	if h.ID == f.lab.Hosts()[1].ID {
		name = "web2"
	}
	state, done := "drain", func() bool { return f.server("site", name, "scur") == "0" }
	if event == "AllowTraffic" {
		state, done = "ready", func() bool { return f.server("site", name, "status") == "UP" }
	}
	f.mu.Lock()
	before, now := f.blocked[name], f.server("site", name, "stot")
	f.mu.Unlock()
	if out, err := f.balancer("set server site/" + name + " state " + state); err != nil || strings.TrimSpace(out) != "" {
		return fmt.Errorf("haproxy: %s %w", out, err)
	}
	for ctx.Err() == nil && !done() {
		time.Sleep(10 * time.Millisecond)
	}
	if event == "AllowTraffic" && now != before {
		return fmt.Errorf("%s was sent requests while it was out of the pool: %s, before %s", name, now, before)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocked[name] = f.server("site", name, "stot")
	return ctx.Err()
}

func (f *fleet) api(t *testing.T) {
	t.Helper()
	_, err := f.deploy.CreateApplication(t.Context(), &codedeploy.CreateApplicationInput{ApplicationName: aws.String(labApplication)})
	f.must(err)
	_, err = f.deploy.CreateDeploymentGroup(t.Context(), &codedeploy.CreateDeploymentGroupInput{
		ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/deploy"),
		DeploymentConfigName: aws.String("CodeDeployDefault.OneAtATime"),
		DeploymentStyle:      &types.DeploymentStyle{DeploymentType: types.DeploymentTypeInPlace, DeploymentOption: types.DeploymentOptionWithTrafficControl},
		LoadBalancerInfo:     &types.LoadBalancerInfo{TargetGroupInfoList: []types.TargetGroupInfo{{Name: aws.String("web")}}},
	})
	f.must(err)
	f.eventually("both agents poll", func() bool {
		for _, h := range f.lab.Hosts() {
			if h.LastSeen.IsZero() || h.Version == "" {
				return false
			}
		}
		return len(f.lab.Hosts()) == 2
	})
}

// revision is the sample application as a bundle.
func (f *fleet) revision(name string) []byte {
	files := map[string]string{}
	const top = "../../../testdata/tinitter"
	f.must(filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(top, path)
		files[rel] = string(data)
		return err
	}))
	files["REVISION"] = name + "\n"
	files["appspec.yml"] = strings.ReplaceAll(files["appspec.yml"], "destination: /Tinitter", "destination: "+filepath.Join(f.dir, "scratch/Tinitter"))
	files["htdocs/slow.php"] = "<?php usleep((int) ($_GET['ms'] ?? 0) * 1000); echo 'slow';\n"
	return bundletest.Zip(bundletest.Files(files)...)
}

// bringFleet deploys a revision to both hosts, which must succeed.
func (f *fleet) bringFleet(name string) {
	f.t.Helper()
	f.put(name, f.revision(name))
	out, err := f.deploy.CreateDeployment(f.t.Context(), &codedeploy.CreateDeploymentInput{
		ApplicationName: aws.String(labApplication), DeploymentGroupName: aws.String(labGroup), Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3, S3Location: &types.S3Location{Bucket: aws.String(labBucket), Key: aws.String(name), BundleType: types.BundleTypeZip},
		},
	})
	f.must(err)
	deadline := time.Now().Add(90 * time.Second)
	for {
		d, err := f.deploy.GetDeployment(f.t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: out.DeploymentId})
		f.must(err)
		switch s := d.DeploymentInfo.Status; {
		case s == types.DeploymentStatusSucceeded:
			return
		case s == types.DeploymentStatusFailed, s == types.DeploymentStatusStopped, time.Now().After(deadline):
			f.t.Fatalf("deployment of %s: %s %+v", name, s, d.DeploymentInfo.ErrorInformation)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// load is visitors that ask the balancer for the page all the time.
type load struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex // guards what follows
	served map[string]int
	lost   []string
}

func (f *fleet) visitors(n int) *load {
	l := &load{stop: make(chan struct{}), served: map[string]int{}}
	for range n {
		l.wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				resp, err := client.Get("http://" + f.front + "/")
				revision, problem := "", ""
				if err != nil {
					problem = err.Error()
				} else {
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					revision = resp.Header.Get("X-Tinitter-Revision")
					if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("</html>")) {
						problem = fmt.Sprintf("%d %v %.100s", resp.StatusCode, err, body)
					}
				}
				l.mu.Lock()
				l.served[revision]++
				if problem != "" {
					l.lost = append(l.lost, time.Now().Format("05.000")+" "+problem)
				}
				l.mu.Unlock()
				time.Sleep(5 * time.Millisecond) // two processors are shared by everything here
			}
		})
	}
	return l
}

// end stops the visitors and tells how many requests were served by which revision, and which were lost.
func (l *load) end() (served map[string]int, lost []string) {
	close(l.stop)
	l.wg.Wait()
	return l.served, l.lost
}

// within waits for a change, and says how long it took; more than allowed is an error.
func (f *fleet) within(allowed time.Duration, what string, ok func() bool) {
	f.t.Helper()
	began := time.Now()
	f.eventually(what, ok)
	took := time.Since(began)
	f.t.Logf("%s: after %s (allowed %s)", what, took.Round(10*time.Millisecond), allowed)
	if took > allowed {
		f.t.Errorf("%s: took %s, allowed are %s", what, took, allowed)
	}
}

func statusOf(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}
