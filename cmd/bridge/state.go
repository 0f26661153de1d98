package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge"
)

func (p *program) state(ctx context.Context, args []string) error {
	f := p.flags("state")
	tenant := f.String("tenant", "", "show this tenant alone; default all")
	all := f.Bool("all", false, "list agents that are logged out, too")
	asJSON := f.Bool("json", false, "print the whole picture as JSON")
	timeout := timeoutFlag(f)
	if err := parseFlags(f, args, 0); err != nil {
		return err
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, *timeout)
	if err != nil {
		return unfinished(ctx, err)
	}
	defer l.close()
	view, err := readView(sessionCtx, l.js, c, *tenant, *timeout)
	if err != nil {
		return unfinished(sessionCtx, err)
	}
	for _, s := range view.Unreadable {
		p.err.printf("left out, since it cannot be read: key %q of tenant %q in the view %s: %s\n", s.Key, s.Tenant, c.StateBucket, s.Fault)
	}
	if *asJSON {
		e := json.NewEncoder(p.data)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(view)
	}
	return p.writeView(view, *all)
}

// viewSnapshot is what the view holds.
type viewSnapshot struct {
	At time.Time `json:"at"`
	// Behind is how many messages of the stream the view has not yet taken.
	Behind  uint64        `json:"view_behind"`
	Tenants []*tenantView `json:"tenants"`
	// Unreadable are the entries that are no events of the bridge.
	Unreadable []unreadableKey `json:"unreadable,omitempty"`
}

// unreadableKey is a key of the view, and why its value cannot be read.
type unreadableKey struct {
	Tenant string `json:"tenant"`
	Key    string `json:"key"`
	Fault  string `json:"fault"`
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

// feedState tells how far a picture is to be trusted.
type feedState struct {
	Status        string     `json:"status"`
	ObservedUntil *time.Time `json:"observed_until"`
	// Fresh tells that the feed is live and not older than a healthy one is.
	Fresh      bool    `json:"fresh"`
	AgeSeconds float64 `json:"age_seconds"`
	Epoch      uint64  `json:"epoch"`
	Poll       uint64  `json:"poll"`
	Instance   string  `json:"instance"`
}

// viewEntry is the last word of the view on one key.
type viewEntry struct {
	ID       string          `json:"id"`
	Revision uint64          `json:"revision"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`

	event decodedEvent
}

// readView reads the view.
func readView(ctx context.Context, js jetstream.JetStream, c *bridge.Config, only string, timeout time.Duration) (*viewSnapshot, error) {
	view := &viewSnapshot{Tenants: []*tenantView{}}
	err := retry(ctx, js.Conn(), timeout, func(ctx context.Context) (err error) {
		view.Behind, err = bridge.ViewBehind(ctx, js, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	view.At = time.Now().UTC()
	err = bridge.ReadView(ctx, js, c, only, timeout, func(e bridge.ViewEntry) error {
		fault := e.Fault
		if fault == nil {
			fault = view.addEntry(e, c)
		}
		if fault != nil {
			view.Unreadable = append(view.Unreadable, unreadableKey{e.Tenant, e.Key, fault.Error()})
		}
		return nil
	})
	if mayAnswer(err) {
		err = noAnswer(timeout, err, hintNoAnswer(js.Conn()))
	}
	if err != nil {
		return nil, err
	}
	if len(view.Tenants) == 0 && len(view.Unreadable) == 0 {
		return nil, fmt.Errorf("the view %s holds nothing yet%s", c.StateBucket, map[bool]string{true: " of tenant " + only}[only != ""])
	}
	return view, nil
}

// addEntry takes an entry into the picture, or leaves it out if it cannot be read.
func (view *viewSnapshot) addEntry(e bridge.ViewEntry, c *bridge.Config) error {
	var s struct {
		Time time.Time
		Data json.RawMessage
	}
	var t decodedEvent
	err := json.Unmarshal(e.Value, &s)
	if err == nil {
		err = json.Unmarshal(e.Value, &t)
	}
	if err != nil {
		return err
	}
	if n := len(view.Tenants); n == 0 || view.Tenants[n-1].Tenant != e.Tenant {
		view.Tenants = append(view.Tenants, &tenantView{Tenant: e.Tenant, Agents: []viewEntry{}, Services: []viewEntry{},
			Totals: []viewEntry{}, Availability: []viewEntry{}, Thresholds: []viewEntry{}})
	}
	p := view.Tenants[len(view.Tenants)-1]
	x := viewEntry{Time: s.Time, Data: s.Data, event: t, Revision: t.Data.Revision}
	switch e.Kind {
	case "agent":
		x.ID = t.Data.Agent.ID
		p.Agents = append(p.Agents, x)
	case "service":
		x.ID = t.Data.Service
		p.Services = append(p.Services, x)
	case "availability":
		x.ID = t.Data.Service
		p.Availability = append(p.Availability, x)
	case "totals":
		x.ID = t.Data.App
		p.Totals = append(p.Totals, x)
	case "threshold":
		x.ID = t.Data.Rule + "/" + t.Data.Entity.ID
		if t.Type == "bpcc.threshold.raised.v1" {
			p.Thresholds = append(p.Thresholds, x)
		}
	case "feed":
		return p.readFeed(s.Data, view.At, c)
	}
	return nil // the view has only the last change of a directory
}

// readFeed reads the checkpoint. A healthy feed shows one at least every interval.
func (p *tenantView) readFeed(data json.RawMessage, now time.Time, c *bridge.Config) error {
	if err := json.Unmarshal(data, &p.Feed); err != nil {
		return err
	}
	if p.Feed.ObservedUntil == nil {
		return nil
	}
	const slack = 5 * time.Second // for the poll and the commit
	age := now.Sub(*p.Feed.ObservedUntil)
	p.Feed.AgeSeconds = age.Round(time.Millisecond).Seconds()
	p.Feed.Fresh = p.Feed.Status == "live" && age <= c.CheckpointInterval+slack
	return nil
}
