package report

import (
	"bufio"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"slipway/lifecycle"
)

// HTML writes an account as a page that stands for itself: no script, nothing from a network, readable on a phone and on paper. The error is
// w's.
func HTML(w io.Writer, a *lifecycle.Account) error {
	p := &page{Writer: bufio.NewWriterSize(w, 32<<10), a: a, output: maxOutput, diffs: maxDiffs, paths: maxPaths}
	p.head()
	p.top()
	p.timeline()
	p.events()
	p.files()
	p.prediction()
	p.findings()
	p.group(rest(a))
	p.notes()
	p.group(about(a))
	p.raw("</main>\n<footer><span>Slipway</span><span>")
	if !a.Began.IsZero() {
		p.put("times are UTC; it began at %s", stamp(a.Began, time.UTC))
	}
	p.raw("</span></footer>\n</body></html>\n")
	return p.Flush()
}

// page writes HTML. Its writer keeps the first error.
type page struct {
	*bufio.Writer
	a *lifecycle.Account
	// What may still be written of each.
	output, diffs, paths int
}

func (p *page) raw(html string) { p.WriteString(html) } //nolint:errcheck // Flush tells

// put writes constant HTML, and for each %s in it the next argument, escaped and of the length of a field; for %l one of the length of a
// message. What stands in an attribute is always of our own.
func (p *page) put(html string, args ...string) {
	for _, arg := range args {
		at := strings.IndexByte(html, '%')
		most := maxField
		if html[at+1] == 'l' {
			most = maxProse
		}
		p.raw(html[:at])
		p.text(clip(arg, most), false)
		html = html[at+2:]
	}
	p.raw(html)
}

// text writes text, escaped, with codes for what cannot be shown.
func (p *page) text(text string, keepTab bool) {
	pieces(text, keepTab, func(piece string, code bool) {
		if code {
			p.raw(`<b class="x">` + piece + `</b>`) // hexadecimal digits, a backslash and a letter
			return
		}
		p.raw(escaper.Replace(piece))
	})
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;") //nolint:gochecknoglobals // a table

func stamp(t time.Time, where *time.Location) string {
	if where == time.UTC {
		return t.UTC().Format(time.DateTime)
	}
	return t.In(where).Format(time.DateTime)
}

func (p *page) head() {
	title := "deployment"
	if p.a.Rehearsal {
		title = "rehearsal"
	}
	p.raw(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width,initial-scale=1"/><meta name="color-scheme" content="light dark"/><meta name="referrer" content="no-referrer"/>
<title>`)
	p.raw(escaper.Replace(plain(strings.Join([]string{cutTo(outcomeText(p.a.Outcome)), title, cutTo(p.a.Deployment)}, " · "), false)))
	p.raw("</title>\n<style>")
	p.raw(pageStyle)
	p.raw("</style></head><body>\n")
	p.put("<header><b class=\"name\">Slipway</b><span class=\"what\">%s report</span><span class=\"pill %s\">%s</span></header>\n<main>\n", title, string(gradeOf(p.a.Outcome)), outcomeText(p.a.Outcome))
}

// top is the verdict, what it is about, and the numbers.
func (p *page) top() {
	a := p.a
	p.put("<section class=\"verdict %s\"><h1>%l</h1>\n<dl>", string(gradeOf(a.Outcome)), verdict(a))
	for _, f := range heading(a) {
		p.put("<div><dt>%s</dt><dd>%s</dd></div>", f.Name, f.Value)
	}
	if !a.Began.IsZero() {
		p.put("<div><dt>began</dt><dd>%s UTC</dd></div>", stamp(a.Began, time.UTC))
	}
	if a.OverheadMS > 0 {
		p.put("<div><dt>overhead</dt><dd>%s</dd></div>", took(a.OverheadMS))
	}
	p.raw("</dl></section>\n")
	figures := figuresOf(a)
	if len(figures) == 0 {
		return
	}
	p.raw("<nav class=\"figures\" aria-label=\"Parts of the report\">")
	for _, f := range figures {
		p.put("<a href=\"#%s\" class=\"%s\"><b>%s</b><span>%s</span></a>", f.id, string(f.grade), f.value, f.name)
	}
	p.raw("</nav>\n")
}

// figure is a number at the top that leads to a part below.
type figure struct {
	id, name, value string
	grade           grade
}

func figuresOf(a *lifecycle.Account) (list []figure) {
	add := func(id, value, name string, g grade) { list = append(list, figure{id, name, value, g}) }
	scripts, failed := 0, 0
	for i := range a.Events {
		for j := range a.Events[i].Scripts {
			scripts++
			if a.Events[i].Scripts[j].Code != lifecycle.Succeeded {
				failed++
			}
		}
	}
	if n := len(a.Events); n > 0 {
		add("timeline", number(n), "events", none)
	}
	switch {
	case failed > 0:
		add("events", number(failed)+" of "+number(scripts), "scripts failed", bad)
	case scripts > 0:
		add("events", number(scripts), "scripts", none)
	}
	if len(a.Files) > 0 {
		n := tally(a)
		add("files", "+"+number(n[added])+" ~"+number(n[changed])+" -"+number(n[removed]), more(a, "paths changed"), none)
	}
	if q := a.Prediction; q != nil {
		g, _ := predicted(q)
		add("prediction", number(q.Met)+" of "+number(q.Planned), "as planned", g)
	}
	if len(a.Findings) > 0 {
		g, text := severities(a)
		add("findings", number(len(a.Findings)), "linter: "+text, g)
	}
	if len(a.HealthAfter) > 0 {
		value, g := "ok", good
		for i := range a.HealthAfter {
			if !a.HealthAfter[i].OK {
				value, g = "failed", bad
			}
		}
		add("health", value, "health afterwards", g)
	}
	return list
}

// timeline is the events as bars on one scale.
func (p *page) timeline() {
	if len(p.a.Events) == 0 {
		return
	}
	s := scaleOf(p.a)
	p.raw("<section id=\"timeline\"><h2>Timeline</h2>\n<table class=\"line\"><thead><tr><th scope=\"col\"><span class=\"vh\">event</span></th><th scope=\"col\" class=\"track\"><span class=\"vh\">when</span>")
	for _, at := range s.ticks() {
		p.put("<i class=\"tick\" style=\"left:%s\">%s</i>", s.percent(at), took(at))
	}
	p.raw("</th><th scope=\"col\" class=\"took\">took</th><th scope=\"col\" class=\"became\">outcome</th></tr></thead><tbody>\n")
	for i := range p.a.Events[:min(len(p.a.Events), maxEvents)] {
		e := &p.a.Events[i]
		g := eventGrade(e)
		from, to := s.event(e)
		p.put("<tr class=\"%s\"><th scope=\"row\"><a href=\"#e%s\">%s</a></th><td class=\"track\">", string(g), strconv.Itoa(i), string(e.Event))
		if drawn(e) {
			p.bar("ev", s, from, to)
		}
		for j := range e.Scripts[:min(len(e.Scripts), maxScripts)] {
			if from, to := s.script(e, &e.Scripts[j]); to > from {
				p.bar("sc", s, from, to)
			}
		}
		p.put("</td><td class=\"took\">%s</td><td class=\"became\">%s</td></tr>\n", took(e.TookMS), eventOutcome(e))
	}
	p.raw("</tbody></table>\n")
	p.beyond(len(p.a.Events)-maxEvents, "event", "events")
	if s.segments {
		p.raw("<p class=\"legend\"><i class=\"key ev\"></i> the event <i class=\"key sc\"></i> its scripts</p>\n")
	}
	p.raw("</section>\n")
}

func (p *page) bar(class string, s scale, from, to int64) {
	p.put("<i class=\"%s\" style=\"left:%s;width:%s\"></i>", class, s.percent(from), s.percent(to-from))
}

// beyond says how many were left out.
func (p *page) beyond(n int, one, many string) {
	if n > 0 {
		p.put("<p class=\"more\">… and %s</p>\n", count(n, "more "+one, "more "+many))
	}
}

// scale lays times on a line.
type scale struct {
	began    time.Time
	whole    int64 // milliseconds
	segments bool  // there are scripts to show in their events
}

func scaleOf(a *lifecycle.Account) scale {
	s := scale{began: a.Began, whole: max(a.TookMS, 1)}
	for i := range a.Events {
		e := &a.Events[i]
		if s.began.IsZero() || !e.Began.IsZero() && e.Began.Before(s.began) {
			s.began = e.Began
		}
	}
	for i := range a.Events {
		e := &a.Events[i]
		if !e.Began.IsZero() && e.TookMS >= 0 && e.TookMS < math.MaxInt64/4 {
			s.whole = max(s.whole, e.Began.Sub(s.began).Milliseconds()+e.TookMS)
		}
		for j := range e.Scripts {
			s.segments = s.segments || e.Scripts[j].TookMS > 0
		}
	}
	return s
}

// drawn reports whether an event has a bar.
func drawn(e *lifecycle.EventAccount) bool {
	return e.TookMS >= 0 && !e.Began.IsZero() && e.Outcome != lifecycle.OutcomeSkipped
}

// span is a part of the line, within from and to.
func (s scale) span(began time.Time, ms, from, to int64) (int64, int64) {
	if began.IsZero() || ms < 0 {
		return from, from
	}
	at := min(max(began.Sub(s.began).Milliseconds(), from), to)
	return at, at + min(ms, to-at)
}

func (s scale) event(e *lifecycle.EventAccount) (from, to int64) {
	return s.span(e.Began, e.TookMS, 0, s.whole)
}

func (s scale) script(e *lifecycle.EventAccount, c *lifecycle.ScriptAccount) (from, to int64) {
	from, to = s.event(e)
	return s.span(c.Began, c.TookMS, from, to)
}

func (s scale) percent(ms int64) string {
	const hundred = 100
	return strconv.FormatFloat(hundred*float64(ms)/float64(s.whole), 'f', 2, 64) + "%"
}

// ticks are some round times on the line, beginning with none.
func (s scale) ticks() []int64 {
	const few = 5
	for _, step := range []int64{
		1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_200_000, 1_800_000,
		3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000,
	} {
		if s.whole/step > few {
			continue
		}
		var list []int64
		for at := int64(0); at <= s.whole-step/2; at += step {
			list = append(list, at)
		}
		return list
	}
	return nil
}
