package bpcc

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Subscription is the body of Create Subscription: what a client requests, by app id. An app id is
// any text; several in one subscription are normal, and the response of Get Subscription Data has
// the same ids as keys.
type Subscription map[string]App

// App is one app id's part of a [Subscription]. Only the sections requested here are in the data.
type App struct {
	// StatsTotals names statistics summed over services.
	StatsTotals []string `json:"stats_totals,omitempty"`
	// StatsTotalsServiceIDs holds the GUIDs of the services that the totals include; empty means
	// all that the user supervises.
	StatsTotalsServiceIDs []string `json:"stats_totals_service_ids,omitempty"`
	// StatsTotalsDispositions holds the dispositions that disposition totals count.
	StatsTotalsDispositions []string `json:"stats_totals_dispositions,omitempty"`
	ServiceGrids            []Grid   `json:"service_grids,omitempty"`
	AgentGrids              []Grid   `json:"agent_grids,omitempty"`
	// ChatMessages requests the newest internal chat messages; nil for none. They contain personal
	// text.
	ChatMessages *ChatQuery `json:"chat_messages,omitempty"`
}

// Grid is a table of agents or services. Rows have no identity of their own: a column that names
// the row must be requested.
type Grid struct {
	// ID names the grid inside its app id.
	ID      string   `json:"id"`
	Columns []Column `json:"columns"`
	// Order sorts the rows; with Limit it makes a top-N grid. Without it the
	// order of the rows is arbitrary.
	Order []Order `json:"order,omitempty"`
	// Limit is the maximum number of rows; 0 for no limit.
	Limit int `json:"limit,omitempty"`
	// FilterBy is the id of the column that FilterOperation (EQ, NE, LT, GT, LE, GE) compares with
	// FilterValue. Empty means no filter. An empty FilterValue is valid: acd_state NE "" selects
	// agents who are logged in.
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
	// Dispositions limits calls_dispositions_per_day to these.
	Dispositions []string `json:"dispositions,omitempty"`
}

// Order is one sort key of a [Grid].
type Order struct {
	// By is the id of a column of the grid, not the name of a statistic.
	By string `json:"by"`
	// Dir is ASC or DESC.
	Dir string `json:"dir"`
}

// ChatQuery requests internal chat messages.
type ChatQuery struct {
	// Filter is text that a message must contain; empty for all.
	Filter string `json:"filter"`
	// Limit is the maximum number of messages.
	Limit int `json:"limit"`
}

// MarshalJSON writes the grid in the captured form that is known to work: stat_name, order as a
// list, the filter only when there is one.
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

// UnmarshalJSON accepts every spelling in documents, captures and known clients: order_by with
// order_dir or order, numbers or strings for ids and limits, booleans or "true"/"false" for flags.
func (g *Grid) UnmarshalJSON(b []byte) error {
	var in struct {
		ID      flexString `json:"id"`
		Columns []Column   `json:"columns"`
		Order   []struct {
			By  flexString `json:"by"`
			Dir flexString `json:"dir"`
		} `json:"order"`
		OrderBy            flexString `json:"order_by"`
		OrderDir           flexString `json:"order_dir"`
		Limit              flexString `json:"limit"`
		FilterBy           flexString `json:"filter_by"`
		FilterOperation    flexString `json:"filter_operation"`
		FilterValue        flexString `json:"filter_value"`
		TeamIDs            []string   `json:"team_ids"`
		ServiceIDs         []string   `json:"service_ids"`
		MySubteamOnly      flexString `json:"my_subteam_only"`
		LoggedInAgentsOnly flexString `json:"logged_in_agents_only"`
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
	if g.Limit, err = in.Limit.asInt(); err != nil {
		return fmt.Errorf("grid %q: limit: %w", g.ID, err)
	}
	if g.MySubteamOnly, err = in.MySubteamOnly.asBool(); err != nil {
		return fmt.Errorf("grid %q: my_subteam_only: %w", g.ID, err)
	}
	if g.LoggedInAgentsOnly, err = in.LoggedInAgentsOnly.asBool(); err != nil {
		return fmt.Errorf("grid %q: logged_in_agents_only: %w", g.ID, err)
	}
	for _, o := range in.Order {
		g.Order = append(g.Order, Order{string(o.By), normalizeDirection(o.Dir)})
	}
	if in.OrderBy != "" && len(g.Order) == 0 {
		g.Order = []Order{{string(in.OrderBy), normalizeDirection(in.OrderDir)}}
	}
	return nil
}

func normalizeDirection(t flexString) string {
	if t == "" {
		return "ASC"
	}
	return strings.ToUpper(string(t))
}

// UnmarshalJSON accepts stat_name or statName, and numbers as ids.
func (c *Column) UnmarshalJSON(b []byte) error {
	var in struct {
		ID           flexString `json:"id"`
		StatName     string     `json:"stat_name"`
		StatNameOld  string     `json:"statName"`
		Dispositions []string   `json:"dispositions"`
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

// UnmarshalJSON accepts a number or a string as limit.
func (q *ChatQuery) UnmarshalJSON(b []byte) error {
	var in struct {
		Filter string     `json:"filter"`
		Limit  flexString `json:"limit"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	limit, err := in.Limit.asInt()
	if err != nil {
		return fmt.Errorf("chat_messages: limit: %w", err)
	}
	*q = ChatQuery{Filter: in.Filter, Limit: limit}
	return nil
}

// flexString is a JSON scalar for which the API uses different types: string, number, boolean or
// null, held as text.
type flexString string

func (t *flexString) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) == 0 || string(b) == "null":
		*t = ""
		return nil
	case b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = flexString(s)
		return nil
	case b[0] == '{' || b[0] == '[':
		return fmt.Errorf("want text or a number, have %.20s", b)
	default:
		*t = flexString(b)
		return nil
	}
}

func (t flexString) asInt() (int, error) {
	if t == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(string(t))
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", string(t))
	}
	return n, nil
}

func (t flexString) asBool() (bool, error) {
	switch t {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", string(t))
}
