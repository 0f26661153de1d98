package bridge

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"bpcc-nats/diff"
)

// chain is what an auditor remembers of one entity.
type chain struct {
	revision  uint64
	image     json.RawMessage // the last after
	gone      bool            // a departure was the last word
	seen      time.Time       // when the last event was told
	available *bool
	raised    bool
}

// checkPlace holds an event's place against that of the event before. It
// returns true if the event is one that was added before.
func (a *Auditor) checkPlace(t *tenantAudit, e *audited) (repeated bool) {
	p, last := e.place, t.last
	if p.poll != e.Data.Poll || e.Data.Epoch != 0 && p.epoch != e.Data.Epoch {
		a.fault(t, e, "order", "its id says epoch %d and poll %d, its data epoch %d and poll %d", p.epoch, p.poll, e.Data.Epoch, e.Data.Poll)
	}
	switch {
	case t.batch.seen[p], t.batchBefore[p], p == last && t.begun:
		a.fault(t, e, "doubled", "it is there twice")
		return true
	case !t.begun:
		t.begun, t.fromStart = true, p.epoch == 1 && e.name == "feed.started"
		if p.index > 1 || e.Data.Part > 1 {
			t.batch.cut = true
			a.note(t, e, "cut", "the range begins inside a batch: what its checkpoint counts cannot be judged")
		}
	case p.before(last) && e.name == "feed.started":
		a.fault(t, e, "epoch", "epoch %d begins after epoch %d: another history", p.epoch, last.epoch)
		a.closeBatch(t, e)
	case p.epoch < last.epoch:
		a.fault(t, e, "epoch", "an event of epoch %d comes after the feed.started of epoch %d", p.epoch, last.epoch)
		return false
	case p.before(last):
		a.fault(t, e, "order", "it comes after %s-%d-%d-%d: it is doubled or out of place", t.name, last.epoch, last.poll, last.index)
		return false
	default:
		a.checkStep(t, e)
	}
	t.last = p
	return false
}

// checkStep looks at a step forward: the next event of a poll, the next poll, or
// the next epoch.
func (a *Auditor) checkStep(t *tenantAudit, e *audited) {
	p, last := e.place, t.last
	started := e.name == "feed.started"
	switch {
	case p.poll == last.poll && p.epoch == last.epoch:
		if p.index != last.index+1 {
			a.fault(t, e, "lost", "%d event(s) are missing before it: the index jumps from %d to %d", p.index-last.index-1, last.index, p.index)
		}
		return
	case p.epoch > last.epoch && !started:
		a.fault(t, e, "epoch", "epoch %d does not begin with a feed.started", p.epoch)
	case p.epoch > last.epoch+1:
		a.fault(t, e, "epoch", "epoch %d follows epoch %d: those between are missing", p.epoch, last.epoch)
	case p.epoch > last.epoch && p.poll <= last.poll:
		a.fault(t, e, "order", "poll %d comes after poll %d of the epoch before: polls count on", p.poll, last.poll)
	case p.epoch == last.epoch && started:
		a.fault(t, e, "epoch", "epoch %d begins a second time", p.epoch)
	}
	if p.index > 1 {
		a.fault(t, e, "lost", "%d event(s) of its poll are missing before it", p.index-1)
	}
	a.closeBatch(t, e)
}

// closeBatch ends what the next poll leaves behind.
func (a *Auditor) closeBatch(t *tenantAudit, e *audited) {
	if n := t.batch.n; n > 0 {
		a.fault(t, e, "uncovered", "the %d event(s) of poll %d before it have no checkpoint", n, t.last.poll)
	}
	if t.part < t.parts {
		if e.place.epoch > t.last.epoch {
			a.note(t, e, "cut", "poll %d was told up to part %d of %d: its writer ended there", t.last.poll, t.part, t.parts)
		} else {
			a.fault(t, e, "part", "poll %d ends with part %d of %d", t.last.poll, t.part, t.parts)
		}
	}
	t.part, t.parts = 0, 0
	t.nextBatch()
}

// checkEntity holds an event against the one before about the same entity.
func (a *Auditor) checkEntity(t *tenantAudit, e *audited) {
	if e.entity == "" {
		return
	}
	d := &e.Data
	c := t.entities[e.entity]
	switch {
	case c == nil:
		c = &chain{}
		t.entities[e.entity] = c
		if d.Revision != 1 && t.fromStart {
			a.fault(t, e, "revision", "its chain begins with revision %d: all before are missing", d.Revision)
		}
		if d.Revision != 1 {
			t.midway++
		}
	case d.Revision <= c.revision && e.place.before(t.last):
		return // out of place, which is told already
	case d.Revision == 1 && c.gone && e.Time.Sub(c.seen) >= a.options.Retention:
		// Its last event had left the stream when it came back.
	case d.Revision <= c.revision:
		a.fault(t, e, "revision", "revision %d comes after %d", d.Revision, c.revision)
	case d.Revision > c.revision+1:
		a.fault(t, e, "revision", "revision %d comes after %d: %d event(s) are missing", d.Revision, c.revision, d.Revision-c.revision-1)
	default:
		a.checkJoin(t, e, c)
	}
	a.checkImages(t, e)
	c.revision, c.seen, c.gone = d.Revision, e.Time, e.verb == "disappeared"
	c.image, c.available, c.raised = d.After, d.Available, e.verb == "raised"
}

// checkJoin holds what an event says of before against what was told last.
func (a *Auditor) checkJoin(t *tenantAudit, e *audited, c *chain) {
	d := &e.Data
	arrival := e.verb == "observed" || e.verb == "appeared"
	switch {
	case e.kind == "threshold":
		if raised := e.verb == "raised"; raised == c.raised {
			a.fault(t, e, "before", "%s a second time", e.verb)
		}
	case e.verb == "availability_observed":
		a.fault(t, e, "before", "a first availability, though one was told before")
	case e.verb == "availability_changed":
		if !sameBool(d.Previous, c.available) {
			a.fault(t, e, "before", "previous is %s, the last availability told was %s", boolText(d.Previous), boolText(c.available))
		}
	case arrival && !c.gone:
		a.fault(t, e, "before", "it arrives, though it has not left")
	case !arrival && c.gone:
		a.fault(t, e, "before", "it changes, though it has left")
	case !arrival:
		if names := differing(c.image, d.Before); len(names) > 0 {
			a.fault(t, e, "before", "before is not the last after: %s differ(s)", list(names))
		}
	}
}

// checkImages looks for contradictions inside an event.
func (a *Auditor) checkImages(t *tenantAudit, e *audited) {
	d := &e.Data
	if len(d.Before) == 0 && len(d.After) == 0 {
		return
	}
	before, after := imageOf(d.Before), imageOf(d.After)
	differ := diff.Differences(before, after)
	for _, name := range d.Changed {
		if !slices.Contains(differ, name) {
			a.fault(t, e, "image", "%s is named as changed, and is the same before and after", name)
		}
	}
	if d.From != nil && !before.IsZero() && *d.From != stateOf(before) {
		a.fault(t, e, "image", "from is not the state before")
	}
	if d.To != nil && !after.IsZero() && *d.To != stateOf(after) {
		a.fault(t, e, "image", "to is not the state after")
	}
}

// differing names the statistics in which two images are not the same.
func differing(x, y json.RawMessage) []string {
	if bytes.Equal(x, y) {
		return nil
	}
	before, after := imageOf(x), imageOf(y)
	names := diff.Differences(before, after)
	for name := range before.All() {
		if _, known := after.Get(name); !known {
			names = append(names, name)
		}
	}
	return names
}

// list writes names for people; what is many is enough to be seen as such.
func list(names []string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func boolText(b *bool) string {
	switch {
	case b == nil:
		return "unknown"
	case *b:
		return "true"
	}
	return "false"
}
