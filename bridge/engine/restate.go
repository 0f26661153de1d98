package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// Reserve makes the epoch of the next term larger than one that was given before, by whatever shows it.
// It must be called before [Engine.Start].
func (e *Engine) Reserve(epoch uint64) { e.published.epoch = max(e.published.epoch, epoch) }

// ViewKeys lists the keys, below the tenant, that the view has when it holds all that is published of
// present entities: rows, availabilities, raised thresholds and directories.
func (e *Engine) ViewKeys() []string {
	p := e.published
	var keys []string
	for _, kind := range []image.Kind{event.Agent, event.Service, event.Totals} {
		for _, id := range p.state.IDs(kind) {
			keys = append(keys, event.RowKey(kind, id))
		}
	}
	for service := range p.availability {
		keys = append(keys, event.RowKey("availability", service))
	}
	for _, d := range p.firing {
		raised := event.Event{Name: event.ThresholdRaised, Data: d}
		keys = append(keys, raised.ViewKey())
	}
	for kind := range p.directories {
		keys = append(keys, event.RowKey("directory", kind))
	}
	slices.Sort(keys)
	return keys
}

// Restate returns a batch that publishes again, as observed, what is published of the entities with
// these view keys; nil if there is nothing to publish. Only what a good poll of this term confirms is
// published, and no thresholds: a second alarm would be one too many. A directory is published with its
// next listing.
func (e *Engine) Restate(keys []string, now time.Time) *Batch {
	if !e.observed.polledOnce {
		return nil
	}
	wanted := make(map[string]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	p := e.published
	for kind := range p.directories {
		if poll := e.observed.directories[kind]; wanted[event.RowKey("directory", kind)] {
			poll.restate = true
			e.observed.directories[kind] = poll
		}
	}
	e.observed.poll++
	b := e.batch(now)
	for _, kind := range []image.Kind{event.Agent, event.Service, event.Totals} {
		for _, id := range p.state.IDs(kind) {
			if wanted[event.RowKey(kind, id)] {
				b.add(e.restatedRow(kind, id))
			}
		}
	}
	for _, service := range slices.Sorted(maps.Keys(p.availability)) {
		if wanted[event.RowKey("availability", service)] {
			b.add(e.restatedAvailability(service))
		}
	}
	if b.Len() == 0 {
		e.observed.poll--
		return nil
	}
	return b
}

// restatedRow returns the event that states the published image of a present row.
func (e *Engine) restatedRow(kind image.Kind, id string) event.Event {
	image, revision := e.published.state.Published(kind, id)
	base := e.restatedBase(revision)
	ev := event.Event{Name: eventName(kind, "observed"), Time: e.observed.lastGoodPoll}
	row := event.RowData{After: image}
	switch kind {
	case event.Agent:
		d := &event.AgentData{EntityBase: base, RowData: row}
		state, ref, _ := e.reader.Read(id, image)
		d.To, d.Agent, d.StateRevision = &state, ref, max(e.published.agentStates.Revision(id), 1)
		ev.Data = d
	case event.Service:
		ev.Data = &event.ServiceData{EntityBase: base, Service: id, RowData: row}
	default:
		ev.Data = &event.TotalsData{EntityBase: base, App: id, RowData: row}
	}
	return ev
}

// restatedAvailability returns the event that states the published availability of a service.
func (e *Engine) restatedAvailability(service string) event.Event {
	d := &event.AvailabilityObservedData{Service: service, Available: e.published.availability[service].value}
	if d.Available == nil {
		d.Reason = cmp.Or(e.observed.availability[service].reason, reasonNotChecked)
	}
	ev := event.Event{Name: "availability.observed", Time: e.observed.lastGoodPoll, Data: d}
	d.EntityBase = e.restatedBase(e.published.revisions[ev.ViewKey()])
	return ev
}

// restatedBase returns the beginning of the data of an event that follows a revision. The last good poll
// confirmed what it states.
func (e *Engine) restatedBase(revision uint64) event.EntityBase {
	return event.EntityBase{Base: e.base(), Revision: revision + 1, Observed: event.Window{By: event.Ceil(e.observed.lastGoodPoll)}}
}
