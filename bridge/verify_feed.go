package bridge

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// tenantAudit is what an auditor remembers of one tenant.
type tenantAudit struct {
	name      string
	begun     bool
	fromStart bool // the range begins with the tenant's very first event
	last      place
	entities  map[string]*chain
	types     map[string]int
	midway    int // chains that begin in their middle
	audit     TenantAudit

	batch       openBatch
	batchBefore map[place]bool
	window      pollWindow

	// What the last checkpoint said.
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
	open        *AuditGap
}

// openBatch is what came since the last checkpoint.
type openBatch struct {
	n                int
	cut              bool // the range begins inside it
	seen             map[place]bool
	status           string // which the checkpoint must show, "" = any
	agents, services int    // heads that arrived, less those that left
	gap              *AuditGap
}

// pollWindow is the window of what one poll shows.
type pollWindow struct {
	poll      uint64
	after, by time.Time
}

// vouched is until when the last checkpoint vouches for every entity: a row that
// was missing has surely been seen no later than it says.
func (t *tenantAudit) vouched() time.Time {
	if !t.missing.IsZero() && t.missing.Before(t.until) {
		return t.missing
	}
	return t.until
}

func newTenantAudit(name string) *tenantAudit {
	t := &tenantAudit{name: name, entities: map[string]*chain{}, types: map[string]int{}}
	t.nextBatch()
	return t
}

func (t *tenantAudit) nextBatch() {
	t.batchBefore, t.batch = t.batch.seen, openBatch{seen: map[place]bool{}}
}

func (b *openBatch) add(e *audited) {
	b.n++
	b.seen[e.place] = true
	switch e.kind {
	case "agent":
		b.agents += headcount(e.name, "agent.")
	case "service":
		b.services += headcount(e.name, "service.")
	}
}

// checkpoint judges the batch that it closes.
func (a *Auditor) checkpoint(t *tenantAudit, e *audited, h nats.Header) {
	d, b := &e.Data, &t.batch
	if e.place.before(t.last) { // out of place, which is told already
		t.nextBatch()
		return
	}
	b.seen[e.place] = true
	if b.n != d.Events && !b.cut {
		a.fault(t, e, "count", "the checkpoint of poll %d counts %d event(s), its batch holds %d", d.Poll, d.Events, b.n)
	}
	a.checkPart(t, e, b.cut)
	if b.status != "" && d.Status != b.status {
		a.fault(t, e, "feed", "its status is %s, its batch says %s", d.Status, b.status)
	}
	if want := h.Get(jetstream.ExpectedLastSubjSeqHeader); want != "" && t.checkpointSeq > 0 && want != fmt.Sprint(t.checkpointSeq) {
		a.fault(t, e, "lost", "it was written after the checkpoint with sequence %s, the one before it has sequence %d", want, t.checkpointSeq)
	}
	if d.Follows != "" && t.checkpointID != "" && d.Follows != t.checkpointID {
		a.fault(t, e, "lost", "it was written after the checkpoint %s, the one before it is %s", d.Follows, t.checkpointID)
	}
	if t.checkpoints > 0 && !b.cut && (t.agents+b.agents != d.Agents || t.services+b.services != d.Services) {
		a.fault(t, e, "count", "it counts %d agents and %d services, the events before it come to %d and %d",
			d.Agents, d.Services, t.agents+b.agents, t.services+b.services)
	}
	switch {
	case d.ObservedUntil == nil && !t.until.IsZero():
		a.fault(t, e, "watermark", "observed_until is null, after %s", stampAfter(t.until))
	case d.ObservedUntil != nil && t.until.Sub(*d.ObservedUntil) > clockSlack:
		a.note(t, e, "clock", "observed_until falls from %s to %s: was a clock set?", stampAfter(t.until), stampAfter(*d.ObservedUntil))
	}
	a.closeGaps(t, e)
	if d.Status == statusLive {
		t.interrupted, t.feedKnown = false, true
	}
	if d.ObservedUntil != nil {
		t.until, t.missing = *d.ObservedUntil, d.MissingSince
	}
	t.checkpoints++
	t.checkpointSeq, t.checkpointAt, t.checkpointID, t.status = e.seq, e.Time, e.ID, d.Status
	t.agents, t.services = d.Agents, d.Services
	t.nextBatch()
}

func (a *Auditor) checkPart(t *tenantAudit, e *audited, cut bool) {
	d := &e.Data
	switch {
	case d.Part > d.Parts:
		a.fault(t, e, "part", "it is part %d of %d", d.Part, d.Parts)
	case t.part > 0 && t.part < t.parts:
		if d.Part != t.part+1 || d.Parts != t.parts {
			a.fault(t, e, "part", "part %d of %d comes after part %d of %d", d.Part, d.Parts, t.part, t.parts)
		}
	case t.part > 0 && t.part == t.parts && e.place.poll == t.partPoll:
		a.fault(t, e, "part", "poll %d has a checkpoint after its last one", d.Poll)
	case d.Part != 1 && !cut:
		a.fault(t, e, "part", "poll %d begins with part %d of %d", d.Poll, d.Part, d.Parts)
	}
	t.part, t.parts, t.partPoll = d.Part, d.Parts, e.place.poll
}

// checkFeed follows the feed's own story.
func (a *Auditor) checkFeed(t *tenantAudit, e *audited) {
	if e.kind != "feed" {
		return
	}
	d := &e.Data
	from := t.until
	if d.ObservedUntil != nil {
		from = *d.ObservedUntil
	}
	switch e.verb {
	case "started":
		t.batch.status = statusInterrupted
		if t.open == nil && !from.IsZero() {
			cause := "the bridge before it ended without a goodbye"
			if t.status == statusStopped {
				cause = "stopped"
			}
			t.open = &AuditGap{Kind: "restart", Cause: cause, From: from, Seq: e.seq, ID: e.ID}
		}
	case "stopped":
		t.batch.status = statusStopped
	case "interrupted":
		t.batch.status = statusInterrupted
		if t.interrupted {
			a.fault(t, e, "feed", "interrupted a second time without feed.resumed")
		}
		t.interrupted, t.feedKnown = true, true
		if t.open == nil {
			t.open = &AuditGap{Kind: "interrupted", From: from, Seq: e.seq, ID: e.ID}
		}
		t.open.Cause = d.Cause
	case "resumed":
		t.batch.status = statusLive
		if !t.interrupted && t.feedKnown {
			a.fault(t, e, "feed", "resumed, though nothing was interrupted")
		}
		t.interrupted, t.feedKnown = false, true
		if t.open == nil { // the range begins inside the gap
			t.open = &AuditGap{Kind: "interrupted", Cause: d.Cause, Seq: e.seq, ID: e.ID}
			if d.Observed != nil && d.Observed.After != nil {
				t.open.From = *d.Observed.After
			}
		}
		if d.Observed != nil {
			t.open.To = d.Observed.By
		}
	}
}

// checkGap holds what a change says of a gap against the feed's story.
func (a *Auditor) checkGap(t *tenantAudit, e *audited) {
	d := &e.Data
	if d.Observed == nil || d.Observed.After == nil || e.kind == "feed" {
		return
	}
	own := e.kind == "directory" || strings.HasPrefix(e.verb, "availability_") // polled apart, with gaps of their own
	if !d.AfterGap {
		if t.open != nil && !own {
			a.fault(t, e, "gap", "it happened over a gap (%s) and does not say after_gap", t.open.Cause)
		}
		return
	}
	t.audit.AfterGap++
	switch {
	case t.open != nil:
		t.open.Changes++
		if !own {
			t.open.To = d.Observed.By
		}
	case own:
	case t.batch.gap == nil:
		t.batch.gap = &AuditGap{Kind: "unseen", Cause: "no poll was good for longer than a feed may be silent", From: *d.Observed.After,
			To: d.Observed.By, Changes: 1, Seq: e.seq, ID: e.ID}
	default:
		t.batch.gap.Changes++
	}
}

// closeGaps lists the gaps that a checkpoint ends or shows.
func (a *Auditor) closeGaps(t *tenantAudit, e *audited) {
	silent := e.Time.Sub(t.checkpointAt)
	switch {
	case t.open != nil && e.Data.Status == statusLive:
		if t.open.To.IsZero() {
			t.open.To = e.Time
		}
		t.audit.gap(*t.open)
		t.open = nil
	case t.batch.gap != nil:
		t.audit.gap(*t.batch.gap)
	case t.open == nil && !t.checkpointAt.IsZero() && silent > a.options.CheckpointInterval*3/2:
		t.audit.gap(AuditGap{Kind: "silence", Cause: "no checkpoint for longer than their interval", From: t.checkpointAt, To: e.Time, Seq: e.seq, ID: e.ID})
	}
}
