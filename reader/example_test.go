package reader_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	bridgestream "bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/reader"
)

// exampleFailer ends an example that fails.
type exampleFailer struct{}

func (exampleFailer) Helper()                           {}
func (exampleFailer) Fatal(args ...any)                 { log.Panic(args...) }
func (exampleFailer) Fatalf(format string, args ...any) { log.Panicf(format, args...) }

// startExample starts a NATS server and publishes what a bridge would: two polls of the tenant acme. The
// examples close what it returns.
func startExample() (js jetstream.JetStream, stop func()) {
	dir, err := os.MkdirTemp("", "reader")
	if err != nil {
		log.Panic(err)
	}
	server, err := bridgestream.StartServer(dir, "127.0.0.1:0")
	if err != nil {
		log.Panic(err)
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		log.Panic(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		log.Panic(err)
	}
	w := newWriter(exampleFailer{}, server.URL(), js)
	w.age = 20 * time.Millisecond // windows end at whole milliseconds, so perhaps after now
	yes := true
	w.started()
	w.agent("john.smith", "acd_state=ready")
	w.available("Voice Inbound", &yes)
	w.poll()
	w.agent("john.smith", "acd_state=not_ready reason=Lunch")
	w.poll()
	return js, func() {
		nc.Close()
		server.Close()
		os.RemoveAll(dir)
	}
}

func ExampleReader_View() {
	js, stop := startExample()
	defer stop()
	ctx := context.Background()
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	view, err := r.View(ctx, reader.ViewOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer view.Close()
	if err := view.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	for _, a := range view.Picture().Agents() {
		fmt.Println(a.ID, a.State.State, a.State.Reason)
	}
	fmt.Println(view.Freshness().Status)
	// Output:
	// john.smith not_ready Lunch
	// live
}

func ExampleView_Available() {
	js, stop := startExample()
	defer stop()
	ctx := context.Background()
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	view, err := r.View(ctx, reader.ViewOptions{Kinds: []string{"availability"}})
	if err != nil {
		log.Fatal(err)
	}
	defer view.Close()
	if err := view.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	for _, service := range []string{"Voice Inbound", "Chat"} {
		answer := view.Available(service)
		fmt.Println(service, answer.Route, answer.Reason)
	}
	// Output:
	// Voice Inbound true an agent is available
	// Chat false nothing is published about the service
}

func ExampleReader_Events() {
	js, stop := startExample()
	defer stop()
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for item, err := range r.Events(context.Background(), reader.Beginning(), reader.EventsOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		switch i := item.(type) {
		case *reader.Event:
			fmt.Println(i.Seq, i.MsgID(), i.Name)
		case *reader.Checkpoint:
			fmt.Println(i.Seq, i.MsgID(), "closes", i.Count, "events")
		case *reader.Gap:
			fmt.Println("the source was not seen until", i.Data.Observed.By)
		case *reader.Hole:
			fmt.Println("events are missing:", i.Missing, i.Cause)
		case *reader.Foreign, *reader.Unreadable:
			fmt.Println("not an event")
		}
	}
	// Output:
	// 1 acme-1-1-1 feed.started
	// 2 acme-1-1-2 agent.appeared
	// 3 acme-1-1-3 availability.observed
	// 4 acme-1-1-4 closes 3 events
	// 5 acme-1-2-1 agent.state_changed
	// 6 acme-1-2-2 closes 1 events
}

func ExampleReader_StateAt() {
	js, stop := startExample()
	defer stop()
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	agent := svc.StateRequest{Kind: "agent", ID: "john.smith"}
	state, err := r.StateAt(context.Background(), time.Now(), reader.StateAtOptions{Entity: agent})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range state.Entities {
		for _, possible := range e.Possible {
			fmt.Println(e.Key, possible.Event.Row().After.Text("acd_state"))
		}
		if !e.Certain() {
			fmt.Println("not certain:", e.Unknown.Reason)
		}
	}
	// Output:
	// agent.john=2Esmith not_ready
	// not certain: unconfirmed
}

func ExampleBatches() {
	js, stop := startExample()
	defer stop()
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	all := r.Events(context.Background(), reader.Beginning(), reader.EventsOptions{})
	for batch, err := range reader.Batches(all) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("poll", batch.Checkpoint.Data.Poll, "has", len(batch.Events), "events")
	}
	// Output:
	// poll 1 has 3 events
	// poll 2 has 1 events
}

func ExampleReader_Consume() {
	js, stop := startExample()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	work := func(_ context.Context, e *reader.Event) error {
		decoded, err := e.Decode()
		if err != nil {
			return err
		}
		d := decoded.Data.(*event.AgentData)
		fmt.Println(d.Agent.ID, d.From.State, "→", d.To.State)
		cancel() // an example ends
		return nil
	}
	err = r.Consume(ctx, "wallboard", reader.Each(work), reader.ConsumeOptions{
		Subjects: []string{"agent.*.state_changed"},
		// After: the id that was stored with the last piece of work
	})
	fmt.Println(err)
	// Output:
	// john.smith ready → not_ready
	// consume wallboard: context canceled
}
