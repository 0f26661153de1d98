package main

import (
	"fmt"
	"io"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// Audit reads events in the order of the stream and notes what is wrong.
type Audit struct {
	Faults []string
	// Gaps are the times during which the source was not seen.
	Gaps []string
	// Events, Polls and AfterGap count events, the polls that brought them, and
	// changes that are net of a gap.
	Events, Polls, AfterGap int

	tenants  map[string]*tenantProgress
	entities map[string]entityState
}

// tenantProgress is how far a tenant's history has been read.
type tenantProgress struct {
	last           event.ID
	lastID         string
	uncommitted    int // events since the last checkpoint
	startedMidPoll bool
	part, parts    int
	observedUntil  time.Time
}

// entityState is the end of an entity's chain.
type entityState struct {
	revision uint64
	image    diff.Image // zero once the entity is gone, or if it has no image
}

// NewAudit begins an audit.
func NewAudit() *Audit {
	return &Audit{tenants: map[string]*tenantProgress{}, entities: map[string]entityState{}}
}

func (a *Audit) addFault(e *event.Event, format string, args ...any) {
	a.Faults = append(a.Faults, fmt.Sprintf("%s (%s): %s", e.MsgID(), e.Name, fmt.Sprintf(format, args...)))
}

// Read judges the next event.
func (a *Audit) Read(body []byte) {
	a.Events++
	v, err := event.ReadEnvelope(body)
	if err != nil {
		a.Faults = append(a.Faults, fmt.Sprintf("event %d is unreadable: %v", a.Events, err))
		return
	}
	e, err := v.Event()
	if err != nil {
		a.Faults = append(a.Faults, fmt.Sprintf("%s is unreadable: %v", v.ID, err))
		return
	}
	a.checkPosition(&e)
	if base := e.EntityBase(); base != nil {
		a.checkChain(&e, base.Revision)
		if base.AfterGap {
			a.AfterGap++
		}
	}
	if d, ok := e.Data.(*event.ResumedData); ok {
		from := "the beginning"
		if !d.Observed.After.IsZero() {
			from = d.Observed.After.String()
		}
		a.Gaps = append(a.Gaps, fmt.Sprintf("%s: %s, nothing is known between %s and %s", d.Tenant, d.Cause, from, d.Observed.By))
	}
}

// checkPosition proves that no event is missing or duplicate. An id is a position:
// epoch, poll and index. The index counts the events of a poll, and the poll's
// checkpoint counts them too. Where older events have aged out, the history may
// begin within a poll.
func (a *Audit) checkPosition(e *event.Event) {
	t := a.tenants[e.Tenant()]
	switch {
	case t == nil:
		t = &tenantProgress{startedMidPoll: e.ID.Index > 1}
		t.last.Index = e.ID.Index - 1
		a.tenants[e.Tenant()] = t
		a.Polls++
	case e.ID.Epoch == t.last.Epoch && e.ID.Poll == t.last.Poll:
		if t.uncommitted == 0 && t.part == t.parts {
			a.addFault(e, "follows the last checkpoint of its own poll")
		}
	default:
		if t.uncommitted > 0 || t.part < t.parts {
			a.addFault(e, "a poll begins before the checkpoint of the one before, after %s", t.lastID)
			t.uncommitted = 0
		}
		if e.ID.Epoch < t.last.Epoch || e.ID.Poll <= t.last.Poll {
			a.addFault(e, "stands after %s", t.lastID)
		}
		t.last.Index = 0
		a.Polls++
	}
	if want := t.last.Index + 1; e.ID.Index != want {
		a.addFault(e, "has index %d after %s, not %d: events are missing or duplicate", e.ID.Index, t.lastID, want)
	}
	t.last, t.lastID = e.ID, e.MsgID()
	d, ok := e.Data.(*event.CheckpointData)
	if !ok {
		t.uncommitted++
		return
	}
	if t.uncommitted != d.Events && !t.startedMidPoll {
		a.addFault(e, "counts %d event(s), there are %d", d.Events, t.uncommitted)
	}
	if d.ObservedUntil.Before(t.observedUntil) {
		a.addFault(e, "observed_until goes back from %v", t.observedUntil)
	}
	t.uncommitted, t.startedMidPoll, t.part, t.parts, t.observedUntil = 0, false, d.Part, d.Parts, d.ObservedUntil.Time
}

// checkChain proves that every change of an entity is there: the revisions have no
// gap, and each image before is the last image after.
func (a *Audit) checkChain(e *event.Event, revision uint64) {
	var before, after diff.Image
	if row := e.Row(); row != nil {
		before, after = row.Before, row.After
	}
	entity := e.Tenant() + "/" + e.CESubject()
	last, known := a.entities[entity]
	a.entities[entity] = entityState{revision, after}
	if !known {
		return // its first event here; older ones may have aged out
	}
	if revision != last.revision+1 {
		a.addFault(e, "%s: revision %d follows %d", entity, revision, last.revision)
	}
	if !before.IsZero() && !before.Equal(last.image) {
		a.addFault(e, "%s: its image before is not the last image after", entity)
	}
}

// Close ends the audit: a poll that has no checkpoint now is a fault.
func (a *Audit) Close() {
	for tenant, t := range a.tenants {
		if t.uncommitted > 0 || t.part < t.parts {
			a.Faults = append(a.Faults, fmt.Sprintf("%s: no checkpoint closes the events up to %s", tenant, t.lastID))
		}
	}
}

// Report writes what was found.
func (a *Audit) Report(w io.Writer) {
	fmt.Fprintf(w, "%d events of %d polls, %d entities, %d changes after a gap\n", a.Events, a.Polls, len(a.entities), a.AfterGap)
	for _, gap := range a.Gaps {
		fmt.Fprintln(w, "gap   ", gap)
	}
	for _, fault := range a.Faults {
		fmt.Fprintln(w, "FAULT ", fault)
	}
	if len(a.Faults) == 0 {
		fmt.Fprintln(w, "complete: no event is missing or duplicate")
	}
}
