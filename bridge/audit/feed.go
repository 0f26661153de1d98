package audit

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/audit/bounds"
	"bpcc-nats/bridge/audit/sequences"
	"bpcc-nats/bridge/audit/times"
	"bpcc-nats/bridge/event"
)

// tenantAudit is what an auditor keeps of one tenant.
type tenantAudit struct {
	name            string
	extent          extent
	added           bool // an event of the tenant was added
	begun           bool
	fromStart       bool   // the range begins with the tenant's first event
	beginSeq        uint64 // of the first event
	last            event.ID
	lastSeq         uint64        // of the last event, 0 if it is not known
	erased          sequences.Set // stated as erased, and not seen so far
	erasedKeys      int           // of the view, stated in the last term
	entities        map[string]*entityAudit
	types           map[string]int
	rules           int // events of rules about an entity that is present
	rulesJudged     int // of them, those whose entities' events are all in the part
	startedMidChain int // entities whose revision 1 is not in the range
	report          TenantReport

	steady map[statKey]bool // by their changes: true = not volatile, false = volatile
	seen   seenSince        // of the source

	unreadable uint64 // messages that the server cannot load, up to the last event
	lost       uint64 // of them, those since the last checkpoint

	skipped      *audited // the event that begins an epoch after others that are missing
	skippedAfter uint64   // the epoch before them
	endless      int      // events before a term that have no checkpoint

	chain           chainAudit
	signatures      coverage // of the checkpoints whose headers are known
	firstCheckpoint event.ID
	bounds          bounds.Range
	before          bool // the checkpoint before the range is being added
	batch           openBatch
	batchBefore     map[event.ID]bool
	times           *times.Tenant

	// Content of the last checkpoint.
	checkpoints      int
	checkpointSeq    uint64
	checkpointAt     time.Time
	checkpointID     string
	until, missing   time.Time // of the last checkpoint: observed_until, missing_since
	clockSet         bool      // it states that the clock was set, or one of the poll before does
	clockSetPoll     uint64
	status           string
	part, parts      int
	partPoll         uint64
	agents, services int

	gaps        [2]endedGap // the last two that feed.resumed states, the last one first
	interrupted bool        // a feed.interrupted is open
	feedKnown   bool        // whether one is open is known
	open        *Gap
}

// openBatch is the events since the last checkpoint.
type openBatch struct {
	n                int
	cut              bool // the range begins inside it
	starts           bool // it begins a term
	seen             map[event.ID]bool
	status           string // that the checkpoint must have, "" = any
	agents, services int    // appeared minus disappeared
	gap              *Gap
	erasedKeys       int       // of the view, stated in it
	unlessSet        []Finding // that are no faults if a clock was set
}

func newTenantAudit(name string) *tenantAudit {
	t := &tenantAudit{name: name, entities: map[string]*entityAudit{}, types: map[string]int{}, steady: map[statKey]bool{}, times: times.New()}
	t.nextBatch()
	return t
}

func (t *tenantAudit) nextBatch() {
	t.batchBefore, t.batch = t.batch.seen, openBatch{seen: map[event.ID]bool{}}
	t.chain.begin()
}

func (b *openBatch) add(e *audited) {
	b.n++
	b.seen[e.ID] = true
	delta := 0
	switch {
	case e.Arrives() && !e.Restates():
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
func (a *Auditor) checkpoint(t *tenantAudit, e *audited, d *event.CheckpointData, x *examined) {
	b, h := &t.batch, x.header
	if e.ID.Compare(t.last) < 0 { // out of order, which is reported already
		t.nextBatch()
		return
	}
	b.seen[e.ID] = true
	a.checkClock(t, e, d)
	a.checkSkipped(t, e, d)
	erased := int(t.erasedIn(max(t.checkpointSeq, t.beginSeq), e.seq))
	if missing := d.Events - b.n - erased; missing != 0 && t.extent.whole && !b.cut && !mayBeLost(uint64(max(missing, 0)), t.lost) {
		a.fault(t, e, "count", "the checkpoint of poll %d counts %d event(s), its batch holds %d", d.Poll, d.Events, b.n)
	}
	a.checkChainOf(t, e, d, x, erased)
	a.checkSignature(t, e, x)
	a.checkHeads(t, e, d, x)
	if t.checkpoints == 0 {
		t.firstCheckpoint = e.ID
	}
	t.bounds.Add(bounds.Checkpoint{ID: e.id, Seq: e.seq, Time: e.Time, Follows: d.Follows})
	a.checkPart(t, e, d, b.cut || t.lost > 0)
	// Until the last part is stored, some changes of the poll are missing.
	if b.status != "" && t.extent.status() && d.Part == d.Parts && d.Status != b.status {
		a.fault(t, e, "feed", "status is %s, the events of the batch give %s", d.Status, b.status)
	}
	if want := h.Get(jetstream.ExpectedLastSubjSeqHeader); want != "" && t.checkpointSeq > 0 && want != fmt.Sprint(t.checkpointSeq) && !a.lostFence(t, want) {
		a.fault(t, e, "missing", "the header expects the previous checkpoint at sequence %s, it is at %d", want, t.checkpointSeq)
	}
	if d.Follows != "" && t.checkpointID != "" && d.Follows != t.checkpointID && t.lost == 0 {
		a.fault(t, e, "missing", "follows checkpoint %s, the previous one is %s", d.Follows, t.checkpointID)
	}
	if t.checkpoints > 0 && t.extent.whole && !b.cut && t.lost == 0 {
		a.checkCounts(t, e, d)
	}
	if d.ObservedUntil.IsZero() && !t.until.IsZero() {
		a.fault(t, e, "watermark", "observed_until is null, after %s", event.Floor(t.until))
	}
	a.closeGaps(t, e, d)
	if d.Status == event.StatusLive {
		t.interrupted, t.feedKnown = false, true
	}
	if !d.ObservedUntil.IsZero() {
		t.until, t.missing = d.ObservedUntil.Time, d.MissingSince.Time
	}
	t.checkpoints++
	t.lost = 0
	t.checkpointSeq, t.checkpointAt, t.checkpointID, t.status = e.seq, e.Time, e.id, d.Status
	t.agents, t.services = d.Agents, d.Services
	if b.starts {
		t.erasedKeys = 0
	}
	t.erasedKeys += b.erasedKeys
	status := b.status
	if t.nextBatch(); d.Part < d.Parts {
		t.batch.status = status
	}
}

// checkClock decides about what is no fault if the clock was set. A checkpoint that is missing may have stated that.
func (a *Auditor) checkClock(t *tenantAudit, e *audited, d *event.CheckpointData) {
	missing := t.lost > 0 || t.checkpointID != "" && d.Follows != t.checkpointID
	if !missing && d.ClockSet == 0 && !t.clockSet {
		for _, f := range t.batch.unlessSet {
			a.found(f)
		}
	}
	switch {
	case d.ClockSet != 0:
		t.clockSet, t.clockSetPoll = true, e.ID.Poll
	case d.Part == d.Parts && e.ID.Poll != t.clockSetPoll:
		t.clockSet = false
	}
	if missing {
		t.times.NewClock()
	}
}

// checkCounts compares the counts of a checkpoint with the events before it. A term may begin with
// fewer entities: the last events of the others had left the stream, and the view had lost them. It may
// begin with more, whose departures nobody can read.
func (a *Auditor) checkCounts(t *tenantAudit, e *audited, d *event.CheckpointData) {
	agents, services := t.agents+t.batch.agents, t.services+t.batch.services
	switch {
	case t.mayHaveLost(e, d.Agents-agents, d.Services-services):
	case t.batch.starts && max(d.Agents-agents, 0)+max(d.Services-services, 0) <= int(a.unreadable):
		a.note(t, e, "forgotten", "the term begins with %d agents and %d services, the checkpoint before counted %d and %d: last events had left stream and view, or cannot be loaded",
			d.Agents, d.Services, agents, services)
	default:
		a.fault(t, e, "count", "counts %d agents and %d services, the events give %d and %d", d.Agents, d.Services, agents, services)
	}
}

// checkSkipped judges an epoch that follows one that is not the one before. If its first checkpoint
// follows the last one of the stream, the stream ended there when the epoch began: an older backup was
// restored, or the end of the stream was lost.
func (a *Auditor) checkSkipped(t *tenantAudit, e *audited, d *event.CheckpointData) {
	s, n, before := t.skipped, t.endless, t.skippedAfter
	t.skipped, t.endless = nil, 0
	continues := d.Follows != "" && d.Follows == t.checkpointID
	switch {
	case n == 0:
	case continues:
		a.note(t, e, "restored", "the last %d event(s) before the term have no checkpoint: the stream had lost its end", n)
	default:
		a.fault(t, e, "uncovered", "the last %d event(s) before the term have no checkpoint", n)
	}
	if s == nil {
		return
	}
	const text = "epoch %d follows epoch %d: the epochs between are missing"
	if continues {
		a.note(t, s, "restored", text+"; the bridge continued where the stream ended, as after the restore of an older backup", s.ID.Epoch, before)
		return
	}
	a.fault(t, s, "epoch", text, s.ID.Epoch, before)
}

// lostFence reports whether the checkpoint that a header expects is unreadable. The server expects 0
// after one.
func (a *Auditor) lostFence(t *tenantAudit, want string) bool {
	seq, err := strconv.ParseUint(want, 10, 64)
	return err == nil && t.lost > 0 && (seq == 0 || a.isUnreadable(seq))
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
	if !t.extent.status() {
		t.noteSeen(e)
		return
	}
	from := t.until
	d, _ := e.Data.(*event.FeedData)
	if d != nil && !d.ObservedUntil.IsZero() {
		from = d.ObservedUntil.Time
	}
	switch e.Name {
	case event.Started:
		t.batch.status, t.batch.starts = event.StatusInterrupted, true
		t.noteSeen(e)
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
		if t.open == nil {
			t.open = &Gap{Kind: "interrupted", From: from, Seq: e.seq, ID: e.id}
		}
		t.open.Cause = d.Cause
	case event.Resumed:
		d := e.Data.(*event.ResumedData)
		t.gaps = [2]endedGap{{d.Poll, d.Observed.By}, t.gaps[0]}
		t.batch.status = event.StatusLive
		t.noteSeen(e)
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

// noteSeen records since when the source was seen without interruption.
func (t *tenantAudit) noteSeen(e *audited) {
	switch d := e.Data.(type) {
	case *event.ResumedData:
		t.seen = seenSince{d.Observed.By.Time, t.times.Clocks(), "the feed resumed"}
	case *event.FeedData:
		if e.Name == event.Started {
			t.seen = seenSince{e.Time, t.times.Clocks(), "the bridge started"}
		}
	}
}

// checkGap compares after_gap of a change with the status of the feed.
func (a *Auditor) checkGap(t *tenantAudit, e *audited) {
	if e.observed == nil || e.observed.After.IsZero() || e.kind == "feed" {
		return
	}
	own := e.kind == "directory" || e.kind == "availability" // polled separately, with their own gaps
	if !e.afterGap {
		if t.open != nil && !own && t.lost == 0 && t.extent.status() {
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
