package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// backoffPolicy is how long a kind of fault is waited out: free of them not at all,
// then first, and twice as long each time up to most.
type backoffPolicy struct {
	immediate    int
	initial, max time.Duration
}

// Each kind of fault has a patience of its own, so that none that passes quickly
// brings forward the next try of one that does not.
var (
	// slowBackoff is for what only a person or time can mend: refused credentials (a
	// few more may lock the user), a missing privilege, a full pool.
	slowBackoff = backoffPolicy{initial: 30 * time.Second, max: 5 * time.Minute}
	// transientBackoff is for faults that pass by themselves.
	transientBackoff = backoffPolicy{initial: 500 * time.Millisecond, max: 5 * time.Second}
	// contendedBackoff is for what another program of the same user takes from this
	// one: had back at once when it is the first time, not fought for.
	contendedBackoff = backoffPolicy{immediate: 1, initial: time.Second, max: 30 * time.Second}
	// noBackoff is for answers that are complete, and asked for again to see whether
	// they last.
	noBackoff = backoffPolicy{}
)

const (
	// contentionWindow is how long after a contested loss the next one is a new story. A
	// good snapshot in between is none: both sides have those.
	contentionWindow = time.Minute
	// maxRetryAfter bounds the wish of a server to be left alone.
	maxRetryAfter = time.Hour
)

// source is the BPCC side of the bridge: it logs in, subscribes and takes
// snapshots, one request at a time, and waits after failures. It is used by one
// goroutine.
type source struct {
	client *bpcc.Client
	cookie bool // log in by cookie
	plan   plan
	log    *slog.Logger
	now    func() time.Time

	subscribed bool
	// What a server that refuses the subscription was found to mean by it; see
	// [sieve].
	probing       bool               // a try's subscription may be there
	probeResults  map[string]bool    // to the tries so far, nil when none is under way
	refused       []string           // what is left out, with its places
	droppedApps   []string           // app ids of which nothing was left
	cachedRefusal *subscriptionError // why nothing could be mended; nil if that is not so

	failures   map[string]failure // by kind; a kind that is not there has not failed lately
	failedAt   time.Time          // when the last failure was noted
	backoff    time.Duration      // no request for so long after it
	lastErr    error              // why
	lastLogged string             // the last failure that was logged
}

// failure is what is remembered of the faults of one kind.
type failure struct {
	count int
	last  time.Time
}

// poll takes one snapshot. While a failure is being waited out it returns that
// failure without a request.
func (s *source) poll(ctx context.Context) (bpcc.Response, error) {
	// A clock that was set back must not make the wait longer.
	if elapsed := s.now().Sub(s.failedAt); elapsed >= 0 && elapsed < s.backoff {
		if !refusedLogin(s.lastErr) || !s.client.SecretChanged() {
			return bpcc.Response{}, s.lastErr
		}
		// Somebody has mended what the wait is for.
		s.log.Info("secret changed, logging in")
		kind, _ := backoffFor(s.lastErr)
		delete(s.failures, kind)
	}
	response, err := s.fetchSnapshot(ctx)
	switch {
	case ctx.Err() != nil:
		return response, err
	case err == nil:
		// Whether it was a good answer is settled when it has been read.
	case errors.Is(err, bpcc.ErrNotReady):
		// Weather, as after every new subscription.
	default:
		s.recordFailure(err)
	}
	return response, err
}

// recordFailure notes a failure, logs it if it is news, and decides how long to wait.
func (s *source) recordFailure(err error) {
	backoff := s.nextBackoff(err)
	s.failedAt, s.backoff, s.lastErr = s.now(), backoff, err
	if text := err.Error(); text != s.lastLogged {
		s.lastLogged = text
		s.log.Warn("BPCC request failed", "err", err, "hint", sourceHint(err), "retry_in", backoff.Round(time.Millisecond).String())
	}
}

// nextBackoff tells how long to leave the source alone after a failure.
func (s *source) nextBackoff(err error) time.Duration {
	kind, p := backoffFor(err)
	prior := s.bumpFailures(kind)
	var e *bpcc.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return jitter(min(e.RetryAfter, maxRetryAfter))
	}
	if p == noBackoff || prior < p.immediate {
		return 0
	}
	return jitter(min(p.initial<<min(prior-p.immediate, 10), p.max))
}

// bumpFailures counts a failure of a kind and returns how many there were before it.
func (s *source) bumpFailures(kind string) (prior int) {
	if s.failures == nil {
		s.failures = map[string]failure{}
	}
	prior = s.failures[kind].count
	s.failures[kind] = failure{prior + 1, s.now()}
	return prior
}

// jitter makes a wait up to a fifth longer, so that many bridges do not come
// back in step.
func jitter(backoff time.Duration) time.Duration {
	return backoff + time.Duration(rand.Int64N(int64(backoff)/5+1))
}

// The kinds of what is contested.
const (
	failureSession      = "session" // refused though the login was not
	failureSubscription = "subscription"
)

// backoffFor sorts a failure into its kind.
func backoffFor(err error) (kind string, p backoffPolicy) {
	var r *subscriptionError
	switch {
	case errors.Is(err, diff.ErrEmpty):
		return "empty", noBackoff
	case errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrAuth):
		return "login", slowBackoff
	case errors.Is(err, bpcc.ErrForbidden):
		return "forbidden", slowBackoff
	case errors.Is(err, bpcc.ErrLimit):
		return "limit", slowBackoff
	case errors.Is(err, bpcc.ErrRejected), errors.As(err, &r):
		return "rejected", slowBackoff
	case errors.Is(err, bpcc.ErrAuth):
		return failureSession, contendedBackoff
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, diff.ErrForeign):
		return failureSubscription, contendedBackoff
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, bpcc.ErrTooLarge), errors.Is(err, diff.ErrMalformed):
		return "malformed", transientBackoff
	case errors.Is(err, bpcc.ErrThrottled):
		return "throttled", transientBackoff
	}
	return "source", transientBackoff
}

// retryHint is the advice where a bridge that runs needs none.
const retryHint = "trying again"

// sourceHint says what a person can do about a failure.
func sourceHint(err error) string {
	var r *subscriptionError
	if advice := tlsHint(err, "BPCC_CA_FILE", "BPCC_CERT and BPCC_KEY", "BPCC_URL"); advice != "" {
		return advice
	}
	switch {
	case errors.As(err, &r):
		return r.hint
	case errors.Is(err, bpcc.ErrAuth):
		return "check the credentials (BPCC_CLIENT_ID, BPCC_CLIENT_SECRET) and that nobody else uses this API user"
	case errors.Is(err, bpcc.ErrForbidden):
		return "check the user's privileges; the cookie login is gone from BPCC 5.36 on, use BPCC_AUTH=oauth"
	case errors.Is(err, bpcc.ErrLimit):
		return "the tenant's subscriptions are used up: close wallboards or ask Bright Pattern for more"
	case errors.Is(err, bpcc.ErrRejected):
		return "check the statistic names of the subscription"
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, diff.ErrMalformed):
		return "check that BPCC_URL is the tenant's own address; the snapshot is discarded"
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, diff.ErrForeign):
		return "subscribing again; if this repeats, another program uses the same API user"
	case errors.Is(err, bpcc.ErrThrottled):
		return "waiting as the server asks"
	}
	return retryHint
}

// fetchSnapshot does what is needed to get one answer: log in, subscribe, ask.
func (s *source) fetchSnapshot(ctx context.Context) (bpcc.Response, error) {
	if !s.client.LoggedIn() {
		if err := s.login(ctx); err != nil {
			return bpcc.Response{}, err
		}
	}
	response, err := s.subscribeAndFetch(ctx)
	if errors.Is(err, bpcc.ErrAuth) {
		// The token has ended early or a cookie was stolen: log in, then once
		// more, unless that is what was done lately too. The subscription may
		// have outlived the session.
		s.client.Invalidate()
		if s.failures[failureSession].count >= contendedBackoff.immediate {
			return bpcc.Response{}, err
		}
		s.bumpFailures(failureSession)
		if err := s.login(ctx); err != nil {
			return bpcc.Response{}, err
		}
		response, err = s.subscribeAndFetch(ctx)
	}
	if errors.Is(err, bpcc.ErrNoSubscription) || httpStatusOf(err) == http.StatusInternalServerError {
		s.subscribed = false
	}
	return response, err
}

// subscribeAndFetch subscribes if that is needed and gets the data.
func (s *source) subscribeAndFetch(ctx context.Context) (bpcc.Response, error) {
	if !s.subscribed {
		if err := s.subscribe(ctx); err != nil {
			return bpcc.Response{}, err
		}
		s.log.Info("subscribed", "apps", len(s.plan.wire))
	}
	return s.fetchData(ctx)
}

// errLogin marks what went wrong at the login itself, which is not to be
// repeated in haste.
var errLogin = errors.New("log in")

// refusedLogin reports whether the server has refused the secret.
func refusedLogin(err error) bool { return errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrAuth) }

func (s *source) login(ctx context.Context) error {
	if err := s.authenticate(ctx); err != nil {
		return fmt.Errorf("%w: %w", errLogin, err)
	}
	return nil
}

func (s *source) authenticate(ctx context.Context) error {
	if s.cookie {
		session, err := s.client.Authenticate(ctx)
		if err == nil {
			s.log.Info("logged in", "auth", "cookie", "privileges", len(session.Privileges))
		}
		return err
	}
	token, err := s.client.AccessToken(ctx)
	if err == nil {
		s.log.Info("logged in", "auth", "oauth", "token_ttl", token.TTL.String())
	}
	return err
}

// reportResult says whether an answer was a good snapshot; err is nil if it was.
func (s *source) reportResult(err error) {
	if err == nil {
		if s.lastLogged != "" {
			s.log.Info("BPCC answers again")
		}
		s.lastLogged, s.backoff, s.lastErr = "", 0, nil
		for kind, f := range s.failures {
			if ago := s.now().Sub(f.last); kind != failureSession && kind != failureSubscription || ago > contentionWindow || ago < 0 {
				delete(s.failures, kind)
			}
		}
		return
	}
	if errors.Is(err, diff.ErrForeign) {
		s.subscribed = false
	}
	s.recordFailure(err)
}

// unsubscribe deletes the subscription, so that the tenant's pool has its place back.
func (s *source) unsubscribe(ctx context.Context) error {
	defer s.client.Close()
	if !s.subscribed && !s.probing {
		return nil
	}
	s.subscribed, s.probing = false, false
	return s.client.Unsubscribe(ctx)
}

// abandonSession forgets session and subscription without a word to the server: they
// may be another instance's by now.
func (s *source) abandonSession() {
	s.client.Invalidate()
	s.client.Close()
	s.subscribed, s.probing = false, false
}

func httpStatusOf(err error) int {
	var e *bpcc.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// discardLogger is a log that nobody reads.
func discardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
