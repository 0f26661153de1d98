// Command router is an example of a program that routes calls by what the bridge
// knows: may a call be sent to this service now?
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/router --tenant demo
//
// It follows the view, which holds the latest event of every service and, under
// <tenant>.feed, how fresh all of it is. The one rule of such a program: an answer
// that may be old is no answer. So it says ROUTE only if the feed is live and
// recent, and HOLD, with the reason, in every other case.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "router:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("router", flag.ExitOnError)
	tenant := f.String("tenant", "demo", "tenant whose services to show")
	// A feed without changes has a checkpoint every BRIDGE_CHECKPOINT_INTERVAL
	// (30s), so that a lower limit would refuse a healthy one.
	limit := f.Duration("limit", 35*time.Second, "how old the last observation may be")
	duration := f.Duration("for", 0, "end after this long; 0 = until Ctrl-C")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	// The router survives a lost connection: its data gets old, and it refuses.
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), nats.Name("router"), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	router, err := OpenRouter(ctx, js, *tenant, *limit)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- router.Follow(ctx) }()

	said := map[string]string{}
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		for _, service := range router.Services() {
			d := router.Decide(ctx, service)
			verdict := "HOLD "
			if d.Route {
				verdict = "ROUTE"
			}
			if line := fmt.Sprintf("%s  %-24s %s", verdict, service, d.Reason); line != said[service] {
				said[service] = line
				fmt.Fprintln(out, time.Now().Format(time.TimeOnly), line)
			}
		}
	}
}

// Services are the services whose availability is known, in order.
func (r *Router) Services() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.available))
}
