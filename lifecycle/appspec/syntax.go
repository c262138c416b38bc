package appspec

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// missingSpace is a key and its value without the space between them, the commonest of all YAML mistakes in appspec files.
var missingSpace = regexp.MustCompile(`^[ \t]*(?:- +)?([A-Za-z_]+):([^\s:/\\]\S*)`)

// refuseSyntax says what the YAML package found, in the words of someone who writes an appspec file.
func (r *reader) refuseSyntax(err *yaml.LoadError) {
	p := Pos{max(err.Mark.Line, 1), max(err.Mark.Column, 1)}
	if err.ContextMark.Line > 0 && strings.Contains(err.Message, "could not find expected ':'") {
		p = Pos{err.ContextMark.Line, err.ContextMark.Column}
	}
	p = r.src.pos(r.src.offset(p))
	switch {
	case strings.Contains(err.Message, errTooDeep.Error()):
		r.refuse(tooDeep, p, 1, "lists and maps are nested more than 1000 deep", "check that this is the appspec file")
		return
	case strings.Contains(err.Message, "unknown anchor"):
		r.refuse(hasAlias, p, r.src.tokenLen(p), "this is an alias in YAML, and aliases are not allowed", "put the value in quotes if the * is meant")
		return
	}
	message, suggestion := explain(r.src, p, err.Message)
	r.refuse(badSyntax, p, r.src.tokenLen(p), message, suggestion)
}

// explain turns a message about tokens into one about the file, and offers the likeliest remedy.
func explain(src *source, p Pos, found string) (message, suggestion string) {
	line := src.line(p.Line)
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	if m := missingSpace.FindStringSubmatch(line); m != nil && strings.Contains(found, "':'") {
		return "a key needs a space after its colon", "write " + m[1] + ": " + m[2]
	}
	switch {
	case strings.Contains(indent, "\t"):
		return "the line is indented by a tab; YAML allows spaces only", "indent by spaces"
	case strings.Contains(found, "mapping values are not allowed"):
		return "a key cannot stand here", "check the indentation of this line and the one before; a value that contains a colon and a space needs quotes"
	case strings.Contains(found, "did not find expected key"), strings.Contains(found, "did not find expected '-' indicator"),
		strings.Contains(found, "block sequence entries are not allowed"):
		return "the line is not indented like its neighbours", "align it with the lines of the same list or map"
	case strings.Contains(found, "could not find expected ':'"):
		return "a key without a colon and a space after it", "write key: value"
	case strings.Contains(found, "cannot start any token"), strings.Contains(found, "alphabetic or numeric character"):
		return "a value cannot begin with this character", "put the value in quotes"
	case strings.Contains(found, "quoted scalar"), strings.Contains(found, "unexpected end of stream"):
		return "a quote or bracket is not closed: " + found, "close it, or put the value in quotes of the other kind"
	case strings.Contains(found, "unknown escape character"), strings.Contains(found, "hexdecimal"):
		return "an unknown escape in double quotes: " + found, `write \\ for a backslash, or use single quotes`
	default:
		return "not YAML: " + found, "check indentation, colons and quotes around this place"
	}
}
