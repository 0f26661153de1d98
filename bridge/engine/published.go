package engine

import (
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
)

// published is the state of a tenant that the stream holds, folded event by event. apply alone
// writes to it, so a restart, which folds the stream again, gives the same state.
type published struct {
	epoch      uint64 // the largest of all events
	lastPoll   uint64 // the largest of all events, with or without a checkpoint
	poll       uint64 // of the last checkpoint
	status     string // of the last checkpoint
	checkpoint string // its id, "" if there is none
	cause      string // of the open feed.interrupted, "" if none is open
	watermarks        // of the last checkpoint
	observing  map[image.Kind]bool
	counted    map[image.Kind]int // entities by the last checkpoint

	state        diff.State        // the image and the revision of every present row
	revisions    map[string]uint64 // by view key, of entities that state does not hold
	agentStates  *event.AgentStates
	availability map[string]publishedAvailability
	directories  map[string]publishedDirectory
	erased       event.ID // of the last feed.erased; zero if there is none
	chat         publishedIDs
	firing       map[alertKey]*event.ThresholdData
}

// watermarks say up to when a checkpoint holds.
type watermarks struct {
	until             time.Time // all changes up to then are in the stream; zero = there was no good poll
	missingSince      time.Time // when the first of the missing rows, not yet published as disappeared, was last seen; zero = none
	availabilityUntil time.Time // all known availabilities are checked up to then; zero = none is known
}

// publishedAvailability is the last event about a service's availability.
type publishedAvailability struct {
	value *bool // nil = unknown
	// after is the lower bound of its window: the service was checked later, or last then if its
	// availability is unknown. It is zero if there is none.
	after time.Time
}

// publishedDirectory is a directory, folded from its events.
type publishedDirectory struct {
	names    map[string]string // by id
	baseline time.Time         // when it was last published in full
	time     time.Time         // of the last event
}

func newPublished() *published {
	return &published{
		observing: map[image.Kind]bool{}, counted: map[image.Kind]int{}, revisions: map[string]uint64{}, agentStates: event.NewAgentStates(), availability: map[string]publishedAvailability{},
		directories: map[string]publishedDirectory{}, firing: map[alertKey]*event.ThresholdData{},
	}
}

// apply applies an event that the stream holds. Events of one entity must come in the order of the
// stream. Events that a later one replaces may be missing.
func (p *published) apply(e *event.Event) {
	p.epoch, p.lastPoll = max(p.epoch, e.ID.Epoch), max(p.lastPoll, e.ID.Poll)
	p.agentStates.Apply(e)
	switch d := e.Data.(type) {
	case *event.AgentData:
		p.applyImage(e, event.Agent, d.Agent.ID, d.After, d.Revision)
	case *event.ServiceData:
		p.applyImage(e, event.Service, d.Service, d.After, d.Revision)
	case *event.TotalsData:
		p.applyImage(e, event.Totals, d.App, d.After, d.Revision)
	case *event.AvailabilityObservedData, *event.AvailabilityChangedData:
		p.applyAvailability(e, e.Availability())
	case *event.ThresholdData:
		p.revisions[e.ViewKey()] = d.Revision
		key := alertKey{d.Rule, d.Entity}
		if delete(p.firing, key); e.Name == event.ThresholdRaised {
			p.firing[key] = d
		}
	case *event.DirectoryData:
		if e.ID.Compare(p.erased) > 0 {
			p.applyDirectory(e, d)
		}
	case *event.ErasedData:
		// Events of a directory may be among the erased, and the rest does not give it: it is listed
		// anew.
		p.erased, p.directories = e.ID, map[string]publishedDirectory{}
	case *event.ChatData:
		p.chat.add(chatID(d.App, d.Message.ID))
	case *event.FeedData:
		if e.Name == event.Interrupted {
			p.cause = d.Cause
		}
	case *event.ResumedData:
		p.cause = ""
	case *event.CheckpointData:
		p.poll, p.status, p.checkpoint = d.Poll, d.Status, e.MsgID()
		p.watermarks = watermarks{d.ObservedUntil.Time, d.MissingSince.Time, d.AvailabilityUntil.Time}
		p.counted[event.Agent], p.counted[event.Service] = d.Agents, d.Services
		for _, kind := range d.Observing {
			p.observing[image.Kind(kind)] = true
		}
	}
}

func (p *published) applyImage(e *event.Event, kind image.Kind, id string, after image.Image, revision uint64) {
	if after.IsZero() { // the row may come back
		p.state.Set(kind, id, after, 0)
		p.revisions[e.ViewKey()] = revision
		return
	}
	p.state.Set(kind, id, after, revision)
	if e.Arrives() {
		delete(p.revisions, e.ViewKey())
	}
}

func (p *published) applyAvailability(e *event.Event, d *event.AvailabilityObservedData) {
	p.revisions[e.ViewKey()] = d.Revision
	p.availability[d.Service] = publishedAvailability{d.Available, d.Observed.After.Time}
}

// checkedUntil returns a time that is no later than the last good check of a service; zero if none
// is known.
func (p *published) checkedUntil(a publishedAvailability) time.Time {
	if a.value != nil && p.availabilityUntil.After(a.after) {
		return p.availabilityUntil
	}
	return a.after
}

// applyDirectory applies an event to its directory, as any consumer would. The events before the
// oldest baseline have left the stream, and what remains of them is of no use.
func (p *published) applyDirectory(e *event.Event, d *event.DirectoryData) {
	known := p.directories[d.Kind]
	if !d.Baseline && known.names == nil {
		return
	}
	if d.Baseline && d.Part <= 1 || known.names == nil {
		known.names = map[string]string{}
	}
	known.time = e.Time
	if d.Baseline {
		known.baseline = e.Time
	}
	for _, entry := range d.Removed {
		delete(known.names, entry.ID)
	}
	for _, entry := range d.Added {
		known.names[entry.ID] = entry.Name
	}
	for _, entry := range d.Renamed {
		known.names[entry.ID] = entry.To
	}
	p.directories[d.Kind] = known
}

// Published is a copy of the published state of a tenant, for comparison.
type Published struct {
	Epoch, Poll               uint64
	Status, Checkpoint, Cause string
	ObservedUntil             time.Time
	MissingSince              time.Time
	AvailabilityUntil         time.Time
	Observing                 map[image.Kind]bool
	Images                    map[string]image.Image  // by kind/id
	ImageRevisions            map[string]uint64       // by kind/id
	Revisions                 map[string]uint64       // by view key, of all other entities
	StateRevisions            map[string]uint64       // by agent
	StateBeginnings           map[string]event.Window // by agent, where it is known
	Availability              map[string]*bool        // by service
	Directories               map[string]map[string]string
	Chat                      []string
	Firing                    map[string]event.ThresholdData // by rule/kind/id
}

// Published copies the published state.
func (e *Engine) Published() Published {
	p := e.published
	out := Published{
		Epoch: p.epoch, Poll: p.poll, Status: p.status, Checkpoint: p.checkpoint, Cause: p.cause,
		ObservedUntil: p.until, MissingSince: p.missingSince, AvailabilityUntil: p.availabilityUntil, Observing: maps.Clone(p.observing),
		Images: map[string]image.Image{}, ImageRevisions: map[string]uint64{}, Revisions: maps.Clone(p.revisions),
		Availability: map[string]*bool{}, Directories: map[string]map[string]string{},
		Chat: slices.Clone(p.chat.order), Firing: map[string]event.ThresholdData{},
	}
	for _, kind := range []image.Kind{event.Agent, event.Service, event.Totals} {
		for _, id := range p.state.IDs(kind) {
			key := string(kind) + "/" + id
			out.Images[key], out.ImageRevisions[key] = p.state.Published(kind, id)
		}
	}
	out.StateRevisions, out.StateBeginnings = p.agentStates.Known()
	for service, a := range p.availability {
		out.Availability[service] = a.value
	}
	for kind, d := range p.directories {
		out.Directories[kind] = maps.Clone(d.names)
	}
	for key, d := range p.firing {
		out.Firing[key.rule+"/"+key.entity.Kind+"/"+key.entity.ID] = *d
	}
	return out
}
