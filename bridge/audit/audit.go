// Package audit judges a stream from the wire alone: it shares no state and no
// code with the bridge that wrote it but package event.
package audit

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/schemas"
)

// Options say what an [Auditor] may take for granted.
type Options struct {
	// Tenant is the only one whose events are judged; "" is all of them.
	Tenant string
	// Whole reports that every message of the stream is added, so that a hole in
	// the sequence is a fault.
	Whole bool
	// CheckpointInterval is the longest silence of a healthy feed; longer ones
	// are listed as gaps. 0 is 30 s.
	CheckpointInterval time.Duration
	// Retention is how long the stream keeps events: the revisions of an entity
	// that was gone for longer may start again at 1. 0 is 720 h.
	Retention time.Duration
}

// Auditor judges a stream as its reader, event by event. It holds one image per
// entity and no event, so that any length will do. It is not safe for concurrent
// use.
type Auditor struct {
	options   Options
	validator *schemas.Validator
	tenants   map[string]*tenantAudit
	current   *tenantAudit // of the event before; takes what cannot be read
	report    Report
	reader    *event.AgentReader
	sequence  uint64 // of the event before
}

// New makes an auditor that has seen nothing. It fails only if a published schema
// is broken.
func New(o Options) (*Auditor, error) {
	v, err := schemas.New()
	if err != nil {
		return nil, err
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = 30 * time.Second
	}
	if o.Retention <= 0 {
		o.Retention = 720 * time.Hour
	}
	a := &Auditor{options: o, validator: v, tenants: map[string]*tenantAudit{}, reader: event.NewAgentReader()}
	a.report.ByCode = map[string]int{}
	return a, nil
}

// audited is an event as an auditor reads it, as far as it can be read.
type audited struct {
	event.Event
	seq      uint64
	id, typ  string // as they are written
	kind     string // "agent"
	verb     string // "state_changed"
	entity   string // key in the view below the tenant, "" for events without revisions
	observed *event.Window
	afterGap bool
}

// read reads an event. The error is [event.ErrForeign].
func (e *audited) read(body []byte) error {
	v, err := event.ReadEnvelope(body)
	if err != nil {
		return err
	}
	e.id, e.typ = v.ID, v.Type
	if e.Event, err = v.Event(); err != nil {
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

// tenantOf reads the tenant of what may be no event.
func tenantOf(body []byte) string {
	v, err := event.ReadEnvelope(body)
	if err != nil {
		return ""
	}
	return v.Tenant()
}

// Add judges the next event. Of what is not known, seq is 0 (an export without
// sequences), subject is "" (it is made from the event) and header is nil; a
// header that is known to be empty is not.
func (a *Auditor) Add(seq uint64, subject string, header nats.Header, body []byte) {
	owner, owned := event.TenantOf(subject)
	if owned && a.excluded(owner) {
		return
	}
	e := audited{seq: seq}
	invalid := a.validator.Event(body)
	err := e.read(body)
	tenant := ""
	if err == nil {
		tenant = e.Tenant()
	} else {
		tenant = tenantOf(body)
	}
	if !owned && tenant != "" && a.excluded(tenant) {
		return
	}
	if !owned {
		owner = tenant
	}
	t := a.tenantFor(owner)
	a.current = t
	a.report.count(seq, e.Time)
	a.checkSequence(t, &e)
	if err == nil && tenant != t.name {
		err = fmt.Errorf("%w: tenant %q", event.ErrForeign, tenant)
	}
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
		t.batch.n++ // what cannot be read takes a place all the same
		return
	}
	t.types[e.typ]++
	a.checkSubject(t, &e, subject)
	a.checkHeader(t, &e, header)
	if duplicate := a.checkID(t, &e); duplicate {
		return // named once; counting it again would blame its batch and its entity
	}
	a.checkWindow(t, &e)
	if d, ok := e.Data.(*event.CheckpointData); ok {
		a.checkpoint(t, &e, d, header)
		return
	}
	t.batch.add(&e)
	a.checkFeed(t, &e)
	a.checkEntity(t, &e)
	a.checkGap(t, &e)
}

// excluded reports whether a tenant's events are not judged.
func (a *Auditor) excluded(tenant string) bool {
	return a.options.Tenant != "" && tenant != a.options.Tenant
}

// foreign names a message that no bridge has stored: its own all carry their ids.
// It is no part of any batch, and of no entity's chain.
func (a *Auditor) foreign(t *tenantAudit, e *audited, subject string, why error) {
	if why == nil {
		why = errors.New("no Nats-Msg-Id")
	}
	where := cmp.Or(subject, "its subject")
	a.fault(t, &audited{seq: e.seq}, "foreign", "another publisher wrote to %s: %s", where, event.Truncate(withoutTitle(why), 200))
	if strings.HasSuffix(subject, "."+event.Checkpoint) {
		t.checkpointSeq = e.seq // which the next checkpoint was written after
	}
}

// tenantFor finds whose an event is: what its subject says, else what it says
// itself, else that of the event before, since a batch is stored in one piece.
func (a *Auditor) tenantFor(name string) *tenantAudit {
	if name == "" && a.current != nil {
		return a.current
	}
	t := a.tenants[name]
	if t == nil {
		t = newTenantAudit(name)
		a.tenants[name] = t
	}
	return t
}

// checkSequence compares the stream's own count with what is added.
func (a *Auditor) checkSequence(t *tenantAudit, e *audited) {
	if e.seq == 0 {
		return
	}
	switch {
	case a.sequence > 0 && e.seq <= a.sequence:
		a.fault(t, e, "sequence", "sequence %d comes after %d", e.seq, a.sequence)
	case a.options.Whole && a.sequence > 0 && e.seq > a.sequence+1:
		a.fault(t, e, "sequence", "messages %d to %d are missing from the stream", a.sequence+1, e.seq-1)
	}
	a.sequence = max(a.sequence, e.seq)
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

// clockTolerance is how far two instants may disagree that were read from clocks
// which time servers adjust.
const clockTolerance = time.Second

// checkWindow looks at what an event says of when it happened.
func (a *Auditor) checkWindow(t *tenantAudit, e *audited) {
	w := e.observed
	if w == nil {
		return
	}
	if w.After.After(w.By.Time) {
		a.fault(t, e, "window", "observed.after %s is later than observed.by %s", w.After, w.By)
	}
	// What one poll shows has one window. First images have no beginning, and
	// a row that was missing for a while, come back or gone, has an earlier one;
	// availability and directories have their own.
	if e.entity == "" || e.kind == "availability" {
		return
	}
	b := &t.window
	if poll := e.EntityBase().Poll; b.poll != poll {
		*b = pollWindow{poll: poll, by: w.By}
	}
	if !w.By.Equal(b.by.Time) {
		a.fault(t, e, "window", "observed.by %s differs from %s of the same poll", w.By, b.by)
	}
	if w.After.IsZero() || e.verb == "disappeared" {
		return
	}
	if e.verb == "state_changed" || e.verb == "stats_changed" {
		if from := t.observedFloor(); from.Sub(w.After.Time) > clockTolerance {
			a.note(t, e, "clock", "its window begins at %s, but a checkpoint covers all changes until %s: was a clock set?",
				w.After, event.Floor(from))
		}
		return
	}
	if b.after.IsZero() {
		b.after = w.After
	}
	if !w.After.Equal(b.after.Time) {
		a.fault(t, e, "window", "observed.after %s differs from %s of the same poll", w.After, b.after)
	}
}

// withoutTitle leaves out of an error what the auditor's report says anyway.
func withoutTitle(err error) string {
	return strings.TrimPrefix(err.Error(), "validate event: ")
}

// images gives the images before and after an event about a row, and what it
// says of the states; nil for other events.
func (e *audited) images() *rowImages {
	switch d := e.Data.(type) {
	case *event.AgentData:
		return &rowImages{d.Changed, d.Before, d.After, d.From, d.To}
	case *event.ServiceData:
		return &rowImages{changed: d.Changed, before: d.Before, after: d.After}
	case *event.TotalsData:
		return &rowImages{changed: d.Changed, before: d.Before, after: d.After}
	}
	return nil
}

// rowImages is what an event about a row says of it.
type rowImages struct {
	changed       []string
	before, after diff.Image
	from, to      *event.AgentState
}
