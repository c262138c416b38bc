package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// accountOf is the account of a deployment of the bench.
func (b *bench) accountOf(id string, o AccountOptions) *Account {
	b.t.Helper()
	past, err := History(b.root.path)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range past {
		if p.Deployment == id {
			a, err := AccountOf(b.root.path, past, p, o)
			if err != nil {
				b.t.Fatal(err)
			}
			return a
		}
	}
	b.t.Fatalf("deployment %s is not known", id)
	return nil
}

// tale is an account without what differs from one run to the next.
func tale(a *Account) (list []string) {
	list = append(list, fmt.Sprintf("%s kind=%s from=%s: %s", a.Outcome, a.Kind, a.From, a.State))
	for _, e := range a.Events {
		list = append(list, fmt.Sprintf("%s %s code=%d whose=%q nothing=%q", e.Event, e.Outcome, e.Code, e.Whose, e.Nothing))
		for _, s := range e.Scripts {
			list = append(list, fmt.Sprintf("  %s as=%q code=%d exit=%d of %ds, time known: %v", s.Script, s.RunAs, s.Code, s.Exit, s.TimeoutMS/1000, s.TookMS != UnknownMS))
			for _, l := range s.Output {
				list = append(list, "    "+l.Stream+" "+l.Text)
			}
		}
	}
	return append(list, a.Notes...)
}

// What was carried out is told with what was said, by whom, and for how long (H-24); of an event that was repeated the last run counts.
func TestAccountOf(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	appspec := strings.ReplaceAll(b.appspecOf("ApplicationStop=stop.sh", "AfterInstall=p.sh"), "location: p.sh\n", "location: p.sh\n      timeout: 90\n    - location: p.sh\n    - location: q.sh\n")
	files := func(q string) map[string]string {
		return map[string]string{
			"appspec.yml": appspec, "stop.sh": "#!/bin/sh\necho stopping\n", "p.sh": "#!/bin/sh\necho password=hunter2hunter2\necho to stderr >&2\n",
			"q.sh": q, "content/f": q,
		}
	}
	b.put("1", files("#!/bin/sh\nexit 0\n"))
	b.put("2", files("#!/bin/sh\necho broken >&2\nexit 3\n"))
	every := []Event{ApplicationStop, DownloadBundle, BeforeInstall, Install, AfterInstall, ApplicationStart, ValidateService}
	b.deploy(b.spec("d-1", "1"), every...)
	second := b.spec("d-2", "2")
	b.deploy(second, every[:4]...)
	for range 2 {
		if r := b.do(AfterInstall, second); r.Code != ScriptFailed {
			t.Fatalf("AfterInstall = %+v", r)
		}
	}
	said := []string{"    stdout password=[redacted]", "    stderr to stderr"}
	// Where a script of an event fails, the history has the time of that one alone.
	scripts := func(timed bool, last string) (list []string) {
		for _, timeout := range []int{90, 3600} {
			list = append(list, fmt.Sprintf(`  p.sh as="" code=0 exit=0 of %ds, time known: %v`, timeout, timed))
			list = append(list, said...)
		}
		return append(list, last)
	}
	want := append([]string{
		"succeeded kind=in-place from=: the files of d-1 were installed, and since then those of d-2 are",
		`ApplicationStop succeeded code=0 whose="the last successful revision" nothing="there is no archive of the last successful revision"`,
		`DownloadBundle succeeded code=0 whose="" nothing=""`,
		`BeforeInstall succeeded code=0 whose="this revision" nothing="no scripts in the appspec of this revision"`,
		`Install succeeded code=0 whose="" nothing=""`,
		`AfterInstall succeeded code=0 whose="this revision" nothing=""`,
	}, scripts(true, `  q.sh as="" code=0 exit=0 of 3600s, time known: true`)...)
	want = append(want,
		`ApplicationStart succeeded code=0 whose="this revision" nothing="no scripts in the appspec of this revision"`,
		`ValidateService succeeded code=0 whose="this revision" nothing="no scripts in the appspec of this revision"`)
	if diff := cmp.Diff(want, sortedOutput(tale(b.accountOf("d-1", AccountOptions{})))); diff != "" {
		t.Errorf("d-1 (-want +got):\n%s", diff)
	}
	a := b.accountOf("d-2", AccountOptions{})
	want = append([]string{
		"failed kind= from=s3://b/1: the files of d-2 are installed, and scripts have run, AfterInstall last",
		`ApplicationStop succeeded code=0 whose="the last successful revision" nothing=""`,
		`  stop.sh as="" code=0 exit=0 of 3600s, time known: true`, "    stdout stopping",
		`DownloadBundle succeeded code=0 whose="" nothing=""`,
		`BeforeInstall succeeded code=0 whose="this revision" nothing="no scripts in the appspec of this revision"`,
		`Install succeeded code=0 whose="" nothing=""`,
		`AfterInstall failed code=4 whose="this revision" nothing=""`,
	}, scripts(false, `  q.sh as="" code=4 exit=3 of 3600s, time known: true`)...)
	want = append(want, "    stderr broken", "AfterInstall has run more than once; this is its last run, and the log has the others")
	if diff := cmp.Diff(want, sortedOutput(tale(a))); diff != "" {
		t.Errorf("d-2 (-want +got):\n%s", diff)
	}
	for _, e := range a.Events {
		for i, s := range e.Scripts {
			if s.Began.Before(e.Began) || i > 0 && s.Began.Before(e.Scripts[i-1].Began) || s.Began.Sub(e.Began) > time.Minute {
				t.Errorf("%s: script %d began at %v, the event at %v", e.Event, i, s.Began, e.Began)
			}
		}
	}
	if want := "script q.sh failed with exit code 3"; !strings.HasPrefix(a.Events[4].Scripts[2].Message, want) || a.Events[4].Message != "" {
		t.Errorf("the script says %q, the event %q", a.Events[4].Scripts[2].Message, a.Events[4].Message)
	}
	if !strings.Contains(a.Events[3].Message, "1 replaced") {
		t.Errorf("Install says %q", a.Events[3].Message)
	}
}

// sortedOutput puts the two streams of a script, which come side by side, into one order.
func sortedOutput(list []string) []string {
	for i := 1; i < len(list); i++ {
		if strings.HasPrefix(list[i], "    stdout") && strings.HasPrefix(list[i-1], "    stderr") {
			list[i], list[i-1] = list[i-1], list[i]
		}
	}
	return list
}

// Of a deployment by another agent there is what its logs give; of one in hand what it has come to; without its log what the history has.
func TestAccountOfLittle(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.put("1", map[string]string{"appspec.yml": b.appspecOf("AfterInstall=p.sh"), "p.sh": "#!/bin/sh\necho no such table >&2\nexit 3\n", "content/f": "1"})
	spec := b.spec("d-1", "1")
	b.deploy(spec, DownloadBundle, Install)
	if got := b.accountOf("d-1", AccountOptions{InHand: AfterInstall}); got.Outcome != OutcomeInHand || got.State != "AfterInstall is being carried out, and the files of d-1 are installed" {
		t.Errorf("in hand: %s: %s", got.Outcome, got.State)
	}
	if got := b.accountOf("d-1", AccountOptions{}); got.Outcome != OutcomeIncomplete || got.State != "its last event is Install, and the files of d-1 are installed" {
		t.Errorf("incomplete: %s: %s", got.Outcome, got.State)
	}
	b.do(AfterInstall, spec)
	logs, err := filepath.Glob(filepath.Join(b.root.path, "*", "d-1", "logs"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	if err := os.RemoveAll(logs[0]); err != nil {
		t.Fatal(err)
	}
	e := b.accountOf("d-1", AccountOptions{}).Events[2]
	if len(e.Scripts) != 1 || e.Scripts[0].Exit != 3 || len(e.Scripts[0].Output) != 0 || !strings.Contains(e.Message, "no such table") {
		t.Errorf("without its log: %+v", e)
	}

	foreign := filepath.Join(b.root.path, "g-9", "d-OLD", "logs")
	if err := os.MkdirAll(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	const text = "2026-11-20 10:00:00 LifecycleEvent - BeforeInstall\n2026-11-20 10:00:00 Script - a.sh\n2026-11-20 10:00:04 [stdout]one\n" +
		"2026-11-20 10:00:07 [stderr]two\nno line of that agent\n2026-11-20 10:00:08 LifecycleEvent - AfterInstall\n2026-11-20 10:00:08 Script - b.sh\n2026-11-20 10:00:09 [stdout]not ended"
	if err := os.WriteFile(filepath.Join(foreign, "scripts.log"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a := b.accountOf("d-OLD", AccountOptions{})
	want := []string{
		"foreign kind= from=: what became of its events is not on disk, and no files are known to be installed",
		`BeforeInstall foreign code=0 whose="this revision" nothing=""`, `  a.sh as="?" code=0 exit=-1 of 0s, time known: true`, "    stdout one", "    stderr two", "    agent no line of that agent",
		`AfterInstall foreign code=0 whose="this revision" nothing=""`, `  b.sh as="?" code=0 exit=-1 of 0s, time known: true`, "    stdout not ended",
	}
	if diff := cmp.Diff(want, tale(a)); diff != "" {
		t.Errorf("of another agent (-want +got):\n%s", diff)
	}
	if got := a.Events[0].Scripts[0].TookMS; got != 7000 || a.Events[0].TookMS != 7000 || a.TookMS != 9000 || a.Began.Second() != 0 {
		t.Errorf("a.sh took %d ms, its event %d, want the 7 seconds from its header to its last line; all took %d ms from %v on", got, a.Events[0].TookMS, a.TookMS, a.Began)
	}
}

// Of a script that says much the beginning and the end are kept, and what is between is counted.
func TestAccountOfMuch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logs := filepath.Join(dir, "g", "d", "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("2026-11-20 10:00:00 LifecycleEvent - BeforeInstall\n2026-11-20 10:00:00 Script - a.sh\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "2026-11-20 10:00:04 [stdout]line %d %s\n", i, strings.Repeat("é", i%2*10_000))
	}
	if err := os.WriteFile(filepath.Join(logs, "scripts.log"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	past, err := History(dir)
	if err != nil {
		t.Fatal(err)
	}
	for most, kept := range map[int][2]int{40: {10, 30}, 1: {0, 1}, 0: {1000, 0}, 5000: {1000, 0}} {
		a, err := AccountOf(dir, past, past[0], AccountOptions{Lines: most})
		if err != nil {
			t.Fatal(err)
		}
		s := a.Events[0].Scripts[0]
		var got []int
		for _, l := range s.Output {
			var n int
			if _, err := fmt.Sscanf(l.Text, "line %d", &n); err != nil || len(l.Text) > maxLineTold+len("…") {
				t.Fatalf("a line of %d bytes, %v", len(l.Text), err)
			}
			got = append(got, n)
		}
		var want []int
		for i := range kept[0] {
			want = append(want, i)
		}
		for i := range kept[1] {
			want = append(want, 1000-kept[1]+i)
		}
		if diff := cmp.Diff(want, got); diff != "" || s.Omitted != int64(1000-len(want)) {
			t.Errorf("of at most %d lines: %d are omitted (-want +got):\n%s", most, s.Omitted, diff)
		}
	}
}

// The kind is told where it can be told, and whose scripts ran (H-3, H-4).
func TestAccountOfKinds(t *testing.T) {
	t.Parallel()
	records := func(list ...Event) (all []Record) {
		for _, ev := range list {
			all = append(all, Record{Event: ev})
		}
		return all
	}
	whole := []Event{ApplicationStop, DownloadBundle, BeforeInstall, Install, AfterInstall, ApplicationStart, ValidateService}
	behind := append(append([]Event{BeforeBlockTraffic, AfterBlockTraffic}, whole...), BeforeAllowTraffic, AfterAllowTraffic)
	for _, c := range []struct {
		name   string
		past   Past
		asked  *Deployment
		kind   string
		before string // whose scripts BeforeBlockTraffic ran
	}{
		{"behind a balancer", Past{Events: records(behind...)}, nil, "in-place-lb", "the last successful revision"},
		{"with its specification", Past{Events: records(whole...)}, &Deployment{Creator: "user", Type: "IN_PLACE"}, "in-place", "the last successful revision"},
		{"so far", Past{Events: records(whole[:4]...)}, &Deployment{Creator: "user", Type: "IN_PLACE"}, "", "the last successful revision"},
		{"without one", Past{Events: records(whole...)}, nil, "", ""},
		{"blue/green", Past{Events: records(whole...)}, &Deployment{Creator: "user", Type: "BLUE_GREEN"}, "blue-green", "the last successful revision"},
		{"rollback of one", Past{Events: records(BeforeBlockTraffic)}, &Deployment{Creator: "codeDeployRollback", Type: "BLUE_GREEN"}, "rollback", "the most recent revision"},
		{"launch", Past{Events: records(whole...)}, &Deployment{Creator: "autoscaling", Type: "IN_PLACE"}, "asg-launch", "the last successful revision"},
		{"local", Past{Local: true, Events: records(behind...)}, nil, "in-place", "the last successful revision"},
		{"undo", Past{Local: true, Undoes: "d-1", Events: records(DownloadBundle, Install)}, nil, "rollback", "this revision"},
		{"another agent's", Past{Foreign: true}, nil, "", ""},
	} {
		if got := kindOfPast(&c.past, c.asked); got != c.kind {
			t.Errorf("%s: kind %q, want %q", c.name, got, c.kind)
		}
		tell := telling{p: &c.past, asked: c.asked, a: &Account{Kind: c.kind}}
		if got := tell.whose(BeforeBlockTraffic); got != c.before {
			t.Errorf("%s: BeforeBlockTraffic runs the scripts of %q, want %q", c.name, got, c.before)
		}
	}
}

// A log may be anything: no line of it makes an account fail, and of what is told nothing is without bound.
func FuzzAccountLog(f *testing.F) {
	f.Add("2026-11-20 10:00:00 LifecycleEvent - BeforeInstall\n2026-11-20 10:00:00 Script - a.sh\n2026-11-20 10:00:04 [stdout]one\n")
	f.Add("2026-11-20 10:00:00 Script - \n\n2026-11-20 10:00:00 LifecycleEvent - \n2026-11-20 10:00:00 LifecycleEvent - Install\nx")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		name := filepath.Join(dir, "scripts.log")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &Past{Group: "g", Deployment: "d", ScriptsLog: name, Events: []Record{{Event: Install, Code: 4, Script: "a.sh", Message: text, Log: text}}}
		a, err := AccountOf(dir, []*Past{p}, p, AccountOptions{Lines: 8})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range a.Events {
			for _, s := range e.Scripts {
				if len(s.Output) > 8 || s.Omitted < 0 {
					t.Errorf("%d lines, %d omitted", len(s.Output), s.Omitted)
				}
			}
		}
	})
}
