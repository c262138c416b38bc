package identity

import (
	"cmp"
	"strings"
)

const remedy = "on EC2, allow the instance metadata service (HttpEndpoint enabled, hop limit 2 in containers) and attach an instance profile; " +
	"elsewhere, register the host and write its on-premises file (aws deploy register-on-premises-instance)"

// UnknownError says that no source knows who this host is. It may know later: a metadata service can be slow to
// come up, a file can be written.
type UnknownError struct {
	Problem string    // what is not known; "" for who this host is
	Tried   []Attempt // in order
	Remedy  string    // what to do
}

// Attempt is one source that was asked, and why it could not answer.
type Attempt struct {
	Source string
	Err    error
}

// Error says on one line what was tried and what to do.
func (e *UnknownError) Error() string {
	var b strings.Builder
	b.WriteString(cmp.Or(e.Problem, "nothing says who this host is"))
	for i, a := range e.Tried {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(a.Source + ": " + a.Err.Error())
	}
	b.WriteString(". " + e.Remedy)
	return b.String()
}

// Unwrap gives the causes, in order.
func (e *UnknownError) Unwrap() []error {
	errs := make([]error, len(e.Tried))
	for i, a := range e.Tried {
		errs[i] = a.Err
	}
	return errs
}
