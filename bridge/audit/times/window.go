package times

import (
	"time"

	"bpcc-nats/bridge/event"
)

// window compares the window of an event with its time, with the windows of its poll, with what is covered before it,
// and with the event before about the same entity.
func (t *Tenant) window(e *event.Event, key string, w event.Window, found *findings) {
	if w.After.After(w.By.Time) {
		found.fault(Window, "observed.after %s is later than observed.by %s", w.After, w.By)
	}
	kind := e.Kind()
	switch {
	case kind == "availability":
		// A change is published when it has lasted, or when the last check is too old.
		if w.By.Sub(e.Time) > Tolerance {
			found.unlessSet(Time, "its time %s is before the end of its window, %s", event.Floor(e.Time), w.By)
		}
	case !e.Time.Equal(w.By.Time):
		found.fault(Time, "its time is %s, its window ends at %s", event.Floor(e.Time), w.By)
	}
	switch d := e.Data.(type) {
	case *event.ResumedData:
		t.received(w, found)
		t.gap(w, found)
		return
	case *event.ChatData:
		t.received(w, found)
		t.covered(e, w, t.until, found)
		return
	case *event.ThresholdData:
		t.polled(e, w, found)
		t.pending(e, key, d, found)
	default:
		if e.Row() != nil {
			t.polled(e, w, found)
			t.row(e, w, found)
		}
	}
	if key == "" { // a directory, which has no revisions
		key = e.ViewKey()
	}
	t.follow(e, key, w, found)
}

// received compares the windows of a poll that end when its response was received.
func (t *Tenant) received(w event.Window, found *findings) {
	switch p := t.poll; {
	case p.received.IsZero():
		p.received = w.By
	case !w.By.Equal(p.received.Time):
		found.fault(Window, "observed.by %s differs from %s of the same poll", w.By, p.received)
	}
}

// polled compares the end of a window with the others of its poll, and with those of the polls before. What has
// not changed is evaluated for the time of its first sight, and what is stated again for the last good poll.
func (t *Tenant) polled(e *event.Event, w event.Window, found *findings) {
	p := t.poll
	if p.by.IsZero() {
		if p.by = w.By; !e.Restates() && t.by.Sub(w.By.Time) > Tolerance {
			found.unlessSet(Clock, "its window ends at %s, that of an earlier poll at %s", w.By, event.Floor(t.by))
		}
		if w.By.Before(t.by) {
			t.clocks++ // what is compared by it only starts again
		}
		t.by = w.By.Time
	}
	if !w.By.Equal(p.by.Time) {
		found.fault(Window, "observed.by %s differs from %s of the same poll", w.By, p.by)
		return
	}
	if e.Row() != nil && !e.Restates() {
		t.received(w, found)
	}
}

// row compares the beginning of a row's window with what the last checkpoint covers.
func (t *Tenant) row(e *event.Event, w event.Window, found *findings) {
	if w.After.IsZero() {
		return
	}
	if e.Arrives() {
		if t.poll.appeared.IsZero() {
			t.poll.appeared = w.After
		}
		if !w.After.Equal(t.poll.appeared.Time) {
			found.fault(Window, "observed.after %s differs from %s of the same poll", w.After, t.poll.appeared)
		}
		t.covered(e, w, t.until, found)
		return
	}
	// A missing row was seen for the last time no later than that. One that is missing since before the clock was
	// set back is not judged.
	switch {
	case t.missing.IsZero():
		t.covered(e, w, t.until, found)
	case !t.missing.After(t.until):
		t.covered(e, w, t.missing, found)
	}
}

// covered compares the beginning of a window with until when the last checkpoint covers all changes of its kind.
func (t *Tenant) covered(e *event.Event, w event.Window, until time.Time, found *findings) {
	switch before := until.Sub(w.After.Time); {
	case w.After.IsZero() || before <= Tolerance:
	case before > pictureReach:
		found.unlessSet(Window, "its window begins at %s, but a checkpoint covers all changes until %s", w.After, event.Floor(until))
	case !e.Removes():
		found.note("its window begins at %s, but a checkpoint covers all changes until %s: did the source stand still?", w.After, event.Floor(until))
	}
}

// follow compares an event with the one before about the same entity, in the same term. A window begins no earlier than
// the request of a poll that showed the entity. Availability and directories are polled by themselves.
func (t *Tenant) follow(e *event.Event, key string, w event.Window, found *findings) {
	last, known := t.entries[key]
	next := entry{poll: t.poll, clocks: t.clocks, after: w.After, seen: e.Row() != nil && !e.Restates(), absent: e.Removes()}
	if base := e.EntityBase(); base != nil {
		next.revision = base.Revision
	}
	if d, ok := e.Data.(*event.ThresholdData); ok {
		next.seen = d.ClearedBy == "" || d.ClearedBy == event.ClearedByCondition
		if e.Name == event.ThresholdRaised {
			next.pending = d.PendingSince
		}
	}
	t.entries[key] = next
	if !known || last.clocks != t.clocks || last.poll == t.poll || w.After.IsZero() {
		return
	}
	least, reach := last.after.Time, Tolerance
	if e.Row() != nil || e.Kind() == "threshold" {
		if !last.seen {
			return
		}
		if least = last.poll.sent; last.absent || e.Kind() == "threshold" {
			reach = pictureReach
		}
	}
	if least.Sub(w.After.Time) > reach {
		found.unlessSet(Window, "its window begins at %s, but the event before about it is of a poll that was sent at %s", w.After, event.Floor(least))
	}
}

// gap compares the window of a gap with its beginning. A source that repeats a picture when it is back takes the beginning
// back.
func (t *Tenant) gap(w event.Window, found *findings) {
	from := t.gapFrom
	t.gapFrom = time.Time{}
	if from.IsZero() || w.After.IsZero() {
		return
	}
	switch later := w.After.Sub(from); {
	case t.gapClocks == t.clocks && (later > Tolerance || -later > pictureReach):
		found.unlessSet(Window, "its window begins at %s, the gap at %s", w.After, event.Floor(from))
	case later.Abs() > Tolerance:
		found.note("its window begins at %s, the gap at %s: did the source stand still, or is it the clock of another machine?", w.After, event.Floor(from))
	}
}

// pending compares since when a rule's condition holds with its window and with the event before about the rule.
func (t *Tenant) pending(e *event.Event, key string, d *event.ThresholdData, found *findings) {
	last, known := t.entries[key]
	if e.Name == event.ThresholdCleared {
		if known && last.revision+1 == d.Revision && !last.pending.IsZero() && !d.PendingSince.Equal(last.pending.Time) {
			found.fault(Pending, "pending since %s, but raised as pending since %s", d.PendingSince, last.pending)
		}
		return
	}
	least, err := time.ParseDuration(d.For)
	if d.PendingSince.IsZero() || err != nil || !t.set.IsZero() && (d.PendingSince.Before(t.set) || d.Observed.By.Sub(t.set) < least+Tolerance) {
		return // the clock may have been set since
	}
	if held := d.Observed.By.Sub(d.PendingSince.Time); held+Tolerance < least {
		found.unlessSet(Pending, "pending since %s, for less than %v until %s", d.PendingSince, least, d.Observed.By)
	}
	if known && last.clocks == t.clocks && last.seen && d.PendingSince.Before(last.poll.by.Add(-Tolerance)) {
		found.unlessSet(Pending, "pending since %s, but cleared at %s", d.PendingSince, last.poll.by)
	}
}
