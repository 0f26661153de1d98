package bridge

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/diff"
	"bpcc-nats/schemas"
)

// AuditOptions say what an [Auditor] may take for granted.
type AuditOptions struct {
	// Tenant is the only one whose events are judged; "" is all of them.
	Tenant string
	// Whole tells that every message of the stream is added, so that a hole in
	// the sequence is a fault.
	Whole bool
	// CheckpointInterval is the longest silence of a healthy feed; longer ones
	// are listed as gaps. 0 is 30 s.
	CheckpointInterval time.Duration
	// Retention is how long the stream keeps events: the revisions of an entity
	// that was gone for longer may begin anew. 0 is 720 h.
	Retention time.Duration
}

// Auditor judges a stream as its reader, event by event and from nothing but
// what was published: it shares no state with the bridge that wrote it. It
// holds one picture per entity and no event, so that any length will do. It is
// for one goroutine.
type Auditor struct {
	options   AuditOptions
	validator *schemas.Validator
	tenants   map[string]*tenantAudit
	current   *tenantAudit // of the event before; takes what cannot be read
	audit     Audit
	sequence  uint64 // of the event before
}

// NewAuditor makes an auditor that has seen nothing. It fails only if a
// published schema is broken.
func NewAuditor(o AuditOptions) (*Auditor, error) {
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
	a := &Auditor{options: o, validator: v, tenants: map[string]*tenantAudit{}}
	a.audit.ByCode = map[string]int{}
	return a, nil
}

// audited is an event as an auditor reads it.
type audited struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data struct {
		Tenant   string `json:"tenant"`
		Poll     uint64 `json:"poll"`
		Epoch    uint64 `json:"epoch"`
		Revision uint64 `json:"revision"`
		Observed *struct {
			After *time.Time `json:"after"`
			By    time.Time  `json:"by"`
		} `json:"observed"`
		AfterGap bool            `json:"after_gap"`
		Agent    agentRef        `json:"agent"`
		From     *agentState     `json:"from"`
		To       *agentState     `json:"to"`
		Service  string          `json:"service"`
		App      string          `json:"app"`
		Changed  []string        `json:"changed"`
		Before   json.RawMessage `json:"before"`
		After    json.RawMessage `json:"after"`

		Available *bool     `json:"available"`
		Previous  *bool     `json:"previous"`
		Rule      string    `json:"rule"`
		Entity    entityRef `json:"entity"`
		Kind      string    `json:"kind"`

		Status        string     `json:"status"`
		Part          int        `json:"part"`
		Parts         int        `json:"parts"`
		Events        int        `json:"events"`
		Agents        int        `json:"agents"`
		Services      int        `json:"services"`
		Cause         string     `json:"cause"`
		ObservedUntil *time.Time `json:"observed_until"`
		MissingSince  time.Time  `json:"missing_since"`
		Follows       string     `json:"follows"`
	} `json:"data"`

	seq     uint64
	name    string // of the schema, such as "agent.state_changed"
	kind    string // "agent"
	verb    string // "state_changed"
	subject string // below the tenant
	entity  string // key in the view, "" for events that have none
	place   place
}

// place is where an event stands among all of its tenant; it is in its id.
type place struct{ epoch, poll, index uint64 }

func (p place) before(q place) bool {
	if p.epoch != q.epoch {
		return p.epoch < q.epoch
	}
	if p.poll != q.poll {
		return p.poll < q.poll
	}
	return p.index < q.index
}

// Add judges the next event. Of what is not known, seq is 0 (an export without
// sequences), subject is "" (it is made from the event) and header is nil; a
// header that is known to be empty is not.
func (a *Auditor) Add(seq uint64, subject string, header nats.Header, body []byte) {
	owner, owned := ownerOf(subject)
	if owned && a.foreign(owner) {
		return
	}
	e := audited{seq: seq}
	invalid := a.validator.Event(body)
	err := json.Unmarshal(body, &e)
	if !owned && a.foreign(e.Data.Tenant) && e.Data.Tenant != "" {
		return
	}
	if !owned {
		owner = e.Data.Tenant
	}
	t := a.tenantFor(owner)
	a.current = t
	a.audit.count(seq, e.Time)
	a.checkSequence(t, &e)
	if err == nil {
		err = e.derive()
	}
	if err == nil && e.Data.Tenant != t.name {
		err = fmt.Errorf("%w: its tenant is %q", errNotOurs, e.Data.Tenant)
	}
	id := header.Get(nats.MsgIdHdr)
	if header != nil && (id == "" || err != nil && !strings.HasPrefix(id, t.name+"-")) {
		a.stray(t, &e, subject, cmp.Or(err, invalid))
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
	t.types[e.Type]++
	a.checkSubject(t, &e, subject)
	a.checkHeader(t, &e, header)
	if repeated := a.checkPlace(t, &e); repeated {
		return // named once; counting it again would blame its batch and its entity
	}
	a.checkWindow(t, &e)
	if e.name == "feed.checkpoint" {
		a.checkpoint(t, &e, header)
		return
	}
	t.batch.add(&e)
	a.checkFeed(t, &e)
	a.checkEntity(t, &e)
	a.checkGap(t, &e)
}

func (a *Auditor) foreign(tenant string) bool {
	return a.options.Tenant != "" && tenant != a.options.Tenant
}

// ownerOf reads the tenant from a subject.
func ownerOf(subject string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, SubjectPrefix+".")
	if !ok {
		return "", false
	}
	token, _, _ := strings.Cut(rest, ".")
	tenant, err := ParseToken(token)
	return tenant, err == nil
}

// stray names a message that no bridge has stored: its own all carry their ids. It
// is no part of any batch, and of no entity's story.
func (a *Auditor) stray(t *tenantAudit, e *audited, subject string, why error) {
	if why == nil {
		why = errors.New("it has no Nats-Msg-Id")
	}
	where := cmp.Or(subject, "its subject")
	a.fault(t, &audited{seq: e.seq}, "stray", "somebody else has published on %s: %s", where, clipText(withoutTitle(why), 200))
	if strings.HasSuffix(subject, "."+checkpointSubject) {
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

var errNotOurs = errors.New("not an event of the bridge")

// derive works out what an event is about, as its writer must have.
func (e *audited) derive() error {
	e.name = strings.TrimSuffix(strings.TrimPrefix(e.Type, "bpcc."), ".v1")
	kind, verb, ok := strings.Cut(e.name, ".")
	if !ok || schemas.Type(e.name) != e.Type {
		return fmt.Errorf("%w: type %q", errNotOurs, e.Type)
	}
	e.kind, e.verb = kind, verb
	d := &e.Data
	ids := map[string][]string{
		"agent": {d.Agent.ID}, "service": {d.Service}, "totals": {d.App}, "directory": {d.Kind},
		"threshold": {d.Rule, d.Entity.ID}, "feed": {}, "chat": {},
	}[kind]
	if ids == nil {
		return fmt.Errorf("%w: type %q", errNotOurs, e.Type)
	}
	e.subject = kind
	for _, id := range ids {
		e.subject += "." + Token(id)
	}
	e.subject += "." + verb
	if e.entity = viewKey(e.subject); e.entity == "feed" {
		e.entity = ""
	}
	var err error
	e.place, err = readPlace(e.Data.Tenant, e.ID)
	return err
}

// readPlace reads epoch, poll and index from the id of a tenant's event.
func readPlace(tenant, id string) (place, error) {
	rest, ok := strings.CutPrefix(id, tenant+"-")
	if !ok {
		return place{}, fmt.Errorf("%w: id %q does not begin with the tenant %q", errNotOurs, id, tenant)
	}
	var n [3]uint64
	parts := strings.Split(rest, "-")
	for i := range n {
		var err error
		if len(parts) == len(n) {
			n[i], err = strconv.ParseUint(parts[i], 10, 64)
		}
		if err != nil || len(parts) != len(n) {
			return place{}, fmt.Errorf("%w: id %q is not tenant, epoch, poll and index", errNotOurs, id)
		}
	}
	return place{n[0], n[1], n[2]}, nil
}

// checkSequence holds the stream's own count against what is added.
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
	want := subjectRoot(t.name) + e.subject
	if subject != "" && subject != want {
		a.fault(t, e, "subject", "it lies on %s, its content belongs on %s", subject, want)
	}
}

func (a *Auditor) checkHeader(t *tenantAudit, e *audited, h nats.Header) {
	if h == nil {
		return
	}
	if got := h.Get(nats.MsgIdHdr); got != e.ID {
		a.fault(t, e, "header", "Nats-Msg-Id is %q, the id %q", got, e.ID)
	}
	if got := h.Get("Content-Type"); got != contentType {
		a.fault(t, e, "header", "Content-Type is %q, not %s", got, contentType)
	}
	removes := h.Get("KV-Operation") != ""
	if gone := e.verb == "disappeared"; removes != gone {
		a.fault(t, e, "tombstone", "KV-Operation is %q: an event removes its key from the view if, and only if, it tells a departure",
			h.Get("KV-Operation"))
	}
}

// clockSlack is how far two instants may disagree that were read from clocks
// which time servers adjust.
const clockSlack = time.Second

// checkWindow looks at what an event says of when it happened.
func (a *Auditor) checkWindow(t *tenantAudit, e *audited) {
	w := e.Data.Observed
	if w == nil {
		return
	}
	if w.After != nil && w.After.After(w.By) {
		a.fault(t, e, "window", "observed.after %s is later than observed.by %s", stampAfter(*w.After), stampAfter(w.By))
	}
	// What one poll shows has one window. First pictures have no beginning, and
	// a row that was missing for a while, come back or gone, has an earlier one;
	// availability and directories have their own.
	if e.entity == "" || strings.HasPrefix(e.entity, "availability.") {
		return
	}
	b := &t.window
	if b.poll != e.Data.Poll {
		*b = pollWindow{poll: e.Data.Poll, by: w.By}
	}
	if !w.By.Equal(b.by) {
		a.fault(t, e, "window", "observed.by %s differs from %s of the same poll", stampAfter(w.By), stampAfter(b.by))
	}
	if w.After == nil || e.verb == "disappeared" {
		return
	}
	if e.verb == "state_changed" || e.verb == "stats_changed" {
		if from := t.vouched(); from.Sub(*w.After) > clockSlack {
			a.note(t, e, "clock", "its window begins at %s, though a checkpoint vouches for all until %s: was a clock set?",
				stampAfter(*w.After), stampAfter(from))
		}
		return
	}
	if b.after.IsZero() {
		b.after = *w.After
	}
	if !w.After.Equal(b.after) {
		a.fault(t, e, "window", "observed.after %s differs from %s of the same poll", stampAfter(*w.After), stampAfter(b.after))
	}
}

// withoutTitle leaves out of an error what the auditor's report says anyway.
func withoutTitle(err error) string {
	return strings.TrimPrefix(err.Error(), "validate event: ")
}

// imageOf reads an image; the zero Image if there is none or it is none.
func imageOf(raw json.RawMessage) diff.Image {
	var m diff.Image
	if len(raw) == 0 || json.Unmarshal(raw, &m) != nil {
		return diff.Image{}
	}
	return m
}
