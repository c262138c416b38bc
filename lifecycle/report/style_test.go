package report_test

import (
	"errors"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"slipway/lifecycle"
	"slipway/lifecycle/report"
)

// palettes are the colours of a style: light, dark, and, where there is one, paper.
func palettes(t *testing.T, style string) (all []map[string]string) {
	t.Helper()
	for _, root := range regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(style, -1) {
		p := map[string]string{}
		for declaration := range strings.SplitSeq(root[1], ";") {
			name, value, ok := strings.Cut(declaration, ":")
			if !ok {
				t.Fatalf("%q is no declaration", declaration)
			}
			if len(value) == 4 { // #abc
				value = "#" + strings.Repeat(value[1:2], 2) + strings.Repeat(value[2:3], 2) + strings.Repeat(value[3:4], 2)
			}
			p[name] = value
		}
		all = append(all, p)
	}
	return all
}

// The report looks as the status page does.
func TestPaletteOfTheStatusPage(t *testing.T) {
	t.Parallel()
	other, err := os.ReadFile("../../agent/health/page_style.go")
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := palettes(t, string(html(t, &lifecycle.Account{}))), palettes(t, string(other))
	if len(mine) != 3 || len(theirs) != 2 {
		t.Fatalf("there are %d palettes here and %d of the status page, want 3 and 2", len(mine), len(theirs))
	}
	for i := range theirs {
		for name, value := range theirs[i] {
			if mine[i][name] != value {
				t.Errorf("palette %d: %s is %s here and %s on the status page", i, name, mine[i][name], value)
			}
		}
	}
}

// Text can be read on what it stands on: WCAG 2 asks for a contrast of 4.5 (1.4.3).
func TestContrast(t *testing.T) {
	t.Parallel()
	for i, p := range palettes(t, string(html(t, &lifecycle.Account{}))) {
		for text, grounds := range map[string][]string{
			"--ink": {"--bg", "--card"}, "--soft": {"--bg", "--card"}, "--good": {"--card", "--goodbg"}, "--bad": {"--bg", "--card", "--badbg"},
			"--mid": {"--card", "--midbg"}, "--run": {"--bg", "--card", "--runbg"},
		} {
			for _, ground := range grounds {
				if got := contrast(t, p[text], p[ground]); got < 4.5 {
					t.Errorf("palette %d: %s on %s has a contrast of %.2f", i, text, ground, got)
				}
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(t *testing.T, colour string) (sum float64) {
	t.Helper()
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}

// broken refuses what is written after so many bytes.
type broken struct{ room int }

var errBroken = errors.New("the disk is full")

func (b *broken) Write(p []byte) (int, error) {
	if len(p) > b.room {
		return 0, errBroken
	}
	b.room -= len(p)
	return len(p), nil
}

// A writer that fails is told, wherever that happens.
func TestWriterFails(t *testing.T) {
	t.Parallel()
	a := load(t, "failed")
	for _, room := range []int{0, 40_000} {
		if err := report.HTML(&broken{room}, a); !errors.Is(err, errBroken) {
			t.Errorf("HTML() with room for %d bytes = %v", room, err)
		}
	}
	if err := report.Text(&broken{0}, a, report.TextOptions{}); !errors.Is(err, errBroken) {
		t.Errorf("Text() = %v", err)
	}
}
