package bridge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
)

// recovery reads back what is published of a tenant: the last message of every subject, and from
// the view what has expired from the stream. There is no other store. A standby continues it,
// message by message.
type recovery struct {
	config  *config.Config
	engine  *engine.Engine // that all events read are applied to
	created time.Time      // when the stream was created; the sequences of another one are not comparable
	until   uint64         // the sequence up to which the stream has been read
	fence   uint64         // of the last message on the checkpoints' subject, foreign messages included
	foreign *foreignLog

	newest map[string]uint64 // sequence of the last event of each entity
}

// recoverState reads everything. For an entity that has an event in the stream the view does not
// count: their sequences may be from different histories of the stream. Foreign messages are
// ignored.
func recoverState(ctx context.Context, js jetstream.JetStream, c *config.Config, e *engine.Engine, foreign *foreignLog) (*recovery, error) {
	r := &recovery{config: c, engine: e, foreign: foreign, newest: map[string]uint64{}}
	info, err := stream.FetchEventsInfo(ctx, js, c)
	if err != nil {
		return nil, err
	}
	r.created, r.until = info.Created, info.State.LastSeq
	unreadable, err := r.readView(ctx, js)
	if err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	prefix := event.Prefix(c.Tenant)
	overwritten := map[string]uint64{} // subjects whose last message is foreign, and its sequence
	err = stream.ScanLastPerSubject(ctx, js, c.Stream, prefix+">", func(msg jetstream.Msg, seq uint64) error {
		delete(unreadable, seq) // it is reported as a message of the stream
		ev, ok := r.parse(msg, seq)
		switch {
		case !ok && restored(strings.TrimPrefix(msg.Subject(), prefix)):
			overwritten[msg.Subject()] = seq
		case !ok:
		case !readWhole(&ev):
			r.apply(&ev, seq)
		}
		return nil
	})
	if err == nil {
		err = r.readBeforeForeign(ctx, js, overwritten)
	}
	if err != nil {
		return nil, fmt.Errorf("read stream: %w", err)
	}
	for _, seq := range slices.Sorted(maps.Keys(unreadable)) {
		r.foreign.logForeign(unreadable[seq])
	}
	for _, filter := range []string{"directory.*.changed", "chat.message_posted"} {
		all := jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + filter}, DeliverPolicy: jetstream.DeliverAllPolicy}
		err := stream.Scan(ctx, js, c.Stream, all, func(msg jetstream.Msg, seq uint64) error {
			if ev, ok := r.parse(msg, seq); ok {
				r.apply(&ev, seq)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s from the stream: %w", filter, err)
		}
	}
	r.foreign.logTotal()
	return r, nil
}

// restored reports whether recovery uses the last event of a subject below the tenant.
func restored(subject string) bool {
	kind, _, _ := strings.Cut(subject, ".")
	switch kind {
	case "agent", "service", "totals", "availability", "threshold":
		return true
	}
	return subject == event.Checkpoint || subject == event.Interrupted || subject == event.Resumed
}

// readWhole reports whether all events of a kind are read and not only the last ones: each of them
// holds a change and not the state.
func readWhole(ev *event.Event) bool {
	kind := ev.Kind()
	return kind == "directory" || kind == "chat"
}

// readView applies the view's entries, and returns the foreign messages by their sequence in the
// stream.
func (r *recovery) readView(ctx context.Context, js jetstream.JetStream) (map[uint64]foreignMessage, error) {
	c := r.config
	prefix := stream.ViewPrefix(c) + event.Token(c.Tenant) + "."
	unreadable := map[uint64]foreignMessage{}
	err := stream.ScanLastPerSubject(ctx, js, stream.ViewStream(c), prefix+">", func(msg jetstream.Msg, _ uint64) error {
		key := strings.TrimPrefix(msg.Subject(), prefix)
		from, seq, err := stream.ParseSourceHeader(msg)
		if err == nil && from != c.Stream {
			return nil // the watchdog's message, not an event
		}
		var ev event.Event
		if err == nil {
			ev, err = event.ParseValue(c.Tenant, key, msg.Data())
		}
		if err != nil {
			unreadable[seq] = foreignMessage{stream: stream.ViewStream(c), subject: msg.Subject(), seq: seq, err: err, hint: fmt.Sprintf(foreignEntryHint, msg.Subject(), stream.ViewStream(c))}
			return nil
		}
		if !readWhole(&ev) {
			r.engine.Recover(&ev)
		}
		return nil
	})
	return unreadable, err
}

// parse parses a message of the stream. It returns false for a foreign message.
func (r *recovery) parse(msg jetstream.Msg, seq uint64) (event.Event, bool) {
	c := r.config
	if msg.Subject() == event.Prefix(c.Tenant)+event.Checkpoint {
		r.fence = max(r.fence, seq) // a foreign message moves the fence, too
	}
	ev, err := parseMessage(c.Tenant, msg)
	if err != nil {
		r.foreign.logMessage(c.Stream, msg, seq, err)
	}
	return ev, err == nil
}

// apply applies an event to the engine, unless a later one of its entity was read before.
func (r *recovery) apply(ev *event.Event, seq uint64) {
	key := ev.ViewKey()
	switch {
	case readWhole(ev):
		key = ev.Kind()
	case ev.Name == event.Interrupted || ev.Name == event.Resumed:
		key = "feed.cause" // each ends the other
	case key == "":
		key = ev.Name
	}
	if seq > r.newest[key] {
		r.newest[key] = seq
		r.engine.Recover(ev)
	}
}

// next applies the next message of the stream.
func (r *recovery) next(msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	r.until = meta.Sequence.Stream
	if ev, ok := r.parse(msg, r.until); ok {
		r.apply(&ev, r.until)
	}
	return nil
}

// tailConfig is the consumer of the tenant's messages that have not been read.
func (r *recovery) tailConfig() jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{event.Prefix(r.config.Tenant) + ">"},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    r.until + 1,
	}
}

// foreignReadSize is how many messages of a subject are read at once to find the last event among
// them; the newest ones are read first.
const foreignReadSize = 1000

// readBeforeForeign finds the last event on the subjects that end with foreign messages. A subject
// without one counts as never published to.
func (r *recovery) readBeforeForeign(ctx context.Context, js jetstream.JetStream, overwritten map[string]uint64) error {
	if len(overwritten) == 0 {
		return nil
	}
	counts, err := countSubjects(ctx, js, r.config)
	if err != nil {
		return err
	}
	for _, subject := range slices.Sorted(maps.Keys(overwritten)) {
		if counts[subject] == 1 {
			continue // the foreign message itself
		}
		ev, seq, err := r.lastBefore(ctx, js, subject, overwritten[subject])
		if err != nil {
			return fmt.Errorf("find the event before a foreign message on %s: %w", subject, err)
		}
		if seq > 0 && !readWhole(&ev) {
			r.apply(&ev, seq)
		}
	}
	return nil
}

// lastBefore searches backwards from a sequence for the last event of a subject; 0 if there is
// none. It reads ranges, because a stream cannot be read backwards.
func (r *recovery) lastBefore(ctx context.Context, js jetstream.JetStream, subject string, before uint64) (found event.Event, at uint64, err error) {
	for back := uint64(foreignReadSize); ; back *= 8 {
		from := max(before, back+1) - back
		err := stream.Scan(ctx, js, r.config.Stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{subject},
			DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:    from,
		}, func(msg jetstream.Msg, seq uint64) error {
			if seq >= before {
				return stream.ErrStopScan
			}
			// A subject with wildcards would be a filter that matches others.
			ev, err := parseMessage(r.config.Tenant, msg)
			if err == nil && msg.Subject() == subject {
				found, at = ev, seq
			}
			return nil
		})
		if err != nil {
			return found, 0, err
		}
		if at > 0 || from == 1 {
			return found, at, nil
		}
	}
}

// countSubjects counts the messages on each of the tenant's subjects.
func countSubjects(ctx context.Context, js jetstream.JetStream, c *config.Config) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Times().CallTimeout)
	defer cancel()
	events, err := js.Stream(ctx, c.Stream)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", c.Stream, err)
	}
	info, err := events.Info(ctx, jetstream.WithSubjectFilter(event.Prefix(c.Tenant)+">"))
	if err != nil {
		return nil, fmt.Errorf("count the messages of stream %s: %w", c.Stream, err)
	}
	return info.State.Subjects, nil
}
