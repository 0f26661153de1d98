// Package view reads the bucket that the server fills from the events, measures how far it is behind
// them, and compares it with what is published.
package view

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
	"bpcc-nats/bridge/scan"
)

// Entry is one key of the view.
type Entry struct {
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

// Read calls handle with every key of the view, ordered by tenant and key, foreign messages
// included; onlyTenant is the tenant to read, "" for all. It returns [context.DeadlineExceeded]
// when the server sends nothing for the timeout.
func Read(ctx context.Context, js jetstream.JetStream, c config.Stream, onlyTenant string, timeout time.Duration, handle func(Entry) error) error {
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
	var all []Entry
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
		all = append(all, ParseEntry(entry.Key(), entry.Value()))
	}
	slices.SortFunc(all, Entry.Compare)
	for _, e := range all {
		if err := handle(e); err != nil {
			return err
		}
	}
	return nil
}

// ParseEntry parses a key of the view, the tenant's token included, and its value.
func ParseEntry(viewKey string, value []byte) Entry {
	token, key, _ := strings.Cut(viewKey, ".")
	var e event.Event
	tenant, err := event.ParseToken(token)
	if err != nil {
		tenant, err = token, fmt.Errorf("%w: parse key: %w", event.ErrForeign, err)
	} else {
		e, err = event.ParseValue(tenant, key, value)
	}
	if err != nil {
		err = errors.New(event.Truncate(err.Error(), 200)) // it may hold foreign text
	}
	return Entry{tenant, key, value, e, err}
}

// Compare orders entries by tenant and key.
func (e Entry) Compare(other Entry) int {
	return cmp.Or(cmp.Compare(e.Tenant, other.Tenant), cmp.Compare(e.Key, other.Key))
}

// Behind counts the messages of the stream that the view has not sourced yet; 0 is up to date, or
// not known. It waits up to two seconds for a view that is only busy.
func Behind(ctx context.Context, js jetstream.JetStream, c config.Stream) (uint64, error) {
	const timeout = 2 * time.Second
	_, err := scan.LastSeq(ctx, js, c.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("stream %s not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", c.Name)
	}
	if err != nil {
		return 0, err
	}
	monitor := Monitor{js: js, config: c, timing: config.DefaultTiming()}
	for start := time.Now(); ; {
		_, lag, err := monitor.fetchLag(ctx)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, fmt.Errorf("view %s not found; no bridge has created it yet", c.StateBucket)
		}
		if err != nil || lag.Events == 0 || time.Since(start) > timeout {
			return lag.Events, err
		}
		select {
		case <-ctx.Done():
			return lag.Events, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}
