package reader_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// TestRandomHistories publishes random histories while a view and a durable consumer read, lose their
// connections and consumers, and begin anew. What the view shows is the fold of the stream at its position;
// it is not fresh when the feed is not; the consumer hands over each event once; and a reading of all says
// precisely which messages were deleted.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			h := randomHistory{t: t, world: newWorld(t), r: rand.New(rand.NewPCG(seed, 7))}
			h.startConsumer()
			h.startView()
			h.started()
			h.poll()
			for range 60 {
				h.step()
			}
			h.status = event.StatusLive
			h.poll()
			h.check(h.view)
			h.checkConsumed()
			h.stopConsumer()
			h.view.Close()
			h.checkHoles()
			await(t, "the durable consumer alone is left", func() bool { return h.consumers() == 1 })
		})
	}
}

// randomHistory is a random history, and who reads it.
type randomHistory struct {
	*world
	t    *testing.T
	r    *rand.Rand
	view *reader.View
	conn *nats.Conn // of the view

	stop     context.CancelFunc // of the consumer
	done     chan error
	consumer *nats.Conn
	mu       sync.Mutex
	got      []event.ID // handed over
	after    event.ID
	failures int
}

// connect opens a reader with a connection that the history can break.
func (h *randomHistory) connect() (*reader.Reader, *nats.Conn) {
	h.t.Helper()
	js := natstest.Connect(h.t, h.url, nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond))
	r, err := reader.Open(js, "acme", reader.Options{Timeout: time.Second})
	if err != nil {
		h.t.Fatal(err)
	}
	return r, js.Conn()
}

func (h *randomHistory) startView() {
	h.t.Helper()
	r, conn := h.connect()
	v, err := r.View(context.Background(), reader.ViewOptions{OnUpdate: h.checkUpdate()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.view, h.conn = v, conn
	h.t.Cleanup(v.Close)
}

// checkUpdate checks that each picture is the one before with its changes, and later.
func (h *randomHistory) checkUpdate() func(reader.Update) {
	known, last := map[string]event.ID{}, uint64(0)
	return func(u reader.Update) {
		for _, c := range u.Changes {
			was, before := known[c.Key]
			if (c.Before != nil) != before || before && c.Before.ID != was {
				h.t.Errorf("update %d: before of %s is %v, the picture had %v", u.Picture.Seq, c.Key, c.Before, was)
			}
			if delete(known, c.Key); c.After != nil {
				known[c.Key] = c.After.ID
			}
		}
		if d := cmp.Diff(texts(known), texts(held(u.Picture))); d != "" {
			h.t.Errorf("update %d: what the changes give is not the picture\n%s", u.Picture.Seq, d)
		}
		if u.Picture.Seq < last || u.Picture.Checkpoint.Part != u.Picture.Checkpoint.Parts {
			h.t.Errorf("update %d after %d, part %d of %d", u.Picture.Seq, last, u.Picture.Checkpoint.Part, u.Picture.Checkpoint.Parts)
		}
		last = u.Picture.Seq
	}
}

func (h *randomHistory) startConsumer() {
	h.t.Helper()
	r, conn := h.connect()
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.consumer, h.done = cancel, conn, make(chan error, 1)
	done, after := h.done, h.after
	go func() {
		done <- r.Consume(ctx, "work", reader.Each(h.work), reader.ConsumeOptions{AckWait: time.Second, After: after})
	}()
	h.t.Cleanup(cancel)
}

// work notes an event, as a transaction would: together with its id.
func (h *randomHistory) work(ctx context.Context, e *reader.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if h.failures > 0 {
		h.failures--
		return errTest
	}
	h.got, h.after = append(h.got, e.ID), e.ID
	return nil
}

func (h *randomHistory) stopConsumer() {
	h.t.Helper()
	h.stop()
	if err := <-h.done; !errors.Is(err, context.Canceled) {
		h.t.Fatal(err)
	}
	h.consumer.Close()
}

// step does one thing.
func (h *randomHistory) step() {
	switch h.r.IntN(16) {
	default:
		h.change()
	case 10:
		h.agent("zoe", fmt.Sprint("acd_state=ready extension=", h.id.Index))
		h.service("Chat", h.r.IntN(9))
		h.close(1, 2)
		h.send()
		h.agent("zoe", fmt.Sprint("acd_state=busy extension=", h.id.Index))
		h.close(2, 2)
		h.send()
		h.id.Poll, h.id.Index = h.id.Poll+1, 1
	case 11:
		h.foreign([]string{"agent.a1.state_changed", "service.Chat.stats_changed", "feed.checkpoint", "other"}[h.r.IntN(4)])
	case 12:
		h.status = []string{event.StatusLive, event.StatusInterrupted, event.StatusStopped}[h.r.IntN(3)]
		h.poll()
		h.checkFresh()
	case 13:
		h.reconnect()
	case 14:
		deleteConsumersBut(h.t, h.world, "work")
	case 15:
		h.restart()
	}
	if h.r.IntN(8) == 0 {
		h.check(h.view)
	}
}

// change publishes a poll with random changes.
func (h *randomHistory) change() {
	if h.r.IntN(10) == 0 {
		h.started()
	}
	if h.r.IntN(10) == 0 {
		h.resumed()
	}
	for range h.r.IntN(5) {
		id := fmt.Sprint("a", h.r.IntN(4))
		switch h.r.IntN(5) {
		case 0:
			if _, present := h.present["agent."+id]; present {
				h.agent(id, "")
			}
		default:
			h.agent(id, fmt.Sprintf("acd_state=%s extension=%d", []string{"ready", "busy"}[h.r.IntN(2)], h.id.Index))
		}
	}
	yes := h.r.IntN(2) == 0
	if h.r.IntN(3) == 0 {
		h.available("Chat", &yes)
	}
	if h.r.IntN(6) == 0 {
		h.threshold("Chat", yes)
	}
	h.poll()
}

// reconnect breaks a connection.
func (h *randomHistory) reconnect() {
	h.mu.Lock()
	h.failures = h.r.IntN(3)
	h.mu.Unlock()
	for _, nc := range []*nats.Conn{h.conn, h.consumer} {
		if h.r.IntN(2) == 0 {
			if err := nc.ForceReconnect(); err != nil {
				h.t.Fatal(err)
			}
		}
	}
}

// restart begins a reader anew, or makes the server's view anew.
func (h *randomHistory) restart() {
	switch h.r.IntN(3) {
	case 0:
		h.stopConsumer()
		h.startConsumer()
	case 1:
		h.view.Close()
		h.startView()
	case 2:
		rebuild(h.t, h.world)
	}
}

// checkFresh waits until the view shows the last poll, and checks that it is fresh only if the feed is
// live.
func (h *randomHistory) checkFresh() {
	h.t.Helper()
	h.check(h.view)
	if f := h.view.Freshness(); f.Fresh() != (h.status == event.StatusLive) {
		h.t.Errorf("the feed is %s, the view says %+v", h.status, f)
	}
}

// checkConsumed waits until all is handed over, and checks that it is all there is, in order.
func (h *randomHistory) checkConsumed() {
	h.t.Helper()
	var want []event.ID
	for _, s := range h.stored {
		if s.id != (event.ID{}) && s.key != "feed" {
			want = append(want, s.id)
		}
	}
	await(h.t, "everything is handed over", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.got) >= len(want) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := cmp.Diff(want, h.got); d != "" {
		h.t.Errorf("handed over (-want +got)\n%s", d)
	}
}

// checkHoles deletes random messages, and compares what a reading says with what was deleted.
func (h *randomHistory) checkHoles() {
	h.t.Helper()
	gone := map[uint64]bool{}
	for range 1 + h.r.IntN(6) {
		first := h.r.IntN(len(h.stored))
		for i := first; i < min(first+1+h.r.IntN(4), len(h.stored)); i++ {
			if seq := h.stored[i].seq; !gone[seq] {
				gone[seq] = true
				h.delete(seq)
			}
		}
	}
	var want []string
	run, before := 0, 0 // events that are gone since the one at index before-1
	for i, s := range h.stored {
		switch {
		case s.id == (event.ID{}):
			continue
		case gone[s.seq]:
			run++
			continue
		case run > 0 && before > 0:
			want = append(want, fmt.Sprintf("%d to %d", h.stored[before-1].seq, s.seq))
		}
		run, before = 0, i+1
	}
	var got []string
	for item, err := range h.open(reader.Options{}).Events(h.t.Context(), reader.Beginning(), reader.EventsOptions{}) {
		if err != nil {
			h.t.Fatal(err)
		}
		if hole, ok := item.(*reader.Hole); ok {
			got = append(got, fmt.Sprintf("%d to %d", hole.AfterSeq, hole.BeforeSeq))
		}
	}
	slices.SortFunc(got, compareNumbers)
	slices.SortFunc(want, compareNumbers)
	if d := cmp.Diff(want, got); d != "" {
		h.t.Errorf("holes (-deleted +reported)\n%s", d)
	}
}

// compareNumbers orders texts by the number that they begin with.
func compareNumbers(a, b string) int {
	var x, y int
	_, _ = fmt.Sscan(a, &x)
	_, _ = fmt.Sscan(b, &y)
	return x - y
}

// deleteConsumersBut deletes the consumers of the stream but one.
func deleteConsumersBut(t *testing.T, w *world, name string) {
	t.Helper()
	s, err := w.js.Stream(t.Context(), streams.Name)
	if err != nil {
		t.Fatal(err)
	}
	for n := range s.ConsumerNames(t.Context()).Name() {
		if n != name {
			_ = s.DeleteConsumer(t.Context(), n) // it may have gone meanwhile
		}
	}
}
