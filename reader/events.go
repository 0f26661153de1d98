package reader

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/reader/internal/lookup"
	"bpcc-nats/reader/internal/track"
)

// Start is where a reading of the stream begins.
type Start struct {
	sequence uint64
	since    time.Time
	after    event.ID
	now      bool
	floor    floor // what the events from the sequence on must follow
}

// Beginning starts with the first event that the stream holds.
func Beginning() Start { return Start{} }

// AtSequence starts with the first event whose sequence in the stream is at least seq. It may be within a
// batch.
func AtSequence(seq uint64) Start { return Start{sequence: seq} }

// AtTime starts with the first event that the server has stored at that time or later.
func AtTime(t time.Time) Start { return Start{since: t} }

// After starts with the event that follows the one with that id, such as the last checkpoint that was
// read. If the id is not in the stream any more, a [*Hole] says so. The stream is searched by some requests
// for single messages, for which the user needs the permission. The zero ID is before all events.
func After(id event.ID) Start { return Start{after: id} }

// Now starts with the first event that is stored from now on.
func Now() Start { return Start{now: true} }

// EventsOptions say what of the stream is read.
type EventsOptions struct {
	// Subjects are those to read, below the tenant and with wildcards: "agent.*.state_changed",
	// "service.>". None are all. Without "feed.checkpoint" no batches are visible, without "feed.resumed" no
	// gaps.
	//
	// With subjects, holes are those that the numbers of entities prove: state_revision where all
	// state_changed of an agent are read, revision where all events of an entity are, as with
	// "service.*.*". A checkpoint names the one before it.
	//
	// One subject is a part of the subject of the request for a consumer, so that a user can have the
	// permission for it alone. Several need that for all of the stream.
	Subjects []string
	// Follow reports whether to continue with new events at the end of the stream.
	Follow bool
}

// errStop ends a reading whose items nobody wants any more.
var errStop = errors.New("stop")

// Events reads the events of the tenant in the order of the stream: to its present end, or following it.
// An error ends the reading and is the last that is yielded, with a nil Item. It is that of the context
// when the context ends; [ErrOptions]; [ErrOtherTimeline]; or one of NATS, such as
// [jetstream.ErrStreamNotFound]. A reading continues by itself after the loss of the connection.
//
// After an error, the reading can be continued with [After] the last checkpoint.
func (r *Reader) Events(ctx context.Context, from Start, o EventsOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		err := r.read(ctx, from, o, func(i Item) bool { return yield(i, nil) })
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, fmt.Errorf("read events: %w", err))
		}
	}
}

// read emits the items of a part of the stream.
func (r *Reader) read(ctx context.Context, from Start, o EventsOptions, emit func(Item) bool) error {
	if err := checkSubjects(o.Subjects); err != nil {
		return err
	}
	t := newTracker(r.tenant, o.Subjects, r.lookup())
	s := r.source(r.options.Stream, r.fullSubjects(o.Subjects), func(ctx context.Context, m *track.Message) error { return t.add(ctx, m, emit) })
	if o.Follow {
		follow(s)
	}
	begin := func(seq uint64) {
		s.Consumer.DeliverPolicy, s.Consumer.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(seq, 1)
	}
	s.Opened = func(ctx context.Context, stream jetstream.Stream) error {
		info := stream.CachedInfo()
		t.MaxAge = info.Config.MaxAge
		switch {
		case from.now:
			begin(info.State.LastSeq + 1)
		case from.after != event.ID{}:
			found, err := lookup.Find(ctx, stream, r.tenant, from.after)
			if err != nil {
				return err
			}
			begin(found.Next)
			t.StartAfter(from.after, found.Seq, found.Checkpoint)
		case !from.since.IsZero():
			s.Consumer.DeliverPolicy, s.Consumer.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.since
		default:
			begin(from.sequence)
			if from.floor.id != (event.ID{}) {
				t.StartAfter(from.floor.id, from.floor.seq, true)
			}
		}
		return nil
	}
	if err := s.Read(ctx); err != nil {
		return err
	}
	return r.emitLeft(ctx, s, emit)
}

// emitLeft emits what the server cannot load at the end of the stream.
func (r *Reader) emitLeft(ctx context.Context, s *scan.Reader, emit func(Item) bool) error {
	first, last, ok := s.Left()
	if !ok || len(s.Consumer.FilterSubjects) > 1 {
		return nil
	}
	found, err := r.lookup().Unreadable(ctx, s.Consumer.FilterSubjects[0], first, last)
	if err != nil {
		return err
	}
	for _, f := range found {
		if !emit(&Unreadable{f.First, f.Last}) {
			return errStop
		}
	}
	return nil
}
