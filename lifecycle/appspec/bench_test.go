package appspec

import (
	"fmt"
	"strings"
	"testing"
)

// large is an ordinary appspec file of MaxSize.
func large() []byte {
	var b strings.Builder
	b.WriteString("version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/app\nhooks:\n")
	for i := 0; b.Len() < MaxSize-400; i++ {
		fmt.Fprintf(&b, "  Event%d:\n    # what it does\n    - location: scripts/event_%d.sh\n      timeout: 300\n      runas: root\n", i, i)
	}
	b.WriteString("#")
	b.WriteString(strings.Repeat("-", MaxSize-b.Len()))
	return []byte(b.String())
}

// hostile are files of MaxSize that would take a careless reader minutes: everything that may nest, repeat, or go wrong does.
func hostile() map[string][]byte {
	fill := func(head, unit, tail string) []byte {
		return []byte(head + strings.Repeat(unit, (MaxSize-len(head)-len(tail))/len(unit)) + tail)
	}
	const head = "version: 0.0\nos: linux\n"
	deep := strings.Repeat("[", maxDepth-2)
	return map[string][]byte{
		"brackets":            fill(head+"x: ", "[", ""),
		"brackets on lines":   fill(head+"x: ", "[\n", ""),
		"braces":              fill(head+"x: ", "{a: ", ""),
		"dashes":              fill(head+"x:\n ", "- ", ""),
		"question marks":      fill("", "? ", ""),
		"colons":              fill("", ": ", ""),
		"keys":                fill(head+"x: {", "a: 1, ", "}"),
		"equal map keys":      fill(head+"x:\n", "? {a: [b, {c: d}]}\n: 1\n", ""),
		"items deep down":     fill(head+"x: "+deep, "1,", strings.Repeat("]", len(deep))),
		"keys deep down":      fill(head+"x: "+deep+"{", "a: 1,", "}"+strings.Repeat("]", len(deep))),
		"nested map keys":     fill(head+"hooks:\n  a: [{location: "+strings.Repeat("{? ", 900), "a", strings.Repeat("}", 900)+"}]"),
		"deep location":       fill(head+"hooks: {a: [{location: "+strings.Repeat("[", 900), "1,", strings.Repeat("]", 900)+"}]}"),
		"merges":              fill(head+"hooks:\n  a:\n  - location: a\n", "    <<: {timeout: 5}\n", ""),
		"blank lines":         fill(head+"x: a", "\n", ""),
		"blank lines in text": fill(head+"x: |\n", "\n", ""),
		"quoted lines":        fill(head+"x: \"", "a\n", "\""),
		"open quote":          fill(head+"x: \"", "a ", ""),
		"comment":             fill(head, "#", ""),
		"comments":            fill(head, "#\n", ""),
		"anchors":             fill(head+"x: [", "&a b,", "]"),
		"aliases":             fill(head+"x: [&a b,", "*a,", "]"),
		"tags":                fill(head+"x: [", "!a b,", "]"),
		"number":              fill(head+"x: 0x", "f", ""),
		"numeric location":    fill(head+"hooks: {a: [{location: 0x", "f", "}]}"),
		"number of parts":     fill(head+"x: 1", ":1", ""),
		"bad scripts":         fill(head+"hooks: {a: [", "~,", "]}"),
		"bad files":           fill(head+"files: [é,", "{source: 1, destination: 2},", "]"),
		"unknown keys":        fill(head+"files: [{source: a, destination: b, é: é,", "\"x\\x31\": 2,", "}]"),
		"long event name":     fill(head+"hooks:\n  "+strings.Repeat("e", 1000)+":\n", "  - {location: a, b: c}\n", ""),
		"bad ACLs":            fill(head+"permissions: [{object: a, acls: [", "é,", "]}]"),
		"categories":          fill(head+"permissions: [{object: a, context: {type: a, range: \"s0:", "c1,", "\"}}]"),
		"carriage returns":    fill(head, "\r", ""),
		"documents":           fill("", "---\n", ""),
		"tag directives":      fill("", "%TAG !a! b\n", ""),
	}
}

func BenchmarkParse(b *testing.B) {
	run := func(name string, data []byte) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				Parse("appspec.yml", data)
			}
		})
	}
	run("usual", []byte(usual))
	run("1MiB", large())
	for name, data := range hostile() {
		run("hostile/"+name, data)
	}
}

// usual is the appspec file of a small application.
const usual = `version: 0.0
os: linux
files:
  - source: /
    destination: /var/www/app
permissions:
  - object: /var/www/app
    pattern: "**"
    owner: apache
    group: apache
    mode: 0644
    type:
      - file
hooks:
  BeforeInstall:
    - location: scripts/before_install.sh
      timeout: 300
      runas: root
  AfterInstall:
    - location: scripts/after_install.sh
      timeout: 300
      runas: root
  ApplicationStart:
    - location: scripts/start.sh
      timeout: 60
      runas: root
`
