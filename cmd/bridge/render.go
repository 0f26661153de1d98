package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// renderer writes events as lines for people. First pictures are counted, not
// listed, and checkpoints show only as the end of such a count.
type renderer struct {
	c *console

	observed map[string]int // by kind, since the last checkpoint
}

// decodedEvent is what a line needs of an event.
type decodedEvent struct {
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Data eventData `json:"data"`
}

type eventData struct {
	Agent struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Team string `json:"team"`
	} `json:"agent"`
	From      agentState        `json:"from"`
	To        agentState        `json:"to"`
	Reentered bool              `json:"reentered"`
	Service   string            `json:"service"`
	App       string            `json:"app"`
	Changed   []string          `json:"changed"`
	Before    map[string]string `json:"before"`
	After     map[string]string `json:"after"`
	Available *bool             `json:"available"`
	Previous  *bool             `json:"previous"`
	Rule      string            `json:"rule"`
	Entity    struct {
		ID string `json:"id"`
	} `json:"entity"`
	Revision  uint64  `json:"revision"`
	Stat      string  `json:"stat"`
	Value     string  `json:"value"`
	Op        string  `json:"op"`
	Limit     float64 `json:"limit"`
	Severity  string  `json:"severity"`
	ClearedBy string  `json:"cleared_by"`
	Cause     string  `json:"cause"`
	Error     string  `json:"error"`
	Instance  string  `json:"instance"`
	Kind      string  `json:"kind"`
	Baseline  bool    `json:"baseline"`
	Added     []ref   `json:"added"`
	Removed   []ref   `json:"removed"`
	Renamed   []struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"renamed"`
	Message struct {
		LoginID string `json:"login_id"`
		Content string `json:"content"`
	} `json:"message"`
}

type ref struct {
	Name string `json:"name"`
}

// directoryText says what changed in one, or how many it lists.
func (d *eventData) directoryText() string {
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

type agentState struct {
	State     string `json:"state"`
	NextState string `json:"next_state"`
	Reason    string `json:"reason"`
}

// event writes one event's line. What is no event has one too: whoever may publish
// to the stream can put anything there, and nothing is ever deleted from it.
func (r *renderer) event(body []byte) error {
	var e decodedEvent
	err := json.Unmarshal(body, &e)
	if err == nil && e.Type == "" {
		err = errors.New("it has no type")
	}
	if err != nil {
		return r.line(time.Time{}, "foreign", fmt.Sprintf("%d bytes", len(body)), "no event of the bridge: "+err.Error(), colourRed)
	}
	kind, verb, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(e.Type, "bpcc."), ".v1"), ".")
	if verb == "checkpoint" {
		return r.summary(e.Time)
	}
	if verb == "observed" {
		if r.observed == nil {
			r.observed = map[string]int{}
		}
		r.observed[kind]++
		return nil
	}
	who, what := e.describe(kind, verb)
	return r.line(e.Time, kind, who, what, colourOf(kind, verb, &e))
}

// summary tells how much was seen for the first time.
func (r *renderer) summary(at time.Time) error {
	if len(r.observed) == 0 {
		return nil
	}
	var parts []string
	for _, kind := range []string{"agent", "service", "availability", "totals"} {
		if n := r.observed[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", kind, n))
		}
	}
	r.observed = nil
	return r.line(at, "feed", "first picture", strings.Join(parts, ", "), colourCyan)
}

// line writes one; a zero time is not known.
func (r *renderer) line(at time.Time, kind, who, what, colour string) error {
	clock := "--:--:--"
	if !at.IsZero() {
		clock = at.Local().Format(time.TimeOnly)
	}
	what = visible(what)
	const before = 8 + 2 + 12 + 2 + 22 + 2 // the columns left of what
	if r.c.width > before {
		what = truncate(what, r.c.width-before)
	}
	return r.c.printf("%s  %-12s  %s  %s\n", r.c.paint(colourFaint, clock), kind, padRight(visible(who), 22), r.c.paint(colour, what))
}

func (e *decodedEvent) describe(kind, verb string) (who, what string) {
	d := &e.Data
	switch {
	case kind == "feed" && d.Cause != "":
		return verb, strings.TrimSuffix(d.Cause+": "+d.Error, ": ")
	case kind == "feed":
		return verb, d.Instance
	case kind == "directory":
		return d.Kind, d.directoryText()
	case kind == "chat":
		return d.Message.LoginID, d.Message.Content
	case verb == "state_changed" && d.Reentered:
		return e.entityName(kind), fmt.Sprintf("left %v and came back", d.To)
	case verb == "appeared" && kind == "agent":
		return e.entityName(kind), fmt.Sprintf("appeared, %v", d.To)
	case kind == "threshold":
		what = fmt.Sprintf("%s %s: %s is %s", verb, d.Rule, d.Stat, d.Value)
		if d.Value == "" {
			what = fmt.Sprintf("%s %s (%s)", verb, d.Rule, d.ClearedBy)
		}
		return d.Entity.ID, what
	case kind == "availability":
		return d.Service, fmt.Sprintf("available: %s → %s", yesNo(d.Previous), yesNo(d.Available))
	case verb == "state_changed":
		return e.entityName(kind), fmt.Sprintf("%v → %v", d.From, d.To)
	case verb == "stats_changed":
		var parts []string
		for _, stat := range d.Changed {
			parts = append(parts, fmt.Sprintf("%s %s→%s", stat, displayText(d.Before[stat]), displayText(d.After[stat])))
		}
		return e.entityName(kind), strings.Join(parts, ", ")
	}
	return e.entityName(kind), verb
}

func (e *decodedEvent) entityName(kind string) string {
	switch kind {
	case "agent":
		if e.Data.Agent.Name != "" {
			return e.Data.Agent.Name
		}
		return e.Data.Agent.ID
	case "totals":
		return e.Data.App
	}
	return e.Data.Service
}

func (s agentState) String() string {
	out := s.State
	if s.Reason != "" {
		out += " (" + s.Reason + ")"
	}
	if s.NextState != "" {
		out += ", then " + s.NextState
	}
	return out
}

func displayText(s string) string {
	if s == "" {
		return "–"
	}
	return s
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

func colourOf(kind, verb string, e *decodedEvent) string {
	switch {
	case verb == "interrupted", verb == "raised":
		return colourRed
	case verb == "resumed", verb == "cleared":
		return colourGreen
	case kind == "availability":
		if e.Data.Available != nil && *e.Data.Available {
			return colourGreen
		}
		return colourRed
	case verb == "state_changed":
		return colourYellow
	case verb == "stats_changed":
		return colourFaint
	}
	return colourCyan
}
