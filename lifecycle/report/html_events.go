package report

import (
	"strconv"

	"slipway/lifecycle"
)

// events are what each event did, its scripts and what they said.
func (p *page) events() {
	if len(p.a.Events) == 0 {
		return
	}
	const together, each = 120, 12 // lines that are read without opening anything: of all, else of one event
	shown := make([]int, len(p.a.Events))
	all := 0
	for i := range p.a.Events {
		for j := range p.a.Events[i].Scripts {
			head, tail := fold(len(p.a.Events[i].Scripts[j].Output))
			shown[i] += head + tail
		}
		all += shown[i]
	}
	p.raw("<section id=\"events\"><h2>Events and scripts</h2>\n")
	for i := range p.a.Events[:min(len(p.a.Events), maxEvents)] {
		p.event(i, all <= together || shown[i] <= each)
	}
	p.raw("</section>\n")
}

func (p *page) event(i int, open bool) {
	e := &p.a.Events[i]
	g := eventGrade(e)
	id := "e" + strconv.Itoa(i)
	says := lines(clip(e.Message, maxProse))
	if len(e.Scripts) == 0 && len(says) <= 1 && g != bad {
		p.put("<div class=\"event quiet %s\" id=\"%s\"><h3>%s</h3><span class=\"pill %s\">%s</span>", string(g), id, string(e.Event), string(g), eventOutcome(e))
		for _, line := range append(lines(e.Nothing), says...) {
			p.put("<span class=\"aside\">%s</span>", line)
		}
		p.put("<span class=\"when\">%s</span></div>\n", took(e.TookMS))
		return
	}
	p.put("<details class=\"event\" id=\"%s\"", id)
	p.open(open || g == bad || g == mid)
	p.put("<h3>%s</h3><span class=\"pill %s\">%s</span>", string(e.Event), string(g), eventOutcome(e))
	if len(e.Scripts) > 0 {
		text := count(len(e.Scripts), "script", "scripts")
		if e.Whose != "" {
			text += " of " + e.Whose
		}
		p.put("<span class=\"aside\">%s</span>", text)
	}
	p.put("<span class=\"when\">%s</span></summary>\n", took(e.TookMS))
	if len(says) > 0 {
		p.says(g, says)
	}
	for j := range e.Scripts[:min(len(e.Scripts), maxScripts)] {
		p.script(&e.Scripts[j])
	}
	p.beyond(len(e.Scripts)-maxScripts, "script", "scripts")
	p.raw("</details>\n")
}

// open ends the tag of a part that can be folded, and begins its summary.
func (p *page) open(open bool) {
	if open {
		p.raw(" open=\"open\"")
	}
	p.raw("><summary>")
}

// says writes words of the agent.
func (p *page) says(g grade, list []string) {
	p.put("<div class=\"says %s\">", string(g))
	for _, line := range list {
		p.raw("<div>")
		p.text(clip(line, maxLine), true)
		p.raw("</div>")
	}
	p.raw("</div>\n")
}

func (p *page) script(s *lifecycle.ScriptAccount) {
	g := none
	if s.Code != lifecycle.Succeeded {
		g = bad
	}
	time, used := against(s)
	p.put("<div class=\"script\"><h4>%s</h4><span class=\"tag\">as %s</span><span class=\"tag %s\">%s</span><span class=\"time\">%s", s.Script, runAs(s), string(g), exit(s), time)
	if used >= 0 {
		const much = 80
		class := ""
		if used >= much {
			class = "much"
		}
		p.put(" <i class=\"meter %s\"><i style=\"width:%s%\"></i></i>", class, strconv.Itoa(used))
	}
	p.raw("</span></div>\n")
	if says := lines(clip(s.Message, maxProse)); len(says) > 0 {
		p.says(bad, says)
	}
	for _, note := range s.Notes[:min(len(s.Notes), maxRows)] {
		p.put("<p class=\"note\">%l</p>\n", note)
	}
	p.said(s)
}

// said is the output of a script: its beginning and its end, and what is between on request.
func (p *page) said(s *lifecycle.ScriptAccount) {
	n := len(s.Output)
	if n == 0 && s.Omitted == 0 {
		p.raw("<p class=\"nil\">It said nothing.</p>\n")
		return
	}
	head, tail := fold(n)
	p.raw("<div class=\"out\">")
	p.stretch(s.Output[:head])
	if head < n {
		text := count(n-head-tail, "more line", "more lines")
		if s.Omitted > 0 {
			text += ", and " + count(int(s.Omitted), "line", "lines") + " that were not kept"
		}
		p.put("<details class=\"fold\"><summary>%s</summary>", text)
		p.stretch(s.Output[head : n-tail])
		p.raw("</details>")
		p.stretch(s.Output[n-tail:])
	} else if s.Omitted > 0 {
		p.put("<div class=\"cut\">… %s in the middle were not kept</div>", count(int(s.Omitted), "line", "lines"))
	}
	p.raw("</div>\n")
}

// stretch writes lines of output while there is room.
func (p *page) stretch(list []lifecycle.OutputLine) {
	for i := range list {
		if p.output <= 0 {
			p.put("<div class=\"cut\">… %s not shown: the report would be too long</div>", count(len(list)-i, "line is", "lines are"))
			return
		}
		l := &list[i]
		text := clip(l.Text, maxLine)
		p.output -= len(text) + around
		switch l.Stream {
		case "stderr":
			p.raw(`<div class="e"><i>!</i>`)
		case "stdout":
			p.raw(`<div>`)
		default:
			p.raw(`<div class="a"><i>#</i>`)
		}
		p.text(text, true)
		p.raw("</div>")
	}
}
