package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

const (
	// watchdogPrefix begins the watchdog's subjects; the stream of events must not capture it.
	watchdogPrefix = "bpcc.watchdog"
)

// watchdogConfig is the stream of the scheduled message that the server publishes to the view's
// feed key if no bridge postpones it: a bridge cannot report its own death. It is a separate stream
// because a stream with schedules needs limits retention with one message per subject.
func watchdogConfig(c *config.Config) jetstream.StreamConfig {
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

func watchdogStream(c *config.Config) string { return c.Stream + "_WATCHDOG" }

// Watchdog postpones the message that declares the feed stale, for as long as the bridge works.
type Watchdog struct {
	js       jetstream.JetStream
	config   *config.Config
	embedded *Server // nil = another server
	stream   string
	tenant   string
	timeout  time.Duration // from the last reset to the message
	log      *slog.Logger

	armedAt    time.Time // when the message was last postponed; zero = not in this term
	status     string    // status of the feed at that time
	failedAt   time.Time // when a reset last failed; zero = it did not
	lastLogged string    // the failure that was last logged
}

// NewWatchdog returns the watchdog of a tenant, which is not armed yet. embedded is the NATS server
// inside the process; nil for another one.
func NewWatchdog(c *config.Config, js jetstream.JetStream, embedded *Server, log *slog.Logger) *Watchdog {
	return &Watchdog{
		js: js, config: c, embedded: embedded, stream: watchdogStream(c), tenant: c.Tenant, log: log,
		// A standby that takes over after a crash must be faster than the message.
		timeout: c.InterruptAfter() + c.LeaseTTL + c.Times().WatchdogMargin,
	}
}

func (w *Watchdog) subject(suffix string) string {
	return watchdogPrefix + "." + event.Token(w.tenant) + "." + suffix
}

// Due reports whether the message must be postponed, or the status of the feed has changed.
func (w *Watchdog) Due(now time.Time, status string) bool {
	if now.Sub(w.armedAt) < w.timeout/3 && status == w.status {
		return false
	}
	// A stream without a response must not delay every poll.
	return w.failedAt.IsZero() || now.Sub(w.failedAt) >= w.timeout/6
}

// Reset replaces the scheduled message by a later one with this body. It reports whether the old
// one may have been published meanwhile.
func (w *Watchdog) Reset(ctx context.Context, now time.Time, status string, body []byte) (late bool) {
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

// recreateIfMissing recreates a missing stream of the watchdog.
func (w *Watchdog) recreateIfMissing(ctx context.Context) {
	lookupCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := w.js.Stream(lookupCtx, w.stream); errors.Is(err, jetstream.ErrStreamNotFound) {
		Recreate(ctx, w.js, w.config, w.embedded, w.log)
	}
}

func (w *Watchdog) arm(ctx context.Context, now time.Time, body []byte) error {
	msg := nats.NewMsg(w.subject("armed"))
	msg.Data = body
	msg.Header.Set("Content-Type", event.ContentType)
	// The library's option rounds down to whole seconds, and so would fire early.
	msg.Header.Set("Nats-Schedule", "@at "+now.Add(w.timeout).UTC().Format(time.RFC3339Nano))
	msg.Header.Set("Nats-Schedule-Target", w.subject("stale"))
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := w.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("schedule watchdog message: %w", err)
	}
	return nil
}

// Disarm deletes the scheduled message, for a regular shutdown.
func (w *Watchdog) Disarm(ctx context.Context) error {
	stream, err := w.js.Stream(ctx, w.stream)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(w.subject("armed")))
	}
	if err != nil {
		return fmt.Errorf("disarm watchdog: %w", err)
	}
	return nil
}
