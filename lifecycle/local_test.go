package lifecycle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/bundle"
)

// L-13, L-14, L-15, L-17 and the table of section 2.
func TestLocalEvents(t *testing.T) {
	t.Parallel()
	const order, name = "order", "name"
	for _, c := range []struct{ given, want string }{
		{"BeforeInstall,ApplicationStart", "DownloadBundle,Install,BeforeInstall,ApplicationStart"},
		{"ApplicationStop", "DownloadBundle,Install,ApplicationStop"},
		{"DownloadBundle,ApplicationStart", "DownloadBundle,Install,ApplicationStart"},
		{"ApplicationStop,DownloadBundle,ApplicationStart", "DownloadBundle,ApplicationStop,Install,ApplicationStart"},
		{"ApplicationStart,CustomEvent", "DownloadBundle,Install,ApplicationStart,CustomEvent"},
		{"BeforeInstall,DownloadBundle", "DownloadBundle,BeforeInstall,Install"},           // L-16: by the swap
		{"BeforeInstall,DownloadBundle,Install", "BeforeInstall,DownloadBundle,Install"},   // L-16: passes here
		{"CustomEvent,DownloadBundle,Install,V2", "CustomEvent,DownloadBundle,Install,V2"}, // L-15: all else passes
		{"ApplicationStart,ApplicationStart", "DownloadBundle,Install,ApplicationStart,ApplicationStart"},
		{"ApplicationStart,DownloadBundle", order},
		{"Install,DownloadBundle", order},
		{"AfterInstall,DownloadBundle", order},
		{"ValidateService,DownloadBundle,Install", order},
		{"DownloadBundle,ApplicationStart,Install", order},
		{"BeforeAllowTraffic,Install", order},
		{"AfterAllowTraffic,Install", order},
		{"x,ApplicationStart,Install", order}, // L-15 comes before L-17
		{"BeforeInstall, ApplicationStart", name},
		{"beforeInstall", name},
		{"A", name},
		{"ABC", name},
		{"", name},
		{"Ab/../../x", name},
	} {
		got, err := LocalEvents(strings.Split(c.given, ","))
		var text []string
		for _, ev := range got {
			text = append(text, string(ev))
		}
		var badOrder *EventOrderError
		var badName *EventNameError
		switch is := strings.Join(text, ","); {
		case c.want == order && !errors.As(err, &badOrder), c.want == name && !errors.As(err, &badName):
			t.Errorf("LocalEvents(%s) = %s, %v, want an error about the %s", c.given, is, err, c.want)
		case c.want != order && c.want != name && (err != nil || is != c.want):
			t.Errorf("LocalEvents(%s) = %s, %v, want %s", c.given, is, err, c.want)
		}
	}
	if all, err := LocalEvents(nil); err != nil || !slices.Equal(all, Events()) {
		t.Errorf("LocalEvents(nil) = %v, %v", all, err)
	}
	for given, meant := range map[string]string{"beforeinstall": "BeforeInstall", " ApplicationStart": "ApplicationStart", "aplicationStart": "ApplicationStart"} {
		if _, err := LocalEvents([]string{given}); err == nil || !strings.Contains(err.Error(), "did you mean "+meant+"?") {
			t.Errorf("LocalEvents(%q) = %v, does not offer %s", given, err, meant)
		}
	}
}

// L-18, L-24, P-66, X-4.
func TestLocalSpecification(t *testing.T) {
	t.Parallel()
	r := LocalRequest{
		Revision: bundle.Revision{Type: bundle.LocalDirectory, Local: bundle.LocalLocation{Path: "/src", Format: bundle.Directory}},
		Group:    "g", GroupName: "LocalFleet", Application: "/src", FileExistsBehavior: "retain", Events: []string{"ApplicationStart", "CustomEvent"},
	}
	d, err := Local(r)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^d-[A-Z0-9]{9}-local$`).MatchString(d.ID) {
		t.Errorf("id %s is not of the form of L-24", d.ID)
	}
	want := &Deployment{
		ID: d.ID, GroupID: "g", GroupName: "LocalFleet", Application: "/src", Creator: "user", Type: "IN_PLACE", AppSpecFilename: "appspec.yml",
		FileExistsBehavior: "RETAIN", Local: true, Revision: r.Revision, PossibleEvents: append(eventNames(), "CustomEvent"),
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key, change := range map[string]func(*LocalRequest){
		"DeploymentGroupId":   func(r *LocalRequest) { r.Group = "../g" },
		"DeploymentGroupName": func(r *LocalRequest) { r.GroupName = "" },
		"ApplicationName":     func(r *LocalRequest) { r.Application = "" },
		"AppSpecFilename":     func(r *LocalRequest) { r.AppSpecFilename = "../appspec.yml" },
	} {
		bad := r
		change(&bad)
		var wrong *SpecificationError
		if _, err := Local(bad); !errors.As(err, &wrong) || wrong.Key != key {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func eventNames() []string {
	var names []string
	for _, ev := range Events() {
		names = append(names, string(ev))
	}
	return names
}

// local makes a local deployment of a folder with an appspec and scripts.
func (b *bench) local(appspec string, scripts map[string]string, events ...string) *Deployment {
	b.t.Helper()
	dir := b.t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "content"), 0o755), os.WriteFile(filepath.Join(dir, "content", "f"), []byte("f"), 0o644),
		os.WriteFile(filepath.Join(dir, "appspec.yml"), []byte(appspec), 0o644)); err != nil {
		b.t.Fatal(err)
	}
	d, err := Local(LocalRequest{
		Revision: bundle.Revision{Type: bundle.LocalDirectory, Local: bundle.LocalLocation{Path: dir, Format: bundle.Directory}},
		Group:    "g", GroupName: "n", Application: "a", Events: events,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// H-3e, L-16, L-18: what local deployments run that no deployment of the service has, and what begins is told.
func TestLocalDeployment(t *testing.T) {
	t.Parallel()
	var begun []string
	b := newBench(t, func(o *Options) {
		o.Fetcher = &bundle.Fetcher{}
		o.Begin = func(s Step) {
			if !s.Waiting { // a process that another test forks has the lock of the group until it executes its program
				begun = append(begun, string(s.Event)+" "+s.Script)
			}
		}
	})
	appspec := b.appspecOf("BeforeInstall=a.sh", "CustomEvent=b.sh")
	scripts := map[string]string{"a.sh": "#!/bin/sh\n", "b.sh": "#!/bin/sh\n: >$OUT/custom\n"}
	run := func(events ...string) (last Result, at Event) {
		list, err := LocalEvents(events)
		if err != nil {
			t.Fatal(err)
		}
		for ev, r := range b.Deploy(t.Context(), b.local(appspec, scripts, events...), list) {
			if last, at = r, ev; ev == Install && r.Code == Succeeded && (r.Changes == nil || r.Changes.Files+r.Changes.Unchanged != 1) {
				t.Errorf("Install has done %+v", r.Changes)
			}
		}
		return last, at
	}
	if r, at := run("BeforeInstall", "CustomEvent"); r.Code != Succeeded || at != "CustomEvent" {
		t.Fatalf("%s = %+v", at, r)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "custom")); err != nil {
		t.Errorf("the custom event has not run: %v", err)
	}
	want := []string{"DownloadBundle ", "Install ", "BeforeInstall ", "BeforeInstall a.sh", "CustomEvent ", "CustomEvent b.sh"}
	if diff := cmp.Diff(want, begun); diff != "" {
		t.Errorf("told to begin (-want +got):\n%s", diff)
	}
	if r, at := run("BeforeInstall", "DownloadBundle", "Install"); r.Code != UnknownError || at != "BeforeInstall" {
		t.Errorf("scripts of an archive that is not there: %s = %+v", at, r)
	}
}

// A person who waits ends a script with what they began it, and it is a failure of the script; a deployment at rest is suspended.
func TestAttended(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) {
		o.Fetcher, o.Attended, o.Settings.Grace = &bundle.Fetcher{}, true, 50*time.Millisecond
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := b.local(b.appspecOf("AfterInstall=a.sh"), map[string]string{"a.sh": "#!/bin/sh\ntrap ': >$OUT/termed' TERM\n: >$OUT/runs\nwhile :; do sleep 0.01; done\n"})
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(b.dir, "runs")); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	var last Result
	for _, r := range b.Deploy(ctx, d, []Event{DownloadBundle, Install, AfterInstall}) {
		last = r
	}
	if last.Code != ScriptFailed || !strings.Contains(last.Message, "was ended on request and was killed") || filepath.Base(last.Path) != "a.sh" {
		t.Errorf("%+v", last)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "termed")); err != nil {
		t.Errorf("the script was not asked first: %v", err)
	}
	for _, r := range b.Deploy(ctx, b.local(b.appspecOf(), nil), []Event{DownloadBundle}) {
		if !r.Suspended() {
			t.Errorf("begun after the end: %+v", r)
		}
	}
}

// A download that a person ends is over at once, and leaves nothing behind.
func TestAttendedDownload(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Attended = true })
	b.store.zips["k"], b.store.hold = []byte("x"), make(chan struct{})
	d, err := Local(LocalRequest{
		Revision: bundle.Revision{Type: bundle.S3, S3: bundle.S3Location{Bucket: "b", Key: "k", Format: bundle.Zip}}, Group: "g", GroupName: "n", Application: "a",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for b.store.count() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	for ev, r := range b.Deploy(ctx, d, []Event{DownloadBundle, Install}) {
		if ev != DownloadBundle || !r.Suspended() {
			t.Errorf("%s = %+v", ev, r)
		}
	}
	if left, err := os.ReadDir(b.root.own("prefetch")); err != nil || len(left) > 0 {
		t.Errorf("left in the work folder: %v, %v", left, err)
	}
}

// A local deployment has come to its end with whatever event it was asked to end with.
func TestLocalEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Fetcher = &bundle.Fetcher{} })
	for _, c := range []struct {
		script string
		ended  bool
	}{{"#!/bin/sh\n", true}, {"#!/bin/sh\nexit 1\n", false}} {
		d := b.local(b.appspecOf("ApplicationStart=a.sh"), map[string]string{"a.sh": c.script})
		for range b.Deploy(t.Context(), d, []Event{DownloadBundle, Install, ApplicationStart}) {
		}
		past, err := History(filepath.Join(b.dir, "root"))
		if err != nil || len(past) == 0 || past[0].Deployment != d.ID || past[0].Ended != c.ended {
			t.Errorf("%q: %+v, %v", c.script, past, err)
		}
	}
}

// What is deployed locally over the service's is told until the service deploys again; a group of local deployments alone has nothing to
// diverge from.
func TestLocalDiverges(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Fetcher = &bundle.Fetcher{} })
	deploy := func(change func(*Deployment)) string {
		t.Helper()
		d := b.local(b.appspecOf(), nil)
		change(d)
		for ev, r := range b.Deploy(t.Context(), d, []Event{DownloadBundle, Install}) {
			if r.Code != Succeeded {
				t.Fatalf("%s = %+v", ev, r)
			}
		}
		return d.ID
	}
	local := func(*Deployment) {}
	notes := func(deployment, service, to string) {
		t.Helper()
		all, err := Diverged(b.root.path)
		if got := all["g"]; err != nil || got.Deployment != deployment || got.Undoes != service || got.To != to {
			t.Errorf("%+v, %v, want %s in place of %s", got, err, deployment, service)
		}
	}
	first := deploy(local)
	alone := deploy(local)
	notes("", "", "")
	undone := deploy(func(d *Deployment) { d.Undoes, d.ReuseFrom = alone, first }) // going back among them is no divergence either
	notes("", "", "")
	deploy(func(d *Deployment) { d.Undoes, d.ReuseFrom = undone, alone })
	notes("", "", "")
	deploy(func(d *Deployment) { d.ID, d.Local = "d-SERVICE01", false })
	notes("", "", "")
	notes(deploy(local), "d-SERVICE01", "")
	second := deploy(local)
	notes(second, "d-SERVICE01", "")
	undo := deploy(func(d *Deployment) { d.Undoes, d.ReuseFrom = second, second })
	notes(undo, "d-SERVICE01", second)
	deploy(func(d *Deployment) { d.ID, d.Local = "d-SERVICE02", false })
	notes("", "", "")
}
