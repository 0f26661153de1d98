// Package lookup requests single messages: the past of one entity, where an event is, why events are missing.
package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/reader/past"
)

// ErrIndirect is returned where requests for single messages do not suffice, so that the stream must be
// read.
var ErrIndirect = errors.New("single messages do not suffice")

// manyMessages is how many messages are requested one after the other at most. Where more are needed, as
// after an outage of NATS, a consumer is faster.
const manyMessages = 100

// backwards are by how much before the instant the last checkpoint before it is looked for: the time when a
// message is stored is that of the server's clock, and an event has that of the bridge's.
var backwards = [...]time.Duration{0, 10 * time.Second, 10 * time.Minute}

// Tenant says where the events of a tenant are.
type Tenant struct {
	JS jetstream.JetStream
	// Name is the name of the tenant, Stream that of the stream of events, View that of the view's stream.
	Name, Stream, View string
	// ViewPrefix begins the tenant's subjects in the view.
	ViewPrefix string
	// Timeout bounds one request, Patience all of them.
	Timeout, Patience time.Duration
}

// found is an event that was found.
type found struct {
	seq  uint64
	body []byte
	event.Event
}

// Decode returns the event.
func (f *found) Decode() (event.Event, error) { return f.Event, nil }

// Subjects are the subjects, below the tenant, that tell the past of an entity.
func Subjects(key string) []string {
	return []string{key + ".*", event.Checkpoint, event.Resumed}
}

// lookup is a search for the messages around an instant.
type lookup struct {
	Tenant
	ctx    context.Context
	stream jetstream.Stream
	at     time.Time
	key    string
	found  []*found
	closed bool // an event about the entity is of a change after the instant
}

// At requests the messages that tell the past of an entity, given by its key in the view: the last ones
// before the instant in one request, and those that follow. The error is [ErrIndirect], or one of NATS.
func At(ctx context.Context, t Tenant, at time.Time, key string) (*past.State, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Patience)
	defer cancel()
	callCtx, cancelCall := context.WithTimeout(ctx, t.Timeout)
	defer cancelCall()
	stream, err := t.JS.Stream(callCtx, t.Stream)
	if err != nil {
		return nil, err
	}
	if !stream.CachedInfo().Config.AllowDirect {
		return nil, ErrIndirect
	}
	l := lookup{Tenant: t, ctx: ctx, stream: stream, at: at, key: key}
	then, err := l.findBefore()
	if err != nil {
		return nil, err
	}
	if then, err = l.findThen(then); err != nil {
		return nil, err
	}
	l.closed, err = l.findLater(then.seq)
	if err != nil {
		return nil, err
	}
	if err := l.findGaps(then.seq); err != nil {
		return nil, err
	}
	if err := l.findFirst(); err != nil {
		return nil, err
	}
	if err := l.last([]string{event.Checkpoint}); err != nil {
		return nil, err
	}
	return l.state()
}

// findBefore requests what was last before the instant, and returns the last checkpoint.
func (l *lookup) findBefore() (*found, error) {
	for _, d := range backwards {
		if err := l.last(Subjects(l.key), jetstreamext.GetLastMsgsUpToTime(l.at.Add(-d))); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(l.found, func(e *found) bool { return e.Name == event.Checkpoint })
		if i < 0 {
			return nil, ErrIndirect // before the beginning
		}
		then := l.found[i]
		if past.IsBefore(then.Time, l.at) {
			return then, nil
		}
		l.found = nil
	}
	return nil, ErrIndirect
}

// findThen goes on from a checkpoint to the last one that was made by the instant, and takes the entity's
// last event before it.
func (l *lookup) findThen(then *found) (*found, error) {
	known := !slices.ContainsFunc(l.found, func(e *found) bool { return e.seq > then.seq })
	for range manyMessages {
		next, err := l.next(event.Checkpoint, then.seq+1)
		if err != nil {
			return nil, err
		}
		if next != nil {
			l.found = append(l.found, next)
			if past.IsBefore(next.Time, l.at) {
				then, known = next, false
				continue
			}
		}
		if known {
			return then, nil
		}
		return then, l.last([]string{l.key + ".*", event.Resumed}, jetstreamext.GetLastMsgsUpToSeq(then.seq))
	}
	return nil, ErrIndirect
}

// findFirst requests the checkpoints with which the stream begins, to the first one with an observation.
func (l *lookup) findFirst() error {
	from := max(l.stream.CachedInfo().State.FirstSeq, 1)
	for range manyMessages {
		next, err := l.next(event.Checkpoint, from)
		if err != nil || next == nil {
			return err
		}
		l.found, from = append(l.found, next), next.seq+1
		if d, ok := next.Data.(*event.CheckpointData); ok && !d.ObservedUntil.IsZero() {
			return nil
		}
	}
	return ErrIndirect
}

// findLater requests the events about the entity after a sequence, to the first one whose window begins after
// the instant. It reports whether there is one.
func (l *lookup) findLater(after uint64) (bool, error) {
	for range manyMessages {
		next, err := l.next(l.key+".*", after+1)
		if err != nil || next == nil {
			return false, err
		}
		l.found, after = append(l.found, next), next.seq
		if !next.EntityBase().Observed.After.Before(l.at) {
			return true, nil
		}
	}
	return false, ErrIndirect
}

// mostFrozen is how long a source may be frozen at most until its feed is interrupted.
const mostFrozen = time.Hour

// findGaps requests the ends of gaps after a sequence, to the first gap behind which none may reach back to the
// instant. A gap in which the source was frozen begins where its statistics were first seen; others may have been
// stated since then, and the source was not watched for their time.
func (l *lookup) findGaps(after uint64) error {
	reach := l.at.Add(mostFrozen)
	for range manyMessages {
		next, err := l.next(event.Resumed, after+1)
		if err != nil || next == nil {
			return err
		}
		l.found, after = append(l.found, next), next.seq
		w := next.Data.(*event.ResumedData).Observed
		if !w.After.Before(reach) {
			return nil
		}
		if !w.After.IsZero() {
			reach = reach.Add(w.By.Sub(w.After.Time))
		}
	}
	return ErrIndirect
}

// last requests the last message on each of some subjects below the tenant, in one request.
func (l *lookup) last(subjects []string, options ...jetstreamext.GetLastForOpt) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.Timeout)
	defer cancel()
	full := make([]string, len(subjects))
	for i, s := range subjects {
		full[i] = event.Prefix(l.Name) + s
	}
	messages, err := jetstreamext.GetLastMsgsFor(ctx, l.JS, l.Stream, full, options...)
	if err != nil {
		return fmt.Errorf("get last messages: %w", err)
	}
	for msg, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("get last messages: %w", err)
		}
		if err := l.add(msg); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// next requests the first message on a subject from a sequence on; it is nil if there is none.
func (l *lookup) next(subject string, from uint64) (*found, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.Timeout)
	defer cancel()
	msg, err := l.stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(event.Prefix(l.Name)+subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get next message: %w", err)
	}
	return l.parse(msg)
}

func (l *lookup) add(msg *jetstream.RawStreamMsg) error {
	e, err := l.parse(msg)
	if err == nil {
		l.found = append(l.found, e)
	}
	return err
}

// parse returns the event of a message. Behind one that no bridge wrote there may be another event.
func (l *lookup) parse(msg *jetstream.RawStreamMsg) (*found, error) {
	decoded, err := event.Parse(l.Name, msg.Subject, msg.Header.Get(nats.MsgIdHdr), msg.Data)
	if err != nil || decoded.EntityBase() == nil && decoded.Kind() != "feed" {
		return nil, ErrIndirect
	}
	return &found{msg.Sequence, msg.Data, decoded}, nil
}

// state decides by what was found.
func (l *lookup) state() (*past.State, error) {
	slices.SortFunc(l.found, func(a, b *found) int { return cmp.Compare(a.seq, b.seq) })
	l.found = slices.CompactFunc(l.found, func(a, b *found) bool { return a.seq == b.seq })
	f := past.New(l.at)
	var id event.ID
	var newest uint64 // event about the entity
	for _, e := range l.found {
		if e.ID.Compare(id) <= 0 { // a copy of an older event
			return nil, ErrIndirect
		}
		id = e.ID
		switch d := e.Data.(type) {
		case *event.CheckpointData:
			f.Checkpoint(d, e.ID, e.seq, e.Time)
		case *event.ResumedData:
			f.Gap(d)
		default:
			f.Event(l.key, past.Message{Seq: e.seq, Body: e.body, Source: e})
			newest = e.seq
		}
	}
	if l.closed {
		return f.State(nil), nil
	}
	held, err := l.held()
	if err != nil {
		return nil, err
	}
	if m, ok := held[l.key]; ok && newest > 0 && m.Seq > newest { // lost, or stored meanwhile
		return nil, ErrIndirect
	}
	return f.State(held), nil
}

// held is what the server's view holds of the entity; nil if it does not hold anything.
func (l *lookup) held() (map[string]past.Message, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.Timeout)
	defer cancel()
	view, err := l.JS.Stream(ctx, l.View)
	if err != nil {
		return nil, nil //nolint:nilerror // as of a mirror: the stream alone tells it
	}
	subject := l.ViewPrefix + l.key
	msg, err := view.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the view: %w", err)
	}
	from, seq, err := scan.ParseSource(msg.Header)
	if err != nil || from != l.Stream {
		return nil, nil //nolint:nilerror // of another stream
	}
	e, err := event.ParseValue(l.Name, strings.TrimPrefix(subject, l.ViewPrefix), msg.Data)
	if err != nil {
		return nil, ErrIndirect
	}
	if e.Removes() {
		return nil, nil
	}
	return map[string]past.Message{l.key: {Seq: seq, Body: msg.Data, Source: &found{seq, msg.Data, e}}}, nil
}
