package export

import (
	"context"
	"runtime"
	"time"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// Stream is a range of a stream that is verified.
type Stream struct {
	reader.Range
	Session   *reader.Session
	Config    *config.Config
	Timeout   time.Duration
	Selection Selection
	// Options say what is expected; the rest of them follows from the stream.
	Options audit.Options
	// Before are the checkpoints before the range, where they are known.
	Before []Message
	// Erasure is called with each message that states an erasure, wherever it is in the stream, and then Handle with
	// each message of the range; nil if nobody needs them.
	Erasure, Handle func(reader.Message) error
}

// Audit verifies the range.
func (s *Stream) Audit(ctx context.Context) (audit.Report, error) {
	o, c, selection := s.Options, s.Config, s.Selection
	o.CheckpointInterval, o.Retention, o.Volatile = c.Stream.CheckpointInterval, c.Stream.Retention, config.GlobMatcher(c.Events.VolatileStats)
	o.Part, o.Whole = selection.Part(), o.Tenant == "" && selection.All()
	events := s.Range
	events.Subjects, events.CompleteBatch = selection.Patterns(), selection.IncludesCheckpoints()
	erased := event.SubjectPrefix + ".*." + event.Erased
	if o.Tenant != "" {
		if len(selection.Subjects) == 0 {
			events.Subjects = []string{event.Prefix(o.Tenant) + ">"}
		}
		erased = event.Prefix(o.Tenant) + event.Erased
	}
	a, err := audit.New(o)
	if err != nil {
		return audit.Report{}, err
	}
	erasures := reader.Reader{JS: s.Session.JS, Stream: c.Stream.Name, Timeout: s.Timeout, Handle: func(m reader.Message) error {
		a.ReadErasure(m.Subject, m.Header, m.Body)
		if s.Erasure == nil {
			return nil
		}
		return s.Erasure(m)
	}}
	erasures.Subjects = []string{erased}
	if err := erasures.Read(ctx); err != nil {
		return audit.Report{}, err
	}
	for _, m := range s.Before {
		a.AddBefore(m.audited())
	}
	pipe := audit.NewPipe(a, Workers())
	read := reader.Reader{
		Range: events, JS: s.Session.JS, Stream: c.Stream.Name, Timeout: s.Timeout, Whole: o.Whole, Unfiltered: s.Session.Embedded, Unreadable: pipe.AddUnreadable,
		Handle: func(m reader.Message) error {
			pipe.Add(func() audit.Message {
				return audit.Message{Seq: m.Seq, Stored: m.Stored, Subject: m.Subject, Header: m.Header, Body: m.Body}
			})
			if s.Handle == nil {
				return nil
			}
			return s.Handle(m)
		},
	}
	err = read.Read(ctx)
	pipe.Close()
	if err != nil {
		return audit.Report{}, err
	}
	return a.Report(), nil
}

// Workers is the number of goroutines that validate and decode events. Reading them and comparing them with
// each other takes about as long.
func Workers() int { return runtime.GOMAXPROCS(0) }
