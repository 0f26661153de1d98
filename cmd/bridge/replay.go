package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge"
)

func (p *program) replay(ctx context.Context, args []string) error {
	f := p.flags("replay")
	since := f.Duration("since", 0, "how far to look back; 0 is the whole stream")
	subject := f.String("subject", bridge.SubjectPrefix+".>", "which subjects, with NATS wildcards")
	follow := f.Bool("follow", false, "go on with what is published from now on")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	c, log, err := p.configure(bridge.ForStream)
	if err != nil {
		return err
	}
	linked, l, err := open(ctx, c, log)
	if errors.Is(err, bridge.ErrStoreInUse) {
		// A bridge with the embedded server runs: ask it.
		c.NATSURL = "nats://" + c.EmbeddedListen
		linked, l, err = open(ctx, c, log)
	}
	if err != nil {
		return stopped(ctx, err)
	}
	defer l.close()
	config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{*subject}}
	if *since > 0 {
		from := time.Now().Add(-*since)
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	}
	return stopped(linked, read(linked, l.js, c.Stream, config, *follow, func(body []byte) error {
		_, err := fmt.Fprintf(p.stdout, "%s\n", body)
		return err
	}))
}

// read hands the bodies of a stream to visit, to its present end or for ever.
func read(ctx context.Context, js jetstream.JetStream, stream string, config jetstream.OrderedConsumerConfig, follow bool, visit func([]byte) error) error {
	opening, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	consumer, err := js.OrderedConsumer(opening, stream, config)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	info, err := consumer.Info(opening)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	if info.NumPending == 0 && !follow {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		if err := visit(msg.Data()); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		if meta.NumPending == 0 && !follow {
			return nil
		}
	}
}
