package render

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/diff/image"
)

// Lines writes events as lines for people. First snapshots are counted, not
// listed, and checkpoints show only as the end of such a count.
type Lines struct {
	c *console.Console

	observed map[string]int // by kind, since the last checkpoint
}

// NewLines writes to a console.
func NewLines(c *console.Console) *Lines { return &Lines{c: c} }

// Event writes one event's line. A foreign message has one too: every program that
// may publish to the stream can put anything there, and it is never deleted.
func (l *Lines) Event(body []byte) error {
	v, err := event.ReadEnvelope(body)
	if err != nil {
		return l.foreign(body, err)
	}
	e, err := v.Event()
	// The line shows no id, so that a wrong one is left to bridge verify.
	if err != nil && !errors.Is(err, event.ErrID) {
		return l.foreign(body, err)
	}
	switch e.Verb() {
	case "checkpoint":
		return l.summary(e.Time)
	case "observed":
		if l.observed == nil {
			l.observed = map[string]int{}
		}
		l.observed[e.Kind()]++
		return nil
	}
	who, what := describe(&e)
	return l.line(e.Time, e.Kind(), who, what, colourOf(&e))
}

func (l *Lines) foreign(body []byte, err error) error {
	return l.line(time.Time{}, "foreign", fmt.Sprintf("%d bytes", len(body)), err.Error(), console.Red)
}

// summary writes how many entities were observed for the first time.
func (l *Lines) summary(at time.Time) error {
	if len(l.observed) == 0 {
		return nil
	}
	var parts []string
	for _, kind := range []string{"agent", "service", "availability", "totals"} {
		if n := l.observed[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", kind, n))
		}
	}
	l.observed = nil
	return l.line(at, "feed", "first snapshot", strings.Join(parts, ", "), console.Cyan)
}

// line writes one line; a zero time is unknown.
func (l *Lines) line(at time.Time, kind, who, what, colour string) error {
	clock := "--:--:--      "
	if !at.IsZero() {
		clock = at.Local().Format(console.ClockLayout)
	}
	what = console.Visible(what)
	const before = len(console.ClockLayout) + 2 + 12 + 2 + 22 + 2 // the columns before what
	if l.c.Width > before {
		what = runewidth.Truncate(what, l.c.Width-before, "…")
	}
	return l.c.Printf("%s  %-12s  %s  %s\n", l.c.Paint(console.Faint, clock), kind, runewidth.FillRight(runewidth.Truncate(console.Visible(who), 22, "…"), 22), l.c.Paint(colour, what))
}

// describe says whom an event is about and what happened.
func describe(e *event.Event) (who, what string) {
	switch d := e.Data.(type) {
	case *event.FeedData:
		if d.Cause != "" {
			return e.Verb(), strings.TrimSuffix(d.Cause+": "+d.Error, ": ")
		}
		return e.Verb(), d.Instance
	case *event.ResumedData:
		return e.Verb(), cmp.Or(d.Cause, d.Instance)
	case *event.DirectoryData:
		return d.Kind, directoryText(d)
	case *event.ChatData:
		return d.Message.LoginID, d.Message.Content
	case *event.ThresholdData:
		what = fmt.Sprintf("%s %s (%s)", e.Verb(), d.Rule, d.ClearedBy)
		if value := thresholdValue(d); value != "" {
			what = fmt.Sprintf("%s %s: %s is %s", e.Verb(), d.Rule, d.Stat, value)
		}
		return d.Entity.ID, what
	case *event.AvailabilityChangedData:
		what = fmt.Sprintf("available: %s → %s", yesNo(d.Previous), yesNo(d.Available))
		if d.Reason != "" {
			what += " (" + d.Reason + ")"
		}
		return d.Service, what
	case *event.AgentData:
		return cmp.Or(d.Agent.Name, d.Agent.ID), agentText(e, d)
	case *event.ServiceData:
		return d.Service, statsText(e, d.Changed, d.Before, d.After)
	case *event.TotalsData:
		return d.App, statsText(e, d.Changed, d.Before, d.After)
	}
	return "", e.Verb()
}

func agentText(e *event.Event, d *event.AgentData) string {
	switch {
	case e.Verb() == "state_changed" && d.Reentered:
		return fmt.Sprintf("left %s and came back", stateText(d.To))
	case e.Verb() == "state_changed":
		return fmt.Sprintf("%s → %s", stateText(d.From), stateText(d.To))
	case e.Verb() == "appeared":
		return "appeared, " + stateText(d.To)
	}
	return statsText(e, d.Changed, d.Before, d.After)
}

// statsText lists the statistics that changed; an event that names none is its verb.
func statsText(e *event.Event, changed []string, before, after image.Image) string {
	if len(changed) == 0 {
		return e.Verb()
	}
	var parts []string
	for _, stat := range changed {
		parts = append(parts, fmt.Sprintf("%s %s→%s", stat, console.OrDash(before.Text(stat)), console.OrDash(after.Text(stat))))
	}
	return strings.Join(parts, ", ")
}

// directoryText lists the changes of a directory; of a baseline it is how many
// entries it lists.
func directoryText(d *event.DirectoryData) string {
	if d.Baseline {
		return fmt.Sprintf("lists %d", len(d.Added))
	}
	var parts []string
	for _, n := range d.Added {
		parts = append(parts, "added "+n.Name)
	}
	for _, n := range d.Removed {
		parts = append(parts, "removed "+n.Name)
	}
	for _, n := range d.Renamed {
		parts = append(parts, n.From+" renamed "+n.To)
	}
	return strings.Join(parts, ", ")
}

// stateText writes an agent's state; nil is "".
func stateText(s *event.AgentState) string {
	if s == nil {
		return ""
	}
	out := s.State
	if s.Reason != "" {
		out += " (" + s.Reason + ")"
	}
	if s.NextState != "" {
		out += ", then " + s.NextState
	}
	return out
}

// thresholdValue is the value of an event about a threshold, "" where it has none.
func thresholdValue(d *event.ThresholdData) string {
	if d.Value == nil {
		return ""
	}
	return *d.Value
}

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return "unknown"
	case *b:
		return "yes"
	}
	return "no"
}

func colourOf(e *event.Event) string {
	if d, ok := e.Data.(*event.AvailabilityChangedData); ok {
		if d.Available != nil && *d.Available {
			return console.Green
		}
		return console.Red
	}
	switch e.Verb() {
	case "interrupted", "raised":
		return console.Red
	case "resumed", "cleared":
		return console.Green
	case "state_changed":
		return console.Yellow
	case "stats_changed":
		return console.Faint
	}
	return console.Cyan
}
