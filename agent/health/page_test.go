package health

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var pageNow = time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)

func minutesAgo(n float64) time.Time {
	return pageNow.Add(-time.Duration(n * float64(time.Minute)))
}

// examples are the three looks of the page that an operator knows: nothing to do, a deployment, a failed one.
func examples() map[string]func() (Page, Report) {
	base := func() (Page, Report) {
		page := Page{
			Host: "arn:aws:ec2:eu-west-1:123456789012:instance/i-0a1b2c3d4e5f67890", Version: "1.2.3", Started: minutesAgo(60 * 50), Link: "online", LinkGood: true, LinkSince: minutesAgo(60 * 50),
			Live: []PageLive{{Group: "live (8e1f0e5e)", Revision: "s3://bundles/tinitter-41.zip", Deployment: "d-AAAAAAAA1", Since: minutesAgo(200)}},
			Deployments: []PageDeployment{{
				ID: "d-AAAAAAAA1", Group: "live", Revision: "s3://bundles/tinitter-41.zip", Outcome: OutcomeSucceeded, Installed: true, Began: minutesAgo(201), Ended: minutesAgo(200),
				Events: []PageEvent{
					{"ApplicationStop", OutcomeSucceeded, minutesAgo(201), 2 * time.Second, ""},
					{"DownloadBundle", OutcomeSucceeded, minutesAgo(200.9), 11 * time.Second, ""},
					{"Install", OutcomeSucceeded, minutesAgo(200.6), 800 * time.Millisecond, ""},
					{"ValidateService", OutcomeSucceeded, minutesAgo(200.5), 30 * time.Second, ""},
				},
			}},
		}
		report := Report{
			State: Healthy, Since: minutesAgo(190), Checked: pageNow.Add(-2 * time.Second), Took: 3 * time.Millisecond, Good: 2280, Rise: 2, Fall: 3,
			Probes: []ProbeResult{{Name: "http", OK: true}, {Name: "tcp db:3306", OK: true}},
		}
		return page, report
	}
	return map[string]func() (Page, Report){
		"idle": base,
		"deploying": func() (Page, Report) {
			p, r := base()
			p.Deployments = append([]PageDeployment{{
				ID: "d-BBBBBBBB2", Group: "live", Revision: "s3://bundles/tinitter-42.zip", Outcome: OutcomeRunning, Began: minutesAgo(1),
				Events: []PageEvent{
					{"BeforeBlockTraffic", OutcomeSucceeded, minutesAgo(1), 4 * time.Second, ""},
					{"AfterInstall", OutcomeRunning, minutesAgo(0.5), 30 * time.Second, ""},
				},
			}}, p.Deployments...)
			r.State, r.Reason, r.Since = Draining, "deployment d-BBBBBBBB2 takes the instance out of traffic", minutesAgo(1)
			r.Drains = []Drain{{Reason: r.Reason, Began: minutesAgo(1), Until: pageNow.Add(14 * time.Minute)}}
			return p, r
		},
		"failed": func() (Page, Report) {
			p, r := base()
			p.Link, p.LinkGood, p.LinkText = "unreachable", false, "PollHostCommand: dial tcp: lookup codedeploy-commands.eu-west-1.amazonaws.com: no such host"
			p.Live[0].Diverged = "diverged from the record of the service since yesterday"
			p.Problem = "the deployments of this host cannot be read: permission denied"
			p.Deployments = append([]PageDeployment{{
				ID: "d-CCCCCCCC3", Group: "live", Revision: "s3://bundles/<b>'42'\".zip", Note: "undo of d-1 & d-2", Outcome: OutcomeFailed, Began: minutesAgo(3), Ended: minutesAgo(2),
				Events: []PageEvent{
					{"Install", OutcomeSucceeded, minutesAgo(3), time.Second, "not shown"},
					{"AfterInstall", OutcomeFailed, minutesAgo(2.5), 30 * time.Second, "code 4: deploy/after_install.sh: exit status 1\n<script>alert(1)</script>\x00\xff & more\n"},
				},
			}}, p.Deployments...)
			r.State, r.Reason = Unhealthy, "tcp db:3306: connect to db:3306: connection refused"
			r.Probes[1] = ProbeResult{Name: "tcp db:3306", Text: "connect to db:3306: connection refused"}
			r.Good, r.Bad = 0, 12
			return p, r
		},
	}
}

func TestPageGolden(t *testing.T) {
	for name, example := range examples() {
		t.Run(name, func(t *testing.T) {
			p, rep := example()
			var b bytes.Buffer
			checks := []namedResult{{"command service", Result{Text: "the command service answers"}}}
			writePage(&b, p, rep, nil, checks, "/health", pageNow)
			got := strings.Replace(b.String(), pageStyle, "STYLE", 1)
			golden := filepath.Join("testdata", "page_"+name+".golden")
			if *update {
				if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, []byte(got), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

// wellFormed walks a page as XML that forgives the empty elements of HTML, and returns the names of its elements.
func wellFormed(t *testing.T, text string) map[string]int {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	names := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			names[e.Name.Local]++
		}
	}
}

// What comes from outside cannot become an element, whatever it is.
func FuzzPage(f *testing.F) {
	f.Add("<script>", "\"><i>", "&lt;")
	f.Add("'", "\x00\xff", "%s%n")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		p, rep := examples()["failed"]()
		var plain, hostile bytes.Buffer
		writePage(&plain, p, rep, nil, nil, "/health", pageNow)
		p.Host, p.LinkText, p.Problem, p.Live[0].Revision, p.Live[0].Diverged = "x"+a, "x"+b, "x"+c, "x"+b, "x"+c
		p.Deployments[0].ID, p.Deployments[0].Revision, p.Deployments[0].Note = a, "x"+b, "x"+c
		p.Deployments[0].Events[1].Text, p.Deployments[0].Events[1].Name = "x"+a, b
		rep.Reason, rep.Probes[1].Text = "x"+a, c
		writePage(&hostile, p, rep, nil, nil, "/health", pageNow)
		if diff := cmp.Diff(wellFormed(t, plain.String()), wellFormed(t, hostile.String())); diff != "" {
			t.Errorf("elements (-plain +hostile):\n%s", diff)
		}
	})
}

// The page is for those on this host; others, and pages of the internet in a browser here, get the list of paths.
func TestPageIsLocal(t *testing.T) {
	r, err := New(Options{Page: func() Page { return Page{Host: "i-1"} }})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		remote, host, header string
		page                 bool
	}{
		{"127.0.0.1:5000", "127.0.0.1:8427", "", true},
		{"[::1]:5000", "[::1]:8427", "", true},
		{"127.0.0.1:5000", "localhost:8427", "", true},
		{"127.0.0.1:5000", "LOCALHOST", "", true},
		{"10.0.0.9:5000", "10.0.0.1:8427", "", false},
		{"10.0.0.9:5000", "localhost", "", false},
		{"127.0.0.1:5000", "evil.example.com:8427", "", false},
		{"127.0.0.1:5000", "127.0.0.1.example.com", "", false},
		{"127.0.0.1:5000", "127.0.0.1:8427", "X-Forwarded-For", false},
		{"127.0.0.1:5000", "127.0.0.1:8427", "Forwarded", false},
	}
	for _, tt := range tests {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.RemoteAddr, req.Host = tt.remote, tt.host
		if tt.header != "" {
			req.Header.Set(tt.header, "203.0.113.1")
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		isPage := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html")
		if w.Code != 200 || isPage != tt.page || isPage && !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("from %s for %s with %q: %d %s, want the page: %v", tt.remote, tt.host, tt.header, w.Code, w.Header(), tt.page)
		}
	}
}

func TestPageHoldsNothingFromOutside(t *testing.T) {
	p, rep := examples()["failed"]()
	var b bytes.Buffer
	writePage(&b, p, rep, nil, nil, "/health", pageNow)
	for _, part := range []string{"<script", "src=", "@import", "url(", "http://", "https://"} {
		if strings.Contains(b.String(), part) {
			t.Errorf("the page holds %q", part)
		}
	}
}
