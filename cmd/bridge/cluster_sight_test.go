//go:build linux

package main_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// historyAudit holds a stream to the truth: what the tenant showed to the bridge
// that led, answer by answer, and when it changed.
type historyAudit struct {
	history        *tenantHistory
	maxSilence     time.Duration // longest gap that need not be reported
	disappearAfter int           // BRIDGE_DISAPPEAR_AFTER

	findings  []finding
	published map[string]string // the replay: images by entity
	expected  map[string]string // what must be published by now
	missed    map[string]int    // answers in a row without the entity
	versions  map[string]map[string]bool

	restatable    bool          // something has harmed the view, so that events may state again what is published
	offset        time.Duration // how far the clock of the bridge that leads is ahead
	lastOffset    time.Duration // that of the bridge that got lastResponse
	termResponses []response    // of the bridge that leads
	next          int           // the first of them that is not yet accounted for
	started       bool          // one of them is accounted for
	lastResponse  *response     // the last good answer accounted for, of any term
	responseTimes []time.Time   // when all of those came in
	until         time.Time
	batch         map[string]*entityChange
	resumed       []timeRange

	totals auditTotals
}

// entityChange is what one poll publishes about one entity, over one or two events.
type entityChange struct {
	before, after string
	observed      timeRange
	gap, first    bool // after_gap; an observed event
	removal       bool
	reentryOnly   bool // nothing but a round trip that no statistic shows
	record        *record
}

// auditTotals counts what was held against the truth.
type auditTotals struct {
	responses, changes, windows, unseen int
	restated, otherClock                int         // events that state again what is published; terms of a bridge with another clock
	gaps                                []timeRange // reported
	expectedGaps                        int         // that the truth asks for
	gapTime                             time.Duration
	responseTimes                       []time.Time // when each of the answers came in
}

// add adds what another audit has counted; the true gaps alone are those of the stream as it is.
func (t *auditTotals) add(o auditTotals) {
	t.responses, t.changes, t.windows = t.responses+o.responses, t.changes+o.changes, t.windows+o.windows
	t.restated, t.otherClock = t.restated+o.restated, t.otherClock+o.otherClock
	t.responseTimes = append(t.responseTimes, o.responseTimes...)
}

// subtract takes away what is counted twice.
func (t *auditTotals) subtract(o auditTotals) {
	t.responses, t.changes, t.windows = t.responses-o.responses, t.changes-o.changes, t.windows-o.windows
	t.restated, t.otherClock = t.restated-o.restated, t.otherClock-o.otherClock
}

func auditHistory(all []record, history *tenantHistory, maxSilence time.Duration, disappearAfter int, restatable bool) ([]finding, auditTotals) {
	a := &historyAudit{
		restatable: restatable, history: history, maxSilence: maxSilence, disappearAfter: disappearAfter, published: map[string]string{}, expected: map[string]string{}, missed: map[string]int{},
		versions: map[string]map[string]bool{}, batch: map[string]*entityChange{},
	}
	for i := range all {
		a.addRecord(&all[i])
	}
	a.checkLongVersions(all)
	a.totals.responseTimes = a.responseTimes
	return a.findings, a.totals
}

func (a *historyAudit) addFinding(kind string, r *record, format string, args ...any) {
	a.findings = append(a.findings, finding{kind, r.seq, fmt.Sprintf("%s %s: %s", r.ID, r.subject, fmt.Sprintf(format, args...))})
}

func (a *historyAudit) addRecord(r *record) {
	entity := r.entity()
	switch {
	case r.subject == "feed.started":
		a.termResponses = slices.DeleteFunc(a.history.responsesOf(r.Data.Instance), func(x response) bool { return x.arrived.Before(r.Time.Add(-time.Millisecond)) })
		a.next, a.started = 0, false
		if a.offset = a.history.offsetOf(r.Data.Instance); a.offset != 0 {
			a.totals.otherClock++
		}
		clear(a.missed)
	case r.subject == "feed.resumed":
		a.resumed = append(a.resumed, *r.Data.Observed)
	case r.subject == "feed.checkpoint":
		a.addCheckpoint(r)
	case strings.HasPrefix(entity, "availability."):
		a.addAvailability(r, entity)
	case entity != "" && !strings.HasPrefix(entity, "threshold."):
		a.addEvent(r, entity)
	}
}

// addEvent adds an event to what its poll publishes about the entity.
func (a *historyAudit) addEvent(r *record, entity string) {
	before, after := a.history.imageOf(entity, r.Data.Before), a.history.imageOf(entity, r.Data.After)
	a.addVersion(entity, after)
	if image, known := a.published[entity]; known && image == after && r.verb() == "observed" && r.Data.Before == nil {
		a.addRestated(r, entity)
		a.checkWindow(r, entity, "", after, *r.Data.Observed)
		return
	}
	c := a.batch[entity]
	if c == nil {
		c = &entityChange{before: before, observed: *r.Data.Observed, gap: r.Data.AfterGap, first: r.verb() == "observed", removal: r.removal, record: r, reentryOnly: true}
		a.batch[entity] = c
	} else if !sameRange(c.observed, *r.Data.Observed) {
		a.addFinding(wrongWindow, r, "two windows for one change")
	}
	c.after = after
	c.reentryOnly = c.reentryOnly && r.Data.Reentered && before == after
	a.published[entity] = after
	if after == "" {
		delete(a.published, entity)
	}
}

// addRestated adds an event that states again what is published.
func (a *historyAudit) addRestated(r *record, entity string) {
	if a.totals.restated++; !a.restatable {
		a.addFinding(duplicateEvent, r, "%s is published again, and nothing has harmed the view", entity)
	}
}

func sameRange(a, b timeRange) bool {
	return a.By.Equal(b.By) && (a.After == nil) == (b.After == nil) && (a.After == nil || a.After.Equal(*b.After))
}

func (a *historyAudit) addVersion(entity, image string) {
	if a.versions[entity] == nil {
		a.versions[entity] = map[string]bool{}
	}
	a.versions[entity][image] = true
}

// addAvailability is asked on its own; of it the window alone is judged, and later
// whether all that lasted is published.
func (a *historyAudit) addAvailability(r *record, entity string) {
	text := func(v *bool) string {
		if v == nil {
			return "unknown"
		}
		return fmt.Sprint(*v)
	}
	after := text(r.Data.Available)
	if r.verb() == "observed" && a.versions[entity] != nil {
		a.addRestated(r, entity)
	}
	a.addVersion(entity, after)
	if r.verb() == "observed" || after == "unknown" || r.Data.Previous == nil {
		return
	}
	if after == text(r.Data.Previous) {
		a.addFinding(duplicateEvent, r, "available %s again", after)
	}
	a.checkWindow(r, entity, text(r.Data.Previous), after, *r.Data.Observed)
}

// refusedAt reports whether a response without a snapshot came in the very millisecond
// that a checkpoint names, rounded down: the bridge logged in and asked again in it.
func (a *historyAudit) refusedAt(at int, until time.Time) bool {
	return a.termResponses[at].snapshot == nil && a.termResponses[at].arrived.Before(until.Add(time.Millisecond))
}

// addCheckpoint vouches for all that the bridge had seen until then.
func (a *historyAudit) addCheckpoint(r *record) {
	if r.Data.Part < r.Data.Parts {
		return
	}
	defer func() { clear(a.batch); a.resumed = nil }()
	until := r.Data.ObservedUntil
	if until == nil || !until.After(a.until) {
		for entity := range a.batch {
			a.addFinding(duplicateEvent, r, "%s is published without a poll that showed it", entity)
		}
		return
	}
	a.until = *until
	at := a.next
	for at < len(a.termResponses) && (a.termResponses[at].arrived.Before(*until) || a.refusedAt(at, *until)) {
		at++
	}
	if at == len(a.termResponses) || a.termResponses[at].snapshot == nil {
		a.addFinding(duplicateEvent, r, "it vouches for a poll at %v that the tenant has not answered well", until)
		return
	}
	for i := a.next; i < at; i++ {
		if a.termResponses[i].certain {
			changed := a.addResponse(r, &a.termResponses[i], false)
			for _, entity := range changed {
				a.addFinding(missingEvent, r, "%s: the tenant showed %q at %v, and no event of that poll reports it", entity, a.expected[entity], a.termResponses[i].arrived)
			}
		}
	}
	changed := a.addResponse(r, &a.termResponses[at], true)
	a.compareBatch(r, changed)
	a.next = at + 1
}

// addResponse notes a good response: what it shows must be published by now. It
// returns the entities that it shows changed.
func (a *historyAudit) addResponse(r *record, x *response, last bool) []string {
	a.totals.responses++
	gap := a.checkGap(r, x, last)
	a.responseTimes = append(a.responseTimes, x.arrived)
	var changed []string
	for entity := range a.expected {
		if x.snapshot[entity] != "" {
			continue
		}
		if a.missed[entity]++; a.missed[entity] >= a.disappearAfter {
			delete(a.expected, entity)
			changed = append(changed, entity)
		}
	}
	for entity, image := range x.snapshot {
		delete(a.missed, entity)
		if a.expected[entity] != image {
			a.expected[entity] = image
			changed = append(changed, entity)
		}
	}
	for entity, c := range a.batch {
		if last && gap && !c.first && !c.gap {
			a.addFinding(unreportedGap, c.record, "%s changed over a gap, and the event does not say so", entity)
		}
	}
	a.totals.changes += len(changed)
	a.lastResponse, a.lastOffset, a.started = x, a.offset, true
	slices.Sort(changed)
	return changed
}

// checkGap judges the time without sight that an answer ends. It reports whether the
// changes of that poll are changes over a gap.
func (a *historyAudit) checkGap(r *record, x *response, last bool) (gap bool) {
	if a.lastResponse == nil {
		return false
	}
	const slack = 100 * time.Millisecond
	// A bridge whose clock is ahead of that of the one before takes the time between for longer. One whose
	// clock is behind sets the earlier times back, by a little more than is right.
	longer := max(0, a.offset-a.lastOffset)
	if a.offset < a.lastOffset {
		longer = setBackMargin
	}
	duration := x.arrived.Sub(a.lastResponse.done)
	gap = !a.started || duration > a.maxSilence+slack
	reported := last && len(a.resumed) > 0
	if duration > a.maxSilence+slack {
		a.totals.expectedGaps++
		if !reported {
			a.addFinding(unreportedGap, r, "no good poll from %v for %v, and no gap is reported", a.lastResponse.done, duration)
		}
	}
	if !reported {
		return gap
	}
	for _, s := range a.resumed {
		if s.After == nil {
			a.addFinding(unreportedGap, r, "a gap without a beginning is reported, the last good poll was at %v", a.lastResponse.arrived)
			continue
		}
		a.totals.gaps = append(a.totals.gaps, s)
		a.totals.gapTime += s.By.Sub(*s.After)
		if width := s.By.Sub(*s.After); width < a.maxSilence-10*time.Millisecond-longer {
			a.addFinding(falseGap, r, "a gap of %v is reported, which is no interruption", width)
		}
		if s.After.After(a.lastResponse.arrived) {
			a.addFinding(unreportedGap, r, "a gap since %v is reported, the last good poll was at %v", s.After, a.lastResponse.arrived)
		}
		if n := a.responsesSince(*s.After); n > 1 {
			a.addFinding(falseGap, r, "a gap since %v is reported, and %d polls were good after it, the last at %v", s.After, n-1, a.lastResponse.arrived)
		}
	}
	return gap
}

// responsesSince counts the good answers that came in from an instant on.
func (a *historyAudit) responsesSince(at time.Time) int {
	n := 0
	for i := len(a.responseTimes) - 1; i >= 0 && !a.responseTimes[i].Before(at); i-- {
		n++
	}
	return n
}

// compareBatch compares what a poll publishes with what it must publish.
func (a *historyAudit) compareBatch(r *record, changed []string) {
	for _, entity := range changed {
		if a.batch[entity] == nil {
			a.addFinding(missingEvent, r, "%s: the poll shows %q, no event reports it", entity, a.expected[entity])
		}
	}
	for _, entity := range slices.Sorted(maps.Keys(a.batch)) {
		c := a.batch[entity]
		if !slices.Contains(changed, entity) && !c.reentryOnly {
			a.addFinding(duplicateEvent, c.record, "%s is published as %q again", entity, c.after)
		}
		if !c.reentryOnly {
			a.checkWindow(c.record, entity, c.before, c.after, c.observed)
		}
	}
	for _, entity := range slices.Sorted(maps.Keys(a.expected)) {
		if a.published[entity] != a.expected[entity] {
			a.addFinding(missingEvent, r, "%s: the poll shows %q, the replay %q", entity, a.expected[entity], a.published[entity])
		}
	}
	for _, entity := range slices.Sorted(maps.Keys(a.published)) {
		if _, ok := a.expected[entity]; !ok {
			a.addFinding(missingEvent, r, "%s: the poll does not show it, the replay %q", entity, a.published[entity])
		}
	}
	a.expected = maps.Clone(a.published) // one fault is reported once
}

// checkWindow checks that the change happened within its window: before was true in
// it at some instant, and after at a later one.
func (a *historyAudit) checkWindow(r *record, entity, before, after string, w timeRange) {
	a.totals.windows++
	list := a.history.versionsOf(entity)
	if w.After == nil {
		if !slices.ContainsFunc(list, func(s version) bool { return s.image == after && !s.from.After(w.By) }) {
			a.addFinding(wrongWindow, r, "%q was not there by %v", after, w.By)
		}
		return
	}
	was := before == "" && (len(list) == 0 || !list[0].from.Before(*w.After))
	for i, s := range list {
		if s.from.After(w.By) {
			break
		}
		over := i+1 < len(list) && list[i+1].since.Before(*w.After)
		if !over && was && s.image == after {
			return
		}
		was = was || !over && s.image == before
	}
	a.addFinding(wrongWindow, r, "%s changed from %q to %q, which did not happen between %v and %v", entity, before, after, w.After, w.By)
}

// checkLongVersions uses the truth alone: what lasted for long outside of all
// times without sight must be in the stream, whenever polls were made.
func (a *historyAudit) checkLongVersions(all []record) {
	if a.lastResponse == nil || a.until.IsZero() {
		return
	}
	begin := all[0].Time
	for _, entity := range a.history.entities() {
		long := a.maxSilence + 1500*time.Millisecond
		list := a.history.versionsOf(entity)
		for i, s := range list {
			from, to := s.since, a.until
			if i+1 < len(list) && list[i+1].from.Before(to) {
				to = list[i+1].from
			}
			if from.Before(begin) {
				from = begin
			}
			if a.versions[entity][s.image] || s.image == "" && !s.since.After(begin) {
				continue // reported, or absent from the beginning
			}
			a.totals.unseen++
			if at, lasts := a.observedFor(from, to, long); lasts {
				a.findings = append(a.findings, finding{missingEvent, 0, fmt.Sprintf("%s was %q from %v for %v, and no event reports it", entity, s.image, at, to.Sub(at))})
			}
		}
	}
}

// observedFor reports whether a range of time has a part longer than long outside
// of all reported gaps.
func (a *historyAudit) observedFor(from, to time.Time, long time.Duration) (time.Time, bool) {
	for _, s := range a.totals.gaps { // in order of time
		if s.By.Before(from) || s.After.After(to) {
			continue
		}
		if s.After.Sub(from) > long {
			return from, true
		}
		from = s.By
	}
	return from, to.Sub(from) > long
}

func (tr *tenantHistory) responsesOf(instance string) []response {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := slices.Clone(tr.responses[instance[strings.LastIndexByte(instance, '-')+1:]])
	slices.SortFunc(list, func(a, b response) int { return a.arrived.Compare(b.arrived) })
	return list
}

func (tr *tenantHistory) versionsOf(entity string) []version {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.versions[entity])
}

func (tr *tenantHistory) entities() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Sorted(maps.Keys(tr.versions))
}
