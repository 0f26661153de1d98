package audit_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// chained is a stream of four polls whose checkpoints from the given one on have a chain.
func chained(t *testing.T, from int) []message {
	t.Helper()
	all := stream(t,
		step{at: 0, name: "agent.appeared", id: "anna", after: "acd_state=ready"},
		step{at: 0, name: "service.appeared", id: "Voice", after: "in_calls_waiting=1"},
		step{at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready", after: "acd_state=busy"},
		step{at: 4, name: "service.stats_changed", id: "Voice", before: "in_calls_waiting=1", after: "in_calls_waiting=2"},
	)
	checkpoints := 0
	edit := func(body []byte, chain string) []byte {
		if checkpoints++; checkpoints < from {
			return body
		}
		i := bytes.LastIndexByte(bytes.TrimSuffix(body, []byte("}")), '}')
		return slices.Concat(body[:i], []byte(`,"chain":"`+chain+`"}}`))
	}
	rechain(all, edit)
	return all
}

// rechain computes the chain of each checkpoint, and writes it into the checkpoint by edit.
func rechain(all []message, edit func(body []byte, chain string) []byte) {
	var c event.Chain
	c.Begin("", "", nil)
	for i := range all {
		m := &all[i]
		if strings.HasSuffix(m.subject, event.Checkpoint) {
			m.body = edit(m.body, c.Sum())
			c.Begin(m.subject, m.id(), m.body)
			continue
		}
		c.Add([]byte(m.subject), []byte(m.id()), m.body)
	}
}

// TestChain: chains that no version before wrote are not demanded. The ways to change a stream with chains are in TestTampered of
// cmd/bridge/internal/export.
func TestChain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		from int
		want []string // notes
	}{
		"chains from the beginning": {1, nil},
		"chains since an upgrade":   {3, []string{"chained acme-1-3-2"}},
		"no chains":                 {99, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, audit.Options{}, chained(t, test.from))
			if d := cmp.Diff(test.want, codes(r.Notes)); d != "" || !r.OK {
				t.Errorf("notes (-want +got)\n%s%+v", d, r)
			}
		})
	}
}

// TestChainOfPart: of a part of the stream nothing can be said.
func TestChainOfPart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		part *audit.Part
		want string
	}{
		"all": {nil, "all"},
		"agents": {&audit.Part{Name: "agents", Includes: func(subject string) bool {
			return strings.Contains(subject, ".agent.") || strings.Contains(subject, ".feed.")
		}}, "some"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, audit.Options{Part: test.part}, chained(t, 1))
			i := slices.IndexFunc(r.Checks, func(c audit.Check) bool { return c.Check == "chain" })
			if i < 0 || r.Checks[i].Made != test.want && !(test.want == "some" && r.Checks[i].Made == "none") || !r.OK {
				t.Errorf("%+v", r)
			}
		})
	}
}
