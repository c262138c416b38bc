package main

import (
	"strings"

	told "slipway/lifecycle/report"
)

// printable is a line of what comes from scripts, bundles and others as a person may have it, on a terminal and in a pipe.
func printable(line string) string { return told.Printable(line) }

// printableText is printable for text of several lines, whose ends are kept. A carriage return before one shows.
func printableText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		content, ended := strings.CutSuffix(line, "\n")
		b.WriteString(printable(content))
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// saidLine is a line that a script has said, without its end, which some write with a carriage return.
func saidLine(text string) string { return printable(strings.TrimRight(text, "\r\n")) }
