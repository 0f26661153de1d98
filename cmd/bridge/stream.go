package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/console"
)

// message is one message of a stream.
type message struct {
	seq     uint64
	stored  time.Time
	subject string
	header  nats.Header
	body    []byte
	pending uint64 // messages after this one
}

// streamRange is the part of a stream that a command reads.
type streamRange struct {
	since, until  timeFlag
	from, to      uint64
	subjects      []string
	follow        bool
	completeBatch bool // continue to the end of the batch in which the range ends
}

// addFlags adds the flags that bound a range.
func (s *streamRange) addFlags(f *pflag.FlagSet) {
	f.Var(&s.since, "since", "start this long ago (1h, 90m) or at a time (2026-11-23T10:00:00Z); without a zone (2026-11-23) it is local time")
	f.Var(&s.until, "until", "end this long ago, or at a time")
	f.Uint64Var(&s.from, "from-seq", 0, "start at this stream sequence")
	f.Uint64Var(&s.to, "to-seq", 0, "end with this stream sequence")
}

// validate refuses contradictory bounds.
func (s *streamRange) validate() error {
	switch {
	case s.from > 0 && !s.since.IsZero():
		return fmt.Errorf("%w: --since and --from-seq exclude each other", errUsage)
	case s.to > 0 && s.from > s.to:
		return fmt.Errorf("%w: --from-seq %d is after --to-seq %d", errUsage, s.from, s.to)
	case !s.until.IsZero() && s.since.After(s.until.Time):
		return fmt.Errorf("%w: --since is later than --until", errUsage)
	case s.follow && (s.to > 0 || !s.until.IsZero()):
		return fmt.Errorf("%w: --follow excludes --until and --to-seq", errUsage)
	}
	return nil
}

// isPast reports whether a message is after the end of the range.
func (s *streamRange) isPast(m message) bool {
	return s.to > 0 && m.seq > s.to || !s.until.IsZero() && m.stored.After(s.until.Time)
}

// writeLocalTimes says in which zone the bounds are that were given without one.
func (s *streamRange) writeLocalTimes(c *console.Console) {
	for _, bound := range []struct {
		name string
		at   timeFlag
	}{{"since", s.since}, {"until", s.until}} {
		if !bound.at.IsZero() && bound.at.Location() == time.Local {
			c.Printf("--%s is %s: a time without a zone is local time\n", bound.name, bound.at.Format(time.RFC3339))
		}
	}
}

// timeFlag is an instant on the command line: how long ago, or when. It is local if it was given
// as a time without a zone, else UTC.
type timeFlag struct{ time.Time }

func (m *timeFlag) Set(text string) error {
	if ago, err := time.ParseDuration(text); err == nil {
		m.Time = time.Time{}
		if ago != 0 { // 0 is no bound
			m.Time = time.Now().UTC().Add(-ago.Abs())
		}
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateTime + "Z07:00", "2006-01-02 15:04Z07:00", time.DateOnly + "Z07:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			m.Time = at.UTC()
			return nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			m.Time = at
			return nil
		}
	}
	return errors.New("want a duration (1h, 90m) or a time (2026-11-23T10:00:00Z, 2026-11-23)")
}

// Type names what the flag takes in the help.
func (m *timeFlag) Type() string { return "time" }

func (m *timeFlag) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// defaultTimeout is how long a command that reads waits for the server.
const defaultTimeout = 10 * time.Second

// timeoutFlag adds the flag that limits the wait for the server. It does not limit the
// time of reading while the server responds.
func timeoutFlag(c *cobra.Command, timeout *time.Duration) {
	c.Flags().DurationVar(timeout, "timeout", defaultTimeout, "fail when the NATS server has not responded for this long")
	completeFlag(c, "timeout", words("10s", "1m"))
}

// errNoAnswer is returned when the NATS server has not responded within --timeout.
var errNoAnswer = errors.New("no response from the NATS server")

// hintUnreachable is what to check without a connection.
const hintUnreachable = "check NATS_URL, that the server runs, and that this machine reaches it"

// noAnswer wraps the error of a call without a response of the server in time.
func noAnswer(timeout time.Duration, err error, hint string) error {
	return fmt.Errorf("%w (--timeout %v): %w; %s", errNoAnswer, timeout, err, hint)
}

// errUnfinished is returned by a command that a signal ended before its work was
// done.
var errUnfinished = errors.New("did not finish")

// unfinished turns the error of work that ended with ctx into why ctx ended. Unlike
// [stopCause] it returns an error for a signal, since the work was not completed.
func unfinished(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%w: %w", errUnfinished, cause)
	}
	return cause
}

// openReadOnly connects a command that changes nothing: to the configured server, to
// the embedded server of a running bridge, or to the store of a stopped one.
func (p *program) openReadOnly(ctx context.Context, timeout time.Duration) (context.Context, *config.Config, *natsSession, error) {
	if timeout <= 0 {
		return ctx, nil, nil, fmt.Errorf("%w: --timeout must be above 0, not %v", errUsage, timeout)
	}
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return ctx, nil, nil, err
	}
	if c.LogLevel == "info" { // only the result is wanted
		log = p.err.Logger("warn", c.LogFormat)
	}
	listen := c.EmbeddedListen
	if c.Embedded() {
		if _, err := os.Stat(c.StoreDir); errors.Is(err, os.ErrNotExist) {
			return ctx, nil, nil, fmt.Errorf("%w: nothing to read: NATS_URL is not set, and there is no store in %s (BRIDGE_STORE_DIR)", errUsage, c.StoreDir)
		}
		c.EmbeddedListen = "127.0.0.1:0" // no other program connects
	}
	sessionCtx, l, err := openNATS(ctx, c, timeout, log)
	if errors.Is(err, stream.ErrStoreInUse) {
		// A bridge with the embedded server runs: connect to it.
		c.NATSURL = "nats://" + listen
		sessionCtx, l, err = openNATS(ctx, c, timeout, log)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = noAnswer(timeout, err, hintUnreachable)
	}
	return sessionCtx, c, l, err
}
