// Package doctor is the checklist that an operator goes through when an agent does not do what it should: each check is a value with a name, and
// answers what it found and what to do about it. The checks change nothing on the host and take no command from the service.
package doctor

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Status is what a check found.
type Status string

// What a check may find.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works, and will hurt some day
	Fail Status = "fail" // a deployment cannot work like this
	Skip Status = "skip" // it cannot be told here, or does not matter; the text says why
)

// Result is what a check found, and for Warn and Fail what to do about it.
type Result struct {
	Status Status
	Text   string // what was found, in one line
	Remedy string // what to do, as a command where there is one; "" for OK and Skip
}

// Check is one line of the checklist.
type Check struct {
	Name string // two or three words, unique in the list
	Run  func(ctx context.Context) Result
}

// Finding is what became of a check.
type Finding struct {
	Name string
	Result
	Took time.Duration
}

// Examine runs all checks side by side and returns what they found, in the order of the list. A check that has not answered within the bound is
// a Fail that says so; it is left behind, so that one hanging network path does not keep the rest from being told.
func Examine(ctx context.Context, list []Check, bound time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	found := make([]Finding, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		all.Go(func() { found[i] = examine(ctx, c, bound) })
	}
	all.Wait()
	return found
}

func examine(ctx context.Context, c Check, bound time.Duration) Finding {
	began := time.Now()
	answer := make(chan Result, 1)
	go func() { answer <- c.Run(ctx) }()
	f := Finding{Name: c.Name}
	select {
	case f.Result = <-answer:
	case <-ctx.Done():
		select {
		case f.Result = <-answer: // it heeded the same deadline
		case <-time.After(lastWord):
			f.Result = Result{Fail, fmt.Sprintf("no answer within %s", bound), "find out what hangs: a network path that drops packets, a file system that does not answer"}
		}
	}
	f.Took = time.Since(began)
	return f
}

// lastWord is what a check that heeds its deadline takes to say so.
const lastWord = 100 * time.Millisecond

// Worst is the gravest status of a list of findings; OK where there is none.
func Worst(found []Finding) Status {
	worst := OK
	for _, f := range found {
		switch f.Status {
		case Fail:
			return Fail
		case Warn:
			worst = Warn
		}
	}
	return worst
}

func ok(format string, args ...any) Result { return Result{OK, fmt.Sprintf(format, args...), ""} }

func skip(format string, args ...any) Result { return Result{Skip, fmt.Sprintf(format, args...), ""} }
