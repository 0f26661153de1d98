package past

import (
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// Message is an event of the stream. Its data is decoded when that is needed.
type Message struct {
	Seq  uint64
	Body []byte
	// Source decodes the event.
	Source interface{ Decode() (event.Event, error) }
}

// change is a decoded event.
type change struct {
	Message
	event event.Event
}

func (c *change) window() event.Window { return c.event.EntityBase().Observed }

// possible is the state after a change.
func (c *change) possible() Possible {
	if c.event.Removes() || c.event.Name == event.ThresholdCleared {
		return Possible{}
	}
	return Possible{&c.event, c.Seq, c.Body}
}

// stage is a state that an entity had for a time, and when that began: after one instant and by another.
type stage struct {
	state     Possible
	after, by time.Time
	unknown   Reason   // the state is not known; "" if it is
	lost      bool     // events are missing between this state and the one before
	was       Possible // where some are, the state right before
	seq       uint64   // of the last event of the stage, 0 if the stream does not hold it
}

// stages returns the states of an entity that its events tell, the first before them if base is nil. Bound is
// when the stream begins: what was before that is not known.
func stages(base *change, later []change, bound bound) []stage {
	var all []stage
	var revision uint64
	if base != nil {
		all = append(all, stage{state: base.possible(), by: base.window().By.Time, seq: base.Seq})
		revision = base.event.EntityBase().Revision
	} else {
		all = append(all, before(&later[0], bound))
	}
	for i := range later {
		c, last := &later[i], &all[len(all)-1]
		d := c.event.EntityBase()
		s := stage{state: c.possible(), after: d.Observed.After.Time, by: d.Observed.By.Time, seq: c.Seq}
		s.lost = revision > 0 && d.Revision != revision+1
		if revision = d.Revision; s.lost {
			s.was = before(c, bound).state
		}
		switch {
		case c.event.Restates() && last.unknown == "" && sameState(last.state.Event, &c.event) && !s.lost:
			last.seq = c.Seq
			continue
		case s.after.IsZero():
			s.after = last.by
		case !s.lost && len(all) > 1 && s.after.Equal(last.after) && s.by.Equal(last.by):
			// State and statistics that change in one poll are two events of one change.
			s.lost, s.was = last.lost, last.was
			*last = s
			continue
		}
		all = append(all, s)
	}
	return all
}

// before returns the state before the first event that the stream holds about an entity.
func before(c *change, bound bound) stage {
	s := stage{by: bound.from}
	e := c.event
	switch d := e.Data.(type) {
	case *event.AvailabilityChangedData:
		previous := *d
		previous.Available, previous.Reason, previous.Previous = d.Previous, "", nil
		past(&previous.EntityBase)
		s.state.Event = &event.Event{Name: "availability.changed", Data: &previous}
	case *event.ThresholdData:
		if e.Name == event.ThresholdCleared {
			raised := *d
			raised.ClearedBy, raised.Value = "", nil
			past(&raised.EntityBase)
			s.state.Event = &event.Event{Name: event.ThresholdRaised, Data: &raised}
		}
	case *event.AgentData:
		previous := *d
		previous.From, previous.To, previous.Since, previous.Reentered, previous.PreviousDuration = nil, d.From, time.Time{}, false, event.DurationRange{}
		s.rowBefore(c, bound, &previous.EntityBase, &previous.RowData, &previous)
	case *event.ServiceData:
		previous := *d
		s.rowBefore(c, bound, &previous.EntityBase, &previous.RowData, &previous)
	case *event.TotalsData:
		previous := *d
		s.rowBefore(c, bound, &previous.EntityBase, &previous.RowData, &previous)
	default: // availability.observed
		s.unknown = bound.beforeObserved(e.EntityBase().Revision)
	}
	return s
}

// rowBefore makes the state before an event out of a copy of its data.
func (s *stage) rowBefore(c *change, bound bound, base *event.EntityBase, row *event.RowData, d event.Data) {
	switch {
	case c.event.Verb() == "observed":
		s.unknown = bound.beforeObserved(base.Revision)
	case !row.Before.IsZero():
		row.After, row.Before, row.Changed, row.Reset = row.Before, image.Image{}, nil, nil
		past(base)
		s.state.Event = &event.Event{Name: c.event.Kind() + ".observed", Data: d}
	}
}

// past makes the beginning of an event's data that of the event before, of which nothing more is known.
func past(base *event.EntityBase) {
	base.Revision--
	base.Observed, base.AfterGap, base.StateRevision = event.Window{}, false, 0
}

// sameState reports whether two events state the same.
func sameState(a, b *event.Event) bool {
	if a == nil || b == nil {
		return a == b
	}
	if x, y := a.Row(), b.Row(); x != nil && y != nil {
		return x.After.Equal(y.After)
	}
	if x, y := a.Availability(), b.Availability(); x != nil && y != nil {
		return event.SameAvailability(x.Available, y.Available)
	}
	return false
}

// isRow reports whether an entity, by its key, has a row in the source's tables.
func isRow(key string) bool {
	return strings.HasPrefix(key, "agent.") || strings.HasPrefix(key, "service.")
}

// isAvailability reports whether a key is that of an availability, which is checked apart from the polls.
func isAvailability(key string) bool { return strings.HasPrefix(key, "availability.") }

// bound is where the stream begins.
type bound struct {
	from  time.Time // all changes since then are in the stream
	whole bool      // the stream holds the tenant's first event
}

// beforeObserved is why a state is not known before an event that says how the entity is, and not how it
// was.
func (b bound) beforeObserved(revision uint64) Reason {
	if b.whole && revision == 1 {
		return BeforeFirst
	}
	return AgedOut
}

// decide decides what is known of an entity at an instant, by its stages alone. It returns the stage that
// the entity is in if that is certain, else -1.
func decide(at time.Time, all []stage) (e Entity, in int) {
	first, last := -1, -1
	for i := range all {
		begun := i == 0 || all[i].after.Before(at)
		ended := i+1 < len(all) && !all[i+1].by.After(at)
		if !begun || ended {
			continue
		}
		if last = i; first < 0 {
			first = i
		} else if all[i].lost {
			e.Possible = append(e.Possible, all[i].was)
		}
		if all[i].unknown == "" {
			e.Possible = append(e.Possible, all[i].state)
		}
	}
	if first < 0 { // windows that contradict each other
		e.Unknown = &Unknown{Reason: ClockSet, Text: "the windows of its events overlap"}
		return e, -1
	}
	next := first + 1
	switch {
	case all[first].unknown != "":
		e.Possible = nil // what was observed later says nothing of it
		e.Unknown = &Unknown{Reason: all[first].unknown, Text: texts[all[first].unknown], By: all[min(next, len(all)-1)].by}
	case next < len(all) && all[next].lost:
		e.Unknown = &Unknown{Reason: Lost, Text: texts[Lost], After: all[first].by, By: all[next].after}
		if last == first {
			e.Possible = append(e.Possible, all[next].was)
		}
	case first != last:
		e.Unknown = &Unknown{Reason: Changing, Text: texts[Changing], After: all[first+1].after, By: all[last].by}
	default:
		e.From = all[first].by
		if next < len(all) {
			e.Until = all[next].after
		}
		return e, first
	}
	return e, -1
}

// texts say what reasons mean.
var texts = map[Reason]string{
	Changing:    "it changed after one poll before and by the next one; either state is possible",
	Gap:         "the source was not seen",
	BridgeAway:  "no bridge polled, or the stream took no events",
	Interrupted: "the source was not seen, and the gap has not ended",
	Stopped:     "the bridge was stopped, and none has observed since",
	Unconfirmed: "the last checkpoint is from before",
	BeforeFirst: "before the first observation",
	AgedOut:     "the stream does not hold the events of that time any more",
	RowsMissing: "the source did not show some rows; of which is not in the stream",
	Lost:        "events are missing in the stream",
	Erased:      "events were erased",
	Unreadable:  "the server cannot load some messages",
	Foreign:     "a message that no bridge wrote hides what was known",
	ClockSet:    "the clock of the bridge was set back over the instant",
}
