package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

const (
	// watchdogPrefix begins the watchdog's subjects; it must not be captured by
	// the stream of events.
	watchdogPrefix = "bpcc.watchdog"
)

// watchdogConfig is the stream in which a message lies ready that the server
// itself turns into the view's feed key when nobody has put it off in time: the
// bridge cannot tell of its own death. It is a stream of its own since a stream
// that schedules takes no other than limits retention of one message a subject.
func watchdogConfig(c *Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              watchdogStream(c),
		Description:       "Says in " + c.StateBucket + " that a feed is stale when its bridge does not put it off",
		Subjects:          []string{watchdogPrefix + ".>"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		Replicas:          c.Replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		AllowMsgTTL:       true,
		AllowMsgSchedules: true,
	}
}

func watchdogStream(c *Config) string { return c.Stream + "_WATCHDOG" }

// watchdog puts the news of its own death off, for as long as the bridge works.
type watchdog struct {
	js      jetstream.JetStream
	config  *Config
	stream  string
	tenant  string
	timeout time.Duration // from the last putting off to the news
	log     *slog.Logger

	armedAt    time.Time // when the news was last put off; zero = not in this term
	status     string    // the feed's status then
	failedAt   time.Time // when that last failed; zero = it did not
	lastLogged string    // the failure that was last logged
}

func newWatchdog(c *Config, js jetstream.JetStream, log *slog.Logger) *watchdog {
	return &watchdog{
		js: js, config: c, stream: watchdogStream(c), tenant: c.Tenant, log: log,
		// A standby that takes over after a crash must be quicker than the news.
		timeout: c.interruptAfter() + c.LeaseTTL + 5*time.Second,
	}
}

func (w *watchdog) subject(suffix string) string {
	return watchdogPrefix + "." + event.Token(w.tenant) + "." + suffix
}

// due reports whether it is time to replace the message that lies ready, or the
// feed's status has changed.
func (w *watchdog) due(now time.Time, status string) bool {
	if now.Sub(w.armedAt) < w.timeout/3 && status == w.status {
		return false
	}
	// A stream that does not answer must not hold every poll up.
	return w.failedAt.IsZero() || now.Sub(w.failedAt) >= w.timeout/6
}

// reset replaces the message that lies ready by a later one with this body. It
// reports whether the old one may have been sent meanwhile.
func (w *watchdog) reset(ctx context.Context, now time.Time, status string, body []byte) (late bool) {
	err := w.arm(ctx, now, body)
	if err == nil {
		late = !w.armedAt.IsZero() && now.Sub(w.armedAt) >= w.timeout
		w.armedAt, w.status, w.failedAt, w.lastLogged = now, status, time.Time{}, ""
		return late
	}
	w.failedAt = now
	if err.Error() != w.lastLogged {
		w.lastLogged = err.Error()
		w.log.Warn("cannot rearm the watchdog", "err", err, "hint", "the view may report the feed as stale")
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		w.recreateIfMissing(ctx)
	}
	return false
}

// recreateIfMissing makes the watchdog's stream anew if it is gone.
func (w *watchdog) recreateIfMissing(ctx context.Context) {
	lookupCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := w.js.Stream(lookupCtx, w.stream); errors.Is(err, jetstream.ErrStreamNotFound) {
		recreateStreams(ctx, w.js, w.config, w.log)
	}
}

func (w *watchdog) arm(ctx context.Context, now time.Time, body []byte) error {
	msg := nats.NewMsg(w.subject("armed"))
	msg.Data = body
	msg.Header.Set("Content-Type", event.ContentType)
	// The library's option for this cuts to whole seconds, and so fires early.
	msg.Header.Set("Nats-Schedule", "@at "+now.Add(w.timeout).UTC().Format(time.RFC3339Nano))
	msg.Header.Set("Nats-Schedule-Target", w.subject("stale"))
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := w.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("schedule watchdog message: %w", err)
	}
	return nil
}

// disarm takes the news back, for an end in good order.
func (w *watchdog) disarm(ctx context.Context) error {
	stream, err := w.js.Stream(ctx, w.stream)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(w.subject("armed")))
	}
	if err != nil {
		return fmt.Errorf("disarm the watchdog: %w", err)
	}
	return nil
}
