package reader

import (
	"context"
	"fmt"

	"bpcc-nats/bridge/event"
	"bpcc-nats/reader/internal/lookup"
	"bpcc-nats/reader/internal/track"
)

// tracker turns messages, in the order of the stream, into items. It is used by one goroutine.
type tracker struct {
	*track.Tracker
	tenant string
	heads  track.HeadReader
	stream *lookup.Tenant // where causes are found; nil = holes need no cause
}

func newTracker(tenant string, subjects []string, stream *lookup.Tenant) *tracker {
	return &tracker{track.New(tenant, subjects), tenant, track.NewHeadReader(tenant, new(event.Decoder)), stream}
}

// add emits the items of the next message: what is missing before it, and the message. If it returns
// another error than errStop, nothing was emitted, and the message can be added again.
func (t *tracker) add(ctx context.Context, m *track.Message, emit func(Item) bool) error {
	h, err := t.heads.Read(m)
	if last, begun := t.Last(); err == nil && begun && h.ID.Compare(last) <= 0 {
		err = fmt.Errorf("%w: %s stands after %s, which is later", event.ErrForeign, m.ID(), last.Append(nil, t.tenant))
	}
	if err != nil {
		return t.emit(emit, &Foreign{m.Seq, m.Stored, m.Subject, m.Body, err})
	}
	e := Event{m.Seq, m.Stored, m.Subject, h.ID, h.Name, m.Body, m.Pending, t.tenant, t.heads.Decoder, h.Decoded}
	var item Item = &e
	var checkpoint *track.Checkpoint
	switch h.Name {
	case event.Checkpoint, event.Resumed:
		decoded, err := e.Decode()
		if err != nil {
			return t.emit(emit, &Foreign{m.Seq, m.Stored, m.Subject, m.Body, err})
		}
		e.decoded = &decoded
		switch d := decoded.Data.(type) {
		case *event.CheckpointData:
			count, first := t.Batch()
			item = &Checkpoint{e, d, count, first}
			checkpoint = &track.Checkpoint{ID: e.ID, Seq: e.Seq, Follows: d.Follows}
		case *event.ResumedData:
			item = &Gap{e, d}
		}
	}
	holes := t.Find(&h, m, checkpoint)
	var before []Item
	for _, hole := range holes {
		found, err := t.explainHole(ctx, &Hole{
			Key: hole.Key, After: hole.After, Before: hole.Before, AfterSeq: hole.AfterSeq, BeforeSeq: hole.BeforeSeq, Missing: hole.Missing, AtLeast: hole.AtLeast,
		})
		if err != nil {
			return err
		}
		before = append(before, found...)
	}
	t.Advance(&h, m, checkpoint, holes)
	return t.emit(emit, append(before, item)...)
}

func (t *tracker) emit(emit func(Item) bool, items ...Item) error {
	for _, i := range items {
		if !emit(i) {
			return errStop
		}
	}
	return nil
}

// explainHole finds the cause of a hole, and returns it after the unreadable messages in it.
func (t *tracker) explainHole(ctx context.Context, h *Hole) ([]Item, error) {
	h.Cause = HoleMissing
	if h.AfterSeq == 0 {
		h.Cause = HoleExpired
		return []Item{h}, nil
	}
	if t.stream == nil {
		return []Item{h}, nil
	}
	unreadable, erased, err := t.stream.Explain(ctx, h.AfterSeq, h.BeforeSeq)
	if err != nil {
		return nil, err
	}
	var items []Item
	var n uint64
	for _, u := range unreadable {
		items = append(items, &Unreadable{u.First, u.Last})
		n += u.Last - u.First + 1
	}
	switch {
	case n == 0 && erased == 0:
	case h.Missing > n+erased:
	case erased >= h.Missing:
		h.Cause = HoleErased
	default:
		h.Cause = HoleUnreadable
	}
	return append(items, h), nil
}
