package audit_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// TestTimesThatGoBack: a time goes back by a source that stood still, which is noted, or is a fault.
func TestTimesThatGoBack(t *testing.T) {
	t.Parallel()
	change := func(seconds float64, before, after string) step { return waiting(seconds, "A", before, after) }
	interrupted := func(until float64) step {
		return step{at: 12, name: event.Interrupted, edit: func(e *event.Event) {
			d := e.Data.(*event.FeedData)
			d.Cause, d.Error, d.ObservedUntil = "source", "no answer", sent(until)
		}}
	}
	status := func(until float64) step {
		return step{at: 12, name: event.Checkpoint, edit: func(e *event.Event) {
			d := e.Data.(*event.CheckpointData)
			d.Status, d.ObservedUntil = event.StatusInterrupted, sent(until)
		}}
	}
	for name, test := range map[string]struct {
		steps []step
		want  []string // ids of the events with notes
		fault []string // codes and ids of faults
	}{
		"forward": {steps: []step{observed("A", "0"), change(2, "0", "1"), change(4, "1", "2")}},
		"a poll's window": {steps: []step{observed("A", "0"), change(60, "0", "1"), change(30, "1", "2").lastSeen(28)},
			want: []string{"acme-1-4-1", "acme-1-4-2"}, fault: []string{"clock acme-1-4-1", "clock acme-1-4-2"}},
		"a watermark":                    {steps: []step{observed("A", "0"), change(8, "0", "1"), interrupted(8), status(2), {at: 14, name: event.Resumed}}, want: []string{"acme-1-4-2", "acme-1-5-1"}},
		"a watermark that is taken back": {steps: []step{observed("A", "0"), change(8, "0", "1"), interrupted(2), status(2), {at: 14, name: event.Resumed}}},
		"the end of a gap":               {steps: []step{observed("A", "0"), change(8, "0", "1"), interrupted(8), status(8), step{at: 14, name: event.Resumed}.resumedFrom(2)}, want: []string{"acme-1-5-1"}},
		"a gap without its beginning":    {steps: []step{observed("A", "0"), change(8, "0", "1"), interrupted(8), status(8), step{at: 14, name: event.Resumed}.resumedFrom(11)}, fault: []string{"window acme-1-5-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, audit.Options{Whole: true}, stream(t, test.steps...))
			var got []string
			for _, n := range r.Notes {
				if n.Code != "clock" {
					t.Errorf("%+v", n)
				}
				got = append(got, n.ID)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("notes (-want +got)\n%s\n%+v", d, r.Notes)
			}
			if d := cmp.Diff(test.fault, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s\n%+v", d, r.Faults)
			}
		})
	}
}

// TestStatusOfParts: a poll that ends an interruption and is published in parts is live when its
// last part is stored.
func TestStatusOfParts(t *testing.T) {
	t.Parallel()
	afterGap := func(s step) step {
		s.edit = func(e *event.Event) { e.EntityBase().AfterGap = true }
		return s
	}
	w := newWriter(t)
	w.poll([]step{observed("A", "0"), observed("B", "0")})
	w.poll([]step{{at: 8, name: event.Interrupted, edit: func(e *event.Event) { d := e.Data.(*event.FeedData); d.Cause, d.Error = "source", "x" }},
		{at: 8, name: event.Checkpoint, edit: func(e *event.Event) {
			d := e.Data.(*event.CheckpointData)
			d.Status, d.ObservedUntil = event.StatusInterrupted, sent(0)
		}}})
	w.part([]step{{at: 10, name: event.Resumed}, afterGap(waiting(10, "A", "0", "1"))}, 1, 2)
	w.part([]step{afterGap(waiting(10, "B", "0", "1"))}, 2, 2)
	if r := judge(t, audit.Options{Whole: true}, w.out); !r.OK {
		t.Errorf("faults: %+v", r.Faults)
	}
	last := &w.out[len(w.out)-1]
	last.body = bytes.Replace(last.body, []byte(`"status":"live"`), []byte(`"status":"interrupted"`), 1)
	if r := judge(t, audit.Options{Whole: true}, w.out); len(r.Faults) != 1 || r.Faults[0].Code != "feed" || r.Faults[0].ID != last.id() {
		t.Errorf("interrupted at the end: faults %+v", r.Faults)
	}
}

// resumedFrom gives the end of a gap with another beginning.
func (s step) resumedFrom(seconds float64) step {
	s.edit = func(e *event.Event) { e.Data.(*event.ResumedData).Observed.After = sent(seconds) }
	return s
}
