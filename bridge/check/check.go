// Package check is the doctor: it tests BPCC, NATS and the store as a bridge would use them, and says
// what to do.
package check

import (
	"errors"
	"fmt"
)

// ErrFailed is returned by [Source], [Streams] and [Store] when a step failed; the reported steps say
// which.
var ErrFailed = errors.New("check failed")

// Outcome is the result of a step of a check.
type Outcome string

// Outcomes. With a warning a bridge runs, though perhaps not as expected.
const (
	OK      Outcome = "ok"
	Warning Outcome = "warn"
	Failure Outcome = "fail"
)

// Step is one step of a check.
type Step struct {
	// Name is what was checked, in a word or two.
	Name string
	// Outcome is whether it is as it must be.
	Outcome Outcome
	// Found is what the step found.
	Found string
	// Hint is what to do; "" where nothing is to be done.
	Hint string
}

// checkRun reports the steps of a check.
type checkRun struct {
	report func(Step)
	failed bool
}

func (x *checkRun) reportOK(step, format string, args ...any) {
	x.report(Step{step, OK, fmt.Sprintf(format, args...), ""})
}

func (x *checkRun) reportWarning(step, hint, format string, args ...any) {
	x.report(Step{step, Warning, fmt.Sprintf(format, args...), hint})
}

func (x *checkRun) reportFailure(step string, err error) { x.fail(step, err.Error(), checkHint(err)) }

func (x *checkRun) fail(step, found, hint string) {
	x.failed = true
	x.report(Step{step, Failure, found, hint})
}

func (x *checkRun) result() error {
	if x.failed {
		return ErrFailed
	}
	return nil
}
