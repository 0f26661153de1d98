package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"bpcc-nats/bpcc"
)

// TestAPartIsTheSameAtEachLook: what is sent again after a doubtful answer is, byte
// by byte, what was sent before, wherever the first try broke off. Each agent's two
// events of a poll lie on both sides of the seams between desks and parts.
func TestAPartIsTheSameAtEachLook(t *testing.T) {
	t.Parallel()
	c := newCentre(1_200)
	e, stored := c.newEngine(), 0
	c.steps(e, &stored)(t, c.body(0, 0, false))
	body := bytes.ReplaceAll(c.body(1, 100, false), []byte(`"10":"v`), []byte(`"10":"w`)) // a state and a statistic
	now := e.lastSight.Add(2 * time.Second)
	done := e.observe(observation{at: now, answer: bpcc.Answer{Body: body, Sent: now, Received: now}})
	if done.err != nil || len(done.events) != 2*c.agents+c.services {
		t.Fatalf("%d events, error %v", len(done.events), done.err)
	}
	parts := 0
	var ahead []letter          // what the part's events were before the one before it was acknowledged
	last := map[string]string{} // by entity: its image after its last event
	err := e.deliver(done, "https://acme.example/statsapi", func(p *part) error {
		parts++
		whole := record(t, p, 0)
		if len(whole) != len(p.outcomes)+1 || p.closing == nil {
			t.Fatalf("part %d has %d messages for %d events", parts, len(whole), len(p.outcomes))
		}
		if ahead != nil {
			if d := cmp.Diff(ahead, whole[:len(whole)-1]); d != "" {
				t.Errorf("part %d, looked at ahead of its turn (-ahead +in its turn)\n%s", parts, d)
			}
		}
		for _, stop := range []int{1, deskful, deskful + 1, len(whole) - 1} {
			if d := cmp.Diff(whole[:stop], record(t, p, stop)); d != "" {
				t.Errorf("part %d, broken off at %d (-first look +another)\n%s", parts, stop, d)
			}
			if d := cmp.Diff(whole, record(t, p, 0)); d != "" {
				t.Errorf("part %d, looked at again (-first look +another)\n%s", parts, d)
			}
		}
		for _, m := range whole[:len(whole)-1] {
			about := strings.Join(strings.Split(m.Subject, ".")[:5], ".")
			_, rest, _ := strings.Cut(m.Data, `"before":`)
			before, after, found := strings.Cut(rest, `,"after":`)
			if was := last[about]; !found || was != "" && was != before {
				t.Fatalf("%s does not join on to the event before:\n%s\n%s", m.Subject, was, before)
			}
			last[about] = strings.TrimSuffix(after, "}}")
		}
		if ahead = nil; p.next() != nil {
			ahead = record(t, p.next(), len(p.next().drafts))
		}
		return nil
	})
	if err != nil || parts != 3 {
		t.Errorf("%d parts, error %v", parts, err)
	}
}

// letter is a message as it would be sent.
type letter struct{ Subject, ID, Data string }

// record looks at a part, as far as some messages if stop is not 0.
func record(t *testing.T, p *part, stop int) []letter {
	t.Helper()
	enough := errors.New("enough")
	var all []letter
	err := p.look(func(_ []event, msgs []*nats.Msg) error {
		for _, m := range msgs {
			all = append(all, letter{m.Subject, m.Header.Get(nats.MsgIdHdr), string(m.Data)})
			m.Header.Set("Nats-Batch-Id", "b") // as sending does
			if len(all) == stop {
				return fmt.Errorf("at %d: %w", stop, enough)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return all
}
