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
	if err := parse(f, args, 0); err != nil {
		return err
	}
	linked, c, l, _, err := p.reading(ctx)
	if err != nil || l == nil {
		return err
	}
	defer l.close()
	picture, err := look(linked, l.js, c, *tenant)
	if err != nil {
		return stopped(linked, err)
	}
	for _, s := range picture.Strays {
		fmt.Fprintf(p.stderr, "left out, since it cannot be read: key %q of tenant %q in the view %s: %s\n", s.Key, s.Tenant, c.StateBucket, s.Fault)
	}
	if *asJSON {
		e := json.NewEncoder(p.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(picture)
	}
	return p.tellPicture(picture, *all)
}

// picture is what the view holds.
type picture struct {
	At time.Time `json:"at"`
	// Behind is how many messages of the stream the view has not yet taken.
	Behind  uint64     `json:"view_behind"`
	Tenants []*present `json:"tenants"`
	// Strays are the entries that are no events of the bridge.
	Strays []strayEntry `json:"unreadable,omitempty"`
}

// strayEntry is a key of the view, and why its value cannot be read.
type strayEntry struct {
	Tenant string `json:"tenant"`
	Key    string `json:"key"`
	Fault  string `json:"fault"`
}

// present is what the view holds of one tenant.
type present struct {
	Tenant       string   `json:"tenant"`
	Feed         feed     `json:"feed"`
	Agents       []entity `json:"agents"`
	Services     []entity `json:"services"`
	Totals       []entity `json:"totals"`
	Availability []entity `json:"availability"`
	Thresholds   []entity `json:"thresholds_raised"`
}

// feed tells how far a picture is to be trusted.
type feed struct {
	Status        string     `json:"status"`
	ObservedUntil *time.Time `json:"observed_until"`
	// Fresh tells that the feed is live and not older than a healthy one is.
	Fresh      bool    `json:"fresh"`
	AgeSeconds float64 `json:"age_seconds"`
	Epoch      uint64  `json:"epoch"`
	Poll       uint64  `json:"poll"`
	Instance   string  `json:"instance"`
}

// entity is the last word of the view on one key.
type entity struct {
	ID       string          `json:"id"`
	Revision uint64          `json:"revision"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`

	told told
}

// look reads the view.
func look(ctx context.Context, js jetstream.JetStream, c *bridge.Config, only string) (*picture, error) {
	ctx, cancel := context.WithTimeout(ctx, openingPatience)
	defer cancel()
	behind, err := bridge.ViewBehind(ctx, js, c)
	if err != nil {
		return nil, err
	}
	pic := &picture{At: time.Now().UTC(), Behind: behind, Tenants: []*present{}}
	err = bridge.ReadView(ctx, js, c, only, func(e bridge.ViewEntry) error {
		fault := e.Fault
		if fault == nil {
			fault = pic.add(e, c)
		}
		if fault != nil {
			pic.Strays = append(pic.Strays, strayEntry{e.Tenant, e.Key, fault.Error()})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(pic.Tenants) == 0 && len(pic.Strays) == 0 {
		return nil, fmt.Errorf("the view %s holds nothing yet%s", c.StateBucket, map[bool]string{true: " of tenant " + only}[only != ""])
	}
	return pic, nil
}

// add takes an entry into the picture, or leaves it out if it cannot be read.
func (pic *picture) add(e bridge.ViewEntry, c *bridge.Config) error {
	var s struct {
		Time time.Time
		Data json.RawMessage
	}
	var t told
	err := json.Unmarshal(e.Value, &s)
	if err == nil {
		err = json.Unmarshal(e.Value, &t)
	}
	if err != nil {
		return err
	}
	if n := len(pic.Tenants); n == 0 || pic.Tenants[n-1].Tenant != e.Tenant {
		pic.Tenants = append(pic.Tenants, &present{Tenant: e.Tenant, Agents: []entity{}, Services: []entity{},
			Totals: []entity{}, Availability: []entity{}, Thresholds: []entity{}})
	}
	p := pic.Tenants[len(pic.Tenants)-1]
	x := entity{Time: s.Time, Data: s.Data, told: t, Revision: t.Data.Revision}
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
		return p.feed(s.Data, pic.At, c)
	}
	return nil // the view has only the last change of a directory
}

// feed reads the checkpoint. A healthy feed shows one at least every interval.
func (p *present) feed(data json.RawMessage, now time.Time, c *bridge.Config) error {
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
