package reader_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
	"bpcc-nats/reader/past"
)

// pastDay stores a day that is past, in polls ten seconds apart, and returns the instant of the first one: ann
// changes with each poll, bob in the second one, and the third has nobody else.
func pastDay(w *world) time.Time {
	w.t.Helper()
	w.age = 10 * time.Minute
	begin := time.Now().Add(-w.age)
	yes := true
	w.started()
	w.agent("ann", "acd_state=ready")
	w.agent("bob", "acd_state=ready")
	w.service("Chat", 1)
	w.available("Chat", &yes)
	w.poll()
	w.age -= 10 * time.Second
	w.agent("ann", "acd_state=busy")
	w.agent("bob", "acd_state=not_ready")
	w.threshold("Chat", true)
	w.poll()
	w.age -= 10 * time.Second
	w.agent("ann", "acd_state=ready extension=3")
	w.poll()
	w.age -= 10 * time.Second
	w.poll()
	kv, err := w.js.KeyValue(context.Background(), streams.StateBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	await(w.t, "the view has it all", func() bool {
		status, err := kv.Status(context.Background())
		return err == nil && status.Values() == 6
	})
	return begin
}

// stateAt reads a state, and writes it in lines: of each entity the states that are possible, and why if not
// one is certain; then what else is not known.
func stateAt(t *testing.T, r *reader.Reader, at time.Time, o reader.StateAtOptions) []string {
	t.Helper()
	s, err := r.StateAt(t.Context(), at, o)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range s.Entities {
		var states []string
		for _, p := range e.Possible {
			state := "absent"
			switch {
			case p.Event == nil:
			case p.Event.Row() != nil:
				state = p.Event.Row().After.Text("acd_state") + p.Event.Row().After.Text("in_calls_waiting")
			default:
				state = p.Event.Verb()
			}
			states = append(states, state)
		}
		line := e.Key + " " + strings.Join(states, "|")
		if !e.Certain() {
			line += " " + string(e.Unknown.Reason)
		}
		lines = append(lines, line)
	}
	for _, u := range s.Unknown {
		lines = append(lines, fmt.Sprintf("unknown %s %d", u.Reason, u.Messages))
	}
	return lines
}

// TestStateAt reads the states of a day that was stored in one go, long after.
func TestStateAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := pastDay(w)
	r := w.open(reader.Options{})
	for name, test := range map[string]struct {
		after time.Duration
		want  []string
	}{
		"before":   {-time.Second, []string{"unknown before_first_observation 0"}},
		"second 5": {5 * time.Second, []string{"agent.ann ready|busy changing", "agent.bob ready|not_ready changing", "availability.Chat observed", "service.Chat 1", "threshold.backlog.Chat absent|raised changing"}},
		"second 15": {15 * time.Second, []string{
			"agent.ann busy|ready changing", "agent.bob not_ready", "availability.Chat observed", "service.Chat 1", "threshold.backlog.Chat raised",
		}},
		"second 25": {25 * time.Second, []string{
			"agent.ann ready", "agent.bob not_ready", "availability.Chat observed", "service.Chat 1", "threshold.backlog.Chat raised",
		}},
		"second 35": {35 * time.Second, []string{
			"agent.ann ready unconfirmed", "agent.bob not_ready unconfirmed", "availability.Chat observed unconfirmed", "service.Chat 1 unconfirmed",
			"threshold.backlog.Chat raised unconfirmed", "unknown unconfirmed 0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(test.want, stateAt(t, r, begin.Add(test.after), reader.StateAtOptions{})); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	s, err := r.StateAt(t.Context(), begin.Add(25*time.Second), reader.StateAtOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ann, ok := s.Picture.Agent("ann")
	if !ok || ann.State.State != "ready" || ann.Stats.Text("extension") != "3" || ann.Revision != 3 || len(s.Picture.Agents()) != 2 || s.Picture.Checkpoint == nil {
		t.Errorf("the picture has %+v, %v", ann, s.Picture.Agents())
	}
}

// TestStateAtOptions: what cannot be answered is an error.
func TestStateAtOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.open(reader.Options{})
	if _, err := r.StateAt(t.Context(), time.Now().Add(time.Minute), reader.StateAtOptions{}); !errors.Is(err, reader.ErrFuture) {
		t.Errorf("the future: %v", err)
	}
	for _, e := range []svc.StateRequest{{Kind: "team", ID: "x"}, {Kind: "agent"}, {Kind: "threshold", ID: "x"}, {Kind: "agent", ID: "x", Rule: "y"}} {
		if _, err := r.StateAt(t.Context(), time.Now(), reader.StateAtOptions{Entity: e}); !errors.Is(err, reader.ErrOptions) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if d := cmp.Diff([]string{"unknown aged_out 0"}, stateAt(t, r, time.Now(), reader.StateAtOptions{})); d != "" {
		t.Errorf("an empty stream (-want +got)\n%s", d)
	}
}

// TestStateAtOfDamagedStream: where messages are lost, erased or not the bridge's, the state says of whom that
// leaves something unknown, and of nobody else.
func TestStateAtOfDamagedStream(t *testing.T) {
	t.Parallel()
	// The messages: 1 started, 2 ann, 3 bob, 4 Chat, 5 its availability, 6 checkpoint; 7 ann, 8 bob, 9 rule,
	// 10 checkpoint; 11 ann, 12 checkpoint; 13 checkpoint.
	at15 := func(lines ...string) []string {
		return append([]string{"availability.Chat observed", "service.Chat 1", "threshold.backlog.Chat raised"}, lines...)
	}
	for name, test := range map[string]struct {
		damage func(w *world)
		want   []string
	}{
		"the last event about bob is lost": {
			func(w *world) { w.delete(8) },
			// The view proves that the others are complete, and has what bob became.
			at15("agent.ann busy|ready changing", "agent.bob ready lost", "unknown lost 1"),
		},
		"an event about ann is lost": {
			func(w *world) { w.delete(7) },
			at15("agent.ann ready|busy|ready lost", "agent.bob not_ready", "unknown lost 1"),
		},
		"bob is erased": {
			func(w *world) {
				w.add(event.Erased, &event.ErasedData{Base: w.base(), Epoch: w.id.Epoch, Messages: 2, Sequences: []event.SequenceRange{{First: 3, Last: 3}, {First: 8, Last: 8}}})
				w.poll()
				w.delete(3, 8)
				view, err := w.js.Stream(context.Background(), "KV_"+streams.StateBucket)
				if err == nil {
					err = view.Purge(context.Background(), jetstream.WithPurgeSubject("$KV.bpcc_state.acme.agent.bob"))
				}
				if err != nil {
					w.t.Fatal(err)
				}
			},
			at15("agent.ann busy|ready changing", "unknown erased 2"),
		},
		"a foreign message about bob": {
			func(w *world) { w.foreign("agent.bob.state_changed"); w.poll() },
			at15("agent.ann busy|ready changing", "agent.bob not_ready", "unknown foreign 1"),
		},
		"a foreign message about somebody": {
			func(w *world) { w.foreign("agent.joe.state_changed"); w.poll() },
			at15("agent.ann busy|ready changing", "agent.bob not_ready", "agent.joe  foreign", "unknown foreign 1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			begin := pastDay(w)
			test.damage(w)
			got := stateAt(t, w.open(reader.Options{}), begin.Add(15*time.Second), reader.StateAtOptions{})
			if d := cmp.Diff(sorted(test.want), sorted(got)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestStateAtAfterExpiry: of what has left the stream, the next event or the view tells how it was.
func TestStateAtAfterExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := pastDay(w)
	w.delete(1, 2, 3, 4, 5, 6, 7, 8, 9) // as far as the second checkpoint
	r := w.open(reader.Options{})
	want := []string{"agent.ann busy|ready changing", "agent.bob not_ready", "availability.Chat observed", "service.Chat 1", "threshold.backlog.Chat raised"}
	if d := cmp.Diff(want, stateAt(t, r, begin.Add(15*time.Second), reader.StateAtOptions{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, line := range want {
		key, _, _ := strings.Cut(line, " ")
		e := svc.StateRequest{Kind: strings.Split(key, ".")[0], ID: key[strings.LastIndex(key, ".")+1:]}
		if e.Kind == "threshold" {
			e.Rule = "backlog"
		}
		if d := cmp.Diff([]string{line}, stateAt(t, r, begin.Add(15*time.Second), reader.StateAtOptions{Entity: e})); d != "" {
			t.Errorf("alone (-want +got)\n%s", d)
		}
	}
	if d := cmp.Diff([]string{"unknown aged_out 0"}, stateAt(t, r, begin.Add(5*time.Second), reader.StateAtOptions{})); d != "" {
		t.Errorf("before the first checkpoint (-want +got)\n%s", d)
	}
	if err := w.js.DeleteStream(t.Context(), "KV_"+streams.StateBucket); err != nil {
		t.Fatal(err)
	}
	want = []string{"agent.ann busy|ready changing", "unknown aged_out 0"}
	if d := cmp.Diff(want, stateAt(t, r, begin.Add(15*time.Second), reader.StateAtOptions{})); d != "" {
		t.Errorf("without the view (-want +got)\n%s", d)
	}
}

// TestStateAtOfOneEntity: the past of an entity needs no consumer, and is the same as among all; on the
// oldest server, too.
func TestStateAtOfOneEntity(t *testing.T) {
	t.Parallel()
	user := func(name string, denied ...string) *server.User {
		return &server.User{Username: name, Password: name, Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: denied}}}
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		s := natstest.Start(t, &server.Options{
			JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{user("all"), user("single", "$JS.API.CONSUMER.>")},
		})
		w := newWriter(t, s.ClientURL(), natstest.Connect(t, s.ClientURL(), nats.UserInfo("all", "all")))
		compareEntities(t, w, w.open(reader.Options{}, nats.UserInfo("all", "all")), w.open(reader.Options{Timeout: time.Second}, nats.UserInfo("single", "single")))
	})
	t.Run("oldest", func(t *testing.T) {
		t.Parallel()
		url, _ := natstest.StartProgram(t, natstest.OldestServer, t.TempDir(), 0)
		w := newWorldOn(t, url)
		compareEntities(t, w, w.open(reader.Options{}), w.open(reader.Options{}))
	})
}

// TestStateAtInOverlappingGaps: a gap in which the source was frozen is stated after others that are inside it.
func TestStateAtInOverlappingGaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pass := func() time.Time {
		begin := time.Now()
		await(t, "some time passes", func() bool { return time.Since(begin) > 8*time.Millisecond })
		return time.Now()
	}
	gap := func(after time.Time) {
		w.add(event.Resumed, &event.ResumedData{Base: w.base(), Epoch: w.id.Epoch, Cause: "source", Observed: event.Window{
			After: event.Floor(after), By: event.Ceil(time.Now()),
		}})
		w.poll()
	}
	w.started()
	w.agent("ann", "acd_state=ready")
	w.poll()
	frozen := pass()
	at := pass()
	for range 2 {
		other := pass()
		pass()
		gap(other)
	}
	gap(frozen)
	pass()
	after := pass()
	pass()
	gap(pass())
	r := w.open(reader.Options{})
	for at, want := range map[time.Time]string{frozen.Add(-4 * time.Millisecond): "ready", at: "ready gap", after: "ready"} {
		for _, o := range []reader.StateAtOptions{{}, {Entity: svc.StateRequest{Kind: "agent", ID: "ann"}}} {
			if got := stateAt(t, r, at, o); len(got) == 0 || got[0] != "agent.ann "+want {
				t.Errorf("at %v, %+v: %v, want %s", at, o, got, want)
			}
		}
	}
}

// compareEntities compares the states of agents among all, by one reader, with those alone, by another.
func compareEntities(t *testing.T, w *world, all, single *reader.Reader) {
	t.Helper()
	var instants []time.Time
	w.started()
	for n := range 8 {
		if w.agent("ann", fmt.Sprint("acd_state=ready extension=", n)); n%3 == 0 {
			w.agent("bob", fmt.Sprint("acd_state=busy extension=", n))
		}
		w.poll()
		begin := time.Now()
		await(t, "some time passes", func() bool { return time.Since(begin) > 8*time.Millisecond })
		instants = append(instants, begin.Add(4*time.Millisecond))
	}
	for _, at := range instants {
		for _, id := range []string{"ann", "bob", "joe"} {
			var want []string
			for _, line := range stateAt(t, all, at, reader.StateAtOptions{}) {
				if strings.HasPrefix(line, "agent."+id+" ") || strings.HasPrefix(line, "unknown ") {
					want = append(want, line)
				}
			}
			if d := cmp.Diff(want, stateAt(t, single, at, reader.StateAtOptions{Entity: svc.StateRequest{Kind: "agent", ID: id}})); d != "" {
				t.Errorf("%s at %v (-among all +alone)\n%s", id, at, d)
			}
		}
	}
}

// sorted returns lines in order.
func sorted(lines []string) string {
	m := map[string]event.ID{}
	for _, l := range lines {
		m[l] = event.ID{}
	}
	return strings.Join(texts(m), "\n")
}

// TestStateAtReasons keeps the words that programs compare.
func TestStateAtReasons(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint([]past.Reason{
		past.Changing, past.Gap, past.BridgeAway, past.Interrupted, past.Stopped, past.Unconfirmed, past.BeforeFirst, past.AgedOut,
		past.RowsMissing, past.Lost, past.Erased, past.Unreadable, past.Foreign, past.ClockSet,
	})
	if want := "[changing gap bridge_away interrupted stopped unconfirmed before_first_observation aged_out rows_missing lost erased unreadable foreign clock_set]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
