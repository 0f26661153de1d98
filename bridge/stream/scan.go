package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
)

// FetchLastSeq returns the sequence of a stream's newest message.
func FetchLastSeq(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	info, err := fetchStreamInfo(ctx, js, name)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// FetchEventsInfo returns the state of the stream of events for an instance that leads or wants to
// lead. The error is [ErrServerVersion] if the server does not support atomic batches.
func FetchEventsInfo(ctx context.Context, js jetstream.JetStream, c *config.Config) (*jetstream.StreamInfo, error) {
	info, err := fetchStreamInfo(ctx, js, c.Stream)
	if err == nil {
		err = CheckLeader(info)
	}
	return info, err
}

// fetchStreamInfo returns the state of a stream.
func fetchStreamInfo(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// ParseSourceHeader parses where a sourced message comes from: "stream sequence …".
func ParseSourceHeader(msg jetstream.Msg) (stream string, seq uint64, err error) {
	header := msg.Headers().Get("Nats-Stream-Source")
	fields := strings.Fields(header)
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("%w: message of the view has no source", event.ErrForeign)
	}
	if seq, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return "", 0, fmt.Errorf("%w: parse source: %w", event.ErrForeign, err)
	}
	return fields[0], seq, nil
}

// ScanLastPerSubject calls handle with the last message of every subject that the filter matches,
// in stream order.
func ScanLastPerSubject(ctx context.Context, js jetstream.JetStream, stream, filter string, handle func(jetstream.Msg, uint64) error) error {
	return Scan(ctx, js, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	}, handle)
}

// Scan calls handle with each message that a stream holds now for a consumer, and its
// sequence, until handle returns an error. ErrStopScan ends the scan without one.
func Scan(ctx context.Context, js jetstream.JetStream, stream string, consumerConfig jetstream.OrderedConsumerConfig, handle func(jetstream.Msg, uint64) error) error {
	// The server responds in tens of milliseconds; a reader without a response for this long has
	// lost the connection to it and starts again.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	consumerConfig.InactiveThreshold = 30 * time.Second
	// Without the permission to create a consumer there is no response; that must be reported soon.
	openCtx, cancelOpen := context.WithTimeout(ctx, config.CallTimeout)
	consumer, err := js.OrderedConsumer(openCtx, stream, consumerConfig)
	cancelOpen()
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	// If it is not deleted, it expires by itself. Until then it counts towards the limit of
	// consumers, which many tenants could exhaust.
	defer deleteConsumer(ctx, js, stream, consumer)
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("read consumer state: %w", err)
	}
	if info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if err := handle(msg, meta.Sequence.Stream); errors.Is(err, ErrStopScan) {
			return nil
		} else if err != nil {
			return err
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}

// deleteConsumer deletes a consumer that is not needed any more.
func deleteConsumer(ctx context.Context, js jetstream.JetStream, stream string, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, c.CachedInfo().Name) // see above
}

// ErrStopScan is returned by a handler that needs no more messages.
var ErrStopScan = errors.New("stop the scan")
