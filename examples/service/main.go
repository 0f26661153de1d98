// Command service is an example of a service that does something once for every
// change of an agent's state: here it writes a line into a ledger.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/service --tenant demo
//
// End it in any way, start it again: it goes on where it was, and no change is in
// the ledger twice or missing. Three things together make that so: a durable
// consumer, which remembers on the server what was acknowledged; an
// acknowledgement that is given after the work, so that a crash in between brings
// the event again; and work that knows the ids of the events it has done, so that
// again does no harm.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("service", flag.ExitOnError)
	tenant := f.String("tenant", "demo", "whose agents, as it stands in subjects")
	durable := f.String("durable", "example-service", "under which name the server remembers how far this service is")
	file := f.String("ledger", "state-changes.ndjson", "where the changes go")
	duration := f.Duration("for", 0, "end after this long; 0 goes on until Ctrl-C")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	ledger, err := OpenLedger(*file)
	if err != nil {
		return err
	}
	defer ledger.Close()
	fmt.Fprintf(out, "%d changes are in %s\n", ledger.Len(), *file)

	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), nats.Name(*durable), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	// Making it again with the same settings is how one opens it.
	consumer, err := js.CreateOrUpdateConsumer(ctx, "BPCC_EVENTS", jetstream.ConsumerConfig{
		Durable:       *durable,
		FilterSubject: "bpcc.v1." + *tenant + ".agent.*.state_changed",
		DeliverPolicy: jetstream.DeliverAllPolicy, // at its first start: from the stream's beginning
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       5 * time.Second, // longer than the work ever takes: after it, an event without word comes again
		// One at a time keeps the order even when an event comes again. Where
		// order does not matter, a higher limit is faster.
		MaxAckPending: 1,
	})
	if err != nil {
		return fmt.Errorf("open the consumer %s: %w", *durable, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the consumer %s: %w", *durable, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			fmt.Fprintf(out, "%d changes are in %s now\n", ledger.Len(), *file)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the consumer %s: %w", *durable, err)
		}
		if err := handleMessage(ledger, msg); err != nil {
			return err
		}
	}
}

// handleMessage does the work of one event, and acknowledges it only then.
func handleMessage(ledger *Ledger, msg jetstream.Msg) error {
	err := ledger.Write(msg.Data())
	switch {
	case errors.Is(err, errUnreadable):
		// It will not be readable the next time either: set it aside, loudly,
		// instead of standing still before it for ever.
		fmt.Fprintf(os.Stderr, "service: %s is set aside: %v\n", msg.Subject(), err)
		return msg.TermWithReason(err.Error())
	case err != nil:
		// The ledger cannot be written. Not acknowledged, the event comes again
		// when somebody has mended that and started the service.
		return err
	}
	// If this is lost, the event comes again, and the ledger knows its id.
	return msg.Ack()
}
