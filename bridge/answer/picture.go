package answer

import (
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// Picture is a copy of what is published of a tenant at one moment, for who reads all of it.
type Picture struct {
	// Agents, Services and Totals are the present entities, in no order. They are empty unless the feed is
	// live and not older than a healthy one.
	Agents, Services, Totals []Entity
	// Available holds the services whose last good check is fresh, by name.
	Available map[string]bool
}

// Entity is one present entity.
type Entity struct {
	ID    string
	Image image.Image
}

// Picture returns what is published at a time. It keeps the bridge from its next poll for no longer than copying
// takes.
func (s *State) Picture(now time.Time) Picture {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := Picture{Available: map[string]bool{}}
	if s.feedFreshness(now).Fresh {
		p.Agents, p.Services, p.Totals = s.copyOf(event.Agent), s.copyOf(event.Service), s.copyOf(event.Totals)
	}
	for service, a := range s.availability {
		if s.serviceAvailability(service, a, now).Fresh {
			p.Available[service] = *a.value
		}
	}
	return p
}

// copyOf returns the present entities of a kind. Needs mu.
func (s *State) copyOf(kind image.Kind) []Entity {
	all := make([]Entity, 0, len(s.rows[kind]))
	for id, r := range s.rows[kind] {
		all = append(all, Entity{id, r.image})
	}
	return all
}
