package bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// streamEnd is that of the newest message of a stream, with when the stream
// was made.
func streamEnd(ctx context.Context, js jetstream.JetStream, name string) (createdAt time.Time, seq uint64, err error) {
	info, err := fetchStreamInfo(ctx, js, name)
	if err != nil {
		return createdAt, 0, err
	}
	return info.Created, info.State.LastSeq, nil
}

// fetchEventsInfo asks how the stream of events is, on behalf of a bridge that leads or
// means to. The error is [ErrServerVersion] if no batch can be written to it.
func fetchEventsInfo(ctx context.Context, js jetstream.JetStream, c *Config) (*jetstream.StreamInfo, error) {
	info, err := fetchStreamInfo(ctx, js, c.Stream)
	if err == nil {
		err = checkLeader(info)
	}
	return info, err
}

// fetchStreamInfo asks the server how a stream is.
func fetchStreamInfo(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// parseSourceHeader reads where a sourced message comes from: "stream sequence …".
func parseSourceHeader(msg jetstream.Msg) (stream string, seq uint64, err error) {
	header := msg.Headers().Get("Nats-Stream-Source")
	fields := strings.Fields(header)
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("%w: it has no source: somebody wrote to the view", event.ErrForeign)
	}
	if seq, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return "", 0, fmt.Errorf("%w: its source: %w", event.ErrForeign, err)
	}
	return fields[0], seq, nil
}

// scanLastPerSubject visits the last message of every subject that the filter
// names, in stream order.
func scanLastPerSubject(ctx context.Context, js jetstream.JetStream, stream, filter string, handle func(jetstream.Msg, uint64) error) error {
	return scanStream(ctx, js, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	}, handle)
}

// scanStream hands what a stream now holds of what a consumer is to see to each, with
// its sequence.
func scanStream(ctx context.Context, js jetstream.JetStream, stream string, config jetstream.OrderedConsumerConfig, handle func(jetstream.Msg, uint64) error) error {
	// The server answers in tens of milliseconds; a reader that hears nothing
	// for this long has lost it and starts anew.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	config.InactiveThreshold = 30 * time.Second
	// Who may not open one gets no answer; that is to be told soon.
	openCtx, cancelOpen := context.WithTimeout(ctx, callTimeout)
	consumer, err := js.OrderedConsumer(openCtx, stream, config)
	cancelOpen()
	if err != nil {
		return fmt.Errorf("open a consumer: %w", err)
	}
	// Should it not be deleted, it ends by itself. Until then it has one of the
	// places on the stream, which many tenants would use up.
	defer deleteConsumer(ctx, js, stream, consumer)
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the consumer: %w", err)
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
		if err := handle(msg, meta.Sequence.Stream); err != nil {
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

// errStopScan ends a visit.
var errStopScan = errors.New("enough")
