package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/state"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/reader/past"
)

// AddPast adds what is known of a tenant at an instant. Whole reports whether that is all of the tenant, and
// not one entity.
func AddPast(view *state.View, tenant string, s *past.State, whole bool) error {
	view.At = s.At
	p := state.NewTenant(tenant)
	view.Tenants = append(view.Tenants, p)
	p.Feed.Status, p.Feed.Fresh = s.Feed.Status, s.Feed.Status == event.StatusLive
	if d := s.Feed.Checkpoint; d != nil {
		p.SetFeed(d, s.At, 0)
		p.Feed.Status, p.Feed.Fresh = s.Feed.Status, s.Feed.Status == event.StatusLive
		p.Feed.Complete = s.Feed.Complete || !whole
	}
	if !s.Feed.From.IsZero() {
		p.Feed.Observed = &state.Span{From: s.Feed.From, Until: s.Feed.Until}
	}
	for _, u := range s.Unknown {
		p.Unknown = append(p.Unknown, *newUnknown("", &u))
	}
	for _, e := range s.Entities {
		if err := addPast(p, e); err != nil {
			return err
		}
	}
	return nil
}

func newUnknown(key string, u *past.Unknown) *state.Unknown {
	return &state.Unknown{Reason: u.Reason, Text: u.Text, Key: key, After: u.After, By: u.By, Messages: u.Messages}
}

// addPast adds what is known of an entity: the first state that it may have had, with the others.
func addPast(p *state.Tenant, e past.Entity) error {
	var states []state.Entry
	for _, possible := range e.Possible {
		x, err := pastEntry(possible)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Key, err)
		}
		states = append(states, x)
	}
	if len(states) == 0 {
		p.Unknown = append(p.Unknown, *newUnknown(e.Key, e.Unknown))
		return nil
	}
	shown := 0
	if states[0].Absent {
		shown = min(1, len(states)-1)
	}
	x := states[shown]
	for i := range states {
		if i != shown {
			states[i].ID = x.ID
			x.Or = append(x.Or, states[i])
		}
	}
	if e.Certain() {
		x.Certain = &state.Span{From: e.From, Until: e.Until}
	} else {
		x.Unknown = newUnknown("", e.Unknown)
	}
	p.Add(x)
	return nil
}

// pastEntry returns a state that an entity may have had.
func pastEntry(s past.Possible) (state.Entry, error) {
	if s.Event == nil {
		return state.Entry{Absent: true}, nil
	}
	x := state.Entry{Revision: s.Event.EntityBase().Revision, Time: s.Event.Time, Event: *s.Event}
	x.ID = s.Event.EntityID()
	if envelope, err := event.ReadEnvelope(s.Body); err == nil {
		x.Data = envelope.Data // as it is stored
		return x, nil
	}
	var err error
	x.Data, err = json.Marshal(s.Event.Data)
	return x, err
}

// statusLineAt says what the feed was at an instant.
func statusLineAt(f *state.Feed, c *console.Console, at time.Time) console.Safe {
	out := console.Safef("at %s  ", at.UTC().Format(time.RFC3339Nano))
	who := console.Safef("")
	if f.Epoch > 0 {
		who = console.Safef("  (epoch %d, poll %d, %s)", f.Epoch, f.Poll, f.Instance)
	}
	if f.Observed != nil {
		return out + console.Safef("%s  observed without a gap from %s to %s", c.Paint(console.Green, strings.ToUpper(f.Status)), console.FormatTime(f.Observed.From), console.FormatTime(f.Observed.Until)) + who
	}
	return out + console.Safef("%s  not observed then", c.Paint(console.Red, strings.ToUpper(f.Status))) + who
}

// writeUnknown writes what is not known of the tenant.
func (p *tenant) writeUnknown(c *console.Console) {
	for _, u := range p.Unknown {
		what := string(u.Reason)
		if u.Messages > 0 {
			what += fmt.Sprintf(", %d message(s)", u.Messages)
		}
		if u.Key != "" {
			what += " about " + u.Key
		}
		c.Printf("%s %s: %s%s\n", c.Paint(console.Yellow, "UNKNOWN"), what, u.Text, between(u.After, u.By))
	}
}

// between writes bounds of a time, as far as there are any.
func between(after, by time.Time) string {
	switch {
	case after.IsZero() && by.IsZero():
		return ""
	case after.IsZero():
		return fmt.Sprintf(" (until %s)", console.FormatTime(by))
	case by.IsZero():
		return fmt.Sprintf(" (since %s)", console.FormatTime(after))
	}
	return fmt.Sprintf(" (%s to %s)", console.FormatTime(after), console.FormatTime(by))
}

// certainty says between which instants an entry is certain, or why it is not: two cells.
func certainty(x *state.Entry) [2]string {
	switch {
	case x.Certain != nil:
		return [2]string{console.FormatTime(x.Certain.From), console.FormatTime(x.Certain.Until)}
	case x.Unknown != nil:
		return [2]string{"no: " + string(x.Unknown.Reason), "–"}
	}
	return [2]string{"–", "–"}
}

// orStates writes the states that an agent may have had: the first one, and the others.
func orStates(x *state.Entry, reader *event.AgentReader, first string) string {
	out := []string{cmp.Or(first, "without a state")}
	for _, o := range x.Or {
		text := "absent"
		if row := o.Event.Row(); !o.Absent && row != nil {
			state := reader.State(row.After)
			text = stateText(&state)
		}
		if out[len(out)-1] != text {
			out = append(out, text)
		}
	}
	return strings.Join(out, " or ")
}
