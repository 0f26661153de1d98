package event

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"bpcc-nats/diff"
)

// AgentData is the data of agent.observed, agent.appeared, agent.disappeared,
// agent.state_changed and agent.stats_changed.
type AgentData struct {
	EntityBase
	Agent AgentRef `json:"agent"`
	// From is the state before, To the state after; nil where the event says
	// nothing of it.
	From *AgentState `json:"from,omitempty"`
	To   *AgentState `json:"to,omitempty"`
	// Since is when the present state began, in whole seconds: the time of the
	// response less state_duration. Zero where that column is not known.
	Since time.Time `json:"since,omitzero"`
	// Reentered reports a round trip that no poll saw: the same state, entered
	// again.
	Reentered bool `json:"reentered,omitempty"`
	// Changed names the statistics that differ.
	Changed []string `json:"changed,omitzero"`
	// Before and After are whole images: statistic to the exact text of the source.
	Before diff.Image `json:"before,omitzero"`
	After  diff.Image `json:"after,omitzero"`
	// Reset names the counters of the day that dropped.
	Reset []string `json:"reset,omitempty"`
}

// AgentRef says who an agent is, as far as the subscription asks for it.
type AgentRef struct {
	// ID is the value of the column that BRIDGE_AGENT_KEY names.
	ID      string `json:"id"`
	LoginID string `json:"login_id,omitempty"`
	UserID  string `json:"user_id,omitempty"`
	// Name is first_last_name, else last_first_name.
	Name string `json:"name,omitempty"`
	Team string `json:"team,omitempty"`
}

// AgentState is what an agent does.
type AgentState struct {
	// State is acd_state, or [LoggedOut] where the source shows none.
	State string `json:"state,omitempty"`
	// NextState is acd_next_state.
	NextState string `json:"next_state,omitempty"`
	// Reason is that of the state, such as why an agent is not ready.
	Reason string `json:"reason,omitempty"`
}

// LoggedOut is the published word for the state that the source leaves empty.
const LoggedOut = "logged_out"

// loggedOutTexts are the texts by which the source says that an agent is logged
// out. "0" is how an old client of the vendor shows none.
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

// IsStateStat reports whether a change of the statistic is a change of state.
func IsStateStat(name string) bool { return slices.Contains(stateStats[:], name) }

// agentStats are the statistics that events name beside an agent's image, those
// of its state first.
var agentStats = [...]string{
	ACDState, "acd_next_state", "reason", StateDuration,
	"login_id", "user_id", "first_last_name", "last_first_name", "team_name",
}

// AgentReader reads an agent's state and names out of images. It is not safe for
// concurrent use.
type AgentReader struct {
	stateAndNames, stateOnly diff.Selection
	texts                    [len(agentStats)]string
}

// NewAgentReader makes a reader.
func NewAgentReader() *AgentReader {
	return &AgentReader{stateAndNames: diff.NewSelection(agentStats[:]...), stateOnly: diff.NewSelection(stateStats[:]...)}
}

// Read gives an agent's state, its names, and for how long it has been in its
// state, as the source writes that. An image without acd_state says nothing of
// the state.
func (r *AgentReader) Read(id string, m diff.Image) (s AgentState, ref AgentRef, stateDuration string) {
	known := r.stateAndNames.Read(m, r.texts[:])
	t := &r.texts
	return r.normalize(known), AgentRef{ID: id, LoginID: t[4], UserID: t[5], Name: cmp.Or(t[6], t[7]), Team: t[8]}, t[3]
}

// State is an agent's state alone.
func (r *AgentReader) State(m diff.Image) AgentState {
	return r.normalize(r.stateOnly.Read(m, r.texts[:len(stateStats)]))
}

// normalize is the state of which the texts are read, in published words.
func (r *AgentReader) normalize(known uint64) AgentState {
	s := AgentState{r.texts[0], r.texts[1], r.texts[2]}
	if known&1 != 0 && slices.Contains(loggedOutTexts[:], s.State) {
		s.State = LoggedOut
	}
	return s
}

// Since gives when a state began of which the source says how long it has lasted;
// zero if it does not say.
func Since(stateDuration string, received time.Time) time.Time {
	lasted, known := Seconds(stateDuration)
	if !known {
		return time.Time{}
	}
	return received.Add(-lasted).UTC().Truncate(time.Second)
}

// Seconds reads a duration as the source writes them: whole seconds.
func Seconds(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(text)
	return time.Duration(n) * time.Second, err == nil && n >= 0
}
