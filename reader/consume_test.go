package reader_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// consumer runs Consume until it is stopped.
type consumer struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error

	mu  sync.Mutex
	got []string
}

// add adds what was handed over.
func (c *consumer) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, text)
}

func (c *consumer) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// batchText writes a batch in one line.
func batchText(b reader.Batch) string {
	var all []string
	for _, e := range b.Events {
		all = append(all, e.MsgID())
	}
	for _, n := range b.Notes {
		text := describe(n)
		all = append(all, "("+text+")")
	}
	id := "none"
	if b.Checkpoint != nil {
		id = b.Checkpoint.MsgID()
	}
	return id + ": " + strings.Join(all, " ")
}

// consume starts to consume. The handler, if it is nil, notes the batches.
func (w *world) consume(handle reader.Handler, o reader.ConsumeOptions) *consumer {
	t := w.t.(*testing.T)
	t.Helper()
	return startConsumer(t, w.open(reader.Options{Timeout: time.Second}), handle, o)
}

// consumeBy is consume by another connection.
func consumeBy(t *testing.T, js jetstream.JetStream, o reader.ConsumeOptions) *consumer {
	t.Helper()
	r, err := reader.Open(js, "acme", reader.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return startConsumer(t, r, nil, o)
}

func startConsumer(t *testing.T, r *reader.Reader, handle reader.Handler, o reader.ConsumeOptions) *consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &consumer{t: t, cancel: cancel, done: make(chan error, 1)}
	if handle == nil {
		handle = func(_ context.Context, b reader.Batch) error { c.add(batchText(b)); return nil }
	}
	go func() { c.done <- r.Consume(ctx, "work", handle, o) }()
	t.Cleanup(cancel)
	return c
}

// stop ends the consumption, and waits.
func (c *consumer) stop() {
	c.t.Helper()
	c.cancel()
	if err := <-c.done; !errors.Is(err, context.Canceled) {
		c.t.Fatal(err)
	}
}

// awaitAll waits until what was handed over is as wanted.
func (c *consumer) awaitAll(want []string) {
	c.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		got := c.all()
		d := cmp.Diff(want, got)
		if d == "" {
			return
		}
		select {
		case err := <-c.done:
			c.t.Fatalf("consume ended: %v; (-want +got)\n%s", err, d)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("handed over (-want +got)\n%s", d)
		}
	}
}

var wholeBatches = []string{
	"acme-1-1-4: acme-1-1-1 acme-1-1-2 acme-1-1-3",
	"acme-1-2-3: acme-1-2-1 acme-1-2-2",
	"acme-1-3-3: acme-1-3-1 acme-1-3-2 (8 foreign agent.anna.state_changed) (9 gap 1m0s)",
	"acme-1-4-1: ",
	"acme-2-5-3: acme-2-5-1 acme-2-5-2",
}

func TestConsume(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options reader.ConsumeOptions
		want    []string
	}{
		"all": {want: wholeBatches},
		"some subjects": {options: reader.ConsumeOptions{Subjects: []string{"agent.*.state_changed"}},
			want: []string{"acme-1-2-3: acme-1-2-1", "acme-1-3-3:  (8 foreign agent.anna.state_changed)", "acme-2-5-3: acme-2-5-2"}},
		"from a sequence within a batch": {options: reader.ConsumeOptions{From: reader.AtSequence(6)}, want: wholeBatches[1:]},
		"after a checkpoint": {options: reader.ConsumeOptions{From: reader.After(event.ID{Epoch: 1, Poll: 2, Index: 3})},
			want: append([]string{"acme-1-3-3: acme-1-3-1 acme-1-3-2 (9 gap 1m0s)"}, wholeBatches[3:]...)},
		"after what the handler has done": {options: reader.ConsumeOptions{After: event.ID{Epoch: 1, Poll: 2, Index: 1}},
			want: append([]string{"acme-1-2-3: acme-1-2-2"}, wholeBatches[2:]...)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			history(w)
			c := w.consume(nil, test.options)
			want := slices.Clone(test.want)
			for i := range want {
				want[i] = strings.Replace(want[i], ":  ", ": ", 1)
			}
			c.awaitAll(want)
			w.agent("anna", "acd_state=busy")
			w.poll()
			c.awaitAll(append(want, "acme-2-6-2: acme-2-6-1"))
			await(t, "it is acknowledged", func() bool { return acknowledged(w) == 17 })
			c.stop()
			// Another process goes on.
			next := w.consume(nil, test.options)
			w.agent("anna", "acd_state=ready")
			w.poll()
			next.awaitAll([]string{"acme-2-7-2: acme-2-7-1"})
			next.stop()
			await(t, "the durable consumer alone is left", func() bool { return w.consumers() == 1 })
		})
	}
}

// acknowledged returns the sequence up to which the durable consumer is done.
func acknowledged(w *world) uint64 {
	w.t.Helper()
	c, err := w.js.Consumer(context.Background(), streams.Name, "work")
	if err != nil {
		w.t.Fatal(err)
	}
	return c.CachedInfo().AckFloor.Stream
}

var errTest = errors.New("test failure")

// TestFailures: a batch whose handler fails is handed over again before the next one, until it is done or
// given up.
func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	var c *consumer
	ready := make(chan struct{})
	attempts := map[string]int{}
	handle := func(_ context.Context, b reader.Batch) error {
		<-ready
		id := b.Checkpoint.MsgID()
		attempts[id]++
		c.add(fmt.Sprint(id, " ", attempts[id]))
		switch {
		case id == "acme-1-2-3" && attempts[id] < 3, id == "acme-1-4-1":
			return errTest
		}
		return nil
	}
	var poisoned []string
	c = w.consume(handle, reader.ConsumeOptions{OnFailure: func(f reader.Failure) bool {
		poisoned = append(poisoned, fmt.Sprint(f.Batch.Checkpoint.MsgID(), " ", f.Attempt, " ", f.Err))
		return f.Attempt == 3
	}})
	close(ready)
	c.awaitAll([]string{
		"acme-1-1-4 1", "acme-1-2-3 1", "acme-1-2-3 2", "acme-1-2-3 3", "acme-1-3-3 1", "acme-1-4-1 1", "acme-1-4-1 2", "acme-1-4-1 3", "acme-2-5-3 1",
	})
	c.stop()
	want := []string{"acme-1-2-3 1 test failure", "acme-1-2-3 2 test failure", "acme-1-4-1 1 test failure", "acme-1-4-1 2 test failure", "acme-1-4-1 3 test failure"}
	if d := cmp.Diff(want, poisoned); d != "" {
		t.Errorf("failures (-want +got)\n%s", d)
	}
}

// TestEach: a batch that is handed over again goes on with the event that failed.
func TestEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	var got []string
	failed := false
	var c *consumer
	done := make(chan struct{})
	c = w.consume(reader.Each(func(_ context.Context, e *reader.Event) error {
		got = append(got, e.MsgID())
		if e.MsgID() == "acme-1-1-2" && !failed {
			failed = true
			return errTest
		}
		if e.MsgID() == "acme-2-5-2" {
			close(done)
		}
		return nil
	}), reader.ConsumeOptions{})
	<-done
	c.stop()
	want := []string{"acme-1-1-1", "acme-1-1-2", "acme-1-1-2", "acme-1-1-3", "acme-1-2-1", "acme-1-2-2", "acme-1-3-1", "acme-1-3-2", "acme-2-5-1", "acme-2-5-2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("handed over (-want +got)\n%s", d)
	}
}

// TestWhatWasLostBetweenProcesses: a process that begins after messages have left the stream is told so.
func TestWhatWasLostBetweenProcesses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		purge uint64 // what comes before
		want  string
	}{
		"nothing": {want: "acme-2-6-2: acme-2-6-1"},
		"the next": {purge: 18,
			want: `acme-2-7-2: acme-2-7-1 (hole expired of at least 1 in "" after - (0) before acme-2-7-2 (19))`},
		"the last that was done": {purge: 16, want: `acme-2-6-2: acme-2-6-1 (hole expired of at least 1 in "" after - (0) before acme-2-6-2 (17))`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			history(w)
			c := w.consume(nil, reader.ConsumeOptions{})
			c.awaitAll(wholeBatches)
			await(t, "all is acknowledged", func() bool { return acknowledged(w) == 15 })
			c.stop()
			for range 2 {
				w.agent("anna", fmt.Sprint("acd_state=ready extension=", w.id.Poll))
				w.poll()
			}
			if test.purge > 0 {
				s, err := w.js.Stream(t.Context(), streams.Name)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(test.purge)); err != nil {
					t.Fatal(err)
				}
			}
			c = w.consume(nil, reader.ConsumeOptions{})
			await(t, "a batch is handed over", func() bool { return len(c.all()) > 0 })
			if got := c.all()[0]; got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
			c.stop()
		})
	}
}

// TestTwoProcesses: of two processes one has a batch at a time, and the order is kept when one ends in the
// middle of its work.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	var mu sync.Mutex
	var got []string
	working := 0
	hang := make(chan struct{})
	handle := func(name string) reader.Handler {
		return func(ctx context.Context, b reader.Batch) error {
			mu.Lock()
			if working++; working > 1 && name != "first" {
				t.Error("two batches at a time")
			}
			mu.Unlock()
			defer func() { mu.Lock(); defer mu.Unlock(); working-- }()
			if name == "first" && b.Checkpoint.ID.Poll == 3 {
				close(hang)
				<-ctx.Done()
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, b.Checkpoint.MsgID())
			return nil
		}
	}
	first := w.consume(handle("first"), reader.ConsumeOptions{AckWait: time.Second})
	<-hang
	second := w.consume(handle("second"), reader.ConsumeOptions{AckWait: time.Second})
	first.stop()
	await(t, "the second process goes on", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 5 })
	second.stop()
	if d := cmp.Diff([]string{"acme-1-1-4", "acme-1-2-3", "acme-1-3-3", "acme-1-4-1", "acme-2-5-3"}, got); d != "" {
		t.Errorf("handed over (-want +got)\n%s", d)
	}
}

func TestConsumeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.open(reader.Options{})
	handle := func(context.Context, reader.Batch) error { return nil }
	if _, err := w.js.CreateConsumer(t.Context(), streams.Name, jetstream.ConsumerConfig{Durable: "other", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		durable string
		options reader.ConsumeOptions
		want    string
	}{
		"no name":        {"", reader.ConsumeOptions{}, "no name"},
		"ack wait":       {"work", reader.ConsumeOptions{AckWait: time.Millisecond}, "AckWait is 1ms"},
		"subject":        {"work", reader.ConsumeOptions{Subjects: []string{"a..b"}}, `subject "a..b"`},
		"other settings": {"other", reader.ConsumeOptions{}, "want filter bpcc.v1.acme.feed.checkpoint"},
	} {
		err := r.Consume(t.Context(), test.durable, handle, test.options)
		if !errors.Is(err, reader.ErrOptions) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %v with %q", name, err, reader.ErrOptions, test.want)
		}
	}
}

// TestConsumeGoesOn: over the loss of the connection and of the consumer.
func TestConsumeGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	js := natstest.Connect(t, w.url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	c := consumeBy(t, js, reader.ConsumeOptions{AckWait: time.Second})
	want := slices.Clone(wholeBatches)
	c.awaitAll(want)
	change := func() {
		t.Helper()
		poll := w.id.Poll
		w.agent("anna", fmt.Sprint("acd_state=ready extension=", poll))
		w.poll()
		want = append(want, fmt.Sprintf("acme-2-%d-2: acme-2-%d-1", poll, poll))
		c.awaitAll(want)
	}
	if err := js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	change()
	deleteConsumers(t, w)
	change()
	change()
	c.stop()
}

// TestConsumeAfterALostRequest loses the request for messages, as a server of a cluster does that does not know
// yet where the consumer is.
func TestConsumeAfterALostRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	relay := natstest.NewRelayTo(t, w.url)
	relay.LoseRequests(1)
	c := consumeBy(t, relay.JetStream, reader.ConsumeOptions{})
	c.awaitAll(wholeBatches)
	c.stop()
}
