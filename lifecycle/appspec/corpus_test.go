package appspec

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// The corpus is a folder of real appspec files, and of small probes, with what the reference agent makes of each. It is other people's
// files, so it is no part of this repository: it lies beside the checkout, or where SLIPWAY_CORPUS says, and is left
// out where neither has it. CI has it.
func corpusDir(t testing.TB) string {
	t.Helper()
	named := os.Getenv("SLIPWAY_CORPUS")
	dir := filepath.Join(cmp.Or(named, filepath.Join("..", "..", "..", "shared", "corpus")), "appspec")
	if _, err := os.Stat(filepath.Join(dir, "verdicts.jsonl")); err != nil {
		if named == "" {
			t.Skip("the appspec corpus does not lie beside this checkout (../shared/corpus) and SLIPWAY_CORPUS is not set")
		}
		t.Fatalf("the appspec corpus is missing: %v\nput it beside the checkout, as ../shared/corpus from the root of the repository, "+
			"or set SLIPWAY_CORPUS to where it is", err)
	}
	return dir
}

// verdict is what the reference agent makes of a file.
type verdict struct {
	Platform string
	// OK is nil for a file that the reference was not asked about: these are for services without hosts.
	OK         *bool
	ErrorClass string `json:"error_class"`
	Spec       *refSpec
}

// The reference's structure, with every value as the text that it has there.
type (
	refSpec struct {
		OS          string          `json:"os"`
		Behavior    refText         `json:"file_exists_behavior"`
		Hooks       refHooks        `json:"hooks"`
		Files       []refFile       `json:"files"`
		Permissions []refPermission `json:"permissions"`
	}
	refHooks []refEvent
	refEvent struct {
		Name    string
		Scripts []refScript
	}
	refScript struct {
		Location string  `json:"location"`
		RunAs    refText `json:"runas"`
		Sudo     refBool `json:"sudo"`
		Timeout  int64   `json:"timeout"`
	}
	refFile struct {
		Source      refText `json:"source"`
		Destination refText `json:"destination"`
	}
	refPermission struct {
		Object  string      `json:"object"`
		Pattern refText     `json:"pattern"`
		Except  []refText   `json:"except"`
		Type    []string    `json:"type"`
		Owner   refText     `json:"owner"`
		Group   refText     `json:"group"`
		Mode    refText     `json:"mode"`
		ACLs    *[]string   `json:"acls"`
		Context *refContext `json:"context"`
	}
	refContext struct {
		User  refText `json:"user"`
		Type  refText `json:"type"`
		Range refText `json:"range"`
	}
	refText string // "-" for null, "=" and the text otherwise
	refBool bool
)

func (h *refHooks) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		e := refEvent{Name: name.(string)}
		if err := dec.Decode(&e.Scripts); err != nil {
			return err
		}
		*h = append(*h, e)
	}
	return nil
}

func (r *refText) UnmarshalJSON(b []byte) error {
	var v any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*r = "-"
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = fmt.Sprintf("%q", w)
		}
		*r = refText("=[" + strings.Join(words, ", ") + "]")
	default:
		*r = refText(fmt.Sprint("=", v))
	}
	return nil
}

func (r *refBool) UnmarshalJSON(b []byte) error {
	*r = refBool(string(b) != "null" && string(b) != "false")
	return nil
}

func textIf(set bool, s string) refText {
	if !set {
		return "-"
	}
	return refText("=" + s)
}

// asReference writes a Spec as the reference would. Values that both do not tell from absent ones are empty in both.
func asReference(s *Spec) *refSpec {
	ref := &refSpec{OS: s.OS, Behavior: textIf(s.FileExistsBehavior != "", s.FileExistsBehavior), Files: []refFile{}, Permissions: []refPermission{}}
	for _, h := range s.Hooks {
		e := refEvent{Name: map[kind]string{text: "", symbol: "!Symbol::", boolean: "!TrueClass:"}[h.kind] + h.Name, Scripts: []refScript{}}
		for _, x := range h.Scripts {
			e.Scripts = append(e.Scripts, refScript{x.Location, textIf(x.RunAsSet, x.RunAs), refBool(x.Sudo), int64(x.Timeout / time.Second)})
		}
		ref.Hooks = append(ref.Hooks, e)
	}
	for _, f := range s.Files {
		ref.Files = append(ref.Files, refFile{textIf(true, f.Source), textIf(true, f.Destination)})
	}
	for _, p := range s.Permissions {
		r := refPermission{
			Object: p.Object, Pattern: textIf(true, p.Pattern), Except: []refText{}, Type: p.Types,
			Owner: textIf(p.OwnerPos != Pos{}, p.Owner), Group: textIf(p.GroupPos != Pos{}, p.Group), Mode: textIf(p.ModeSet, p.Mode),
		}
		for _, x := range p.Except {
			r.Except = append(r.Except, textIf(true, x))
		}
		if p.ACLsSet {
			acls := []string{}
			for _, a := range p.ACLs {
				acls = append(acls, a.String())
			}
			r.ACLs = &acls
		}
		if c := p.Context; c != nil {
			r.Context = &refContext{textIf(c.Name != "", c.Name), textIf(true, c.Type), textIf(c.Range != "", c.Range)}
		}
		ref.Permissions = append(ref.Permissions, r)
	}
	return ref
}

// classes are the reference's errors by our classes.
var classes = map[string]class{
	"AppSpecValidationException": classInvalid, "NoMethodError": classType, "TypeError": classType,
	"Psych::SyntaxError": classSyntax, "Psych::BadAlias": classAlias, "Psych::DisallowedClass": classDisallowed,
}

// differences are the files that we read otherwise than the reference on purpose, and what we make of them. There is no other
// difference in the corpus.
var differences = map[string]struct{ reason, got string }{
	"a073.yml":        {plainMode, "ok: 4 events, 2 files, 1 permissions mode=644"},
	"a173.yml":        {bom, "ok: 4 events, 3 files, 0 permissions"},
	"a250.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a251.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a253.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a256.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a257.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a258.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a261.yml":        {bom, "ok: 0 events, 1 files, 0 permissions"},
	"a263.yml":        {bom, "ok: 0 events, 1 files, 0 permissions"},
	"a264.yml":        {bom, "ok: 0 events, 1 files, 0 permissions"},
	"a268.yml":        {bom, "ok: 0 events, 1 files, 1 permissions mode="},
	"a269.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"a272.yml":        {bom, "ok: 0 events, 0 files, 0 permissions"},
	"probes/p058.yml": {plainMode, "ok: 0 events, 0 files, 1 permissions mode=644"},
	"probes/p059.yml": {plainMode, "ok: 0 events, 0 files, 1 permissions mode=775"},
	"probes/p061.yml": {plainMode, "ok: 0 events, 0 files, 1 permissions mode=600"},
	"probes/p062.yml": {plainMode, "ok: 0 events, 0 files, 1 permissions mode=700"},
	"probes/p072.yml": {plainMode, "ok: 0 events, 0 files, 1 permissions mode=1755"},
	"probes/p274.yml": {bom, "ok: 0 events, 0 files, 0 permissions"},
	"probes/p276.yml": {bom, "ok: 0 events, 0 files, 0 permissions"},
}

// The reasons to differ: always towards what the author of the file meant.
const (
	bom       = "a byte order mark is no part of the text, and editors put it there unasked; the reference takes it for part of the first key"
	plainMode = "mode: 0644 means 0644; the reference reads YAML's octal number, writes it in decimal, and applies 0420 or refuses 0755 (A-35)"
)

// TestCorpus holds every A- rule that parsing can hold at once: the same verdict as the reference, for the same kind of reason,
// and the same structure.
func TestCorpus(t *testing.T) {
	dir := corpusDir(t)
	total := corpus(t, dir, "")
	total.add(corpus(t, filepath.Join(dir, "probes"), "probes/"))
	t.Logf("%d files: %d agreements (%d accepted by both, %d refused by both), %d intended differences, %d without a verdict, %d disagreements",
		total.files, total.accepted+total.refused, total.accepted, total.refused, total.intended, total.unjudged, total.disagree)
	if total.intended != len(differences) {
		t.Errorf("%d intended differences, and the table has %d rows", total.intended, len(differences))
	}
}

type tally struct{ files, accepted, refused, intended, unjudged, disagree int }

func (a *tally) add(b tally) {
	a.files += b.files
	a.accepted += b.accepted
	a.refused += b.refused
	a.intended += b.intended
	a.unjudged += b.unjudged
	a.disagree += b.disagree
}

func corpus(t *testing.T, dir, prefix string) (n tally) {
	f, err := os.Open(filepath.Join(dir, "verdicts.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var line struct {
			File  string
			Linux *verdict
			verdict
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		v := line.verdict
		if line.Linux != nil {
			v, v.Platform = *line.Linux, "linux"
		}
		if v.Platform == "" {
			v.Platform = "linux"
		}
		n.files++
		data, err := os.ReadFile(filepath.Join(dir, line.File))
		if err != nil {
			t.Fatal(err)
		}
		got, diff := judge(line.File, data, v)
		want, intended := differences[prefix+line.File]
		switch {
		case v.OK == nil:
			n.unjudged++
			if !strings.HasPrefix(got, "refused") {
				t.Errorf("%s%s: %s; a file for a service without hosts has no os, and is refused", prefix, line.File, got)
			}
		case intended:
			if diff == "" {
				t.Errorf("%s%s: no difference, though the table has one: %s", prefix, line.File, want.reason)
			}
			if got != want.got {
				t.Errorf("%s%s: got %s, want %s, because %s", prefix, line.File, got, want.got, want.reason)
			}
			n.intended++
		case diff != "":
			t.Errorf("%s%s: %s", prefix, line.File, diff)
			n.disagree++
		case *v.OK:
			n.accepted++
		default:
			n.refused++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// judge reads a file and compares with the verdict. got is a summary of what we make of it, diff is empty if both agree.
func judge(name string, data []byte, v verdict) (got, diff string) {
	var spec *Spec
	doc, diags := Read(name, data)
	if doc != nil {
		spec, diags = doc.Spec(v.Platform)
	}
	if spec == nil {
		got = fmt.Sprintf("refused %s", diags[0].ID)
		switch {
		case v.OK == nil:
		case *v.OK:
			diff = fmt.Sprintf("the reference accepts it, we say:\n%v", diags.Err())
		case classOf(diags[0].ID) != classes[v.ErrorClass]:
			diff = fmt.Sprintf("the reference says %s, we say:\n%v", v.ErrorClass, diags.Err())
		}
		return got, diff
	}
	modes := ""
	for _, p := range spec.Permissions {
		modes += " mode=" + p.Mode
	}
	got = fmt.Sprintf("ok: %d events, %d files, %d permissions%s", len(spec.Hooks), len(spec.Files), len(spec.Permissions), modes)
	switch {
	case v.OK == nil:
	case !*v.OK:
		diff = fmt.Sprintf("the reference says %s, we accept it", v.ErrorClass)
	default:
		if d := gocmp.Diff(v.Spec, asReference(spec)); d != "" {
			diff = "structure differs (-reference +ours):\n" + d
		}
	}
	return got, diff
}
