package config

import (
	"strings"

	"github.com/agext/levenshtein"
)

// suggest names the candidate that the writer most likely meant, as "did you mean …?", or nothing.
func suggest(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return "did you mean " + best + "?"
	}
	return ""
}

// nearest finds the candidate that is close enough; of equals, the first.
func nearest(word string, candidates []string) string {
	fold := strings.NewReplacer("-", "_").Replace
	word = fold(strings.ToLower(word))
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", 0
	for _, c := range candidates {
		limit := 1
		if len(c) > 3 {
			limit = len(c)/4 + 1 // two letters swapped count as two
		}
		d := levenshtein.Distance(word, fold(strings.ToLower(c)), nil)
		if d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}
