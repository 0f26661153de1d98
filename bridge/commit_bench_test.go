package bridge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/source"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// BenchmarkCommit stores polls of 999 changes, each one atomic batch with its
// checkpoint, from the comparison to the acknowledgement. In turn with it, to
// the same stream, it does what a program would that publishes batches of 1,000
// finished messages of the same size, without headers, and nothing else.
func BenchmarkCommit(b *testing.B) {
	for name, always := range map[string]bool{"sync=default": false, "sync=always": true} {
		b.Run(name, func(b *testing.B) { benchCommits(b, always) })
	}
}

// benchBridge is a bridge of 999 agents on a server of its own.
func benchBridge(b *testing.B, always bool) (*Bridge, *benchSource) {
	b.Helper()
	s := natstest.Start(b, &server.Options{JetStream: true, StoreDir: b.TempDir(), SyncAlways: always})
	return benchBridgeOn(b, s.ClientURL(), event.BatchLimit-1)
}

// benchBridgeOn is one on a server that is there.
func benchBridgeOn(b testing.TB, url string, agents int, options ...nats.Option) (*Bridge, *benchSource) {
	b.Helper()
	js := natstest.Connect(b, url, options...)
	config, _, err := config.Parse([]string{
		"BPCC_URL=https://acme.example", "BPCC_CLIENT_ID=x", "BPCC_CLIENT_SECRET=y", "NATS_URL=" + url,
	}, config.ForBridge)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := stream.Provision(b.Context(), js, config.Stream, config.Times(), nil); err != nil {
		b.Fatal(err)
	}
	br, err := New(config, js, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	c := newBenchSource(agents)
	c.services = 0
	br.engine = engine.New(source.EngineOptions(config, source.Plan{Layout: c.layout}, "bench"))
	br.engine.Start(time.Now())
	br.answers = answer.NewState(config.Tenant)
	return br, c
}

// pollFuncs gives a look at a floor where every row has changed, and a look and the
// commit of what it saw.
func pollFuncs(b testing.TB, br *Bridge, c *benchSource) (observe func() *engine.Batch, poll func()) {
	bodies := [][]byte{c.body(0, 0, false), c.body(1, 100, false)}
	now, polls := time.Now(), 0
	observe = func() *engine.Batch {
		now = now.Add(2 * time.Second)
		done := br.engine.OnPoll(engine.Observation{Body: bodies[polls%2], Sent: now, Received: now, At: now})
		if done.Err != nil || done.Len() != c.agents {
			b.Fatalf("%d events, error %v", done.Len(), done.Err)
		}
		polls++
		return done
	}
	return observe, func() {
		if err := br.commit(context.Background(), observe()); err != nil {
			b.Fatal(err)
		}
	}
}

func benchCommits(b *testing.B, always bool) {
	br, c := benchBridge(b, always)
	observe, poll := pollFuncs(b, br, c)
	poll()
	// What a poll publishes is what the other publishes too.
	var subjects []string
	var payloads [][]byte
	buffer := &publish.Buffer{}
	for chunk := range br.engine.Chunks(observe(), event.BatchLimit) {
		msgs, err := br.encode(chunk, buffer)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range msgs {
			subjects = append(subjects, fmt.Sprintf("bpcc.v1.bench.agent.agent%05d.state_changed", len(subjects)))
			payloads = append(payloads, bytes.Clone(m.Data))
		}
		br.engine.Ack(chunk)
	}
	publish := func() {
		msgs := make([]*nats.Msg, len(payloads))
		for i, payload := range payloads {
			msgs[i] = nats.NewMsg(subjects[i])
			msgs[i].Data = payload
		}
		if _, err := jetstreamext.PublishMsgBatch(context.Background(), br.js, msgs); err != nil {
			b.Fatal(err)
		}
	}
	var polling, publishing time.Duration
	rounds := 0
	for b.Loop() {
		start := time.Now()
		publish()
		between := time.Now()
		poll()
		publishing, polling = publishing+between.Sub(start), polling+time.Since(between)
		rounds++
	}
	messages := float64(rounds * len(payloads))
	b.ReportMetric(messages/publishing.Seconds(), "publisher-msgs/s")
	b.ReportMetric(messages/polling.Seconds(), "bridge-msgs/s")
	b.ReportMetric(100*publishing.Seconds()/polling.Seconds(), "%-of-publisher")
}
