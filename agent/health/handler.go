package health

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	pathIndex   = "/"
	pathLive    = "/livez"
	pathReady   = "/readyz"
	pathMetrics = "/metrics"
)

// Header values are shared between answers so that setting them allocates nothing. Nothing changes them.
var (
	headerText    = []string{"text/plain; charset=utf-8"}
	headerJSON    = []string{"application/json"}
	headerMetrics = []string{"text/plain; version=0.0.4; charset=utf-8"}
	headerNoStore = []string{"no-store"}
	headerNoSniff = []string{"nosniff"}
	headerAllow   = []string{"GET, HEAD"}
)

// answer is a finished response of the balancer's path, valid until a moment.
type answer struct {
	report Report
	status int
	body   []byte
	length []string
	until  time.Time
}

func newAnswer(rep Report, until time.Time) *answer {
	text := "ok\n"
	if rep.State != Healthy {
		text = string(rep.State) + ": " + oneLine(rep.Reason) + "\n"
	}
	return &answer{report: rep, status: rep.State.status(), body: []byte(text), length: []string{strconv.Itoa(len(text))}, until: until}
}

func (s State) status() int {
	switch s {
	case Healthy:
		return http.StatusOK
	case Unconfigured:
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// serve dispatches by hand: http.ServeMux would redirect paths that are not clean, and a balancer takes a redirect
// for an answer.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h["Cache-Control"] = headerNoStore
	h["X-Content-Type-Options"] = headerNoSniff
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		h["Allow"] = headerAllow
		write(w, req, http.StatusMethodNotAllowed, headerText, []byte("only GET and HEAD are answered here\n"))
		return
	}
	switch req.URL.Path {
	case r.path:
		r.serveApplication(w, req)
	case pathLive:
		r.serveChecks(w, req, Liveness)
	case pathReady:
		r.serveChecks(w, req, Readiness)
	case pathMetrics:
		r.serveMetrics(w, req)
	case pathIndex:
		r.servePage(w, req)
	default:
		write(w, req, http.StatusNotFound, headerText, []byte("nothing here; / lists the paths\n"))
	}
}

func (r *Registry) serveApplication(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	ans := r.app.current(now)
	format := formatOf(req)
	switch format {
	case formatText:
		h := w.Header()
		h["Content-Type"] = headerText
		h["Content-Length"] = ans.length
		w.WriteHeader(ans.status)
		if req.Method != http.MethodHead {
			_, _ = w.Write(ans.body) // the reader may be gone
		}
	case formatVerbose:
		write(w, req, ans.status, headerText, verboseReport(ans.report, now))
	case formatJSON:
		writeJSON(w, req, ans.status, jsonReport(ans.report, now))
	}
}

func (r *Registry) serveChecks(w http.ResponseWriter, req *http.Request, kind Kind) {
	results := r.results(kind)
	status, word := http.StatusOK, "ok"
	switch {
	case kind == Readiness && len(results) == 0:
		// Before the agent has registered anything it cannot take commands either.
		status, word = http.StatusServiceUnavailable, "not ready: no readiness check has been registered yet"
	case worst(results) == Fail:
		status, word = http.StatusServiceUnavailable, "failed"
	}
	now := time.Now()
	switch formatOf(req) {
	case formatJSON:
		writeJSON(w, req, status, jsonChecks(status, results))
		return
	case formatVerbose:
		write(w, req, status, headerText, checkLines(word, results, Pass, now))
	case formatText:
		write(w, req, status, headerText, checkLines(word, results, Fail, now))
	}
}

func (r *Registry) serveMetrics(w http.ResponseWriter, req *http.Request) {
	w.Header()["Content-Type"] = headerMetrics
	if req.Method == http.MethodHead {
		return
	}
	r.metrics.write(w)
}

func (r *Registry) index() string {
	return "Slipway\n\n" +
		r.path + "   is the application fit for traffic (?verbose, ?format=json)\n" +
		pathLive + "   is the agent's loop alive\n" +
		pathReady + "  can the agent take commands\n" +
		pathMetrics + " counters in the Prometheus text format\n"
}

type format uint8

const (
	formatText format = iota
	formatVerbose
	formatJSON
)

// formatOf reads the wanted format. The common request, with no query and no Accept for JSON, allocates nothing.
func formatOf(req *http.Request) format {
	if req.URL.RawQuery != "" {
		q := req.URL.Query()
		switch {
		case q.Get("format") == "json":
			return formatJSON
		case q.Has("verbose"):
			return formatVerbose
		}
	}
	for _, accept := range req.Header["Accept"] {
		if strings.Contains(accept, "application/json") {
			return formatJSON
		}
	}
	return formatText
}

func write(w http.ResponseWriter, req *http.Request, status int, contentType []string, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if req.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader may be gone
	}
}

func writeJSON(w http.ResponseWriter, req *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		write(w, req, http.StatusInternalServerError, headerText, []byte("encode the answer: "+err.Error()+"\n"))
		return
	}
	write(w, req, status, headerJSON, append(body, '\n'))
}

// verboseReport is the report for people: one fact a line.
func verboseReport(rep Report, now time.Time) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", rep.State)
	if rep.Reason != "" {
		fmt.Fprintf(&b, "reason:  %s\n", oneLine(rep.Reason))
	}
	fmt.Fprintf(&b, "since:   %s\n", ago(rep.Since, now))
	if !rep.Checked.IsZero() {
		fmt.Fprintf(&b, "checked: %s, took %s\n", ago(rep.Checked, now), rep.Took.Round(10*time.Microsecond))
		fmt.Fprintf(&b, "in a row: %d good (rise %d), %d bad (fall %d)\n", rep.Good, rep.Rise, rep.Bad, rep.Fall)
	}
	if len(rep.Probes) > 1 {
		for _, p := range rep.Probes {
			fmt.Fprintf(&b, "probe:   %s: %s\n", p.Name, cmp.Or(oneLine(p.Text), "ok"))
		}
	}
	for _, d := range rep.Drains {
		until := "until undone"
		if !d.Until.IsZero() {
			until = "until " + d.Until.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "drain:   %s, %s\n", oneLine(d.Reason), until)
	}
	return []byte(b.String())
}

type reportJSON struct {
	Status  State      `json:"status"`
	Reason  string     `json:"reason,omitempty"`
	Since   time.Time  `json:"since"`
	Checked *time.Time `json:"checked,omitempty"`
	AgeMS   int64      `json:"age_ms,omitempty"`
	TookMS  float64    `json:"took_ms,omitempty"`
	Good    int        `json:"good"`
	Bad     int        `json:"bad"`
	Rise    int        `json:"rise,omitempty"`
	Fall    int        `json:"fall,omitempty"`
	Drains  []Drain    `json:"drains,omitempty"`

	Probes []ProbeResult `json:"probes,omitempty"`
}

func jsonReport(rep Report, now time.Time) reportJSON {
	j := reportJSON{
		Status: rep.State, Reason: rep.Reason, Since: rep.Since.UTC(),
		Good: rep.Good, Bad: rep.Bad, Rise: rep.Rise, Fall: rep.Fall, Drains: rep.Drains, Probes: rep.Probes,
	}
	if !rep.Checked.IsZero() {
		checked := rep.Checked.UTC()
		j.Checked, j.AgeMS, j.TookMS = &checked, now.Sub(rep.Checked).Milliseconds(), float64(rep.Took.Microseconds())/1000
	}
	return j
}

// checkLines is a first line and one line for each check of at least this severity.
func checkLines(word string, results []namedResult, least Severity, now time.Time) []byte {
	var b strings.Builder
	b.WriteString(word + "\n")
	for _, found := range results {
		if found.Severity >= least {
			fmt.Fprintf(&b, "%s %s: %s (since %s)\n", found.Severity, found.Name, oneLine(found.Text), ago(found.Since, now))
		}
	}
	return []byte(b.String())
}

type checkJSON struct {
	Name     string    `json:"name"`
	Severity string    `json:"severity"`
	Text     string    `json:"text,omitempty"`
	Since    time.Time `json:"since"`
}

func jsonChecks(status int, results []namedResult) any {
	out := struct {
		OK     bool        `json:"ok"`
		Checks []checkJSON `json:"checks"`
	}{OK: status == http.StatusOK, Checks: []checkJSON{}}
	for _, found := range results {
		out.Checks = append(out.Checks, checkJSON{found.Name, found.Severity.String(), found.Text, found.Since.UTC()})
	}
	return out
}

func ago(t, now time.Time) string {
	return t.UTC().Format(time.RFC3339) + ", " + max(now.Sub(t), 0).Round(time.Second).String() + " ago"
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}
