// Package bridgetest holds what the tests of several packages of the bridge share.
package bridgetest

import (
	"time"

	"bpcc-nats/bridge/config"
)

// Timing returns the waits of a bridge, and the timeouts of its requests to NATS, so many times as
// short.
func Timing(waits, timeouts time.Duration) *config.Timing {
	t := config.DefaultTiming()
	for _, d := range []*time.Duration{
		&t.MinInterruptAfter, &t.WatchdogMargin, &t.ContentionWindow, &t.UnavailablePause, &t.ViewInterval, &t.ViewBusyInterval, &t.RecreateAfter, &t.RelistAfter,
		&t.SlowBackoff.Initial, &t.SlowBackoff.Max, &t.TransientBackoff.Initial, &t.TransientBackoff.Max,
		&t.ContendedBackoff.Initial, &t.ContendedBackoff.Max,
	} {
		*d /= waits
	}
	for _, d := range []*time.Duration{&t.CallTimeout, &t.AckTimeout} {
		*d /= timeouts
	}
	return t
}
