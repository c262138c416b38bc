package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// L-1 to L-11: how a command line is read.
func TestLocalOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		ours bool
		want map[string]string // nil: refused
		says string
	}{
		{"", false, map[string]string{}, ""},
		{"-l b -t zip -b RETAIN -g g -d n -a a -e E -c f -A s", false, map[string]string{
			optLocation: "b", optType: "zip", optBehavior: "RETAIN", optGroup: "g", optGroupName: "n", optApplication: "a", optEvents: "E", optConfig: "f", optAppSpec: "s",
		}, ""},
		{"--bundle-location=b --ty zip --f RETAIN --deployment-group g --deployment-group-n=n --appl a --ev E --ag f --apps s", false, map[string]string{
			optLocation: "b", optType: "zip", optBehavior: "RETAIN", optGroup: "g", optGroupName: "n", optApplication: "a", optEvents: "E", optConfig: "f", optAppSpec: "s",
		}, ""},
		{"-tzip -l=b", false, map[string]string{optType: "zip", optLocation: "=b"}, ""},
		{"-hv", false, map[string]string{optHelp: "", optVersion: ""}, ""},
		{"-vtzip", false, map[string]string{optVersion: "", optType: "zip"}, ""},
		{"--events=", false, map[string]string{optEvents: ""}, ""},
		{"-e -x", false, map[string]string{optEvents: "-x"}, ""},
		{"--deployment", false, nil, "--deployment may be each of --deployment-group, --deployment-group-name"},
		{"--a x", false, nil, "--a may be each of --application-name, --agent-configuration-file, --appspec-filename"},
		{"--nothing", false, nil, "there is no option --nothing"},
		{"--=x", false, nil, "there is no option --"},
		{"-x", false, nil, "there is no option -x"},
		{"-hx", false, nil, "there is no option -x"},
		{"-t zip -t tar", false, nil, "--type is given twice"},
		{"-h --help", false, nil, "--help is given twice"},
		{"-t", false, nil, "--type needs a value"},
		{"--type", false, nil, "--type needs a value"},
		{"--help=x", false, nil, "--help takes no value"},
		{"b.zip", false, nil, `there is no argument "b.zip": give the bundle with --bundle-location`},
		{"-t zip -- -b", false, nil, `there is no argument "-b"`},
		{"-", false, nil, `there is no argument "-"`},
		{"--json", false, nil, "there is no option --json"},
		{"--config f", false, nil, "there is no option --config"},

		{"--json --config f", true, map[string]string{optJSON: "", optConfig: "f"}, ""},
		{"--config_file=f", true, map[string]string{optConfig: "f"}, ""},
		{"--config f -c g", true, nil, "is given twice"},
		{"--config=", true, nil, "--config is empty"},
		{"a b", true, nil, `one bundle at a time: "b" is a second one`},
		{"a -l b", true, nil, `one bundle at a time: "b" is a second one`},
		{"-l a b", true, nil, `one bundle at a time: "b" is a second one`},
		{"--dry-run", true, nil, "slipway plan says what a deployment would do"},
	} {
		o, err := parseLocal(strings.Fields(c.args), c.ours)
		if c.want == nil {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", c.args, err, c.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		} else if diff := cmp.Diff(c.want, o.values); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
	if o, err := parseLocal([]string{"--json", "--", "-odd"}, true); err != nil || o.positional != "-odd" {
		t.Errorf("behind --: %+v, %v", o, err)
	}
}

func FuzzLocalOptions(f *testing.F) {
	for _, line := range []string{"-l\x00b\x00-tzip", "--ev=A,B\x00--\x00x", "--deployment-group-\x00n"} {
		f.Add(line, false)
		f.Add(line, true)
	}
	f.Fuzz(func(t *testing.T, line string, ours bool) {
		o, err := parseLocal(strings.Split(line, "\x00"), ours)
		if (o == nil) != (err != nil) {
			t.Errorf("%q = %+v, %v", line, o, err)
		}
		if err == nil {
			o.events()
			uriScheme(line)
		}
	})
}

// L-19, in its order: each row also has what the rows below it would refuse. A row's outcome is the class of the error.
func TestLocalValidation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string]string{
		"bundle/appspec.yml": "", "yaml/appspec.yaml": "", "other/deploy/x.yml": "", "other/my-appspec.yml": "", "bare/x": "", "with blank/appspec.yml": "",
		"b.zip": "PK\x03\x04", "b.tgz": "\x1f\x8b", "text": "version: 0.0", "%zz": "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path(name)), 0o755), os.WriteFile(path(name), []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	const badEvents = "ApplicationStart,DownloadBundle"
	for _, c := range []struct {
		rule, location, kind, appspec, events, says string // says "": accepted
		ours                                        string // what slipway local says instead, "accepts" for nothing
		late                                        bool   // told when the revision is made
	}{
		{rule: "L-19a", location: "http://h/a b", kind: "rpm", events: badEvents, says: `the type "rpm" is none of directory, zip, tar, tgz`},
		{rule: "L-19a", location: path("bundle"), kind: "ZIP", says: `the type "ZIP" is none of`},
		{rule: "L-19b", location: "http://h/a b", kind: "zip", says: "it has a blank"},
		{rule: "L-19b", location: path("with blank"), kind: "directory", says: "it has a blank", ours: "accepts"},
		{rule: "L-19b", location: path("%zz"), kind: "zip", says: "a % without two hexadecimal digits", ours: "accepts"},
		{rule: "L-19b", location: "s3://b/ä", kind: "zip", says: "not ASCII"},
		{rule: "L-19b", location: "s3://b/{k}", kind: "zip", says: "the character {"},
		{rule: "L-19b", location: "1:2", kind: "zip", says: "a colon before the first slash"},
		{rule: "L-19c", location: "http://github.com/o/r", kind: "zip", events: badEvents, says: "only https and s3"},
		{rule: "L-19c", location: "HTTP://h/x", kind: "zip", says: "only https and s3"},
		{rule: "L-19d", location: path("none"), kind: "directory", events: badEvents, says: "no such file"},
		{rule: "L-19d", location: "file://" + path("bundle"), kind: "directory", says: "without file://"},
		{rule: "L-19d", location: "ftp://h/x", kind: "zip", says: "ftp is not fetched from"},
		{rule: "L-19d", location: "", kind: "directory", says: "the location is empty"},
		{rule: "L-19e", location: path("b.zip"), kind: "directory", appspec: "x", events: badEvents, says: "it is a zip archive, say --type zip"},
		{rule: "L-19e", location: path("text"), kind: "directory", says: "it is a text, which is no bundle"},
		{rule: "L-19e", location: path("bundle"), kind: "tar", appspec: "x", events: badEvents, says: "is a directory and the type is tar"},
		{rule: "L-19f", location: path("bundle"), kind: "directory", appspec: "x.yml", events: badEvents, says: "has no x.yml, but appspec.yml: name it with --appspec-filename"},
		{rule: "L-19f", location: path("bare"), kind: "directory", events: badEvents, says: "has no appspec.yml and no appspec.yaml: is it the directory of the bundle?"},
		{rule: "L-19f", location: path("other"), kind: "directory", says: "but my-appspec.yml: name it with"},
		{rule: "L-19f", location: path("yaml"), kind: "directory"},
		{rule: "L-19f", location: path("other"), kind: "directory", appspec: "deploy/x.yml"},
		{rule: "L-19g", location: path("bundle"), kind: "directory", events: badEvents, says: "ApplicationStart cannot come before DownloadBundle"},
		{rule: "L-19g", location: path("bundle"), kind: "directory", events: "DownloadBundle,ValidateService,Install", says: "ValidateService cannot come before Install"},
		{rule: "L-19g", location: "s3://b", kind: "directory", events: "Install,DownloadBundle", says: "Install cannot come before DownloadBundle"},
		{rule: "L-19h", location: "s3://b", kind: "directory", says: "names no object", late: true},
		{rule: "L-19h", location: "https://gitlab.com/o/r", kind: "zip", says: "is no address of GitHub", late: true},
		{rule: "L-19h", location: "https://github.com/o", kind: "zip", says: "names no repository", late: true},
		{rule: "L-23", location: path("b.zip"), kind: "zip"},
		{rule: "L-20", location: "s3://b/k", kind: "tgz"},
		{rule: "L-21", location: "https://github.com/o/r", kind: "directory"},
	} {
		for _, ours := range []bool{false, true} {
			o := &localOptions{values: map[string]string{optLocation: c.location, optType: c.kind, optEvents: c.events}}
			if c.appspec != "" {
				o.values[optAppSpec] = c.appspec
			}
			r, err := o.check(ours)
			if c.late {
				if err != nil {
					t.Errorf("%s %s: %v, before the first line", c.rule, c.location, err)
					continue
				}
				_, err = r.revision("")
			}
			says := c.says
			if ours && c.ours != "" {
				says = strings.TrimPrefix(c.ours, "accepts")
			}
			var wrong *invalidError
			switch {
			case says == "" && err != nil:
				t.Errorf("%s %s: %v", c.rule, c.location, err)
			case says != "" && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), says)):
				t.Errorf("%s %s (ours %t): %v, want %q", c.rule, c.location, ours, err, says)
			}
		}
	}
	// L-19i and L-17 are refused, but not as what the official tool has validated.
	for _, c := range []struct{ location, events, says string }{
		{"s3://b/k", "", "say with --type which one"},
		{path("bundle"), "BeforeInstall, ApplicationStart", "did you mean ApplicationStart?"},
	} {
		r, err := (&localOptions{values: map[string]string{optLocation: c.location, optEvents: c.events}}).check(false)
		if err == nil {
			_, err = r.revision("")
		}
		var wrong *invalidError
		if err == nil || errors.As(err, &wrong) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v", c.location, c.events, err)
		}
	}
}

// L-10, L-26 and the table of outcomes: what is printed where, and the exit codes.
func TestLocalLines(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	folder := regexp.QuoteMeta(d.path("deployment-root/"+localGroup)) + "/d-[A-Z0-9]{9}-local"
	first, third, last := "Deploying in "+folder+"\n", "What the scripts have said is in "+folder+"/logs/scripts\\.log\n", "The local deployment succeeded\n"
	failing := sampleBundle()
	failing["scripts/validateservice.sh"] = "#!/bin/sh\necho no answer >&2\nexit 7\n"
	second := "The local deployment failed in the script " + folder + "/deployment-archive/scripts/validateservice\\.sh\n"
	d.tree("good", sampleBundle())
	d.tree("failing", failing)
	d.tree("broken", map[string]string{"appspec.yml": "version: 1\n"})
	d.tree("custom", map[string]string{"appspec.yml": appspecFor("", "CustomEvent"), "scripts/customevent.sh": proofScript})
	d.write("b.zip", "no zip at all")
	usage := `(?s).*\n\ncodedeploy-local deploys.*-A, --appspec-filename.*`
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // patterns of all of it
	}{
		{"success", []string{"-l", "good"}, 0, first + third + last, ""},
		{"script error", []string{"-l", "failing"}, 1, first + second + third, `(?s).*failed \(code 4\).*exit code 7.*no answer.*the files of d-.*-local are installed, and scripts have run, ValidateService last; slipway rollback ` + localGroup + ` brings d-.*-local back\n`},
		{"validation", []string{"-l", "none"}, 1, "ERROR: none: no such file or directory\n", ""},
		{"order of events", []string{"-l", "good", "-e", "AfterInstall,Install"}, 1, "ERROR: AfterInstall cannot come before Install.*\n", ""},
		{"late validation", []string{"-l", "https://gitlab.com/o/r"}, 1, first + third + "ERROR: https://gitlab.com/o/r is no address of GitHub.*\n", ""},
		{"argument (A-22)", []string{"-l", "custom"}, 1, "(?s)" + first + third + `ERROR: .*unknown lifecycle event "CustomEvent".*`, ""},
		{"invalid appspec", []string{"-l", "broken"}, 1, first + third, "(?s)ERROR: .*appspec.yml:1:.*"},
		{"unpack failure", []string{"-l", "b.zip", "-t", "zip"}, 1, first + third, "ERROR: .* the bundle is no archive.*\n"},
		{"specification", []string{"-l", "good", "-d", ""}, 1, "", "ERROR: .*DeploymentGroupName is empty\n"},
		{"names of events", []string{"-l", "good", "-e", "beforeInstall"}, 1, "", "ERROR: \"beforeInstall\" cannot be the name .*did you mean BeforeInstall.*\n"},
		{"object without type", []string{"-l", "s3://b/k"}, 1, first + third, "ERROR: s3://b/k is an archive.*\n"},
		{"unknown option", []string{"--nothing"}, 1, "there is no option --nothing" + usage, ""},
		{"option without value", []string{"-l"}, 1, "--bundle-location needs a value" + usage, ""},
		{"help", []string{"-l", "good", "-h"}, 1, "(?s)codedeploy-local deploys.*Usage:.*", ""},
		{"version", []string{"--vers"}, 1, "1\\.0\n", ""},
	} {
		code, stdout, stderr := d.deploy(c.args...)
		for _, of := range []struct{ stream, text, want string }{{"stdout", stdout, c.stdout}, {"stderr", stderr, c.stderr}} {
			if !regexp.MustCompile("^(?:" + of.want + ")$").MatchString(of.text) {
				t.Errorf("%s: %s:\n%s\nwant:\n%s", c.name, of.stream, of.text, of.want)
			}
		}
		if code != c.code {
			t.Errorf("%s: exit %d, want %d", c.name, code, c.code)
		}
	}
	for _, c := range []struct{ config, says string }{{"none.yml", "none.yml: cannot be read"}, {".", "not a regular file"}} { // L-8
		if code, stdout, _ := d.run(localName, "-l", "good", "-c", c.config); code != 1 || !strings.HasPrefix(stdout, "ERROR: ") || !strings.Contains(stdout, c.says) {
			t.Errorf("-c %s: exit %d, %s", c.config, code, stdout)
		}
	}
	if text := d.read("log/codedeploy-local.log"); !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO  \[codedeploy-local\(\d+\)\]: local deployment `).MatchString(text) { // C-25, C-26
		t.Errorf("log:\n%s", text)
	}
}
