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

// patience is how long a kind of fault is waited out: free of them not at all,
// then first, and twice as long each time up to most.
type patience struct {
	free        int
	first, most time.Duration
}

// Each kind of fault has a patience of its own, so that none that passes quickly
// brings forward the next try of one that does not.
var (
	// slow is for what only a person or time can mend: refused credentials (a
	// few more may lock the user), a missing privilege, a full pool.
	slow = patience{first: 30 * time.Second, most: 5 * time.Minute}
	// quick is for faults that pass by themselves.
	quick = patience{first: 500 * time.Millisecond, most: 5 * time.Second}
	// contested is for what another program of the same user takes from this
	// one: had back at once when it is the first time, not fought for.
	contested = patience{free: 1, first: time.Second, most: 30 * time.Second}
	// whole is for answers that are complete, and asked for again to see whether
	// they last.
	whole = patience{}
)

const (
	// calm is how long after a contested loss the next one is a new story. A
	// good snapshot in between is none: both sides have those.
	calm = time.Minute
	// longestAsked bounds the wish of a server to be left alone.
	longestAsked = time.Hour
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
	trying  bool            // a try's subscription may be there
	answers map[string]bool // to the tries so far, nil when none is under way
	refused []string        // what is left out, with its places
	absent  []string        // app ids of which nothing was left
	verdict *refusal        // why nothing could be mended; nil if that is not so

	failures map[string]failure // by kind; a kind that is not there has not failed lately
	failed   time.Time          // when the last failure was noted
	wait     time.Duration      // no request for so long after it
	waiting  error              // why
	told     string             // the last failure that was logged
}

// failure is what is remembered of the faults of one kind.
type failure struct {
	count int
	last  time.Time
}

// poll takes one snapshot. While a failure is being waited out it returns that
// failure without a request.
func (s *source) poll(ctx context.Context) (bpcc.Answer, error) {
	// A clock that was set back must not make the wait longer.
	if passed := s.now().Sub(s.failed); passed >= 0 && passed < s.wait {
		if !refusedLogin(s.waiting) || !s.client.SecretChanged() {
			return bpcc.Answer{}, s.waiting
		}
		// Somebody has mended what the wait is for.
		s.log.Info("secret changed, logging in")
		kind, _ := patienceFor(s.waiting)
		delete(s.failures, kind)
	}
	answer, err := s.snapshot(ctx)
	switch {
	case ctx.Err() != nil:
		return answer, err
	case err == nil:
		// Whether it was a good answer is settled when it has been read.
	case errors.Is(err, bpcc.ErrNotReady):
		// Weather, as after every new subscription.
	default:
		s.fail(err)
	}
	return answer, err
}

// fail notes a failure, logs it if it is news, and decides how long to wait.
func (s *source) fail(err error) {
	wait := s.delay(err)
	s.failed, s.wait, s.waiting = s.now(), wait, err
	if text := err.Error(); text != s.told {
		s.told = text
		s.log.Warn("BPCC request failed", "err", err, "hint", advice(err), "retry_in", wait.Round(time.Millisecond).String())
	}
}

// delay tells how long to leave the source alone after a failure.
func (s *source) delay(err error) time.Duration {
	kind, p := patienceFor(err)
	before := s.note(kind)
	var e *bpcc.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return jitter(min(e.RetryAfter, longestAsked))
	}
	if p == whole || before < p.free {
		return 0
	}
	return jitter(min(p.first<<min(before-p.free, 10), p.most))
}

// note counts a failure of a kind and returns how many there were before it.
func (s *source) note(kind string) (before int) {
	if s.failures == nil {
		s.failures = map[string]failure{}
	}
	before = s.failures[kind].count
	s.failures[kind] = failure{before + 1, s.now()}
	return before
}

// jitter makes a wait up to a fifth longer, so that many bridges do not come
// back in step.
func jitter(wait time.Duration) time.Duration {
	return wait + time.Duration(rand.Int64N(int64(wait)/5+1))
}

// The kinds of what is contested.
const (
	kindSession      = "session" // refused though the login was not
	kindSubscription = "subscription"
)

// patienceFor sorts a failure into its kind.
func patienceFor(err error) (kind string, p patience) {
	var r *refusal
	switch {
	case errors.Is(err, diff.ErrEmpty):
		return "empty", whole
	case errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrAuth):
		return "login", slow
	case errors.Is(err, bpcc.ErrForbidden):
		return "forbidden", slow
	case errors.Is(err, bpcc.ErrLimit):
		return "limit", slow
	case errors.Is(err, bpcc.ErrRejected), errors.As(err, &r):
		return "rejected", slow
	case errors.Is(err, bpcc.ErrAuth):
		return kindSession, contested
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, diff.ErrForeign):
		return kindSubscription, contested
	case errors.Is(err, bpcc.ErrMalformed), errors.Is(err, bpcc.ErrTooLarge), errors.Is(err, diff.ErrMalformed):
		return "malformed", quick
	case errors.Is(err, bpcc.ErrThrottled):
		return "throttled", quick
	}
	return "source", quick
}

// tryAgain is the advice where a bridge that runs needs none.
const tryAgain = "trying again"

// advice says what a person can do about a failure.
func advice(err error) string {
	var r *refusal
	if advice := tlsAdvice(err, "BPCC_CA_FILE", "BPCC_CERT and BPCC_KEY", "BPCC_URL"); advice != "" {
		return advice
	}
	switch {
	case errors.As(err, &r):
		return r.mend
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
	return tryAgain
}

// snapshot does what is needed to get one answer: log in, subscribe, ask.
func (s *source) snapshot(ctx context.Context) (bpcc.Answer, error) {
	if !s.client.LoggedIn() {
		if err := s.login(ctx); err != nil {
			return bpcc.Answer{}, err
		}
	}
	answer, err := s.ask(ctx)
	if errors.Is(err, bpcc.ErrAuth) {
		// The token has ended early or a cookie was stolen: log in, then once
		// more, unless that is what was done lately too. The subscription may
		// have outlived the session.
		s.client.Forget()
		if s.failures[kindSession].count >= contested.free {
			return bpcc.Answer{}, err
		}
		s.note(kindSession)
		if err := s.login(ctx); err != nil {
			return bpcc.Answer{}, err
		}
		answer, err = s.ask(ctx)
	}
	if errors.Is(err, bpcc.ErrNoSubscription) || statusOf(err) == http.StatusInternalServerError {
		s.subscribed = false
	}
	return answer, err
}

// ask subscribes if that is needed and gets the data.
func (s *source) ask(ctx context.Context) (bpcc.Answer, error) {
	if !s.subscribed {
		if err := s.create(ctx); err != nil {
			return bpcc.Answer{}, err
		}
		s.log.Info("subscribed", "apps", len(s.plan.wire))
	}
	return s.data(ctx)
}

// errLogin marks what went wrong at the login itself, which is not to be
// repeated in haste.
var errLogin = errors.New("log in")

// refusedLogin tells whether the server has refused the secret.
func refusedLogin(err error) bool { return errors.Is(err, errLogin) && errors.Is(err, bpcc.ErrAuth) }

func (s *source) login(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("%w: %w", errLogin, err)
	}
	return nil
}

func (s *source) enter(ctx context.Context) error {
	if s.cookie {
		session, err := s.client.Authenticate(ctx)
		if err == nil {
			s.log.Info("logged in", "auth", "cookie", "privileges", len(session.Privileges))
		}
		return err
	}
	token, err := s.client.AccessToken(ctx)
	if err == nil {
		s.log.Info("logged in", "auth", "oauth", "token_ttl", token.Life.String())
	}
	return err
}

// settle says whether an answer was a good snapshot; err is nil if it was.
func (s *source) settle(err error) {
	if err == nil {
		if s.told != "" {
			s.log.Info("BPCC answers again")
		}
		s.told, s.wait, s.waiting = "", 0, nil
		for kind, f := range s.failures {
			if ago := s.now().Sub(f.last); kind != kindSession && kind != kindSubscription || ago > calm || ago < 0 {
				delete(s.failures, kind)
			}
		}
		return
	}
	if errors.Is(err, diff.ErrForeign) {
		s.subscribed = false
	}
	s.fail(err)
}

// leave deletes the subscription, so that the tenant's pool has its place back.
func (s *source) leave(ctx context.Context) error {
	defer s.client.Close()
	if !s.subscribed && !s.trying {
		return nil
	}
	s.subscribed, s.trying = false, false
	return s.client.Unsubscribe(ctx)
}

// abandon forgets session and subscription without a word to the server: they
// may be another instance's by now.
func (s *source) abandon() {
	s.client.Forget()
	s.client.Close()
	s.subscribed, s.trying = false, false
}

func statusOf(err error) int {
	var e *bpcc.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// discard is a log that nobody reads.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
