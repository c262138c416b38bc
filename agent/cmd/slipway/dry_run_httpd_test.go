package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/lifecycle"
)

// needsHTTPD skips a test where there is no web server with PHP. CI has one.
func needsHTTPD(t testing.TB) {
	t.Helper()
	for _, name := range []string{"apache2", "php", "curl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
}

// setUpHTTPD is a bundle that makes the copy of the host a web server for the sample application, as somebody did to the host of the walkthrough by hand.
func (d *desk) setUpHTTPD() string {
	return d.tree("setup", map[string]string{
		"appspec.yml": appspecFor("", "AfterInstall"),
		"scripts/afterinstall.sh": `#!/bin/sh
set -e
a2dissite -q 000-default
a2enmod -q rewrite
cat >/etc/apache2/sites-enabled/tinitter.conf <<'END'
` + readFile(d.t, "../../../testdata/tinitter/deploy/httpd/tinitter.conf") + `
END
echo ServerName localhost >>/etc/apache2/apache2.conf
`,
	})
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// M3: the sample application is deployed in the copy, its real httpd started there, and it answers.
func TestDryRunSampleApplication(t *testing.T) {
	needsSandbox(t)
	needsHTTPD(t)
	d := newDesk(t)
	sample, err := filepath.Abs("../../../testdata/tinitter")
	if err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, "/etc/apache2")
	a := d.rehearsed(0, sample, "--from", d.setUpHTTPD(), "--services", "real", "--health=/health")
	if diff := differences(before, treeOf(t, "/etc/apache2")); len(diff) > 0 {
		t.Fatalf("the rehearsal has changed the host: %v", diff)
	}
	if a.Outcome != outcomeSucceeded || len(a.HealthAfter) != 1 || !a.HealthAfter[0].OK {
		text, _ := json.MarshalIndent(a, "", " ")
		t.Fatalf("%s", text)
	}
	if e := eventOf(t, a, lifecycle.ValidateService); !strings.Contains(outputOf(e), "/health is 200, serving "+a.Deployment) {
		t.Errorf("ValidateService: %+v", e)
	}
	apache := false
	for _, p := range a.Processes {
		apache = apache || strings.Contains(p.Command, "apache2")
	}
	listens := false
	for _, l := range a.Listeners {
		listens = listens || l.Network == "tcp" && strings.HasSuffix(l.Address, ":80")
	}
	if !apache || !listens {
		t.Errorf("processes %+v, listeners %+v", a.Processes, a.Listeners)
	}
	if _, err := os.Lstat("/Tinitter"); err == nil {
		t.Error("/Tinitter is on the host")
	}
	for _, c := range a.Files {
		if strings.HasPrefix(c.Path, "/etc/apache2") {
			t.Errorf("what --from has done is shown as the deployment's: %+v", c)
		}
	}
}

// What scripts ask of a service manager is answered by a recorder, and started for real only if that is asked for.
func TestDryRunServices(t *testing.T) {
	needsSandbox(t)
	needsHTTPD(t)
	d := newDesk(t)
	bundle := d.tree("bundle", map[string]string{
		"appspec.yml":                 appspecFor("", "ApplicationStart"),
		"scripts/applicationstart.sh": "#!/bin/sh\nsystemctl enable apache2\nsystemctl restart apache2\n",
	})
	recorded := d.rehearsed(0, bundle)
	var calls []string
	for _, c := range recorded.Services {
		if c.By != lifecycle.ApplicationStart || c.Exit != 0 {
			t.Errorf("call %+v", c)
		}
		calls = append(calls, c.Call)
	}
	if !slices.Contains(calls, "systemctl enable apache2") || !slices.Contains(calls, "systemctl restart apache2") || len(recorded.Processes) > 0 {
		t.Errorf("services %+v, processes %+v", recorded.Services, recorded.Processes)
	}
	real := d.rehearsed(0, bundle, "--services", "real", "--health=/")
	if len(real.HealthAfter) != 1 || !real.HealthAfter[0].OK || len(real.Processes) == 0 {
		t.Errorf("health %+v, processes %+v, services %+v", real.HealthAfter, real.Processes, real.Services)
	}
	// Without the service the application is not well, and that is what the exit code says.
	if a := d.rehearsed(exitFailure, d.tree("none", map[string]string{"appspec.yml": appspecFor("")}), "--health=/"); a.Outcome != outcomeSucceeded || a.HealthAfter[0].OK {
		t.Errorf("outcome %s, health %+v", a.Outcome, a.HealthAfter)
	}
}

// BenchmarkDryRunOverhead measures what the rehearsal of the sample bundle costs beyond its events: the sandbox and the difference. The bound is 0.5 s
// on a machine with 500,000 files.
func BenchmarkDryRunOverhead(b *testing.B) {
	needsSandbox(b)
	d := newDesk(b)
	sample, err := filepath.Abs("../../../testdata/tinitter")
	if err != nil {
		b.Fatal(err)
	}
	var all []time.Duration
	for b.Loop() {
		a := d.rehearsed(0, sample, "--events", "ApplicationStop,DownloadBundle,BeforeInstall,Install,AfterInstall")
		all = append(all, time.Duration(a.OverheadMS)*time.Millisecond)
	}
	report1(b, "overhead-ms", ms(median(all)))
}
