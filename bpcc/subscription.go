package bpcc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ErrSubscription is returned by [ParseSubscription] when a document is not a
// usable subscription body.
var ErrSubscription = errors.New("not a usable subscription")

// Subscription is the body of Create Subscription: what a client wants to see,
// by app id. An app id is any text; several in one subscription are normal,
// and the answer of Get Subscription Data is keyed by the same ids.
type Subscription map[string]App

// App is one app id's share of a [Subscription]. Only the sections asked for
// here come back in the data.
type App struct {
	// StatsTotals names statistics summed over services.
	StatsTotals []string `json:"stats_totals,omitempty"`
	// StatsTotalsServiceIDs holds the GUIDs of the services that the totals
	// run over; empty means all that the user supervises.
	StatsTotalsServiceIDs []string `json:"stats_totals_service_ids,omitempty"`
	// StatsTotalsDispositions holds the dispositions that disposition totals count.
	StatsTotalsDispositions []string `json:"stats_totals_dispositions,omitempty"`
	ServiceGrids            []Grid   `json:"service_grids,omitempty"`
	AgentGrids              []Grid   `json:"agent_grids,omitempty"`
	// ChatMessages asks for the newest internal chat messages; nil for none.
	// They hold personal text.
	ChatMessages *ChatQuery `json:"chat_messages,omitempty"`
}

// Grid is a table of agents or services. Rows carry no identity of their own:
// a column must be asked for that names the row.
type Grid struct {
	// ID names the grid inside its app id.
	ID      string   `json:"id"`
	Columns []Column `json:"columns"`
	// Order sorts the rows; with Limit it makes a top-N grid. Without it the
	// order of the rows is arbitrary.
	Order []Order `json:"order,omitempty"`
	// Limit is the most rows to be sent; 0 sends no limit.
	Limit int `json:"limit,omitempty"`
	// FilterBy is the id of the column that FilterOperation (EQ, NE, LT, GT,
	// LE, GE) compares with FilterValue. Empty means no filter. An empty
	// FilterValue is legal: acd_state NE "" asks for agents logged in.
	FilterBy        string `json:"-"`
	FilterOperation string `json:"-"`
	FilterValue     string `json:"-"`
	// TeamIDs and ServiceIDs hold GUIDs; empty means no restriction.
	TeamIDs            []string `json:"team_ids,omitempty"`
	ServiceIDs         []string `json:"service_ids,omitempty"`
	MySubteamOnly      bool     `json:"my_subteam_only,omitempty"`
	LoggedInAgentsOnly bool     `json:"logged_in_agents_only"`
}

// Column is one column of a [Grid].
type Column struct {
	// ID is the column's key in every row.
	ID string `json:"id"`
	// StatName is the protocol name of the statistic, case-sensitive.
	StatName string `json:"stat_name"`
	// Dispositions narrows calls_dispositions_per_day to these.
	Dispositions []string `json:"dispositions,omitempty"`
}

// Order is one sort key of a [Grid].
type Order struct {
	// By is the id of a column of the grid, not the name of a statistic.
	By string `json:"by"`
	// Dir is ASC or DESC.
	Dir string `json:"dir"`
}

// ChatQuery asks for internal chat messages.
type ChatQuery struct {
	// Filter is text that a message must contain; empty for all.
	Filter string `json:"filter"`
	// Limit is the most messages to be sent.
	Limit int `json:"limit"`
}

// ParseSubscription reads a subscription in the vendor's JSON format, in every
// spelling that the documentation and known clients use, and checks it. All
// faults are reported together; the error is [ErrSubscription] to errors.Is.
func ParseSubscription(body []byte) (Subscription, error) {
	var sub Subscription
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&sub); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line, column := position(body, syntax.Offset)
			return nil, fmt.Errorf("%w: line %d, column %d: %w", ErrSubscription, line, column, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrSubscription, err)
	}
	if dec.More() {
		line, column := position(body, dec.InputOffset()+1)
		return nil, fmt.Errorf("%w: line %d, column %d: text after the subscription", ErrSubscription, line, column)
	}
	if err := sub.Validate(); err != nil {
		return nil, err
	}
	return sub, nil
}

// Validate reports every fault of s that the server would answer with 400 or
// silently ignore; the error is [ErrSubscription] to errors.Is.
func (s Subscription) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(s) == 0 {
		fault("it names no app id")
	}
	for _, id := range slices.Sorted(maps.Keys(s)) {
		app := s[id]
		if id == "" {
			fault("an app id is empty")
		}
		if len(app.StatsTotals) == 0 && len(app.ServiceGrids) == 0 && len(app.AgentGrids) == 0 && app.ChatMessages == nil {
			fault("app %q asks for nothing: give it stats_totals, service_grids, agent_grids or chat_messages", id)
		}
		for _, g := range app.ServiceGrids {
			g.validate(fmt.Sprintf("app %q, service grid %q", id, g.ID), fault)
		}
		for _, g := range app.AgentGrids {
			g.validate(fmt.Sprintf("app %q, agent grid %q", id, g.ID), fault)
		}
		distinct(app.ServiceGrids, fmt.Sprintf("app %q has two service grids", id), fault)
		distinct(app.AgentGrids, fmt.Sprintf("app %q has two agent grids", id), fault)
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrSubscription, errors.Join(faults...))
}

func distinct(grids []Grid, what string, fault func(string, ...any)) {
	seen := map[string]bool{}
	for _, g := range grids {
		if seen[g.ID] {
			fault("%s with id %q", what, g.ID)
		}
		seen[g.ID] = true
	}
}

func (g Grid) validate(where string, fault func(string, ...any)) {
	if len(g.Columns) == 0 {
		fault("%s has no columns", where)
	}
	columns := map[string]bool{}
	for i, c := range g.Columns {
		switch {
		case c.ID == "":
			fault("%s: column %d has no id", where, i+1)
		case columns[c.ID]:
			fault("%s: two columns have the id %q", where, c.ID)
		}
		if c.StatName == "" {
			fault("%s: column %q has no stat_name", where, c.ID)
		}
		columns[c.ID] = true
	}
	for _, o := range g.Order {
		if !columns[o.By] {
			fault("%s: order names column %q, which the grid does not have (order takes a column id, not a statistic)", where, o.By)
		}
		if o.Dir != "ASC" && o.Dir != "DESC" {
			fault("%s: order direction %q is neither ASC nor DESC", where, o.Dir)
		}
	}
	if g.Limit < 0 {
		fault("%s: limit %d is negative", where, g.Limit)
	}
	if g.FilterBy == "" {
		return
	}
	if !columns[g.FilterBy] {
		fault("%s: filter_by names column %q, which the grid does not have", where, g.FilterBy)
	}
	switch g.FilterOperation {
	case "EQ", "NE", "LT", "GT", "LE", "GE":
	default:
		fault("%s: filter_operation %q is not one of EQ, NE, LT, GT, LE, GE", where, g.FilterOperation)
	}
}

// position tells the line and column, both from 1, of the byte before offset.
func position(body []byte, offset int64) (line, column int) {
	before := body[:min(max(offset-1, 0), int64(len(body)))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// MarshalJSON writes the grid in the spelling that was captured working:
// stat_name, order as a list, the filter only when there is one.
func (g Grid) MarshalJSON() ([]byte, error) {
	type plain Grid
	out := struct {
		plain
		FilterBy        string  `json:"filter_by,omitempty"`
		FilterOperation string  `json:"filter_operation,omitempty"`
		FilterValue     *string `json:"filter_value,omitempty"`
	}{plain: plain(g)}
	if g.FilterBy != "" {
		out.FilterBy, out.FilterOperation, out.FilterValue = g.FilterBy, g.FilterOperation, &g.FilterValue
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads every spelling seen in documents, captures and known
// clients: order_by with order_dir or order, numbers or strings for ids and
// limits, booleans or "true"/"false" for flags.
func (g *Grid) UnmarshalJSON(b []byte) error {
	var in struct {
		ID      text     `json:"id"`
		Columns []Column `json:"columns"`
		Order   []struct {
			By  text `json:"by"`
			Dir text `json:"dir"`
		} `json:"order"`
		OrderBy            text     `json:"order_by"`
		OrderDir           text     `json:"order_dir"`
		Limit              text     `json:"limit"`
		FilterBy           text     `json:"filter_by"`
		FilterOperation    text     `json:"filter_operation"`
		FilterValue        text     `json:"filter_value"`
		TeamIDs            []string `json:"team_ids"`
		ServiceIDs         []string `json:"service_ids"`
		MySubteamOnly      text     `json:"my_subteam_only"`
		LoggedInAgentsOnly text     `json:"logged_in_agents_only"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*g = Grid{
		ID: string(in.ID), Columns: in.Columns,
		FilterBy: string(in.FilterBy), FilterOperation: string(in.FilterOperation), FilterValue: string(in.FilterValue),
		TeamIDs: in.TeamIDs, ServiceIDs: in.ServiceIDs,
	}
	var err error
	if g.Limit, err = in.Limit.count(); err != nil {
		return fmt.Errorf("grid %q: limit: %w", g.ID, err)
	}
	if g.MySubteamOnly, err = in.MySubteamOnly.flag(); err != nil {
		return fmt.Errorf("grid %q: my_subteam_only: %w", g.ID, err)
	}
	if g.LoggedInAgentsOnly, err = in.LoggedInAgentsOnly.flag(); err != nil {
		return fmt.Errorf("grid %q: logged_in_agents_only: %w", g.ID, err)
	}
	for _, o := range in.Order {
		g.Order = append(g.Order, Order{string(o.By), direction(o.Dir)})
	}
	if in.OrderBy != "" && len(g.Order) == 0 {
		g.Order = []Order{{string(in.OrderBy), direction(in.OrderDir)}}
	}
	return nil
}

func direction(t text) string {
	if t == "" {
		return "ASC"
	}
	return strings.ToUpper(string(t))
}

// UnmarshalJSON reads stat_name or statName, and ids that are numbers.
func (c *Column) UnmarshalJSON(b []byte) error {
	var in struct {
		ID           text     `json:"id"`
		StatName     string   `json:"stat_name"`
		StatNameOld  string   `json:"statName"`
		Dispositions []string `json:"dispositions"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*c = Column{ID: string(in.ID), StatName: in.StatName, Dispositions: in.Dispositions}
	if c.StatName == "" {
		c.StatName = in.StatNameOld
	}
	return nil
}

// UnmarshalJSON reads a limit that is a number or a string.
func (q *ChatQuery) UnmarshalJSON(b []byte) error {
	var in struct {
		Filter string `json:"filter"`
		Limit  text   `json:"limit"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	limit, err := in.Limit.count()
	if err != nil {
		return fmt.Errorf("chat_messages: limit: %w", err)
	}
	*q = ChatQuery{Filter: in.Filter, Limit: limit}
	return nil
}

// text is a JSON scalar whose type the API does not keep to: string, number,
// boolean or null, held as text.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) == 0 || string(b) == "null":
		*t = ""
		return nil
	case b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = text(s)
		return nil
	case b[0] == '{' || b[0] == '[':
		return fmt.Errorf("want text or a number, have %.20s", b)
	default:
		*t = text(b)
		return nil
	}
}

func (t text) count() (int, error) {
	if t == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(string(t))
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", string(t))
	}
	return n, nil
}

func (t text) flag() (bool, error) {
	switch t {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", string(t))
}
