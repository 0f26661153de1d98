package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Router knows which services can take a call, and whether that is still true.
// Its methods may be called from any goroutine.
type Router struct {
	stream jetstream.Stream
	kv     jetstream.KeyValue
	tenant string // as a subject token
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

// feed is a checkpoint, and when the server that told it had stored it.
type feed struct {
	Status        string     `json:"status"`         // live, interrupted, stopped, stale
	ObservedUntil *time.Time `json:"observed_until"` // all changes up to then are told; nil = nothing was seen yet
	stored        time.Time
}

// availabilityEntry is the data of an availability event.
type availabilityEntry struct {
	Service   string `json:"service"`
	Available *bool  `json:"available"`
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
	return &Router{stream: stream, kv: kv, tenant: encodeToken(tenant), limit: limit, available: map[string]*bool{}}, nil
}

// Follow keeps the router up to date until ctx ends; then it returns nil.
//
// One watcher on both keys, and not a get of each: it delivers in the order of
// the stream, in which the events of a poll come before the checkpoint that
// vouches for them. Two gets may be answered by replicas that are not equally far.
func (r *Router) Follow(ctx context.Context) error {
	watcher, err := r.kv.WatchFiltered(ctx, []string{r.tenant + ".feed", r.tenant + ".availability.*"})
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
			if entry == nil {
				continue // all that was there has been told; from here on it is news
			}
			if err := r.apply(entry); err != nil {
				return err
			}
		}
	}
}

func (r *Router) apply(entry jetstream.KeyValueEntry) error {
	if entry.Operation() != jetstream.KeyValuePut {
		return nil // the bridge deletes neither key: a service that is gone is told to be unknown
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if entry.Key() == r.tenant+".feed" {
		f, err := decode[feed](entry.Value())
		f.stored = entry.Created()
		r.feed = f
		return err
	}
	a, err := decode[availabilityEntry](entry.Value())
	r.available[a.Service] = a.Available
	return err
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
	// The view is filled by the server a moment after the stream, and after the
	// loss of a server it may stand still for seconds. Before refusing, ask the
	// stream itself, which is the truth.
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
		return Decision{Reason: "nobody is available"}
	}
	return Decision{Route: true, Reason: "somebody is available"}
}

// staleReason says why the feed cannot be trusted, "" if it can. The clocks of this
// machine and the bridge's must agree to much less than the limit.
func (f feed) staleReason(now time.Time, limit time.Duration) string {
	switch {
	case f.Status == "":
		return "the feed has not been seen"
	case f.Status != "live":
		return "the feed is " + f.Status
	case f.ObservedUntil == nil || now.Sub(*f.ObservedUntil) > limit:
		return fmt.Sprintf("the feed is older than %v", limit)
	}
	return ""
}

// readFromStream reads a service's availability from the stream, if the stream has later
// and better news of the feed than the view. "stale" stands in the view alone:
// the server itself writes it there when a bridge has died, so an older
// checkpoint of the stream must not overrule it.
func (r *Router) readFromStream(ctx context.Context, service string, known feed) (*bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	msg, err := r.stream.GetLastMsgForSubject(ctx, "bpcc.v1."+r.tenant+".feed.checkpoint")
	if err != nil {
		return nil, fmt.Errorf("the stream cannot tell: %w", err)
	}
	last, err := decode[feed](msg.Data)
	if err != nil {
		return nil, err
	}
	if !msg.Time.After(known.stored) {
		return nil, errors.New("the stream knows no better")
	}
	if stale := last.staleReason(time.Now(), r.limit); stale != "" {
		return nil, errors.New("so says the stream")
	}
	var latest *jetstream.RawStreamMsg
	for _, verb := range []string{"observed", "changed"} {
		msg, err := r.stream.GetLastMsgForSubject(ctx, "bpcc.v1."+r.tenant+".availability."+encodeToken(service)+"."+verb)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the stream cannot tell: %w", err)
		}
		if latest == nil || msg.Sequence > latest.Sequence {
			latest = msg
		}
	}
	if latest == nil {
		return nil, nil // nothing is known of it
	}
	a, err := decode[availabilityEntry](latest.Data)
	return a.Available, err
}

// decode reads the data of a CloudEvent.
func decode[T any](body []byte) (T, error) {
	var event struct{ Data T }
	if err := json.Unmarshal(body, &event); err != nil {
		return event.Data, fmt.Errorf("read an event: %w", err)
	}
	return event.Data, nil
}

// encodeToken writes a name as it stands in subjects and keys: bytes other than
// A-Za-z0-9_- become =XX, so that "Voice Inbound" is Voice=20Inbound.
func encodeToken(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}
