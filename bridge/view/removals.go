package view

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// RemovalTTL returns the TTL of the message of a removal, after which the view forgets the entity, too:
// the age at which the stream of events forgets it; 0 = none. A longer one would keep a person in the
// view, a shorter one would make a hole in the stream.
func RemovalTTL(events jetstream.StreamConfig) time.Duration {
	if !events.AllowMsgTTL { // the server would refuse the message
		return 0
	}
	return events.MaxAge.Truncate(time.Second)
}

// PurgeRemovals purges a tenant's keys whose removal is as old as the stream of events lets any event
// become, and counts them. The server ends removals by their TTL; those that have none were stored by a
// version without it, or in a view that does not allow it.
func PurgeRemovals(ctx context.Context, js jetstream.JetStream, c *config.Config, maxAge time.Duration) (purged int, err error) {
	if maxAge <= 0 {
		return 0, nil
	}
	prefix := stream.ViewPrefix(c.Stream) + event.Token(c.Tenant) + "."
	expired := map[string]uint64{} // sequence by key
	err = scan.All(ctx, js, stream.ViewStream(c.Stream), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{prefix + ">"},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		HeadersOnly:    true,
	}, func(msg jetstream.Msg, seq uint64) error {
		meta, err := msg.Metadata()
		if err == nil && msg.Headers().Get("KV-Operation") != "" && time.Since(meta.Timestamp) >= maxAge {
			expired[strings.TrimPrefix(msg.Subject(), prefix)] = seq
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read removals of the view: %w", err)
	}
	for key, seq := range expired {
		// The entity may be back: what was stored after the removal stays.
		if err := PurgeKey(ctx, js, c, key, seq); err != nil {
			return purged, err
		}
		purged++
	}
	return purged, nil
}

// PurgeKey purges what the view holds of a tenant's key up to a sequence.
func PurgeKey(ctx context.Context, js jetstream.JetStream, c *config.Config, key string, upTo uint64) error {
	ctx, cancel := context.WithTimeout(ctx, c.Times().CallTimeout)
	defer cancel()
	prevErr := js.Conn().LastError()
	view, err := js.Stream(ctx, stream.ViewStream(c.Stream))
	if err == nil {
		err = view.Purge(ctx, jetstream.WithPurgeSubject(stream.ViewPrefix(c.Stream)+event.Token(c.Tenant)+"."+key), jetstream.WithPurgeSequence(upTo+1))
	}
	if err = stream.Cause(js.Conn(), prevErr, err); err != nil {
		return fmt.Errorf("purge a key of the view: %w", err)
	}
	return nil
}
