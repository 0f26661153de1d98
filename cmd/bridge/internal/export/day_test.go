package export_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/diff/layout"
)

// dayBegin is when the day begins.
var dayBegin = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// interval is that of polls.
const interval = 2 * time.Second

// day is the stream of two tenants, as a bridge writes it.
type day struct {
	t        *testing.T
	key      *config.SigningKey
	messages []export.Message
	seq      uint64
	now      time.Time
}

// newKey returns a key that signs checkpoints.
func newKey(t *testing.T) *config.SigningKey {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	events := config.Events{SigningKeyFile: file}
	key, err := events.ReadSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writer is the bridge of one tenant.
type writer struct {
	*day
	options engine.Options
	engine  *engine.Engine
	encoder *event.Encoder
	chain   event.Chain
	last    export.Message // the last checkpoint
}

func (d *day) writer(tenant string) *writer {
	d.t.Helper()
	rules, err := rule.Parse([]byte(`[{"name":"backlog","kind":"service","match":["*"],"stat":"in_calls_waiting","raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"4s"}]`))
	if err != nil {
		d.t.Fatal(err)
	}
	columns := func(stats ...string) (out []layout.Column) {
		for _, stat := range stats {
			out = append(out, layout.Column{ID: stat, Stat: stat})
		}
		return out
	}
	w := &writer{day: d, encoder: event.NewEncoder("https://" + tenant + ".example/statsapi"), options: engine.Options{
		Tenant: tenant, Instance: "vm-1", Version: "test", Rules: rules, ChatApps: []string{"bridge"},
		DisappearAfter: 2, InterruptAfter: 6 * time.Second, RebaselineAfter: time.Hour, AvailabilityUnknownAfter: time.Hour,
		Layout: &layout.Layout{
			Grids: []layout.Grid{
				{Kind: event.Agent, App: "app", Section: "agent_grids", ID: "agents", Key: "login_id", Columns: columns(
					"login_id", "first_last_name", "team_name", "acd_state", "reason", "state_duration", "in_calls_handled_per_day")},
				{Kind: event.Service, App: "app", Section: "service_grids", ID: "services", Key: "name", Columns: columns("name", "in_calls_waiting", "in_calls_received_per_day")},
				{Kind: event.Totals, App: "app", Section: "stats_totals", Entity: "bridge", Columns: columns("in_calls_waiting")},
			},
			Lists: []layout.List{{App: "app", Section: "chat_messages"}}, Clock: event.StateDuration, State: event.StateStats(),
			Volatile: []string{event.StateDuration},
		},
	}}
	w.engine = engine.New(w.options)
	w.commit(w.engine.Start(d.now))
	return w
}

// commit stores a batch.
func (w *writer) commit(b *engine.Batch) {
	w.t.Helper()
	for c := range w.engine.Chunks(b, event.BatchLimit) {
		w.chain.Begin(w.last.Subject, w.last.Header.Get(nats.MsgIdHdr), w.last.Event)
		for i := range c.Events {
			e := &c.Events[i]
			if d, ok := e.Data.(*event.CheckpointData); ok {
				d.Chain = w.chain.Sum()
			}
			body, err := w.encoder.Append(nil, e)
			if err != nil {
				w.t.Fatal(err)
			}
			m := nats.Msg{Subject: e.Subject(), Data: body, Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}, "Content-Type": {event.ContentType}}}
			if e.Removes() {
				m.Header["KV-Operation"] = []string{"DEL"}
			}
			w.chain.Add([]byte(m.Subject), []byte(e.MsgID()), body)
			if e.Name == event.Checkpoint {
				if err := publish.Sign(w.key, &m); err != nil {
					w.t.Fatal(err)
				}
			}
			w.seq++
			w.messages = append(w.messages, export.Message{
				Seq: w.seq, Subject: m.Subject, Stored: w.now.Add(20 * time.Millisecond), Header: m.Header, Event: body,
			})
		}
		w.last = w.messages[len(w.messages)-1]
		w.engine.Ack(c)
	}
}

// row is statistic to text.
type row map[string]string

// shown is what a poll shows.
type shown struct {
	agents, services []row
	waiting          string
	chat             []row
}

func agent(login, state string, handled int) row {
	return row{"login_id": login, "first_last_name": "Name of " + login, "team_name": "Sales", "acd_state": state, "reason": "", "in_calls_handled_per_day": fmt.Sprint(handled)}
}

func service(name string, waiting int) row {
	return row{"name": name, "in_calls_waiting": fmt.Sprint(waiting), "in_calls_received_per_day": "7"}
}

// poll polls once, and stores a batch in any case.
func (w *writer) poll(s shown, more ...func(*engine.Observation)) {
	w.t.Helper()
	app := map[string]any{
		"agent_grids": []any{map[string]any{"id": "agents", "values": s.agents}}, "service_grids": []any{map[string]any{"id": "services", "values": s.services}},
		"stats_totals": row{"in_calls_waiting": s.waiting}, "chat_messages": s.chat,
	}
	body, err := json.Marshal(map[string]any{"app": app})
	if err != nil {
		w.t.Fatal(err)
	}
	o := engine.Observation{Body: body, Sent: w.now.Add(-10 * time.Millisecond), Received: w.now, At: w.now}
	for _, add := range more {
		add(&o)
	}
	b := w.engine.OnPoll(o)
	if b.Err != nil {
		w.t.Fatal(b.Err)
	}
	w.commit(b)
}

// fail lets a poll fail.
func (w *writer) fail() {
	w.t.Helper()
	b := w.engine.OnPoll(engine.Observation{Err: errors.New("no response"), Cause: "source", At: w.now})
	if w.engine.NeedsCommit(b) {
		w.commit(b)
	} else {
		w.engine.Skip(b)
	}
}

// check is a check of a service's availability.
func (w *writer) check(available bool) func(*engine.Observation) {
	return func(o *engine.Observation) {
		o.Availability = []engine.AvailabilityResult{{Service: "Voice", Available: available, Sent: w.now.Add(-10 * time.Millisecond), Received: w.now}}
	}
}

// list is a listing of the teams.
func (w *writer) list(names map[string]string) func(*engine.Observation) {
	return func(o *engine.Observation) {
		o.Directories = []engine.DirectorySnapshot{{Directory: engine.Teams, Names: names, Sent: w.now.Add(-10 * time.Millisecond), Received: w.now}}
	}
}

// newDay writes the day: all types of events, at first of two tenants, an erasure of bob, and terms after it. Its end
// differs by what it is given.
func newDay(t *testing.T, key *config.SigningKey, end int) *day {
	t.Helper()
	d := &day{t: t, key: key, now: dayBegin}
	tenants := []*writer{d.writer("acme"), d.writer("globex")}
	each := func(do func(w *writer)) {
		d.now = d.now.Add(interval)
		for _, w := range tenants {
			do(w)
		}
	}
	s := shown{agents: []row{agent("anna", "ready", 3)}, services: []row{service("Voice", 1)}, waiting: "1"}
	poll := func(change func(), more ...func(*writer) func(*engine.Observation)) {
		change()
		each(func(w *writer) {
			var all []func(*engine.Observation)
			for _, m := range more {
				all = append(all, m(w))
			}
			w.poll(s, all...)
		})
	}
	available := func(yes bool) func(*writer) func(*engine.Observation) {
		return func(w *writer) func(*engine.Observation) { return w.check(yes) }
	}
	teams := func(names map[string]string) func(*writer) func(*engine.Observation) {
		return func(w *writer) func(*engine.Observation) { return w.list(names) }
	}
	nothing := func() {}
	poll(nothing, available(true), teams(map[string]string{"1": "Sales", "2": "Support"}))
	poll(func() { s.agents = []row{agent("anna", "busy", 4)} })
	poll(func() { s.services, s.waiting = []row{service("Voice", 8)}, "8" }, available(false))
	poll(func() { s.agents = append(s.agents, agent("carol", "ready", 0)) }, teams(map[string]string{"1": "Sales", "2": "Service"}))
	poll(nothing)
	poll(func() { s.chat = []row{{"id": "1", "login_id": "anna", "content": "hello"}} })
	poll(func() { s.services, s.waiting = []row{service("Voice", 1)}, "1" }, available(true))
	poll(func() { s.agents = []row{agent("anna", "ready", 4)} })
	poll(nothing) // carol has disappeared
	tenants = tenants[:1]
	poll(func() { s.agents, s.waiting = append(s.agents, agent("bob", "ready", 0)), "2" })
	poll(func() { s.services = append(s.services, service("Chat", 0)) })
	poll(func() { s.services = s.services[:1] })
	poll(nothing)
	for range 4 {
		each(func(w *writer) { w.fail() })
	}
	poll(func() { s.agents = []row{agent("anna", "not_ready", 5), agent("bob", "ready", 0)} })
	poll(nothing)
	each(func(w *writer) { w.commit(w.engine.Stop(w.now, "shutdown")) })
	for _, w := range tenants {
		w.erase("bob")
	}
	for range 2 {
		each(func(w *writer) { w.restart().commit(w.engine.Start(w.now)) })
		poll(func() { s.agents = []row{agent("anna", "ready", 5+len(d.messages)%3)} })
		poll(func() { s.agents = []row{agent("anna", "busy", 9)} })
	}
	poll(func() { s.agents = []row{agent("anna", "ready", 10+end)} })
	poll(func() { s.agents = []row{agent("anna", "busy", 20)} })
	return d
}

// restart recovers an engine from what is stored.
func (w *writer) restart() *writer {
	w.t.Helper()
	w.engine = engine.New(w.options)
	for _, m := range w.messages {
		if e, err := event.Parse(w.options.Tenant, m.Subject, m.Header.Get(nats.MsgIdHdr), m.Event); err == nil {
			w.engine.Recover(&e)
		}
	}
	return w
}

// erase erases an agent.
func (w *writer) erase(login string) {
	w.t.Helper()
	w.now = w.now.Add(interval)
	subject := event.Prefix(w.options.Tenant) + event.RowKey(event.Agent, login) + "."
	var ranges []event.SequenceRange
	w.messages = slices.DeleteFunc(w.messages, func(m export.Message) bool {
		of := strings.HasPrefix(m.Subject, subject)
		if of {
			ranges = append(ranges, event.SequenceRange{First: m.Seq, Last: m.Seq})
		}
		return of
	})
	w.restart().commit(w.engine.Erase(w.now, []event.ErasedData{{Reason: "asked", Messages: uint64(len(ranges)), Keys: 1, Sequences: ranges}}))
}
