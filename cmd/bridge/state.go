package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// stateFlags are the flags of bridge state.
type stateFlags struct {
	tenant    string
	all, json bool
	timeout   time.Duration
}

func (p *program) stateCommand() *cobra.Command {
	var o stateFlags
	c := &cobra.Command{
		Use: "state", Short: "show the current state",
		Example: `
bridge state
bridge state --tenant acme --all
bridge state --json | jq '.tenants[].feed.fresh'`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error { return p.state(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.tenant, "tenant", "", "show only this `tenant`; default all")
	f.BoolVar(&o.all, "all", false, "list agents that are logged out too")
	f.BoolVar(&o.json, "json", false, "print the snapshot as JSON")
	timeoutFlag(c, &o.timeout)
	return c
}

func (p *program) state(ctx context.Context, o stateFlags) error {
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	view, err := readView(sessionCtx, l.JS, c, o.tenant, o.timeout)
	if err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	for _, s := range view.Unreadable {
		p.err.Printf("skipped, unreadable: key %q of tenant %q in the view %s: %s\n", s.Key, s.Tenant, c.StateBucket, s.Error)
	}
	if o.json {
		return p.writeJSON(view)
	}
	return p.writeView(view, o.all)
}

// writeJSON writes a result for programs.
func (p *program) writeJSON(v any) error {
	e := json.NewEncoder(p.data)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// viewSnapshot is what the view holds.
type viewSnapshot struct {
	At time.Time `json:"at"`
	// Lag counts the messages of the stream that the view does not hold yet.
	Lag     uint64        `json:"view_lag_events"`
	Tenants []*tenantView `json:"tenants"`
	// Unreadable are the entries that are foreign messages.
	Unreadable []unreadableKey `json:"unreadable,omitempty"`
}

// unreadableKey is a key of the view, and why its value cannot be read.
type unreadableKey struct {
	Tenant string `json:"tenant"`
	Key    string `json:"key"`
	Error  string `json:"error"`
}

// tenantView is what the view holds of one tenant.
type tenantView struct {
	Tenant       string      `json:"tenant"`
	Feed         feedState   `json:"feed"`
	Agents       []viewEntry `json:"agents"`
	Services     []viewEntry `json:"services"`
	Totals       []viewEntry `json:"totals"`
	Availability []viewEntry `json:"availability"`
	Thresholds   []viewEntry `json:"thresholds_raised"`
}

// feedState is how far a snapshot can be trusted.
type feedState struct {
	Status        string     `json:"status"`
	ObservedUntil *time.Time `json:"observed_until"`
	// Fresh reports that the feed is live and not older than a healthy one is.
	Fresh      bool    `json:"fresh"`
	AgeSeconds float64 `json:"age_seconds"`
	Epoch      uint64  `json:"epoch"`
	Poll       uint64  `json:"poll"`
	Instance   string  `json:"instance"`
}

// viewEntry is the last event of one key.
type viewEntry struct {
	ID       string          `json:"id"`
	Revision uint64          `json:"revision"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`

	event event.Event
}

// readView reads the view.
func readView(ctx context.Context, js jetstream.JetStream, c *config.Config, only string, timeout time.Duration) (*viewSnapshot, error) {
	view := &viewSnapshot{Tenants: []*tenantView{}}
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
			view.Unreadable = append(view.Unreadable, unreadableKey{e.Tenant, e.Key, err.Error()})
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
func (view *viewSnapshot) addEntry(e stream.ViewEntry, c *config.Config) error {
	v, err := event.ReadEnvelope(e.Value) // for the data as it is stored
	if err != nil {
		return err
	}
	if n := len(view.Tenants); n == 0 || view.Tenants[n-1].Tenant != e.Tenant {
		view.Tenants = append(view.Tenants, &tenantView{Tenant: e.Tenant, Agents: []viewEntry{}, Services: []viewEntry{},
			Totals: []viewEntry{}, Availability: []viewEntry{}, Thresholds: []viewEntry{}})
	}
	p := view.Tenants[len(view.Tenants)-1]
	x := viewEntry{Time: v.Time, Data: v.Data, event: e.Event}
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
func (p *tenantView) setFeed(d *event.CheckpointData, now time.Time, interval time.Duration) {
	p.Feed = feedState{Status: d.Status, Epoch: d.Epoch, Poll: d.Poll, Instance: d.Instance}
	if d.ObservedUntil.IsZero() {
		return
	}
	const slack = 5 * time.Second // for the poll and the commit
	age := now.Sub(d.ObservedUntil.Time)
	p.Feed.ObservedUntil = &d.ObservedUntil.Time
	p.Feed.AgeSeconds = age.Round(time.Millisecond).Seconds()
	p.Feed.Fresh = d.Status == event.StatusLive && age <= interval+slack
}
