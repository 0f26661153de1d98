package event

import "time"

// AgentStates is the number of each agent's state and when it began, folded from events. The result is the
// same for all events of the stream and for the last one of each subject: the last change of state, the
// last arrival and the last departure of an agent are among these. If one of them cannot be read, the
// numbers show it.
type AgentStates struct {
	states map[string]agentStateOf // by agent, of departed agents too
	gap    Gap
}

// agentStateOf is the state of one agent. There are many of them, so it has no pointers.
type agentStateOf struct {
	revision uint64 // its number, 0 if it is not known
	// after and by are the window in which it began, in Unix milliseconds, and poll is that of the event
	// that shows it. All are 0 if it is not known when it began.
	after, by int64
	poll      uint64
}

// Gap is a gap that a feed.resumed states: the poll that ended it, and when.
type Gap struct {
	poll uint64
	by   Time
}

// sinceTolerance is by how much an agent's state may have begun before or after Since: the tolerance for
// the whole seconds of state_duration, and for the unknown time of the sample.
const sinceTolerance = 2 * time.Second

// NewAgentStates returns those of a stream without events.
func NewAgentStates() *AgentStates { return &AgentStates{states: map[string]agentStateOf{}} }

// Apply applies an event. Those of one agent must come in the order of the stream.
func (s *AgentStates) Apply(e *Event) {
	switch d := e.Data.(type) {
	case *AgentData:
		s.apply(e, d)
	case *ResumedData:
		s.gap = Gap{d.Poll, d.Observed.By}
	}
}

func (s *AgentStates) apply(e *Event, d *AgentData) {
	before := s.states[d.Agent.ID]
	after := before
	after.revision = e.StateRevisionAfter(before.revision)
	switch {
	case e.Name == StateChanged:
		after.begin(d.Observed, d.Poll)
	case e.Arrives():
		after.begin(sinceWindow(d), d.Poll)
	case e.Removes(), after.revision != before.revision:
		after.begin(Window{}, 0)
	}
	switch after {
	case before:
	case agentStateOf{}:
		delete(s.states, d.Agent.ID)
	default:
		s.states[d.Agent.ID] = after
	}
}

// begin sets when the state began.
func (a *agentStateOf) begin(w Window, poll uint64) {
	a.after, a.by, a.poll = 0, 0, 0
	if !w.After.IsZero() {
		a.after, a.by, a.poll = w.After.UnixMilli(), w.By.UnixMilli(), poll
	}
}

// sinceWindow returns the window in which the state began that an arrival shows: by its clock, and before
// it was seen. A next state and a reason may have come later than the clock began. The window is zero if
// the clock does not tell.
func sinceWindow(d *AgentData) Window {
	if d.Since.IsZero() {
		return Window{}
	}
	w := Window{After: Floor(d.Since.Add(-sinceTolerance)), By: d.Observed.By}
	if by := Ceil(d.Since.Add(sinceTolerance)); by.Before(w.By.Time) && d.To != nil && d.To.NextState == "" && d.To.Reason == "" {
		w.By = by
	}
	return w
}

// Revision returns the number of an agent's state, 0 if it is not known.
func (s *AgentStates) Revision(agent string) uint64 { return s.states[agent].revision }

// Gap returns the last gap that has ended.
func (s *AgentStates) Gap() Gap { return s.gap }

// Lasted returns how long the present state of an agent lasted that ends in a window, shown by a poll. gap
// is the last one that ended before the poll: in it the agent may have left the state and come back. The
// range is zero if the beginning is not known, or if a clock was set back since then.
func (s *AgentStates) Lasted(agent string, gap Gap, poll uint64, ended Window) DurationRange {
	began := s.states[agent].beginning(gap, poll)
	if began.After.IsZero() || ended.After.IsZero() || !ended.By.After(began.By.Time) {
		return DurationRange{}
	}
	return DurationRange{Duration(max(ended.After.Sub(began.By.Time), 0)), Duration(ended.By.Sub(began.After.Time))}
}

// beginning returns the window in which a state began that a poll shows to have ended; zero if it is not
// known.
func (a agentStateOf) beginning(gap Gap, poll uint64) Window {
	if a.poll == 0 {
		return Window{}
	}
	w := Window{Time{time.UnixMilli(a.after).UTC()}, Time{time.UnixMilli(a.by).UTC()}}
	if a.poll < gap.poll && gap.poll < poll && w.By.Before(gap.by.Time) {
		w.By = gap.by
	}
	return w
}

// ForgetBeginnings forgets when the states began, as when the clock that bounded them was wrong.
func (s *AgentStates) ForgetBeginnings() {
	for id, a := range s.states {
		a.begin(Window{}, 0)
		s.states[id] = a
	}
}

// Known returns, by agent, the numbers and the beginnings that are known, for comparison.
func (s *AgentStates) Known() (revisions map[string]uint64, beginnings map[string]Window) {
	revisions, beginnings = map[string]uint64{}, map[string]Window{}
	for id, a := range s.states {
		if a.revision > 0 {
			revisions[id] = a.revision
		}
		if began := a.beginning(s.gap, s.gap.poll+1); !began.After.IsZero() {
			beginnings[id] = began
		}
	}
	return revisions, beginnings
}
