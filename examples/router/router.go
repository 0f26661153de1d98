package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// Router knows which services can take a call, and whether that is still true.
// Its methods may be called from any goroutine.
type Router struct {
	stream jetstream.Stream
	kv     jetstream.KeyValue
	tenant string
	limit  time.Duration

	mu        sync.Mutex
	feed      feed
	available map[string]*bool // by service; nil = unknown
}

// Decision is what to do with a call now, and why.
type Decision struct {
	Route  bool
	Reason string
}

// feed is what a checkpoint says, and when the server stored it.
type feed struct {
	status        string     // live, interrupted, stopped, stale
	observedUntil event.Time // all changes up to then are published; zero = nothing was seen yet
	stored        time.Time
}

// OpenRouter binds the view and the stream of events of a tenant.
func OpenRouter(ctx context.Context, js jetstream.JetStream, tenant string, limit time.Duration) (*Router, error) {
	stream, err := js.Stream(ctx, "BPCC_EVENTS")
	if err != nil {
		return nil, fmt.Errorf("open the stream: %w", err)
	}
	kv, err := js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		return nil, fmt.Errorf("open the view: %w", err)
	}
	return &Router{stream: stream, kv: kv, tenant: tenant, limit: limit, available: map[string]*bool{}}, nil
}

// Follow keeps the router up to date until ctx ends; then it returns nil.
//
// One watcher on both keys, and not a get of each: it delivers in the order of
// the stream, in which the events of a poll come before the checkpoint that
// counts them. Two gets may be answered by replicas that are not equally far.
func (r *Router) Follow(ctx context.Context) error {
	tenant := event.Token(r.tenant)
	watcher, err := r.kv.WatchFiltered(ctx, []string{tenant + "." + event.ViewKey(event.Checkpoint), tenant + ".availability.*"})
	if err != nil {
		return fmt.Errorf("watch the view: %w", err)
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watcher.Updates():
			if !ok {
				return errors.New("the watcher has ended")
			}
			if entry != nil { // nil is the end of what was there when the watch began
				r.apply(entry)
			}
		}
	}
}

// apply takes what a key holds now. Every kind of event that the bridge publishes
// on these keys writes them; a service that leaves is published as unknown.
func (r *Router) apply(entry jetstream.KeyValueEntry) {
	key := strings.TrimPrefix(entry.Key(), event.Token(r.tenant)+".")
	e, err := event.ParseValue(r.tenant, key, entry.Value())
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.forget(key)
		return
	}
	switch d := e.Data.(type) {
	case *event.CheckpointData:
		r.feed = feed{d.Status, d.ObservedUntil, entry.Created()}
	case *event.AvailabilityObservedData, *event.AvailabilityChangedData:
		service := e.Availability()
		r.available[service.Service] = service.Available
	}
}

// forget takes back what is known of a key. A message that the bridge did not
// write hides the bridge's last event there, so that nothing is known any more.
func (r *Router) forget(key string) {
	if key == event.ViewKey(event.Checkpoint) {
		r.feed = feed{}
	} else if service, err := event.ParseToken(strings.TrimPrefix(key, "availability.")); err == nil {
		delete(r.available, service)
	}
}

// Decide reports whether a call may be sent to a service now.
func (r *Router) Decide(ctx context.Context, service string) Decision {
	r.mu.Lock()
	known, available := r.feed, r.available[service]
	r.mu.Unlock()
	stale := known.staleReason(time.Now(), r.limit)
	if stale == "" {
		return decide(available)
	}
	// The server fills the view a moment after the stream, and after the loss of a
	// server it may lag for seconds. The stream is the truth, so ask it before
	// refusing.
	available, err := r.readFromStream(ctx, service, known)
	if err != nil {
		return Decision{Reason: fmt.Sprintf("%s, and %v", stale, err)}
	}
	return decide(available)
}

func decide(available *bool) Decision {
	switch {
	case available == nil:
		return Decision{Reason: "availability is unknown"}
	case !*available:
		return Decision{Reason: "no agent is available"}
	}
	return Decision{Route: true, Reason: "an agent is available"}
}

// staleReason says why the feed cannot be trusted, "" if it can. The clocks of this
// machine and the bridge's must agree to much less than the limit.
func (f feed) staleReason(now time.Time, limit time.Duration) string {
	switch {
	case f.status == "":
		return "the feed has not been seen"
	case f.status != event.StatusLive:
		return "the feed is " + f.status
	case now.Sub(f.observedUntil.Time) > limit:
		return fmt.Sprintf("the feed is older than %v", limit)
	}
	return ""
}

// readFromStream reads a service's availability from the stream, if the stream has a
// later and better checkpoint than the view. "stale" stands in the view alone:
// the server itself writes it there when a bridge has died, so an older
// checkpoint of the stream must not overrule it.
func (r *Router) readFromStream(ctx context.Context, service string, known feed) (*bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	e, msg, err := r.last(ctx, event.Checkpoint)
	if err != nil {
		return nil, err
	}
	if !msg.Time.After(known.stored) {
		return nil, errors.New("the stream has no newer checkpoint")
	}
	d := e.Data.(*event.CheckpointData) // by its subject
	if (feed{d.Status, d.ObservedUntil, msg.Time}).staleReason(time.Now(), r.limit) != "" {
		return nil, errors.New("the stream agrees")
	}
	var available *bool
	var latest uint64
	for _, verb := range []string{"observed", "changed"} {
		e, msg, err := r.last(ctx, "availability."+event.Token(service)+"."+verb)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if msg.Sequence < latest {
			continue
		}
		latest = msg.Sequence
		if d := e.Availability(); d != nil {
			available = d.Available
		}
	}
	return available, nil
}

// last reads the last event on a subject, below the tenant, from the stream.
func (r *Router) last(ctx context.Context, subject string) (event.Event, *jetstream.RawStreamMsg, error) {
	msg, err := r.stream.GetLastMsgForSubject(ctx, event.Prefix(r.tenant)+subject)
	if err != nil {
		return event.Event{}, nil, fmt.Errorf("read the stream: %w", err)
	}
	e, err := event.Parse(r.tenant, msg.Subject, msg.Header.Get(nats.MsgIdHdr), msg.Data)
	return e, msg, err
}
