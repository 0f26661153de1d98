package report

import (
	"time"

	"bpcc-nats/bridge/event"
)

// timeline is what one entity was, from event to event.
type timeline struct {
	kind     string
	id, rule string
	name     string
	sights   *spans // when it was not seen, beside holes
	seq      uint64 // of the last event
	revision uint64 // of it; 0 = none is decoded
	body     []byte // of the last event before the report, while it is not decoded
	done     bool   // later events begin after the report

	stage     stage
	prior     stage // the one before
	after, by int64 // the window in which the stage began
	upto      int64 // what is before is counted
	entered   int   // the last day on which the stage is counted; -1 = none
	trip      bool  // the first event of a change has a round trip
	wait      wait
	days      map[int]*ledger
}

// ledger is what is counted of an entity on a day.
type ledger struct {
	unseen, trips int64 // the time without sight, and that of windows with a round trip
	cells         map[cell]*amount
	waited        bool
	wait          Range
}

// amount is what is counted of a state on a day.
type amount struct {
	times, logIns, trips int
	least, perhaps       int64
}

// ledger returns that of a day.
func (t *timeline) ledger(day int) *ledger {
	l := t.days[day]
	if l == nil {
		l = &ledger{cells: map[cell]*amount{}}
		t.days[day] = l
	}
	return l
}

// amount returns that of a stage.
func (l *ledger) amount(s stage) *amount {
	a := l.cells[s.cell]
	if a == nil {
		a = &amount{}
		l.cells[s.cell] = a
	}
	return a
}

// inRange bounds a time by that of the report.
func (f *Fold) inRange(from, to int64) (int64, int64) {
	return max(from, f.since, f.first), min(to, f.until)
}

// eachDay calls count with the parts of a time that the report has, day by day.
func (f *Fold) eachDay(from, to int64, count func(day int, from, to int64)) {
	for from, to = f.inRange(from, to); from < to; {
		day := f.calendar.day(from)
		end := min(to, f.calendar.begins[day+1])
		count(day, from, end)
		from = end
	}
}

// count counts a time in which the entity was in a stage.
func (f *Fold) count(t *timeline, from, to int64, s stage) {
	f.eachDay(from, to, func(day int, from, to int64) {
		l, unseen := t.ledger(day), t.sights.overlap(from, to)
		seen := to - from - unseen
		switch s.sight {
		case unknown:
			unseen, seen = to-from, 0
		case present:
			a := l.amount(s)
			a.least += seen
			if seen > 0 && t.entered != day {
				a.times++
				t.entered = day
			}
		}
		l.unseen += unseen
	})
}

// countWindow counts a time in which the entity went from one stage to another. If they are the same, it was
// in another one in between, and nobody saw in which.
func (f *Fold) countWindow(t *timeline, from, to int64, before, after stage) {
	if before.sight == unknown || after.sight == unknown {
		f.count(t, from, to, stage{})
		return
	}
	f.eachDay(from, to, func(day int, from, to int64) {
		l, unseen := t.ledger(day), t.sights.overlap(from, to)
		l.unseen += unseen
		if before == after {
			l.trips += to - from - unseen
			return
		}
		for _, s := range [...]stage{before, after} {
			if s.sight == present {
				l.amount(s).perhaps += to - from - unseen
			}
		}
	})
}

// apply adds an event. More reports whether the next one is of the same change, so that the stage after it
// counts.
func (f *Fold) apply(t *timeline, e *event.Event, seq uint64, more bool) {
	d := e.EntityBase()
	after, by := nanos(d.Observed.After.Time), nanos(d.Observed.By.Time)
	switch {
	case t.revision == 0:
		f.begin(t, e, seq)
	case d.Revision != t.revision+1:
		f.lose(t, e, seq)
	}
	t.seq, t.revision = seq, d.Revision
	if d.Observed.After.IsZero() {
		after = t.by // as what states a present entity again
	}
	t.done = after >= f.until
	after, by = max(after, t.after), max(by, t.by)
	f.countWait(t, e, after, by)
	agent, _ := e.Data.(*event.AgentData)
	if agent != nil && agent.Agent.Name != "" {
		t.name = agent.Agent.Name
	}
	trip := t.trip || agent != nil && agent.Reentered
	if t.trip = trip && more; more {
		return
	}
	before, next := t.stage, f.stageAfter(e)
	if next == before && !trip {
		return
	}
	middle := max(after, t.upto)
	f.count(t, t.upto, middle, before)
	f.countWindow(t, middle, by, before, next)
	if next.sight == present && next != t.prior { // of two windows that overlap
		f.eachDay(after, t.upto, func(day int, from, to int64) { t.ledger(day).amount(next).perhaps += to - from })
	}
	t.prior, t.stage, t.after, t.by, t.upto, t.entered = before, next, after, by, max(by, t.upto), -1
	if from, to := f.inRange(by, by+1); next.sight == present && from < to {
		t.entered = f.calendar.day(by)
		a := t.ledger(t.entered).amount(next)
		a.times++
		switch {
		case trip && next == before:
			a.trips++
		case before.sight == absent:
			a.logIns++
		}
	}
}

// begin begins with what was before the first event about an entity.
func (f *Fold) begin(t *timeline, e *event.Event, seq uint64) {
	t.stage, t.entered = f.stageBefore(e), -1
	t.upto = f.first
	if e.EntityBase().Revision > 1 {
		if _, to, found := f.holesBetween(t, 0, seq); found {
			f.count(t, f.first, to, stage{})
			t.upto = max(t.upto, to)
		}
	}
	t.after, t.by = t.upto, t.upto
}

// start begins with the last event before the report.
func (f *Fold) start(t *timeline, e *event.Event) {
	d := e.EntityBase()
	t.revision, t.stage, t.entered = d.Revision, f.stageAfter(e), -1
	t.after, t.by = nanos(d.Observed.After.Time), nanos(d.Observed.By.Time)
	t.upto = t.by
	switch d := e.Data.(type) {
	case *event.AgentData:
		t.name = d.Agent.Name
	case *event.ServiceData:
		t.wait = newWait(d.After, t.after, t.by)
	}
}

// lose counts the time in which events about an entity are missing before the next one.
func (f *Fold) lose(t *timeline, e *event.Event, seq uint64) {
	from, to, found := f.holesBetween(t, t.seq, seq)
	if !found {
		from, to = t.upto, nanos(e.EntityBase().Observed.After.Time)
	}
	from = max(from, t.upto)
	to = max(to, from)
	f.count(t, t.upto, from, t.stage)
	f.countLost(t, from, to)
	t.stage, t.after, t.by, t.upto, t.entered = f.stageBefore(e), to, to, to, -1
}

// finish counts the time after the last event.
func (f *Fold) finish(t *timeline) {
	if t.revision == 0 {
		return
	}
	from, _, found := f.holesBetween(t, t.seq, 0)
	if !found {
		from = f.until
	}
	from = max(from, t.upto)
	f.count(t, t.upto, from, t.stage)
	f.countLost(t, from, f.until)
	f.boundWait(t, f.until)
}

// countLost counts a time of which the events are lost. Somebody may have waited through it.
func (f *Fold) countLost(t *timeline, from, to int64) {
	f.count(t, from, to, stage{})
	if t.wait.known {
		f.eachDay(from, to, func(day int, from, to int64) { t.ledger(day).mayWait(time.Duration(to - from)) })
	}
}

// countWait takes what an event says of those who wait.
func (f *Fold) countWait(t *timeline, e *event.Event, after, by int64) {
	d, ok := e.Data.(*event.ServiceData)
	if !ok {
		return
	}
	f.boundWait(t, by)
	if t.wait.known && t.wait.idle { // somebody may have come after the poll before
		f.eachDay(after, by, func(day int, from, to int64) { t.ledger(day).mayWait(time.Duration(to - from)) })
	}
	t.wait = newWait(d.After, after, by)
	if from, to := f.inRange(by, by+1); t.wait.known && from < to {
		l := t.ledger(f.calendar.day(by))
		l.wait.AtLeast = max(l.wait.AtLeast, t.wait.least)
		if l.mayWait(t.wait.least); t.wait.least > 0 {
			l.mayWait(t.wait.least + time.Second) // the source has whole seconds
		}
	}
}

// boundWait bounds how long somebody may have waited since the last event about a service.
func (f *Fold) boundWait(t *timeline, to int64) {
	if !t.wait.known {
		return
	}
	f.eachDay(t.wait.source, to, func(day int, from, to int64) {
		if t.wait.idle {
			t.ledger(day).mayWait(time.Duration(t.sights.overlap(from, to)))
		} else {
			t.ledger(day).mayWait(t.wait.least + time.Second + time.Duration(to-max(t.wait.after, f.first)))
		}
	})
}

// mayWait takes a wait that somebody may have had.
func (l *ledger) mayWait(d time.Duration) {
	l.waited, l.wait.AtMost = true, max(l.wait.AtMost, d)
}
