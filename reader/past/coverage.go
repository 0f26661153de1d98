package past

import (
	"time"

	"bpcc-nats/bridge/event"
)

// coverage is when the source was observed around an instant.
type coverage struct {
	bound bound
	// begun reports whether the stream says anything of the instant.
	begun bool
	// from and until bound the time without a gap around the instant.
	from, until time.Time
	// unknown is why the source was not observed at the instant; nil if it was.
	unknown *Unknown
	// open reports whether that is because the stream ends before the instant.
	open bool
	// status is that of the last checkpoint.
	status string
}

// endsAt is why nothing is known after the last observation.
func (c *coverage) endsAt(until time.Time) *Unknown {
	reason := Unconfirmed
	switch c.status {
	case event.StatusStopped:
		reason = Stopped
	case event.StatusInterrupted:
		reason = Interrupted
	}
	return &Unknown{Reason: reason, Text: texts[reason], After: until}
}

// coverage finds out when the source was observed.
func (f *Fold) coverage() coverage {
	c := coverage{bound: bound{whole: f.begins}}
	unknown := func(reason Reason, after, by time.Time) coverage {
		c.unknown = &Unknown{Reason: reason, Text: texts[reason], After: after, By: by}
		return c
	}
	if f.first.data == nil {
		return unknown(AgedOut, time.Time{}, time.Time{})
	}
	c.bound.from, c.status = f.first.time, f.last.data.Status
	if f.then.data == nil && !f.begins {
		return unknown(AgedOut, time.Time{}, f.first.time)
	}
	if f.then.data == nil || f.then.data.ObservedUntil.IsZero() {
		return unknown(BeforeFirst, time.Time{}, f.firstGood)
	}
	c.begun = true
	c.from, c.until = f.first.time, f.last.data.ObservedUntil.Time
	if f.begins {
		c.from = latest(c.from, f.firstGood)
	}
	if g := f.gapBefore; g != nil {
		c.from = latest(c.from, g.Observed.By.Time)
	}
	if g := f.gapAfter; g != nil {
		c.until = earliest(c.until, g.Observed.After.Time)
	}
	if g := f.gapAt; g != nil {
		// Between two terms no bridge polled either, whatever the gap began with.
		if next := f.next.data; g.BridgeAway || next != nil && next.Epoch != f.then.data.Epoch {
			return unknown(BridgeAway, g.Observed.After.Time, g.Observed.By.Time)
		}
		u := unknown(Gap, g.Observed.After.Time, g.Observed.By.Time)
		u.unknown.Text += ": " + g.Cause
		return u
	}
	// A source that was found frozen at the end was not seen since, whatever was said meanwhile.
	if last := f.last.data.ObservedUntil.Time; f.at.After(last) {
		c.unknown, c.open = c.endsAt(last), true
	}
	return c
}

// feed is the state of the feed at the instant.
func (f *Fold) feed() Feed {
	feed := Feed{Status: StatusUnknown}
	if f.then.data != nil {
		feed.Checkpoint, feed.ID, feed.Seq, feed.Time = f.then.data, f.then.id, f.then.seq, f.then.time
	}
	c := f.coverage()
	switch {
	case !c.begun:
	case c.unknown == nil:
		feed.Status = event.StatusLive
	case c.open && c.status == event.StatusLive: // nobody has said so
	case c.open:
		feed.Status = c.status
	case f.then.data.Status == event.StatusStopped:
		feed.Status = event.StatusStopped
	default:
		feed.Status = event.StatusInterrupted
	}
	return feed
}
