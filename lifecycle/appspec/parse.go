package appspec

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agext/levenshtein"
)

// Parse reads an appspec file for a Linux host. name is used in messages only. The Spec is nil if and only if Err of the
// Diagnostics is not.
func Parse(name string, data []byte) (*Spec, Diagnostics) {
	doc, diags := Read(name, data)
	if doc == nil {
		return nil, diags
	}
	return doc.Spec("linux")
}

// Spec checks the document for hosts of the given operating system, "linux" or "windows". The Spec is nil if and only if
// Err of the Diagnostics is not.
func (d *Document) Spec(os string) (*Spec, Diagnostics) {
	c := &checker{src: d.src, spec: &Spec{Name: d.Name, src: d.src}}
	c.check(d.root, os)
	if c.diags != nil {
		return nil, c.diags
	}
	return c.spec, nil
}

// checker walks the values in the order of A-10. Unlike the reference it goes on after something is wrong, to say everything at
// once.
type checker struct {
	src   *source
	spec  *Spec
	diags Diagnostics
}

// The keys of each kind of mapping. Whatever else is there is ignored.
var (
	topKeys        = []string{"version", "os", "files", "hooks", "permissions", "file_exists_behavior"}
	scriptKeys     = []string{"location", "timeout", "runas", "sudo"}
	fileKeys       = []string{"source", "destination"}
	permissionKeys = []string{"object", "pattern", "except", "type", "owner", "group", "mode", "acls", "context"}
	contextKeys    = []string{"name", "type", "range"}
)

func (c *checker) check(root *value, os string) {
	switch {
	case root.isFalse():
		c.refuse(emptyFile, root, "the file is empty", "begin with version: 0.0 and os: "+os)
		return
	case root.kind == list:
		c.refuse(rootIsList, root, "the file is a list; it has to be a map", "write version: 0.0 without a dash before it")
		return
	case root.kind != mapping:
		c.refuse(notAMapping, root, "the file is a single value; it has to be a map", "begin with version: 0.0 and os: "+os)
		return
	}
	c.unknown("", root, topKeys)
	c.version(root)
	c.os(root, os)
	c.hooks(root.get("hooks"))
	c.files(root.get("files"))
	c.permissions(root.get("permissions"))
	c.behavior(root.get("file_exists_behavior"))
}

func (c *checker) version(root *value) {
	v := root.get("version")
	const write = "write version: 0.0"
	switch {
	case v.isNull():
		c.missing(badVersion, v, root, "version", "version is missing", write)
	case v.kind == integer && v.number.integer.Sign() == 0, v.kind == float && v.number.float == 0:
	case v.kind == text:
		c.refuse(badVersion, v, fmt.Sprintf("version is the text %s; it has to be the number 0.0", shown(v.text)), write+", without quotes")
	default:
		c.refuse(badVersion, v, fmt.Sprintf("version is %s; the only version is 0.0", describe(v)), write)
	}
}

func (c *checker) os(root *value, os string) {
	v := root.get("os")
	switch {
	case v.isNull():
		c.missing(badOS, v, root, "os", "os is missing", "write os: "+os)
	case v.isText() && v.text == os:
		c.spec.OS, c.spec.OSPos = os, v.pos()
	case v.isText() && (v.text == "windows" || v.text == "linux"):
		c.refuse(badOS, v, fmt.Sprintf("the file is for %s hosts, and this host runs %s", v.text, os), "write os: "+os+" if the bundle is made for it")
	default:
		c.refuse(badOS, v, fmt.Sprintf("os is %s; this host runs %s", describe(v), os), "write os: "+os)
	}
}

func (c *checker) behavior(v *value) {
	behaviors := []string{"DISALLOW", "OVERWRITE", "RETAIN"}
	switch {
	case v.isNull():
	case v.isText() && slices.Contains(behaviors, v.text):
		c.spec.FileExistsBehavior, c.spec.FileExistsBehaviorPos = v.text, v.pos()
	default:
		c.refuse(badBehavior, v, fmt.Sprintf("file_exists_behavior is %s", describe(v)), oneOf(behaviors, v))
	}
}

func (c *checker) files(section *value) {
	if section.isFalse() {
		return
	}
	entries, ok := section.each()
	if !ok {
		c.refuse(filesType, section, fmt.Sprintf("files is %s; it has to be a list", describe(section)), "begin each entry with - source:")
		return
	}
	if section.kind == mapping && len(entries) > 0 {
		c.refuse(filesType, section, "files is a map; it has to be a list of maps", "write a dash before the first key: - source:")
		return
	}
	for i, entry := range entries {
		c.file(fmt.Sprintf("files[%d]", i), entry)
	}
}

func (c *checker) file(path string, entry *value) {
	source, ok := entry.at("source")
	if !ok {
		c.refuse(fileType, entry, fmt.Sprintf("an entry of files is %s; it has to be a map", describe(entry)), "write source: and destination:")
		return
	}
	destination, _ := entry.at("destination")
	if source.isNull() {
		c.missing(noSource, source, entry, "source", "an entry of files has no source", "write source: and a path in the bundle; / is all of it")
		return
	}
	if destination.isNull() {
		c.missing(noDestination, destination, entry, "destination", "an entry of files has no destination", "write destination: and a folder on the host")
		return
	}
	c.unknown(path, entry, fileKeys)
	c.spec.Files = append(c.spec.Files, File{
		Source: source.String(), Destination: destination.String(),
		Defect: c.wantText(named{name: "source", value: source}, named{name: "destination", value: destination}),
		Pos:    entry.pos(), SourcePos: given(source), DestinationPos: given(destination),
	})
}

// named is a value and its key.
type named struct {
	name  string
	value *value
	// required is true where null is no better than another value that is not text.
	required bool
}

// wantText is an *Error about the first value that is not text, nil if there is none. Such a file is accepted, and
// the step that uses the value fails.
func (c *checker) wantText(values ...named) error {
	for _, n := range values {
		if n.value.isText() || n.value.isNull() && !n.required {
			continue
		}
		what := describe(n.value)
		suggestion := "write a text"
		if n.value.node != nil && n.value.node.Kind == ScalarNode {
			suggestion = "put it in quotes if it is meant: " + shown(n.value.node.Value)
		}
		return c.defect(n.value, fmt.Sprintf("%s is %s; it has to be text", n.name, what), suggestion)
	}
	return nil
}

func (c *checker) defect(v *value, message, suggestion string) error {
	return &Error{Diagnostic: c.src.diagnostic("", v.pos(), c.length(v), message, suggestion)}
}

// refuse notes what is wrong with a value.
func (c *checker) refuse(id string, v *value, message, suggestion string) {
	if len(c.diags) < maxDiagnostics {
		c.diags = append(c.diags, c.src.diagnostic(id, v.pos(), c.length(v), message, suggestion))
	}
}

// missing notes that a key has no value: where that is null, else at the key that looks like a misspelling of it, else at the
// mapping that should have it.
func (c *checker) missing(id string, v, holder *value, name, message, suggestion string) {
	at := holder
	switch wrong := misspelling(holder, name); {
	case v != nil:
		at = v
	case wrong != nil:
		at, suggestion = wrong, "did you mean "+name+"?"
	}
	c.refuse(id, at, message, suggestion)
}

// misspelling is the key of a mapping that differs from name in one letter or two, nil if there is none.
func misspelling(holder *value, name string) *value {
	if holder.kind != mapping {
		return nil
	}
	for _, p := range holder.pairs() {
		if p.key.kind == text && similar(p.key.text, name) {
			return p.key
		}
	}
	return nil
}

// similar reports whether a person may have meant b when writing a.
func similar(a, b string) bool {
	// A key may be as long as the file.
	return len(a) <= 2*len(b) && levenshtein.Distance(strings.ToLower(a), strings.ToLower(b), nil) <= min(2, len(b)/2)
}

// Meant is the one of the names that a person who wrote another may have had in mind; "" if there is no telling.
func Meant(written string, names []string) string {
	for _, name := range names {
		if similar(written, name) {
			return name
		}
	}
	return ""
}

// length is how many characters of a value to underline. It does not look at the text of a value that ends on its line, because a
// line with thousands of values may be the whole file.
func (c *checker) length(v *value) int {
	if v == nil || v.node == nil {
		return 0
	}
	if n := v.node; n.Style != Block && n.Start.Line == n.End.Line {
		return max(n.End.Col-n.Start.Col, 1)
	}
	return c.src.tokenLen(v.node.Start)
}

// unknown notes the keys of a mapping that mean nothing there.
func (c *checker) unknown(path string, v *value, known []string) {
	if v.kind != mapping {
		return
	}
	for _, p := range v.pairs() {
		if p.key.kind == text && slices.Contains(known, p.key.text) {
			continue
		}
		name := p.key.String()
		c.spec.Unknown = append(c.spec.Unknown, UnknownKey{
			Path: path, Name: name, Known: known, Pos: p.key.pos(), Len: max(utf8.RuneCountInString(name), 1),
		})
	}
}

// pos is where a value stands, the zero Pos if nowhere.
func (v *value) pos() Pos {
	if v == nil || v.node == nil {
		return Pos{}
	}
	return v.node.Start
}

// given is where a value stands, the zero Pos for one that is missing or null.
func given(v *value) Pos {
	if v.isNull() {
		return Pos{}
	}
	return v.pos()
}

// describe says what a value is, for messages such as "files is a text".
func describe(v *value) string {
	switch v.kind {
	case null:
		return "empty"
	case boolean:
		if v.node != nil && v.node.Value != v.String() {
			return fmt.Sprintf("%s, which YAML reads as %s", v.node.Value, v)
		}
		return v.String()
	case integer, float:
		return "the number " + clip(v.number.String(), 60)
	case text:
		return "the text " + shown(v.text)
	case symbol:
		return "the symbol " + shown(v.text)
	case list:
		return "a list"
	default:
		return "a map"
	}
}

// oneOf offers the words of which one is expected, the one that was meant first if that can be told.
func oneOf(words []string, v *value) string {
	if v.isText() {
		for _, w := range words {
			if strings.EqualFold(w, v.text) {
				return "write " + w
			}
		}
	}
	last := len(words) - 1
	return "write " + strings.Join(words[:last], ", ") + " or " + words[last]
}
