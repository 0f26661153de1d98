// Command service is an example of a service that does something once for every
// change of an agent's state: here it writes a line into a ledger.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/service --tenant demo
//
// End it in any way, start it again: it continues where it was, and no change is in
// the ledger twice or missing. Three things together make that so: a durable
// consumer, for which the server stores what was acknowledged; an acknowledgement
// after the work, so that a crash in between brings the event again; and work that
// knows the ids of the events it has done, so that a second delivery does no harm.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
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
	tenant := f.String("tenant", "demo", "tenant whose agents to follow")
	durable := f.String("durable", "example-service", "name of the durable consumer, which holds the progress of this service")
	file := f.String("ledger", "state-changes.ndjson", "file for the changes")
	duration := f.Duration("for", 0, "end after this long; 0 = until Ctrl-C")
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
	// The same settings open the consumer that is there.
	consumer, err := js.CreateOrUpdateConsumer(ctx, "BPCC_EVENTS", jetstream.ConsumerConfig{
		Durable:       *durable,
		FilterSubject: event.Prefix(*tenant) + "agent.*.state_changed",
		DeliverPolicy: jetstream.DeliverAllPolicy, // at its first start, from the beginning of the stream
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       5 * time.Second, // longer than the work ever takes: then an event without an acknowledgement comes again
		// One at a time keeps the order even when an event comes again. A higher
		// limit is faster where order does not matter.
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
		if err := handleMessage(ledger, *tenant, msg); err != nil {
			return err
		}
	}
}

// handleMessage does the work of one event, and acknowledges it only then.
func handleMessage(ledger *Ledger, tenant string, msg jetstream.Msg) error {
	e, d, err := readChange(tenant, msg.Subject(), msg.Headers().Get(nats.MsgIdHdr), msg.Data())
	if err != nil {
		// A second delivery would not make it readable. Report and skip it, or it
		// would block all later events.
		fmt.Fprintf(os.Stderr, "service: skipped a message on %s: %v\n", msg.Subject(), err)
		return msg.TermWithReason("not a change of an agent's state")
	}
	// If the ledger cannot be written, the event stays without acknowledgement. It
	// comes again when the service is started again.
	if err := ledger.Write(e, d); err != nil {
		return err
	}
	// If this is lost, the event comes again, and the ledger knows its id.
	return msg.Ack()
}

// readChange reads a change of an agent's state. The error wraps [event.ErrForeign].
func readChange(tenant, subject, msgID string, body []byte) (*event.Event, *event.AgentData, error) {
	e, err := event.Parse(tenant, subject, msgID, body)
	if err != nil {
		return nil, nil, err
	}
	d, ok := e.Data.(*event.AgentData)
	if !ok || d.From == nil || d.To == nil {
		return nil, nil, fmt.Errorf("%w: %s is not a change of an agent's state", event.ErrForeign, e.Name)
	}
	return &e, d, nil
}
