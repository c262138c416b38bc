package appspec

// Severity says what a diagnostic means for a deployment.
type Severity string

// The severities, from worst to mildest. Parse reports errors only.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Diagnostic is one thing to say about one place of an appspec file.
type Diagnostic struct {
	// ID is stable: SW0xx, one row of Rules.
	ID       string
	Severity Severity
	// File is the name given to Parse.
	File string
	Pos  Pos
	// Len is the number of characters to underline, at least 1 unless Pos is zero.
	Len int
	// Message says what is wrong, Suggestion what to write instead.
	Message    string
	Suggestion string
	// Line is the text of the line at Pos, without its line break.
	Line string
}

// Diagnostics are all that is wrong with a file, in the order in which the reference agent checks: the first is the one it
// would have failed with.
type Diagnostics []Diagnostic

// Err is nil if no diagnostic is of severity error; otherwise it is an *Error.
func (d Diagnostics) Err() error { return nil }

// Error is a refusal of an appspec file.
type Error struct {
	// Diagnostic is what the refusal is about.
	Diagnostic
	// More is the number of further errors in the same file.
	More int
}

// Error gives place and message, the line with the place underlined, and the suggestion.
func (e *Error) Error() string { return e.Message }
