package audit_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// TestTimes holds times against each other. The steps go on from a queue that was observed at 0 s.
func TestTimes(t *testing.T) {
	t.Parallel()
	// change is a change of the queue, with the image that it leaves and an edit.
	change := func(seconds float64, before, after string, edit func(*event.EntityBase)) step {
		s := waiting(seconds, "A", before, after)
		if edit != nil {
			s.edit = func(e *event.Event) { edit(e.EntityBase()) }
		}
		return s
	}
	checkpoint := func(seconds float64, edit func(*event.CheckpointData)) step {
		return step{at: seconds, name: event.Checkpoint, edit: func(e *event.Event) { edit(e.Data.(*event.CheckpointData)) }}
	}
	clockSet := func(seconds float64, by time.Duration) step {
		return checkpoint(seconds, func(d *event.CheckpointData) { d.ClockSet = event.Duration(by) })
	}
	// after is a window that begins then.
	after := func(seconds float64) func(*event.EntityBase) {
		return func(d *event.EntityBase) { d.Observed.After = sent(seconds) }
	}
	term := func(seconds float64) []step {
		return []step{{at: seconds, name: event.Started}, checkpoint(seconds, func(*event.CheckpointData) {})}
	}
	gap := func(d *event.EntityBase) { d.AfterGap = true }
	hour := time.Hour.Seconds()
	for name, test := range map[string]struct {
		steps []step
		want  []string // codes and ids of faults
		notes []string
	}{
		"forward": {steps: []step{change(2, "0", "1", nil), change(hour, "1", "2", nil)}},
		"an event's time is not the end of its window": {
			steps: []step{{at: 2, name: "service.stats_changed", id: "A", before: "in_calls_waiting=0", after: "in_calls_waiting=1", edit: func(e *event.Event) { e.Time = at(1) }}},
			want:  []string{"time acme-1-3-1"},
		},
		"an event later than its checkpoint": {
			steps: []step{{at: 2, name: "service.stats_changed", id: "A", before: "in_calls_waiting=0", after: "in_calls_waiting=1", edit: func(e *event.Event) {
				e.Time, e.EntityBase().Observed.By = at(4), event.Ceil(at(4))
			}}},
			want: []string{"time acme-1-3-2"},
		},
		"an hour back": {
			steps: []step{change(2, "0", "1", nil), change(-hour, "1", "2", after(-hour-2))},
			want:  []string{"clock acme-1-4-1", "window acme-1-4-1", "clock acme-1-4-2", "clock acme-1-4-2"},
		},
		"an hour back, the clock was set": {
			steps: []step{change(2, "0", "1", nil), change(-hour, "1", "2", after(-hour-2)), clockSet(-hour, -time.Hour)},
			notes: []string{"clock acme-1-4-2"},
		},
		"an hour back, the clock was set before": {
			steps: []step{change(2, "0", "1", nil), clockSet(2, -time.Hour), change(-hour, "1", "2", after(-hour-2))},
			notes: []string{"clock acme-1-3-2"},
		},
		"an hour back, the clock was set long before": {
			steps: []step{change(2, "0", "1", nil), clockSet(2, -time.Hour), change(4, "1", "2", nil), change(-hour, "2", "3", after(-hour-2))},
			want:  []string{"clock acme-1-5-1", "window acme-1-5-1", "clock acme-1-5-2", "clock acme-1-5-2"},
			notes: []string{"clock acme-1-3-2"},
		},
		"an hour on, the clock was set": {
			steps: []step{change(2, "0", "1", nil), change(hour, "1", "2", after(hour-2)), clockSet(hour, time.Hour)},
			notes: []string{"clock acme-1-4-2"},
		},
		"the clock of another machine is two minutes behind": {
			steps: append(append([]step{change(300, "0", "1", nil)}, term(180)...), change(182, "1", "2", func(d *event.EntityBase) { gap(d); d.Observed.After = event.Time{} })),
			notes: []string{"clock acme-2-4-1", "clock acme-2-5-2"},
		},
		"it is eight minutes behind": {
			steps: append(append([]step{change(600, "0", "1", nil)}, term(120)...), change(122, "1", "2", func(d *event.EntityBase) { gap(d); d.Observed.After = event.Time{} })),
			notes: []string{"clock acme-2-4-1", "clock acme-2-5-2"},
		},
		"it is an hour behind": {
			steps: append(append([]step{change(hour, "0", "1", nil)}, term(4)...), change(6, "1", "2", func(d *event.EntityBase) { gap(d); d.Observed.After = event.Time{} })),
			want:  []string{"clock acme-2-4-1", "watermark acme-2-4-2", "clock acme-2-5-2"},
		},
		"a watermark in the future": {
			steps: []step{change(2, "0", "1", nil), checkpoint(2, func(d *event.CheckpointData) { d.ObservedUntil = sent(60) })},
			want:  []string{"watermark acme-1-3-2"},
		},
		"missing since the future": {
			steps: []step{change(2, "0", "1", nil), checkpoint(2, func(d *event.CheckpointData) { d.MissingSince = sent(hour) })},
			want:  []string{"watermark acme-1-3-2"},
		},
		"a window that begins before a poll that showed the queue": {
			steps: []step{change(2, "0", "1", nil), missingSince(4, 0), change(6, "1", "2", after(0))},
			want:  []string{"window acme-1-5-1"},
		},
		"a window that begins where the queue was seen last": {
			steps: []step{change(2, "0", "1", nil), missingSince(4, 2), missingSince(hour, 2), change(hour+2, "1", "2", after(2))},
		},
		"a window that begins long before the watermark": {
			steps: []step{change(2, "0", "1", nil), checkpoint(hour, func(*event.CheckpointData) {}), change(hour+2, "1", "2", after(2))},
			want:  []string{"window acme-1-5-1"},
		},
		"a departure that begins long before the watermark": {
			steps: []step{change(2, "0", "1", nil), checkpoint(hour, func(*event.CheckpointData) {}), change(hour+2, "1", "", after(2))},
			want:  []string{"window acme-1-5-1"},
		},
		"pending for too short a time": {
			steps: []step{change(2, "0", "9", nil), {at: 6, name: event.ThresholdRaised, id: "A", after: "9", edit: thresholdEdit(func(d *event.ThresholdData) {
				d.For = "10s"
			})}},
			want: []string{"since acme-1-4-1"},
		},
		"pending since before it was cleared": {
			steps: []step{change(2, "0", "9", nil), raised(6, "A", "9").pending(2), change(8, "9", "1", nil), cleared(8, "A", "1"), change(10, "1", "9", nil), raised(14, "A", "9").pending(4)},
			want:  []string{"since acme-1-7-1"},
		},
		"cleared, but raised at another time": {
			steps: []step{change(2, "0", "9", nil), raised(6, "A", "9").pending(2), change(8, "9", "1", nil), cleared(8, "A", "1").pending(1)},
			want:  []string{"since acme-1-5-2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, audit.Options{}, stream(t, append([]step{observed("A", "0")}, test.steps...)...))
			if d := cmp.Diff(test.want, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
			if d := cmp.Diff(test.notes, codes(r.Notes)); d != "" {
				t.Errorf("notes (-want +got)\n%s%+v", d, r.Notes)
			}
		})
	}
}

// TestTimesAfterALoss: a checkpoint that is missing may have stated that the clock was set.
func TestTimesAfterALoss(t *testing.T) {
	t.Parallel()
	hour := time.Hour.Seconds()
	all := stream(t, observed("A", "0"), observed("B", "0"), waiting(2, "A", "0", "1"), waiting(2, "B", "0", "1"), step{at: 4, name: event.Checkpoint, edit: func(e *event.Event) {
		e.Data.(*event.CheckpointData).ClockSet = event.Duration(-time.Hour)
	}}, waiting(-hour, "A", "1", "7").lastSeen(-hour-2), waiting(-hour+2, "B", "1", "2"), raisedSince(-hour+4, 2))
	i := index(t, all, "acme-1-4-1")
	a, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(all[:i:i], all[i+1:]...) {
		a.Add(m.message())
	}
	if d := cmp.Diff([]string{"missing acme-1-5-2"}, codes(a.Report().Faults)); d != "" {
		t.Errorf("faults (-want +got)\n%s%+v", d, a.Report().Faults)
	}
}

// TestClockSetInParts: the first part of a poll states that the clock was set, for all of them and for the poll after.
func TestClockSetInParts(t *testing.T) {
	t.Parallel()
	hour := time.Hour.Seconds()
	back := func(id, before, after string) step { return waiting(-hour, id, before, after).lastSeen(-hour - 2) }
	w := newWriter(t)
	w.poll([]step{observed("A", "0"), observed("B", "0"), observed("C", "0")})
	w.part([]step{back("A", "0", "1"), {at: -hour, name: event.Checkpoint, edit: func(e *event.Event) {
		e.Data.(*event.CheckpointData).ClockSet = event.Duration(-time.Hour)
	}}}, 1, 3)
	w.part([]step{back("B", "0", "1")}, 2, 3)
	w.part([]step{back("C", "0", "1")}, 3, 3)
	w.id.Poll, w.id.Index = w.id.Poll+1, 1
	w.poll([]step{waiting(-hour+2, "A", "1", "2")})
	if r := judge(t, audit.Options{}, w.out); !r.OK {
		t.Errorf("faults: %+v", r.Faults)
	}
	w.poll([]step{waiting(-2*hour, "A", "2", "3").lastSeen(-2*hour - 2)})
	if r := judge(t, audit.Options{}, w.out); r.ByCode["clock"] == 0 {
		t.Errorf("times that go back once more: %+v", r.Faults)
	}
}

// raisedSince is a rule that is raised for five seconds, pending since a time.
func raisedSince(seconds, since float64) step {
	s := raised(seconds, "A", "7")
	s.edit = thresholdEdit(func(d *event.ThresholdData) { d.For, d.PendingSince = "5s", event.Ceil(at(since)) })
	return s
}

// TestStored compares the times at which messages were stored with their own.
func TestStored(t *testing.T) {
	t.Parallel()
	// The messages: 0 started, 1 checkpoint; 2 A, 3 checkpoint; 4 A, 5 checkpoint, of 10 s.
	for name, test := range map[string]struct {
		later [3]time.Duration // by how much the messages of each poll were stored later
		want  []string
	}{
		"at once": {},
		"by a server whose clock is four minutes behind": {[3]time.Duration{-4 * time.Minute, -4 * time.Minute, -4 * time.Minute}, nil},
		"before their time":                       {[3]time.Duration{0, 0, -6 * time.Minute}, []string{"stored acme-1-3-1", "stored acme-1-3-1", "stored acme-1-3-2"}},
		"hours later, as after an outage":         {[3]time.Duration{0, 3 * time.Hour, 3 * time.Hour}, nil},
		"the next one earlier, by another server": {[3]time.Duration{0, 4 * time.Minute, 0}, nil},
		"the next one hours earlier":              {[3]time.Duration{0, 3 * time.Hour, 0}, []string{"stored acme-1-3-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := stream(t, observed("A", "0"), waiting(10, "A", "0", "1"))
			began := []time.Time{at(-2), at(-2), at(0), at(0), at(10), at(10)}
			for i := range all {
				all[i].stored = began[i].Add(test.later[i/2])
			}
			r := judge(t, audit.Options{}, all)
			if d := cmp.Diff(test.want, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
			for _, c := range r.Checks {
				if c.Check == "stored" && c.Made != "all" {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}
