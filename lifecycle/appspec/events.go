package appspec

// CheckEvents holds the lifecycle-event check of the Install step. possible are the events of the deployment
// specification, mapped the events that the agent has a command for. It returns an *Error, or nil. An empty possible means that
// the specification has no such list, and nothing is checked.
func CheckEvents(spec *Spec, possible, mapped []string) error { return nil }
