// Package view reads the bucket that the server fills from the events, measures how far it is behind
// them, and compares it with what is published.
package view

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
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

// Read returns the present entries of the view, ordered by tenant and key, foreign messages included: of one
// tenant or, if only is "", of all. Failures that may pass are retried until the server has not responded for
// the timeout.
func Read(ctx context.Context, js jetstream.JetStream, c config.Stream, only string, timeout time.Duration) ([]Entry, error) {
	prefix, keys := stream.ViewPrefix(c), ">"
	if only != "" {
		keys = event.Token(only) + ".>"
	}
	var decoder event.Decoder
	entries := map[string]Entry{} // a key that changes meanwhile comes again
	r := scan.Reader{
		JS: js, Stream: stream.ViewStream(c), Timeout: timeout, Patience: timeout, Cause: stream.Cause,
		Consumer: jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + keys}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy},
		Handle: func(_ context.Context, msg jetstream.Msg, _ *jetstream.MsgMetadata) error {
			key := strings.TrimPrefix(msg.Subject(), prefix)
			if delete(entries, key); msg.Headers().Get("KV-Operation") == "" {
				entries[key] = parseEntry(&decoder, key, msg.Data())
			}
			return nil
		},
	}
	if err := r.Read(ctx); err != nil {
		return nil, fmt.Errorf("read view %s: %w", c.StateBucket, stream.AboutStream(r.Stream, err))
	}
	return slices.SortedFunc(maps.Values(entries), Entry.Compare), nil
}

// parseEntry parses a key of the view, the tenant's token included, and its value.
func parseEntry(d *event.Decoder, viewKey string, value []byte) Entry {
	token, key, _ := strings.Cut(viewKey, ".")
	var e event.Event
	tenant, err := event.ParseToken(token)
	if err != nil {
		tenant, err = token, fmt.Errorf("%w: parse key: %w", event.ErrForeign, err)
	} else {
		e, err = d.ParseValue(tenant, key, value)
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
// not known. It waits up to two seconds for a view that is only busy, and retries failures that may pass, but
// no longer than the timeout.
func Behind(ctx context.Context, js jetstream.JetStream, c config.Stream, timeout time.Duration) (uint64, error) {
	const busy = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	monitor := Monitor{js: js, config: c, timing: config.DefaultTiming()}
	var cause error // the last one that is not just a timeout
	for start := time.Now(); ; {
		prevErr := js.Conn().LastError()
		lag, err := monitor.behind(ctx)
		err = stream.Cause(js.Conn(), prevErr, err)
		switch {
		case err == nil && (lag == 0 || time.Since(start) > busy), err != nil && !scan.MayPass(err) && !stream.IsTransient(err):
			return lag, err
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			cause = err
		}
		select {
		case <-ctx.Done():
			if err != nil {
				err = cmp.Or(cause, err)
			}
			return lag, err
		case <-time.After(min(timeout/10, 50*time.Millisecond)):
		}
	}
}

// behind is Behind once. It names what is missing.
func (v *Monitor) behind(ctx context.Context) (uint64, error) {
	_, err := scan.LastSeq(ctx, v.js, v.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("stream %s not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", v.config.Name)
	}
	if err != nil {
		return 0, err
	}
	_, lag, err := v.fetchLag(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("view %s not found; no bridge has created it yet", v.config.StateBucket)
	}
	return lag.Events, err
}
