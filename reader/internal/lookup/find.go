package lookup

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// Position is where an event is in the stream.
type Position struct {
	Seq        uint64 // 0 if it is not in the stream
	Checkpoint bool   // it is a checkpoint
	Next       uint64 // the first sequence after it
}

// Find finds an event by its id, by bisection: ids rise with the sequences.
func Find(ctx context.Context, stream jetstream.Stream, tenant string, id event.ID) (Position, error) {
	state := stream.CachedInfo().State
	low, high := max(state.FirstSeq, 1), state.LastSeq+1 // the first event after id is at least low, and at most high
	var out Position
	for low < high {
		middle := low + (high-low)/2
		seq, at, subject, err := eventFrom(ctx, stream, tenant, middle, high)
		switch {
		case err != nil:
			return Position{}, err
		case seq == 0 || at.Compare(id) > 0:
			high = middle
		default:
			low = seq + 1
			if at == id {
				out.Seq, out.Checkpoint = seq, subject == event.Prefix(tenant)+event.Checkpoint
			}
		}
	}
	out.Next = low
	return out, nil
}

// eventFrom returns the tenant's first event from one sequence on, and before another; 0 if there is none.
func eventFrom(ctx context.Context, stream jetstream.Stream, tenant string, from, before uint64) (seq uint64, id event.ID, subject string, err error) {
	for from < before {
		msg, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(event.Prefix(tenant)+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, id, "", nil
		}
		if err != nil {
			return 0, id, "", fmt.Errorf("find event: %w", err)
		}
		if id, err = event.ParseID(tenant, msg.Header.Get(nats.MsgIdHdr)); err == nil && msg.Sequence < before {
			return msg.Sequence, id, msg.Subject, nil
		}
		from = msg.Sequence + 1 // foreign
	}
	return 0, id, "", nil
}
