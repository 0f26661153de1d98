package source

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// offline is a simulated tenant whose snapshots an engine reads without any server
// in between, as a configuration says. Every batch is acknowledged at once.
type offline struct {
	t       *testing.T
	tenant  *bpcctest.Tenant
	config  *config.Config
	sub     bpcc.Subscription // as the tenant gets it
	engine  *engine.Engine
	encoder *event.Encoder
	now     time.Time
}

func newOffline(t *testing.T, env map[string]string) *offline {
	t.Helper()
	c, warnings := parseConfig(t, "https://acme.example", env)
	if len(warnings) > 0 {
		t.Fatalf("configuration: warnings %v", warnings)
	}
	p := NewPlan(c.BPCC.Subscription, c.Events, "test")
	wire, err := json.Marshal(p.Wire)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := bpcc.ParseSubscription(wire)
	if err != nil {
		t.Fatalf("the subscription, as it is sent: %v\n%s", err, wire)
	}
	o := &offline{
		t: t, tenant: bpcctest.New(bpcctest.Config{}), config: c, sub: sub, now: time.Now(),
		engine: engine.New(EngineOptions(c, p, "test")), encoder: event.NewEncoder(c.BPCC.CloudEventSource()),
	}
	o.commit(o.engine.Start(o.now))
	return o
}

// offlineEvent is an event as it would be stored.
type offlineEvent struct {
	event.Event
	subject string // below the tenant
	body    string
}

// poll takes one snapshot, an interval after the one before.
func (o *offline) poll() []offlineEvent {
	o.t.Helper()
	o.now = o.now.Add(o.config.BPCC.PollInterval)
	batch := o.engine.OnPoll(engine.Observation{Body: o.tenant.Snapshot(o.sub), Sent: o.now, Received: o.now, At: o.now})
	if batch.Err != nil {
		o.t.Fatal(batch.Err)
	}
	return o.commit(batch)
}

// commit gives the events of a batch without checkpoints.
func (o *offline) commit(batch *engine.Batch) []offlineEvent {
	o.t.Helper()
	var out []offlineEvent
	for c := range o.engine.Chunks(batch, event.BatchLimit) {
		for i := range c.Events {
			body, err := o.encoder.Append(nil, &c.Events[i])
			if err != nil {
				o.t.Fatal(err)
			}
			stored, err := event.Parse("acme", c.Events[i].Subject(), c.Events[i].MsgID(), body)
			if err != nil {
				o.t.Fatal(err)
			}
			if stored.Name != event.Checkpoint {
				out = append(out, offlineEvent{stored, strings.TrimPrefix(stored.Subject(), "bpcc.v1.acme."), string(body)})
			}
		}
		o.engine.Ack(c)
	}
	return out
}

// offlineSubjects lists the subjects of events.
func offlineSubjects(events []offlineEvent) []string {
	out := []string{}
	for _, e := range events {
		out = append(out, e.subject)
	}
	return out
}

// after is an event's image after it, as names and texts in order of names.
func (e *offlineEvent) after() []string {
	var body struct {
		Data struct{ After map[string]string }
	}
	if err := json.Unmarshal([]byte(e.body), &body); err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(body.Data.After)) {
		out = append(out, name+"="+body.Data.After[name])
	}
	return out
}

// testColumns writes columns with the ids 1, 2, ….
func testColumns(stats ...string) string {
	body, err := json.Marshal(config.NumberedColumns(stats...))
	if err != nil {
		panic(err)
	}
	return string(body)
}
