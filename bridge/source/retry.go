package source

import (
	"errors"
	"math/rand/v2"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/diff"
	"bpcc-nats/diff/layout"
)

// maxRetryAfter bounds the wait that a server asks for.
const maxRetryAfter = time.Hour

// failure is the history of the faults of one kind.
type failure struct {
	count int
	last  time.Time
}

// isNoSnapshot reports whether the server has answered a request for data with something else, such
// as the description of an error. Servers do so when they have lost a session.
func isNoSnapshot(err error) bool {
	return !errors.Is(err, errLogin) && (errors.Is(err, bpcc.ErrMalformed) || errors.Is(err, layout.ErrShape))
}

// nextBackoff returns the backoff after a failure.
func (s *Session) nextBackoff(err error) time.Duration {
	kind, p := backoffFor(s.timing, err)
	prior := s.bumpFailures(kind)
	var e *bpcc.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return jitter(min(e.RetryAfter, maxRetryAfter))
	}
	return jitter(p.After(prior))
}

// bumpFailures counts a failure of a kind and returns how many there were before it.
func (s *Session) bumpFailures(kind string) (prior int) {
	if s.failures == nil {
		s.failures = map[string]failure{}
	}
	prior = s.failures[kind].count
	s.failures[kind] = failure{prior + 1, s.now()}
	return prior
}

// jitter extends a backoff by up to a fifth, so that many bridges do not retry at the same time.
func jitter(backoff time.Duration) time.Duration {
	return backoff + time.Duration(rand.Int64N(int64(backoff)/5+1))
}

// Kinds of contested faults.
const (
	failureSession      = "session" // refused though the login was not
	failureSubscription = "subscription"
	failureAnswer       = "answer" // no snapshot, and the session was renewed
)

// backoffFor returns the kind and the policy of a failure.
func backoffFor(t *config.Timing, err error) (kind string, p config.BackoffPolicy) {
	var r *subscriptionError
	switch {
	case errors.Is(err, diff.ErrEmpty):
		// A complete response is requested again to see whether it persists.
		return "empty", config.BackoffPolicy{}
	case errors.Is(err, engine.ErrFrozen), errors.Is(err, engine.ErrOutdated):
		return "stale", config.BackoffPolicy{} // likewise
	case refusedLogin(err):
		return "login", t.SlowBackoff
	case errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrMalformed):
		// It may be a refusal in another form.
		return "login answer", t.ContendedBackoff
	case errors.Is(err, bpcc.ErrForbidden):
		return "forbidden", t.SlowBackoff
	case errors.Is(err, bpcc.ErrLimit):
		return "limit", t.SlowBackoff
	case errors.Is(err, bpcc.ErrRejected), errors.As(err, &r):
		return "rejected", t.SlowBackoff
	case errors.Is(err, bpcc.ErrAuth):
		return failureSession, t.ContendedBackoff
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, layout.ErrForeign):
		return failureSubscription, t.ContendedBackoff
	case isNoSnapshot(err):
		return "shape", t.ContendedBackoff
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, bpcc.ErrTooLarge), errors.Is(err, layout.ErrMalformed):
		return "malformed", t.TransientBackoff
	case errors.Is(err, bpcc.ErrThrottled):
		return "throttled", t.TransientBackoff
	}
	return "source", t.TransientBackoff
}

// RetryHint is the hint where a running bridge needs no action.
const RetryHint = "no action needed: the bridge retries"

// UnreachableHint is the hint where nobody answers.
const UnreachableHint = "check the network, DNS, the proxy and BPCC_URL, and whether BPCC works; the bridge retries"

// Hint returns what a person can do about a failure.
func Hint(err error) string {
	var r *subscriptionError
	if hint := config.TLSHint(err, "BPCC_CA_FILE", "BPCC_CERT and BPCC_KEY", "BPCC_URL"); hint != "" {
		return hint
	}
	switch {
	case errors.As(err, &r):
		return r.hint
	case errors.Is(err, bpcc.ErrAuth):
		return "check the credentials (BPCC_CLIENT_ID, BPCC_CLIENT_SECRET) and that no other program uses this API user"
	case errors.Is(err, bpcc.ErrForbidden):
		return "check the user's privileges; BPCC 5.36 and later have no cookie login, use BPCC_AUTH=oauth"
	case errors.Is(err, bpcc.ErrLimit):
		return "close wallboards or ask Bright Pattern for more subscriptions: the tenant's are used up"
	case errors.Is(err, bpcc.ErrRejected):
		return "check the statistic names of the subscription"
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, layout.ErrMalformed):
		return "check that BPCC_URL is the tenant's own address, and read what the server says; the answer is discarded"
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, layout.ErrForeign):
		return "no action needed: the bridge subscribes again; if this repeats, another program uses the same API user"
	case errors.Is(err, bpcc.ErrThrottled):
		return "no action needed: the bridge waits as long as the server asks"
	case errors.Is(err, bpcc.ErrTransport):
		return UnreachableHint
	case errors.Is(err, diff.ErrEmpty):
		return "check that the API user still has its teams and privileges, and that a wallboard shows agents; after 30 s all are published as departed"
	case errors.Is(err, engine.ErrFrozen):
		return "ask Bright Pattern why the statistics stand still; if state_duration never runs in this tenant, set BRIDGE_FROZEN_AFTER=0"
	}
	return RetryHint
}
