package capacity

import (
	"math"
	"time"
)

// What the events of an agent take a day, as docs/sizing.md has it measured: bytes before compression,
// with the built-in subscription, at the activity of a busy contact centre around the clock.
const bytesPerAgentDay = 8.5e6

// leastSpan is for how long events must have been stored until their growth is measured: the first
// snapshot alone says nothing about it.
const leastSpan = time.Hour

const day = 24 * time.Hour

// Rate is how fast the events grow.
type Rate struct {
	// BytesADay is counted before compression, for one copy.
	BytesADay float64
	// Span is over which time the growth was measured; 0 if it is estimated.
	Span time.Duration
}

// MeasuredRate returns how fast a stream grows, by the time between its first and its last message. It
// reports whether that is long enough.
func MeasuredRate(s Stream) (Rate, bool) {
	span := s.Last.Sub(s.First)
	if s.Messages < 2 || span < leastSpan {
		return Rate{}, false
	}
	return Rate{BytesADay: float64(s.Bytes) / (float64(span) / float64(day)), Span: span}, true
}

// EstimatedRate returns how fast the events of so many agents grow in a busy contact centre.
func EstimatedRate(agents int) Rate { return Rate{BytesADay: float64(agents) * bytesPerAgentDay} }

// Need returns how many bytes the events of that time take.
func (r Rate) Need(retention time.Duration) int64 {
	return clamp(r.BytesADay * (float64(retention) / float64(day)))
}

// Keeps returns the events of how long so many bytes hold.
func (r Rate) Keeps(bytes int64) time.Duration {
	if r.BytesADay <= 0 {
		return math.MaxInt64
	}
	return time.Duration(clamp(float64(max(bytes, 0)) / r.BytesADay * float64(day)))
}

// clamp converts a number to the nearest int64.
func clamp(f float64) int64 {
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(f)
}
