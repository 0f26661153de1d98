// Package render writes what the stream and the view hold, for people and as JSON.
package render

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/reader"
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
}

// Entry is the last event of one key.
type Entry struct {
	ID       string          `json:"id"`
	Revision uint64          `json:"revision"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`

	event event.Event
}

// ReadView reads the view, of one tenant or, if only is "", of all.
func ReadView(ctx context.Context, js jetstream.JetStream, c *config.Config, only string, timeout time.Duration) (*View, error) {
	view := &View{Tenants: []*Tenant{}}
	err := reader.Retry(ctx, js.Conn(), timeout, func(ctx context.Context) (err error) {
		view.Lag, err = stream.ViewBehind(ctx, js, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	view.At = time.Now().UTC()
	err = stream.ReadView(ctx, js, c, only, timeout, func(e stream.ViewEntry) error {
		err := e.Err
		if err == nil {
			err = view.addEntry(e, c)
		}
		if err != nil {
			view.Unreadable = append(view.Unreadable, Unreadable{e.Tenant, e.Key, err.Error()})
		}
		return nil
	})
	if reader.MayAnswer(err) {
		err = reader.NoAnswer(js.Conn(), timeout, err)
	}
	if err != nil {
		return nil, err
	}
	if len(view.Tenants) == 0 && len(view.Unreadable) == 0 {
		return nil, fmt.Errorf("the view %s is empty%s", c.StateBucket, map[bool]string{true: " for tenant " + only}[only != ""])
	}
	return view, nil
}

// addEntry adds an entry of the view to its tenant's.
func (view *View) addEntry(e stream.ViewEntry, c *config.Config) error {
	v, err := event.ReadEnvelope(e.Value) // for the data as it is stored
	if err != nil {
		return err
	}
	if n := len(view.Tenants); n == 0 || view.Tenants[n-1].Tenant != e.Tenant {
		view.Tenants = append(view.Tenants, &Tenant{Tenant: e.Tenant, Agents: []Entry{}, Services: []Entry{},
			Totals: []Entry{}, Availability: []Entry{}, Thresholds: []Entry{}})
	}
	p := view.Tenants[len(view.Tenants)-1]
	x := Entry{Time: v.Time, Data: v.Data, event: e.Event}
	if d := e.Event.EntityBase(); d != nil {
		x.Revision = d.Revision
	}
	_, x.ID, _ = strings.Cut(e.Event.CESubject(), "/")
	switch d := e.Event.Data.(type) {
	case *event.AgentData:
		p.Agents = append(p.Agents, x)
	case *event.ServiceData:
		p.Services = append(p.Services, x)
	case *event.AvailabilityObservedData, *event.AvailabilityChangedData:
		p.Availability = append(p.Availability, x)
	case *event.TotalsData:
		p.Totals = append(p.Totals, x)
	case *event.ThresholdData:
		if e.Event.Name == event.ThresholdRaised {
			p.Thresholds = append(p.Thresholds, x)
		}
	case *event.CheckpointData:
		p.setFeed(d, view.At, c.CheckpointInterval)
	case *event.DirectoryData: // the view has only its last change
	}
	return nil
}

// setFeed takes the state of the feed from the last checkpoint. A healthy feed
// has one at least every interval.
func (p *Tenant) setFeed(d *event.CheckpointData, now time.Time, interval time.Duration) {
	p.Feed = Feed{Status: d.Status, Epoch: d.Epoch, Poll: d.Poll, Instance: d.Instance}
	if d.ObservedUntil.IsZero() {
		return
	}
	const slack = 5 * time.Second // for the poll and the commit
	age := now.Sub(d.ObservedUntil.Time)
	p.Feed.ObservedUntil = &d.ObservedUntil.Time
	p.Feed.AgeSeconds = age.Round(time.Millisecond).Seconds()
	p.Feed.Fresh = d.Status == event.StatusLive && age <= interval+slack
}
