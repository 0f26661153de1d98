// Package state is the present state of tenants as one document, made of the entries of the view. `bridge state`
// shows it for people and as JSON, and GET /api/state serves the same JSON. States of the past have its shape, too.
package state

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/view"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader/past"
)

// View is what the view holds.
type View struct {
	At time.Time `json:"at"`
	// Lag counts the messages of the stream that the view does not hold yet.
	Lag     uint64    `json:"view_lag_events"`
	Tenants []*Tenant `json:"tenants"`
	// Unreadable are the entries that are foreign messages.
	Unreadable []Unreadable `json:"unreadable,omitempty"`
}

// Unreadable is a key of the view, and why its value cannot be read.
type Unreadable struct {
	Tenant string `json:"tenant"`
	Key    string `json:"key"`
	Error  string `json:"error"`
}

// Tenant is what the view holds of one tenant.
type Tenant struct {
	Tenant       string  `json:"tenant"`
	Feed         Feed    `json:"feed"`
	Agents       []Entry `json:"agents"`
	Services     []Entry `json:"services"`
	Totals       []Entry `json:"totals"`
	Availability []Entry `json:"availability"`
	Thresholds   []Entry `json:"thresholds_raised"`
	// Unknown is what is not known of an instant in the past.
	Unknown []Unknown `json:"unknown,omitempty"`
}

// NewTenant returns a tenant without entries.
func NewTenant(name string) *Tenant {
	return &Tenant{Tenant: name, Agents: []Entry{}, Services: []Entry{}, Totals: []Entry{}, Availability: []Entry{}, Thresholds: []Entry{}}
}

// Feed is how far a snapshot can be trusted.
type Feed struct {
	Status        string     `json:"status"`
	ObservedUntil *time.Time `json:"observed_until"`
	// Fresh reports that the feed is live and not older than a healthy one is.
	Fresh      bool    `json:"fresh"`
	AgeSeconds float64 `json:"age_seconds"`
	Epoch      uint64  `json:"epoch"`
	Poll       uint64  `json:"poll"`
	Instance   string  `json:"instance"`
	// Agents and Services are how many the checkpoint counts. Complete reports whether the view holds as
	// many.
	Agents   int  `json:"agents"`
	Services int  `json:"services"`
	Complete bool `json:"complete"`
	// Observed is the time around an instant in the past in which the source was observed without a gap.
	Observed *Span `json:"observed,omitempty"`
}

// Entry is the last event of one key.
type Entry struct {
	ID       string          `json:"id"`
	Revision uint64          `json:"revision"`
	Time     time.Time       `json:"time,omitzero"`
	Data     json.RawMessage `json:"data"`
	// At an instant in the past, Certain is when the entity was so for certain. Else Unknown says why that is
	// not certain, and Or has the other states that are possible, some of them absent.
	Certain *Span    `json:"certain,omitempty"`
	Unknown *Unknown `json:"unknown,omitempty"`
	Or      []Entry  `json:"or,omitempty"`
	Absent  bool     `json:"absent,omitempty"`

	// Event is the event itself, decoded.
	Event event.Event `json:"-"`
}

// Image returns the last image of an entity that has one.
func (x *Entry) Image() image.Image {
	if row := x.Event.Row(); row != nil {
		return row.After
	}
	return image.Image{}
}

// Span is the time around an instant in which something holds for certain.
type Span struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Unknown is why something is not known of an instant.
type Unknown struct {
	Reason past.Reason `json:"reason"`
	Text   string      `json:"text"`
	// Key is that of the entity in the view, where nothing else is known of it.
	Key string `json:"key,omitempty"`
	// After and By bound the time in which it is not known.
	After    time.Time `json:"after,omitzero"`
	By       time.Time `json:"by,omitzero"`
	Messages uint64    `json:"messages,omitempty"`
}

// The view is read so often, with such pauses, until it holds as much as its checkpoints count.
const (
	countAttempts = 4
	countPause    = 150 * time.Millisecond
)

// Read reads the view, of one tenant or, if only is "", of all: up to four times, since a batch that arrives
// meanwhile is not counted by its checkpoint yet. Failures that may pass are retried until the server has not
// responded for the timeout.
func Read(ctx context.Context, js jetstream.JetStream, c config.Stream, only string, timeout time.Duration) (*View, error) {
	lag, err := view.Behind(ctx, js, c, timeout)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		now := time.Now().UTC()
		entries, err := view.Read(ctx, js, c, only, timeout)
		if err != nil {
			return nil, err
		}
		v := New(entries, now, c.CheckpointInterval)
		v.Lag = lag
		if attempt == countAttempts || !slices.ContainsFunc(v.Tenants, (*Tenant).Incomplete) {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return v, nil
		case <-time.After(countPause):
		}
	}
}

// New makes a document of the entries of the view, which are ordered by tenant. A healthy feed has a checkpoint
// at least every interval.
func New(entries []view.Entry, now time.Time, interval time.Duration) *View {
	v := &View{At: now, Tenants: []*Tenant{}}
	for _, e := range entries {
		err := e.Err
		if err == nil {
			err = v.addEntry(e, interval)
		}
		if err != nil {
			v.Unreadable = append(v.Unreadable, Unreadable{e.Tenant, e.Key, err.Error()})
		}
	}
	for _, t := range v.Tenants {
		t.Feed.Complete = len(t.Agents) == t.Feed.Agents && len(t.Services) == t.Feed.Services
	}
	return v
}

// Incomplete reports whether the view holds another number of agents or services than its checkpoint
// counts.
func (t *Tenant) Incomplete() bool { return t.Feed.Status != "" && !t.Feed.Complete }

// addEntry adds an entry of the view to its tenant's.
func (v *View) addEntry(e view.Entry, interval time.Duration) error {
	envelope, err := event.ReadEnvelope(e.Value) // for the data as it is stored
	if err != nil {
		return err
	}
	if n := len(v.Tenants); n == 0 || v.Tenants[n-1].Tenant != e.Tenant {
		v.Tenants = append(v.Tenants, NewTenant(e.Tenant))
	}
	t := v.Tenants[len(v.Tenants)-1]
	x := Entry{Time: envelope.Time, Data: envelope.Data, Event: e.Event}
	if d := e.Event.EntityBase(); d != nil {
		x.Revision = d.Revision
	}
	x.ID = e.Event.EntityID()
	if d, ok := e.Event.Data.(*event.CheckpointData); ok {
		t.SetFeed(d, v.At, interval)
	}
	t.Add(x)
	return nil
}

// Add adds an entry to those of its kind. Of a directory the view has only its last change.
func (t *Tenant) Add(x Entry) {
	switch x.Event.Data.(type) {
	case *event.AgentData:
		t.Agents = append(t.Agents, x)
	case *event.ServiceData:
		t.Services = append(t.Services, x)
	case *event.AvailabilityObservedData, *event.AvailabilityChangedData:
		t.Availability = append(t.Availability, x)
	case *event.TotalsData:
		t.Totals = append(t.Totals, x)
	case *event.ThresholdData:
		if x.Event.Name == event.ThresholdRaised {
			t.Thresholds = append(t.Thresholds, x)
		}
	}
}

// SetFeed takes the state of the feed from the last checkpoint. A healthy feed
// has one at least every interval.
func (t *Tenant) SetFeed(d *event.CheckpointData, now time.Time, interval time.Duration) {
	t.Feed = Feed{Status: d.Status, Epoch: d.Epoch, Poll: d.Poll, Instance: d.Instance, Agents: d.Agents, Services: d.Services}
	if d.ObservedUntil.IsZero() {
		return
	}
	const slack = 5 * time.Second // for the poll and the commit
	age := now.Sub(d.ObservedUntil.Time)
	t.Feed.ObservedUntil = &d.ObservedUntil.Time
	t.Feed.AgeSeconds = age.Round(time.Millisecond).Seconds()
	t.Feed.Fresh = d.Status == event.StatusLive && age <= interval+slack
}
