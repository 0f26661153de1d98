package engine

import (
	"time"

	"bpcc-nats/diff/image"
)

// Stats is the state of an engine for health and metrics.
type Stats struct {
	Epoch, Poll uint64
	// Status is the published status of the feed.
	Status string
	// Cause is that of the open interruption, "" if none is open.
	Cause string
	// ObservedUntil is until when all changes are in the stream; zero if there was no good poll.
	ObservedUntil time.Time
	// PictureAt is when the picture that the source shows was new: when its last response was
	// received, or the first one since which the clocks of agents stand still. It is zero before the
	// first snapshot.
	PictureAt time.Time
	// Entities counts the present entities by kind of the layout.
	Entities map[image.Kind]int
	// Firing counts the thresholds that are raised.
	Firing map[FiringRule]int
	// Unreadable counts, for every rule, the entities with a text that the rule cannot read.
	Unreadable map[string]int
}

// Feed is the published state of the feed.
type Feed struct {
	// Status and Poll are those of the last checkpoint, Epoch is the present term, Cause that of the open
	// interruption, "" if none is open.
	Status, Cause string
	Epoch, Poll   uint64
	// ObservedUntil and MissingSince are as in checkpoints. They count polls that had nothing to publish.
	ObservedUntil, MissingSince time.Time
}

// Feed returns the present state of the feed.
func (e *Engine) Feed() Feed {
	p, o := e.published, &e.observed
	return Feed{Status: p.status, Cause: p.cause, Epoch: e.epoch, Poll: p.poll, ObservedUntil: o.until, MissingSince: o.missingSince}
}

// FiringRule identifies the rule of a firing threshold.
type FiringRule struct{ Rule, Severity string }

// Stats returns the present state.
func (e *Engine) Stats() Stats {
	s := Stats{
		Epoch: e.epoch, Poll: e.observed.poll, Status: e.published.status, Cause: e.published.cause,
		ObservedUntil: e.observed.until, PictureAt: e.observed.pictureAt(), Entities: map[image.Kind]int{}, Firing: map[FiringRule]int{}, Unreadable: map[string]int{},
	}
	for _, kind := range e.options.Layout.Kinds() {
		s.Entities[kind] = e.published.state.Len(kind)
	}
	for _, d := range e.published.firing {
		s.Firing[FiringRule{d.Rule, d.Severity}]++
	}
	for i := range e.rules.all {
		s.Unreadable[e.rules.all[i].Name] = len(e.observed.unreadable[i].ids)
	}
	return s
}
