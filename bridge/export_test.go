package bridge

import (
	"time"

	"bpcc-nats/bridge/engine"
)

// Published is what the bridge believes to be published. Its Run must have
// returned.
func (b *Bridge) Published() engine.Published { return b.engine.Published() }

// Divide makes the waits, and the timeouts of requests to NATS, so many times as short.
func (c *Config) Divide(waits, timeouts time.Duration) { c.Timing = dividedTiming(waits, timeouts) }

// DivideWaits makes the waits of the bridge that is simulated so many times as short.
func (r *Recording) DivideWaits(by time.Duration) { r.timing = dividedTiming(by, 1) }

func dividedTiming(waits, timeouts time.Duration) *timing {
	t := defaultTiming()
	for _, d := range []*time.Duration{
		&t.minInterruptAfter, &t.watchdogMargin, &t.contentionWindow, &t.unavailablePause, &t.viewInterval, &t.viewBusyInterval, &t.recreateAfter, &t.relistAfter,
		&t.slowBackoff.initial, &t.slowBackoff.max, &t.transientBackoff.initial, &t.transientBackoff.max,
		&t.contendedBackoff.initial, &t.contendedBackoff.max,
	} {
		*d /= waits
	}
	for _, d := range []*time.Duration{&t.callTimeout, &t.ackTimeout} {
		*d /= timeouts
	}
	return t
}
