package report

import (
	"strings"

	"slipway/lifecycle"
)

// tally counts the changes by kind, those that a directory stands for too.
func tally(a *lifecycle.Account) (n [kinds]int) {
	for i := range a.Files {
		n[kindOf(&a.Files[i])] += 1 + max(a.Files[i].Fold, 0)
	}
	return n
}

// files are the changed paths as a tree.
func (p *page) files() {
	if !hasFiles(p.a) {
		return
	}
	p.raw("<section id=\"files\"><h2>Files</h2>\n")
	if said := watched(p.a); said != "" {
		p.put("<p class=\"legend\">%s.</p>\n", said)
	}
	if len(p.a.Files) == 0 {
		p.put("<p class=\"nil\">%s.</p>\n", unchanged(p.a))
	} else {
		p.raw("<p class=\"legend\"><b class=\"add\">+</b> added <b class=\"chg\">~</b> changed <b class=\"rem\">-</b> removed</p>\n<div class=\"tree\">\n")
		top := grow(p.a.Files)
		p.inside(top, "/", 0, top.leaves)
		p.raw("</div>\n")
	}
	p.beyond(p.a.FilesOmitted, "path is not listed", "paths are not listed")
	p.raw("</section>\n")
}

var kindClasses = [kinds]string{"add", "chg", "rem"}

// counts writes how many paths there are of each kind.
func (p *page) counts(f *folder) {
	p.raw("<span class=\"n\">")
	for k, n := range f.n {
		if n > 0 {
			p.put(" <b class=\"%s\">%s%s</b>", kindClasses[k], kindSigns[k], number(n))
		}
	}
	p.raw("</span>")
}

// inside writes what is in a folder: its own paths first. prefix stands before the names of the top folders.
func (p *page) inside(f *folder, prefix string, depth, all int) {
	p.raw("<ul>")
	for _, g := range f.groups {
		p.alike(g)
	}
	for _, k := range f.sorted() {
		if p.paths <= 0 {
			p.put("<li class=\"cut\">%s: %s not listed</li>", prefix+k.name+"/", count(k.total(), "path,", "paths,"))
			continue
		}
		p.paths--
		p.folder(k, prefix, depth, all)
	}
	p.raw("</ul>\n")
}

func (p *page) folder(f *folder, prefix string, depth, all int) {
	const allOpen, openDepth = 60, 2
	name := prefix + f.name + "/"
	class := ""
	if f.own != nil {
		class = kindClasses[kindOf(f.own)]
	}
	whole := !f.mixed && f.leaves > wholeAt
	if whole || len(f.kids) == 0 && len(f.groups) == 0 {
		p.put("<li class=\"dir %s\"><span class=\"row\"><span class=\"p\">%s</span>", class, name)
		p.counts(f)
		if whole {
			p.put("<span class=\"d\">all %s</span>", kindWords[f.who.kind])
			p.maker(&lifecycle.FileChange{By: f.who.by, ByHook: f.who.byHook})
		} else {
			p.detail(f.own)
		}
		p.raw("</span></li>\n")
		return
	}
	p.put("<li class=\"dir %s\"><details", class)
	p.open(all <= allOpen || depth < openDepth && f.leaves <= allOpen || depth == 0)
	p.put("<span class=\"p\">%s</span>", name)
	p.counts(f)
	if f.own != nil {
		p.detail(f.own)
	}
	p.raw("</summary>")
	p.inside(f, "", depth+1, all)
	p.raw("</details></li>\n")
}

// alike writes paths of one folder, in one row if they are many.
func (p *page) alike(g *group) {
	list := g.paths
	if len(list) <= alikeAt {
		for i, c := range list {
			if p.paths <= 0 {
				p.put("<li class=\"cut\">… %s not listed</li>", count(len(list)-i, "path is", "paths are"))
				return
			}
			p.paths--
			p.path(c)
		}
		return
	}
	p.put("<li class=\"%s\"><details><summary><span class=\"p\"><b class=\"s\">%s</b> %s %s</span>", kindClasses[g.kind], kindSigns[g.kind], count(len(list), "path", "paths"), kindWords[g.kind])
	p.maker(list[0])
	p.raw("</summary><ul class=\"names\">")
	shown := min(len(list), alikeMax, max(p.paths, 0))
	p.paths -= shown
	for _, c := range list[:shown] {
		p.put("<li>%s</li>", base(c.Path))
	}
	if left := len(list) - shown; left > 0 {
		p.put("<li class=\"cut\">… and %s</li>", count(left, "more", "more"))
	}
	p.raw("</ul></details></li>\n")
}

// path writes a path by itself, with its difference if it has one.
func (p *page) path(c *lifecycle.FileChange) {
	k := kindOf(c)
	head := func() {
		p.put("<span class=\"p\"><b class=\"s\">%s</b> %s</span>", kindSigns[k], base(c.Path))
		p.detail(c)
	}
	p.put("<li class=\"%s\">", kindClasses[k])
	if c.Diff == "" || p.diffs <= 0 {
		p.raw("<span class=\"row\">")
		head()
		p.raw("</span></li>\n")
		return
	}
	p.raw("<details><summary>")
	head()
	p.raw("</summary>")
	p.difference(c.Diff)
	p.raw("</details></li>\n")
}

// detail says what of a path is other, and who did it.
func (p *page) detail(c *lifecycle.FileChange) {
	if c == nil {
		return
	}
	if special(c) {
		p.put("<span class=\"tag\">%s</span>", c.Type)
	}
	for _, what := range c.What[:min(len(c.What), kinds*kinds)] {
		p.put("<span class=\"tag\">%s</span>", what)
	}
	if c.Aside {
		p.raw("<span class=\"tag\">changed by hand, kept aside</span>")
	}
	if text := sides(c, "→"); text != "" {
		p.put("<span class=\"d\">%s</span>", text)
	}
	p.maker(c)
}

func (p *page) maker(c *lifecycle.FileChange) {
	text := by(c)
	if text == "" {
		return
	}
	class := ""
	if c.ByHook {
		class = "hook"
	}
	p.put("<span class=\"by %s\">%s</span>", class, text)
}

// difference writes a unified difference.
func (p *page) difference(diff string) {
	diff, left := cut(diff, min(maxDiff, p.diffs))
	list := lines(diff)
	p.diffs -= len(diff) + around*len(list)
	p.raw("<div class=\"diff\">")
	for _, line := range list {
		p.put("<div class=\"%s\">", diffClass(line))
		p.text(clip(line, maxLine), true)
		p.raw("</div>")
	}
	if left > 0 {
		p.put("<div class=\"h\">… %s</div>", count(left, "more byte", "more bytes"))
	}
	p.raw("</div>")
}

// diffClass is what a line of a difference is: added, removed, of the difference itself ("h"), or the same ("").
func diffClass(line string) string {
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "@@"):
		return "h"
	case strings.HasPrefix(line, "+"):
		return kindClasses[added]
	case strings.HasPrefix(line, "-"):
		return kindClasses[removed]
	}
	return ""
}
