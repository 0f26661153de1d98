// Package recovery reads back from the stream and the view what is published of a tenant.
package recovery

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/watchdog"
)

// Recovery reads back what is published of a tenant: the last message of every subject, and from
// the view what has expired from the stream. There is no other store. A standby continues it,
// message by message.
type Recovery struct {
	// Engine is what all events read are applied to.
	Engine *engine.Engine
	// Answers is what they are applied to for replies to requests.
	Answers *answer.State
	// Created is when the stream was created; the sequences of another one are not comparable.
	Created time.Time
	// Until is the sequence up to which the stream has been read.
	Until uint64
	// Fence is the sequence of the last message on the checkpoints' subject, foreign messages included.
	Fence uint64
	// Checkpoint is the body of the last checkpoint that was applied; nil if there is none.
	Checkpoint []byte
	// Foreign logs what is passed over.
	Foreign *ForeignLog
	// View is what the reading has shown about the view.
	View View
	// Erased reports whether events that were read may have been erased since.
	Erased bool

	config  *config.Config
	decoder event.Decoder       // shares the names of statistics among all images
	written []writtenAt         // of each of the last polls an event, in order
	newest  map[string]position // the last event of each entity
}

// position is where the stream holds an event.
type position struct {
	seq uint64
	id  event.ID
}

// Read reads everything. For an entity that has an event in the stream the view does not
// count: their sequences may be from different histories of the stream. Foreign messages, and messages
// that the server cannot load, are passed over.
func Read(ctx context.Context, js jetstream.JetStream, c *config.Config, e *engine.Engine, foreign *ForeignLog) (*Recovery, error) {
	r := &Recovery{config: c, Engine: e, Answers: answer.NewState(c.Tenant), Foreign: foreign, newest: map[string]position{}}
	info, err := stream.EventsInfo(ctx, js, c.Stream)
	if err != nil {
		return nil, err
	}
	r.Created = info.Created
	entries, unreadable, err := r.readView(ctx, js)
	if err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	// After the view: what it holds of the stream is not after this.
	if info, err = stream.EventsInfo(ctx, js, c.Stream); err != nil {
		return nil, err
	}
	r.Until = info.State.LastSeq
	if err = r.readStream(ctx, js, unreadable); err != nil {
		return nil, fmt.Errorf("read stream: %w", err)
	}
	if err = r.addView(ctx, js, entries, info.State); err != nil {
		return nil, fmt.Errorf("compare the view with the stream: %w", err)
	}
	if epoch, err := watchdog.MarkedEpoch(ctx, js, c); err == nil {
		e.RecoverEpoch(epoch)
	} else {
		r.Foreign.log.Debug("last term unknown", "err", err) // stream and view say it, too
	}
	for _, seq := range slices.Sorted(maps.Keys(unreadable)) {
		r.Foreign.logForeign(unreadable[seq])
	}
	prefix := event.Prefix(c.Tenant)
	for _, filter := range []string{"directory.*.changed", "chat.message_posted"} {
		all := jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + filter}, DeliverPolicy: jetstream.DeliverAllPolicy}
		err := scan.All(ctx, js, c.Stream.Name, all, func(msg jetstream.Msg, seq uint64) error {
			if ev, ok := r.parse(msg, seq); ok {
				r.apply(&ev, seq, msg.Data())
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s from the stream: %w", filter, err)
		}
	}
	r.Foreign.LogTotal()
	return r, nil
}

// readStream applies the last event of each subject. Where the last message is foreign, or cannot be
// loaded, that is the one before. unreadable are the foreign messages of the view by their sequence;
// those found here are removed.
func (r *Recovery) readStream(ctx context.Context, js jetstream.JetStream, unreadable map[uint64]foreignMessage) error {
	prefix := event.Prefix(r.config.Tenant)
	before := map[string]uint64{}  // subjects whose last message is no event, and its sequence
	delivered := map[string]bool{} // subjects whose last message can be loaded
	err := scan.LastPerSubject(ctx, js, r.config.Stream.Name, prefix+">", func(msg jetstream.Msg, seq uint64) error {
		delete(unreadable, seq) // it is reported as a message of the stream
		delivered[msg.Subject()] = true
		ev, ok := r.parse(msg, seq)
		switch {
		case !ok && restored(strings.TrimPrefix(msg.Subject(), prefix)):
			before[msg.Subject()] = seq
		case !ok:
		case !readWhole(&ev):
			r.apply(&ev, seq, msg.Data())
			delete(before, msg.Subject()) // the last of two that arrived while they were read
		}
		return nil
	})
	if err != nil {
		return err
	}
	counts, err := countSubjects(ctx, js, r.config)
	if err != nil {
		return err
	}
	var damaged []string
	for subject := range counts {
		if !delivered[subject] {
			damaged = append(damaged, subject)
			if restored(strings.TrimPrefix(subject, prefix)) {
				before[subject] = r.Until + 1
			}
		}
	}
	if err := r.readBefore(ctx, js, before, counts); err != nil {
		return err
	}
	r.nameUnreadable(ctx, js, damaged)
	return nil
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

// parse parses a message of the stream. It returns false for a foreign message.
func (r *Recovery) parse(msg jetstream.Msg, seq uint64) (event.Event, bool) {
	c := r.config
	if msg.Subject() == event.Prefix(c.Tenant)+event.Checkpoint {
		r.Fence = max(r.Fence, seq) // a foreign message moves the fence, too
	}
	ev, err := ParseMessage(&r.decoder, c.Tenant, msg)
	if err != nil {
		r.Foreign.LogMessage(c.Stream.Name, msg, seq, err)
	} else if meta, err := msg.Metadata(); err == nil {
		r.written = addWritten(r.written, writtenAt{ev.ID, ev.Time, meta.Timestamp})
	}
	return ev, err == nil
}

// apply applies an event to the engine, unless a later one of its entity was read before.
func (r *Recovery) apply(ev *event.Event, seq uint64, body []byte) {
	key := ev.ViewKey()
	switch {
	case readWhole(ev):
		key = ev.Kind()
	case ev.Name == event.Interrupted || ev.Name == event.Resumed:
		key = "feed.cause" // each ends the other
	case key == "":
		key = ev.Name
	}
	if seq > r.newest[key].seq {
		r.newest[key] = position{seq, ev.ID}
		r.recover(ev, body)
	}
}

// recover applies an event, which has this body.
func (r *Recovery) recover(ev *event.Event, body []byte) {
	if ev.Name == event.Checkpoint {
		r.Checkpoint = bytes.Clone(body)
	}
	r.Engine.Recover(ev)
	r.Answers.Recover(ev)
}

// Next applies the next message of the stream.
func (r *Recovery) Next(msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	r.Until = meta.Sequence.Stream
	if ev, ok := r.parse(msg, r.Until); ok {
		r.Erased = r.Erased || ev.Name == event.Erased
		r.apply(&ev, r.Until, msg.Data())
	}
	return nil
}

// TailConfig is the consumer of the tenant's messages that have not been read.
func (r *Recovery) TailConfig() jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{event.Prefix(r.config.Tenant) + ">"},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    r.Until + 1,
	}
}

// foreignReadSize is how many messages of a subject are read at once to find the last event among
// them; the newest ones are read first.
const foreignReadSize = 1000

// readBefore finds the last event on the subjects whose last message is no event. A subject without
// one counts as never published to.
func (r *Recovery) readBefore(ctx context.Context, js jetstream.JetStream, before, counts map[string]uint64) error {
	for _, subject := range slices.Sorted(maps.Keys(before)) {
		if counts[subject] == 1 {
			continue // the message itself
		}
		ev, seq, body, err := r.lastBefore(ctx, js, subject, before[subject])
		if err != nil {
			return fmt.Errorf("find the event before the last message on %s: %w", subject, err)
		}
		if seq > 0 && !readWhole(&ev) {
			r.apply(&ev, seq, body)
		}
	}
	return nil
}

// lastBefore searches backwards from a sequence for the last event of a subject; 0 if there is
// none. It reads ranges, because a stream cannot be read backwards.
func (r *Recovery) lastBefore(ctx context.Context, js jetstream.JetStream, subject string, before uint64) (found event.Event, at uint64, body []byte, err error) {
	for back := uint64(foreignReadSize); ; back *= 8 {
		from := max(before, back+1) - back
		err := scan.All(ctx, js, r.config.Stream.Name, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{subject},
			DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:    from,
		}, func(msg jetstream.Msg, seq uint64) error {
			if seq >= before {
				return scan.ErrStop
			}
			// A subject with wildcards would be a filter that matches others.
			ev, err := ParseMessage(&r.decoder, r.config.Tenant, msg)
			if err == nil && msg.Subject() == subject {
				found, at, body = ev, seq, msg.Data()
			}
			return nil
		})
		if err != nil {
			return found, 0, nil, err
		}
		if at > 0 || from == 1 {
			return found, at, body, nil
		}
	}
}

// countSubjects counts the messages on each of the tenant's subjects.
func countSubjects(ctx context.Context, js jetstream.JetStream, c *config.Config) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Times().CallTimeout)
	defer cancel()
	events, err := js.Stream(ctx, c.Stream.Name)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", c.Stream.Name, err)
	}
	info, err := events.Info(ctx, jetstream.WithSubjectFilter(event.Prefix(c.Tenant)+">"))
	if err != nil {
		return nil, fmt.Errorf("count the messages of stream %s: %w", c.Stream.Name, err)
	}
	return info.State.Subjects, nil
}
