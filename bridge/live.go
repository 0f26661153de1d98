package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/diff"
)

const (
	// livePast is how many messages before the picture a page is told as past.
	livePast = 400
	// liveChunk is about how many bytes go into one Server-Sent Event.
	liveChunk = 64 << 10
	// liveCurve is how far back curves reach, and liveCurveMost about how many
	// events they are made of: where more happens, they reach less far.
	liveCurve     = 10 * time.Minute
	liveCurveMost = 6000
	// liveFeeds is after how many beats the tenants are looked for anew.
	liveFeeds = 10
	// liveIdle is when the server clears consumers away that a page has left.
	liveIdle = 20 * time.Second
)

// errBehind ends the feeding of a page that cannot keep up.
var errBehind = errors.New("the page is too slow for what happens")

// liveReader feeds one page with one tenant. All of it runs in the request's
// goroutine but the waiting for messages.
type liveReader struct {
	*Page
	tenant string // as the token of subjects and keys
	w      http.ResponseWriter
	out    *http.ResponseController

	events, view jetstream.Stream
}

// liveEntry is an entity of the view, or an event with what it does to the view.
type liveEntry struct {
	Key   string          `json:"key,omitempty"` // in the view, below the tenant
	Seq   uint64          `json:"seq"`           // in the stream of events
	Gone  bool            `json:"gone,omitempty"`
	Past  bool            `json:"past,omitempty"` // the picture holds it already
	Event json.RawMessage `json:"event"`
}

// live is the handler of /live/events?tenant=TOKEN.
func (p *Page) live(w http.ResponseWriter, r *http.Request) {
	tenant := r.URL.Query().Get("tenant")
	if _, err := ParseToken(tenant); tenant != "" && err != nil {
		http.Error(w, "tenant: "+err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case p.readers <- struct{}{}:
		defer func() { <-p.readers }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("%d pages are open already; close one.", cap(p.readers)), http.StatusServiceUnavailable)
		return
	}
	l := &liveReader{Page: p, tenant: tenant, w: w, out: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies must not hold it back
	err := l.feed(r.Context())
	if r.Context().Err() == nil {
		p.log.Debug("a live page is not fed any more", "tenant", l.tenant, "err", err)
		// The page shows why before it tries again; it may be gone by now.
		_ = l.send("trouble", map[string]string{"error": err.Error()})
	}
}

// feed tells the picture and then what comes, until ctx ends or something fails.
func (l *liveReader) feed(ctx context.Context) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	feeds, err := l.feeds(ctx)
	if err != nil {
		return err
	}
	if l.tenant == "" {
		l.tenant = Token(l.config.Tenant)
		if _, here := feeds[l.tenant]; !here && len(feeds) > 0 {
			l.tenant = slices.Min(slices.Collect(maps.Keys(feeds)))
		}
	}
	if err := l.hello(ctx, feeds); err != nil {
		return err
	}
	until, err := l.picture(ctx)
	if err != nil {
		return err
	}
	if err := l.curves(ctx); err != nil {
		return err
	}
	if err := l.send("ready", struct{}{}); err != nil {
		return err
	}
	return l.follow(ctx, until)
}

// open looks at both streams.
func (l *liveReader) open(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if l.events, err = l.js.Stream(ctx, l.config.Stream); err != nil {
		return fmt.Errorf("look at stream %s: %w", l.config.Stream, err)
	}
	if l.view, err = l.js.Stream(ctx, viewStream(l.config)); err != nil {
		return fmt.Errorf("look at the view %s: %w", l.config.StateBucket, err)
	}
	return nil
}

// send writes one Server-Sent Event. It fails if the page does not take it.
func (l *liveReader) send(name string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := l.out.SetWriteDeadline(time.Now().Add(l.patience)); err != nil {
		return fmt.Errorf("bound a write: %w", err)
	}
	if _, err := fmt.Fprintf(l.w, "event: %s\ndata: %s\n\n", name, body); err != nil {
		return fmt.Errorf("write to the page: %w", err)
	}
	return l.out.Flush()
}

// hello tells what the page needs to judge what follows.
func (l *liveReader) hello(ctx context.Context, feeds map[string]json.RawMessage) error {
	hello := struct {
		Tenant     string                     `json:"tenant"`
		Version    string                     `json:"version"`
		Now        time.Time                  `json:"now"`
		Beat       float64                    `json:"beat"`        // seconds
		StaleAfter float64                    `json:"stale_after"` // seconds; between watermarks nothing need come
		Curve      float64                    `json:"curve"`       // seconds
		Feeds      map[string]json.RawMessage `json:"feeds"`       // by tenant
		// Interrupted is why the feed was last interrupted.
		Interrupted json.RawMessage `json:"interrupted,omitempty"`
	}{
		Tenant: l.tenant, Version: l.config.Version, Now: time.Now(), Beat: l.beat.Seconds(),
		StaleAfter: (l.config.CheckpointInterval + l.config.silence()).Seconds(), Curve: liveCurve.Seconds(), Feeds: feeds,
	}
	var err error
	if hello.Interrupted, err = lastOn(ctx, l.events, l.root()+"feed.interrupted"); err != nil {
		return err
	}
	return l.send("hello", hello)
}

// root begins the tenant's subjects.
func (l *liveReader) root() string { return SubjectPrefix + "." + l.tenant + "." }

// lastOn reads the last message on a subject; nil if there is none.
func lastOn(ctx context.Context, stream jetstream.Stream, subject string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	return msg.Data, nil
}

// feeds reads the feed keys of all tenants in the view, by tenant.
func (l *liveReader) feeds(ctx context.Context) (map[string]json.RawMessage, error) {
	feeds := map[string]json.RawMessage{}
	prefix := l.viewPrefix()
	err := visit(ctx, l.js, viewStream(l.config), l.latest(prefix+"*.feed"), func(msg jetstream.Msg, _ uint64) error {
		feeds[strings.TrimSuffix(strings.TrimPrefix(msg.Subject(), prefix), ".feed")] = msg.Data()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the feeds in %s: %w", l.config.StateBucket, err)
	}
	return feeds, nil
}

// viewPrefix begins all subjects of the view.
func (l *liveReader) viewPrefix() string { return "$KV." + l.config.StateBucket + "." }

// latest reads the last message of every subject that a filter names.
func (l *liveReader) latest(filter string) jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, InactiveThreshold: liveIdle,
	}
}

// picture tells all that the view has of the tenant, and returns the sequence in
// the stream of events up to which the view is complete. The view follows the
// stream in its order: what is not in the picture comes after that.
func (l *liveReader) picture(ctx context.Context) (until uint64, err error) {
	newest := l.events.CachedInfo().State.LastSeq
	prefix := l.viewPrefix() + l.tenant + "."
	batch := liveBatch{name: "view", to: l}
	err = visit(ctx, l.js, viewStream(l.config), l.latest(prefix+">"), func(msg jetstream.Msg, _ uint64) error {
		from, seq, err := sourceOf(msg)
		if err != nil {
			return err
		}
		if from != l.config.Stream || seq > newest+l.lag {
			seq = 0 // the watchdog's news, or from before the stream was made anew
		}
		until = max(until, seq)
		if msg.Headers().Get("KV-Operation") != "" {
			return nil
		}
		return batch.add(liveEntry{Key: strings.TrimPrefix(msg.Subject(), prefix), Seq: seq, Event: msg.Data()})
	})
	if err != nil {
		return 0, fmt.Errorf("read the view: %w", err)
	}
	return until, batch.flush()
}

// liveBatch gathers entries, so that a page gets them in few, large pieces.
type liveBatch struct {
	name    string
	to      *liveReader
	entries []liveEntry
	size    int
}

func (b *liveBatch) add(e liveEntry) error {
	if !json.Valid(e.Event) {
		return nil // not the bridge's: the page could not show it
	}
	b.entries = append(b.entries, e)
	if b.size += len(e.Event); b.size < liveChunk {
		return nil
	}
	return b.flush()
}

func (b *liveBatch) flush() error {
	if len(b.entries) == 0 {
		return nil
	}
	err := b.to.send(b.name, b.entries)
	b.entries, b.size = b.entries[:0], 0
	return err
}

// livePoint is what a curve is drawn through: the numbers of an entity at a time.
type livePoint struct {
	Key   string     `json:"key"`
	Time  time.Time  `json:"time"`
	Stats diff.Image `json:"stats"`
}

// curves tells how the numbers of services and totals came to be what they are.
func (l *liveReader) curves(ctx context.Context) error {
	back := liveCurve
	config := func() jetstream.OrderedConsumerConfig {
		from := time.Now().Add(-back)
		return jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{
				l.root() + "service.*.observed", l.root() + "service.*.appeared", l.root() + "service.*.stats_changed", l.root() + "totals.>",
			},
			DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from, InactiveThreshold: liveIdle,
		}
	}
	n, err := l.count(ctx, config())
	if err != nil {
		return fmt.Errorf("read the curves: %w", err)
	}
	if n > liveCurveMost {
		back = back * liveCurveMost / time.Duration(n)
	}
	var points []livePoint
	err = visit(ctx, l.js, l.config.Stream, config(), func(msg jetstream.Msg, _ uint64) error {
		var s struct {
			Time time.Time `json:"time"`
			Data struct {
				After diff.Image `json:"after"`
			} `json:"data"`
		}
		if json.Unmarshal(msg.Data(), &s) != nil {
			return nil // not the bridge's
		}
		points = append(points, livePoint{Key: viewKey(strings.TrimPrefix(msg.Subject(), l.root())), Time: s.Time, Stats: s.Data.After})
		if len(points) < 300 {
			return nil
		}
		err := l.send("curves", points)
		points = points[:0]
		return err
	})
	if err != nil {
		return fmt.Errorf("read the curves: %w", err)
	}
	return l.send("curves", points)
}

// count tells how many messages a consumer would see now.
func (l *liveReader) count(ctx context.Context, config jetstream.OrderedConsumerConfig) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	consumer, err := l.js.OrderedConsumer(ctx, l.config.Stream, config)
	if err != nil {
		return 0, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.NumPending, nil
}

// follow tells the events as they are stored, and at every beat how all feeds
// are. The events up to until are in the picture already.
func (l *liveReader) follow(ctx context.Context, until uint64) error {
	consumer, err := l.js.OrderedConsumer(ctx, l.config.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{l.root() + ">"},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(until, livePast) - livePast + 1,
		InactiveThreshold: liveIdle,
	})
	if err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	// The heartbeat tells within seconds that the consumer is gone. What is
	// asked for in advance is all that a slow page keeps in memory here.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullExpiry(10*time.Second), jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	defer messages.Stop()
	group, ctx := errgroup.WithContext(ctx)
	arrived := make(chan jetstream.Msg)
	group.Go(func() error {
		for {
			msg, err := messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				return fmt.Errorf("read the events: %w", err)
			}
			select {
			case arrived <- msg:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	group.Go(func() error { return l.tell(ctx, arrived, until) })
	return group.Wait()
}

// tell writes what arrives, and a beat now and then.
func (l *liveReader) tell(ctx context.Context, arrived <-chan jetstream.Msg, until uint64) error {
	beats, beat := 0, time.NewTicker(l.beat)
	defer beat.Stop()
	batch := liveBatch{name: "events", to: l}
	most := l.lag
	for first := true; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			if err := batch.flush(); err != nil {
				return err
			}
			beats++
			if err := l.sendBeat(ctx, beats%liveFeeds == 0); err != nil {
				return err
			}
		case msg := <-arrived:
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read the events: %w", err)
			}
			if first { // the view itself may be behind
				first, most = false, max(most, 2*meta.NumPending)
			}
			if meta.NumPending > most {
				return errBehind
			}
			err = batch.add(liveEntry{
				Key: viewKey(strings.TrimPrefix(msg.Subject(), l.root())), Seq: meta.Sequence.Stream,
				Gone: msg.Headers().Get("KV-Operation") != "", Past: meta.Sequence.Stream <= until, Event: msg.Data(),
			})
			if err == nil && meta.NumPending == 0 {
				err = batch.flush()
			}
			if err != nil {
				return err
			}
		}
	}
}

// sendBeat tells that the page is still fed, and what the view says of the feed:
// that it has died stands there alone. Now and then it tells all tenants' feeds.
func (l *liveReader) sendBeat(ctx context.Context, all bool) error {
	beat := struct {
		Now   time.Time                  `json:"now"`
		Feed  json.RawMessage            `json:"feed,omitempty"`
		Feeds map[string]json.RawMessage `json:"feeds,omitempty"`
	}{Now: time.Now()}
	var err error
	if beat.Feed, err = lastOn(ctx, l.view, l.viewPrefix()+l.tenant+".feed"); err != nil {
		return err
	}
	if all {
		if beat.Feeds, err = l.feeds(ctx); err != nil {
			return err
		}
	}
	return l.send("beat", beat)
}
