package recovery

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// The view counts for what has expired from the stream. It may also be of another timeline: of a stream
// that was restored from an older backup, recreated, or has lost its end. What such a view holds has
// never happened in the stream.

// viewEntry is an event of the view, and where the stream held it when the view took it. Most entries only say
// that, so the event is not kept decoded, which needs several times the memory of its body.
type viewEntry struct {
	id        event.ID
	readWhole bool // see readWhole
	seq       uint64
	msgID     string
	body      []byte
}

// View is what a recovery has found out about the view.
type View struct {
	Created  time.Time   // when the view was created
	Only     []string    // keys of which only the view has an event
	suspects []viewEntry // of another timeline, unless the stream was read too early
	skipped  string      // a key whose last event the view has not taken, though later ones of others
}

// readView reads the tenant's entries of the view by their keys, and the foreign messages by their
// sequence in the stream. The next epoch is larger than any that it finds.
func (r *Recovery) readView(ctx context.Context, js jetstream.JetStream) (entries map[string]viewEntry, foreign map[uint64]foreignMessage, err error) {
	c := r.config
	prefix := stream.ViewPrefix(c.Stream) + event.Token(c.Tenant) + "."
	entries, foreign = map[string]viewEntry{}, map[uint64]foreignMessage{}
	view, err := scan.Info(ctx, js, stream.ViewStream(c.Stream))
	if err != nil {
		return nil, nil, err
	}
	r.View.Created = view.Created
	err = scan.LastPerSubject(ctx, js, stream.ViewStream(c.Stream), prefix+">", func(msg jetstream.Msg, _ uint64) error {
		key := strings.TrimPrefix(msg.Subject(), prefix)
		from, seq, err := scan.ParseSource(msg.Headers())
		var ev event.Event
		if err == nil {
			ev, err = r.decoder.ParseValue(c.Tenant, key, msg.Data())
		}
		switch {
		case err == nil:
			r.Engine.Reserve(ev.ID.Epoch)
			if from == c.Stream.Name { // else the watchdog's message, not an event
				// The message itself keeps its headers, too.
				entries[key] = viewEntry{ev.ID, readWhole(&ev), seq, msg.Headers().Get(nats.MsgIdHdr), bytes.Clone(msg.Data())}
			}
		case from == "" || from == c.Stream.Name:
			foreign[seq] = foreignMessage{stream: stream.ViewStream(c.Stream), subject: msg.Subject(), seq: seq, err: err, hint: fmt.Sprintf(foreignEntryHint, msg.Subject(), stream.ViewStream(c.Stream))}
		}
		return nil
	})
	return entries, foreign, err
}

// addView applies the view's entries of which the stream no longer has an event, and notes what shows
// that the view is of another timeline. state is that of the stream after the view was read.
func (r *Recovery) addView(ctx context.Context, js jetstream.JetStream, entries map[string]viewEntry, state jetstream.StreamState) error {
	_, continued := r.newest["feed"]
	sourced := uint64(0) // up to where the view has taken the stream's events
	for _, x := range entries {
		if x.seq <= state.LastSeq {
			sourced = max(sourced, x.seq)
		}
	}
	events, err := js.Stream(ctx, r.config.Stream.Name)
	if err != nil {
		return fmt.Errorf("read info of stream %s: %w", r.config.Stream.Name, err)
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		x := entries[key]
		last, known := r.newest[key]
		if x.readWhole {
			known, last = true, position{x.seq, x.id} // its last event alone says little
		}
		counts := false
		switch {
		case known && (x.seq > last.seq || x.seq == last.seq && x.id != last.id):
			r.View.suspects = append(r.View.suspects, x)
		case known:
			if x.seq < last.seq && last.seq <= sourced {
				r.View.skipped = key
			}
		case x.seq < state.FirstSeq: // expired
			counts = true
		case !continued: // the stream is new, or has lost all: the view is what remains
			counts = true
			if x.seq > state.LastSeq {
				r.View.suspects = append(r.View.suspects, x)
			}
		case x.seq > state.LastSeq:
			r.View.suspects = append(r.View.suspects, x)
		default:
			same, err := scan.SameMessage(ctx, events, x.seq, x.msgID)
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound): // deleted, or the server cannot load it
				counts = true
			case err != nil:
				return err
			case same:
				counts = true
			default:
				r.View.suspects = append(r.View.suspects, x)
			}
		}
		if counts {
			ev, err := r.decoder.ParseValue(r.config.Tenant, key, x.body)
			if err != nil {
				return fmt.Errorf("decode key %s: %w", key, err)
			}
			r.View.Only = append(r.View.Only, key)
			r.recover(&ev, x.body)
		}
	}
	// The newest ones prove most.
	slices.SortFunc(r.View.suspects, func(a, b viewEntry) int { return cmp.Compare(b.seq, a.seq) })
	r.View.suspects = r.View.suspects[:min(len(r.View.suspects), maxSuspects)]
	return nil
}

// Suspicious reports whether anything says that the view may be of another timeline.
func (v *View) Suspicious() bool { return len(v.suspects) > 0 || v.skipped != "" }

// maxSuspects is how many entries are compared with the stream to find out whether the view is of
// another timeline.
const maxSuspects = 16

// OtherTimeline returns what shows that the view is of another timeline than the stream, which ends at
// last or later; "" if nothing does.
func (v *View) OtherTimeline(ctx context.Context, events jetstream.Stream, last uint64) (string, error) {
	for _, x := range v.suspects {
		if x.seq > last {
			return fmt.Sprintf("it holds message %d of the stream, which ends at %d", x.seq, last), nil
		}
		same, err := scan.SameMessage(ctx, events, x.seq, x.msgID)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return "", err
		case !same:
			return fmt.Sprintf("it holds %s as message %d, which is another one", x.msgID, x.seq), nil
		}
	}
	if v.skipped != "" {
		return "it lacks the last event of " + v.skipped, nil
	}
	return "", nil
}

const (
	// unreadableReach is how far from the end of the stream messages are looked for that the server
	// cannot load, to name them.
	unreadableReach = 100_000
	// unreadableLimit bounds how many are tried, and unreadableNamed how many are named.
	unreadableLimit = 10_000
	unreadableNamed = 10
)

// nameUnreadable logs and counts the messages that the server cannot load, on subjects whose last
// message is one.
func (r *Recovery) nameUnreadable(ctx context.Context, js jetstream.JetStream, subjects []string) {
	if len(subjects) == 0 {
		return
	}
	slices.Sort(subjects)
	from := max(r.Until, unreadableReach) - unreadableReach + 1
	sequences, err := scan.FindUnreadable(ctx, js, r.config.Stream.Name, event.Prefix(r.config.Tenant)+">", from, r.Until, unreadableLimit)
	r.Foreign.logUnreadable(r.config.Stream.Name, sequences, subjects, err)
}
