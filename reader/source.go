package reader

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/scan"
	"bpcc-nats/reader/internal/lookup"
	"bpcc-nats/reader/internal/track"
)

// patience is for how many timeouts a reading to the present end waits for a server.
const patience = 6

// source returns a reading of the messages of a stream on some subjects, to its present end. It goes on
// over the loss of the connection and of its consumers.
func (r *Reader) source(stream string, subjects []string, handle func(context.Context, *track.Message) error) *scan.Reader {
	return &scan.Reader{
		JS: r.js, Stream: stream, Timeout: r.options.Timeout, Patience: patience * r.options.Timeout,
		Consumer: jetstream.OrderedConsumerConfig{FilterSubjects: subjects},
		Handle: func(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
			return handle(ctx, &track.Message{
				Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Subject: msg.Subject(), Header: msg.Headers(), Body: slices.Clip(msg.Data()), Pending: meta.NumPending,
			})
		},
	}
}

// follow makes a reading go on at the end of the stream, and wait for the server for however long.
func follow(s *scan.Reader) { s.Follow, s.Patience = true, -1 }

// lookup returns where single messages are looked up.
func (r *Reader) lookup() *lookup.Tenant {
	return &lookup.Tenant{
		JS: r.js, Name: r.tenant, Stream: r.options.Stream, View: r.viewStream(), ViewPrefix: r.viewPrefix(),
		Timeout: r.options.Timeout, Patience: patience * r.options.Timeout,
	}
}
