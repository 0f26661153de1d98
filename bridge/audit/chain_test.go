package audit_test

import (
	"bytes"
	"fmt"
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

// TestChain changes a stream where nothing but its chain shows it.
func TestChain(t *testing.T) {
	t.Parallel()
	replace := func(i int, old, new string) func([]message) []message {
		return func(all []message) []message {
			if !bytes.Contains(all[i].body, []byte(old)) {
				t.Fatalf("%s has no %s", all[i].body, old)
			}
			all[i].body = bytes.ReplaceAll(all[i].body, []byte(old), []byte(new))
			return all
		}
	}
	// The messages: 0 started, 1 checkpoint; 2 anna, 3 Voice, 4 checkpoint; 5 anna, 6 checkpoint; 7 Voice, 8 checkpoint.
	for name, test := range map[string]struct {
		from   int
		change func([]message) []message
		want   []string
	}{
		"as it was written":                 {1, func(all []message) []message { return all }, nil},
		"without chains":                    {99, func(all []message) []message { return all }, nil},
		"chains since an upgrade":           {3, func(all []message) []message { return all }, nil},
		"the beginning is gone":             {1, func(all []message) []message { return all[2:] }, nil},
		"a batch at the end is gone":        {1, func(all []message) []message { return all[:7] }, nil},
		"a version":                         {1, replace(0, `"version":"test"`, `"version":"text"`), []string{"digest acme-1-1-2"}},
		"an instance of a checkpoint":       {1, replace(4, `"instance":"test"`, `"instance":"text"`), []string{"digest acme-1-3-2"}},
		"a window of an event":              {1, replace(7, `"after":"2026`, `"after":"2025`), []string{"window acme-1-4-1", "window acme-1-4-1", "digest acme-1-4-2"}},
		"white space":                       {1, replace(2, `"data":`, `"data": `), []string{"digest acme-1-2-3"}},
		"a chain":                           {1, replace(6, `"chain":"`, `"chain":"0123456789abcdef`), []string{"schema acme-1-3-2", "digest acme-1-3-2", "digest acme-1-4-2"}},
		"a chain is left out":               {1, replace(6, `,"chain"`, `,"chained"`), []string{"digest acme-1-3-2", "digest acme-1-4-2"}},
		"a chain is recomputed":             {1, forge(5, 6), []string{"digest acme-1-4-2"}},
		"all later chains are, with intent": {1, forge(5, 99), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, audit.Options{}, test.change(chained(t, test.from)))
			var got []string
			for _, f := range r.Faults {
				got = append(got, f.Code+" "+f.ID)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
		})
	}
}

// forge changes a message, and recomputes the chains up to another one.
func forge(at, until int) func([]message) []message {
	return func(all []message) []message {
		all[at].body = bytes.ReplaceAll(all[at].body, []byte(`"source":"https://acme.example/statsapi"`), []byte(`"source":"https://acme.example/other"`))
		n := 0
		rechain(all[:min(until+1, len(all))], func(body []byte, chain string) []byte {
			n++
			i := bytes.Index(body, []byte(`"chain":"`))
			return fmt.Appendf(nil, `%s"chain":"%s%s`, body[:i], chain, body[i+len(`"chain":"`)+64:])
		})
		return all
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
