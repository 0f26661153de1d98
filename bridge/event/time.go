package event

import "time"

// timeLayout has milliseconds. A lower bound is rounded down and an upper bound up, so that
// rounding never narrows a window.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Time is a point in time as events hold it: UTC, whole milliseconds, no monotonic clock reading.
// The zero Time is JSON null.
type Time struct{ time.Time }

// Floor rounds a time down.
func Floor(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// Ceil rounds a time up.
func Ceil(t time.Time) Time { return Floor(t.Add(time.Millisecond - time.Nanosecond)) }

// String returns the time as events write it, "null" for the zero Time.
func (t Time) String() string {
	if t.IsZero() {
		return "null"
	}
	return t.Format(timeLayout)
}

// MarshalJSON writes the time with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) { return t.appendJSON(nil), nil }

func (t Time) appendJSON(b []byte) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return append(t.AppendFormat(append(b, '"'), timeLayout), '"')
}

// Window bounds a change: it happened after the last poll that did not show it was sent, and by the
// time the response that showed it was received.
type Window struct {
	// After is zero, and null in JSON, where there is no lower bound.
	After Time `json:"after"`
	By    Time `json:"by"`
}

// clockStep is by how much a clock must leave the monotonic one to count as set. Clocks that are kept right by small
// corrections stay far below.
const clockStep = 250 * time.Millisecond

// ClockSet returns by how much the clock of the machine was set between two readings, 0 if it was not. A machine
// that was suspended counts as one whose clock was set. Of times without a monotonic reading it is not known.
func ClockSet(before, now time.Time) Duration {
	step := now.Round(0).Sub(before.Round(0)) - now.Sub(before)
	if before.IsZero() || step.Abs() < clockStep {
		return 0
	}
	return Duration(step.Round(time.Millisecond))
}

// Between returns the window between two times. The lower bound is computed from the upper one by
// the monotonic clock: if the wall clock was set in between, the elapsed time is still right. A
// time from the stream has no monotonic reading; if it is in the future by now, there is no lower
// bound.
func Between(after, by time.Time) Window {
	w := Window{By: Ceil(by)}
	if passed := by.Sub(after); !after.IsZero() && passed >= 0 {
		w.After = Floor(by.Add(-passed))
	}
	return w
}
