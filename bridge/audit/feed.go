package audit

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// tenantAudit is what an auditor keeps of one tenant.
type tenantAudit struct {
	name            string
	begun           bool
	fromStart       bool // the range begins with the tenant's first event
	last            event.ID
	entities        map[string]*entityAudit
	types           map[string]int
	startedMidChain int // entities whose revision 1 is not in the range
	report          TenantReport

	steady map[statKey]bool // by their changes: true = not volatile, false = volatile
	clocks int              // counts the clocks of the times: each machine's, until it is set
	seen   seenSince        // of the source

	batch       openBatch
	batchBefore map[event.ID]bool
	window      pollWindow

	// Content of the last checkpoint.
	checkpoints      int
	checkpointSeq    uint64
	checkpointAt     time.Time
	checkpointID     string
	until, missing   time.Time // of the last checkpoint: observed_until, missing_since
	status           string
	part, parts      int
	partPoll         uint64
	agents, services int

	interrupted bool // a feed.interrupted is open
	feedKnown   bool // whether one is open is known
	open        *Gap
}

// openBatch is the events since the last checkpoint.
type openBatch struct {
	n                int
	cut              bool // the range begins inside it
	seen             map[event.ID]bool
	status           string // that the checkpoint must have, "" = any
	agents, services int    // appeared minus disappeared
	gap              *Gap
	takenBack        time.Time // the watermark of an interruption: that of a checkpoint may have been too late
}

// pollWindow is the window that the events of one poll share.
type pollWindow struct {
	poll      uint64
	after, by event.Time
}

// observedFloor is until when the last checkpoint covers every entity: a missing row was seen for
// the last time no later.
func (t *tenantAudit) observedFloor() time.Time {
	if !t.missing.IsZero() && t.missing.Before(t.until) {
		return t.missing
	}
	return t.until
}

func newTenantAudit(name string) *tenantAudit {
	t := &tenantAudit{name: name, entities: map[string]*entityAudit{}, types: map[string]int{}, steady: map[statKey]bool{}}
	t.nextBatch()
	return t
}

func (t *tenantAudit) nextBatch() {
	t.batchBefore, t.batch = t.batch.seen, openBatch{seen: map[event.ID]bool{}}
}

func (b *openBatch) add(e *audited) {
	b.n++
	b.seen[e.ID] = true
	delta := 0
	switch {
	case e.Arrives():
		delta = 1
	case e.Removes():
		delta = -1
	}
	switch e.kind {
	case "agent":
		b.agents += delta
	case "service":
		b.services += delta
	}
}

// checkpoint checks the batch that the event closes.
func (a *Auditor) checkpoint(t *tenantAudit, e *audited, d *event.CheckpointData, h nats.Header) {
	b := &t.batch
	if e.ID.Compare(t.last) < 0 { // out of order, which is reported already
		t.nextBatch()
		return
	}
	b.seen[e.ID] = true
	if b.n != d.Events && !b.cut {
		a.fault(t, e, "count", "the checkpoint of poll %d counts %d event(s), its batch holds %d", d.Poll, d.Events, b.n)
	}
	a.checkPart(t, e, d, b.cut)
	// Until the last part is stored, some changes of the poll are missing.
	if b.status != "" && d.Part == d.Parts && d.Status != b.status {
		a.fault(t, e, "feed", "status is %s, the events of the batch give %s", d.Status, b.status)
	}
	if want := h.Get(jetstream.ExpectedLastSubjSeqHeader); want != "" && t.checkpointSeq > 0 && want != fmt.Sprint(t.checkpointSeq) {
		a.fault(t, e, "missing", "the header expects the previous checkpoint at sequence %s, it is at %d", want, t.checkpointSeq)
	}
	if d.Follows != "" && t.checkpointID != "" && d.Follows != t.checkpointID {
		a.fault(t, e, "missing", "follows checkpoint %s, the previous one is %s", d.Follows, t.checkpointID)
	}
	if t.checkpoints > 0 && !b.cut && (t.agents+b.agents != d.Agents || t.services+b.services != d.Services) {
		a.fault(t, e, "count", "counts %d agents and %d services, the events give %d and %d",
			d.Agents, d.Services, t.agents+b.agents, t.services+b.services)
	}
	switch {
	case d.ObservedUntil.IsZero() && !t.until.IsZero():
		a.fault(t, e, "watermark", "observed_until is null, after %s", event.Floor(t.until))
	case !d.ObservedUntil.IsZero() && d.ObservedUntil.Equal(b.takenBack): // as after a source that repeated an old state
	case !d.ObservedUntil.IsZero() && t.until.Sub(d.ObservedUntil.Time) > clockTolerance:
		a.note(t, e, "clock", "observed_until falls from %s to %s: was a clock set, or did the source stand still?", event.Floor(t.until), d.ObservedUntil)
	}
	a.closeGaps(t, e, d)
	if d.Status == event.StatusLive {
		t.interrupted, t.feedKnown = false, true
	}
	if !d.ObservedUntil.IsZero() {
		t.until, t.missing = d.ObservedUntil.Time, d.MissingSince.Time
	}
	t.checkpoints++
	t.checkpointSeq, t.checkpointAt, t.checkpointID, t.status = e.seq, e.Time, e.id, d.Status
	t.agents, t.services = d.Agents, d.Services
	status := b.status
	if t.nextBatch(); d.Part < d.Parts {
		t.batch.status = status
	}
}

func (a *Auditor) checkPart(t *tenantAudit, e *audited, d *event.CheckpointData, cut bool) {
	switch {
	case d.Part > d.Parts:
		a.fault(t, e, "part", "part %d of %d", d.Part, d.Parts)
	case t.part > 0 && t.part < t.parts:
		if d.Part != t.part+1 || d.Parts != t.parts {
			a.fault(t, e, "part", "part %d of %d comes after part %d of %d", d.Part, d.Parts, t.part, t.parts)
		}
	case t.part > 0 && t.part == t.parts && e.ID.Poll == t.partPoll:
		a.fault(t, e, "part", "poll %d has a checkpoint after its last one", d.Poll)
	case d.Part != 1 && !cut:
		a.fault(t, e, "part", "poll %d begins with part %d of %d", d.Poll, d.Part, d.Parts)
	}
	t.part, t.parts, t.partPoll = d.Part, d.Parts, e.ID.Poll
}

// checkFeed checks the status of the feed.
func (a *Auditor) checkFeed(t *tenantAudit, e *audited) {
	from := t.until
	d, _ := e.Data.(*event.FeedData)
	if d != nil && !d.ObservedUntil.IsZero() {
		from = d.ObservedUntil.Time
	}
	switch e.Name {
	case event.Started:
		t.batch.status = event.StatusInterrupted
		t.clocks++
		t.seen = seenSince{e.Time, t.clocks, "the bridge started"}
		if t.open == nil && !from.IsZero() {
			cause := "the previous bridge ended without feed.stopped"
			if t.status == event.StatusStopped {
				cause = "stopped"
			}
			t.open = &Gap{Kind: "restart", Cause: cause, From: from, Seq: e.seq, ID: e.id}
		}
	case event.Stopped:
		t.batch.status = event.StatusStopped
	case event.Interrupted:
		t.batch.status = event.StatusInterrupted
		if t.interrupted {
			a.fault(t, e, "feed", "interrupted twice without feed.resumed")
		}
		t.interrupted, t.feedKnown = true, true
		t.batch.takenBack = d.ObservedUntil.Time
		if t.open == nil {
			t.open = &Gap{Kind: "interrupted", From: from, Seq: e.seq, ID: e.id}
		}
		t.open.Cause = d.Cause
	case event.Resumed:
		d := e.Data.(*event.ResumedData)
		t.batch.status = event.StatusLive
		t.seen = seenSince{d.Observed.By.Time, t.clocks, "the feed resumed"}
		a.checkGapWindow(t, e, d)
		if !t.interrupted && t.feedKnown {
			a.fault(t, e, "feed", "resumed, but nothing was interrupted")
		}
		t.interrupted, t.feedKnown = false, true
		if t.open == nil { // the range begins inside the gap
			t.open = &Gap{Kind: "interrupted", Cause: d.Cause, From: d.Observed.After.Time, Seq: e.seq, ID: e.id}
		}
		t.open.To = d.Observed.By.Time
	}
}

// checkGapWindow compares the window of a gap with when it began.
func (a *Auditor) checkGapWindow(t *tenantAudit, e *audited, d *event.ResumedData) {
	if t.open == nil || t.open.From.IsZero() || d.Observed.After.IsZero() {
		return
	}
	if apart := t.open.From.Sub(d.Observed.After.Time).Abs(); apart > clockTolerance {
		a.note(t, e, "clock", "its window begins at %s, the gap at %s: was a clock set?", d.Observed.After, event.Floor(t.open.From))
	}
}

// checkGap compares after_gap of a change with the status of the feed.
func (a *Auditor) checkGap(t *tenantAudit, e *audited) {
	if e.observed == nil || e.observed.After.IsZero() || e.kind == "feed" {
		return
	}
	own := e.kind == "directory" || e.kind == "availability" // polled separately, with their own gaps
	if !e.afterGap {
		if t.open != nil && !own {
			a.fault(t, e, "gap", "change over a gap (%s) without after_gap", t.open.Cause)
		}
		return
	}
	t.report.AfterGap++
	switch {
	case t.open != nil:
		t.open.Changes++
		if !own {
			t.open.To = e.observed.By.Time
		}
	case own:
	case t.batch.gap == nil:
		t.batch.gap = &Gap{Kind: "no_good_poll", Cause: "no good poll for longer than the feed may be without one", From: e.observed.After.Time,
			To: e.observed.By.Time, Changes: 1, Seq: e.seq, ID: e.id}
	default:
		t.batch.gap.Changes++
	}
}

// closeGaps lists the gaps that a checkpoint closes or shows.
func (a *Auditor) closeGaps(t *tenantAudit, e *audited, d *event.CheckpointData) {
	silent := e.Time.Sub(t.checkpointAt)
	switch {
	case t.open != nil && d.Status == event.StatusLive:
		if t.open.To.IsZero() {
			t.open.To = e.Time
		}
		t.report.gap(*t.open)
		t.open = nil
	case t.batch.gap != nil:
		t.report.gap(*t.batch.gap)
	case t.open == nil && !t.checkpointAt.IsZero() && silent > a.options.CheckpointInterval*3/2:
		t.report.gap(Gap{Kind: "no_checkpoint", Cause: "no checkpoint for longer than their interval", From: t.checkpointAt, To: e.Time, Seq: e.seq, ID: e.id})
	}
}
