package lookup

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
)

const (
	// unreadableLimit is how many messages that the server cannot load are looked for between two events, or
	// at the end.
	unreadableLimit = 1000
	// retryPause is between two attempts.
	retryPause = 100 * time.Millisecond
)

// Unreadable returns the messages that the server cannot load, of those from one sequence to another
// that are not on other subjects.
func (t Tenant) Unreadable(ctx context.Context, subject string, from, to uint64) ([]event.SequenceRange, error) {
	sequences, err := scan.FindUnreadable(ctx, t.JS, t.Stream, subject, from, to, unreadableLimit)
	if err != nil {
		return nil, fmt.Errorf("find unreadable messages: %w", err)
	}
	var runs []event.SequenceRange
	for _, seq := range sequences {
		if n := len(runs); n > 0 && runs[n-1].Last+1 == seq {
			runs[n-1].Last = seq
		} else {
			runs = append(runs, event.SequenceRange{First: seq, Last: seq})
		}
	}
	return runs, nil
}

// Explain finds out why events are missing between two sequences: messages that the server cannot load,
// and how many are stated as erased. It is as patient as a reading.
func (t Tenant) Explain(ctx context.Context, after, before uint64) (unreadable []event.SequenceRange, erased uint64, err error) {
	if after == 0 || before <= after+1 {
		return nil, 0, nil
	}
	for start := time.Now(); ; {
		unreadable, erased, err = t.examine(ctx, after, before)
		if err == nil || !scan.MayPass(err) || time.Since(start) > t.Patience {
			return unreadable, erased, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
}

// examine is one attempt of Explain.
func (t Tenant) examine(ctx context.Context, after, before uint64) (unreadable []event.SequenceRange, erased uint64, err error) {
	s := scan.Reader{
		JS: t.JS, Stream: t.Stream, Timeout: t.Timeout, Patience: t.Patience,
		Consumer: jetstream.OrderedConsumerConfig{FilterSubjects: []string{event.Prefix(t.Name) + event.Erased}},
		Handle: func(_ context.Context, m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			e, err := event.Parse(t.Name, m.Subject(), m.Headers().Get(nats.MsgIdHdr), m.Data())
			d, ok := e.Data.(*event.ErasedData)
			if err != nil || !ok {
				return nil // foreign
			}
			for _, s := range d.Sequences {
				if first, last := max(s.First, after+1), min(s.Last, before-1); first <= last {
					erased += last - first + 1
				}
			}
			return nil
		},
	}
	if err := s.Read(ctx); err != nil {
		return nil, 0, fmt.Errorf("read erasures: %w", err)
	}
	if erased == before-after-1 {
		return nil, erased, nil
	}
	unreadable, err = t.Unreadable(ctx, event.Prefix(t.Name)+">", after+1, before-1)
	return unreadable, erased, err
}
