//go:build linux

package main_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// sightAudit holds a stream to the truth: what the tenant showed to the bridge
// that led, answer by answer, and when it changed.
type sightAudit struct {
	truth   *truth
	silence time.Duration // longest time without sight that need not be told
	absence int           // BRIDGE_DISAPPEAR_AFTER

	findings []finding
	told     map[string]string // the replay: images by entity
	want     map[string]string // what must be told by now
	missed   map[string]int    // answers in a row without the entity
	versions map[string]map[string]bool

	term    []answer    // of the bridge that leads
	next    int         // the first of them that is not yet accounted for
	begun   bool        // one of them is accounted for
	seen    *answer     // the last good answer accounted for, of any term
	sights  []time.Time // when all of those came in
	until   time.Time
	batch   map[string]*change
	resumed []sightRange

	tally tally
}

// change is what one poll tells of one entity, over one or two events.
type change struct {
	before, after string
	observed      sightRange
	gap, first    bool // after_gap; an observed event
	removal       bool
	only          bool // nothing but a round trip that no statistic shows
	record        *record
}

// tally counts what was held against the truth.
type tally struct {
	answers, changes, windows, unseen int
	blind                             []sightRange // told
	trueBlind                         int          // that the truth asks for
	blindTime                         time.Duration
	sights                            []time.Time // when each of the answers came in
}

func auditTruth(all []record, tr *truth, silence time.Duration, absence int) ([]finding, tally) {
	a := &sightAudit{
		truth: tr, silence: silence, absence: absence, told: map[string]string{}, want: map[string]string{}, missed: map[string]int{},
		versions: map[string]map[string]bool{}, batch: map[string]*change{},
	}
	for i := range all {
		a.one(&all[i])
	}
	a.longVersions(all)
	a.tally.sights = a.sights
	return a.findings, a.tally
}

func (a *sightAudit) find(kind string, r *record, format string, args ...any) {
	a.findings = append(a.findings, finding{kind, r.seq, fmt.Sprintf("%s %s: %s", r.ID, r.subject, fmt.Sprintf(format, args...))})
}

func (a *sightAudit) one(r *record) {
	entity := r.entity()
	switch {
	case r.subject == "feed.started":
		a.term = slices.DeleteFunc(a.truth.answersOf(r.Data.Instance), func(x answer) bool { return x.arrived.Before(r.Time.Add(-time.Millisecond)) })
		a.next, a.begun = 0, false
		clear(a.missed)
	case r.subject == "feed.resumed":
		a.resumed = append(a.resumed, *r.Data.Observed)
	case r.subject == "feed.checkpoint":
		a.checkpoint(r)
	case strings.HasPrefix(entity, "availability."):
		a.availability(r, entity)
	case entity != "" && !strings.HasPrefix(entity, "threshold."):
		a.event(r, entity)
	}
}

// event adds an event to what its poll tells of the entity.
func (a *sightAudit) event(r *record, entity string) {
	before, after := a.truth.imageOf(entity, r.Data.Before), a.truth.imageOf(entity, r.Data.After)
	a.tell(entity, after)
	c := a.batch[entity]
	if c == nil {
		c = &change{before: before, observed: *r.Data.Observed, gap: r.Data.AfterGap, first: r.verb() == "observed", removal: r.removal, record: r, only: true}
		a.batch[entity] = c
	} else if !sameRange(c.observed, *r.Data.Observed) {
		a.find(window, r, "two windows for one change")
	}
	c.after = after
	c.only = c.only && r.Data.Reentered && before == after
	a.told[entity] = after
	if after == "" {
		delete(a.told, entity)
	}
}

func sameRange(a, b sightRange) bool {
	return a.By.Equal(b.By) && (a.After == nil) == (b.After == nil) && (a.After == nil || a.After.Equal(*b.After))
}

func (a *sightAudit) tell(entity, image string) {
	if a.versions[entity] == nil {
		a.versions[entity] = map[string]bool{}
	}
	a.versions[entity][image] = true
}

// availability is asked on its own; of it the window alone is judged, and later
// whether all that lasted is told.
func (a *sightAudit) availability(r *record, entity string) {
	text := func(v *bool) string {
		if v == nil {
			return "unknown"
		}
		return fmt.Sprint(*v)
	}
	after := text(r.Data.Available)
	a.tell(entity, after)
	if r.verb() == "observed" || after == "unknown" || r.Data.Previous == nil {
		return
	}
	if after == text(r.Data.Previous) {
		a.find(doubled, r, "available %s again", after)
	}
	a.honest(r, entity, text(r.Data.Previous), after, *r.Data.Observed)
}

// refusedThen tells whether an answer without a picture came in the very millisecond
// that a checkpoint names, rounded down: the bridge logged in and asked again in it.
func (a *sightAudit) refusedThen(at int, until time.Time) bool {
	return a.term[at].picture == nil && a.term[at].arrived.Before(until.Add(time.Millisecond))
}

// checkpoint vouches for all that the bridge had seen until then.
func (a *sightAudit) checkpoint(r *record) {
	if r.Data.Part < r.Data.Parts {
		return
	}
	defer func() { clear(a.batch); a.resumed = nil }()
	until := r.Data.ObservedUntil
	if until == nil || !until.After(a.until) {
		for entity := range a.batch {
			a.find(doubled, r, "%s is told without a poll that showed it", entity)
		}
		return
	}
	a.until = *until
	at := a.next
	for at < len(a.term) && (a.term[at].arrived.Before(*until) || a.refusedThen(at, *until)) {
		at++
	}
	if at == len(a.term) || a.term[at].picture == nil {
		a.find(doubled, r, "it vouches for a poll at %v that the tenant has not answered well", until)
		return
	}
	for i := a.next; i < at; i++ {
		if a.term[i].sure {
			changed := a.account(r, &a.term[i], false)
			for _, entity := range changed {
				a.find(lost, r, "%s: the tenant showed %q at %v, and no event of that poll tells it", entity, a.want[entity], a.term[i].arrived)
			}
		}
	}
	changed := a.account(r, &a.term[at], true)
	a.compare(r, changed)
	a.next = at + 1
}

// account takes note of a good answer: what it shows must be told by now. It
// returns the entities that it shows changed.
func (a *sightAudit) account(r *record, x *answer, last bool) []string {
	a.tally.answers++
	gap := a.hole(r, x, last)
	a.sights = append(a.sights, x.arrived)
	var changed []string
	for entity := range a.want {
		if x.picture[entity] != "" {
			continue
		}
		if a.missed[entity]++; a.missed[entity] >= a.absence {
			delete(a.want, entity)
			changed = append(changed, entity)
		}
	}
	for entity, image := range x.picture {
		delete(a.missed, entity)
		if a.want[entity] != image {
			a.want[entity] = image
			changed = append(changed, entity)
		}
	}
	for entity, c := range a.batch {
		if last && gap && !c.first && !c.gap {
			a.find(blind, c.record, "%s changed over a gap, and the event does not say so", entity)
		}
	}
	a.tally.changes += len(changed)
	a.seen, a.begun = x, true
	slices.Sort(changed)
	return changed
}

// hole judges the time without sight that an answer ends. It tells whether the
// changes of that poll are changes over a gap.
func (a *sightAudit) hole(r *record, x *answer, last bool) (gap bool) {
	if a.seen == nil {
		return false
	}
	const slack = 100 * time.Millisecond
	surely := x.arrived.Sub(a.seen.done)
	gap = !a.begun || surely > a.silence+slack
	told := last && len(a.resumed) > 0
	if surely > a.silence+slack {
		a.tally.trueBlind++
		if !told {
			a.find(blind, r, "nobody saw the tenant from %v for %v, and it is not told", a.seen.done, surely)
		}
	}
	if !told {
		return gap
	}
	for _, s := range a.resumed {
		a.tally.blind = append(a.tally.blind, s)
		a.tally.blindTime += s.By.Sub(*s.After)
		if width := s.By.Sub(*s.After); width < a.silence-10*time.Millisecond {
			a.find(falsely, r, "blind for %v is told, which is no interruption", width)
		}
		if s.After.After(a.seen.arrived) {
			a.find(blind, r, "blind since %v is told, the last sight was at %v", s.After, a.seen.arrived)
		}
		if n := a.sightsSince(*s.After); n > 1 {
			a.find(falsely, r, "blind since %v is told, and %d polls saw the tenant after it, the last at %v", s.After, n-1, a.seen.arrived)
		}
	}
	return gap
}

// sightsSince counts the good answers that came in from an instant on.
func (a *sightAudit) sightsSince(at time.Time) int {
	n := 0
	for i := len(a.sights) - 1; i >= 0 && !a.sights[i].Before(at); i-- {
		n++
	}
	return n
}

// compare holds what a poll tells against what it must tell.
func (a *sightAudit) compare(r *record, changed []string) {
	for _, entity := range changed {
		if a.batch[entity] == nil {
			a.find(lost, r, "%s: the poll shows %q, no event tells it", entity, a.want[entity])
		}
	}
	for _, entity := range slices.Sorted(maps.Keys(a.batch)) {
		c := a.batch[entity]
		if !slices.Contains(changed, entity) && !c.only {
			a.find(doubled, c.record, "%s is told to be %q again", entity, c.after)
		}
		if !c.only {
			a.honest(c.record, entity, c.before, c.after, c.observed)
		}
	}
	for _, entity := range slices.Sorted(maps.Keys(a.want)) {
		if a.told[entity] != a.want[entity] {
			a.find(lost, r, "%s: the poll shows %q, the replay %q", entity, a.want[entity], a.told[entity])
		}
	}
	for _, entity := range slices.Sorted(maps.Keys(a.told)) {
		if _, ok := a.want[entity]; !ok {
			a.find(lost, r, "%s: the poll does not show it, the replay %q", entity, a.told[entity])
		}
	}
	a.want = maps.Clone(a.told) // one fault is told once
}

// honest checks that the change happened within its window: before was true in
// it at some instant, and after at a later one.
func (a *sightAudit) honest(r *record, entity, before, after string, w sightRange) {
	a.tally.windows++
	list := a.truth.spansOf(entity)
	if w.After == nil {
		if !slices.ContainsFunc(list, func(s span) bool { return s.image == after && !s.from.After(w.By) }) {
			a.find(window, r, "%q was not there by %v", after, w.By)
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
	a.find(window, r, "%s changed from %q to %q, which did not happen between %v and %v", entity, before, after, w.After, w.By)
}

// longVersions looks at the truth alone: what lasted for long outside of all
// times without sight must be in the stream, whoever looked when.
func (a *sightAudit) longVersions(all []record) {
	if a.seen == nil || a.until.IsZero() {
		return
	}
	begin := all[0].Time
	for _, entity := range a.truth.entities() {
		long := a.silence + 1500*time.Millisecond
		list := a.truth.spansOf(entity)
		for i, s := range list {
			from, to := s.since, a.until
			if i+1 < len(list) && list[i+1].from.Before(to) {
				to = list[i+1].from
			}
			if from.Before(begin) {
				from = begin
			}
			if a.versions[entity][s.image] {
				continue
			}
			a.tally.unseen++
			if at, lasts := a.seenFor(from, to, long); lasts {
				a.findings = append(a.findings, finding{lost, 0, fmt.Sprintf("%s was %q from %v for %v, and no event tells it", entity, s.image, at, to.Sub(at))})
			}
		}
	}
}

// seenFor tells whether a stretch of time has a part longer than long outside
// of all told times without sight.
func (a *sightAudit) seenFor(from, to time.Time, long time.Duration) (time.Time, bool) {
	for _, s := range a.tally.blind { // in order of time
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

func (tr *truth) answersOf(instance string) []answer {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := slices.Clone(tr.answers[instance[strings.LastIndexByte(instance, '-')+1:]])
	slices.SortFunc(list, func(a, b answer) int { return a.arrived.Compare(b.arrived) })
	return list
}

func (tr *truth) spansOf(entity string) []span {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.spans[entity])
}

func (tr *truth) entities() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Sorted(maps.Keys(tr.spans))
}
