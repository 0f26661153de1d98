package bridge

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc"
)

// TestOneStateInTwoSpellings: "" and "0" both say that an agent is logged out. From
// one to the other nothing has changed; anything else is told.
func TestOneStateInTwoSpellings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		was, is, extension string // of acd_state, and another statistic
		want               []string
	}{
		{"", "0", "v0", nil},
		{"0", "", "v0", nil},
		{"", "0", "v7", []string{"agent.stats_changed"}},
		{"0", "", "4711", []string{"agent.stats_changed"}},
		{"", "1", "v0", []string{"agent.state_changed"}},
		{"0", "ready", "v0", []string{"agent.state_changed"}},
		{"ready", "0", "v7", []string{"agent.state_changed", "agent.stats_changed"}},
	} {
		t.Run(test.was+" to "+test.is+", "+test.extension, func(t *testing.T) {
			t.Parallel()
			c := newCentre(1)
			e, stored := c.newEngine(), 0
			body := func(state, extension string) []byte {
				b := bytes.Replace(c.body(0, 0, false), []byte(`"6":"ready"`), []byte(`"6":"`+state+`"`), 1)
				return bytes.Replace(b, []byte(`"5":"v0"`), []byte(`"5":"`+extension+`"`), 1)
			}
			c.steps(e, &stored)(t, body(test.was, "v0"))
			at := e.lastSight.Add(2 * time.Second)
			b := e.observe(observation{at: at, answer: bpcc.Answer{Body: body(test.is, test.extension), Sent: at, Received: at}})
			var got []string
			err := e.deliver(b, "https://acme.example/statsapi", func(p *part) error {
				defer func() {
					for _, o := range p.outcomes {
						got = append(got, o.name)
					}
				}()
				_, err := p.checkpoint()
				return err
			})
			if d := cmp.Diff(test.want, got); err != nil || d != "" {
				t.Errorf("events (-want +got), error %v\n%s", err, d)
			}
		})
	}
}
