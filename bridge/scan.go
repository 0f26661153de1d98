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

// lastSequence is that of the newest message of a stream, with when the stream
// was made.
func lastSequence(ctx context.Context, js jetstream.JetStream, name string) (made time.Time, seq uint64, err error) {
	info, err := lookAt(ctx, js, name)
	if err != nil {
		return made, 0, err
	}
	return info.Created, info.State.LastSeq, nil
}

// lookToLead asks how the stream of events is, on behalf of a bridge that leads or
// means to. The error is [ErrServerVersion] if no batch can be written to it.
func lookToLead(ctx context.Context, js jetstream.JetStream, c *Config) (*jetstream.StreamInfo, error) {
	info, err := lookAt(ctx, js, c.Stream)
	if err == nil {
		err = checkLeader(info)
	}
	return info, err
}

// lookAt asks the server how a stream is.
func lookAt(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// sourceOf reads where a sourced message comes from: "stream sequence …".
func sourceOf(msg jetstream.Msg) (stream string, seq uint64, err error) {
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

// lastPerSubject visits the last message of every subject that the filter
// names, in stream order.
func lastPerSubject(ctx context.Context, js jetstream.JetStream, stream, filter string, each func(jetstream.Msg, uint64) error) error {
	return visit(ctx, js, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	}, each)
}

// visit hands what a stream now holds of what a consumer is to see to each, with
// its sequence.
func visit(ctx context.Context, js jetstream.JetStream, stream string, what jetstream.OrderedConsumerConfig, each func(jetstream.Msg, uint64) error) error {
	// The server answers in tens of milliseconds; a reader that hears nothing
	// for this long has lost it and starts anew.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	what.InactiveThreshold = 30 * time.Second
	// Who may not open one gets no answer; that is to be told soon.
	opening, opened := context.WithTimeout(ctx, callTimeout)
	consumer, err := js.OrderedConsumer(opening, stream, what)
	opened()
	if err != nil {
		return fmt.Errorf("open a consumer: %w", err)
	}
	// Should it not be deleted, it ends by itself. Until then it has one of the
	// places on the stream, which many tenants would use up.
	defer forget(ctx, js, stream, consumer)
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
		if err := each(msg, meta.Sequence.Stream); err != nil {
			return err
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}

// forget deletes a consumer that is not needed any more.
func forget(ctx context.Context, js jetstream.JetStream, stream string, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, c.CachedInfo().Name) // see above
}

// errEnough ends a visit.
var errEnough = errors.New("enough")
