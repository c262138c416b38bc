// Package report shows an Account: what became of a deployment, or of the rehearsal of one, as one self-contained page and as text for a
// terminal. Both say the same.
//
// The page needs no network, no script and no file beside it, and is well-formed XML too. Whatever an account holds comes from bundles and
// scripts, and is taken for hostile: it is escaped, characters that are not printed are shown as codes, and everything has a bound, so
// that no account makes a page that cannot be opened.
package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"slipway/lifecycle"
)

// What is shown at most. What is beyond is counted.
const (
	maxEvents   = 60
	maxScripts  = 100      // of one event
	maxRows     = 200      // of a table
	maxFindings = 200      // of the linter
	maxField    = 400      // bytes of a name, a path, a value
	maxProse    = 8 << 10  // bytes of a message
	maxLine     = 2000     // bytes of a line of output or of a difference
	maxOutput   = 1 << 20  // bytes of output of all scripts, and of what goes around its lines
	maxDiff     = 64 << 10 // bytes of the difference of one file
	maxDiffs    = 1 << 20  // bytes of all differences, likewise
	around      = 24       // bytes that go around a line
	maxPaths    = 4000     // paths that are listed by themselves
)

// cutTo is the beginning of a field.
func cutTo(text string) string {
	text, _ = cut(text, maxField)
	return text
}

// cut is text of at most that many bytes, whole characters, and how many bytes were left out.
func cut(text string, most int) (string, int) {
	if len(text) <= most {
		return text, 0
	}
	at := most
	for at > most-utf8.UTFMax && !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at], len(text) - at
}

// clip is text of at most that many bytes, which says if there was more.
func clip(text string, most int) string {
	short, left := cut(text, most)
	if left > 0 {
		short += " (" + count(left, "more byte", "more bytes") + ")"
	}
	return short
}

// Printable is a line of text from elsewhere as a person may have it: what could steer a terminal, turn letters around or be no character at all is
// shown as its code, such as \x1b or \u202e. Tabs are kept. It holds for a pipe as for a terminal: behind a pipe there may be one, and exact bytes are
// for machines.
func Printable(line string) string {
	for i := range len(line) {
		if c := line[i]; (c < ' ' || c >= 0x7f) && c != '\t' {
			return plain(line, true)
		}
	}
	return line
}

// pieces takes text apart: what can be shown as it is, and codes for what cannot. Tabs are kept if keepTab says so.
func pieces(text string, keepTab bool, yield func(piece string, code bool)) {
	from := 0
	for i := 0; i < len(text); {
		if c := text[i]; c >= ' ' && c < utf8.RuneSelf && c != 0x7f || c == '\t' && keepTab {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		if r >= utf8.RuneSelf && (r != utf8.RuneError || n > 1) && strconv.IsGraphic(r) {
			i += n
			continue
		}
		if from < i {
			yield(text[from:i], false)
		}
		yield(code(r, text[i:i+n]), true)
		i += n
		from = i
	}
	if from < len(text) {
		yield(text[from:], false)
	}
}

// code is the name of a character that is not shown.
func code(r rune, raw string) string {
	if r == utf8.RuneError && len(raw) == 1 {
		return fmt.Sprintf(`\x%02x`, raw[0])
	}
	quoted := strconv.QuoteRuneToASCII(r)
	return quoted[1 : len(quoted)-1]
}

// plain is text with codes for what cannot be shown.
func plain(text string, keepTab bool) string {
	var b strings.Builder
	pieces(text, keepTab, func(piece string, _ bool) { b.WriteString(piece) })
	return b.String()
}

// lines are those of a text, without their ends and without the empty ones at its end.
func lines(text string) []string {
	text = strings.TrimRight(text, "\r\n\t ")
	if text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], "\r")
	}
	return all
}

// took is a duration in milliseconds as a person reads it; "-" if it is not known.
func took(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case ms < 0 || ms > int64(1<<62)/int64(time.Millisecond):
		return "-"
	case d < time.Second:
		return d.String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	text := d.Round(time.Second).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// count is a number with its noun, thousands set apart.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// grade is how something went, for its colour and its mark.
type grade string

const (
	good grade = "good"
	bad  grade = "bad"
	mid  grade = "mid" // to be looked at
	run  grade = "run" // goes on
	none grade = "none"
)

func gradeOf(outcome string) grade {
	switch outcome {
	case lifecycle.OutcomeSucceeded:
		return good
	case lifecycle.OutcomeFailed:
		return bad
	case lifecycle.OutcomeInterrupted, lifecycle.OutcomeIncomplete:
		return mid
	case lifecycle.OutcomeInHand:
		return run
	}
	return none
}

// outcomeText is what became of a deployment, in a word or two.
func outcomeText(outcome string) string {
	switch outcome {
	case lifecycle.OutcomeInHand:
		return "in hand"
	case lifecycle.OutcomeForeign:
		return "by another agent"
	case "":
		return "not known"
	}
	return outcome
}

// ended is the event at which a deployment came to its end before its time; nil if there is none.
func ended(a *lifecycle.Account) *lifecycle.EventAccount {
	for i := range a.Events {
		if g := gradeOf(a.Events[i].Outcome); g == bad || g == mid {
			return &a.Events[i]
		}
	}
	return nil
}

// subject is what is told of.
func subject(a *lifecycle.Account) string {
	id := cutTo(a.Deployment)
	switch {
	case a.Rehearsal:
		return "The rehearsal"
	case id == "":
		return "The deployment"
	}
	return "Deployment " + id
}

// verdict is everything in one sentence: what happened, and what is left of the host.
func verdict(a *lifecycle.Account) string {
	text := subject(a)
	after := " after " + took(a.TookMS)
	at := ""
	if e := ended(a); e != nil {
		at = " at " + cutTo(string(e.Event))
		if e.Code != lifecycle.Succeeded {
			at += " (code " + strconv.Itoa(int(e.Code)) + ")"
		}
	}
	switch a.Outcome {
	case lifecycle.OutcomeSucceeded:
		text += " succeeded" + after
	case lifecycle.OutcomeFailed:
		text += " failed" + at + after
	case lifecycle.OutcomeInterrupted:
		text += " was interrupted" + at + after
	case lifecycle.OutcomeInHand:
		text += " goes on"
	case lifecycle.OutcomeIncomplete:
		text += " has not come to its end"
	case lifecycle.OutcomeForeign:
		text += " was carried out by another agent"
	default:
		text += ": " + cutTo(outcomeText(a.Outcome))
	}
	if state := strings.TrimSpace(a.State); state != "" {
		text += ": " + strings.TrimSuffix(clip(state, maxProse/2), ".")
	}
	return text + "."
}

// eventOutcome is what became of an event, as slipway show says it.
func eventOutcome(e *lifecycle.EventAccount) string {
	switch {
	case e.Outcome == lifecycle.OutcomeFailed:
		return "failed (code " + strconv.Itoa(int(e.Code)) + ")"
	case e.Outcome == lifecycle.OutcomeSucceeded && e.Nothing != "" && len(e.Scripts) == 0:
		return "nothing to run"
	case e.Outcome == lifecycle.OutcomeForeign:
		return "not known"
	}
	return outcomeText(e.Outcome)
}

// eventGrade is good only for an event that has done something.
func eventGrade(e *lifecycle.EventAccount) grade {
	if g := gradeOf(e.Outcome); g != good || e.Nothing == "" || len(e.Scripts) > 0 {
		return g
	}
	return none
}

// exit is how a script ended.
func exit(s *lifecycle.ScriptAccount) string {
	switch {
	case s.Code == lifecycle.ScriptMissing:
		return "is not there"
	case s.Code == lifecycle.ScriptExecutable:
		return "cannot be executed"
	case s.Code == lifecycle.ScriptTimedOut:
		return "timed out"
	case s.Code == lifecycle.FailedAfterReboot:
		return "lost"
	case s.Signal != "":
		return "killed by " + s.Signal
	case s.Exit >= 0:
		text := "exit " + strconv.Itoa(s.Exit)
		if s.Code == lifecycle.OutputsLeftOpen {
			text += ", its output held open"
		}
		return text
	case s.Code != lifecycle.Succeeded:
		return "failed"
	}
	return "its end is not known"
}

// runAs is who a script ran as.
func runAs(s *lifecycle.ScriptAccount) string {
	switch s.RunAs {
	case "":
		return "the agent's user"
	case lifecycle.UnknownUser:
		return "an unknown user"
	}
	return s.RunAs
}

// against is the time of a script against what it had; used is in hundredths, -1 if there was no timeout.
func against(s *lifecycle.ScriptAccount) (text string, used int) {
	text, used = took(s.TookMS), -1
	if s.TookMS == lifecycle.UnknownMS {
		text = "time not known"
	}
	if s.TimeoutMS > 0 {
		text += " of " + took(s.TimeoutMS)
		const hundred = 100
		used = int(min(max(float64(s.TookMS)/float64(s.TimeoutMS), 0), 1) * hundred)
	}
	return text, used
}

// by is who changed a path.
func by(c *lifecycle.FileChange) string {
	switch {
	case c.By == "":
		return ""
	case c.ByHook:
		return "script of " + string(c.By)
	}
	return string(c.By)
}

// hasFiles reports whether there is something to say of files: somebody has watched them, or Install has noted its own.
func hasFiles(a *lifecycle.Account) bool {
	return a.Rehearsal || a.FilesRecorded || len(a.Files) > 0 || a.FilesOmitted > 0
}

// watched says whose changes the files are, where it is not those of all that has run.
func watched(a *lifecycle.Account) string {
	if a.Rehearsal {
		return ""
	}
	return "What Install changed; what scripts changed on the host is not known"
}

// unchanged says that no path has changed, as far as that is known.
func unchanged(a *lifecycle.Account) string {
	switch {
	case a.FilesOmitted > 0:
		return "No path that was looked at is other than it was"
	case a.Rehearsal:
		return "No path is other than it was"
	}
	return "Install left every path as it was"
}

// more is text that says how many paths are not listed.
func more(a *lifecycle.Account, text string) string {
	if a.FilesOmitted > 0 {
		text += ", " + number(a.FilesOmitted) + " more not listed"
	}
	return text
}

// lowered is a sentence that stands behind something.
func lowered(text string) string { return strings.ToLower(text[:1]) + text[1:] }

// special reports whether the type of a path is worth a word: it is neither a file nor a directory, and has not become so.
func special(c *lifecycle.FileChange) bool {
	return c.Type != "" && c.Type != "file" && c.Type != "directory" && !slices.Contains(c.What, c.Type)
}

// sides is what a path was and is. What both have in common is said once: "0644 root:root 981 -> 1003 bytes".
func sides(c *lifecycle.FileChange, arrow string) string {
	was, is := cutTo(c.Was), cutTo(c.Is)
	switch {
	case was == "" || was == is:
		return is
	case is == "":
		return was
	}
	a, b := strings.Fields(was), strings.Fields(is)
	if len(a) != len(b) {
		return was + " " + arrow + " " + is
	}
	from, to := 0, len(a)
	for from < to && a[from] == b[from] {
		from++
	}
	for to > from && a[to-1] == b[to-1] {
		to--
	}
	return strings.Join(a[:to], " ") + " " + arrow + " " + strings.Join(b[from:], " ")
}

// fold decides which lines of an output are shown at once: all, or those at its beginning and its end.
func fold(n int) (head, tail int) {
	const whole, first, last = 40, 10, 20
	if n <= whole {
		return n, 0
	}
	return first, last
}
