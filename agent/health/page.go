package health

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Page is what the status page tells beside what the registry itself knows. Texts are plain; the page escapes them.
type Page struct {
	Host, Version string
	Started       time.Time
	Link          string // how the agent stands with the service, in one word
	LinkGood      bool
	LinkText      string // why, where it is not good
	LinkSince     time.Time
	Live          []PageLive
	Deployments   []PageDeployment // the newest first
	Problem       string           // what could not be read, empty if all could
}

// PageLive is what is installed of one deployment group.
type PageLive struct {
	Group, Revision, Deployment string
	Since                       time.Time
	Diverged                    string // how it differs from what the service believes; empty if it does not
}

// Outcome is what became of a deployment or an event, as the status page shows it.
type Outcome string

// The outcomes.
const (
	OutcomeSucceeded  Outcome = "succeeded"
	OutcomeFailed     Outcome = "failed"
	OutcomeRunning    Outcome = "running"
	OutcomeIncomplete Outcome = "incomplete"
	OutcomeForeign    Outcome = "by another agent"
)

// PageDeployment is one deployment as a timeline.
type PageDeployment struct {
	ID, Group, Revision string
	Note                string // a rollback of which, for example
	Outcome             Outcome
	Installed           bool
	Began, Ended        time.Time // of one that goes on Ended is zero
	Events              []PageEvent
}

// PageEvent is one event of a deployment.
type PageEvent struct {
	Name    string
	Outcome Outcome
	Began   time.Time
	Took    time.Duration // so far, of one that goes on
	Text    string        // what a failed one said; the summary of another
}

// servePage answers / with the status page where one is made, for those who sit on this host (a port that is forwarded by SSH counts); others
// get the list of paths. Names other than loopback's are refused so that no page of the internet can read this one through a browser here.
func (r *Registry) servePage(w http.ResponseWriter, req *http.Request) {
	if r.page == nil || !isLocal(req) {
		write(w, req, http.StatusOK, headerText, []byte(r.index()))
		return
	}
	var b bytes.Buffer
	writePage(&b, r.page(), r.Application(), r.results(Liveness), r.results(Readiness), r.path, time.Now())
	h := w.Header()
	h["Content-Security-Policy"] = headerPolicy
	h["Referrer-Policy"] = headerNoReferrer
	write(w, req, http.StatusOK, headerHTML, b.Bytes())
}

var (
	headerHTML       = []string{"text/html; charset=utf-8"}
	headerPolicy     = []string{"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"}
	headerNoReferrer = []string{"no-referrer"}
)

func isLocal(req *http.Request) bool {
	loopback := func(address string) bool {
		host := address
		if h, _, err := net.SplitHostPort(address); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
	}
	return loopback(req.RemoteAddr) && loopback(req.Host) && req.Header.Get("X-Forwarded-For") == "" && req.Header.Get("Forwarded") == ""
}

// page writes HTML.
type page struct {
	*bytes.Buffer
	now time.Time
}

// put writes a format whose arguments are escaped. The format is HTML and a constant.
func (p *page) put(format string, args ...any) {
	for i, a := range args {
		args[i] = escape(fmt.Sprint(a))
	}
	fmt.Fprintf(p, format, args...)
}

func escape(s string) string {
	return htmlEscaper.Replace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return '\ufffd' // no document may hold them
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;") //nolint:gochecknoglobals // a table

func writePage(b *bytes.Buffer, s Page, rep Report, live, ready []namedResult, path string, now time.Time) {
	p := &page{b, now}
	refresh := 30
	for _, d := range s.Deployments {
		if d.Outcome == OutcomeRunning {
			refresh = 3
		}
	}
	p.put(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="%v"><link rel="icon" href="data:,">
<title>%s · %s</title>
<style>`, refresh, rep.State, cmp.Or(s.Host, "slipway"))
	p.WriteString(pageStyle)
	p.put(`</style></head><body>
<header><h1>Slipway</h1><span class="host">%s</span><span class="pill %s">%s</span></header>
<main>
`, cmp.Or(s.Host, "this host is not known yet"), stateClass(rep.State), rep.State)
	if s.Problem != "" {
		p.put("<p class=\"problem\">%s</p>\n", s.Problem)
	}
	p.WriteString("<div class=\"cards\">\n")
	p.application(rep)
	p.live(s.Live)
	p.agent(s, live, ready)
	p.WriteString("</div>\n<h2>Deployments</h2>\n")
	if len(s.Deployments) == 0 {
		p.WriteString("<p class=\"none\">No deployment is known on this host yet.</p>\n")
	}
	for i := range s.Deployments {
		p.deployment(&s.Deployments[i], i == 0)
	}
	p.put("</main>\n<footer><a href=\"%s?verbose\">%s</a> <a href=\"/livez?verbose\">/livez</a> <a href=\"/readyz?verbose\">/readyz</a> <a href=\"/metrics\">/metrics</a>\n<span>%s, as of %s</span></footer>\n</body></html>\n",
		path, path, cmp.Or("slipway "+s.Version, "slipway"), stamp(now))
}

func stateClass(s State) string {
	switch s {
	case Healthy:
		return "good"
	case Unhealthy, Stale:
		return "bad"
	}
	return "mid"
}

func (o Outcome) class() string {
	switch o {
	case OutcomeSucceeded:
		return "good"
	case OutcomeFailed:
		return "bad"
	case OutcomeRunning:
		return "run"
	}
	return "mid"
}

func (p *page) application(rep Report) {
	p.put("<section><h2>Application</h2>\n<p class=\"big %s\">%s</p>\n", stateClass(rep.State), rep.State)
	if rep.Reason != "" {
		p.put("<p class=\"why\">%s</p>\n", rep.Reason)
	}
	p.WriteString("<dl>")
	p.put("<dt>since</dt><dd>%s</dd>", p.ago(rep.Since))
	if !rep.Checked.IsZero() {
		p.put("<dt>last probe</dt><dd>%s, took %s</dd><dt>in a row</dt><dd>%v good (rise %v), %v bad (fall %v)</dd>", p.ago(rep.Checked), shortDuration(rep.Took), rep.Good, rep.Rise, rep.Bad, rep.Fall)
	}
	for _, d := range rep.Drains {
		until := "until it is undone"
		if !d.Until.IsZero() {
			until = "until " + stamp(d.Until)
		}
		p.put("<dt>drain</dt><dd>%s, %s</dd>", d.Reason, until)
	}
	p.WriteString("</dl>\n")
	if len(rep.Probes) > 1 {
		p.WriteString("<ul class=\"probes\">")
		for _, r := range rep.Probes {
			class := "bad"
			if r.OK {
				class = "good"
			}
			p.put("<li class=\"%s\"><b>%s</b> %s</li>", class, r.Name, cmp.Or(r.Text, "ok"))
		}
		p.WriteString("</ul>\n")
	}
	p.WriteString("</section>\n")
}

func (p *page) live(groups []PageLive) {
	p.WriteString("<section><h2>Live</h2>\n")
	if len(groups) == 0 {
		p.WriteString("<p class=\"none\">Nothing is installed by a deployment.</p>\n")
	}
	for _, g := range groups {
		p.put("<p class=\"revision\">%s</p><dl><dt>group</dt><dd>%s</dd><dt>deployment</dt><dd>%s</dd>", cmp.Or(g.Revision, "a revision that is not known"), g.Group, g.Deployment)
		if !g.Since.IsZero() {
			p.put("<dt>since</dt><dd>%s</dd>", p.ago(g.Since))
		}
		p.WriteString("</dl>\n")
		if g.Diverged != "" {
			p.put("<p class=\"why\">%s</p>\n", g.Diverged)
		}
	}
	p.WriteString("</section>\n")
}

func (p *page) agent(s Page, live, ready []namedResult) {
	class := "bad"
	if s.LinkGood {
		class = "good"
	}
	p.put("<section><h2>Agent</h2>\n<p class=\"big %s\">%s</p>\n", class, s.Link)
	if s.LinkText != "" {
		p.put("<p class=\"why\">%s</p>\n", s.LinkText)
	}
	p.put("<dl><dt>since</dt><dd>%s</dd><dt>started</dt><dd>%s</dd><dt>version</dt><dd>%s</dd>", p.ago(s.LinkSince), p.ago(s.Started), s.Version)
	for _, list := range [][]namedResult{live, ready} {
		for _, r := range list {
			p.put("<dt>%s</dt><dd>%s</dd>", r.Name, cmp.Or(r.Text, r.Severity.String()))
		}
	}
	p.WriteString("</dl></section>\n")
}

func (p *page) deployment(d *PageDeployment, open bool) {
	attribute := ""
	if open {
		attribute = " open"
	}
	fmt.Fprintf(p, "<details%s>", attribute)
	installed := ""
	if d.Installed {
		installed = "installed"
	}
	p.put("<summary><span class=\"pill %s\">%s</span><b>%s</b><span class=\"what\">%s · %s</span><span class=\"mark\">%s</span><span class=\"when\">%s</span></summary>\n",
		d.Outcome.class(), d.Outcome, d.ID, d.Group, cmp.Or(d.Revision, "a revision that is not known"), installed, p.span(d))
	if d.Note != "" {
		p.put("<p class=\"note\">%s</p>\n", d.Note)
	}
	if len(d.Events) > 0 {
		p.WriteString("<table class=\"line\">\n")
		whole := max(d.length(p.now), time.Millisecond)
		for _, e := range d.Events {
			from := min(max(e.Began.Sub(d.Began), 0), whole)
			length := min(max(e.Took, 0), whole-from)
			p.put("<tr class=\"%s\"><th>%s</th><td class=\"track\"><i style=\"margin-left:%s;width:%s\"></i></td><td class=\"took\">%s</td></tr>\n",
				e.Outcome.class(), e.Name, percent(from, whole), percent(length, whole), shortDuration(e.Took))
			if e.Outcome == OutcomeFailed && e.Text != "" {
				p.put("<tr class=\"said\"><td></td><td colspan=\"2\"><pre>%s</pre></td></tr>\n", strings.TrimSpace(e.Text))
			}
		}
		p.WriteString("</table>\n")
	}
	p.WriteString("</details>\n")
}

func (d *PageDeployment) length(now time.Time) time.Duration {
	if d.Ended.IsZero() {
		return now.Sub(d.Began)
	}
	return d.Ended.Sub(d.Began)
}

func (p *page) span(d *PageDeployment) string {
	switch {
	case d.Outcome == OutcomeForeign:
		return p.ago(d.Ended)
	case d.Ended.IsZero():
		return "for " + shortDuration(d.length(p.now))
	}
	return p.ago(d.Ended) + ", took " + shortDuration(d.length(p.now))
}

// percent writes a share with two digits; the narrowest bar is made visible by the style.
func percent(part, whole time.Duration) string {
	const hundred = 100
	return fmt.Sprintf("%.2f%%", hundred*float64(part)/float64(whole))
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }

func (p *page) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return stamp(t) + ", " + shortDuration(max(p.now.Sub(t), 0)) + " ago"
}

// shortDuration is a duration as a person reads it.
func shortDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}
