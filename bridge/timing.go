package bridge

import "time"

// callTimeout bounds every JetStream call: without a leader the server does not respond at all.
const callTimeout = 5 * time.Second

// backoffPolicy is the backoff for a kind of fault: the first `immediate` faults have none, the
// next has the initial backoff, and each further one twice as much up to the maximum.
type backoffPolicy struct {
	immediate    int
	initial, max time.Duration
}

// after returns the backoff after a number of earlier faults.
func (p backoffPolicy) after(prior int) time.Duration {
	if p == (backoffPolicy{}) || prior < p.immediate {
		return 0
	}
	return min(p.initial<<min(prior-p.immediate, 10), p.max)
}

// timing holds the waits of a bridge that are not configured. Only tests have other ones than
// those of defaultTiming.
type timing struct {
	// minInterruptAfter is the least time for which the source must go unseen before the feed is
	// interrupted.
	minInterruptAfter time.Duration
	// watchdogMargin is how long the watchdog's message waits beyond the time in which a bridge is
	// sure to replace it, or a standby to take over.
	watchdogMargin time.Duration

	// Each kind of fault of the source has its own backoff, so that a fault that passes quickly does
	// not shorten the backoff of one that does not.

	// slowBackoff is for faults that need a person or time: refused credentials (a few more may
	// lock the user), a missing privilege, an exhausted pool.
	slowBackoff backoffPolicy
	// transientBackoff is for faults that pass by themselves.
	transientBackoff backoffPolicy
	// contendedBackoff is for what another program with the same user replaces: recovered at once
	// the first time, with a backoff after that.
	contendedBackoff backoffPolicy
	// contentionWindow is how long after a contested loss the next one counts as the first again. A
	// good snapshot in between does not count: both programs get those.
	contentionWindow time.Duration

	// relistAfter is the wait until services are listed again when a listing lacks one.
	relistAfter time.Duration

	// callTimeout is the constant of the same name, where a configuration is at hand.
	callTimeout time.Duration
	// ackTimeout bounds the wait for the acknowledgement of a batch's first message. It must be short
	// compared with the time that a stopping bridge has to finish its commit.
	ackTimeout time.Duration
	// unavailablePause is the pause before the next attempt while NATS is unavailable.
	unavailablePause time.Duration
	// viewInterval is the interval at which the view is compared with the stream: short compared
	// with the time after which the view counts as stalled, and long compared with polls, since a quiet poll costs hardly more.
	// While the view is behind, the interval is viewBusyInterval, which is shorter.
	viewInterval, viewBusyInterval time.Duration
	// recreateAfter is how long a stream must be missing until it is recreated.
	recreateAfter time.Duration
}

// defaultTiming is that of every bridge outside tests.
func defaultTiming() *timing {
	return &timing{
		minInterruptAfter: 5 * time.Second,
		watchdogMargin:    5 * time.Second,
		slowBackoff:       backoffPolicy{initial: 30 * time.Second, max: 5 * time.Minute},
		transientBackoff:  backoffPolicy{initial: 500 * time.Millisecond, max: 5 * time.Second},
		contendedBackoff:  backoffPolicy{immediate: 1, initial: time.Second, max: 30 * time.Second},
		contentionWindow:  time.Minute,
		relistAfter:       3 * time.Second,
		callTimeout:       callTimeout,
		ackTimeout:        2 * time.Second,
		unavailablePause:  time.Second,
		viewInterval:      10 * time.Second,
		viewBusyInterval:  5 * time.Second,
		recreateAfter:     5 * time.Second,
	}
}

// times are the waits that are not configured.
func (c *Config) times() *timing {
	if c.Timing == nil {
		return defaultTiming()
	}
	return c.Timing
}
