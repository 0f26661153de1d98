package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"bpcc-nats/bridge/event"
)

const (
	// livePast is how many messages before the picture a page is told as past.
	livePast = 400
	// liveChunk is about how many bytes go into one Server-Sent Event.
	liveChunk = 64 << 10
	// liveFeeds is after how many beats a page is told of all tenants.
	liveFeeds = 5
	// liveListed is how long pages share a list of tenants, and liveUnlisted how
	// long one that may not be had is not asked for again.
	liveListed   = 5 * time.Second
	liveUnlisted = 10 * time.Minute
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

	newest uint64 // the stream's last sequence when the page came
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
	if tenant == "" {
		tenant = event.Token(p.config.Tenant)
	}
	if _, err := event.ParseToken(tenant); err != nil {
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
		p.log.Debug("live page disconnected", "tenant", l.tenant, "err", err)
		// The page shows why before it tries again; it may be gone by now.
		_ = l.send("trouble", map[string]string{"error": err.Error()})
	}
}

// feed tells the picture and then what comes, until ctx ends or something fails.
func (l *liveReader) feed(ctx context.Context) error {
	var err error
	if _, l.newest, err = lastSequence(ctx, l.js, l.config.Stream); err != nil {
		return err
	}
	if err := l.hello(ctx); err != nil {
		return err
	}
	until, err := l.picture(ctx)
	if err != nil {
		return err
	}
	if err := l.curves(ctx); err != nil {
		return err
	}
	if err := l.send("ready", map[string]any{"feeds": l.tenants(ctx)}); err != nil {
		return err
	}
	return l.follow(ctx, until)
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
func (l *liveReader) hello(ctx context.Context) error {
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
		StaleAfter: (l.config.CheckpointInterval + l.config.silence()).Seconds(), Curve: liveCurve.Seconds(),
	}
	err := visit(ctx, l.js, l.config.Stream, latest(l.root()+"feed.interrupted"), func(msg jetstream.Msg, _ uint64) error {
		if shown(l.tenant, msg.Data()) {
			hello.Interrupted = msg.Data()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the last interruption: %w", err)
	}
	return l.send("hello", hello)
}

// root begins the tenant's subjects.
func (l *liveReader) root() string { return event.SubjectPrefix + "." + l.tenant + "." }

// tenants reads the feed keys of all tenants in the view, by tenant, or takes
// those that another page has read a moment ago. The user may lack the permission
// to look at other tenants: then a page has its own alone.
func (p *Page) tenants(ctx context.Context) map[string]json.RawMessage {
	p.listing.Lock()
	defer p.listing.Unlock()
	if time.Now().Before(p.listAgain) {
		return p.listed
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout/2)
	defer cancel()
	feeds := map[string]json.RawMessage{}
	prefix := p.viewPrefix()
	err := visit(ctx, p.js, viewStream(p.config), latest(prefix+"*.feed"), func(msg jetstream.Msg, _ uint64) error {
		if tenant := strings.TrimSuffix(strings.TrimPrefix(msg.Subject(), prefix), ".feed"); shown(tenant, msg.Data()) {
			feeds[tenant] = msg.Data()
		}
		return nil
	})
	p.listed, p.listAgain = feeds, time.Now().Add(liveListed)
	if err != nil {
		p.log.Debug("cannot list tenants of the view", "err", err)
		p.listAgain = time.Now().Add(liveUnlisted)
	}
	return p.listed
}

// viewPrefix begins all subjects of the view.
func (p *Page) viewPrefix() string { return "$KV." + p.config.StateBucket + "." }

// latest sees the last message of every subject that a filter names.
func latest(filter string) jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, InactiveThreshold: liveIdle,
	}
}

// picture tells all that the view has of the tenant, and returns the sequence in
// the stream of events up to which the view is complete. The view follows the
// stream in its order: what is not in the picture comes after that.
func (l *liveReader) picture(ctx context.Context) (until uint64, err error) {
	prefix := l.viewPrefix() + l.tenant + "."
	batch := liveBatch{name: "view", to: l}
	err = visit(ctx, l.js, viewStream(l.config), latest(prefix+">"), func(msg jetstream.Msg, _ uint64) error {
		from, seq, err := sourceOf(msg)
		if err != nil {
			return nil // somebody wrote to the view
		}
		if from != l.config.Stream || seq > l.newest+l.lag {
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

// shown tells whether a page can show a message: it is an event, and of the
// tenant, by its token. The rest is not the bridge's.
func shown(tenant string, body []byte) bool {
	v, err := event.ReadEnvelope(body)
	return err == nil && strings.HasPrefix(v.Type, "bpcc.") && event.Token(v.Tenant()) == tenant
}

// liveBatch gathers entries, so that a page gets them in few, large pieces.
type liveBatch struct {
	name    string
	to      *liveReader
	entries []liveEntry
	size    int
}

func (b *liveBatch) add(e liveEntry) error {
	if !shown(b.to.tenant, e.Event) {
		return nil
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

// follow tells the events as they are stored, and at every beat how the feed is.
// The events up to until are in the picture already.
func (l *liveReader) follow(ctx context.Context, until uint64) error {
	group, ctx := errgroup.WithContext(ctx)
	events, feed := make(chan jetstream.Msg), make(chan jetstream.Msg)
	group.Go(func() error {
		return l.pass(ctx, events, l.config.Stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{l.root() + ">"}, InactiveThreshold: liveIdle,
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(until, livePast) - livePast + 1,
		})
	})
	group.Go(func() error {
		return l.pass(ctx, feed, viewStream(l.config), latest(l.viewPrefix()+l.tenant+".feed"))
	})
	group.Go(func() error { return l.tell(ctx, events, feed, until) })
	return group.Wait()
}

// pass hands on what a consumer sees, until ctx ends or the stream cannot be
// read. What is asked for in advance is all that it keeps for a slow page.
func (l *liveReader) pass(ctx context.Context, to chan<- jetstream.Msg, stream string, what jetstream.OrderedConsumerConfig) error {
	opening, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	consumer, err := l.js.OrderedConsumer(opening, stream, what)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	// The heartbeat tells within seconds that the consumer is gone.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullExpiry(10*time.Second), jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		select {
		case to <- msg:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// liveBeat is a sign of life, with what the view says of the feed: that it has
// died stands there alone.
type liveBeat struct {
	Now   time.Time                  `json:"now"`
	Feed  json.RawMessage            `json:"feed,omitempty"`
	Feeds map[string]json.RawMessage `json:"feeds,omitempty"` // of all tenants, now and then
}

// tell writes what arrives, and a beat now and then.
func (l *liveReader) tell(ctx context.Context, events, feed <-chan jetstream.Msg, until uint64) error {
	ticker := time.NewTicker(l.beat)
	defer ticker.Stop()
	var beat liveBeat
	batch := liveBatch{name: "events", to: l}
	most := l.lag
	for first, beats := true, 1; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case msg := <-feed:
			if shown(l.tenant, msg.Data()) {
				beat.Feed = msg.Data()
			}
		case beat.Now = <-ticker.C:
			if !l.js.Conn().IsConnected() {
				return errors.New("the bridge has lost its connection to NATS")
			}
			beat.Feeds = nil
			if beats++; beats%liveFeeds == 0 {
				beat.Feeds = l.tenants(ctx)
			}
			if err := batch.flush(); err != nil {
				return err
			}
			if err := l.send("beat", beat); err != nil {
				return err
			}
		case msg := <-events:
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
				Key: event.ViewKey(strings.TrimPrefix(msg.Subject(), l.root())), Seq: meta.Sequence.Stream,
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
