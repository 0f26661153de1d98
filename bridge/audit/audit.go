// Package audit checks a stream from the wire format alone: it shares no state with the bridge that
// wrote it, and no code but package event.
package audit

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit/bounds"
	"bpcc-nats/bridge/audit/sequences"
	"bpcc-nats/bridge/audit/times"
	"bpcc-nats/bridge/event"
	"bpcc-nats/schemas"
)

// Options configure an [Auditor].
type Options struct {
	// Tenant is the only tenant whose events are checked; "" means all.
	Tenant string
	// Part is the part of the stream that is added; nil is all of it.
	Part *Part
	// Whole says that every message of the stream is added, so that a missing sequence is a fault.
	Whole bool
	// CheckpointInterval is the longest time between two checkpoints of a healthy feed; longer ones
	// are listed as gaps. 0 is 30 s.
	CheckpointInterval time.Duration
	// Retention is how long the stream keeps events: the revisions of an entity that was absent for
	// longer may start again at 1. 0 is 720 h.
	Retention time.Duration
	// Volatile reports whether a statistic is volatile: a change of it alone is not published, so a
	// threshold's value may differ from the last image. nil is the default of BRIDGE_VOLATILE_STATS.
	Volatile func(stat string) bool
	// SignedBy are the public keys, as nkeys write them, by one of which each checkpoint must be signed; none
	// means that it need not be.
	SignedBy []string
	// Heads are checkpoints that were kept elsewhere, and that the stream must still hold as they were.
	Heads []event.Head
	// Bounds are the checkpoints after which the ranges of tenants begin and with which they end. What is
	// outside of them is not checked.
	Bounds map[string]bounds.Wanted
}

// Auditor checks a stream, event by event. It holds one image per entity and no events, so its
// memory does not grow with the stream. It is not safe for concurrent use.
type Auditor struct {
	options   Options
	validator *schemas.Validator
	decoder   event.Decoder
	tenants   map[string]*tenantAudit
	current   *tenantAudit // of the previous event; unreadable events count for it
	report    Report
	reader    *event.AgentReader
	sequence  uint64 // of the previous event

	stored     times.Store
	withStored int             // messages of which it is known when they were stored
	withHeader int             // messages of which subject and headers are known
	headsFound map[string]bool // by their ids

	unreadable     uint64 // messages that the server cannot load, so far
	unreadableRuns []sequences.Run
}

// New returns an auditor. It fails only if a published schema is invalid.
func New(o Options) (*Auditor, error) {
	v, err := schemas.Shared()
	if err != nil {
		return nil, err
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = 30 * time.Second
	}
	if o.Retention <= 0 {
		o.Retention = 720 * time.Hour
	}
	if o.Volatile == nil {
		o.Volatile = volatileByDefault
	}
	a := &Auditor{options: o, validator: v, tenants: map[string]*tenantAudit{}, reader: event.NewAgentReader(), headsFound: map[string]bool{}}
	a.report.ByCode = map[string]int{}
	for tenant := range o.Bounds {
		a.tenantFor(tenant)
	}
	return a, nil
}

// audited is an event as far as the auditor could decode it.
type audited struct {
	event.Event
	n        int // number among the events added, from 1
	seq      uint64
	id, typ  string // as written
	kind     string // "agent"
	verb     string // "state_changed"
	entity   string // key in the view below the tenant, "" for events without revisions
	observed *event.Window
	afterGap bool
}

// read decodes an event. The error is [event.ErrForeign].
func (e *audited) read(d *event.Decoder, body []byte) error {
	var v event.Envelope
	var err error
	v, e.Event, err = d.Decode(body)
	if e.id, e.typ = v.ID, v.Type; err != nil {
		return err
	}
	e.kind, e.verb = e.Kind(), e.Verb()
	switch d := e.Data.(type) {
	case *event.DirectoryData:
		e.observed, e.afterGap = &d.Observed, d.AfterGap
	case *event.ChatData:
		e.observed, e.afterGap = &d.Observed, d.AfterGap
	case *event.ResumedData:
		e.observed = &d.Observed
	default:
		if base := e.EntityBase(); base != nil {
			e.entity, e.observed, e.afterGap = e.ViewKey(), &base.Observed, base.AfterGap
		}
	}
	return nil
}

// Message is a message of a stream. For unknown values, Seq is 0 (an export without sequences), Stored is zero, Subject
// is "" (derived from the event) and Header is nil; an empty header that is not nil is a known one.
type Message struct {
	Seq     uint64
	Stored  time.Time
	Subject string
	Header  nats.Header
	Body    []byte
}

// Add checks the next message.
func (a *Auditor) Add(m Message) {
	x := a.examine(m)
	a.add(&x)
}

// examined is a message, and what it shows alone.
type examined struct {
	audited
	stored   time.Time
	subject  string
	header   nats.Header
	body     []byte
	excluded bool   // it is not checked
	tenant   string // in the data
	invalid  error  // of its schema
	err      error  // of decoding it, [event.ErrForeign]
}

// storedID is the id of the message; that of the event where the headers are not known.
func (x *examined) storedID() string { return cmp.Or(x.header.Get(nats.MsgIdHdr), x.id) }

// examine examines a message by itself. It may be called by several goroutines at once.
func (a *Auditor) examine(m Message) examined {
	x := examined{audited: audited{seq: m.Seq}, stored: m.Stored, subject: m.Subject, header: m.Header, body: m.Body}
	subject, body := m.Subject, m.Body
	owner, owned := event.TenantOf(subject)
	if x.excluded = owned && a.excluded(owner) || subject != "" && !a.options.Part.has(subject); x.excluded {
		return x
	}
	x.invalid = a.validator.Event(body)
	if x.err = x.read(&a.decoder, body); x.err == nil {
		x.tenant = x.Tenant()
	} else {
		x.tenant = event.TenantOfBody(body)
	}
	x.excluded = !owned && x.tenant != "" && a.excluded(x.tenant) || subject == "" && x.err == nil && !a.options.Part.has(x.Subject())
	return x
}

// add checks a message that was examined.
func (a *Auditor) add(x *examined) {
	if x.excluded {
		return
	}
	e, subject, header, invalid, err, tenant := x.audited, x.subject, x.header, x.invalid, x.err, x.tenant
	seq := e.seq
	owner, owned := event.TenantOf(subject)
	if !owned {
		owner = tenant
	}
	t := a.tenantFor(owner)
	if !a.inBounds(t, x) {
		return
	}
	a.current, t.added = t, true
	a.report.count(seq, e.Time)
	if subject != "" && header != nil {
		a.withHeader++
	}
	e.n = a.report.Events
	a.noteUnreadable(t)
	a.checkSequence(t, &e)
	a.checkStored(t, &e, x.stored)
	if err == nil && tenant != t.name {
		err = fmt.Errorf("%w: tenant %q", event.ErrForeign, tenant)
	}
	a.stillPresent(t, &e)
	id := header.Get(nats.MsgIdHdr)
	if header != nil && (id == "" || err != nil && !strings.HasPrefix(id, t.name+"-")) {
		a.foreign(t, &e, subject, cmp.Or(err, invalid))
		return
	}
	if invalid != nil {
		a.fault(t, &e, "schema", "%v", withoutTitle(invalid))
	}
	if err != nil {
		if invalid == nil {
			a.fault(t, &e, "schema", "%v", err)
		}
		t.batch.n++ // an unreadable event has an index too
		return
	}
	t.types[e.typ]++
	a.show(t, &e)
	a.checkSubject(t, &e, subject)
	a.checkHeader(t, &e, header)
	if duplicate := a.checkID(t, &e); duplicate {
		return // counting it again would give faults for its batch and its entity
	}
	if e.ID == t.last {
		a.checkTimes(t, &e)
	}
	t.lastSeq = e.seq
	if subject == "" {
		x.subject = e.Subject()
	}
	switch d := e.Data.(type) {
	case *event.CheckpointData:
		a.checkpoint(t, &e, d, x)
		return
	case *event.ErasedData:
		a.checkErasure(t, &e, d)
	}
	t.batch.add(&e)
	if t.extent.whole { // else no chain can be compared
		t.chain.sum.Add([]byte(x.subject), []byte(x.storedID()), x.body)
	}
	a.checkFeed(t, &e)
	a.checkEntity(t, &e)
	a.checkGap(t, &e)
}

// excluded reports whether a tenant's events are not checked.
func (a *Auditor) excluded(tenant string) bool {
	return a.options.Tenant != "" && tenant != a.options.Tenant
}

// foreign adds the fault for a message that no bridge has stored: the bridge's own all carry their
// ids. It belongs to no batch, and to no entity's chain.
func (a *Auditor) foreign(t *tenantAudit, e *audited, subject string, why error) {
	if why == nil {
		why = errors.New("no Nats-Msg-Id")
	}
	where := cmp.Or(subject, "its subject")
	a.fault(t, &audited{n: e.n, seq: e.seq}, "foreign", "another publisher wrote to %s: %s", where, event.Truncate(withoutTitle(why), 200))
	if strings.HasSuffix(subject, "."+event.Checkpoint) {
		t.checkpointSeq = e.seq // the next checkpoint was written after it
	}
}

// tenantFor returns the tenant of an event: that of its subject, else that of its data, else that
// of the previous event, since a batch is stored contiguously.
func (a *Auditor) tenantFor(name string) *tenantAudit {
	if name == "" && a.current != nil {
		return a.current
	}
	t := a.tenants[name]
	if t == nil {
		t = newTenantAudit(name)
		t.extent = a.extentOf(name)
		t.bounds.Wanted = a.options.Bounds[name]
		a.tenants[name] = t
	}
	return t
}

// checkSequence compares the stream's sequence with the events added.
func (a *Auditor) checkSequence(t *tenantAudit, e *audited) {
	if e.seq == 0 {
		return
	}
	switch {
	case a.sequence > 0 && e.seq <= a.sequence:
		a.fault(t, e, "sequence", "sequence %d comes after %d", e.seq, a.sequence)
	case a.options.Whole && a.sequence > 0 && e.seq > a.sequence+1:
		a.checkMissing(t, e)
	}
	a.sequence = max(a.sequence, e.seq)
}

// checkStored compares when messages were stored with each other and with their times.
func (a *Auditor) checkStored(t *tenantAudit, e *audited, stored time.Time) {
	if stored.IsZero() {
		return
	}
	a.withStored++
	for _, f := range a.stored.Add(e.Time, stored) {
		a.found(t.finding(e, string(f.Code), f.Text))
	}
}

// checkMissing checks that all messages between the previous event and this one are stated as erased.
func (a *Auditor) checkMissing(t *tenantAudit, e *audited) {
	var erased uint64
	for _, other := range a.tenants {
		erased += other.erasedIn(a.sequence, e.seq)
	}
	missing := e.seq - a.sequence - 1
	switch {
	case erased == 0:
		a.fault(t, e, "sequence", "messages %d to %d are missing from the stream", a.sequence+1, e.seq-1)
	case erased < missing:
		a.fault(t, e, "sequence", "messages %d to %d are missing from the stream, and %d of them are not stated as erased", a.sequence+1, e.seq-1, missing-erased)
	}
}

func (a *Auditor) checkSubject(t *tenantAudit, e *audited, subject string) {
	if subject == "" {
		return
	}
	if want := string(e.AppendSubject(nil, event.Prefix(t.name))); subject != want {
		a.fault(t, e, "subject", "stored on %s, content belongs on %s", subject, want)
	}
}

func (a *Auditor) checkHeader(t *tenantAudit, e *audited, h nats.Header) {
	if h == nil {
		return
	}
	if got := h.Get(nats.MsgIdHdr); got != e.id {
		a.fault(t, e, "header", "Nats-Msg-Id is %q, the id %q", got, e.id)
	}
	if got := h.Get("Content-Type"); got != event.ContentType {
		a.fault(t, e, "header", "Content-Type is %q, not %s", got, event.ContentType)
	}
	if removes := h.Get("KV-Operation") != ""; removes != e.Removes() {
		a.fault(t, e, "tombstone", "KV-Operation is %q: only a departure removes its key from the view, and every departure does",
			h.Get("KV-Operation"))
	}
}

// checkTimes compares the times of an event. What no checkpoint explains by a clock that was set is a fault at the
// checkpoint of its batch.
func (a *Auditor) checkTimes(t *tenantAudit, e *audited) {
	for _, f := range t.times.Add(&e.Event, e.entity, e.observed) {
		switch finding := t.finding(e, string(f.Code), f.Text); {
		case f.Note:
			a.report.Notes = find(a.report.Notes, finding)
		case f.UnlessSet:
			t.batch.unlessSet = append(t.batch.unlessSet, finding)
		default:
			a.found(finding)
		}
	}
}

// withoutTitle removes the part of an error that the report says anyway.
func withoutTitle(err error) string {
	return strings.TrimPrefix(err.Error(), "validate event: ")
}
