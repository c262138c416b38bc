package lint

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"slipway/lifecycle/appspec"
)

// files looks at the entries of the files section.
func (l *linter) files(root *appspec.Node) {
	for _, entry := range items(child(root, "files")) {
		for k, v := range pairs(entry) {
			if name := scalar(k); name == "source" || name == "destination" {
				l.wantScalar(name, v)
			}
		}
	}
	type target struct{ source, destination string }
	seen := map[target]int{}
	for i := range l.spec.Files {
		f := &l.spec.Files[i]
		l.defect(f.Defect)
		if l.os == "windows" || f.Defect != nil {
			continue
		}
		l.source(f)
		l.destination(f)
		t := target{sourceOf(f), path.Clean(f.Destination)}
		if first, ok := seen[t]; ok && !l.full(sameFiles) {
			l.add(l.place(sameFiles, f.Pos, l.tokenWidth(f.Pos, "source"), fmt.Sprintf("the entry installs %s into %s, as entry %d does: the Install step fails", shown(f.Source), shown(f.Destination), first+1), "remove one of them"))
			continue
		}
		seen[t] = i
	}
}

// defect passes on what the parser knows will fail the Install step.
func (l *linter) defect(err error) {
	if e, ok := errors.AsType[*appspec.Error](err); ok {
		d := e.Diagnostic
		if slices.ContainsFunc(l.report.Findings, func(f Finding) bool { return f.ID == notScalar && f.Pos == d.Pos }) {
			return // the same in other words
		}
		d.ID, d.Severity, d.Message = noText, "", d.Message+": the Install step fails"
		l.add(Finding{Diagnostic: d})
	}
}

// sourceOf is a source as a path in the bundle, "." for all of it.
func sourceOf(f *appspec.File) string {
	if s := path.Clean(strings.TrimLeft(f.Source, "/")); s != "" {
		return s
	}
	return "."
}

func climbs(name string) bool { return name == ".." || strings.HasPrefix(name, "../") }

func (l *linter) source(f *appspec.File) {
	say := func(id, message, suggestion string) {
		l.add(l.place(id, f.SourcePos, l.tokenWidth(f.SourcePos, f.Source), message, suggestion))
	}
	switch {
	case f.Source == "":
		say(emptyPath, "the source is empty, which version 2 of the official agent refuses", "write / for the whole bundle")
	case climbs(sourceOf(f)):
		say(climbingFrom, fmt.Sprintf("the source %s is not inside the bundle", shown(f.Source)), "put the files into the bundle and write their path from the top")
	case strings.ContainsAny(f.Source, "*?"):
		say(globSource, fmt.Sprintf("the source %s is taken as it stands: patterns are not expanded", shown(f.Source)), "name the folder: what is in it is installed into the destination")
	}
}

func (l *linter) destination(f *appspec.File) {
	d := f.Destination
	say := func(id, message, suggestion string) {
		l.add(l.place(id, f.DestinationPos, l.tokenWidth(f.DestinationPos, d), message, suggestion))
	}
	switch {
	case d == "":
		f := l.place(emptyPath, f.DestinationPos, 1, "the destination is empty: the Install step fails", "write an absolute path")
		f.Severity = bad
		l.add(f)
	case strings.HasPrefix(d, "~"):
		say(oddTarget, fmt.Sprintf("the destination %s is below the home of the agent's user, not of the user that runs the application", shown(d)), "write an absolute path")
	case strings.ContainsAny(d, "$%") && !strings.HasPrefix(d, "/"), strings.Contains(d, "$"):
		say(oddTarget, fmt.Sprintf("the destination %s is taken as it stands: variables are not expanded", shown(d)), "write the path in full")
	case len(d) > 1 && d[1] == ':':
		say(oddTarget, fmt.Sprintf("the destination %s is a path of Windows, and os is linux", shown(d)), "write an absolute path such as /srv/app")
	case !strings.HasPrefix(d, "/"):
		say(oddTarget, fmt.Sprintf("the destination %s is relative: it starts at the working directory of the agent", shown(d)), "write an absolute path such as /srv/app")
	}
}
