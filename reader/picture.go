package reader

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader/internal/directory"
)

// Picture is what is published of a tenant after a poll. It does not change.
type Picture struct {
	// Seq is the sequence of the checkpoint that closes the poll, Stored when the server stored it, and ID
	// its id.
	Seq    uint64
	Stored time.Time
	ID     event.ID
	// Checkpoint is its data; nil in the empty picture before the first one.
	Checkpoint *event.CheckpointData

	entries     map[string]map[string]*entry // by kind, and by key in the view
	directories map[string]*directory.List   // by kind
}

// entry is the last event about an entity.
type entry struct {
	event event.Event
	seq   uint64
}

// Stated says which event states an entity as it is.
type Stated struct {
	// EventID is the id of the event, Seq its sequence in the stream.
	EventID event.ID
	Seq     uint64
	// Revision is the number of the event among those about the entity.
	Revision uint64
	// Observed is the window of the change.
	Observed event.Window
	// AfterGap reports whether it is the net change over a gap.
	AfterGap bool
}

func (e *entry) stated() Stated {
	base := e.event.EntityBase()
	return Stated{e.event.ID, e.seq, base.Revision, base.Observed, base.AfterGap}
}

// Agent is an agent of a picture.
type Agent struct {
	Stated
	event.AgentRef
	// State is its state, zero where the subscription does not have it.
	State event.AgentState
	// Since is when the state began; zero where it is not known.
	Since time.Time
	// Stats are its statistics.
	Stats image.Image
}

// Service is a service (a queue) of a picture.
type Service struct {
	Stated
	Name  string
	Stats image.Image
}

// Totals are the totals of one app id.
type Totals struct {
	Stated
	App   string
	Stats image.Image
}

// Availability is whether an agent can take a call of a service.
type Availability struct {
	Stated
	Service string
	// Available is nil if it is unknown; Reason then says why, in one word.
	Available *bool
	Reason    string
}

// Threshold is a rule about an entity that was raised at least once.
type Threshold struct {
	Stated
	// Raised reports whether it is raised now.
	Raised bool
	// Data is the data of the event that raised or cleared it.
	Data *event.ThresholdData
}

// lookup returns the last event about an entity, nil if nothing is known of it.
func (p *Picture) lookup(kind string, ids ...string) *entry {
	key := kind
	for _, id := range ids {
		key += "." + event.Token(id)
	}
	return p.entries[kind][key]
}

// list makes a value of each entity of a kind, ordered by the ids of the entities.
func list[T any](p *Picture, kind string, value func(*entry) T, id func(T) string) []T {
	all := make([]T, 0, len(p.entries[kind]))
	for _, e := range p.entries[kind] {
		all = append(all, value(e))
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	return all
}

func get[T any](e *entry, value func(*entry) T) (v T, known bool) {
	if e == nil {
		return v, false
	}
	return value(e), true
}

// Agent returns an agent, and whether it is present.
func (p *Picture) Agent(id string) (Agent, bool) {
	return get(p.lookup(string(event.Agent), id), agentOf(event.NewAgentReader()))
}

// Agents returns all present agents, ordered by their ids.
func (p *Picture) Agents() []Agent {
	return list(p, string(event.Agent), agentOf(event.NewAgentReader()), func(a Agent) string { return a.ID })
}

func agentOf(reader *event.AgentReader) func(*entry) Agent {
	return func(e *entry) Agent {
		d := e.event.Data.(*event.AgentData)
		state, _, _ := reader.Read(d.Agent.ID, d.After)
		return Agent{e.stated(), d.Agent, state, d.Since, d.After}
	}
}

// Service returns a service, and whether it is present.
func (p *Picture) Service(name string) (Service, bool) {
	return get(p.lookup(string(event.Service), name), serviceOf)
}

// Services returns all present services, ordered by their names.
func (p *Picture) Services() []Service {
	return list(p, string(event.Service), serviceOf, func(s Service) string { return s.Name })
}

func serviceOf(e *entry) Service {
	d := e.event.Data.(*event.ServiceData)
	return Service{e.stated(), d.Service, d.After}
}

// Totals returns the totals of an app id, and whether they are known.
func (p *Picture) Totals(app string) (Totals, bool) {
	return get(p.lookup(string(event.Totals), app), totalsOf)
}

// AllTotals returns all totals, ordered by their app ids.
func (p *Picture) AllTotals() []Totals {
	return list(p, string(event.Totals), totalsOf, func(t Totals) string { return t.App })
}

func totalsOf(e *entry) Totals {
	d := e.event.Data.(*event.TotalsData)
	return Totals{e.stated(), d.App, d.After}
}

// Availability returns the availability of a service, and whether anything is published of it.
func (p *Picture) Availability(service string) (Availability, bool) {
	return get(p.lookup(kindAvailability, service), availabilityOf)
}

// Availabilities returns all availabilities, ordered by their services.
func (p *Picture) Availabilities() []Availability {
	return list(p, kindAvailability, availabilityOf, func(a Availability) string { return a.Service })
}

func availabilityOf(e *entry) Availability {
	d := e.event.Availability()
	return Availability{e.stated(), d.Service, d.Available, d.Reason}
}

// Threshold returns what a rule says about an entity, and whether it was ever raised.
func (p *Picture) Threshold(rule, entity string) (Threshold, bool) {
	return get(p.lookup(kindThreshold, rule, entity), thresholdOf)
}

// Thresholds returns all rules that were raised at least once, ordered by rule and entity, also those that
// are cleared.
func (p *Picture) Thresholds() []Threshold {
	return list(p, kindThreshold, thresholdOf, func(t Threshold) string { return t.Data.Rule + "\x00" + t.Data.Entity.ID })
}

func thresholdOf(e *entry) Threshold {
	return Threshold{e.stated(), e.event.Name == event.ThresholdRaised, e.event.Data.(*event.ThresholdData)}
}

// Kinds of entities that are not rows.
const (
	kindAvailability = "availability"
	kindThreshold    = "threshold"
)

// kinds are the kinds that a picture holds.
var kinds = [...]string{string(event.Agent), string(event.Service), kindAvailability, string(event.Totals), kindThreshold, kindDirectory}

// with returns the picture after a checkpoint: with these entries, nil for what is not known any more.
func (p *Picture) with(c *event.CheckpointData, id event.ID, seq uint64, stored time.Time, entries []keyed) *Picture {
	next := &Picture{Seq: seq, Stored: stored, ID: id, Checkpoint: c, entries: maps.Clone(p.entries), directories: p.directories}
	if next.entries == nil {
		next.entries = map[string]map[string]*entry{}
	}
	cloned := map[string]bool{}
	for _, k := range entries {
		kind := k.kind()
		if !cloned[kind] {
			cloned[kind] = true
			if next.entries[kind] = maps.Clone(p.entries[kind]); next.entries[kind] == nil {
				next.entries[kind] = map[string]*entry{}
			}
		}
		if k.entry == nil {
			delete(next.entries[kind], k.key)
		} else {
			next.entries[kind][k.key] = k.entry
		}
	}
	return next
}
