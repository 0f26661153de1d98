// Package source is the BPCC side of the bridge: it logs in, subscribes, polls snapshots, availability
// and directories, and retries. Its [Loop] gives what it polls to an engine.
package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/outage"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff/layout"
)

// Session is the BPCC side of the bridge: it logs in, subscribes and requests snapshots, one request
// at a time, with a backoff after failures. It is used by one goroutine.
type Session struct {
	// Client sends the requests. [Loop] shares it with the other pollers.
	Client *bpcc.Client
	// Plan is what is subscribed to; its Wire lacks what the server has refused.
	Plan Plan
	// Refused are the statistics that the server has refused, each with its places in the subscription.
	Refused []string
	// RefusedStats are the same by kind. The map is replaced, never changed.
	RefusedStats RefusedStats

	cookie bool        // log in by cookie
	rules  []rule.Rule // named in the warning about refused statistics
	timing *config.Timing
	log    *slog.Logger
	now    func() time.Time

	subscribed bool
	// Result of the search for refused statistics; see [bisector].
	probing       bool               // the subscription of a probe may exist
	probeResults  map[string]bool    // of the probes so far, nil without a search
	droppedApps   []string           // app ids without remaining statistics
	cachedRefusal *subscriptionError // why removing statistics does not help; nil if it does

	// renewed reports whether session and subscription were dropped for an answer that is no snapshot,
	// and no good snapshot has followed.
	renewed bool

	failures   map[string]failure // by kind; a missing kind has not failed lately
	failedAt   time.Time          // when the last failure was recorded
	backoff    time.Duration      // no request for that long after it
	lastErr    error              // the last failure
	outage     outage.Outage      // the present one, of failures in a row
	outdatedAt time.Time          // when the last snapshot was received that was outdated
}

// NewSession returns the session of a configuration, with app ids that end with a suffix. Nothing is
// sent.
func NewSession(c *config.Config, suffix string, log *slog.Logger) (*Session, error) {
	client, err := c.BPCC.Client(log)
	if err != nil {
		return nil, err
	}
	return &Session{
		Client: client, cookie: c.BPCC.Auth == config.AuthCookie, Plan: NewPlan(c.BPCC.Subscription, c.Events, suffix), rules: c.Events.Rules, timing: c.Times(), log: log, now: time.Now,
	}, nil
}

// poll requests one snapshot. During a backoff it returns the last failure without a request.
func (s *Session) poll(ctx context.Context) (bpcc.Response, error) {
	// A clock that was set back must not extend the backoff.
	if elapsed := s.now().Sub(s.failedAt); elapsed >= 0 && elapsed < s.backoff {
		if !refusedLogin(s.lastErr) || !s.Client.SecretChanged() {
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

// recordFailure records a failure, logs it with the message unless it is known and was logged lately, and sets
// the backoff.
func (s *Session) recordFailure(message string, err error) {
	if isNoSnapshot(err) {
		s.renewSession()
	}
	backoff := s.nextBackoff(err)
	s.failedAt, s.backoff, s.lastErr = s.now(), backoff, err
	if lasts, due := s.outage.Failed(s.failedAt, err.Error()); due {
		s.log.Warn(message, "err", err, "lasts", lasts, "hint", Hint(err), "retry_in", backoff.Round(time.Millisecond).String())
	}
}

// answerError is the error for a response that cannot be used, with another text.
type answerError struct {
	text string
	err  error
}

func (e *answerError) Error() string { return e.text }

func (e *answerError) Unwrap() error { return e.err }

// ExplainAnswer adds what the server says to the error for a response that is no snapshot, and removes
// credentials that the server has put into it.
func (s *Session) ExplainAnswer(err error, body []byte) error {
	text := s.Client.Redact(err.Error())
	if errors.Is(err, layout.ErrShape) {
		if said := s.Client.ServerText(body); said != "" {
			text += "; the server says: " + said
		}
	}
	return &answerError{text, err}
}

// renewSession makes the next request log in and subscribe. It does so once until there is a good
// snapshot again: an answer that persists is not one to a lost session. If good and bad answers
// alternate, it waits longer each time.
func (s *Session) renewSession() {
	f := s.failures[failureAnswer]
	if ago := s.now().Sub(f.last); s.renewed || f.count > 0 && ago >= 0 && ago < s.timing.ContendedBackoff.After(f.count) {
		return
	}
	s.bumpFailures(failureAnswer)
	s.renewed, s.subscribed = true, false
	s.Client.Invalidate()
}

// fetchSnapshot makes the requests for one snapshot: log in, subscribe, get data.
func (s *Session) fetchSnapshot(ctx context.Context) (bpcc.Response, error) {
	isNew := !s.Client.LoggedIn()
	if isNew {
		if err := s.Login(ctx); err != nil {
			return bpcc.Response{}, err
		}
	}
	response, err := s.subscribeAndFetch(ctx)
	if errors.Is(err, bpcc.ErrAuth) {
		// The token has ended early or a cookie was stolen: log in and retry once, unless that was
		// done in this poll or a short time ago too. The subscription may have outlived the session.
		s.Client.Invalidate()
		if isNew || s.failures[failureSession].count >= s.timing.ContendedBackoff.Immediate {
			return bpcc.Response{}, err
		}
		s.bumpFailures(failureSession)
		if err := s.Login(ctx); err != nil {
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
func (s *Session) subscribeAndFetch(ctx context.Context) (bpcc.Response, error) {
	if !s.subscribed {
		if err := s.Subscribe(ctx); err != nil {
			return bpcc.Response{}, err
		}
		s.log.Info("subscribed", "apps", len(s.Plan.Wire))
	}
	return s.FetchData(ctx)
}

// errLogin marks an error of the login itself, which must not be retried quickly.
var errLogin = errors.New("log in")

// refusedLogin reports whether the server has refused the secret.
func refusedLogin(err error) bool { return errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrAuth) }

// Login logs in. It does not wait out a backoff.
func (s *Session) Login(ctx context.Context) error {
	if err := s.authenticate(ctx); err != nil {
		return fmt.Errorf("%w: %w", errLogin, err)
	}
	return nil
}

func (s *Session) authenticate(ctx context.Context) error {
	if s.cookie {
		session, err := s.Client.Authenticate(ctx)
		if err == nil {
			s.log.Info("logged in", "auth", "cookie", "privileges", len(session.Privileges))
		}
		return err
	}
	token, err := s.Client.AccessToken(ctx)
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
func (s *Session) reportResult(err error) {
	if err == nil {
		if lasted, was := s.outage.End(s.now()); was {
			s.log.Info("BPCC answers again", "after", lasted)
		}
		s.backoff, s.lastErr, s.renewed = 0, nil, false
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
	if errors.Is(err, layout.ErrForeign) {
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
func (s *Session) logOutdated(err error) {
	if now := s.now(); now.Sub(s.outdatedAt) > outdatedPause {
		s.log.Warn(snapshotNotUsed, "err", err, "hint", "no action needed; if it lasts, ask Bright Pattern whether a server of this tenant is behind")
	}
	s.outdatedAt = s.now()
}

// Unsubscribe deletes the subscription and so releases it to the tenant's pool.
func (s *Session) Unsubscribe(ctx context.Context) error {
	defer s.Client.Close()
	if !s.subscribed && !s.probing {
		return nil
	}
	s.subscribed, s.probing = false, false
	return s.Client.Unsubscribe(ctx)
}

// abandonSession drops session and subscription without a request: another instance may use them
// now.
func (s *Session) abandonSession() {
	s.Client.Invalidate()
	s.Client.Close()
	s.subscribed, s.probing = false, false
}

func httpStatusOf(err error) int {
	var e *bpcc.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}
