package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Audit reads events in the order of the stream and notes what is amiss. It
// relies on nothing but the published contract.
type Audit struct {
	Faults []string
	// Gaps are the times during which the source was not seen.
	Gaps []string
	// Events, Polls and Afterwards count events, the polls that brought them, and
	// changes that are net of a gap.
	Events, Polls, AfterGap int

	tenants  map[string]*tenantProgress
	entities map[string]entityState
}

// tenantProgress is how far a tenant's history has been read.
type tenantProgress struct {
	epoch, poll, index int
	uncommitted        int // events since the last checkpoint
	startedMidPoll     bool
	part, parts        int
	observedUntil      time.Time
	lastID             string
}

// entityState is the end of an entity's chain.
type entityState struct {
	revision uint64
	image    map[string]string // nil once it is gone, or if it has no image
}

// event is what an auditor needs of an event.
type event struct {
	ID, Type, Subject string
	Data              struct {
		Tenant        string
		Revision      uint64
		AfterGap      bool `json:"after_gap"`
		Before, After map[string]string
		// of a checkpoint
		Events, Part, Parts int
		ObservedUntil       time.Time `json:"observed_until"`
		// of feed.resumed
		Cause    string
		Observed struct{ After, By *time.Time }
	}
}

// NewAudit begins an audit.
func NewAudit() *Audit {
	return &Audit{tenants: map[string]*tenantProgress{}, entities: map[string]entityState{}}
}

func (a *Audit) addFault(e event, format string, args ...any) {
	a.Faults = append(a.Faults, fmt.Sprintf("%s (%s): %s", e.ID, e.Type, fmt.Sprintf(format, args...)))
}

// Read judges the next event.
func (a *Audit) Read(body []byte) {
	a.Events++
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		a.addFault(e, "unreadable: %v", err)
		return
	}
	e.Type = strings.TrimSuffix(strings.TrimPrefix(e.Type, "bpcc."), ".v1")
	a.checkPosition(e)
	if e.Data.Revision > 0 {
		a.checkChain(e)
	}
	if e.Data.AfterGap {
		a.AfterGap++
	}
	if e.Type == "feed.resumed" {
		a.Gaps = append(a.Gaps, fmt.Sprintf("%s: %s, nothing is known between %s and %s",
			e.Data.Tenant, e.Data.Cause, formatTime(e.Data.Observed.After), formatTime(e.Data.Observed.By)))
	}
}

var idEnd = regexp.MustCompile(`-(\d+)-(\d+)-(\d+)$`)

// checkPosition proves that nothing is lost or doubled: an id ends in epoch, poll and
// index, the index counts the events of a poll, and its checkpoint counts them
// too. A history that begins where older events have aged out may begin within
// a poll.
func (a *Audit) checkPosition(e event) {
	m := idEnd.FindStringSubmatch(e.ID)
	if m == nil {
		a.addFault(e, "its id does not end in epoch, poll and index")
		return
	}
	epoch, _ := strconv.Atoi(m[1])
	poll, _ := strconv.Atoi(m[2])
	index, _ := strconv.Atoi(m[3])
	t := a.tenants[e.Data.Tenant]
	switch {
	case t == nil:
		t = &tenantProgress{startedMidPoll: index > 1, index: index - 1}
		a.tenants[e.Data.Tenant] = t
		a.Polls++
	case epoch == t.epoch && poll == t.poll:
		if t.uncommitted == 0 && t.part == t.parts {
			a.addFault(e, "it follows the last checkpoint of its own poll")
		}
	default:
		if t.uncommitted > 0 || t.part < t.parts {
			a.addFault(e, "a poll begins before the checkpoint of the one before, after %s", t.lastID)
			t.uncommitted = 0
		}
		if epoch < t.epoch || poll <= t.poll {
			a.addFault(e, "it stands after %s", t.lastID)
		}
		t.index = 0
		a.Polls++
	}
	if index != t.index+1 {
		a.addFault(e, "it follows %s: %d event(s) are missing or doubled", t.lastID, index-t.index-1)
	}
	t.epoch, t.poll, t.index, t.lastID = epoch, poll, index, e.ID
	if e.Type != "feed.checkpoint" {
		t.uncommitted++
		return
	}
	if t.uncommitted != e.Data.Events && !t.startedMidPoll {
		a.addFault(e, "it vouches for %d event(s), there are %d", e.Data.Events, t.uncommitted)
	}
	if e.Data.ObservedUntil.Before(t.observedUntil) {
		a.addFault(e, "what was observed goes back from %v", t.observedUntil)
	}
	t.uncommitted, t.startedMidPoll, t.part, t.parts, t.observedUntil = 0, false, e.Data.Part, e.Data.Parts, e.Data.ObservedUntil
}

// checkChain proves that every change of an entity is there: revisions count on, and
// each picture before is the last picture after.
func (a *Audit) checkChain(e event) {
	key := e.Data.Tenant + "/" + e.Subject
	last, known := a.entities[key]
	a.entities[key] = entityState{e.Data.Revision, e.Data.After}
	if !known {
		return // its first event here; older ones may have aged out
	}
	if e.Data.Revision != last.revision+1 {
		a.addFault(e, "%s: revision %d follows %d", key, e.Data.Revision, last.revision)
	}
	if e.Data.Before != nil && !maps.Equal(e.Data.Before, last.image) {
		a.addFault(e, "%s: its picture before is not the last picture after", key)
	}
}

// Close ends the audit: what is open now is a fault.
func (a *Audit) Close() {
	for tenant, t := range a.tenants {
		if t.uncommitted > 0 || t.part < t.parts {
			a.Faults = append(a.Faults, fmt.Sprintf("%s: no checkpoint closes the events up to %s", tenant, t.lastID))
		}
	}
}

// Report tells what was found.
func (a *Audit) Report(w io.Writer) {
	fmt.Fprintf(w, "%d events of %d polls, %d entities, %d changes told after a gap\n", a.Events, a.Polls, len(a.entities), a.AfterGap)
	for _, gap := range a.Gaps {
		fmt.Fprintln(w, "gap   ", gap)
	}
	for _, fault := range a.Faults {
		fmt.Fprintln(w, "AMISS ", fault)
	}
	if len(a.Faults) == 0 {
		fmt.Fprintln(w, "whole: nothing is lost, nothing is doubled")
	}
}

func formatTime(t *time.Time) string {
	if t == nil {
		return "the beginning"
	}
	return t.Format(time.RFC3339Nano)
}
