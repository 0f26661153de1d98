package report

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// cell names a state of which the time is summed up.
type cell struct{ team, state, reason string }

// stage is what an entity is for a time.
type stage struct {
	sight sight
	cell  cell
}

// sight is what is known of an entity.
type sight int

const (
	unknown sight = iota
	absent        // present, it has no state that is summed up; or it is not there
	present
)

// notReady is the state whose reason counts as a part of it.
const notReady = "not_ready"

// States of services.
const (
	stateRow         = "row"
	stateUnavailable = "unavailable"
	stateRaised      = "raised"
)

// stageAfter is what an entity is after an event.
func (f *Fold) stageAfter(e *event.Event) stage {
	switch d := e.Data.(type) {
	case *event.AgentData:
		return f.agentStage(d.After)
	case *event.ServiceData:
		return rowStage(d.After)
	case *event.ThresholdData:
		return stageIf(e.Name == event.ThresholdRaised, stateRaised)
	}
	if a := e.Availability(); a != nil && a.Available != nil {
		return stageIf(!*a.Available, stateUnavailable)
	}
	return stage{}
}

// stageBefore is what an entity was before an event; unknown where the event does not say that.
func (f *Fold) stageBefore(e *event.Event) stage {
	if e.Verb() == "observed" {
		return stage{}
	}
	switch d := e.Data.(type) {
	case *event.AgentData:
		return f.agentStage(d.Before)
	case *event.ServiceData:
		return rowStage(d.Before)
	case *event.ThresholdData:
		return stageIf(e.Name != event.ThresholdRaised, stateRaised)
	case *event.AvailabilityChangedData:
		if d.Previous != nil {
			return stageIf(!*d.Previous, stateUnavailable)
		}
	}
	return stage{}
}

// agentStage is what an agent with an image is; the zero image is that of an agent who is not there.
func (f *Fold) agentStage(m image.Image) stage {
	if m.IsZero() {
		return stage{sight: absent}
	}
	state, ref, _ := f.agents.Read("", m)
	if state.State == event.LoggedOut || state.State == "" {
		return stage{sight: absent}
	}
	c := cell{team: ref.Team, state: state.State}
	if c.state == notReady {
		c.reason = state.Reason
	}
	return stage{present, c}
}

func rowStage(m image.Image) stage { return stageIf(!m.IsZero(), stateRow) }

// stageIf is a state if it holds.
func stageIf(holds bool, state string) stage {
	if !holds {
		return stage{sight: absent}
	}
	return stage{present, cell{state: state}}
}

// wait is what the last event about a service says of those who wait.
type wait struct {
	known  bool // in_max_wait_time is known
	idle   bool // nobody waits
	least  time.Duration
	after  int64 // the sample is of this instant or a later one
	source int64 // and by this one
}

// Statistics of a service.
const (
	waitStat    = "in_max_wait_time"
	waitingStat = "in_calls_waiting"
)

// newWait reads an image.
func newWait(m image.Image, after, by int64) wait {
	w := wait{after: after, source: by}
	text, known := m.Get(waitStat)
	if w.known = known; text != "" {
		w.least, w.known = event.Seconds(text)
	}
	if text, known := m.Get(waitingStat); known && w.least == 0 {
		n, err := strconv.ParseFloat(cmp.Or(text, "0"), 64)
		w.idle = err == nil && n == 0
	}
	return w
}

// id is that of the entity of an event, and the rule for a threshold.
func id(e *event.Event) (entity, rule string) {
	switch d := e.Data.(type) {
	case *event.AgentData:
		return d.Agent.ID, ""
	case *event.ServiceData:
		return d.Service, ""
	case *event.ThresholdData:
		return d.Entity.ID, d.Rule
	}
	if a := e.Availability(); a != nil {
		return a.Service, ""
	}
	return "", ""
}

// counts reports whether the entity of an event has figures in a report.
func counts(e *event.Event) bool {
	if d, ok := e.Data.(*event.ThresholdData); ok {
		return d.Entity.Kind == string(event.Service)
	}
	return e.EntityBase() != nil && slices.Contains([]string{"agent", "service", "availability"}, e.Kind())
}
