package main

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	diffContext = 3
	// maxDiffCells bounds the work: what is larger is shown as replaced in one piece.
	maxDiffCells = 4 << 20
)

// diffLine is a line that is kept (' '), removed ('-') or added ('+').
type diffLine struct {
	kind byte
	text string
}

// unifiedDiff shows what becomes of a text, in the form of diff -u; "" if nothing does.
func unifiedDiff(name string, before, after []byte) string {
	if bytes.Equal(before, after) {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", name, name)
	lines := diffLines(linesOf(before), linesOf(after))
	for from := 0; from < len(lines); {
		first := from
		for first < len(lines) && lines[first].kind == ' ' {
			first++
		}
		if first == len(lines) {
			break
		}
		// A hunk goes on until more lines are kept than two contexts have.
		last, kept := first, 0
		for i := first; i < len(lines) && kept <= 2*diffContext; i++ {
			if kept++; lines[i].kind != ' ' {
				last, kept = i, 0
			}
		}
		writeHunk(&b, lines, max(first-diffContext, from), min(last+diffContext+1, len(lines)))
		from = last + 1
	}
	return b.String()
}

func writeHunk(b *strings.Builder, lines []diffLine, from, to int) {
	oldLine, newLine, oldCount, newCount := 1, 1, 0, 0
	for i, l := range lines[:to] {
		if i < from {
			if l.kind != '+' {
				oldLine++
			}
			if l.kind != '-' {
				newLine++
			}
			continue
		}
		if l.kind != '+' {
			oldCount++
		}
		if l.kind != '-' {
			newCount++
		}
	}
	if oldCount == 0 {
		oldLine-- // the line before what is added
	}
	if newCount == 0 {
		newLine--
	}
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@\n", oldLine, oldCount, newLine, newCount)
	for _, l := range lines[from:to] {
		text, ended := strings.CutSuffix(l.text, "\n")
		fmt.Fprintf(b, "%c%s\n", l.kind, text)
		if !ended {
			b.WriteString("\\ No newline at end of file\n")
		}
	}
}

func linesOf(text []byte) (lines []string) {
	for line := range strings.Lines(string(text)) {
		lines = append(lines, line)
	}
	return lines
}

// diffLines keeps as many lines as possible.
func diffLines(a, b []string) (out []diffLine) {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		out = append(out, diffLine{' ', a[start]})
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	out = append(out, diffMiddle(a[start:len(a)-end], b[start:len(b)-end])...)
	for _, line := range a[len(a)-end:] {
		out = append(out, diffLine{' ', line})
	}
	return out
}

func diffMiddle(a, b []string) (out []diffLine) {
	// longest[i][j] is how many lines a[i:] and b[j:] have in common, in order.
	width := len(b) + 1
	var longest []int32
	if len(a)*len(b) <= maxDiffCells {
		longest = make([]int32, (len(a)+1)*width)
		for i := len(a) - 1; i >= 0; i-- {
			for j := len(b) - 1; j >= 0; j-- {
				if a[i] == b[j] {
					longest[i*width+j] = longest[(i+1)*width+j+1] + 1
				} else {
					longest[i*width+j] = max(longest[(i+1)*width+j], longest[i*width+j+1])
				}
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case longest != nil && i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, diffLine{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || longest == nil || longest[(i+1)*width+j] >= longest[i*width+j+1]):
			out = append(out, diffLine{'-', a[i]})
			i++
		default:
			out = append(out, diffLine{'+', b[j]})
			j++
		}
	}
	return out
}
