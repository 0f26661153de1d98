package reader

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"bpcc-nats/cmd/bridge/internal/console"
)

// Message is one message of a stream.
type Message struct {
	Seq     uint64
	Stored  time.Time
	Subject string
	Header  nats.Header
	Body    []byte
	Pending uint64 // messages after this one
}

// Range is the part of a stream that a command reads.
type Range struct {
	Since, Until  Time   // zero is no bound
	From, To      uint64 // sequences; 0 is no bound
	Subjects      []string
	Follow        bool // continue with new messages
	CompleteBatch bool // continue to the end of the batch in which the range ends
}

// AddFlags adds the flags that bound a range.
func (s *Range) AddFlags(f *pflag.FlagSet) {
	f.Var(&s.Since, "since", "start this long ago (1h, 90m) or at a time (2026-11-23T10:00:00Z); without a zone (2026-11-23) it is local time")
	f.Var(&s.Until, "until", "end this long ago, or at a time")
	f.Uint64Var(&s.From, "from-seq", 0, "start at this stream sequence")
	f.Uint64Var(&s.To, "to-seq", 0, "end with this stream sequence")
}

// Validate refuses contradictory bounds.
func (s *Range) Validate() error {
	switch {
	case s.From > 0 && !s.Since.IsZero():
		return errors.New("--since and --from-seq exclude each other")
	case s.To > 0 && s.From > s.To:
		return fmt.Errorf("--from-seq %d is after --to-seq %d", s.From, s.To)
	case !s.Until.IsZero() && s.Since.After(s.Until.Time):
		return errors.New("--since is later than --until")
	case s.Follow && (s.To > 0 || !s.Until.IsZero()):
		return errors.New("--follow excludes --until and --to-seq")
	}
	return nil
}

// isPast reports whether a message is after the end of the range.
func (s *Range) isPast(m Message) bool {
	return s.To > 0 && m.Seq > s.To || !s.Until.IsZero() && m.Stored.After(s.Until.Time)
}

// WriteLocalTimes says in which zone the bounds are that were given without one.
func (s *Range) WriteLocalTimes(c *console.Console) {
	for _, bound := range []struct {
		name string
		at   Time
	}{{"since", s.Since}, {"until", s.Until}} {
		if !bound.at.IsZero() && bound.at.Location() == time.Local {
			c.Printf("--%s is %s: a time without a zone is local time\n", bound.name, bound.at.Format(time.RFC3339))
		}
	}
}

// Time is an instant on the command line: how long ago, or when. It is local if it was given
// as a time without a zone, else UTC.
type Time struct{ time.Time }

// Set reads a duration or a time.
func (m *Time) Set(text string) error {
	if ago, err := time.ParseDuration(text); err == nil {
		m.Time = time.Time{}
		if ago != 0 { // 0 is no bound
			m.Time = time.Now().UTC().Add(-ago.Abs())
		}
		return nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout+"Z07:00", text); err == nil {
			m.Time = at.UTC()
			return nil
		}
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			m.Time = at
			return nil
		}
	}
	return errors.New("want a duration (1h, 90m) or a time (2026-11-23T10:00:00Z, 2026-11-23)")
}

// Type names what the flag takes in the help.
func (m *Time) Type() string { return "time" }

// String is the time as RFC 3339 writes it.
func (m *Time) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}
