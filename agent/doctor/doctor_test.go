package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A check that hangs costs its own line and nothing else.
func TestExamine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		found := Examine(t.Context(), []Check{
			{"hangs", func(context.Context) Result { <-release; return ok("late") }},
			{"quick", func(context.Context) Result { return ok("fine") }},
			{"heeds", func(ctx context.Context) Result { <-ctx.Done(); return Result{Warn, "out of time", "wait"} }},
		}, 5*time.Second)
		want := []Finding{
			{"hangs", Result{Fail, "no answer within 5s", found[0].Remedy}, 5*time.Second + lastWord},
			{"quick", Result{OK, "fine", ""}, 0},
			{"heeds", Result{Warn, "out of time", "wait"}, 5 * time.Second},
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Error(diff)
		}
		if Worst(found) != Fail || Worst(found[1:]) != Warn || Worst(found[1:2]) != OK {
			t.Error("Worst is not the worst")
		}
		close(release)
	})
}

// mounted is a small file system of the test's own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func file(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Each fault of a host is named, with a remedy.
func TestHost(t *testing.T) {
	const unit, hold = "slipway.service", "etc/slipway/hold"
	host := func(t *testing.T, files ...string) string {
		dir := t.TempDir()
		for _, f := range files {
			file(t, filepath.Join(dir, f), "")
		}
		return dir
	}
	tests := []struct {
		name   string
		check  func(t *testing.T) Check
		status Status
		text   string // all that the text must hold
		remedy string
	}{
		{"writable", func(t *testing.T) Check { return Writable("root", t.TempDir(), "root_dir") }, OK, "can be written to", ""},
		{"missing, and can be made", func(t *testing.T) Check { return Writable("root", t.TempDir()+"/a/b", "root_dir") }, OK, "will be made in", ""},
		{"a file in the way", func(t *testing.T) Check { return Writable("root", host(t, "f")+"/f/root", "root_dir") }, Fail, "", "root_dir"},
		{"read-only", func(t *testing.T) Check {
			dir := mounted(t, "size=1m")
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return Writable("root", dir, "root_dir")
		}, Fail, "mounted read-only", "remount,rw "},
		{"disk full", func(t *testing.T) Check {
			dir := mounted(t, "size=64k,nr_inodes=100")
			data := make([]byte, 64<<10)
			for os.WriteFile(dir+"/f", data, 0o644) == nil {
				data = append(data, data...)
			}
			return Writable("root", dir, "root_dir")
		}, Fail, "no space left", "slipway prune"},
		{"little space", func(t *testing.T) Check { return Room("space", mounted(t, "size=1m"), 2<<20, 1) }, Warn, "1 MiB free", "free some space"},
		{"hardly any space", func(t *testing.T) Check { return Room("space", mounted(t, "size=1m"), 1<<30, 1) }, Fail, "MiB free", "enlarge the volume"},
		{"inodes used up", func(t *testing.T) Check { return Room("space", mounted(t, "nr_inodes=3"), 1, 1000) }, Fail, "of 3 inodes", "df -i"},
		{"space", func(t *testing.T) Check { return Room("space", t.TempDir()+"/not/yet", 1, 1) }, OK, "MiB free", ""},
		{"noexec", func(t *testing.T) Check {
			dir := mounted(t, "size=1m")
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOEXEC, ""); err != nil {
				t.Fatal(err)
			}
			return Executable("hooks", dir+"/root")
		}, Fail, "mounted noexec", "remount,exec"},
		{"exec", func(t *testing.T) Check { return Executable("hooks", t.TempDir()) }, OK, "can be executed", ""},
		{"official agent runs", func(t *testing.T) Check {
			dir := host(t)
			file(t, dir+"/proc/42/cmdline", "codedeploy-agent: master 42\x00")
			return OtherAgent("agents", dir+"/proc", dir)
		}, Fail, "process 42 (codedeploy-agent: master 42)", "systemctl disable --now codedeploy-agent"},
		{"official agent of the second generation runs", func(t *testing.T) Check {
			dir := host(t)
			file(t, dir+"/proc/43/cmdline", "/opt/codedeploy-agent/bin/codedeploy-agent\x00run\x00")
			return OtherAgent("agents", dir+"/proc", dir)
		}, Fail, "process 43", "disable --now"},
		{"official agent enabled", func(t *testing.T) Check {
			dir := host(t, "proc/1/cmdline", "etc/systemd/system/multi-user.target.wants/codedeploy-agent.service")
			return OtherAgent("agents", dir+"/proc", dir)
		}, Warn, "next boot", "systemctl disable codedeploy-agent"},
		{"alone", func(t *testing.T) Check { return OtherAgent("agents", "/proc", host(t)) }, OK, "no other agent", ""},
		{"no systemd", func(t *testing.T) Check { return Unit("unit", host(t), unit, hold) }, Skip, "systemd does not run", ""},
		{"held", func(t *testing.T) Check { return Unit("unit", host(t, "run/systemd/system/x", hold), unit, hold) }, Fail, "hold is there", "rm "},
		{"not installed", func(t *testing.T) Check { return Unit("unit", host(t, "run/systemd/system/x"), unit, hold) }, Warn, "not installed", "install the package"},
		{"not enabled", func(t *testing.T) Check {
			return Unit("unit", host(t, "run/systemd/system/x", "usr/lib/systemd/system/"+unit), unit, hold)
		}, Fail, "not enabled", "systemctl enable --now slipway"},
		{"enabled", func(t *testing.T) Check {
			return Unit("unit", host(t, "run/systemd/system/x", "usr/lib/systemd/system/"+unit, "etc/systemd/system/multi-user.target.wants/"+unit), unit, hold)
		}, OK, "is enabled", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { compare(t, tt.check(t), tt.status, tt.text, tt.remedy) })
	}
}

func compare(t *testing.T, c Check, status Status, text, remedy string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	got := c.Run(ctx)
	t.Logf("%s: %s — %s", got.Status, got.Text, got.Remedy)
	if got.Status != status || !strings.Contains(got.Text, text) || !strings.Contains(got.Remedy, remedy) {
		t.Errorf("%s = %+v, want %s, %q, %q", c.Name, got, status, text, remedy)
	}
	if problem := got.Status == Warn || got.Status == Fail; problem != (got.Remedy != "") || got.Text == "" || strings.Contains(got.Text, "\n") {
		t.Errorf("%s = %+v: a problem needs a remedy, and nothing else has one", c.Name, got)
	}
}

// certificate is one for 127.0.0.1 that ends at a time.
func certificate(t *testing.T, ends time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: ends.Add(-time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Each fault of the way to a service is named, with a remedy.
func TestNetwork(t *testing.T) {
	var off time.Duration
	answers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-off).UTC().Format(http.TimeFormat))
		if r.URL.Path == "/sick" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plain := httptest.NewServer(answers)
	defer plain.Close()
	secure := func(ends time.Time, known bool) (string, *http.Client) {
		s := httptest.NewUnstartedServer(answers)
		cert := certificate(t, ends)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that refuses is what is wanted
		s.StartTLS()
		t.Cleanup(s.Close)
		pool := x509.NewCertPool()
		if leaf, err := x509.ParseCertificate(cert.Certificate[0]); err == nil && known {
			pool.AddCert(leaf)
		}
		return s.URL, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	}
	closed := "127.0.0.1:1" // nobody listens there
	viaDeadProxy := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: closed})}}
	expired, expiredClient := secure(time.Now().Add(-time.Minute), true)
	unknown, unknownClient := secure(time.Now().Add(time.Hour), false)
	good, goodClient := secure(time.Now().Add(time.Hour), true)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	healthy := func(status int) bool { return status == http.StatusOK }
	tests := []struct {
		name   string
		check  Check
		off    time.Duration
		status Status
		text   string
		remedy string
	}{
		{"answers", Endpoint("service", good, "", goodClient), 0, OK, "answers", ""},
		{"expired TLS", Endpoint("service", expired, "", expiredClient), 0, Fail, "not valid now", "date -u"},
		{"unknown authority", Endpoint("service", unknown, "", unknownClient), 0, Fail, "authority that this host does not know", "AWS_CA_BUNDLE"},
		{"name not found", Endpoint("service", "https://codedeploy-commands.no-such-region.invalid", "", http.DefaultClient), 0, Fail, "codedeploy-commands.no-such-region.invalid", ""},
		{"no TLS", Endpoint("service", strings.Replace(plain.URL, "http:", "https:", 1), "", http.DefaultClient), 0, Fail, "", ""},
		{"refused", Endpoint("service", "http://"+closed, "", http.DefaultClient), 0, Fail, "refused", "security group"},
		{"proxy down", Endpoint("service", "https://example.invalid", "http://user:secret@"+closed, viaDeadProxy), 0, Fail, "the proxy http://user:xxxxx@" + closed + " cannot be reached", "proxy_uri"},
		{"never answers", Endpoint("service", "http://"+silent.Addr().String(), "", http.DefaultClient), 0, Fail, "does not answer", "NAT"},
		{"clock right", Clock("clock", plain.URL, http.DefaultClient, time.Now), 0, OK, "the clock is right", ""},
		{"clock 2 minutes off", Clock("clock", plain.URL, http.DefaultClient, time.Now), 2 * time.Minute, Warn, "off by 2m", "chronyd"},
		{"clock 10 minutes off", Clock("clock", plain.URL, http.DefaultClient, time.Now), -10 * time.Minute, Fail, "the clock is off by -", "chronyd"},
		{"no clock", Clock("clock", "http://"+closed, http.DefaultClient, time.Now), 0, Skip, "does not answer", ""},
		{"balancer's path", Answers("health", plain.URL, healthy, http.DefaultClient, "mend it"), 0, OK, "answers 200", ""},
		{"balancer's path is sick", Answers("health", plain.URL+"/sick", healthy, http.DefaultClient, "mend it"), 0, Fail, "answers 503", "mend it"},
		{"balancer's path is closed", Answers("health", "http://"+closed, healthy, http.DefaultClient, "mend it"), 0, Fail, "does not answer", "mend it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			off = tt.off
			compare(t, tt.check, tt.status, tt.text, tt.remedy)
		})
	}
}
