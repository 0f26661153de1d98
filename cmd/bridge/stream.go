package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge"
)

// message is one message of a stream as a reader gets it.
type message struct {
	seq     uint64
	stored  time.Time
	subject string
	header  nats.Header
	body    []byte
	pending uint64 // how many more there are by now
}

// streamRange is the part of a stream that a command reads.
type streamRange struct {
	since, until  timeFlag
	from, to      uint64
	subjects      []string
	follow        bool
	completeBatch bool // read on to the end of the batch in which the stretch ends
}

// addFlags adds the flags that bound a stretch.
func (s *streamRange) addFlags(f *flag.FlagSet) {
	f.Var(&s.since, "since", "begin this long ago (1h, 90m) or at a time (2026-11-23T10:00:00Z)")
	f.Var(&s.until, "until", "end this long ago, or at a time")
	f.Uint64Var(&s.from, "from-seq", 0, "begin at this stream sequence")
	f.Uint64Var(&s.to, "to-seq", 0, "end with this stream sequence")
}

// validate refuses bounds that contradict each other.
func (s *streamRange) validate() error {
	switch {
	case s.from > 0 && !s.since.IsZero():
		return fmt.Errorf("%w: --since and --from-seq both say where to begin; keep one", errUsage)
	case s.to > 0 && s.from > s.to:
		return fmt.Errorf("%w: --from-seq %d is after --to-seq %d", errUsage, s.from, s.to)
	case !s.until.IsZero() && s.since.After(s.until.Time):
		return fmt.Errorf("%w: --since is later than --until", errUsage)
	case s.follow && (s.to > 0 || !s.until.IsZero()):
		return fmt.Errorf("%w: --follow has no end, --until and --to-seq have; keep one", errUsage)
	}
	return nil
}

// isPast reports whether a message lies beyond the stretch.
func (s *streamRange) isPast(m message) bool {
	return s.to > 0 && m.seq > s.to || !s.until.IsZero() && m.stored.After(s.until.Time)
}

// timeFlag is an instant on the command line: how long ago, or when.
type timeFlag struct{ time.Time }

func (m *timeFlag) Set(text string) error {
	if ago, err := time.ParseDuration(text); err == nil {
		m.Time = time.Time{}
		if ago != 0 { // 0 has always meant: all there is
			m.Time = time.Now().Add(-ago.Abs())
		}
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			m.Time = at
			return nil
		}
	}
	return errors.New("want a duration (1h, 90m) or a time (2026-11-23T10:00:00Z, 2026-11-23)")
}

func (m *timeFlag) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// openReadOnly opens the way to the stream for a command that changes nothing: to the
// configured server, to the one inside a running bridge, or to the store that a
// stopped one has left behind.
func (p *program) openReadOnly(ctx context.Context) (context.Context, *bridge.Config, *natsSession, *slog.Logger, error) {
	c, log, err := p.configure(bridge.ForStream)
	if err != nil {
		return ctx, nil, nil, nil, err
	}
	if c.LogLevel == "info" { // the result is what was asked for
		log = newLogger(p.stderr, "warn", c.LogFormat, p.env)
	}
	listen := c.EmbeddedListen
	if c.Embedded() {
		if _, err := os.Stat(c.StoreDir); errors.Is(err, os.ErrNotExist) {
			return ctx, nil, nil, nil, fmt.Errorf("%w: NATS_URL is not set and there is no store in %s (BRIDGE_STORE_DIR): nothing to read", errUsage, c.StoreDir)
		}
		c.EmbeddedListen = "127.0.0.1:0" // nobody else needs to find it
	}
	sessionCtx, l, err := openNATS(ctx, c, log)
	if errors.Is(err, bridge.ErrStoreInUse) {
		// A bridge with the embedded server runs: ask it.
		c.NATSURL = "nats://" + listen
		sessionCtx, l, err = openNATS(ctx, c, log)
	}
	if err != nil {
		return ctx, nil, nil, nil, stopCause(ctx, err)
	}
	return sessionCtx, c, l, log, nil
}

// openTimeout bounds how long a reader waits for the stream to answer.
const openTimeout = 10 * time.Second

// readStream hands the messages of a stretch to visit, in order; io.EOF from visit
// ends it.
func readStream(ctx context.Context, js jetstream.JetStream, name string, s streamRange, handle func(message) error) error {
	err := readRange(ctx, js, name, s, handle)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("read stream %s: it is not there; is BRIDGE_STREAM right, and NATS_URL or BRIDGE_STORE_DIR?", name)
	case err != nil && !errors.Is(err, errHandler):
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	return err
}

// errHandler marks errors of the visitor, which are not the stream's.
var errHandler = errors.New("cannot go on")

func readRange(ctx context.Context, js jetstream.JetStream, name string, s streamRange, handle func(message) error) error {
	openCtx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	config := jetstream.OrderedConsumerConfig{FilterSubjects: s.subjects}
	switch {
	case s.from > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.from
	case !s.since.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since.Time
	}
	consumer, err := js.OrderedConsumer(openCtx, name, config)
	if err != nil {
		return err
	}
	info, err := consumer.Info(openCtx)
	if err != nil {
		return err
	}
	if info.NumPending == 0 && !s.follow {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	inBatch := false // whether the message before is one that others of its batch follow
	for {
		m, err := nextMessage(ctx, messages, inBatch && !s.follow)
		if err != nil {
			return err
		}
		if s.isPast(m) && !(s.completeBatch && inBatch) {
			return nil
		}
		if err := handle(m); err != nil {
			if errors.Is(err, io.EOF) {
				return err
			}
			return fmt.Errorf("%w: %w", errHandler, err)
		}
		inBatch = s.completeBatch && !strings.HasSuffix(m.subject, ".feed.checkpoint")
		if m.pending == 0 && !s.follow && !inBatch {
			return nil
		}
	}
}

// nextMessage waits for the next message. Inside a batch it does not wait for long: the
// rest of it is being stored, or was never written by a bridge.
func nextMessage(ctx context.Context, messages jetstream.MessagesContext, inBatch bool) (message, error) {
	if inBatch {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, 2*time.Second, io.EOF)
		defer cancel()
	}
	msg, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return message{}, cmp.Or(context.Cause(ctx), err)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return message{}, err
	}
	header := msg.Headers()
	if header == nil {
		header = nats.Header{} // it has none: that is known
	}
	return message{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), header, msg.Data(), meta.NumPending}, nil
}
