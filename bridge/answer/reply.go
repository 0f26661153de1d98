package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/diff/image"
	"bpcc-nats/schemas"
)

// maxRequest is the maximum size of a request in bytes. The longest names are far shorter.
const maxRequest = 16 << 10

// Availability replies to a request on the endpoint [svc.Availability] at a time. An error is an
// [svc.Error].
func (s *State) Availability(request []byte, now time.Time) ([]byte, error) {
	var r svc.AvailabilityRequest
	if len(bytes.TrimSpace(request)) > 0 {
		if err := decode(request, &r); err != nil {
			return nil, err
		}
	}
	if r.Service == nil {
		return json.Marshal(s.allServices(now))
	}
	if *r.Service == "" {
		return nil, svc.Errorf(svc.BadRequest, "service is empty; leave it out to ask for all services")
	}
	s.mu.RLock()
	a, known := s.availability[*r.Service]
	if !known {
		s.mu.RUnlock()
		return nil, svc.Errorf(svc.NotFound, "no availability of this service is published")
	}
	reply := svc.AvailabilityReply{Tenant: s.tenant, ServiceAvailability: s.serviceAvailability(*r.Service, a, now), Feed: s.feedAt(now)}
	s.mu.RUnlock()
	return json.Marshal(&reply)
}

// allServices returns the availability of every service.
func (s *State) allServices(now time.Time) *svc.AvailabilitiesReply {
	s.mu.RLock()
	defer s.mu.RUnlock()
	reply := &svc.AvailabilitiesReply{Tenant: s.tenant, Services: make([]svc.ServiceAvailability, 0, len(s.availability)), Feed: s.feedAt(now)}
	for _, service := range slices.Sorted(maps.Keys(s.availability)) {
		reply.Services = append(reply.Services, s.serviceAvailability(service, s.availability[service], now))
	}
	return reply
}

// State replies to a request on the endpoint [svc.State] at a time. An error is an [svc.Error].
func (s *State) State(request []byte, now time.Time) ([]byte, error) {
	var r svc.StateRequest
	if err := decode(request, &r); err != nil {
		return nil, err
	}
	if err := check(r); err != nil {
		return nil, err
	}
	reply := svc.StateReply{Tenant: s.tenant, StateRequest: r}
	known := false
	s.mu.RLock()
	switch r.Kind {
	case availabilityKind:
		known = s.addAvailability(&reply, now)
	case thresholdKind:
		known = s.addThreshold(&reply, now)
	default:
		known = s.addRow(&reply, now)
	}
	reply.Feed = s.feedAt(now)
	s.mu.RUnlock()
	if !known {
		return nil, svc.Errorf(svc.NotFound, "no such %s is published, or it is gone", r.Kind)
	}
	return json.Marshal(&reply)
}

// check returns what is wrong with a request.
func check(r svc.StateRequest) error {
	kinds := []string{string(event.Agent), string(event.Service), string(event.Totals), availabilityKind, thresholdKind}
	switch {
	case !slices.Contains(kinds, r.Kind):
		return svc.Errorf(svc.BadRequest, "kind is none of %s", strings.Join(kinds, ", "))
	case r.ID == "":
		return svc.Errorf(svc.BadRequest, "id is missing or empty")
	case r.Kind == thresholdKind && r.Rule == "":
		return svc.Errorf(svc.BadRequest, "rule is missing or empty")
	case r.Kind != thresholdKind && r.Rule != "":
		return svc.Errorf(svc.BadRequest, "rule is for the kind threshold alone")
	}
	return nil
}

// addRow adds an agent, a service or totals to a reply. It reports whether they are published. Needs mu.
func (s *State) addRow(reply *svc.StateReply, now time.Time) bool {
	r, known := s.rows[image.Kind(reply.Kind)][reply.ID]
	if !known {
		return false
	}
	reply.Event, reply.Freshness, reply.Image = s.event(r.lastEvent), s.feedFreshness(now), r.image
	if image.Kind(reply.Kind) == event.Agent {
		state, ref, _ := event.NewAgentReader().Read(reply.ID, r.image)
		reply.Agent, reply.State = &ref, &state
	}
	return true
}

// addThreshold adds a threshold to a reply. It reports whether it is published. Needs mu.
func (s *State) addThreshold(reply *svc.StateReply, now time.Time) bool {
	t, known := s.thresholds[thresholdKey{reply.Rule, reply.ID}]
	if !known {
		return false
	}
	reply.Event, reply.Freshness = s.event(t.lastEvent), s.feedFreshness(now)
	d := &t.data
	reply.Threshold = &svc.Threshold{
		Raised: t.name == event.ThresholdRaised, Severity: d.Severity, Entity: d.Entity, Stat: d.Stat, Value: d.Value,
		Limit: d.Limit, Op: d.Op, For: d.For, PendingSince: d.PendingSince, ClearedBy: d.ClearedBy,
	}
	return true
}

// addAvailability adds the availability of a service to a reply. It reports whether it is published.
// Needs mu.
func (s *State) addAvailability(reply *svc.StateReply, now time.Time) bool {
	a, known := s.availability[reply.ID]
	if !known {
		return false
	}
	r := s.serviceAvailability(reply.ID, a, now)
	reply.Event, reply.Freshness = r.Event, r.Freshness
	reply.Availability = &svc.CheckedAvailability{Available: r.Available, Reason: r.Reason, CheckedAt: r.CheckedAt}
	return true
}

// serviceAvailability returns the availability of a service. Needs mu.
func (s *State) serviceAvailability(service string, a *availability, now time.Time) svc.ServiceAvailability {
	return svc.ServiceAvailability{
		Service: service, Available: a.value, Reason: a.reason, CheckedAt: event.Floor(a.checkedAt), Event: s.event(a.lastEvent),
		Freshness: freshness(age(now, a.checkedAt), s.feed.MaxCheckAge, a.value != nil && a.own),
	}
}

// event describes the last event about an entity.
func (s *State) event(e lastEvent) svc.LastEvent {
	return svc.LastEvent{
		ID: string(e.id.Append(nil, s.tenant)), Type: schemas.Type(e.name), Time: e.time.time(),
		Revision: e.revision, StateRevision: e.stateRevision, Observed: event.Window{After: e.observedAfter.time(), By: e.observedBy.time()}, AfterGap: e.afterGap,
	}
}

// feedAt returns the feed as it is at a time. Needs mu.
func (s *State) feedAt(now time.Time) svc.Feed {
	f := &s.feed
	return svc.Feed{
		Status: f.Status, Cause: f.Cause, ObservedUntil: event.Floor(f.ObservedUntil), Age: age(now, f.ObservedUntil),
		MissingSince: event.Floor(f.MissingSince), Epoch: f.Epoch, Instance: f.Instance, Poll: f.Poll,
	}
}

// feedFreshness returns the freshness of what polls show. Needs mu.
func (s *State) feedFreshness(now time.Time) svc.Freshness {
	return freshness(age(now, s.feed.ObservedUntil), s.feed.MaxAge, s.feed.Status == event.StatusLive)
}

// freshness returns the freshness of something of that age, if it can be relied upon at all.
func freshness(a svc.Age, limit time.Duration, reliable bool) svc.Freshness {
	return svc.Freshness{Fresh: reliable && a.Within(svc.Age(limit)), Age: a, MaxAge: svc.Age(limit)}
}

// decode decodes the one JSON object of a request. An unknown field is more likely misspelled than meant
// to be ignored.
func decode(request []byte, into any) error {
	if len(request) > maxRequest {
		return svc.Errorf(svc.BadRequest, "request is larger than %d bytes", maxRequest)
	}
	dec := json.NewDecoder(bytes.NewReader(request))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		switch _, err = dec.Token(); err {
		case io.EOF:
			return nil
		case nil:
			err = errors.New("more than one JSON value")
		}
	}
	return svc.Errorf(svc.BadRequest, "%s", describe(err))
}

// describe returns what is wrong with a request. The text goes into a header, so it is one line.
func describe(err error) string {
	text := fmt.Sprintf("request is not the JSON object expected: %v", err)
	return event.Truncate(strings.Join(strings.Fields(text), " "), 200)
}
