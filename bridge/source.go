package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff"
)

// maxRetryAfter bounds the wait that a server asks for.
const maxRetryAfter = time.Hour

// source is the BPCC side of the bridge: it logs in, subscribes and requests snapshots, one request
// at a time, with a backoff after failures. It is used by one goroutine.
type source struct {
	client *bpcc.Client
	cookie bool // log in by cookie
	plan   plan
	rules  []rule.Rule // named in the warning about refused statistics
	timing *config.Timing
	log    *slog.Logger
	now    func() time.Time

	subscribed bool
	// Result of the search for refused statistics; see [bisector].
	probing       bool               // the subscription of a probe may exist
	probeResults  map[string]bool    // of the probes so far, nil without a search
	refused       []string           // omitted statistics, with their places
	refusedStats  refusedStats       // the same by kind; replaced, never changed
	droppedApps   []string           // app ids without remaining statistics
	cachedRefusal *subscriptionError // why removing statistics does not help; nil if it does

	// renewed reports whether session and subscription were dropped for an answer that is no snapshot,
	// and no good snapshot has followed.
	renewed bool

	failures   map[string]failure // by kind; a missing kind has not failed lately
	failedAt   time.Time          // when the last failure was recorded
	backoff    time.Duration      // no request for that long after it
	lastErr    error              // the last failure
	lastLogged string             // the last failure that was logged
	outdatedAt time.Time          // when the last snapshot was received that was outdated
}

// newSession returns the session of a configuration, with app ids that end with a suffix. Nothing is
// sent.
func newSession(c *config.Config, suffix string, log *slog.Logger) (*source, error) {
	client, err := c.Client(log)
	if err != nil {
		return nil, err
	}
	return &source{
		client: client, cookie: c.Auth == config.AuthCookie, plan: newPlan(c, suffix), rules: c.Rules, timing: c.Times(), log: log, now: time.Now,
	}, nil
}

// failure is the history of the faults of one kind.
type failure struct {
	count int
	last  time.Time
}

// poll requests one snapshot. During a backoff it returns the last failure without a request.
func (s *source) poll(ctx context.Context) (bpcc.Response, error) {
	// A clock that was set back must not extend the backoff.
	if elapsed := s.now().Sub(s.failedAt); elapsed >= 0 && elapsed < s.backoff {
		if !refusedLogin(s.lastErr) || !s.client.SecretChanged() {
			return bpcc.Response{}, s.lastErr
		}
		// The cause of the backoff was corrected.
		s.log.Info("secret changed, logging in")
		kind, _ := backoffFor(s.timing, s.lastErr)
		delete(s.failures, kind)
	}
	response, err := s.fetchSnapshot(ctx)
	switch {
	case ctx.Err() != nil:
		return response, err
	case err == nil:
		// reportResult records whether the response was good, after it was parsed.
	case errors.Is(err, bpcc.ErrNotReady):
		// Expected after every new subscription.
	default:
		s.recordFailure("BPCC request failed", err)
	}
	return response, err
}

// recordFailure records a failure, logs a new one with the message, and sets the backoff.
func (s *source) recordFailure(message string, err error) {
	if isNoSnapshot(err) {
		s.renewSession()
	}
	backoff := s.nextBackoff(err)
	s.failedAt, s.backoff, s.lastErr = s.now(), backoff, err
	if text := err.Error(); text != s.lastLogged {
		s.lastLogged = text
		s.log.Warn(message, "err", err, "hint", sourceHint(err), "retry_in", backoff.Round(time.Millisecond).String())
	}
}

// isNoSnapshot reports whether the server has answered a request for data with something else, such
// as the description of an error. Servers do so when they have lost a session.
func isNoSnapshot(err error) bool {
	return !errors.Is(err, errLogin) && (errors.Is(err, bpcc.ErrMalformed) || errors.Is(err, diff.ErrShape))
}

// answerError is the error for a response that cannot be used, with another text.
type answerError struct {
	text string
	err  error
}

func (e *answerError) Error() string { return e.text }

func (e *answerError) Unwrap() error { return e.err }

// explainAnswer adds what the server says to the error for a response that is no snapshot, and removes
// credentials that the server has put into it.
func (s *source) explainAnswer(err error, body []byte) error {
	text := s.client.Redact(err.Error())
	if errors.Is(err, diff.ErrShape) {
		if said := s.client.ServerText(body); said != "" {
			text += "; the server says: " + said
		}
	}
	return &answerError{text, err}
}

// renewSession makes the next request log in and subscribe. It does so once until there is a good
// snapshot again: an answer that persists is not one to a lost session. If good and bad answers
// alternate, it waits longer each time.
func (s *source) renewSession() {
	f := s.failures[failureAnswer]
	if ago := s.now().Sub(f.last); s.renewed || f.count > 0 && ago >= 0 && ago < s.timing.ContendedBackoff.After(f.count) {
		return
	}
	s.bumpFailures(failureAnswer)
	s.renewed, s.subscribed = true, false
	s.client.Invalidate()
}

// nextBackoff returns the backoff after a failure.
func (s *source) nextBackoff(err error) time.Duration {
	kind, p := backoffFor(s.timing, err)
	prior := s.bumpFailures(kind)
	var e *bpcc.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return jitter(min(e.RetryAfter, maxRetryAfter))
	}
	backoff := p.After(prior)
	if backoff == 0 {
		return 0
	}
	return jitter(backoff)
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
	case errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrAuth):
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
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, diff.ErrForeign):
		return failureSubscription, t.ContendedBackoff
	case isNoSnapshot(err):
		return "shape", t.ContendedBackoff
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, bpcc.ErrTooLarge), errors.Is(err, diff.ErrMalformed):
		return "malformed", t.TransientBackoff
	case errors.Is(err, bpcc.ErrThrottled):
		return "throttled", t.TransientBackoff
	}
	return "source", t.TransientBackoff
}

// retryHint is the hint where a running bridge needs no action.
const retryHint = "no action needed: the bridge retries"

// sourceHint returns what a person can do about a failure.
func sourceHint(err error) string {
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
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, diff.ErrMalformed):
		return "check that BPCC_URL is the tenant's own address, and read what the server says; the answer is discarded"
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, diff.ErrForeign):
		return "no action needed: the bridge subscribes again; if this repeats, another program uses the same API user"
	case errors.Is(err, bpcc.ErrThrottled):
		return "no action needed: the bridge waits as long as the server asks"
	case errors.Is(err, engine.ErrFrozen):
		return "ask Bright Pattern why the statistics stand still; if state_duration never runs in this tenant, set BRIDGE_FROZEN_AFTER=0"
	}
	return retryHint
}

// fetchSnapshot makes the requests for one snapshot: log in, subscribe, get data.
func (s *source) fetchSnapshot(ctx context.Context) (bpcc.Response, error) {
	isNew := !s.client.LoggedIn()
	if isNew {
		if err := s.login(ctx); err != nil {
			return bpcc.Response{}, err
		}
	}
	response, err := s.subscribeAndFetch(ctx)
	if errors.Is(err, bpcc.ErrAuth) {
		// The token has ended early or a cookie was stolen: log in and retry once, unless that was
		// done in this poll or a short time ago too. The subscription may have outlived the session.
		s.client.Invalidate()
		if isNew || s.failures[failureSession].count >= s.timing.ContendedBackoff.Immediate {
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

// subscribeAndFetch subscribes if necessary and gets the data.
func (s *source) subscribeAndFetch(ctx context.Context) (bpcc.Response, error) {
	if !s.subscribed {
		if err := s.subscribe(ctx); err != nil {
			return bpcc.Response{}, err
		}
		s.log.Info("subscribed", "apps", len(s.plan.wire))
	}
	return s.fetchData(ctx)
}

// errLogin marks an error of the login itself, which must not be retried quickly.
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
		ttl := "unknown"
		if token.TTL > 0 {
			ttl = token.TTL.String()
		}
		s.log.Info("logged in", "auth", "oauth", "token_ttl", ttl)
	}
	return err
}

// reportResult records whether a response was a good snapshot; err is nil if it was.
func (s *source) reportResult(err error) {
	if err == nil {
		if s.lastLogged != "" {
			s.log.Info("BPCC answers again")
		}
		s.lastLogged, s.backoff, s.lastErr, s.renewed = "", 0, nil, false
		contested := []string{failureSession, failureSubscription, failureAnswer}
		for kind, f := range s.failures {
			if ago := s.now().Sub(f.last); !slices.Contains(contested, kind) || ago > s.timing.ContentionWindow || ago < 0 {
				delete(s.failures, kind)
			}
		}
		return
	}
	if errors.Is(err, engine.ErrOutdated) {
		s.logOutdated(err)
		return
	}
	if errors.Is(err, diff.ErrForeign) {
		s.subscribed = false
	}
	s.recordFailure(snapshotNotUsed, err)
}

// snapshotNotUsed is logged for a response that is complete and not published.
const snapshotNotUsed = "snapshot not used"

// outdatedPause is how long no snapshot must have been outdated until the next one is logged: a
// server that is behind may answer every second poll.
const outdatedPause = time.Minute

// logOutdated logs a snapshot that is older than the last one.
func (s *source) logOutdated(err error) {
	if now := s.now(); now.Sub(s.outdatedAt) > outdatedPause {
		s.log.Warn(snapshotNotUsed, "err", err, "hint", "no action needed; if it lasts, ask Bright Pattern whether a server of this tenant is behind")
	}
	s.outdatedAt = s.now()
}

// unsubscribe deletes the subscription and so releases it to the tenant's pool.
func (s *source) unsubscribe(ctx context.Context) error {
	defer s.client.Close()
	if !s.subscribed && !s.probing {
		return nil
	}
	s.subscribed, s.probing = false, false
	return s.client.Unsubscribe(ctx)
}

// abandonSession drops session and subscription without a request: another instance may use them
// now.
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
