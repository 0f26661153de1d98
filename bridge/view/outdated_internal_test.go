package view

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestOutdated has a view that takes the first event of every agent and all checkpoints, and leaves out
// the rest, so that it holds old events beside later ones.
func TestOutdated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		verbs []string // of agents after observed
		after bool     // they come after the checkpoint that is looked at
		want  string
	}{
		"nothing else":           {nil, false, ""},
		"a change":               {[]string{"anna.state_changed"}, false, "its key agent.anna holds message 1 of the stream, which has message 3 for it"},
		"two":                    {[]string{"bob.stats_changed", "anna.state_changed"}, false, "its key agent.anna holds message 1 of the stream, which has message 4 for it"},
		"an agent who is gone":   {[]string{"bob.disappeared"}, false, "its key agent.bob holds message 2 of the stream, which has message 3 for it"},
		"an unknown agent":       {[]string{"carl.state_changed"}, false, ""},
		"after the checkpoint":   {[]string{"anna.state_changed"}, true, ""},
		"another tenant's agent": {[]string{"../beta.agent.anna.state_changed"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := natstest.Connect(t, natstest.StartAny(t))
			c := bridgetest.StreamConfig(t, 1)
			c.Tenant = "acme"
			configs := stream.Configs(c.Stream)
			events, view := configs[0], configs[2]
			view.Sources = []*jetstream.StreamSource{{Name: events.Name, SubjectTransforms: []jetstream.SubjectTransformConfig{
				{Source: "bpcc.v1.*.agent.*.observed", Destination: stream.ViewPrefix(c.Stream) + "{{wildcard(1)}}.agent.{{wildcard(2)}}"},
				{Source: "bpcc.v1.*.feed.checkpoint", Destination: stream.ViewPrefix(c.Stream) + "{{wildcard(1)}}.feed"},
			}}}
			for _, config := range []jetstream.StreamConfig{events, view} {
				if _, err := js.CreateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
			publish := func(subject string) uint64 {
				t.Helper()
				subject = strings.ReplaceAll("bpcc.v1.acme."+subject, "acme.agent.../", "")
				ack, err := js.Publish(t.Context(), subject, []byte("{}"))
				if err != nil {
					t.Fatal(err)
				}
				return ack.Sequence
			}
			publishAll := func() {
				for _, verb := range test.verbs {
					publish("agent." + verb)
				}
			}
			publish("agent.anna.observed")
			publish("agent.bob.observed")
			if !test.after {
				publishAll()
			}
			checkpoint := publish("feed.checkpoint")
			if test.after {
				publishAll()
				publish("feed.checkpoint")
			}
			monitor := Monitor{js: js, config: c.Stream, timing: c.Times()}
			for behind := uint64(1); behind > 0; {
				_, lag, err := monitor.fetchLag(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				behind = lag.Events
			}
			got, err := findOutdated(t.Context(), js, c, checkpoint)
			if err != nil || got != test.want {
				t.Errorf("outdated is %q, error %v; want %q", got, err, test.want)
			}
		})
	}
}
