package report

func (p *page) prediction() {
	q := p.a.Prediction
	if q == nil {
		return
	}
	g, text := predicted(q)
	word := map[grade]string{good: "as planned", mid: "ended otherwise", bad: "not as planned"}[g]
	p.put("<section id=\"prediction\"><h2>What was planned, and what was done</h2>\n<p><span class=\"pill %s\">%s</span> %l</p>\n", string(g), word, text)
	if q.Events != "" {
		p.put("<p>%l</p>\n", q.Events)
	}
	for _, t := range predictedLists(q) {
		p.put("<details><summary><h3>%s</h3><span class=\"aside\">%s</span></summary>", t.title, number(len(t.rows)+t.more))
		p.list(t)
		p.raw("</details>\n")
	}
	p.raw("</section>\n")
}

func (p *page) findings() {
	list := p.a.Findings
	if len(list) == 0 {
		return
	}
	p.raw("<section id=\"findings\"><h2>Findings of the linter</h2>\n<ul class=\"findings\">")
	for i := range list[:min(len(list), maxFindings)] {
		f := &list[i]
		p.put("<li><span class=\"pill %s\">%s</span> <b>%s</b> <span class=\"place\">%s</span><p>%l</p>", string(severityGrade(f.Severity)), severityText(f.Severity), f.ID, f.Place, f.Message)
		if f.Advice != "" {
			p.put("<p class=\"advice\">%l</p>", f.Advice)
		}
		p.raw("</li>\n")
	}
	p.raw("</ul>")
	p.beyond(len(list)-maxFindings, "finding", "findings")
	p.raw("</section>\n")
}

func (p *page) notes() {
	list := p.a.Notes
	if len(list) == 0 {
		return
	}
	p.raw("<section id=\"notes\"><h2>To know</h2>\n<ul class=\"notes\">")
	for _, note := range list[:min(len(list), maxRows)] {
		p.put("<li>%l</li>", note)
	}
	p.raw("</ul>")
	p.beyond(len(list)-maxRows, "note", "notes")
	p.raw("</section>\n")
}

// group writes tables: lists and facts, which are narrow, beside one another.
func (p *page) group(list []*table) {
	beside := false
	for _, t := range list {
		narrow := len(t.head) == 0 || t.id == "host" || t.id == "walls"
		switch {
		case narrow && !beside:
			p.raw("<div class=\"cards\">\n")
		case !narrow && beside:
			p.raw("</div>\n")
		}
		beside = narrow
		p.put("<section id=\"%s\"><h2>%s</h2>\n", t.id, t.title)
		switch {
		case len(t.head) == 0:
			p.list(t)
		case t.id == "host" || t.id == "walls":
			p.raw("<dl class=\"facts\">")
			for _, r := range t.rows {
				p.put("<dt>%s</dt><dd>%s</dd>", r.cells[0], r.cells[1])
			}
			p.raw("</dl>")
			p.beyond(t.more, "fact", "facts")
		default:
			p.table(t)
		}
		p.raw("</section>\n")
	}
	if beside {
		p.raw("</div>\n")
	}
}

func (p *page) list(t *table) {
	p.raw("<ul class=\"plain\">")
	for _, r := range t.rows {
		p.put("<li class=\"%s\">%s</li>", string(r.grade), r.cells[0])
	}
	p.raw("</ul>")
	p.beyond(t.more, "line", "lines")
}

func (p *page) table(t *table) {
	const short = 20
	p.raw("<table class=\"rows\"><thead><tr>")
	for _, name := range t.head {
		p.put("<th scope=\"col\">%s</th>", name)
	}
	p.raw("</tr></thead><tbody>")
	for _, r := range t.rows {
		p.put("<tr class=\"%s\">", string(r.grade))
		for i, cell := range r.cells {
			// The name of the column stands in the cell too, for narrow screens. A short cell ("k") is never broken.
			class := ""
			if len(cell) <= short {
				class = "k"
			}
			p.put("<td class=\"%s\" data-h=\"%s\">%s</td>", class, t.head[i], cell)
		}
		p.raw("</tr>\n")
	}
	p.raw("</tbody></table>")
	p.beyond(t.more, "row", "rows")
}
