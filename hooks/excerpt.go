package hooks

// Excerpt is what a person needs of a script's output: valid UTF-8 without control sequences, secrets replaced.
type Excerpt struct {
	Stderr []string `json:"stderr,omitempty"` // its last lines
	Errors []string `json:"errors,omitempty"` // lines of either stream that look like errors, oldest first
	Tail   []string `json:"tail,omitempty"`   // the last lines of both streams
	Lines  int64    `json:"lines"`            // how many lines there were
	Bytes  int64    `json:"bytes"`            // and bytes
}

// Report puts together, in at most limit bytes of valid UTF-8, what a person needs: how the script ended, the last lines
// of stderr, lines that look like errors, then as much of the tail as fits.
func (r Result) Report(limit int) string { panic("todo") }

// JoinTails makes one tail of those of an event's scripts, in order, within the same bound (H-30).
func JoinTails(tails ...string) string { panic("todo") }
