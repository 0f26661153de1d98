package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report turns results into text and charts.
type report struct {
	options   options
	startedAt time.Time
	args      []string
	results   []result
	fleets    []fleetResult
}

// summary is the result of the rounds of one run: the medians of the resources, and of all
// latencies.
type summary struct {
	cost, server, latency time.Duration
	peak, bytes           int
	hasEvents             bool // there were events to be stored
	late                  bool // events of a poll were stored after the next one's request
}

// summarize returns the summary of a contender's runs; there may be none.
func (r *report) summarize(name string, agents int, l load) (s summary, found bool) {
	var cost, server, latency []time.Duration
	var peak []int
	for _, result := range r.results {
		if result.contender != name || result.agents != agents || result.load != l {
			continue
		}
		found = true
		cost, server, peak = append(cost, result.cost), append(server, result.server), append(peak, result.peak)
		latency = append(latency, result.latency...)
		s.bytes = result.bytes
		s.late = s.late || slices.Min(result.events) != slices.Max(result.events)
	}
	s.cost, s.server, s.latency, s.peak, s.hasEvents = median(cost), median(server), median(latency), median(peak), len(latency) > 0
	return s, found
}

// write prints the tables, and stores them with the charts if out is set.
func (r *report) write() error {
	var text bytes.Buffer
	r.writeHeader(&text)
	if !r.options.skipTable {
		r.writeTable(&text)
	}
	if !r.options.skipSizes {
		r.writeSizes(&text)
	}
	if len(r.fleets) > 0 {
		r.writeFleets(&text)
	}
	if _, err := os.Stdout.Write(text.Bytes()); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	if r.options.out == "" {
		return nil
	}
	byHand, err := notes(filepath.Join(r.options.out, "results.md"))
	if err != nil {
		return err
	}
	files := map[string][]byte{"results.md": append(text.Bytes(), byHand...)}
	if !r.options.skipTable {
		files["changes.svg"] = r.costByChanges()
	}
	if !r.options.skipSizes {
		files["agents.svg"] = r.costByAgents()
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(r.options.out, name), content, 0o644); err != nil {
			return fmt.Errorf("write results: %w", err)
		}
	}
	return nil
}

// notesMark begins the part of results.md that is written by hand.
const notesMark = "\n<!-- Written by hand from here on; a run keeps it. -->\n"

// notes returns the part of a file of results that is written by hand, nil if there is none.
func notes(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	if i := bytes.Index(text, []byte(notesMark)); i >= 0 {
		return text[i:], nil
	}
	return nil, nil
}

func (r *report) writeHeader(w io.Writer) {
	o := r.options
	fmt.Fprintf(w, "# The bridge and its peers, side by side\n\n")
	fmt.Fprintf(w, "Written by `%s` on %s: %s, %d processors, %s, %s.\n", strings.TrimSpace("go run ./bench "+strings.Join(r.args, " ")),
		r.startedAt.UTC().Format("2006-01-02"), processorName(), runtime.NumCPU(), kernelVersion(), runtime.Version())
	fmt.Fprintf(w, `
A poll every %v of a simulated tenant: %d columns an agent and %d a service, one service for 20 agents. "1 %%" is the
share of rows in which a counter went up since the last poll; "clocks" is that no counter did, but two running clocks in
every agent's row and one in every service's. Each contender is a process of its own before a nats-server process of its
own (file storage). %d polls are measured after %d to warm up; the contenders take turns, %d rounds of the table.
`, o.interval, len(agentStats()), len(serviceStats()), o.polls, o.warm, o.rounds)
}

// writeTable writes the comparison at one size.
func (r *report) writeTable(w io.Writer) {
	o := r.options
	some, _ := r.summarize(o.contenders[0], o.agents, loads()[0])
	fmt.Fprintf(w, "\n## %s agents and %s services, %.1f MB a poll\n\n| rows changed | %s |", formatThousands(o.agents), formatThousands(o.services),
		float64(some.bytes)/1e6, strings.Join(o.contenders, " | "))
	others := o.contenders[1:]
	for _, name := range others {
		fmt.Fprintf(w, " %s ÷ %s |", name, o.contenders[0])
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("--:|", len(o.contenders)+len(others)))
	late := false
	section := func(title string, ratios bool, value func(summary) (float64, bool)) {
		fmt.Fprintf(w, "| **%s** |%s\n", title, strings.Repeat(" |", len(o.contenders)+len(others)))
		for _, l := range loads() {
			fmt.Fprintf(w, "| %s |", l.Name)
			var values []float64
			for _, name := range o.contenders {
				s, _ := r.summarize(name, o.agents, l)
				v, ok := value(s)
				cell := "–"
				if ok {
					cell = formatNumber(v)
					if s.late {
						cell, late = cell+" *", true
					}
				}
				if !ok {
					v = 0
				}
				values = append(values, v)
				fmt.Fprintf(w, " %s |", cell)
			}
			for _, v := range values[1:] {
				cell := "–"
				if ratios && v > 0 && values[0] > 0 {
					cell = formatNumber(v/values[0]) + "×"
				}
				fmt.Fprintf(w, " %s |", cell)
			}
			fmt.Fprintln(w)
		}
	}
	section("processor time a poll, ms", true, func(s summary) (float64, bool) { return ms(s.cost), s.cost > 0 })
	section("last byte of the response → last event stored, ms", true, func(s summary) (float64, bool) { return ms(s.latency), s.hasEvents })
	section("peak memory, MB", true, func(s summary) (float64, bool) { return mb(s.peak), s.peak > 0 })
	section("the NATS server's processor time a poll, ms", false, func(s summary) (float64, bool) { return ms(s.server), s.server > 0 })
	fmt.Fprintf(w, `
Processor time is user and kernel of the whole process from one request to the next, so with everything that it does
between polls. The time to the last event runs until the stamp that the server gave the last message of the poll, with the
bridge its checkpoint. Memory is the most that was resident, at the first poll included, which publishes every row.
`)
	if late {
		fmt.Fprintln(w, "\n\\* Did not keep up: events of one poll were stored after the next request.")
	}
}

// writeSizes writes the bridge's cost against the numbers of rows and of changes.
func (r *report) writeSizes(w io.Writer) {
	idleLoad, few, many := loads()[0], loads()[1], loads()[2]
	fmt.Fprintf(w, "\n## The bridge against the number of agents\n\n"+
		"| agents | MB a poll | ms a poll, 0 %% | 1 %% | 10 %% | ns a byte, 0 %% | µs a changed row, 10 %% | µs a changed row, server | peak MB, 1 %% |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, agents := range r.options.sizes {
		a, ok := r.summarize(bridgeContender, agents, idleLoad)
		b, _ := r.summarize(bridgeContender, agents, few)
		c, _ := r.summarize(bridgeContender, agents, many)
		if !ok {
			continue
		}
		rows := newWorld(agents, max(agents/20, 1), many).changes()
		fmt.Fprintf(w, "| %s | %.2f | %s | %s | %s | %s | %s | %s | %s |\n", formatThousands(agents), float64(a.bytes)/1e6,
			formatNumber(ms(a.cost)), formatNumber(ms(b.cost)), formatNumber(ms(c.cost)), formatNumber(float64(a.cost)/float64(a.bytes)),
			formatNumber(float64(c.cost-a.cost)/1e3/float64(rows)), formatNumber(float64(c.server-a.server)/1e3/float64(rows)), formatNumber(mb(b.peak)))
	}
	r.writeCostModel(w)
}

// writeCostModel writes what a poll of the bridge costs, as one formula for all sizes and shares.
func (r *report) writeCostModel(w io.Writer) {
	var costs []float64 // ms
	var of [][]float64
	for _, agents := range r.options.sizes {
		for _, l := range loads()[:3] {
			s, ok := r.summarize(bridgeContender, agents, l)
			if !ok {
				continue
			}
			rows := float64(newWorld(agents, max(agents/20, 1), l).changes())
			costs = append(costs, ms(s.cost))
			of = append(of, []float64{1, min(rows, 1), float64(s.bytes) / 1e6, rows / 1e3})
		}
	}
	c, ok := leastSquares(of, costs)
	if !ok {
		return
	}
	worst := 0.0
	for i, x := range of {
		law := c[0]*x[0] + c[1]*x[1] + c[2]*x[2] + c[3]*x[3]
		worst = max(worst, math.Abs(law/costs[i]-1))
	}
	fmt.Fprintf(w, "\nFitted to all of these: **%s ms a poll, %s ms more if it publishes anything, %s ns a byte, %s µs a changed row**. That is\n"+
		"within %.0f %% of each figure of the bridge above.\n",
		formatNumber(c[0]), formatNumber(c[1]), formatNumber(c[2]), formatNumber(c[3]), 100*worst)
}

// formatNumber formats a number with a useful number of digits.
func formatNumber(v float64) string {
	switch {
	case v >= 1000:
		return formatThousands(int(math.Round(v)))
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func formatThousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func processorName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}

func kernelVersion() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(text))
}
