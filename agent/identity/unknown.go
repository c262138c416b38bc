package identity

// UnknownError says that no source knows who this host is: what was tried and what to do.
type UnknownError struct {
	Tried  []Attempt
	Remedy string
}

// Attempt is one source that was asked, and why it could not answer.
type Attempt struct {
	Source string
	Err    error
}

func (e *UnknownError) Error() string { return e.Remedy }
