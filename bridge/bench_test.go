package bridge

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/source"
	"bpcc-nats/diff/layout"
)

// benchSource is a large contact centre: agents of twenty columns, six of which run
// by themselves, and a service of fifteen columns for every twenty agents.
type benchSource struct {
	agents, services int
	layout           *layout.Layout
}

func newBenchSource(agents int) *benchSource {
	c := &benchSource{agents: agents, services: agents / 20, layout: &layout.Layout{
		Grids: []layout.Grid{
			{Kind: event.Agent, App: "app", Section: "agent_grids", ID: "agents", Key: "1"},
			{Kind: event.Service, App: "app", Section: "service_grids", ID: "services", Key: "1"},
		},
		Clock: "state_duration",
		State: event.StateStats(),
		Volatile: []string{
			"state_duration", "login_time", "agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time",
		},
	}}
	stats := [][]string{
		{
			"login_id", "user_id", "first_last_name", "team_name", "extension", "acd_state", "acd_next_state", "reason",
			"in_calls_handled_per_day", "out_calls_handled_per_day", "in_calls_offered_per_day", "skills", "phone", "room",
			"state_duration", "login_time", "agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time",
		},
		{
			"name", "in_calls_waiting", "in_calls_received_per_day", "in_calls_abandoned_in_queue_per_day", "service_level",
			"agents_logged", "agents_busy", "agents_ready", "in_calls_queued_per_day", "in_calls_handled_per_day",
			"in_calls_ivr", "agents_acw", "agents_break", "in_calls_active", "in_calls_hold",
		},
	}
	for grid := range c.layout.Grids {
		for n, stat := range stats[grid] {
			c.layout.Grids[grid].Columns = append(c.layout.Grids[grid].Columns, layout.Column{ID: fmt.Sprint(n + 1), Stat: stat})
		}
	}
	return c
}

// body writes a snapshot. Of a hundred rows that many have another state than at an even tick.
// Ticking, two clocks of every agent move: half of them back, so that bodies can come in any order.
func (c *benchSource) body(tick, percent int, ticking bool) []byte {
	b := []byte(`{"app":{"agent_grids":[{"id":"agents","values":[`)
	rows := func(name string, n, columns int) {
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			changed := tick%2 == 1 && i%100 < percent
			b = fmt.Appendf(b, `{"1":"%s%05d"`, name, i)
			for column := 2; column <= columns; column++ {
				text := fmt.Sprint("v", i*column%9973)
				switch {
				case column == 6:
					text = "ready"
					if changed {
						text = "not_ready"
					}
				case column == 9:
					text = fmt.Sprint(i * column % 97)
				case ticking && columns == 20 && (column == 15 || column == 16):
					text = fmt.Sprint(100 + i%5000 + 2*tick*(1-i%2*2))
				case column > 14:
					text = fmt.Sprint(100 + i%5000)
				}
				b = fmt.Appendf(b, `,"%d":%q`, column, text)
			}
			b = append(b, '}')
		}
	}
	rows("agent", c.agents, 20)
	b = append(b, `]}],"service_grids":[{"id":"services","values":[`...)
	rows("service", c.services, 15)
	return append(b, `]}]}}`...)
}

// stepCounter makes an engine that counts what it would store.
func (c *benchSource) stepCounter(stored *int) func(tb testing.TB, body []byte) {
	return c.stepFunc(c.newEngine(), stored)
}

// config is that of a bridge that polls the centre.
func (c *benchSource) config() *config.Config {
	return &config.Config{Tenant: "acme", BPCC: config.BPCC{URL: "https://acme.example", PollInterval: 2 * time.Second}, Events: config.Events{DisappearAfter: 2}}
}

func (c *benchSource) newEngine() *engine.Engine {
	e := engine.New(source.EngineOptions(c.config(), source.Plan{Layout: c.layout}, "bench"))
	e.Start(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	return e
}

// stepFunc gives the engine one answer after the other, and makes the messages of what
// comes of it.
func (c *benchSource) stepFunc(e *engine.Engine, stored *int) func(tb testing.TB, body []byte) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	encoder, prefix := event.NewEncoder(c.config().BPCC.CloudEventSource()), event.Prefix(c.config().Tenant)
	var buffers publish.Buffers
	var checkpoint []byte
	br := &Bridge{config: c.config(), term: term{engine: e, answers: answer.NewState(c.config().Tenant)}}
	return func(tb testing.TB, body []byte) {
		now = now.Add(2 * time.Second)
		batch := e.OnPoll(engine.Observation{Body: body, Sent: now.Add(-5 * time.Millisecond), Received: now, At: now})
		if batch.Err != nil {
			tb.Fatal(batch.Err)
		}
		if !e.NeedsCommit(batch) {
			e.Skip(batch)
			br.updateAnswers(nil)
			return
		}
		buffer := buffers.Get()
		defer buffers.Put(buffer)
		for chunk := range e.Chunks(batch, event.BatchLimit) {
			if _, err := buffer.Encode(encoder, prefix, 0, checkpoint, chunk.Events); err != nil {
				tb.Fatal(err)
			}
			checkpoint = append(checkpoint[:0], buffer.Last()...)
			e.Ack(chunk)
			br.updateAnswers(chunk.Events)
			*stored += len(chunk.Events) - 1
		}
	}
}

func (c *benchSource) run(b *testing.B, bodies [][]byte, want int) {
	stored := 0
	step := c.stepCounter(&stored)
	step(b, bodies[0])
	b.SetBytes(int64(len(bodies[0])))
	b.ReportAllocs()
	stored = 0
	n := 0
	for i := 1; b.Loop(); i++ {
		step(b, bodies[i%len(bodies)])
		n++
	}
	if stored != n*want {
		b.Fatalf("%d events in %d polls, want %d in each", stored, n, want)
	}
}

// BenchmarkStep is a poll but for the network on both sides: decode, diff and
// encode, to messages that are ready to be sent.
func BenchmarkStep(b *testing.B) {
	c := newBenchSource(10_000)
	first := c.body(0, 0, false)
	b.Run("baseline: encoding/json into maps", func(b *testing.B) {
		b.SetBytes(int64(len(first)))
		b.ReportAllocs()
		for b.Loop() {
			var apps map[string]map[string][]struct {
				ID     string
				Values []map[string]string
			}
			if err := json.Unmarshal(first, &apps); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("changed=0%", func(b *testing.B) { c.run(b, [][]byte{first, c.body(0, 0, false)}, 0) })
	for _, percent := range []int{1, 10, 100} {
		want := (c.agents + c.services) * percent / 100
		b.Run(fmt.Sprintf("changed=%d%%", percent), func(b *testing.B) {
			c.run(b, [][]byte{first, c.body(1, percent, false)}, want)
		})
	}
	b.Run("ticking", func(b *testing.B) { c.run(b, [][]byte{c.body(0, 0, true), c.body(1, 0, true)}, 0) })
}
