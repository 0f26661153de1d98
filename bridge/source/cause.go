package source

import (
	"errors"
	"slices"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/engine"
)

// observed returns the observation of a response or its error.
func observed(answer bpcc.Response, err error) engine.Observation {
	return engine.Observation{
		Body: answer.Body, Sent: answer.Sent, Received: answer.Received, Err: err, Cause: InterruptCause(err),
	}
}

// InterruptCause maps an error to the cause in feed.interrupted, "" for one that does not explain
// why the source is not observed.
func InterruptCause(err error) string {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case err == nil || is(bpcc.ErrNotReady, engine.ErrPending):
		return ""
	case is(bpcc.ErrAuth, bpcc.ErrForbidden):
		return "auth"
	case is(bpcc.ErrNoSubscription, bpcc.ErrLimit):
		return "subscription_lost"
	case is(bpcc.ErrMalformed, bpcc.ErrTooLarge):
		return "truncated"
	}
	return engine.SnapshotCause(err)
}
