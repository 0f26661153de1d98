package reader_test

import (
	"fmt"
	"testing"

	"bpcc-nats/reader"
)

// benchEvents is how many events a benchmark reads at a time.
const benchEvents = 100_000

// fill stores agents' events in polls of a hundred, as large as those of the built-in subscription.
func fill(b *testing.B, w *world) {
	b.Helper()
	fillAgents(b, w, benchEvents, 1000)
}

// fillAgents stores a number of events of a number of agents.
func fillAgents(b *testing.B, w *world, events, agents int) {
	b.Helper()
	const stats = "login_id=agent user_id=F4ED0001 first_last_name=John extension=1001 acd_state=ready acd_next_state= reason= " +
		"state_duration=%d login_time=3600 in_calls_handled_per_day=%d out_calls_handled_per_day=3 agent_total_ready_time=1000 " +
		"agent_total_busy_time=2000 agent_total_ACW_time=300 agent_total_break_time=400 team_name=Sales"
	for n := 0; n < events; {
		for range 99 {
			w.agent(fmt.Sprint("agent", n%agents), fmt.Sprintf(stats, n%3600, n/agents))
			n++
		}
		w.close(1, 1)
		for _, m := range w.batch {
			if _, err := w.js.PublishMsgAsync(m); err != nil {
				b.Fatal(err)
			}
		}
		<-w.js.PublishAsyncComplete()
		w.batch, w.id.Poll, w.id.Index = nil, w.id.Poll+1, 1
	}
}

// BenchmarkEvents reads a stream from its beginning to its end: as it is, and with all data decoded.
func BenchmarkEvents(b *testing.B) {
	w := newWorld(b)
	fill(b, w)
	r := w.open(reader.Options{})
	for name, o := range map[string]struct {
		options reader.EventsOptions
		decode  bool
	}{
		"all":          {},
		"decoded":      {decode: true},
		"of a subject": {options: reader.EventsOptions{Subjects: []string{"agent.*.*"}}},
	} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				for item, err := range r.Events(b.Context(), reader.Beginning(), o.options) {
					if err != nil {
						b.Fatal(err)
					}
					switch i := item.(type) {
					case *reader.Event:
						if o.decode {
							if _, err := i.Decode(); err != nil {
								b.Fatal(err)
							}
						}
					case *reader.Checkpoint:
					default:
						b.Fatal(describe(i))
					}
					n++
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
