// Package figures turns what is published of a contact centre into metrics for Prometheus: the statistics that
// are chosen, agents by team and state, and available services.
package figures

import (
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
)

// MaxSeries bounds the series of a tenant.
const MaxSeries = 2000

// prefix begins the names of the metrics.
const prefix = "bpcc_"

// Tenant makes the metrics of one tenant. It may be used by several goroutines.
type Tenant struct {
	name      string
	log       *slog.Logger
	patterns  *regexp.Regexp // of statistics
	agents    *prometheus.Desc
	available *prometheus.Desc
	cut       *prometheus.Desc

	mu        sync.Mutex                  // guards the fields below
	descs     map[string]*prometheus.Desc // of statistics, by the names of their metrics
	cutLogged bool
}

// New returns the metrics of a tenant, with the statistics that match the patterns, of which there is one at
// least.
func New(tenant string, patterns []string, log *slog.Logger) *Tenant {
	return &Tenant{
		name: tenant, log: log, patterns: rule.Globs(patterns), descs: map[string]*prometheus.Desc{},
		agents:    prometheus.NewDesc(prefix+"agents", "Agents who are present, by team and state; leader of a live feed only.", []string{"tenant", "team", "state"}, nil),
		available: prometheus.NewDesc(prefix+"service_available", "Whether an agent is available for a service; absent while that is not known. Leader only.", []string{"tenant", "service"}, nil),
		cut:       prometheus.NewDesc(prefix+"bridge_metrics_series_cut", "Series of statistics, agents and availability that /metrics leaves out: beyond the bound, or of the name of another.", []string{"tenant"}, nil),
	}
}

// scrape is one collection of the metrics of a tenant.
type scrape struct {
	*Tenant
	ch       chan<- prometheus.Metric
	sent     map[string]bool // series, by name and labels
	n        int             // how many there are
	leftOut  int
	firstOut string // the name of the first metric with a series that is left out
}

// Collect sends the metrics of what is published. Agents come first, then availability, totals and services by
// name, so that the same series are left out each time.
func (t *Tenant) Collect(ch chan<- prometheus.Metric, p answer.Picture) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &scrape{Tenant: t, ch: ch, sent: map[string]bool{}}
	s.sendAgents(p.Agents)
	for _, service := range slices.Sorted(maps.Keys(p.Available)) {
		value := 0.0
		if p.Available[service] {
			value = 1
		}
		s.send(prefix+"service_available", t.available, value, service)
	}
	// There are several totals where several apps are subscribed. The first one counts.
	for _, e := range sorted(p.Totals) {
		s.sendStatistics("totals", e)
	}
	for _, e := range sorted(p.Services) {
		s.sendStatistics("service", e, e.ID)
	}
	ch <- prometheus.MustNewConstMetric(t.cut, prometheus.GaugeValue, float64(s.leftOut), t.name)
	if s.leftOut > 0 && !t.cutLogged {
		t.cutLogged = true
		t.log.Warn("business metrics left out", "left_out", s.leftOut, "bound", MaxSeries, "first", s.firstOut,
			"hint", "choose fewer statistics in BRIDGE_METRICS_STATS; where two have one name in Prometheus, one of them")
	}
}

func sorted(entities []answer.Entity) []answer.Entity {
	return slices.SortedFunc(slices.Values(entities), func(a, b answer.Entity) int { return strings.Compare(a.ID, b.ID) })
}

// states are those that every team has a series of, if no agent is in them.
var states = [...]string{"ready", "not_ready", "busy", "after_call_work", event.LoggedOut}

// sendAgents counts the agents by team and state.
func (s *scrape) sendAgents(agents []answer.Entity) {
	type group struct{ team, state string }
	count := map[group]int{}
	reader := event.NewAgentReader()
	for _, e := range agents {
		state, ref, _ := reader.Read(e.ID, e.Image)
		for _, other := range states {
			count[group{ref.Team, other}] += 0
		}
		count[group{ref.Team, state.State}]++
	}
	for _, g := range slices.SortedFunc(maps.Keys(count), func(a, b group) int {
		return strings.Compare(a.team+"\x00"+a.state, b.team+"\x00"+b.state)
	}) {
		s.send(prefix+"agents", s.agents, float64(count[g]), g.team, g.state)
	}
}

// sendStatistics sends the chosen statistics of an entity that are numbers.
func (s *scrape) sendStatistics(kind string, e answer.Entity, labels ...string) {
	for stat, text := range e.Image.All() {
		value, number := event.Decimal(text)
		if !number || !s.patterns.MatchString(stat) {
			continue
		}
		name := prefix + kind + "_" + metricName(stat)
		desc := s.descs[name]
		if desc == nil {
			names := append([]string{"tenant"}, []string{"service"}[:len(labels)]...)
			desc = prometheus.NewDesc(name, "A statistic of BPCC that BRIDGE_METRICS_STATS chooses; leader of a live feed only.", names, nil)
			s.descs[name] = desc
		}
		s.send(name, desc, value, labels...)
	}
}

// send sends a series, unless there is one of its name and labels already, or there are too many.
func (s *scrape) send(name string, desc *prometheus.Desc, value float64, labels ...string) {
	labels = append([]string{s.name}, labels...)
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\ufffd") // else the whole response would be an error
	}
	key := name + "\x00" + strings.Join(labels, "\x00")
	if s.sent[key] || s.n >= MaxSeries {
		if s.leftOut++; s.firstOut == "" {
			s.firstOut = name
		}
		return
	}
	s.n++
	s.sent[key] = true
	s.ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// metricName makes a part of a metric's name of a statistic's: what Prometheus does not allow becomes "_".
func metricName(stat string) string {
	var b strings.Builder
	for _, c := range stat {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	return strings.TrimSuffix(b.String(), "_")
}
