package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A message whose checksum is wrong, as after a fault of the disk, stays in the server's count, and
// the server neither delivers nor returns it. If the block that holds it was compressed, none of the
// block's messages can be loaded.

// Loadable reports whether a stream returns the message at a sequence.
func Loadable(ctx context.Context, s jetstream.Stream, seq uint64) (bool, error) {
	_, err := fetchMessage(ctx, s, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil, err
}

// fetchMessage returns the message at a sequence; [jetstream.ErrMsgNotFound] if there is none, or none
// that the server can load.
func fetchMessage(ctx context.Context, s jetstream.Stream, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := s.GetMsg(ctx, seq)
	if err != nil {
		return nil, fmt.Errorf("read message %d: %w", seq, err)
	}
	return msg, nil
}

// SameMessage reports whether a stream holds the message with that id at a sequence. The error is
// [jetstream.ErrMsgNotFound] if it holds none there, or none that the server can load.
func SameMessage(ctx context.Context, s jetstream.Stream, seq uint64, msgID string) (bool, error) {
	msg, err := fetchMessage(ctx, s, seq)
	if err != nil {
		return false, err
	}
	return msg.Header.Get(nats.MsgIdHdr) == msgID, nil
}

// readableProbe is how many messages in a row are tried, so that a single one that cannot be loaded
// does not count for its block.
const readableProbe = 3

// nextReadable returns the first sequence, of those from one to another, that a consumer can begin
// with after one that is stuck: what it is stuck at is a block of messages, which begins there. It
// returns 0 if there is none.
func nextReadable(ctx context.Context, s jetstream.Stream, from, to uint64) (uint64, error) {
	readable := func(seq uint64) (bool, error) {
		for n := seq; n <= min(to, seq+readableProbe-1); n++ {
			if ok, err := Loadable(ctx, s, n); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	below, above := from, from // below cannot be read, above can, when the loop ends
	for step := uint64(1); ; step *= 2 {
		if from > to {
			return 0, nil
		}
		ok, err := readable(above)
		if err != nil {
			return 0, err
		}
		if ok {
			break
		}
		if above >= to {
			return firstLoadable(ctx, s, below+1, to) // the messages at the end may be damaged one by one
		}
		below, above = above, min(above+step, to)
	}
	var failed error
	if above > below {
		above = below + 1 + uint64(sort.Search(int(above-below-1), func(i int) bool {
			ok, err := readable(below + 1 + uint64(i))
			failed = errors.Join(failed, err)
			return ok
		}))
	}
	if failed != nil {
		return 0, failed
	}
	return firstLoadable(ctx, s, above, to)
}

// firstLoadable returns the first sequence, of those from one to another, at which a stream returns a
// message; 0 if there is none.
func firstLoadable(ctx context.Context, s jetstream.Stream, from, to uint64) (uint64, error) {
	for seq := from; seq <= to; seq++ {
		if ok, err := Loadable(ctx, s, seq); ok || err != nil {
			return seq, err
		}
	}
	return 0, nil
}

// FindUnreadable names the messages of a stream from one sequence to another that the server cannot
// load, in order and at most limit of them. Only the messages on the subjects of the filter are read;
// all between them are looked at.
func FindUnreadable(ctx context.Context, js jetstream.JetStream, name, filter string, from, to uint64, limit int) ([]uint64, error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", name, err)
	}
	from = max(from, s.CachedInfo().State.FirstSeq, 1)
	to = min(to, s.CachedInfo().State.LastSeq)
	var gaps []uint64
	next := from
	gap := func(until uint64) {
		for ; next < until && len(gaps) < limit; next++ {
			gaps = append(gaps, next)
		}
		next = until + 1
	}
	if from > to {
		return nil, nil
	}
	err = All(ctx, js, name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, HeadersOnly: true,
	}, func(_ jetstream.Msg, seq uint64) error {
		if seq > to {
			return ErrStop
		}
		gap(seq)
		return nil
	})
	if err != nil {
		return nil, err
	}
	gap(to + 1)
	if len(gaps) == 0 {
		return nil, nil
	}
	return Unreadable(ctx, s, gaps)
}

// Unreadable returns those of some sequences of a stream at which it holds a message that the server
// cannot load: they are neither deleted nor returned.
func Unreadable(ctx context.Context, s jetstream.Stream, sequences []uint64) ([]uint64, error) {
	infoCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := s.Info(infoCtx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return nil, fmt.Errorf("list deleted messages: %w", err)
	}
	var found []uint64
	bad := 0 // in a row
	for i := 0; i < len(sequences); i++ {
		seq := sequences[i]
		if _, deleted := slices.BinarySearch(info.State.Deleted, seq); deleted || seq < info.State.FirstSeq || seq > info.State.LastSeq {
			continue
		}
		ok, err := Loadable(ctx, s, seq)
		if err != nil {
			return found, err
		}
		if ok {
			bad = 0
			continue
		}
		found = append(found, seq)
		if bad++; bad < blockFrom {
			continue
		}
		// Each attempt reads the whole block again.
		next, err := nextReadable(ctx, s, seq+1, info.State.LastSeq)
		if err != nil {
			return found, err
		}
		for ; i+1 < len(sequences) && (next == 0 || sequences[i+1] < next); i++ {
			if _, deleted := slices.BinarySearch(info.State.Deleted, sequences[i+1]); !deleted {
				found = append(found, sequences[i+1])
			}
		}
	}
	return found, nil
}

// Undelivered returns the sequences of a stream, from one to another, that hold a message. A reader of
// the whole stream to whom the server has not delivered them names them as unreadable.
func Undelivered(ctx context.Context, js jetstream.JetStream, name string, from, to uint64) ([]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", name, err)
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return nil, fmt.Errorf("list deleted messages: %w", err)
	}
	var found []uint64
	for seq := max(from, info.State.FirstSeq); seq <= min(to, info.State.LastSeq); seq++ {
		if _, deleted := slices.BinarySearch(info.State.Deleted, seq); !deleted {
			found = append(found, seq)
		}
	}
	return found, nil
}

// NextReadable returns the first sequence after one that a consumer can begin with when it is stuck
// there, 0 if there is none.
func NextReadable(ctx context.Context, js jetstream.JetStream, name string, after uint64) (uint64, error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("read info of stream %s: %w", name, err)
	}
	return nextReadable(ctx, s, after+1, s.CachedInfo().State.LastSeq)
}

// blockFrom is how many messages in a row that cannot be loaded count as a block of them.
const blockFrom = 16
