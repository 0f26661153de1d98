package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/diff/layout"
)

// row is statistic to text.
type row map[string]string

// snapshot is what a poll shows: rows by the key of their kind.
type snapshot struct {
	agents, services map[string]row
	totals           row
	chat             []row
}

// set gives the snapshot with another text of an agent's statistic. An agent that is
// not there enters.
func (s snapshot) set(id, stat, text string) snapshot {
	s.agents = withText(s.agents, id, stat, text)
	return s
}

// setService is set for a service.
func (s snapshot) setService(id, stat, text string) snapshot {
	s.services = withText(s.services, id, stat, text)
	return s
}

func withText(rows map[string]row, id, stat, text string) map[string]row {
	out := map[string]row{}
	for key, r := range rows {
		out[key] = maps.Clone(r)
	}
	if out[id] == nil {
		out[id] = row{}
	}
	out[id][stat] = text
	return out
}

// agents is a snapshot of agents: "anna=ready bob=busy:5" are two of them, with
// their states and for how many seconds they have been in it.
func agents(text string) snapshot {
	s := snapshot{agents: map[string]row{}}
	for _, word := range strings.Fields(text) {
		id, state, _ := strings.Cut(word, "=")
		state, duration, timed := strings.Cut(state, ":")
		s.agents[id] = row{"acd_state": state}
		if timed {
			s.agents[id]["state_duration"] = duration
		}
	}
	return s
}

// services is a snapshot of services: "A=3 B=0" are two of them, with how many
// calls wait.
func services(text string) snapshot {
	s := snapshot{services: map[string]row{}}
	for _, word := range strings.Fields(text) {
		id, waiting, _ := strings.Cut(word, "=")
		s.services[id] = row{"in_calls_waiting": waiting}
	}
	return s
}

// body writes the snapshot as the source would. The columns of a grid are the
// statistics themselves.
func (s snapshot) body(t *testing.T) []byte {
	t.Helper()
	grid := func(id, key string, rows map[string]row) []any {
		values := []row{}
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			r := maps.Clone(rows[name])
			if _, given := r[key]; !given {
				r[key] = name
			}
			values = append(values, r)
		}
		return []any{map[string]any{"id": id, "values": values}}
	}
	app := map[string]any{"agent_grids": grid("agents", "login_id", s.agents), "service_grids": grid("services", "name", s.services)}
	if s.totals != nil {
		app["stats_totals"] = s.totals
	}
	if s.chat != nil {
		app["chat_messages"] = s.chat
	}
	body, err := json.Marshal(map[string]any{"app": app})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// layoutOf is that of the snapshots: an agent grid and a service grid with a limit
// each, totals and chat.
func layoutOf(agentLimit int) *layout.Layout {
	columns := func(stats ...string) []layout.Column {
		var out []layout.Column
		for _, stat := range stats {
			out = append(out, layout.Column{ID: stat, Stat: stat})
		}
		return out
	}
	return &layout.Layout{
		Grids: []layout.Grid{
			{Kind: event.Agent, App: "app", Section: "agent_grids", ID: "agents", Key: "login_id", Limit: agentLimit, Columns: columns(
				"login_id", "user_id", "first_last_name", "team_name", "acd_state", "acd_next_state", "reason", "state_duration",
				"in_calls_handled_per_day", "login_time", "extension",
			)},
			{Kind: event.Service, App: "app", Section: "service_grids", ID: "services", Key: "name", Columns: columns(
				"name", "in_calls_waiting", "in_calls_received_per_day", "group",
			)},
			{Kind: event.Totals, App: "app", Section: "stats_totals", Entity: "bridge", Columns: columns("in_calls_waiting", "service_level", "in_calls_queued_per_day")},
		},
		Lists:    []layout.List{{App: "app", Section: "chat_messages"}},
		Clock:    event.StateDuration,
		State:    event.StateStats(),
		Volatile: []string{event.StateDuration, "login_time"},
	}
}

// interval is that of polls.
const interval = 2 * time.Second

// bridge is an engine whose batches are acknowledged at once, and the stream that
// they make.
type bridge struct {
	t       *testing.T
	options engine.Options
	engine  *engine.Engine
	encoder *event.Encoder // one for all events, as a bridge has it
	now     time.Time
	stream  []event.Event
	batch   *engine.Batch // the last one
	size    int           // most events in a chunk
	// uncounted is set once an earlier version, which counts no states, has written to the stream.
	uncounted bool
}

// start begins a term over an empty stream. At the end of the test the stream must
// hold what is promised of any stream, and, folded from empty, be what the engine
// believes to be published.
func start(t *testing.T, change ...func(*engine.Options)) *bridge {
	t.Helper()
	b := &bridge{t: t, now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), size: 1000, options: engine.Options{
		Tenant: "acme", Instance: "test", Version: "test", Layout: layoutOf(0), ChatApps: []string{"bridge"},
		DisappearAfter: 2, InterruptAfter: 6 * time.Second, RebaselineAfter: 360 * time.Hour,
	}, encoder: event.NewEncoder("https://acme.example/statsapi")}
	for _, c := range change {
		c(&b.options)
	}
	b.engine = engine.New(b.options)
	b.commit(b.engine.Start(b.now))
	t.Cleanup(func() {
		b.checkStream()
		b.checkTimes()
		b.checkFold()
	})
	return b
}

// rules is an option: thresholds in JSON.
func rules(t *testing.T, text string) func(*engine.Options) {
	t.Helper()
	parsed, err := rule.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return func(o *engine.Options) { o.Rules = parsed }
}

// restart begins another term, by an engine that recovers all from the stream.
func (b *bridge) restart(change ...func(*engine.Options)) {
	b.t.Helper()
	b.checkFold()
	for _, c := range change {
		c(&b.options)
	}
	b.engine = engine.New(b.options)
	for i := range b.stream {
		b.engine.Recover(&b.stream[i])
	}
	b.commit(b.engine.Start(b.now))
}

// stop ends the term in good order.
func (b *bridge) stop() []event.Event {
	b.t.Helper()
	return b.commit(b.engine.Stop(b.now, "shutdown"))
}

// checkFold compares the stream, folded from empty, with what the engine believes.
func (b *bridge) checkFold() {
	b.t.Helper()
	again := engine.New(b.options)
	for i := range b.stream {
		again.Recover(&b.stream[i])
	}
	if d := cmp.Diff(again.Published(), b.engine.Published()); d != "" {
		b.t.Errorf("published (-folded from the stream +believed)\n%s", d)
	}
}

// commit stores a batch and gives its events without checkpoints.
func (b *bridge) commit(batch *engine.Batch) []event.Event {
	b.t.Helper()
	var out []event.Event
	for c := range b.engine.Chunks(batch, b.size) {
		out = append(out, b.store(c)...)
	}
	return out
}

// store stores a chunk as the stream would, by the bytes of its events, acknowledges
// it and gives its events without the checkpoint.
func (b *bridge) store(c *engine.Chunk) []event.Event {
	b.t.Helper()
	var out []event.Event
	for i := range c.Events {
		body := b.encode(&c.Events[i])
		stored, err := event.Parse("acme", c.Events[i].Subject(), c.Events[i].MsgID(), []byte(body))
		if err != nil {
			b.t.Fatalf("%s: %v", body, err)
		}
		b.stream = append(b.stream, stored)
		if stored.Name != event.Checkpoint {
			out = append(out, stored)
		}
	}
	b.engine.Ack(c)
	return out
}

// encode writes an event as the stream would hold it.
func (b *bridge) encode(e *event.Event) string {
	b.t.Helper()
	body, err := b.encoder.Append(nil, e)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body)
}

// observe gives the engine one observation and commits what it gives, if it must.
func (b *bridge) observe(o engine.Observation) []event.Event {
	b.t.Helper()
	b.batch = b.engine.OnPoll(o)
	return b.commitIfNeeded()
}

// commitIfNeeded commits the last batch if that must be, and else passes it.
func (b *bridge) commitIfNeeded() []event.Event {
	b.t.Helper()
	if !b.engine.NeedsCommit(b.batch) {
		b.engine.Skip(b.batch)
		return nil
	}
	return b.commit(b.batch)
}

// sent is when the last poll was sent: 10 ms before it was answered.
func (b *bridge) sent() time.Time { return b.now.Add(-10 * time.Millisecond) }

// answer is an observation of a snapshot, an interval after the one before.
func (b *bridge) answer(s snapshot) engine.Observation {
	b.t.Helper()
	b.now = b.now.Add(interval)
	return engine.Observation{Body: s.body(b.t), Sent: b.sent(), Received: b.now, At: b.now}
}

// poll shows the engine a snapshot, an interval after the one before, with what else
// was found out.
func (b *bridge) poll(s snapshot, more ...func(*engine.Observation)) []event.Event {
	b.t.Helper()
	o := b.answer(s)
	for _, add := range more {
		add(&o)
	}
	events := b.observe(o)
	if b.batch.Err != nil {
		b.t.Fatalf("poll: %v", b.batch.Err)
	}
	return events
}

// errSource is why a source is not seen.
var errSource = errors.New("source is away")

// fail lets a poll fail, an interval after the one before.
func (b *bridge) fail(cause string, more ...func(*engine.Observation)) []event.Event {
	b.t.Helper()
	b.now = b.now.Add(interval)
	o := engine.Observation{Err: fmt.Errorf("poll: %w", errSource), Cause: cause, At: b.now}
	for _, add := range more {
		add(&o)
	}
	return b.observe(o)
}

// interrupt lets polls fail until the feed is interrupted.
func (b *bridge) interrupt(cause string) event.Event {
	b.t.Helper()
	for range 10 {
		if events := b.fail(cause); len(events) > 0 {
			b.expect("interruption", events, "feed interrupted")
			return events[0]
		}
	}
	b.t.Fatal("the feed is not interrupted")
	panic("unreachable")
}
