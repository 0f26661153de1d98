package times

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/reader/report"
)

// seconds is a range in seconds, rounded outwards to milliseconds.
type seconds struct {
	AtLeast float64 `json:"at_least_s"`
	AtMost  float64 `json:"at_most_s"`
	Unseen  float64 `json:"unseen_s"`
}

func newSeconds(r report.Range) seconds {
	return seconds{
		r.AtLeast.Truncate(time.Millisecond).Seconds(),
		(r.AtMost + time.Millisecond - 1).Truncate(time.Millisecond).Seconds(),
		r.Unseen.Truncate(time.Millisecond).Seconds(),
	}
}

// agentLine is the line of an agent in JSON.
type agentLine struct {
	Tenant string `json:"tenant"`
	Day    string `json:"day"`
	Agent  string `json:"agent"`
	Name   string `json:"name,omitempty"`
	Team   string `json:"team"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Times  int    `json:"times"`
	seconds
	LogIns     int `json:"log_ins"`
	RoundTrips int `json:"round_trips"`
}

// figureLine is a time in a state in JSON.
type figureLine struct {
	Times int `json:"times"`
	seconds
}

// ruleLine is a rule in JSON.
type ruleLine struct {
	Rule string `json:"rule"`
	figureLine
}

// serviceLine is the line of a service in JSON.
type serviceLine struct {
	Tenant      string      `json:"tenant"`
	Day         string      `json:"day"`
	Service     string      `json:"service"`
	Unavailable *figureLine `json:"unavailable,omitempty"`
	LongestWait *seconds    `json:"longest_wait,omitempty"`
	Rules       []ruleLine  `json:"rules"`
}

// writeJSON writes an object a line.
func (o *Output) writeJSON() error {
	out := bufio.NewWriter(o.Data)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for _, t := range o.tenants {
		for _, a := range t.Agents {
			if err := e.Encode(agentLine{t.name, a.Day, a.Agent, a.Name, a.Team, a.State, a.Reason, a.Times, newSeconds(a.Range), a.LogIns, a.RoundTrips}); err != nil {
				return err
			}
		}
		for _, s := range t.Services {
			line := serviceLine{Tenant: t.name, Day: s.Day, Service: s.Service, Rules: []ruleLine{}}
			if u := s.Unavailable; u != nil {
				line.Unavailable = &figureLine{u.Times, newSeconds(u.Range)}
			}
			if w := s.LongestWait; w != nil {
				r := newSeconds(*w)
				line.LongestWait = &r
			}
			for _, r := range s.Rules {
				line.Rules = append(line.Rules, ruleLine{r.Rule, figureLine{r.Times, newSeconds(r.Range)}})
			}
			if err := e.Encode(line); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// columns are those of the CSV.
var columns = [...]string{
	"tenant", "day", "agent", "name", "team", "state", "reason", "service", "figure", "rule", "times", "at_least_s", "at_most_s", "unseen_s", "log_ins", "round_trips",
}

// Figures are the values of the column figure, and of the tables for people.
const (
	figureState       = "state"
	figureUnavailable = "unavailable"
	figureWait        = "longest_wait"
	figureRule        = "above_threshold"
)

// writeCSV writes a table for spreadsheets.
func (o *Output) writeCSV() error {
	out := csv.NewWriter(o.Data)
	if err := out.Write(columns[:]); err != nil {
		return err
	}
	for _, t := range o.tenants {
		for _, a := range t.Agents {
			row := []string{t.name, a.Day, a.Agent, a.Name, a.Team, a.State, a.Reason, "", figureState, "", strconv.Itoa(a.Times)}
			if err := out.Write(cells(append(append(row, numbers(a.Range)...), strconv.Itoa(a.LogIns), strconv.Itoa(a.RoundTrips)))); err != nil {
				return err
			}
		}
		for _, s := range t.Services {
			for _, f := range figures(&s) {
				row := []string{t.name, s.Day, "", "", "", "", "", s.Service, f.name, f.rule, f.times}
				if err := out.Write(cells(append(append(row, numbers(f.Range)...), "", ""))); err != nil {
					return err
				}
			}
		}
	}
	out.Flush()
	return out.Error()
}

// numbers writes a range.
func numbers(r report.Range) []string {
	s := newSeconds(r)
	var texts []string
	for _, n := range []float64{s.AtLeast, s.AtMost, s.Unseen} {
		texts = append(texts, strconv.FormatFloat(n, 'f', 3, 64))
	}
	return texts
}

// formulas are what the cells begin with that a spreadsheet takes for a formula.
const formulas = "=+-@＝＋－＠"

// cells makes cells safe. Names come from the contact centre: what could act on a terminal is escaped, and what a
// spreadsheet could take for a formula is preceded by an apostrophe.
func cells(row []string) []string {
	for i, text := range row {
		row[i] = console.Visible(text)
		if begin := strings.TrimLeft(text, " \u00a0"); begin != "" && strings.ContainsRune(formulas, []rune(begin)[0]) {
			row[i] = "'" + row[i]
		}
	}
	return row
}

// figure is a figure of a service.
type figure struct {
	name, rule string
	times      string // "" = none
	report.Range
}

// figures lists the figures of a service.
func figures(s *report.Service) []figure {
	var all []figure
	if u := s.Unavailable; u != nil {
		all = append(all, figure{figureUnavailable, "", strconv.Itoa(u.Times), u.Range})
	}
	if w := s.LongestWait; w != nil {
		all = append(all, figure{figureWait, "", "", *w})
	}
	for _, r := range s.Rules {
		all = append(all, figure{figureRule, r.Rule, strconv.Itoa(r.Times), r.Range})
	}
	return all
}

// write writes the report of a tenant for people.
func (t *tenant) write(c *console.Console, zone *time.Location) {
	if len(t.Days) == 0 {
		c.Printf("%s  not observed before %s\n", t.name, t.First.Format(time.RFC3339))
	}
	for i, d := range t.Days {
		if i > 0 {
			c.Printf("\n")
		}
		c.Printf("%s  %s  %s to %s (%s)  unseen %v\n", t.name, c.Paint(console.Cyan, d.Date), d.Since.Format(time.RFC3339), d.Until.Format(time.RFC3339), zone, round(d.Unseen))
		agents := console.Table{Head: []string{"AGENT", "NAME", "TEAM", "STATE", "TIMES", "AT LEAST", "AT MOST", "UNSEEN", "LOG-INS", "ROUND TRIPS"}}
		for _, a := range t.Agents {
			if a.Day != d.Date {
				continue
			}
			state := a.State
			if a.Reason != "" {
				state += " (" + a.Reason + ")"
			}
			agents.Add("", a.Agent, console.OrDash(a.Name), console.OrDash(a.Team), state, strconv.Itoa(a.Times), round(a.AtLeast), round(a.AtMost), round(a.Unseen), strconv.Itoa(a.LogIns), strconv.Itoa(a.RoundTrips))
		}
		agents.Write(c)
		services := console.Table{Head: []string{"SERVICE", "FIGURE", "TIMES", "AT LEAST", "AT MOST", "UNSEEN"}}
		for _, s := range t.Services {
			if s.Day != d.Date {
				continue
			}
			for _, f := range figures(&s) {
				services.Add("", s.Service, strings.TrimSpace(strings.ReplaceAll(f.name, "_", " ")+" "+f.rule), console.OrDash(f.times), round(f.AtLeast), round(f.AtMost), round(f.Unseen))
			}
		}
		services.Write(c)
	}
}

// round writes a duration for people.
func round(d time.Duration) string { return console.RoundDuration(d).String() }
