package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/reader"
)

const (
	// liveBacklog is how many messages before the snapshot a page gets as its backlog.
	liveBacklog = 400
	// liveFlushBytes is the approximate size of one Server-Sent Event.
	liveFlushBytes = 64 << 10
	// liveTenantsEvery is after how many heartbeats a page gets all tenants.
	liveTenantsEvery = 5
)

// errSlowClient ends the session of a page that cannot keep up.
var errSlowClient = errors.New("page too slow for the rate of events")

// liveSession sends one tenant to one page. All of it runs in the request's
// goroutine, except waiting for messages.
type liveSession struct {
	*Handler
	tenant string // as a token of subjects and keys
	out    *liveWriter
	// shared reports whether the page shows other tenants, too.
	shared bool

	reader      *reader.Reader // of the tenant
	lastSeq     uint64         // the stream's last sequence when the session began
	viewCreated time.Time      // when the view was created that the session shows
}

// liveEntry is an entity of the view, or an event and its effect on the view.
type liveEntry struct {
	Key     string          `json:"key,omitempty"`     // in the view, below the tenant
	Seq     uint64          `json:"seq"`               // in the stream of events
	Removed bool            `json:"removed,omitempty"` // the event removes the key from the view
	Backlog bool            `json:"backlog,omitempty"` // the snapshot holds the event already
	Event   json.RawMessage `json:"event"`
}

// runSession sends the snapshot and then the events, until ctx ends or something fails.
func (l *liveSession) runSession(ctx context.Context) error {
	var err error
	if l.reader, err = l.open(l.tenant); err != nil {
		return err
	}
	if l.lastSeq, err = scan.LastSeq(ctx, l.js, l.config.Stream.Name); err != nil {
		return err
	}
	view, err := scan.Info(ctx, l.js, stream.ViewStream(l.config.Stream))
	if err != nil {
		return err
	}
	l.viewCreated = view.Created
	if err := l.sendHello(ctx); err != nil {
		return err
	}
	snapshotSeq, err := l.sendSnapshot(ctx)
	if err != nil {
		return err
	}
	if err := l.sendSeries(ctx); err != nil {
		return err
	}
	if err := l.sendEvent("ready", map[string]any{"feeds": l.listTenants(ctx)}); err != nil {
		return err
	}
	return l.followEvents(ctx, snapshotSeq)
}

// sendHello sends what the page needs to judge what follows.
func (l *liveSession) sendHello(ctx context.Context) error {
	hello := struct {
		Tenant    string    `json:"tenant"`
		Version   string    `json:"version"`
		Now       time.Time `json:"now"`
		Heartbeat float64   `json:"heartbeat_seconds"`
		// StaleAfter allows for a feed without changes between two checkpoints.
		StaleAfter float64                    `json:"stale_after_seconds"`
		Series     float64                    `json:"series_seconds"`
		Feeds      map[string]json.RawMessage `json:"feeds"` // by tenant
		// Interrupted is why the feed was last interrupted.
		Interrupted json.RawMessage `json:"interrupted,omitempty"`
	}{
		Tenant: l.tenant, Version: l.config.Version, Now: time.Now(), Heartbeat: l.heartbeat.Seconds(),
		StaleAfter: (l.config.Stream.CheckpointInterval + l.config.InterruptAfter()).Seconds(), Series: seriesWindow.Seconds(),
	}
	err := scan.LastPerSubject(ctx, l.js, l.config.Stream.Name, l.tenantPrefix()+event.Interrupted, func(msg jetstream.Msg, _ uint64) error {
		if belongsTo(l.tenant, msg.Data()) {
			hello.Interrupted = msg.Data()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read last interruption: %w", err)
	}
	return l.sendEvent("hello", hello)
}

// tenantPrefix returns the prefix of the tenant's subjects.
func (l *liveSession) tenantPrefix() string { return event.SubjectPrefix + "." + l.tenant + "." }

// sendSnapshot sends all that the view has of the tenant, and returns the sequence in
// the stream of events up to which the view is complete. The view follows the
// stream in order: what is not in the snapshot comes after that sequence.
func (l *liveSession) sendSnapshot(ctx context.Context) (snapshotSeq uint64, err error) {
	prefix := stream.ViewPrefix(l.config.Stream) + l.tenant + "."
	batch := liveBatch{name: "snapshot", session: l}
	err = scan.LastPerSubject(ctx, l.js, stream.ViewStream(l.config.Stream), prefix+">", func(msg jetstream.Msg, _ uint64) error {
		source, seq, err := scan.ParseSource(msg.Headers())
		if err != nil {
			return nil // not sourced from the stream
		}
		if source != l.config.Stream.Name || seq > l.lastSeq+l.maxLag {
			seq = 0 // from the watchdog, or from before the stream was recreated
		}
		snapshotSeq = max(snapshotSeq, seq)
		if msg.Headers().Get("KV-Operation") != "" || !belongsTo(l.tenant, msg.Data()) {
			return nil
		}
		return batch.add(liveEntry{Key: strings.TrimPrefix(msg.Subject(), prefix), Seq: seq, Event: msg.Data()})
	})
	if err != nil {
		return 0, fmt.Errorf("read view: %w", err)
	}
	return snapshotSeq, batch.flush()
}

// belongsTo reports whether a page can show a message: an event of the tenant, which
// is given by its token. The rest are foreign messages.
func belongsTo(tenant string, body []byte) bool {
	v, err := event.ReadEnvelope(body)
	return err == nil && strings.HasPrefix(v.Type, "bpcc.") && event.Token(v.Tenant()) == tenant
}

// liveBatch collects entries, so that a page gets few, large messages.
type liveBatch struct {
	name    string
	session *liveSession
	entries []liveEntry
	size    int
}

func (b *liveBatch) add(e liveEntry) error {
	b.entries = append(b.entries, e)
	if b.size += len(e.Event); b.size < liveFlushBytes {
		return nil
	}
	return b.flush()
}

func (b *liveBatch) flush() error {
	if len(b.entries) == 0 {
		return nil
	}
	err := b.session.sendEvent(b.name, b.entries)
	b.entries, b.size = b.entries[:0], 0
	return err
}

// followEvents sends the events as they are stored, and the feed with every heartbeat.
// The events up to snapshotSeq are in the snapshot already.
func (l *liveSession) followEvents(ctx context.Context, snapshotSeq uint64) error {
	group, ctx := errgroup.WithContext(ctx)
	events, feed := make(chan *reader.Event), make(chan []byte)
	group.Go(func() error { // for a slow page it buffers no more than one pull request
		from := reader.AtSequence(max(snapshotSeq, liveBacklog) - liveBacklog + 1)
		for item, err := range l.reader.Events(ctx, from, reader.EventsOptions{Follow: true}) {
			if err != nil {
				return err
			}
			if e := reader.EventOf(item); e != nil {
				select {
				case events <- e:
				case <-ctx.Done():
				}
			}
		}
		return nil
	})
	group.Go(func() error { return l.pumpFeed(ctx, feed) })
	group.Go(func() error { return l.writeUpdates(ctx, events, feed, snapshotSeq) })
	return group.Wait()
}

// pumpFeed hands on the feed as the view has it, until ctx ends or the view cannot be read.
func (l *liveSession) pumpFeed(ctx context.Context, to chan<- []byte) error {
	r := scan.Reader{
		JS: l.js, Stream: stream.ViewStream(l.config.Stream), Follow: true, Timeout: config.CallTimeout,
		Consumer: jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{stream.ViewPrefix(l.config.Stream) + l.tenant + ".feed"},
			DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		},
		Handle: func(ctx context.Context, msg jetstream.Msg, _ *jetstream.MsgMetadata) error {
			select {
			case to <- msg.Data():
			case <-ctx.Done():
			}
			return nil
		},
	}
	return r.Read(ctx)
}

// liveHeartbeat shows that the connection works, with the feed as the view has it: only
// the view shows that a bridge has died.
type liveHeartbeat struct {
	Now   time.Time                  `json:"now"`
	Feed  json.RawMessage            `json:"feed,omitempty"`
	Feeds map[string]json.RawMessage `json:"feeds,omitempty"` // of all tenants, with every few heartbeats
}

// writeUpdates writes what arrives, and the heartbeats.
func (l *liveSession) writeUpdates(ctx context.Context, events <-chan *reader.Event, feed <-chan []byte, snapshotSeq uint64) error {
	ticker := time.NewTicker(l.heartbeat)
	defer ticker.Stop()
	var heartbeat liveHeartbeat
	batch := liveBatch{name: "events", session: l}
	maxLag := l.maxLag
	for first, ticks := true, 1; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case body := <-feed:
			if belongsTo(l.tenant, body) {
				heartbeat.Feed = body
			}
		case heartbeat.Now = <-ticker.C:
			if !l.js.Conn().IsConnected() {
				return errors.New("bridge not connected to NATS")
			}
			heartbeat.Feeds = nil
			if ticks++; ticks%liveTenantsEvery == 0 {
				// What the page shows of a view that was rebuilt is of another timeline.
				if view, err := scan.Info(ctx, l.js, stream.ViewStream(l.config.Stream)); err == nil && !view.Created.Equal(l.viewCreated) {
					return errors.New("the view was recreated")
				}
				heartbeat.Feeds = l.listTenants(ctx)
			}
			if err := batch.flush(); err != nil {
				return err
			}
			if err := l.sendEvent("heartbeat", heartbeat); err != nil {
				return err
			}
		case e := <-events:
			if first { // the view itself may lag
				first, maxLag = false, max(maxLag, 2*e.Pending)
			}
			if e.Pending > maxLag {
				return errSlowClient
			}
			err := batch.add(liveEntry{
				Key: event.ViewKey(strings.TrimPrefix(e.Subject, l.tenantPrefix())), Seq: e.Seq,
				Removed: (&event.Event{Name: e.Name}).Removes(), Backlog: e.Seq <= snapshotSeq, Event: e.Body,
			})
			if err == nil && e.Pending == 0 {
				err = batch.flush()
			}
			if err != nil {
				return err
			}
		}
	}
}
