package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/reader/internal/track"
)

// ViewOptions say what a view holds.
type ViewOptions struct {
	// Kinds are what the view holds: agent, service, availability, totals, threshold, directory. None are all. A view
	// of some kinds reads less; its user needs the permission for consumers with several subjects.
	Kinds []string
	// OnUpdate is called with every new picture, in the order of the stream, one call at a time; nil if
	// nobody wants to know. The view does not go on before it has returned, so that a slow one makes the
	// view old, and never skips a change. It must not call Close.
	OnUpdate func(Update)
}

// Update is a new picture.
type Update struct {
	Picture *Picture
	// Changes are what differs from the picture before, in the order of the stream: the last event about
	// each entity that has changed.
	Changes []Change
	// Directories are the kinds of the directories that have changed; none if the picture was listed.
	Directories []string
	// Listed reports whether the picture was read anew: at the beginning, and after the stream was lost or
	// replaced. Changes then may have events between them that are not shown.
	Listed bool
}

// Change is an entity that differs between two pictures.
type Change struct {
	// Key is the key of the entity in the view, below the tenant.
	Key string
	// Before and After are the last events about it; nil if nothing is known of it: it was not there yet,
	// it is gone, or a foreign message hides it.
	Before, After *event.Event
}

// View is the present picture of a tenant, kept current. It lists the view that the server fills, and then
// follows the stream, so that it does not lag behind when the server's view does. A picture is that of a
// checkpoint that ends a poll: no reader sees half a poll.
//
// A view recovers by itself from the loss of the connection, and when the stream or the server's view is
// deleted, created again, or restored. As long as it has not, its [Freshness] says so. Its methods may be
// called from any goroutine.
type View struct {
	r        *Reader
	options  ViewOptions
	subjects []string // of the kinds, below the tenant; none = all
	cancel   context.CancelFunc
	running  sync.WaitGroup
	ready    chan struct{} // closed with the first picture

	mu      sync.Mutex
	picture *Picture
	closed  bool
	problem error         // why the picture must not be relied on; nil if nothing is wrong
	cause   error         // of the last failure, if there was no picture since
	hidden  bool          // a foreign message hides the last checkpoint
	stale   time.Time     // when the server's view was marked stale; zero if it is not
	viewSeq uint64        // how far the server's view is, in sequences of the stream; 0 = not known
	clock   serverClock   // of the NATS server
	line    scan.Timeline // of the picture
}

// View starts a view. It ends with the context, or by [View.Close]. The error is [ErrOptions].
func (r *Reader) View(ctx context.Context, o ViewOptions) (*View, error) {
	ctx, cancel := context.WithCancel(ctx)
	v := &View{r: r, options: o, cancel: cancel, ready: make(chan struct{}), picture: &Picture{}}
	for _, kind := range o.Kinds {
		if !slices.Contains(kinds[:], kind) {
			cancel()
			return nil, fmt.Errorf("open view: %w: kind %q; want some of %s", ErrOptions, kind, strings.Join(kinds[:], ", "))
		}
	}
	if len(o.Kinds) > 0 {
		v.subjects = []string{event.Checkpoint}
		for _, kind := range o.Kinds {
			v.subjects = append(v.subjects, kind+".>")
		}
	}
	v.running.Go(func() { v.follow(ctx) })
	v.running.Go(func() { v.watchFeed(ctx) })
	v.running.Go(func() { v.watchClock(ctx) })
	context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.closed = true
	})
	return v, nil
}

// Close ends the view, and waits until nothing of it is left on the server, as far as it responds. The
// last picture stays.
func (v *View) Close() {
	v.cancel()
	v.running.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// Ready waits for the first picture. The error is that of the context, with why there is none.
func (v *View) Ready(ctx context.Context) error {
	select {
	case <-v.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the view: %w: %s", context.Cause(ctx), v.Freshness().Reason)
	}
}

// Picture returns the present picture. It is empty before the first one.
func (v *View) Picture() *Picture {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.picture
}

// relistPause is how long a view waits before it reads everything anew.
const (
	relistPause    = 250 * time.Millisecond
	relistPauseMax = 5 * time.Second
)

// follow keeps the picture current until ctx ends.
func (v *View) follow(ctx context.Context) {
	for pause := relistPause; ; pause = min(2*pause, relistPauseMax) {
		before := v.Picture().Seq
		prevErr := v.r.js.Conn().LastError()
		err := v.session(ctx)
		if ctx.Err() != nil {
			return
		}
		err = scan.Refusal(v.r.js.Conn(), prevErr, err)
		v.mu.Lock()
		v.cause = err
		if !scan.MayPass(err) { // else the picture just gets old
			v.problem = err
		}
		v.mu.Unlock()
		if v.Picture().Seq != before {
			pause = relistPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// watchFeed follows the feed in the server's view until ctx ends: only there the server says that no bridge
// confirms the feed any more.
func (v *View) watchFeed(ctx context.Context) {
	for ctx.Err() == nil {
		s := v.r.source(v.r.viewStream(), []string{v.r.viewPrefix() + "feed"}, v.handleFeed)
		s.Consumer.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		follow(s)
		_ = s.Read(ctx) // without the server's view, a feed that no bridge confirms gets old
		select {
		case <-ctx.Done():
		case <-time.After(relistPauseMax):
		}
	}
}

// handleFeed takes what the server's view says about the feed.
func (v *View) handleFeed(_ context.Context, m *track.Message) error {
	e, err := v.r.decoder.ParseValue(v.r.tenant, "feed", m.Body)
	if err != nil {
		return nil // foreign; it is in the stream, too
	}
	d, ok := e.Data.(*event.CheckpointData)
	if !ok {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if d.Status == event.StatusStale {
		v.stale = m.Stored
		return nil
	}
	v.stale = time.Time{}
	if from, seq, err := scan.ParseSource(m.Header); err == nil && from == v.r.options.Stream {
		v.viewSeq = seq
	}
	return nil
}

// clockInterval is how often a view reads the server's clock.
const clockInterval = 30 * time.Second

// watchClock reads the server's clock until ctx ends.
func (v *View) watchClock(ctx context.Context) {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := v.stream(ctx); err != nil {
			continue // the clock of before goes on
		}
	}
}

// stream returns the stream of events as it is now, and reads the server's clock from it.
func (v *View) stream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := v.r.call(ctx)
	defer cancel()
	sent := time.Now()
	stream, err := v.r.js.Stream(ctx, v.r.options.Stream)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", v.r.options.Stream, err)
	}
	if at := stream.CachedInfo().TimeStamp; !at.IsZero() {
		v.mu.Lock()
		v.clock = serverClock{at, sent}
		v.mu.Unlock()
	}
	return stream, nil
}

// errHole makes a view read everything anew.
var errHole = errors.New("events are missing")

// session lists the server's view and follows the stream from there, until something fails.
func (v *View) session(ctx context.Context) error {
	l, err := v.list(ctx)
	if err != nil {
		return err
	}
	stream, err := v.stream(ctx) // not before, so that it is not behind what is listed
	if err != nil {
		return err
	}
	line := scan.Timeline{Seq: l.seq, MsgID: l.msgID}
	callCtx, cancel := v.r.call(ctx)
	err = line.Check(callCtx, stream)
	cancel()
	if err != nil {
		return fmt.Errorf("compare the view with the stream: %w", err)
	}
	f := newFold(v, l)
	directories, err := v.listDirectories(ctx, f.from)
	if err != nil {
		return err
	}
	f.base = f.base.withDirectories(directories)
	s := v.r.source(v.r.options.Stream, v.r.fullSubjects(v.subjects), f.handle)
	s.Consumer.DeliverPolicy, s.Consumer.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.from
	s.Timeline.Created, s.Opened, s.CaughtUp = line.Created, f.begin, f.catchUp
	follow(s)
	return s.Read(ctx)
}

// listing is what the server's view holds.
type listing struct {
	entries []keyed // in the order of the stream
	feed    *feedEntry
	hidden  bool   // a foreign message hides the feed
	seq     uint64 // of the stream, up to which the server's view is complete
	msgID   string // of the message there
}

// keyed is an entry, and its key below the tenant; a nil entry is one of which nothing is known.
type keyed struct {
	key   string
	entry *entry
}

func (k *keyed) kind() string {
	kind, _, _ := strings.Cut(k.key, ".")
	return kind
}

// feedEntry is a checkpoint, where it is in the stream, and when it was stored.
type feedEntry struct {
	id     event.ID
	seq    uint64
	data   *event.CheckpointData
	stored time.Time
}

// list reads the server's view.
func (v *View) list(ctx context.Context) (listing, error) {
	prefix := v.r.viewPrefix()
	subjects := []string{prefix + ">"}
	if len(v.options.Kinds) > 0 {
		subjects = []string{prefix + "feed"}
		for _, kind := range v.options.Kinds {
			subjects = append(subjects, prefix+kind+".>")
		}
	}
	var l listing
	var last event.ID
	s := v.r.source(v.r.viewStream(), subjects, func(_ context.Context, m *track.Message) error {
		from, seq, err := scan.ParseSource(m.Header)
		if err != nil || from != v.r.options.Stream {
			return nil // of the watchdog
		}
		if seq > l.seq {
			l.seq, l.msgID = seq, m.ID()
		}
		key := strings.TrimPrefix(m.Subject, prefix)
		e, err := v.r.decoder.ParseValue(v.r.tenant, key, m.Body)
		// The order of the ids is that of the stream. What does not follow it is a copy of an older event.
		if err == nil && e.ID.Compare(last) <= 0 {
			err = event.ErrForeign
		}
		switch {
		case err != nil && key == "feed":
			l.hidden, l.feed = true, nil
		case err != nil || e.Removes():
		case key == "feed":
			l.feed = &feedEntry{e.ID, seq, e.Data.(*event.CheckpointData), m.Stored}
		case e.EntityBase() != nil:
			l.entries = append(l.entries, keyed{key, &entry{e, seq}})
		}
		if err == nil {
			last = e.ID
		}
		return nil
	})
	s.Consumer.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	if err := s.Read(ctx); err != nil {
		return listing{}, fmt.Errorf("list the view: %w", err)
	}
	return l, nil
}
