package stream

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

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// ViewEntry is one key of the view.
type ViewEntry struct {
	// Tenant is the tenant of the key, Key the part of the key below it.
	Tenant, Key string
	// Value is the event as stored, Event the decoded event. The event of a directory is its last
	// change, not all of it.
	Value []byte
	Event event.Event
	// Err is why the value is not the key's event; Event must not be used then. Where the key
	// itself is foreign, Tenant and Key are as they are in the bucket.
	Err error
}

// ReadView calls handle with every key of the view, ordered by tenant and key, foreign messages
// included; onlyTenant is the tenant to read, "" for all. It returns [context.DeadlineExceeded]
// when the server sends nothing for the timeout.
func ReadView(ctx context.Context, js jetstream.JetStream, c *config.Config, onlyTenant string, timeout time.Duration, handle func(ViewEntry) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) })
	defer silence.Stop()
	fail := func(doing string, err error) error {
		return fmt.Errorf("%s view %s: %w", doing, c.StateBucket, cmp.Or(context.Cause(ctx), err))
	}
	kv, err := js.KeyValue(ctx, c.StateBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return fmt.Errorf("%w; no bridge has created it yet", fail("open", err))
	}
	if err != nil {
		return fail("open", err)
	}
	keys := ">"
	if onlyTenant != "" {
		keys = event.Token(onlyTenant) + ".>"
	}
	watcher, err := kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return fail("read", err)
	}
	defer watcher.Stop()
	var all []ViewEntry
	for {
		var entry jetstream.KeyValueEntry
		open := false // a closed channel gives nil too, but that is not the end of the keys
		select {
		case entry, open = <-watcher.Updates():
			silence.Reset(timeout)
		case <-ctx.Done():
		}
		if !open {
			return fail("read", nats.ErrConnectionClosed)
		}
		if entry == nil { // end of the present keys
			break
		}
		token, key, _ := strings.Cut(entry.Key(), ".")
		var e event.Event
		tenant, err := event.ParseToken(token)
		if err != nil {
			tenant, err = token, fmt.Errorf("%w: parse key: %w", event.ErrForeign, err)
		} else {
			e, err = event.ParseValue(tenant, key, entry.Value())
		}
		if err != nil {
			err = errors.New(event.Truncate(err.Error(), 200)) // it may hold foreign text
		}
		all = append(all, ViewEntry{tenant, key, entry.Value(), e, err})
	}
	slices.SortFunc(all, func(a, b ViewEntry) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key)) })
	for _, e := range all {
		if err := handle(e); err != nil {
			return err
		}
	}
	return nil
}

// ViewBehind counts the messages of the stream that the view has not sourced yet; 0 is
// up to date. It waits up to two seconds for a view that is only busy.
func ViewBehind(ctx context.Context, js jetstream.JetStream, c *config.Config) (uint64, error) {
	const timeout = 2 * time.Second
	streamSeq, err := FetchLastSeq(ctx, js, c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("stream %s not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", c.Stream)
	}
	if err != nil {
		return 0, err
	}
	monitor := ViewMonitor{js: js, config: c}
	for start := time.Now(); ; {
		sourcedSeq, _, err := monitor.fetchSourcedSeq(ctx)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, fmt.Errorf("view %s not found; no bridge has created it yet", c.StateBucket)
		}
		if err != nil {
			return 0, err
		}
		if sourcedSeq >= streamSeq {
			return 0, nil
		}
		if time.Since(start) > timeout {
			return streamSeq - sourcedSeq, nil
		}
		select {
		case <-ctx.Done():
			return streamSeq - sourcedSeq, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}
