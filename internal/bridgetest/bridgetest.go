// Package bridgetest holds what the tests of several packages of the bridge share.
package bridgetest

import (
	"strconv"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
)

// WaitUntil waits until something is so. It does not wait for ever; then the test fails.
func WaitUntil(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !so(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// StreamConfig is a configuration of streams with so many copies.
func StreamConfig(t testing.TB, replicas int) *config.Config {
	t.Helper()
	c, _, err := config.Parse([]string{"NATS_URL=nats://elsewhere", "BRIDGE_REPLICAS=" + strconv.Itoa(replicas)}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Timing returns the waits of a bridge, and the timeouts of its requests to NATS, so many times as
// short.
func Timing(waits, timeouts time.Duration) *config.Timing {
	t := config.DefaultTiming()
	for _, d := range []*time.Duration{
		&t.MinInterruptAfter, &t.WatchdogMargin, &t.ContentionWindow, &t.UnavailablePause, &t.ViewInterval, &t.ViewBusyInterval, &t.ViewCheckInterval, &t.ViewRebuildAfter, &t.ClockInterval, &t.RecreateAfter, &t.RelistAfter,
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
