// Package watchdog has the NATS server report a bridge that has died, and remembers the epoch of the last
// term, apart from the events.
package watchdog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
)

// Watchdog postpones the message that declares the feed stale, for as long as the bridge works.
type Watchdog struct {
	js       jetstream.JetStream
	config   config.Stream
	timing   *config.Timing
	embedded *stream.Server // nil = another server
	stream   string
	tenant   string
	timeout  time.Duration // from the last reset to the message
	log      *slog.Logger

	armedAt    time.Time // when the message was last postponed; zero = not in this term
	due        time.Time // when the server publishes it, by the server's clock
	status     string    // status of the feed at that time
	published  bool      // the server may have published a message that is not deleted yet
	failedAt   time.Time // when a reset last failed; zero = it did not
	lastLogged string    // the failure that was last logged
}

// New returns the watchdog of a tenant, which is not armed yet. embedded is the NATS server
// inside the process; nil for another one.
func New(c *config.Config, js jetstream.JetStream, embedded *stream.Server, log *slog.Logger) *Watchdog {
	return &Watchdog{
		js: js, config: c.Stream, timing: c.Times(), embedded: embedded, stream: stream.WatchdogStream(c.Stream), tenant: c.Tenant, log: log,
		// A standby that takes over after a crash must be faster than the message.
		timeout: c.InterruptAfter() + c.Stream.Lease.TTL + c.Times().WatchdogMargin,
	}
}

func (w *Watchdog) subject(suffix string) string {
	return stream.WatchdogPrefix + "." + event.Token(w.tenant) + "." + suffix
}

// Due reports whether the message must be postponed, or the status of the feed has changed.
func (w *Watchdog) Due(now time.Time, status string) bool {
	if now.Sub(w.armedAt) < w.timeout/3 && status == w.status {
		return false
	}
	// A stream without a response must not delay every poll.
	return w.failedAt.IsZero() || now.Sub(w.failedAt) >= w.timeout/6
}

// Reset replaces the scheduled message by a later one with this body. serverNow is the time by the
// server's clock, with which the server compares when the message is due. Reset reports whether the
// old one may have been published meanwhile.
func (w *Watchdog) Reset(ctx context.Context, now, serverNow time.Time, status string, body []byte) (late bool) {
	due := serverNow.Add(w.timeout)
	err := w.arm(ctx, due, body)
	if err == nil {
		late = !w.armedAt.IsZero() && (now.Sub(w.armedAt) >= w.timeout || !serverNow.Before(w.due))
		w.published = w.published || late || w.armedAt.IsZero()
		w.armedAt, w.due, w.status, w.failedAt, w.lastLogged = now, due, status, time.Time{}, ""
		if w.published {
			w.removePublished(ctx)
		}
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

// removePublished deletes the message that the server has published: a view that is made anew would take
// it after the last checkpoint. If it cannot, the next reset tries again.
func (w *Watchdog) removePublished(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.purge(ctx, "stale"); err != nil {
		w.log.Debug("watchdog message not deleted", "err", err) // arm reports a stream without a response
		return
	}
	w.published = false
}

// recreateIfMissing recreates a missing stream of the watchdog.
func (w *Watchdog) recreateIfMissing(ctx context.Context) {
	lookupCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := w.js.Stream(lookupCtx, w.stream); errors.Is(err, jetstream.ErrStreamNotFound) {
		stream.Recreate(ctx, w.js, w.config, w.timing, w.embedded, w.log)
	}
}

// maxEpoch is far beyond any epoch: what is larger the bridge did not write.
const maxEpoch = 1 << 40

// term is what the watchdog's stream keeps of the last term.
type term struct {
	Epoch uint64 `json:"epoch"`
}

// MarkTerm notes the epoch of a term, before its first event is stored: the stream of events may be
// restored from an older backup, and the view be behind.
func (w *Watchdog) MarkTerm(ctx context.Context, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := json.Marshal(term{epoch})
	if err == nil {
		_, err = w.js.Publish(ctx, w.subject("term"), body, jetstream.WithRetryAttempts(0))
	}
	if err != nil {
		return fmt.Errorf("note the term: %w", err)
	}
	return nil
}

// MarkedEpoch returns the epoch that was last noted for a tenant; 0 if none was.
func MarkedEpoch(ctx context.Context, js jetstream.JetStream, c *config.Config) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	marks, err := js.Stream(ctx, stream.WatchdogStream(c.Stream))
	if err != nil {
		return 0, fmt.Errorf("read the last term: %w", err)
	}
	msg, err := marks.GetLastMsgForSubject(ctx, stream.WatchdogPrefix+"."+event.Token(c.Tenant)+".term")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last term: %w", err)
	}
	var t term
	if err := json.Unmarshal(msg.Data, &t); err != nil {
		return 0, fmt.Errorf("read the last term: %w", err)
	}
	if t.Epoch > maxEpoch {
		return 0, fmt.Errorf("read the last term: %w: epoch %d", event.ErrForeign, t.Epoch)
	}
	return t.Epoch, nil
}

// arm schedules the message for an instant of the server's clock.
func (w *Watchdog) arm(ctx context.Context, due time.Time, body []byte) error {
	msg := nats.NewMsg(w.subject("armed"))
	msg.Data = body
	msg.Header.Set("Content-Type", event.ContentType)
	// The library's option rounds down to whole seconds, and so would fire early.
	msg.Header.Set("Nats-Schedule", "@at "+due.UTC().Format(time.RFC3339Nano))
	msg.Header.Set("Nats-Schedule-Target", w.subject("stale"))
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	prevErr := w.js.Conn().LastError()
	_, err := w.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err = stream.Cause(w.js.Conn(), prevErr, err); err != nil {
		return fmt.Errorf("schedule watchdog message: %w", err)
	}
	return nil
}

// Disarm deletes the scheduled message, for a regular shutdown.
func (w *Watchdog) Disarm(ctx context.Context) error {
	if err := w.purge(ctx, "armed"); err != nil {
		return fmt.Errorf("disarm watchdog: %w", err)
	}
	return nil
}

// purge deletes the tenant's messages on a subject.
func (w *Watchdog) purge(ctx context.Context, suffix string) error {
	messages, err := w.js.Stream(ctx, w.stream)
	if err != nil {
		return err
	}
	return messages.Purge(ctx, jetstream.WithPurgeSubject(w.subject(suffix)))
}
