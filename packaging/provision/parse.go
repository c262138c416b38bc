package provision

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxSize is the number of bytes that a profile may have.
const MaxSize = 1 << 20

// Parse reads a profile. name is what messages call it, and where a relative database.schema_file begins. The error is an *InvalidError
// with all that is wrong. Parse reads no other file.
func Parse(name string, data []byte) (*Profile, error) {
	p := &parser{file: name, lines: strings.Split(string(data), "\n"), profile: &Profile{file: name}, seen: map[string]*yaml.Node{}}
	for i := range keys {
		if k := &keys[i]; k.def != "" {
			v, message, _ := k.read(&yaml.Node{Kind: yaml.ScalarNode, Value: k.def})
			if message != "" && k.kind == kindList {
				v, message = value{list: strings.Split(k.def, ", ")}, ""
			}
			if message != "" {
				panic("default of " + k.name + ": " + message) // the table is wrong
			}
			k.set(p.profile, v)
		}
	}
	if len(data) > MaxSize {
		p.problems = append(p.problems, Problem{File: name, Message: "is larger than 1 MiB"})
	} else {
		p.document(data)
	}
	if len(p.problems) == 0 {
		p.whole()
	}
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &InvalidError{p.problems}
	}
	return p.profile, nil
}

type parser struct {
	file     string
	lines    []string
	profile  *Profile
	seen     map[string]*yaml.Node // the values of the keys that were set
	problems []Problem
}

func (p *parser) document(data []byte) {
	var doc, second yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	if err == nil {
		err = loader.Load(&doc)
	}
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		p.problems = append(p.problems, Problem{File: p.file, Message: "is empty"})
		return
	case err != nil:
		p.syntax(err)
		return
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		p.fail(root, 1, "a profile is keys and values, as in name: tinitter", "")
		return
	}
	p.section(root, "")
	if err := loader.Load(&second); err == nil && len(second.Content) > 0 {
		p.fail(second.Content[0], 1, "a second document begins here and would be ignored", "keep one")
	} else if err != nil && !errors.Is(err, io.EOF) {
		p.syntax(err)
	}
}

// section reads a mapping; prefix is "" or ends in a dot.
func (p *parser) section(node *yaml.Node, prefix string) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, v := node.Content[i], node.Content[i+1]
		if v.Kind == yaml.AliasNode && v.Alias != nil {
			v = v.Alias
		}
		full := prefix + name.Value
		at := slices.IndexFunc(keys, func(k key) bool { return k.name == full })
		inside := slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, full+".") })
		switch {
		case name.Kind != yaml.ScalarNode:
			p.fail(name, 1, "a key must be a text", "")
		case inside && p.seen[full] != nil:
			p.fail(name, len(name.Value), fmt.Sprintf("%s is there twice, first on line %d", full, p.seen[full].Line), "keep one")
		case inside && v.Kind == yaml.MappingNode:
			p.seen[full] = name
			p.section(v, full+".")
		case inside && isNull(v):
		case inside:
			p.fail(v, len(v.Value), full+" is a section of keys", "")
		case at < 0:
			p.fail(name, len(name.Value), "unknown key "+quoted(full), suggestKey(full))
		case p.seen[full] != nil:
			p.fail(name, len(name.Value), fmt.Sprintf("%s is set twice, first on line %d", full, p.seen[full].Line), "keep one")
		case isNull(v): // the default
		default:
			p.seen[full] = v
			k := &keys[at]
			read, message, where := k.read(v)
			if message != "" {
				p.fail(where, len(where.Value), k.name+" "+message, k.suggestion(where))
				continue
			}
			k.set(p.profile, read)
		}
	}
}

// suggestKey looks for a key of that name, of its section, then for one of that name in any section.
func suggestKey(full string) string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
		if section, _, ok := strings.Cut(k.name, "."); ok && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	if s := suggest(full, names); s != "" {
		return s
	}
	last := full[strings.LastIndexByte(full, '.')+1:]
	for _, k := range keys {
		if _, own, dotted := strings.Cut(k.name, "."); dotted && own == last || k.name == last {
			return "did you mean " + k.name + "?"
		}
	}
	return ""
}

func (k *key) suggestion(n *yaml.Node) string {
	if k.enum == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	if slices.Contains(k.enum, n.Value) {
		return "" // right by itself, and wrong where it stands
	}
	if s := suggest(n.Value, k.enum); s != "" {
		return s
	}
	const few = 20
	if len(k.enum) < few {
		return "it is one of " + strings.Join(k.enum, ", ")
	}
	return "slipway provision --help tells the names"
}

// read gives a node its meaning: a value, or what is wrong and where.
func (k *key) read(n *yaml.Node) (v value, message string, where *yaml.Node) {
	switch k.kind {
	case kindList:
		return k.readList(n)
	case kindPairs:
		return k.readPairs(n)
	case kindDirectories:
		return readDirectories(n)
	}
	if n.Kind != yaml.ScalarNode {
		return v, "is one value, " + kindNames[k.kind], n
	}
	v.text = n.Value
	if message = k.scalar(n.Value, &v); message == "" && k.check != nil {
		message = k.check(n.Value)
	}
	return v, message, n
}

// scalar judges a text by the kind of its key.
func (k *key) scalar(text string, v *value) string {
	switch k.kind {
	case kindNumber:
		number, err := strconv.Atoi(text)
		if err != nil || number < k.min || number > k.max {
			return fmt.Sprintf("is %s: it is a whole number from %d to %d", quoted(text), k.min, k.max)
		}
		v.number = number
	case kindBool:
		if text != "true" && text != "false" {
			return "is " + quoted(text) + ": it is true or false"
		}
		v.yes = text == "true"
	case kindEnum:
		if !slices.Contains(k.enum, text) {
			return "is " + quoted(text)
		}
	case kindPath:
		if !isPath(text) {
			return "is " + quoted(text) + ": it is an absolute path without .. in it"
		}
	case kindBlock:
		if strings.ContainsRune(text, 0) {
			return "holds a zero byte"
		}
	default:
		return oneLine(text)
	}
	return ""
}

func isPath(s string) bool {
	return path.IsAbs(s) && path.Clean(s) == s && !strings.ContainsAny(s, "\n\r\x00") && len(s) < 4096
}

func (k *key) readList(n *yaml.Node) (v value, message string, where *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		return v, "is a list, as in [a, b]", n
	}
	for _, e := range n.Content {
		if e.Kind != yaml.ScalarNode || isNull(e) {
			return v, "is a list of texts", e
		}
		if message := oneLine(e.Value); message != "" {
			return v, message, e
		}
		if k.enum != nil && !slices.Contains(k.enum, e.Value) {
			if k.name == "packages" {
				return v, "names the unknown package " + quoted(e.Value), e
			}
			return v, "holds " + quoted(e.Value), e
		}
		if k.check != nil {
			if message := k.check(e.Value); message != "" {
				return v, "holds " + quoted(e.Value) + ", which " + message, e
			}
		}
		if slices.Contains(v.list, e.Value) && k.name != "web.directives" {
			return v, "names " + quoted(e.Value) + " twice", e
		}
		v.list = append(v.list, e.Value)
	}
	return v, "", n
}

func (k *key) readPairs(n *yaml.Node) (v value, message string, where *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return v, "is names and values, as in name: value", n
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, text := n.Content[i], n.Content[i+1]
		if name.Kind != yaml.ScalarNode || !iniForm.MatchString(name.Value) {
			return v, "has a name that is none: letters, digits, . _ -", name
		}
		if text.Kind != yaml.ScalarNode {
			return v, name.Value + " is one value", text
		}
		if message := k.check(text.Value); message != "" {
			return v, name.Value + " " + message, text
		}
		if slices.ContainsFunc(v.pairs, func(s setting) bool { return s.name == name.Value }) {
			return v, "sets " + quoted(name.Value) + " twice", name
		}
		s := setting{name.Value, text.Value}
		if isNull(text) {
			s.value = ""
		}
		v.pairs = append(v.pairs, s)
	}
	return v, "", n
}

var directoryKeys = []string{"path", "owner", "group", "mode"}

func readDirectories(n *yaml.Node) (v value, message string, where *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		return v, "is a list of folders, as in - {path: /srv/app, owner: web-user}", n
	}
	for _, e := range n.Content {
		if e.Kind != yaml.MappingNode {
			return v, "is a list of folders, as in - {path: /srv/app, owner: web-user}", e
		}
		var d directory
		fields := []*string{&d.path, &d.owner, &d.group, &d.mode}
		for i := 0; i+1 < len(e.Content); i += 2 {
			name, text := e.Content[i], e.Content[i+1]
			at := slices.Index(directoryKeys, name.Value)
			if at < 0 {
				return v, "has a folder with the unknown key " + quoted(name.Value) + ": it has " + strings.Join(directoryKeys, ", "), name
			}
			if text.Kind != yaml.ScalarNode {
				return v, name.Value + " is one value", text
			}
			*fields[at] = text.Value
		}
		switch {
		case !isPath(d.path) || d.path == "/":
			return v, "has a folder whose path is " + quoted(d.path) + ": it is an absolute path without .. in it", e
		case d.owner != "" && !userForm.MatchString(d.owner):
			return v, "has a folder whose owner is " + quoted(d.owner), e
		case d.group != "" && !userForm.MatchString(d.group):
			return v, "has a folder whose group is " + quoted(d.group), e
		case d.mode != "" && !modeForm.MatchString(d.mode):
			return v, "has a folder whose mode is " + quoted(d.mode) + `: it is digits such as "0755"`, e
		case slices.ContainsFunc(v.directories, func(o directory) bool { return o.path == d.path }):
			return v, "names " + d.path + " twice", e
		}
		v.directories = append(v.directories, d)
	}
	return v, "", n
}

// whole checks what is between keys.
func (p *parser) whole() {
	q := p.profile
	need := func(has bool, key, why string) {
		if !has {
			at := &yaml.Node{}
			if n := p.seen["database.kind"]; n != nil && strings.HasPrefix(key, "database.") {
				at = n
			}
			p.fail(at, len(at.Value), key+" is missing: "+why, "")
		}
	}
	need(q.name != "", "name", "it is part of the names of files")
	need(q.web.documentRoot != "", "web.document_root", "without it there is nothing to serve")
	d := &q.database
	switch {
	case d.kind == databaseSQLite:
		need(d.file != "", "database.file", "an SQLite database is a file")
	case d.served():
		need(d.name != "", "database.name", "the database needs a name")
		need(d.user != "", "database.user", "the application logs in as somebody")
		need(d.passwordFile != "", "database.password_file", "the password is read from a file")
		need(d.kind != databaseMySQL || d.server != "", "database.server", "mysql is a server elsewhere; mariadb may be one on this host")
	}
	if d.schema != "" && d.schemaFile != "" {
		p.fail(p.seen["database.schema_file"], 1, "database.schema and database.schema_file are both set", "keep one")
	}
	if d.schemaFile != "" && !filepath.IsAbs(d.schemaFile) {
		d.schemaFile = filepath.Join(filepath.Dir(p.file), d.schemaFile)
	}
	for _, s := range q.environment.values {
		if !prefixForm.MatchString(s.name) {
			p.fail(p.seen["environment.set"], 1, "environment.set has the name "+quoted(s.name)+": a variable is capitals, digits and _", "")
		}
	}
	if q.environment.file == "" && len(q.environment.values) > 0 {
		p.fail(p.seen["environment.set"], 1, "environment.set is without environment.file", "")
	}
}

func (p *parser) fail(n *yaml.Node, length int, message, suggestion string) {
	problem := Problem{File: p.file, Line: n.Line, Col: n.Column, Message: message, Suggestion: suggestion, length: length}
	if n.Line > 0 && n.Line <= len(p.lines) {
		const widest = 160
		if line := strings.TrimRight(p.lines[n.Line-1], "\r\t "); len(line) <= widest {
			problem.Excerpt = line
			problem.length = min(length, max(len(line)-n.Column+1, 1))
		}
	}
	p.problems = append(p.problems, problem)
}

func (p *parser) syntax(err error) {
	message, at := err.Error(), &yaml.Node{}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		message = e.Message
		at.Line, at.Column = e.Mark.Line, max(e.Mark.Column, 1)
	}
	p.fail(at, 1, "is not YAML: "+message, "")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func quoted(s string) string {
	const longest = 64
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strconv.Quote(s)
}
