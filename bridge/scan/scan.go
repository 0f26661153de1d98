// Package scan reads the messages that a stream holds, to its end. It passes over those that the server
// cannot load, and names them.
package scan

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// callTimeout bounds every JetStream call: without a leader the server does not respond at all.
const callTimeout = 5 * time.Second

// LastSeq returns the sequence of a stream's newest message.
func LastSeq(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	info, err := Info(ctx, js, name)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Info returns the configuration and the state of a stream.
func Info(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read info of stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// ParseSource parses where a sourced message with these headers comes from: "stream sequence …".
func ParseSource(header nats.Header) (stream string, seq uint64, err error) {
	fields := strings.Fields(header.Get("Nats-Stream-Source"))
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("%w: message of the view has no source", event.ErrForeign)
	}
	if seq, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return "", 0, fmt.Errorf("%w: parse source: %w", event.ErrForeign, err)
	}
	return fields[0], seq, nil
}

// LastPerSubject calls handle with the last message of every subject that the filter matches,
// in stream order.
func LastPerSubject(ctx context.Context, js jetstream.JetStream, stream, filter string, handle func(jetstream.Msg, uint64) error) error {
	return All(ctx, js, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	}, handle)
}

// All calls handle with each message that a stream holds now for a consumer, and its sequence,
// until handle returns an error. ErrStop ends the scan without one. It passes over messages
// that the server cannot load; [FindUnreadable] names them.
func All(ctx context.Context, js jetstream.JetStream, stream string, consumer jetstream.OrderedConsumerConfig, handle func(jetstream.Msg, uint64) error) error {
	r := Reader{JS: js, Stream: stream, Consumer: consumer, Timeout: callTimeout}
	r.Handle = func(_ context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		return handle(msg, meta.Sequence.Stream)
	}
	if err := r.Read(ctx); !errors.Is(err, ErrStop) {
		return err
	}
	return nil
}
