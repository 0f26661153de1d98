package config

import "time"

// CallTimeout bounds every JetStream call: without a leader the server does not respond at all.
const CallTimeout = 5 * time.Second

// BackoffPolicy is the backoff for a kind of fault: the first `Immediate` faults have none, the
// next has the initial backoff, and each further one twice as much up to the maximum.
type BackoffPolicy struct {
	// Immediate is how many faults are retried at once.
	Immediate int
	// Initial is the first wait after them, Max the longest.
	Initial, Max time.Duration
}

// After returns the backoff after a number of earlier faults.
func (p BackoffPolicy) After(prior int) time.Duration {
	if prior < p.Immediate {
		return 0
	}
	return min(p.Initial<<min(prior-p.Immediate, 10), p.Max)
}

// Timing holds the waits of a bridge that are not configured. Only tests have other ones than
// those of DefaultTiming.
type Timing struct {
	// MinInterruptAfter is the least time for which the source must go unseen before the feed is
	// interrupted.
	MinInterruptAfter time.Duration
	// WatchdogMargin is how long the watchdog's message waits beyond the time in which a bridge is
	// sure to replace it, or a standby to take over.
	WatchdogMargin time.Duration

	// Each kind of fault of the source has its own backoff, so that a fault that passes quickly does
	// not shorten the backoff of one that does not.

	// SlowBackoff is for faults that need a person or time: refused credentials (a few more may
	// lock the user), a missing privilege, an exhausted pool.
	SlowBackoff BackoffPolicy
	// TransientBackoff is for faults that pass by themselves.
	TransientBackoff BackoffPolicy
	// ContendedBackoff is for what another program with the same user replaces: recovered at once
	// the first time, with a backoff after that.
	ContendedBackoff BackoffPolicy
	// ContentionWindow is how long after a contested loss the next one counts as the first again. A
	// good snapshot in between does not count: both programs get those.
	ContentionWindow time.Duration

	// RelistAfter is the wait until services are listed again when a listing lacks one.
	RelistAfter time.Duration

	// CallTimeout is the constant of the same name, where a configuration is at hand.
	CallTimeout time.Duration
	// AckTimeout bounds the wait for the acknowledgement of a batch's first message. It must be short
	// compared with the time that a stopping bridge has to finish its commit.
	AckTimeout time.Duration
	// UnavailablePause is the pause before the next attempt while NATS is unavailable.
	UnavailablePause time.Duration
	// ViewInterval is the interval at which the view is compared with the stream: short compared with
	// the time after which the view counts as stalled, and long compared with polls, since a quiet poll
	// costs hardly more. While the view is behind, the interval is ViewBusyInterval, which is shorter.
	ViewInterval, ViewBusyInterval time.Duration
	// ClockInterval is the interval at which this machine's clock is compared with the NATS server's.
	ClockInterval time.Duration
	// ViewCheckInterval is the interval at which a leader compares the keys of the view with what it has
	// published.
	ViewCheckInterval time.Duration
	// ViewRebuildAfter is how long a view without copies may make no progress until it is rebuilt. The server tries
	// by itself to go on, with pauses of up to two minutes.
	ViewRebuildAfter time.Duration
	// HangAfter is how long a bridge may make no progress beyond what the configuration makes it wait.
	HangAfter time.Duration
	// RecreateAfter is how long a stream must be missing until it is recreated.
	RecreateAfter time.Duration
}

// DefaultTiming is that of every bridge outside tests.
func DefaultTiming() *Timing {
	return &Timing{
		MinInterruptAfter: 5 * time.Second,
		WatchdogMargin:    5 * time.Second,
		SlowBackoff:       BackoffPolicy{Initial: 30 * time.Second, Max: 5 * time.Minute},
		TransientBackoff:  BackoffPolicy{Initial: 500 * time.Millisecond, Max: 5 * time.Second},
		ContendedBackoff:  BackoffPolicy{Immediate: 1, Initial: time.Second, Max: 30 * time.Second},
		ContentionWindow:  time.Minute,
		RelistAfter:       3 * time.Second,
		CallTimeout:       CallTimeout,
		AckTimeout:        2 * time.Second,
		UnavailablePause:  time.Second,
		ViewInterval:      10 * time.Second,
		ViewBusyInterval:  5 * time.Second,
		ViewRebuildAfter:  3 * time.Minute,
		ClockInterval:     10 * time.Second,
		ViewCheckInterval: time.Minute,
		HangAfter:         time.Minute,
		RecreateAfter:     5 * time.Second,
	}
}
