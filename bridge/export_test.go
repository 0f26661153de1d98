package bridge

import (
	"time"

	"bpcc-nats/bridge/engine"
)

// Published is what the bridge believes to be published. Its Run must have
// returned.
func (b *Bridge) Published() engine.Published { return b.engine.Published() }

// DivideWaits makes the waits that are not configured so many times as short.
func (c *Config) DivideWaits(by time.Duration) { c.timing = dividedTiming(by) }

// DivideWaits is that of a configuration, for the bridge that is simulated.
func (r *Recording) DivideWaits(by time.Duration) { r.timing = dividedTiming(by) }

func dividedTiming(by time.Duration) *timing {
	t := defaultTiming()
	for _, d := range []*time.Duration{
		&t.minInterruptAfter, &t.watchdogMargin, &t.contentionWindow, &t.unavailablePause, &t.viewInterval, &t.viewBusyInterval, &t.recreateAfter,
		&t.slowBackoff.initial, &t.slowBackoff.max, &t.transientBackoff.initial, &t.transientBackoff.max,
		&t.contendedBackoff.initial, &t.contendedBackoff.max,
	} {
		*d /= by
	}
	return t
}
