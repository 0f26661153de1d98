package audit

import (
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/audit/verbs"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// entityAudit is what an auditor keeps of one entity.
type entityAudit struct {
	kind       string
	revision   uint64
	lost       uint64      // messages that the server cannot load, up to the last event
	image      image.Image // the last after
	absent     bool        // the last event was a departure
	lastTime   time.Time   // of the last event
	lastSeq    uint64      // of the last event, 0 if it is not known
	available  *bool
	raised     bool
	state      uint64    // the number of an agent's state, 0 if it is not known
	uncounted  bool      // the last event about an agent has no number of its state
	began      beginning // of an agent's state
	unproved   bool      // the count of an agent's states is interrupted
	shown      verbs.Set // of which the part has all events about the entity
	suspicions []suspicion
	reentered  event.ID         // of the last event with a round trip
	clocks     int              // of the tenant, at lastTime
	seen       seenSince        // of a row
	sights     map[string]sight // of a row: the last event of each rule, by its view key
}

// checkID compares an event's id with that of the previous event. It reports whether the event was
// added before.
func (a *Auditor) checkID(t *tenantAudit, e *audited) (duplicate bool) {
	id, last := e.ID, t.last
	poll := e.Poll()
	epoch, _ := e.DataEpoch()
	if id.Poll != poll || epoch != 0 && id.Epoch != epoch {
		a.fault(t, e, "order", "id has epoch %d and poll %d, data has epoch %d and poll %d", id.Epoch, id.Poll, epoch, poll)
	}
	switch {
	case t.batch.seen[id], t.batchBefore[id], id == last && t.begun:
		a.fault(t, e, "duplicate", "duplicate event")
		return true
	case !t.begun:
		t.beginSeq = e.seq
		t.begun, t.fromStart = true, id.Epoch == 1 && e.Name == event.Started
		d, ok := e.Data.(*event.CheckpointData)
		if t.batch.cut = id.Index > 1 || ok && d.Part > 1; t.batch.cut && t.extent.whole {
			a.note(t, e, "truncated", "the range begins inside a batch: what its checkpoint counts cannot be judged")
		}
	case id.Compare(last) < 0 && e.Name == event.Started:
		a.fault(t, e, "epoch", "epoch %d begins after epoch %d: different history", id.Epoch, last.Epoch)
		a.closeBatch(t, e)
	case id.Epoch < last.Epoch:
		a.fault(t, e, "epoch", "event of epoch %d after epoch %d has begun", id.Epoch, last.Epoch)
		return false
	case id.Compare(last) < 0:
		a.fault(t, e, "order", "comes after %s: duplicate or out of order", last.Append(nil, t.name))
		return false
	default:
		a.checkStep(t, e)
	}
	t.last = id
	return false
}

// checkStep checks a step forward: the next event of a poll, the next poll, or the next epoch.
func (a *Auditor) checkStep(t *tenantAudit, e *audited) {
	id, last := e.ID, t.last
	started := e.Name == event.Started
	switch {
	case id.Poll == last.Poll && id.Epoch == last.Epoch:
		if !t.extent.whole {
			return
		}
		missing, erased := id.Index-last.Index-1, t.erasedIn(t.lastSeq, e.seq)
		if missing != erased && !mayBeLost(missing-erased, t.lost) {
			a.fault(t, e, "missing", "%d event(s) missing: the index goes from %d to %d", id.Index-last.Index-1, last.Index, id.Index)
		}
		return
	case id.Epoch > last.Epoch && t.lost > 0: // what begins the epoch may be lost, and all epochs between
	case id.Epoch > last.Epoch && !started && t.extent.starts():
		a.fault(t, e, "epoch", "epoch %d does not begin with a feed.started", id.Epoch)
	case id.Epoch > last.Epoch+1 && t.extent.checkpoints():
		first := *e
		t.skipped, t.skippedAfter = &first, last.Epoch
	case id.Epoch > last.Epoch && id.Poll <= last.Poll:
		a.fault(t, e, "order", "poll %d comes after poll %d of the previous epoch: polls must count on", id.Poll, last.Poll)
	case id.Epoch == last.Epoch && started:
		a.fault(t, e, "epoch", "epoch %d begins a second time", id.Epoch)
	}
	if first, erased := id.Index-1, t.erasedIn(t.lastSeq, e.seq); t.extent.whole && id.Index > 1 && first != erased && !mayBeLost(first-erased, t.lost) {
		a.fault(t, e, "missing", "the first %d event(s) of the poll are missing", id.Index-1)
	}
	a.closeBatch(t, e)
}

// closeBatch ends the batch that the next poll replaces.
func (a *Auditor) closeBatch(t *tenantAudit, e *audited) {
	switch n := t.batch.n; {
	case n == 0 || t.lost > 0 || !t.extent.checkpoints():
	case (e.Name == event.Started || !t.extent.starts()) && e.ID.Epoch > t.last.Epoch: // its checkpoint shows what the term continued from
		t.endless = n
		t.agents, t.services = t.agents+t.batch.agents, t.services+t.batch.services
	default:
		a.fault(t, e, "uncovered", "the last %d event(s) of poll %d have no checkpoint", n, t.last.Poll)
	}
	if t.part < t.parts && t.lost == 0 && t.extent.checkpoints() {
		if e.ID.Epoch > t.last.Epoch {
			a.note(t, e, "truncated", "poll %d was published up to part %d of %d: its writer ended there", t.last.Poll, t.part, t.parts)
		} else {
			a.fault(t, e, "part", "poll %d ends with part %d of %d", t.last.Poll, t.part, t.parts)
		}
	}
	t.part, t.parts = 0, 0
	t.nextBatch()
}

// checkEntity compares an event with the previous one about the same entity.
func (a *Auditor) checkEntity(t *tenantAudit, e *audited) {
	if e.entity == "" {
		return
	}
	revision := e.EntityBase().Revision
	c := t.entities[e.entity]
	if c != nil {
		a.showEntity(t, e, c)
	}
	next := c != nil && revision == c.revision+1
	switch {
	case c == nil:
		c = &entityAudit{kind: e.kind}
		t.entities[e.entity] = c
		a.showEntity(t, e, c)
		erased := t.erasedIn(0, e.seq)
		if t.fromStart && c.complete() && revision-1 > erased && !mayBeLost(revision-1-erased, a.unreadable) {
			a.fault(t, e, "revision", "chain begins with revision %d: earlier events are missing", revision)
		}
		if revision != 1 {
			t.startedMidChain++
		}
	case revision <= c.revision && e.ID.Compare(t.last) < 0:
		return // out of order, which is reported already
	case revision <= c.revision && !c.complete() && e.Time.Sub(c.lastTime) >= a.options.Retention:
		// It may have been absent for so long.
	case revision == 1 && c.absent && e.Time.Sub(c.lastTime) >= a.options.Retention:
		// Its last event had left the stream when it came back.
	case revision <= c.revision:
		a.fault(t, e, "revision", "revision %d comes after %d", revision, c.revision)
	case revision > c.revision+1:
		missing, erased := revision-c.revision-1, t.erasedIn(c.lastSeq, e.seq)
		switch {
		case missing <= erased || mayBeLost(missing-erased, a.unreadable-c.lost):
		case !c.complete():
			if erased == 0 {
				a.checkHidden(t, e, c, missing)
			}
		default:
			a.fault(t, e, "revision", "revision %d comes after %d: %d event(s) missing", revision, c.revision, missing)
		}
	default:
		a.checkChain(t, e, c)
	}
	a.checkContent(t, e, c, next)
	a.checkStateRevision(t, e, c)
	c.lost = a.unreadable
	c.revision, c.lastTime, c.absent, c.raised = revision, e.Time, e.verb == "disappeared", e.verb == "raised"
	c.clocks, c.lastSeq = t.times.Clocks(), e.seq
	if d := e.Availability(); d != nil {
		c.available = d.Available
	}
	if row := e.Row(); row != nil {
		c.image = row.After
	}
}

// checkChain compares the before image of an event with what was published last.
func (a *Auditor) checkChain(t *tenantAudit, e *audited, c *entityAudit) {
	arrival := e.Arrives()
	switch d := e.Data.(type) {
	case *event.ThresholdData:
		if raised := e.verb == "raised"; raised == c.raised {
			a.fault(t, e, "chain", "%s a second time", e.verb)
		}
		return
	case *event.AvailabilityObservedData:
		if e.Restates() && event.SameAvailability(d.Available, c.available) {
			return
		}
		a.fault(t, e, "chain", "observed although published before")
		return
	case *event.AvailabilityChangedData:
		if !event.SameAvailability(d.Previous, c.available) {
			a.fault(t, e, "chain", "`previous` is %s, the availability published last is %s", boolText(d.Previous), boolText(c.available))
		}
		return
	}
	switch {
	case e.Restates() && !c.absent:
		if names := image.AllDifferences(c.image, e.Row().After); len(names) > 0 {
			a.fault(t, e, "chain", "observed again, with other statistics than published last: %s", list(names))
		}
	case arrival && !c.absent:
		a.fault(t, e, "chain", "%s although present", e.verb)
	case !arrival && c.absent:
		a.fault(t, e, "chain", "%s although absent", e.verb)
	case !arrival:
		if names := image.AllDifferences(c.image, e.Row().Before); len(names) > 0 {
			a.fault(t, e, "chain", "`before` does not match the previous `after`: %s", list(names))
		}
	}
}

// checkContent checks an event for contradictions, in itself and to what was published before. It
// follows the previous one about its entity if next is true.
func (a *Auditor) checkContent(t *tenantAudit, e *audited, c *entityAudit, next bool) {
	switch d := e.Data.(type) {
	case *event.ThresholdData:
		a.checkThreshold(t, e, d)
	case *event.AgentData:
		a.checkAgent(t, e, c, d, next)
	}
	row := e.Row()
	if row == nil {
		return
	}
	a.checkSights(t, e, c)
	t.sawRow(e, c)
	differ := image.Differences(row.Before, row.After)
	t.learnVolatile(e, row, differ)
	a.checkCounters(t, e, c, row, differ)
	a.checkImages(t, e, row, differ)
}

// checkImages compares the images of an event with what else it says. The statistics in differ have
// another text after than before.
func (a *Auditor) checkImages(t *tenantAudit, e *audited, row *event.RowData, differ []string) {
	if row.Before.IsZero() && row.After.IsZero() {
		return
	}
	for _, name := range row.Changed {
		if !slices.Contains(differ, name) {
			a.fault(t, e, "image", "%s is in `changed`, and is the same before and after", name)
		}
	}
	d, ok := e.Data.(*event.AgentData)
	if !ok {
		return
	}
	if d.From != nil && !d.Before.IsZero() && *d.From != a.reader.State(d.Before) {
		a.fault(t, e, "image", "`from` is not the state before")
	}
	if d.To != nil && !d.After.IsZero() && *d.To != a.reader.State(d.After) {
		a.fault(t, e, "image", "`to` is not the state after")
	}
}

// list formats names for people and abbreviates a long list.
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
