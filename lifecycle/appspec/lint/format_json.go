package lint

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"

	"slipway/lifecycle/appspec"
)

type jsonFinding struct {
	ID         string `json:"id"`
	Severity   string `json:"severity"` // error, warning, info
	Title      string `json:"title"`
	File       string `json:"file"`
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Length     int    `json:"length,omitempty"` // characters
	Message    string `json:"message"`
	Why        string `json:"why"`
	Suggestion string `json:"suggestion"`
	Fixable    bool   `json:"fixable"`
}

type jsonReport struct {
	Findings []jsonFinding `json:"findings"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
	Notes    int           `json:"notes"`
	Omitted  int           `json:"omitted"`
}

// JSON writes the findings as one object.
func (r *Report) JSON(w io.Writer) error {
	out := jsonReport{Findings: []jsonFinding{}, Errors: r.Count(bad), Warnings: r.Count(warn), Notes: r.Count(note), Omitted: r.Omitted}
	for i := range r.Findings {
		f := &r.Findings[i]
		rule := f.Rule()
		out.Findings = append(out.Findings, jsonFinding{
			ID: f.ID, Severity: string(f.Severity), Title: rule.Title, File: f.File, Line: f.Pos.Line, Column: f.Pos.Col, Length: f.Len,
			Message: f.Message, Why: rule.Why, Suggestion: f.Suggestion, Fixable: f.Fixable,
		})
	}
	return encode(w, out)
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// The parts of SARIF 2.1.0 that are written here.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string      `json:"id"`
		Name    string      `json:"name"`
		Short   sarifText   `json:"shortDescription"`
		Full    sarifText   `json:"fullDescription"`
		Help    sarifText   `json:"help"`
		Default sarifConfig `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifConfig struct {
		Level string `json:"level"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int        `json:"startLine"`
		StartColumn int        `json:"startColumn"`
		EndLine     int        `json:"endLine"`
		EndColumn   int        `json:"endColumn"`
		Snippet     *sarifText `json:"snippet,omitempty"`
	}
)

// SARIF writes the findings as a SARIF 2.1.0 log, which code scanning services read. version is the program's.
func (r *Report) SARIF(w io.Writer, version string) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "slipway lint", Version: version, Rules: []sarifRule{}}}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	index := map[string]int{}
	for _, rule := range Rules() {
		index[rule.ID] = len(run.Tool.Driver.Rules)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: rule.ID, Name: camel(rule.Title), Short: sarifText{rule.Title}, Full: sarifText{rule.Why}, Help: sarifText{rule.Remedy}, Default: sarifConfig{level(rule.Severity)},
		})
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		place := sarifPhysical{Artifact: sarifArtifact{(&url.URL{Path: f.File}).EscapedPath()}}
		if f.Pos.Line > 0 {
			place.Region = &sarifRegion{StartLine: f.Pos.Line, StartColumn: f.Pos.Col, EndLine: f.Pos.Line, EndColumn: f.Pos.Col + max(f.Len, 1)}
			if f.Line != "" {
				before, under, after := f.Excerpt()
				place.Region.Snippet = &sarifText{before + under + after}
			}
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.ID, RuleIndex: index[f.ID], Level: level(f.Severity), Message: sarifText{f.Message + "; " + f.Suggestion},
			Locations: []sarifLocation{{place}},
		})
	}
	return encode(w, sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func level(s appspec.Severity) string {
	if s == note {
		return "note"
	}
	return string(s)
}

// camel makes one word of a title.
func camel(title string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(title, func(r rune) bool { return r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z' }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
