// Command auditor is an example of a program that copies the history to a file and
// proves it complete: no event missing, none duplicate, gaps stated.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/auditor --out events.ndjson
//	go run ./examples/auditor --in events.ndjson
//
// The first reads the stream to its present end and writes each event as it is
// stored, one a line. The second judges such a file years later, without any
// server. Both print what they found, and end with status 1 if anything is wrong.
package main

import (
	"bufio"
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

// errFaults ends a run whose report lists faults.
var errFaults = errors.New("the history is not complete")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "auditor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("auditor", flag.ExitOnError)
	in := f.String("in", "", "file of events to judge instead of the stream")
	to := f.String("out", "events.ndjson", "file for the events of the stream")
	if err := f.Parse(args); err != nil {
		return err
	}
	audit, err := runAudit(ctx, *in, *to)
	if err != nil {
		return err
	}
	audit.Close()
	audit.Report(out)
	if len(audit.Faults) > 0 {
		return errFaults
	}
	return nil
}

// runAudit audits the file in, or the stream, which it copies to the file to.
func runAudit(ctx context.Context, in, to string) (*Audit, error) {
	audit := NewAudit()
	if in != "" {
		file, err := os.Open(in)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			audit.Read(lines.Bytes())
		}
		return audit, lines.Err()
	}
	file, err := os.Create(to)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	outFile := bufio.NewWriter(file)
	if err := eachEvent(ctx, func(body []byte) error {
		audit.Read(body)
		_, err := fmt.Fprintf(outFile, "%s\n", body)
		return err
	}); err != nil {
		return nil, err
	}
	return audit, errors.Join(outFile.Flush(), file.Close())
}

// eachEvent hands over every event that the stream holds now, in order.
func eachEvent(ctx context.Context, handle func(body []byte) error) error {
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), nats.Name("auditor"))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	// An ordered consumer leaves nothing behind on the server, and the client
	// itself recreates it where a message was missed.
	consumer, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	info, err := consumer.Info(ctx)
	if err != nil || info.NumPending == 0 {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(30 * time.Second))
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		if err := handle(msg.Data()); err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		// A batch is stored whole, so that the end is never within a poll.
		if meta.NumPending == 0 {
			return nil
		}
	}
}
