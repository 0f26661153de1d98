package event

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"bpcc-nats/diff/image"
)

// AgentData is the data of agent.observed, agent.appeared, agent.disappeared,
// agent.state_changed and agent.stats_changed.
type AgentData struct {
	EntityBase
	Agent AgentRef `json:"agent"`
	// From is the previous state, To the new one; nil where the event does not contain it.
	From *AgentState `json:"from,omitempty"`
	To   *AgentState `json:"to,omitempty"`
	// Since is when the present state began, in whole seconds: the time of the response minus
	// state_duration. It is zero where that column is not known, or where the instant does not lie in
	// the event's window.
	Since time.Time `json:"since,omitzero"`
	// PreviousDuration bounds how long From lasted, in agent.state_changed. It is zero where the
	// beginning of From is not known.
	PreviousDuration DurationRange `json:"previous_duration,omitzero"`
	// Reentered reports whether the agent left the state and entered it again between two polls.
	Reentered bool `json:"reentered,omitempty"`
	RowData
}

// AgentRef identifies an agent, as far as the subscription allows.
type AgentRef struct {
	// ID is the value of the column that BRIDGE_AGENT_KEY names.
	ID      string `json:"id"`
	LoginID string `json:"login_id,omitempty"`
	UserID  string `json:"user_id,omitempty"`
	// Name is first_last_name, else last_first_name.
	Name string `json:"name,omitempty"`
	Team string `json:"team,omitempty"`
}

// AgentState is the state of an agent.
type AgentState struct {
	// State is acd_state, or [LoggedOut] where the source has none.
	State string `json:"state,omitempty"`
	// NextState is acd_next_state.
	NextState string `json:"next_state,omitempty"`
	// Reason is the reason of the state, such as why an agent is not ready.
	Reason string `json:"reason,omitempty"`
}

// LoggedOut is the published value of a state that the source leaves empty.
const LoggedOut = "logged_out"

// loggedOutTexts are the texts of acd_state for an agent who is logged out. Old clients of the
// vendor show "0" for none.
var loggedOutTexts = [...]string{"", "0"}

// LoggedOutTexts lists the texts of acd_state that mean [LoggedOut].
func LoggedOutTexts() []string { return loggedOutTexts[:] }

// ACDState is the statistic that holds an agent's state, StateDuration the one
// that holds for how many seconds the agent has been in it.
const (
	ACDState      = "acd_state"
	StateDuration = "state_duration"
)

// stateStats are the statistics whose change is a change of state.
var stateStats = [...]string{ACDState, "acd_next_state", "reason"}

// StateStats lists the statistics whose change is a change of state.
func StateStats() []string { return stateStats[:] }

// IsStateStat reports whether a change of the statistic is a change of state.
func IsStateStat(name string) bool { return slices.Contains(stateStats[:], name) }

// agentStats are the statistics that events contain in addition to an agent's image, those of the
// state first.
var agentStats = [...]string{
	ACDState, "acd_next_state", "reason", StateDuration,
	"login_id", "user_id", "first_last_name", "last_first_name", "team_name",
}

// AgentReader reads an agent's state and names from images. It is not safe for concurrent use.
type AgentReader struct {
	stateAndNames, stateOnly image.Selection
	texts                    [len(agentStats)]string
}

// NewAgentReader returns a reader.
func NewAgentReader() *AgentReader {
	return &AgentReader{stateAndNames: image.NewSelection(agentStats[:]...), stateOnly: image.NewSelection(stateStats[:]...)}
}

// Read returns an agent's state and names, and the text of state_duration. The state of an image
// without acd_state is zero.
func (r *AgentReader) Read(id string, m image.Image) (s AgentState, ref AgentRef, stateDuration string) {
	known := r.stateAndNames.Read(m, r.texts[:])
	t := &r.texts
	return r.normalize(known), AgentRef{ID: id, LoginID: t[4], UserID: t[5], Name: cmp.Or(t[6], t[7]), Team: t[8]}, t[3]
}

// State returns an agent's state alone.
func (r *AgentReader) State(m image.Image) AgentState {
	return r.normalize(r.stateOnly.Read(m, r.texts[:len(stateStats)]))
}

// normalize returns the state that was read, in published values.
func (r *AgentReader) normalize(known uint64) AgentState {
	s := AgentState{r.texts[0], r.texts[1], r.texts[2]}
	if known&1 != 0 && slices.Contains(loggedOutTexts[:], s.State) {
		s.State = LoggedOut
	}
	return s
}

// Since returns when a state of that duration began; zero if the duration is not known.
func Since(stateDuration string, received time.Time) time.Time {
	lasted, known := Seconds(stateDuration)
	if !known {
		return time.Time{}
	}
	return received.Add(-lasted).UTC().Truncate(time.Second)
}

// Seconds parses a duration as the source writes it: whole seconds, at most [image.MaxClock].
func Seconds(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > image.MaxClock {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}
