package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// tellPicture writes the picture for people.
func (p *program) tellPicture(pic *picture, all bool) error {
	paint := painter(p.stdout, p.env)
	if pic.Behind > 0 {
		fmt.Fprintf(p.stdout, "%s the view is %d message(s) behind the stream: what follows is not the present\n\n",
			paint(red, "BEHIND"), pic.Behind)
	}
	for i, t := range pic.Tenants {
		if i > 0 {
			fmt.Fprintln(p.stdout)
		}
		t.tell(p.stdout, paint, pic.At, all, terminalWidth(p.stdout))
	}
	return nil
}

type paintFunc = func(colour, text string) string

func (p *present) tell(w io.Writer, paint paintFunc, now time.Time, all bool, width int) {
	fmt.Fprintf(w, "%s  %s\n", p.Tenant, p.Feed.line(paint))
	p.tellThresholds(w, paint, now, width)
	p.tellServices(w, paint, width)
	p.tellAgents(w, paint, now, all, width)
}

// line says whether the picture is to be trusted, loudly if not.
func (f *feed) line(paint paintFunc) string {
	age := "nothing has been seen yet"
	if f.ObservedUntil != nil {
		age = fmt.Sprintf("as of %s, %v ago", instant(*f.ObservedUntil), roughly(time.Duration(f.AgeSeconds*float64(time.Second))))
	}
	who := fmt.Sprintf("epoch %d, poll %d, %s", f.Epoch, f.Poll, f.Instance)
	switch {
	case f.Fresh:
		return fmt.Sprintf("%s  %s  (%s)", paint(green, "LIVE"), age, who)
	case f.Status == "live":
		return fmt.Sprintf("%s  it says live, but %s: do not trust what follows  (%s)", paint(red, "OLD"), age, who)
	case f.Status == "":
		return paint(red, "NO FEED") + "  the view has no checkpoint: do not trust what follows"
	}
	return fmt.Sprintf("%s  %s: do not trust what follows  (%s)", paint(red, strings.ToUpper(f.Status)), age, who)
}

func (p *present) tellThresholds(w io.Writer, paint paintFunc, now time.Time, width int) {
	if len(p.Thresholds) == 0 {
		return
	}
	t := table{head: []string{"RAISED", "SEVERITY", "ON", "VALUE", "LIMIT", "FOR"}}
	for _, x := range p.Thresholds {
		d := &x.told.Data
		colour := yellow
		if d.Severity == "critical" {
			colour = red
		}
		t.add(colour, d.Rule, d.Severity, d.Entity.ID, d.Stat+" "+text(d.Value), fmt.Sprintf("%s %v", d.Op, d.Limit), roughly(now.Sub(x.Time)))
	}
	t.write(w, paint, width)
}

// mainNumbers are the statistics of services and totals that a table shows, with
// a heading that fits; of other subscriptions the first few are shown.
var mainNumbers = [][2]string{
	{"in_calls_waiting", "WAITING"}, {"in_max_wait_time", "LONGEST"}, {"in_calls_received_per_day", "RECEIVED"},
	{"in_calls_queued_per_day", "QUEUED"}, {"in_calls_abandoned_in_queue_per_day", "ABANDONED"}, {"service_level", "LEVEL"},
	{"agents_logged", "LOGGED IN"}, {"agents_ready", "READY"}, {"agents_busy", "BUSY"},
}

const mostColumns = 6

// columnsOf chooses the statistics that a table of these entities shows.
func columnsOf(list []entity) (stats, heads []string) {
	has := map[string]bool{}
	for _, x := range list {
		for name := range x.told.Data.After {
			has[name] = true
		}
	}
	for _, n := range mainNumbers {
		if has[n[0]] {
			stats, heads = append(stats, n[0]), append(heads, n[1])
		}
	}
	if len(stats) > 0 {
		return stats, heads
	}
	for _, name := range sorted(has) {
		if name != "name" && len(stats) < mostColumns {
			stats, heads = append(stats, name), append(heads, name)
		}
	}
	return stats, heads
}

func (p *present) tellServices(w io.Writer, paint paintFunc, width int) {
	available := map[string]*bool{}
	known := map[string]bool{}
	for _, x := range p.Availability {
		available[x.ID], known[x.ID] = x.told.Data.Available, true
	}
	rows := slices.Clone(p.Services)
	for _, x := range p.Availability { // services that no grid shows
		if !slices.ContainsFunc(rows, func(s entity) bool { return s.ID == x.ID }) {
			rows = append(rows, entity{ID: x.ID})
		}
	}
	slices.SortFunc(rows, func(a, b entity) int { return cmp.Compare(a.ID, b.ID) })
	if len(rows) > 0 {
		stats, heads := columnsOf(p.Services)
		t := table{head: append([]string{"SERVICE", "AVAILABLE"}, heads...)}
		for _, x := range rows {
			colour, can := "", "–"
			if known[x.ID] {
				can = yesNo(available[x.ID])
			}
			if can == "no" || can == "unknown" {
				colour = yellow
			}
			t.add(colour, append([]string{x.ID, can}, x.values(stats)...)...)
		}
		t.write(w, paint, width)
	}
	if len(p.Totals) > 0 {
		stats, heads := columnsOf(p.Totals)
		t := table{head: append([]string{"TOTALS"}, heads...)}
		for _, x := range p.Totals {
			t.add("", append([]string{x.ID}, x.values(stats)...)...)
		}
		t.write(w, paint, width)
	}
}

func (x *entity) values(stats []string) []string {
	var out []string
	for _, s := range stats {
		out = append(out, text(x.told.Data.After[s]))
	}
	return out
}

// stateWords orders states for people: those who work first.
var stateWords = []string{"ready", "busy", "after_call_work", "not_ready"}

func (p *present) tellAgents(w io.Writer, paint paintFunc, now time.Time, all bool, width int) {
	count := map[string]int{}
	t := table{head: []string{"AGENT", "NAME", "STATE", "FOR", "TEAM"}}
	rows := slices.SortedStableFunc(slices.Values(p.Agents), func(a, b entity) int {
		return cmp.Or(rank(a.told.state())-rank(b.told.state()), cmp.Compare(a.told.state(), b.told.state()), cmp.Compare(a.ID, b.ID))
	})
	for _, x := range rows {
		state, d := x.told.state(), &x.told.Data
		count[state]++
		if state == "logged_out" && !all {
			continue
		}
		colour := map[string]string{"ready": green, "not_ready": yellow, "logged_out": faint}[state]
		t.add(colour, x.ID, d.Agent.Name, x.told.stateText(), x.held(now), d.Agent.Team)
	}
	var parts []string
	for _, state := range slices.SortedFunc(slices.Values(sorted(count)), func(a, b string) int { return rank(a) - rank(b) }) {
		parts = append(parts, fmt.Sprintf("%d %s", count[state], cmp.Or(state, "in a state that is not asked for")))
	}
	fmt.Fprintf(w, "\n%d agents: %s\n", len(p.Agents), cmp.Or(strings.Join(parts, ", "), "none"))
	if len(t.rows) > 0 {
		t.write(w, paint, width)
	}
}

func rank(state string) int {
	if state == "logged_out" {
		return len(stateWords) + 1
	}
	if i := slices.Index(stateWords, state); i >= 0 {
		return i
	}
	return len(stateWords)
}

// state is an agent's present state as the stream tells it.
func (e *told) state() string {
	state, known := e.Data.After["acd_state"]
	if known && (state == "" || state == "0") {
		return "logged_out"
	}
	return state
}

func (e *told) stateText() string {
	s := agentState{e.state(), e.Data.After["acd_next_state"], e.Data.After["reason"]}
	return s.String()
}

// held is how long an agent has been in its state: the clock of its last image,
// which went on since.
func (x *entity) held(now time.Time) string {
	d, err := time.ParseDuration(x.told.Data.After["state_duration"] + "s")
	if err != nil {
		return "–"
	}
	return roughly(d + now.Sub(x.Time))
}

// roughly writes a duration as people say it.
func roughly(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// table writes rows in columns; colours do not disturb the widths, and the last
// column gives way on a narrow terminal.
type table struct {
	head    []string
	rows    [][]string
	colours []string
}

func (t *table) add(colour string, cells ...string) {
	t.rows, t.colours = append(t.rows, cells), append(t.colours, colour)
}

func (t *table) write(w io.Writer, paint paintFunc, most int) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], min(columns(cell), widestCell))
		}
	}
	line := func(row []string) string {
		var b strings.Builder
		for i, cell := range row {
			if i < len(row)-1 {
				b.WriteString(pad(cell, widths[i]) + "  ")
			} else {
				b.WriteString(clip(cell, widths[i]))
			}
		}
		if most > 0 {
			return clip(b.String(), most)
		}
		return b.String()
	}
	fmt.Fprintf(w, "\n%s\n", paint(faint, line(t.head)))
	for i, row := range t.rows {
		fmt.Fprintln(w, paint(t.colours[i], line(row)))
	}
}

// widestCell keeps one long name from pushing all else off the screen.
const widestCell = 36
