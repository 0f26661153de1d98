package engine_test

import (
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// names gives events as "agent/anna state_changed".
func names(events []event.Event) []string {
	out := []string{}
	for i := range events {
		out = append(out, events[i].CESubject()+" "+events[i].Verb())
	}
	return out
}

// expect compares the names of events with those wanted, separated by commas.
func (b *bridge) expect(what string, events []event.Event, want string) {
	b.t.Helper()
	wanted := []string{}
	if want != "" {
		wanted = strings.Split(want, ", ")
	}
	if d := cmp.Diff(wanted, names(events)); d != "" {
		b.t.Errorf("%s: events (-want +got)\n%s", what, d)
	}
}

// only gives the one event that there is.
func (b *bridge) only(what string, events []event.Event, want string) *event.Event {
	b.t.Helper()
	b.expect(what, events, want)
	if len(events) != 1 {
		b.t.FailNow()
	}
	return &events[0]
}

// dataOf is the data of an event.
func dataOf[T event.Data](b *bridge, e *event.Event) T {
	b.t.Helper()
	d, ok := e.Data.(T)
	if !ok {
		b.t.Fatalf("%s has data of type %T", e.Name, e.Data)
	}
	return d
}

// last is the data of the last stored event of an entity's key in the view.
func last[T event.Data](b *bridge, key string) T {
	b.t.Helper()
	for i := range slices.Backward(b.stream) {
		if e := &b.stream[i]; e.ViewKey() == key {
			d, ok := e.Data.(T)
			if !ok {
				b.t.Fatalf("last event of %s is %s", key, e.Name)
			}
			return d
		}
	}
	b.t.Fatalf("no event of %s", key)
	panic("unreachable")
}

// checkpoint is the data of the last checkpoint.
func (b *bridge) checkpoint() *event.CheckpointData {
	b.t.Helper()
	return last[*event.CheckpointData](b, "feed")
}

// named gives the stored events with a name.
func (b *bridge) named(name string) []event.Event {
	return slices.DeleteFunc(slices.Clone(b.stream), func(e event.Event) bool { return e.Name != name })
}

// checkStream checks what is promised of any stream: ids in their order and without
// a hole, revisions without a hole, also of states, images that join on, windows that end, and
// checkpoints that count right and name the one before.
func (b *bridge) checkStream() {
	b.t.Helper()
	var id event.ID
	checkpoint, inBatch := "", 0
	revisions, images, states := map[string]uint64{}, map[string]image.Image{}, map[string]uint64{}
	for i := range b.stream {
		e := &b.stream[i]
		follows := e.ID.Compare(id) > 0 && e.ID.Index == 1
		if e.ID.Epoch == id.Epoch && e.ID.Poll == id.Poll {
			follows = e.ID.Index == id.Index+1
		}
		if !follows {
			b.t.Errorf("%s follows %v", e.MsgID(), id)
		}
		id = e.ID
		if d, ok := e.Data.(*event.CheckpointData); ok {
			agents, services := 0, 0
			for key := range images {
				if strings.HasPrefix(key, "agent.") {
					agents++
				} else if strings.HasPrefix(key, "service.") {
					services++
				}
			}
			if d.Events != inBatch || d.Follows != checkpoint || d.Agents != agents || d.Services != services {
				b.t.Errorf("%s: %d events, %d agents, %d services, follows %q; want %d, %d, %d, %q",
					e.MsgID(), d.Events, d.Agents, d.Services, d.Follows, inBatch, agents, services, checkpoint)
			}
			checkpoint, inBatch = e.MsgID(), 0
			continue
		}
		inBatch++
		base := e.EntityBase()
		if base == nil {
			continue
		}
		key := e.ViewKey()
		if revisions[key]++; base.Revision != revisions[key] {
			b.t.Errorf("%s: %s has revision %d, want %d", e.MsgID(), key, base.Revision, revisions[key])
			revisions[key] = base.Revision
		}
		b.checkState(e, states)
		if base.Observed.By.IsZero() || base.Observed.After.After(base.Observed.By.Time) {
			b.t.Errorf("%s: window %v", e.MsgID(), base.Observed)
		}
		if row := e.Row(); row != nil {
			if e.Restates() && !row.After.Equal(images[key]) {
				b.t.Errorf("%s: %s: stated again as %v, the last after %v", e.MsgID(), key, row.After, images[key])
			}
			if !e.Restates() && !row.Before.Equal(images[key]) {
				b.t.Errorf("%s: %s: before is %v, the last after %v", e.MsgID(), key, row.Before, images[key])
			}
			if images[key] = row.After; row.After.IsZero() {
				delete(images, key)
			}
		}
	}
	if inBatch > 0 {
		b.t.Errorf("%d events have no checkpoint behind them", inBatch)
	}
}

// checkTimes compares the times of the stream as an auditor does.
func (b *bridge) checkTimes() {
	b.t.Helper()
	a, err := audit.New(audit.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range b.stream {
		a.Add(audit.Message{Body: []byte(b.encode(&b.stream[i]))})
	}
	for _, f := range a.Report().Faults {
		switch f.Code {
		case "time", "clock", "window", "watermark", "since":
			b.t.Errorf("the auditor finds %+v", f)
		}
	}
}

// checkState checks the number of an agent's state, given those before by key of the view: a change of
// state alone raises it. Events without one are those of an earlier version.
func (b *bridge) checkState(e *event.Event, states map[string]uint64) {
	b.t.Helper()
	got, key := e.EntityBase().StateRevision, e.ViewKey()
	want := states[key]
	switch {
	case e.Kind() != "agent":
		want = 0
	case got == 0 && b.uncounted:
		if e.Verb() == "state_changed" {
			delete(states, key)
		}
		return
	case e.Verb() == "state_changed" || want == 0:
		want++
	}
	if got != want {
		b.t.Errorf("%s: %s %s has state_revision %d, want %d", e.MsgID(), key, e.Verb(), got, want)
	}
	states[key] = got
}
