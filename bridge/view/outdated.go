package view

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// findOutdated returns what shows that a view that holds the checkpoint at a sequence of the stream holds
// an older event of an entity than the stream has up to there; "" if nothing does. A server that loses
// its store, or takes the stream for another one, can leave out messages when it sources again.
func findOutdated(ctx context.Context, js jetstream.JetStream, c *config.Config, checkpoint uint64) (string, error) {
	lastSeqs := map[string]uint64{}
	prefix := event.Prefix(c.Tenant)
	err := scan.All(ctx, js, c.Stream.Name, headersPerSubject(prefix), func(msg jetstream.Msg, seq uint64) error {
		// Of a subject with a newer message the older ones are not known. That entity is not judged.
		if key := event.ViewKey(strings.TrimPrefix(msg.Subject(), prefix)); key != "" && seq <= checkpoint {
			lastSeqs[key] = max(lastSeqs[key], seq)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("compare the view: read stream %s: %w", c.Stream.Name, err)
	}
	outdated, outdatedSeq := "", uint64(0)
	prefix = stream.ViewPrefix(c.Stream) + event.Token(c.Tenant) + "."
	err = scan.All(ctx, js, stream.ViewStream(c.Stream), headersPerSubject(prefix), func(msg jetstream.Msg, _ uint64) error {
		key := strings.TrimPrefix(msg.Subject(), prefix)
		if seq := sourceSeq(msg, c.Stream.Name); seq < lastSeqs[key] && (outdated == "" || key < outdated) {
			outdated, outdatedSeq = key, seq
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("compare the view: %w", err)
	}
	if outdated == "" {
		return "", nil
	}
	return fmt.Sprintf("its key %s holds message %d of the stream, which has message %d for it", outdated, outdatedSeq, lastSeqs[outdated]), nil
}

// headersPerSubject reads the headers of the last message of every subject that begins with prefix.
func headersPerSubject(prefix string) jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{prefix + ">"}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: true,
	}
}

// sourceSeq returns the sequence that a message of the view has in the stream of events; the largest
// number if it comes from elsewhere, such as from the watchdog.
func sourceSeq(msg jetstream.Msg, events string) uint64 {
	source, seq, err := scan.ParseSource(msg.Headers())
	if err != nil || source != events {
		return math.MaxUint64
	}
	return seq
}
