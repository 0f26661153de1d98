package event

import (
	"time"
)

// timeLayout has milliseconds. A lower bound is rounded down and an upper bound
// up, so that rounding never makes a window narrower than the truth.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Time is an instant as events hold it: UTC, whole milliseconds, no reading of
// the monotonic clock. The zero Time is JSON null.
type Time struct{ time.Time }

// Floor rounds an instant down.
func Floor(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// Ceil rounds an instant up.
func Ceil(t time.Time) Time { return Floor(t.Add(time.Millisecond - time.Nanosecond)) }

// String is how events write the instant, "null" for the zero Time.
func (t Time) String() string {
	if t.IsZero() {
		return "null"
	}
	return t.Format(timeLayout)
}

// MarshalJSON writes the instant with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) { return t.appendJSON(nil), nil }

func (t Time) appendJSON(b []byte) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return append(t.AppendFormat(append(b, '"'), timeLayout), '"')
}

// Window bounds a change: it happened after the request of the poll that did not
// show it yet was sent, and by the time the response that did was received.
type Window struct {
	// After is zero, and null, where nothing bounds the change from below.
	After Time `json:"after"`
	By    Time `json:"by"`
}

// Between makes the window of what happened after one instant and by another.
// The lower bound is written by the clock of the upper one: where the machine's
// clock was set in between, the time that passed is right and the clock is not.
// An instant from the stream carries no such measure; one that lies in the
// future by now bounds nothing.
func Between(after, by time.Time) Window {
	w := Window{By: Ceil(by)}
	if passed := by.Sub(after); !after.IsZero() && passed >= 0 {
		w.After = Floor(by.Add(-passed))
	}
	return w
}
