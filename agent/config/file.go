package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFileSize is far above any configuration and far below what a parser could be hurt with.
const maxFileSize = 1 << 20

// file is one configuration file as it was read.
type file struct {
	path    string
	lines   []string
	lenient bool // the reference agent's form: unknown keys are told, not refused
}

// readFile reads one file. A missing one is an error that wraps fs.ErrNotExist.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, errors.New("larger than 1 MiB")
	}
	return data, nil
}

// file reads and applies one file; must says that it has to exist.
func (l *loader) file(path string, lenient, must bool) {
	data, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !must:
		return
	case err != nil:
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		l.fail(Problem{Source: path, Message: "cannot be read: " + err.Error()})
		return
	}
	l.document(path, data, lenient)
}

// document applies the text of one file. Of several documents in it the reference agent reads the first.
func (l *loader) document(path string, data []byte, lenient bool) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	f := &file{path: path, lines: strings.Split(string(data), "\n"), lenient: lenient}
	var doc yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err == nil {
		err = loader.Load(&doc)
	}
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		l.empty(f)
		return
	case err != nil:
		l.fail(f.syntax(err))
		return
	}
	root := doc.Content[0]
	if root.Kind == yaml.AliasNode && root.Alias != nil {
		root = root.Alias
	}
	switch {
	case isNull(root):
		l.empty(f)
		return
	case root.Kind != yaml.MappingNode:
		l.fail(f.at(root, 1, "the file must hold keys and values, as in log_dir: /var/log/aws/codedeploy-agent", ""))
		return
	}
	// The base name may not have told: one :key: is enough to know the reference agent's hand.
	f.lenient = f.lenient || hasSymbolKey(root)
	l.section(f, root, "", map[string]*yaml.Node{})
	if !f.lenient {
		var second yaml.Node
		if err := loader.Load(&second); err == nil && len(second.Content) > 0 {
			l.fail(f.at(second.Content[0], 1, "a second document begins here and would be ignored", "keep one"))
		} else if err != nil && !errors.Is(err, io.EOF) {
			l.fail(f.syntax(err))
		}
	}
}

// empty is an error in the reference agent's file, which it would not start with either (C-1); a slipway.yml
// whose lines are all comments is what the package ships.
func (l *loader) empty(f *file) {
	if f.lenient {
		l.fail(Problem{Source: f.path, Message: "is empty"})
	}
}

// section applies one mapping; prefix is "" or ends in a dot. seen holds the keys of the file so far.
func (l *loader) section(f *file, node *yaml.Node, prefix string, seen map[string]*yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			l.fail(f.at(name, 1, "a key must be a text", ""))
			continue
		}
		if value.Kind == yaml.AliasNode && value.Alias != nil {
			value = value.Alias
		}
		full := prefix + keyName(name.Value)
		k, known := byName[full]
		_, isSection := sections[full]
		switch {
		case isSection && value.Kind == yaml.MappingNode:
			l.section(f, value, full+".", seen)
		case isSection && isNull(value):
		case isSection:
			l.fail(f.at(name, len(name.Value), full+" is a section", "its keys are "+l.sectionKeys(full)))
		case !known:
			l.unknown(f, name, full, prefix)
		default:
			l.value(f, k, name, value, seen)
		}
	}
}

// value applies one known key.
func (l *loader) value(f *file, k *key, name, value *yaml.Node, seen map[string]*yaml.Node) {
	if first, twice := seen[k.name]; twice && !f.lenient {
		l.fail(f.at(name, len(name.Value), fmt.Sprintf("%s is set twice, first on line %d", k.name, first.Line), "keep one"))
		return
	}
	seen[k.name] = name
	place := f.at(value, max(len(value.Value), 1), "", "")
	place.Key = k.name
	if value.Line == 0 || isNull(value) {
		place.Line, place.Col, place.Len = name.Line, name.Column, len(name.Value)
	}
	if k.secret {
		place.Excerpt = ""
	}
	in := f.input(value)
	if in.null && in.lenient && l.cfg.origins[k.name].source != "" {
		// The last duplicate wins, an empty one too (C-1).
		l.reset(k)
	}
	l.apply(k, in, place, fmt.Sprintf("%s:%d", f.path, name.Line))
}

// input turns a node into a value; aliases in a list are followed one step, which is all a list of texts needs.
func (f *file) input(n *yaml.Node) input {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	in := input{lenient: f.lenient}
	switch n.Kind {
	case yaml.ScalarNode:
		in.text, in.null = n.Value, isNull(n)
		in.symbol = n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	case yaml.SequenceNode:
		in.isList = true
		for _, e := range n.Content {
			if e.Kind == yaml.AliasNode && e.Alias != nil {
				e = e.Alias
			}
			switch {
			case e.Kind != yaml.ScalarNode:
				in.list = append(in.list, input{isMap: true})
			case !isNull(e):
				in.list = append(in.list, input{text: e.Value})
			}
		}
	default:
		in.isMap = true
	}
	return in
}

// unknown tells a key that is in no table: an error in our own files, a warning in the reference agent's.
func (l *loader) unknown(f *file, name *yaml.Node, full, prefix string) {
	p := f.at(name, len(name.Value), "unknown key "+quote(full), l.suggestKey(full, prefix))
	p.Key = full
	if f.lenient {
		p.Message += " is ignored"
		l.warn(p)
		return
	}
	l.fail(p)
}

// suggestKey looks among the neighbours first, then for a key of that name in another section.
func (l *loader) suggestKey(full, prefix string) string {
	var neighbours, elsewhere []string
	for _, k := range schema {
		rest, inside := strings.CutPrefix(k.name, prefix)
		if first, _, _ := strings.Cut(rest, "."); inside && !slices.Contains(neighbours, prefix+first) {
			neighbours = append(neighbours, prefix+first)
		}
		if _, last, dotted := strings.Cut(k.name, "."); dotted && last == strings.TrimPrefix(full, prefix) {
			elsewhere = append(elsewhere, k.name)
		}
	}
	if s := suggest(full, neighbours); s != "" {
		return s
	}
	if len(elsewhere) > 0 {
		return "did you mean " + elsewhere[0] + "?"
	}
	all := make([]string, len(schema))
	for i, k := range schema {
		all[i] = k.name
	}
	return suggest(full, all)
}

func (l *loader) sectionKeys(section string) string {
	var names []string
	for _, name := range sections[section] {
		names = append(names, strings.TrimPrefix(name, section+"."))
	}
	return strings.Join(names, ", ")
}

// at makes a Problem of a node's place.
func (f *file) at(n *yaml.Node, length int, message, suggestion string) Problem {
	return Problem{
		Source: f.path, Line: n.Line, Col: n.Column, Len: length,
		Message: message, Suggestion: suggestion, Excerpt: f.excerpt(n.Line),
	}
}

func (f *file) syntax(err error) Problem {
	p := Problem{Source: f.path, Message: "is not YAML: " + err.Error()}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		p.Message = "is not YAML: " + e.Message
		if e.Mark.Line > 0 {
			p.Line, p.Col, p.Len = e.Mark.Line, max(e.Mark.Column, 1), 1
			p.Excerpt = f.excerpt(p.Line)
		}
	}
	return p
}

// excerpt gives a line of the file, unless it may hold a password.
func (f *file) excerpt(line int) string {
	if line < 1 || line > len(f.lines) {
		return ""
	}
	text := strings.TrimRight(f.lines[line-1], "\r \t")
	if _, rest, isURL := strings.Cut(text, "://"); isURL && strings.Contains(rest, "@") || len(text) > 200 {
		return ""
	}
	return text
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// keyName strips the colon of a Ruby symbol: the other one of :key: ended the key.
func keyName(s string) string { return strings.TrimPrefix(s, ":") }

func hasSymbolKey(root *yaml.Node) bool {
	for i := 0; i < len(root.Content); i += 2 {
		if strings.HasPrefix(root.Content[i].Value, ":") {
			return true
		}
	}
	return false
}

// isReferenceName tells the reference agent's file by its name; conf.yml is what it is called on Windows (C-34).
func isReferenceName(path string) bool {
	base := filepath.Base(path)
	return base == "codedeployagent.yml" || base == "conf.yml"
}

func quote(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return fmt.Sprintf("%q", s)
}
