package times

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader/report"
)

// million are the messages of the benchmark, in batches of a hundred.
const million = 1_000_000

// BenchmarkReport reports a stream of a million messages about 10,000 agents, with the server in the process, as
// bridge report does on the store of a stopped bridge: all of it, and its last minute.
func BenchmarkReport(b *testing.B) {
	dir := b.TempDir()
	begin := time.Now().Add(-24 * time.Hour)
	fillStore(b, dir, begin)
	c := config.Config{Stream: config.Stream{Name: "BPCC_EVENTS"}, Embedded: config.Embedded{StoreDir: dir, Listen: "127.0.0.1:0"}}
	ctx, session, err := reader.ConnectReadOnly(b.Context(), &c, time.Minute, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	end := begin.Add(million / 100 * 2 * time.Second)
	for name, bounds := range map[string]report.Options{"all": {}, "minute": {Since: end.Add(-time.Minute), Until: end}} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				out := Output{Options: Options{JSON: true, Timeout: time.Minute}, Bounds: bounds, Data: io.Discard, Notes: console.New(io.Discard, nil)}
				if err := out.Stream(ctx, session, c.Stream); err != nil || len(out.tenants[0].Agents) < 2000 || out.tenants[0].Missing > 0 {
					b.Fatal(err, len(out.tenants))
				}
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// cpuTime is the processor time of this process.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// fillStore stores the events of polls two seconds apart. In each of them 99 agents change their states.
func fillStore(b *testing.B, dir string, begin time.Time) {
	b.Helper()
	server, err := stream.StartServer(dir, "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	nc, err := nats.Connect(server.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "BPCC_EVENTS", Subjects: []string{"bpcc.v1.>"}, Compression: jetstream.S2Compression}); err != nil {
		b.Fatal(err)
	}
	encoder := event.NewEncoder("https://acme.example/statsapi")
	states, images, revisions := []string{"ready", "busy", "not_ready", ""}, map[int]image.Image{}, map[int]uint64{}
	follows, agent := "", 0
	for poll := range uint64(million / 100) {
		by := begin.Add(time.Duration(poll+1) * 2 * time.Second)
		window := event.Window{After: event.Floor(by.Add(-2 * time.Second)), By: event.Ceil(by)}
		store := func(index uint64, name string, d event.Data) string {
			e := event.Event{ID: event.ID{Epoch: 1, Poll: poll + 1, Index: index}, Name: name, Time: by, Data: d}
			body, err := encoder.Append(nil, &e)
			if err == nil {
				_, err = js.PublishMsgAsync(&nats.Msg{Subject: e.Subject(), Data: body, Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}}})
			}
			if err != nil {
				b.Fatal(err)
			}
			return e.MsgID()
		}
		base := event.Base{Tenant: "acme", Poll: poll + 1}
		for index := range uint64(99) {
			agent = (agent + 1) % 10_000
			revisions[agent]++
			d := &event.AgentData{EntityBase: event.EntityBase{Base: base, Revision: revisions[agent], Observed: window}, Agent: event.AgentRef{ID: fmt.Sprint("agent", agent), Name: "John Smith", Team: "Sales"}}
			d.Before, d.After = images[agent], image.New(
				image.Stat{Name: "login_id", Text: d.Agent.ID}, image.Stat{Name: "user_id", Text: "F4ED0001"}, image.Stat{Name: "first_last_name", Text: "John Smith"}, image.Stat{Name: "team_name", Text: "Sales"},
				image.Stat{Name: "extension", Text: "1001"}, image.Stat{Name: "acd_state", Text: states[revisions[agent]%4]}, image.Stat{Name: "acd_next_state"}, image.Stat{Name: "reason"},
				image.Stat{Name: "state_duration", Text: "17"}, image.Stat{Name: "login_time", Text: "3600"}, image.Stat{Name: "in_calls_handled_per_day", Text: fmt.Sprint(revisions[agent])}, image.Stat{Name: "out_calls_handled_per_day", Text: "3"},
				image.Stat{Name: "agent_total_ready_time", Text: "1000"}, image.Stat{Name: "agent_total_busy_time", Text: "2000"}, image.Stat{Name: "agent_total_ACW_time", Text: "300"}, image.Stat{Name: "agent_total_break_time", Text: "400"},
			)
			name := event.StateChanged
			if images[agent] = d.After; d.Before.IsZero() {
				name = "agent.appeared"
			} else {
				d.Changed = []string{"acd_state", "in_calls_handled_per_day"}
			}
			store(index+1, name, d)
		}
		follows = store(100, event.Checkpoint, &event.CheckpointData{Base: base, Epoch: 1, Status: event.StatusLive, Part: 1, Parts: 1, Events: 99, ObservedUntil: window.After, Observing: []string{"agent"}, Follows: follows})
		if poll%10 == 9 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}
