package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/reader/internal/lookup"
	"bpcc-nats/reader/past"
)

// Past is what is known of a tenant, or of one of its entities, at an instant.
type Past struct {
	past.State
	// Picture holds the entities as they were. Of those that are not certain it has the state before, as far
	// as that is known: [past.State.Entity] says of each whether it is certain.
	Picture *Picture
}

// StateAtOptions say what of the tenant is wanted.
type StateAtOptions struct {
	// Entity is the only entity to look at; the zero value is all of the tenant. Of one entity the events
	// around the instant are read, by requests for single messages. Of all, the stream is read from its
	// beginning to its end.
	Entity svc.StateRequest
}

// ErrFuture is returned for an instant that has not been yet.
var ErrFuture = errors.New("the instant is in the future")

// StateAt returns what is known of the tenant at an instant: each entity as it was, between which instants
// that is certain, and what is not known and why. What is certain is what the polls around the instant
// show: a state that begins and ends between two polls is not in the stream. The instant is by the clock of
// the bridge.
//
// The error is [ErrFuture], [ErrOptions], that of the context, or one of NATS. That nothing is known of the
// instant is no error.
func (r *Reader) StateAt(ctx context.Context, at time.Time, o StateAtOptions) (*Past, error) {
	if time.Until(at) > 0 {
		return nil, fmt.Errorf("read state at %s: %w", at.Format(time.RFC3339Nano), ErrFuture)
	}
	at = at.Round(0).UTC()
	key, err := entityKey(o.Entity)
	if err != nil {
		return nil, fmt.Errorf("read state at %s: %w", at.Format(time.RFC3339Nano), err)
	}
	var state *past.State
	if key == "" {
		state, err = r.scanAt(ctx, at, nil)
	} else {
		state, err = r.entityAt(ctx, at, key)
	}
	if err != nil {
		return nil, fmt.Errorf("read state at %s: %w", at.Format(time.RFC3339Nano), err)
	}
	return newPast(state), nil
}

// newPast makes the picture of a state.
func newPast(s *past.State) *Past {
	var entries []keyed
	for _, e := range s.Entities {
		if len(e.Possible) > 0 && e.Possible[0].Event != nil {
			entries = append(entries, keyed{e.Key, &entry{*e.Possible[0].Event, e.Possible[0].Seq}})
		}
	}
	f := s.Feed
	return &Past{State: *s, Picture: (&Picture{}).with(f.Checkpoint, f.ID, f.Seq, f.Time, entries)}
}

// entityKey is the key of an entity in the view, below the tenant; "" for none.
func entityKey(e svc.StateRequest) (string, error) {
	switch {
	case e == svc.StateRequest{}:
		return "", nil
	case !slices.Contains(kinds[:], e.Kind):
		return "", fmt.Errorf("%w: kind %q; want one of %s", ErrOptions, e.Kind, strings.Join(kinds[:], ", "))
	case e.ID == "":
		return "", fmt.Errorf("%w: the entity has no id", ErrOptions)
	case (e.Kind == kindThreshold) != (e.Rule != ""):
		return "", fmt.Errorf("%w: a rule is needed for a threshold, and for nothing else", ErrOptions)
	case e.Kind == kindThreshold:
		return e.Kind + "." + event.Token(e.Rule) + "." + event.Token(e.ID), nil
	}
	return e.Kind + "." + event.Token(e.ID), nil
}

// entityAt finds the past of one entity, by requests for single messages if they suffice.
func (r *Reader) entityAt(ctx context.Context, at time.Time, key string) (*past.State, error) {
	state, err := lookup.At(ctx, *r.lookup(), at, key)
	if err == nil && !slices.ContainsFunc(state.Entities, func(e past.Entity) bool { return e.Unknown != nil && e.Unknown.Reason == past.Lost }) {
		return state, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// The reading waits for a server that is away, and says why events are missing.
	if state, err = r.scanAt(ctx, at, lookup.Subjects(key)); err != nil {
		return nil, err
	}
	state.Entities = slices.DeleteFunc(state.Entities, func(e past.Entity) bool { return e.Key != key })
	return state, nil
}

// scanAt reads the stream, on some subjects below the tenant or all.
func (r *Reader) scanAt(ctx context.Context, at time.Time, subjects []string) (*past.State, error) {
	f := past.New(at)
	err := r.read(ctx, Beginning(), EventsOptions{Subjects: subjects}, func(i Item) bool {
		switch i := i.(type) {
		case *Event:
			if key := event.ViewKey(i.Subject[len(r.prefix):]); past.IsEntity(key) {
				f.Event(key, past.Message{Seq: i.Seq, Body: i.Body, Source: i})
			}
		case *Checkpoint:
			decoded, _ := i.Decode() // it is
			f.Checkpoint(i.Data, i.ID, i.Seq, decoded.Time)
		case *Gap:
			f.Gap(i.Data)
		case *Hole:
			f.Hole(lostReason(i.Cause), i.Missing, i.BeforeSeq)
		case *Unreadable: // a hole follows, but at the end of the stream
			f.Unreadable(i.First, i.Last)
		case *Foreign:
			f.Foreign(event.ViewKey(strings.TrimPrefix(i.Subject, r.prefix)))
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if f.Begins() && !f.Holes() {
		return f.State(nil), nil
	}
	held, err := r.listView(ctx, subjects)
	state := f.State(held)
	if err != nil {
		state.Unknown = append(state.Unknown, past.Unknown{
			Reason: past.AgedOut, Text: "entities whose last event has left the stream may be missing, since the view cannot be read: " + err.Error(),
		})
	}
	return state, ctx.Err()
}

// lostReason is the reason that a hole gives.
func lostReason(c HoleCause) past.Reason {
	switch c {
	case HoleErased:
		return past.Erased
	case HoleUnreadable:
		return past.Unreadable
	case HoleExpired:
		return past.AgedOut
	}
	return past.Lost
}

// decodedEvent is an event that is decoded already.
type decodedEvent struct{ event.Event }

// Decode returns the event.
func (d decodedEvent) Decode() (event.Event, error) { return d.Event, nil }

// listView returns the last events of the present entities, by their keys, as the server's view holds them.
func (r *Reader) listView(ctx context.Context, subjects []string) (map[string]past.Message, error) {
	v := View{r: r}
	for _, s := range subjects {
		if kind, _, _ := strings.Cut(s, "."); slices.Contains(kinds[:], kind) {
			v.options.Kinds = []string{kind}
		}
	}
	l, err := v.list(ctx)
	if err != nil {
		return nil, err
	}
	held := make(map[string]past.Message, len(l.entries))
	for _, k := range l.entries {
		held[k.key] = past.Message{Seq: k.entry.seq, Source: decodedEvent{k.entry.event}}
	}
	return held, nil
}
