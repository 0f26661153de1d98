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

	"bpcc-nats/bridge/event"
	"bpcc-nats/schemas"
)

// Options configure an [Auditor].
type Options struct {
	// Tenant is the only tenant whose events are checked; "" means all.
	Tenant string
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
}

// Auditor checks a stream, event by event. It holds one image per entity and no events, so its
// memory does not grow with the stream. It is not safe for concurrent use.
type Auditor struct {
	options   Options
	validator *schemas.Validator
	tenants   map[string]*tenantAudit
	current   *tenantAudit // of the previous event; unreadable events count for it
	report    Report
	reader    *event.AgentReader
	sequence  uint64 // of the previous event
}

// New returns an auditor. It fails only if a published schema is invalid.
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
	if o.Volatile == nil {
		o.Volatile = volatileByDefault
	}
	a := &Auditor{options: o, validator: v, tenants: map[string]*tenantAudit{}, reader: event.NewAgentReader()}
	a.report.ByCode = map[string]int{}
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

// tenantOf returns the tenant of a body that may not be an event.
func tenantOf(body []byte) string {
	v, err := event.ReadEnvelope(body)
	if err != nil {
		return ""
	}
	return v.Tenant()
}

// Add checks the next event. For unknown values, seq is 0 (an export without sequences), subject is
// "" (derived from the event) and header is nil; an empty header that is not nil is a known one.
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
	e.n = a.report.Events
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
		t.batch.n++ // an unreadable event has an index too
		return
	}
	t.types[e.typ]++
	a.checkSubject(t, &e, subject)
	a.checkHeader(t, &e, header)
	if duplicate := a.checkID(t, &e); duplicate {
		return // counting it again would give faults for its batch and its entity
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

// clockTolerance is how far two times from clocks that time servers adjust may differ.
const clockTolerance = time.Second

// checkWindow checks the times of an event.
func (a *Auditor) checkWindow(t *tenantAudit, e *audited) {
	w := e.observed
	if w == nil {
		return
	}
	if w.After.After(w.By.Time) {
		a.fault(t, e, "window", "observed.after %s is later than observed.by %s", w.After, w.By)
	}
	// The events of one poll have one window. First images have no lower bound. A row that was
	// missing for a while has an earlier one, whether it returned or disappeared, and so have the
	// rules that were paused meanwhile. Availability and directories have their own.
	if e.entity == "" || e.kind == "availability" {
		return
	}
	b := &t.window
	if poll := e.EntityBase().Poll; b.poll != poll {
		if b.by.Sub(w.By.Time) > clockTolerance {
			a.note(t, e, "clock", "its window ends at %s, that of an earlier poll at %s: was a clock set?", w.By, b.by)
		}
		if w.By.Before(b.by.Time) {
			t.clocks++
		}
		*b = pollWindow{poll: poll, by: w.By}
	}
	if !w.By.Equal(b.by.Time) {
		a.fault(t, e, "window", "observed.by %s differs from %s of the same poll", w.By, b.by)
	}
	if w.After.IsZero() || e.verb == "disappeared" {
		return
	}
	if !e.Arrives() {
		if from := t.observedFloor(); from.Sub(w.After.Time) > clockTolerance {
			a.note(t, e, "clock", "its window begins at %s, but a checkpoint covers all changes until %s: was a clock set, or did the source stand still?",
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

// withoutTitle removes the part of an error that the report says anyway.
func withoutTitle(err error) string {
	return strings.TrimPrefix(err.Error(), "validate event: ")
}
