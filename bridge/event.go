package bridge

import (
	"cmp"
	"slices"
	"time"

	"bpcc-nats/diff"
)

// event is one thing to be told, before and while it is published.
type event struct {
	name    string // of the schema, such as "agent.state_changed"
	subject string // below the tenant, such as "agent.john=2Esmith.state_changed"
	address string // the whole of it, as it is published; "" = nobody has written it yet
	about   string // the CloudEvents subject, such as "feed"; "" = that of told, such as "agent/john.smith"
	at      time.Time
	data    any
	removal bool // makes the view's key disappear
	// What its acknowledgement makes true: the picture that is published of an
	// entity, its revision, and what else there is; each may be nothing.
	told     told
	revision revision
	applied  func(*engine)
}

// whom is the CloudEvents subject.
func (e *event) whom() string {
	if e.about == "" {
		return string(e.told.kind) + "/" + e.told.id
	}
	return e.about
}

// told is a picture that an event publishes of an entity. The zero value is none;
// the zero image says that the entity is gone.
type told struct {
	kind  diff.Kind
	id    string
	after diff.Image
}

// revision is the number of an event about the entity behind a view key. The
// zero value is none.
type revision struct {
	key    string
	number uint64
}

// Timestamps have milliseconds. A lower bound is rounded down and an upper
// bound up, so that rounding never makes a window narrower than the truth.
const stampLayout = "2006-01-02T15:04:05.000Z07:00"

func stampAfter(t time.Time) string { return t.UTC().Truncate(time.Millisecond).Format(stampLayout) }

func stampBy(t time.Time) string {
	return t.UTC().Add(time.Millisecond - time.Nanosecond).Truncate(time.Millisecond).Format(stampLayout)
}

// stampOrNull is for instants that may not be known: nil is JSON null.
func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stampAfter(t)
	return &s
}

// common is what every event's data begins with.
type common struct {
	Tenant string `json:"tenant"`
	Poll   uint64 `json:"poll"`
}

// window is the only honest bound of a change: after the request of the poll
// that did not show it was sent, by the time the answer that did was received.
type window struct {
	After *string `json:"after"`
	By    string  `json:"by"`
}

// between makes the window of what happened after one instant and by another.
// The lower bound is told by the clock of the upper one: where the machine's
// clock was set in between, the time that passed is right and the clock is not.
// An instant from the stream carries no such measure; one that lies in the
// future by now bounds nothing.
func between(after, by time.Time) window {
	w := window{By: stampBy(by)}
	if passed := by.Sub(after); !after.IsZero() && passed >= 0 {
		w.After = stampOrNull(by.Add(-passed))
	}
	return w
}

// entityData is what every event about an entity of the view shares.
type entityData struct {
	common
	Revision uint64 `json:"revision"`
	Observed window `json:"observed"`
	AfterGap bool   `json:"after_gap,omitempty"`
}

type agentRef struct {
	ID      string `json:"id"`
	LoginID string `json:"login_id,omitempty"`
	UserID  string `json:"user_id,omitempty"`
	Name    string `json:"name,omitempty"`
	Team    string `json:"team,omitempty"`
}

type agentState struct {
	State     string `json:"state,omitempty"`
	NextState string `json:"next_state,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// loggedOut is the published word for the state that BPCC leaves empty.
const loggedOut = "logged_out"

// agentStats are the statistics that events tell of an agent beside its image,
// those of its state first.
var agentStats = [...]string{
	"acd_state", "acd_next_state", "reason", "state_duration",
	"login_id", "user_id", "first_last_name", "last_first_name", "team_name",
}

// agentReader reads them. It is not safe for concurrent use.
type agentReader struct {
	all, three diff.Selection // three is of the state alone
	texts      [len(agentStats)]string
}

func newAgentReader() agentReader {
	return agentReader{all: diff.NewSelection(agentStats[:]...), three: diff.NewSelection(stateStats[:]...)}
}

// read gives an agent's state, its names, and for how long it has been in its
// state, as the source writes that. An image without acd_state says nothing of
// the state.
func (r *agentReader) read(id string, m diff.Image) (s agentState, ref agentRef, held string) {
	known := r.all.Read(m, r.texts[:])
	t := &r.texts
	return r.spoken(known), agentRef{ID: id, LoginID: t[4], UserID: t[5], Name: cmp.Or(t[6], t[7]), Team: t[8]}, t[3]
}

// state is an agent's state alone.
func (r *agentReader) state(m diff.Image) agentState {
	return r.spoken(r.three.Read(m, r.texts[:len(stateStats)]))
}

// spoken is the state of which the texts are read, in published words.
func (r *agentReader) spoken(known uint64) agentState {
	s := agentState{r.texts[0], r.texts[1], r.texts[2]}
	if known&1 != 0 && slices.Contains(outWords[:], s.State) {
		s.State = loggedOut
	}
	return s
}

// outWords are the texts by which BPCC says that an agent is logged out. "0" is
// how an old client of the vendor shows none.
var outWords = [...]string{"", "0"}

// stateOf is the state of an agent of whom nobody has read before.
func stateOf(m diff.Image) agentState {
	r := newAgentReader()
	return r.state(m)
}

// calendar writes instants, most of which are of one day.
type calendar struct {
	day  int64  // since 1970
	date string // of that day, up to the T; "" = nobody has asked yet
}

// since tells when the present state began: the sample's time less
// state_duration, which the source gives in whole seconds.
func (c *calendar) since(stateDuration string, by time.Time) string {
	held, known := seconds(stateDuration)
	if !known {
		return ""
	}
	return c.text(by.Add(-held))
}

// text is what time.RFC3339 makes of an instant in UTC, for a fraction of the time:
// an event of every agent may need one.
func (c *calendar) text(t time.Time) string {
	const secondsOfDay = 24 * 60 * 60
	day, second := t.Unix()/secondsOfDay, t.Unix()%secondsOfDay
	if second < 0 {
		day, second = day-1, second+secondsOfDay
	}
	if c.date == "" || c.day != day {
		c.day, c.date = day, t.UTC().Format("2006-01-02T")
	}
	var buf [32]byte
	b := append(buf[:0], c.date...)
	for _, two := range [...]int64{second / 3600, second / 60 % 60, second % 60} {
		b = append(b, byte('0'+two/10), byte('0'+two%10), ':')
	}
	b[len(b)-1] = 'Z'
	return string(b)
}

type agentData struct {
	entityData
	Agent agentRef    `json:"agent"`
	From  *agentState `json:"from,omitempty"`
	To    *agentState `json:"to,omitempty"`
	Since string      `json:"since,omitempty"`
	// Reentered tells a round trip that no poll saw: the same state, anew.
	Reentered bool       `json:"reentered,omitempty"`
	Changed   []string   `json:"changed,omitzero"`
	Before    diff.Image `json:"before,omitzero"`
	After     diff.Image `json:"after,omitzero"`
	// Reset names the counters of the day that dropped.
	Reset []string `json:"reset,omitempty"`

	plain bool // the texts of the agent and its states need no escapes in JSON, for sure
}

// agentEvent is the data of an event about an agent, and room for its states.
type agentEvent struct {
	agentData
	from, to agentState
}

type serviceData struct {
	entityData
	Service string     `json:"service"`
	Changed []string   `json:"changed,omitzero"`
	Before  diff.Image `json:"before,omitzero"`
	After   diff.Image `json:"after,omitzero"`
	Reset   []string   `json:"reset,omitempty"`
}

type totalsData struct {
	entityData
	App     string     `json:"app"`
	Changed []string   `json:"changed,omitzero"`
	Before  diff.Image `json:"before,omitzero"`
	After   diff.Image `json:"after,omitzero"`
	Reset   []string   `json:"reset,omitempty"`
}

type availabilityObservedData struct {
	entityData
	Service   string `json:"service"`
	Available *bool  `json:"available"`
}

type availabilityChangedData struct {
	availabilityObservedData
	Previous *bool `json:"previous"`
}

type entityRef struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

type thresholdData struct {
	entityData
	Rule         string    `json:"rule"`
	Severity     string    `json:"severity"`
	Entity       entityRef `json:"entity"`
	Stat         string    `json:"stat"`
	Value        *string   `json:"value,omitempty"`
	Limit        float64   `json:"limit"`
	Op           string    `json:"op"`
	For          string    `json:"for"`
	PendingSince string    `json:"pending_since"`
	ClearedBy    string    `json:"cleared_by,omitempty"`
}

type feedData struct {
	common
	Epoch         uint64  `json:"epoch"`
	Instance      string  `json:"instance"`
	Version       string  `json:"version,omitempty"`
	Reason        string  `json:"reason,omitempty"`
	Cause         string  `json:"cause,omitempty"`
	Error         string  `json:"error,omitempty"`
	BridgeAway    bool    `json:"bridge_away,omitempty"`
	ObservedUntil *string `json:"observed_until"`
}

type resumedData struct {
	common
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
	Cause    string `json:"cause"`
	// BridgeAway tells that the source may have been well, but nobody looked.
	BridgeAway bool   `json:"bridge_away,omitempty"`
	Observed   window `json:"observed"`
}

// checkpointData closes every batch. Its position in the stream is the fence.
type checkpointData struct {
	common
	Status        string   `json:"status"`
	Epoch         uint64   `json:"epoch"`
	Part          int      `json:"part"`
	Parts         int      `json:"parts"`
	Events        int      `json:"events"`
	ObservedUntil *string  `json:"observed_until"`
	MissingSince  *string  `json:"missing_since,omitempty"`
	Agents        int      `json:"agents"`
	Services      int      `json:"services"`
	Instance      string   `json:"instance"`
	Observing     []string `json:"observing"`
	// Follows is the id of the checkpoint before, so that the checkpoints alone
	// prove that no batch is missing; empty for the first one.
	Follows string `json:"follows,omitempty"`
}
