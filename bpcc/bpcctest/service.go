package bpcctest

import (
	"math"
	"time"
)

// service is a Service with the state that the tenant keeps for it.
type service struct {
	Service
	day     serviceDay
	waiting []time.Time // arrivals of the calls in queue, the oldest first
}

// serviceDay is the counts of a service since the daily reset.
type serviceDay struct {
	received, queued, answered, inTime int
	abandoned, shortAbandoned          int // after and before the short-abandon limit
	outAnswered                        int
	waited                             time.Duration // of all answered calls together
}

// The service level that the simulated tenant has set itself, unless overridden.
const (
	levelThreshold = 20 * time.Second
	levelTarget    = 0.8
)

// serviceStats names the statistics of services and totals, which share one name space, and
// computes the totals from the services.
var serviceStats = map[string]func(l serviceView) (value float64, ok bool){
	"name":                         func(serviceView) (float64, bool) { return 0, false }, // text, and no total
	"service_level_target":         average("service_level_target"),
	"service_level_threshold_time": average("service_level_threshold_time"),
	"service_level":                weighted("service_level", "in_calls_received_per_day"),
	"in_average_speed_of_answer":   weighted("in_average_speed_of_answer", "in_calls_received_per_day"),
	"in_calls_waiting":             sum("in_calls_waiting"),
	"in_max_wait_time":             maximum("in_max_wait_time"),
	"in_calls_queued_per_day":      sum("in_calls_queued_per_day"),
	"in_calls_received_per_day":    sum("in_calls_received_per_day"),
	"out_calls_answered_per_day":   sum("out_calls_answered_per_day"),

	"in_calls_abandoned_in_queue_per_day":             sum("in_calls_abandoned_in_queue_per_day"),
	"in_calls_short_abandoned_in_queue_per_day":       sum("in_calls_short_abandoned_in_queue_per_day"),
	"in_calls_abandoned_total_per_day":                sum("in_calls_abandoned_total_per_day"),
	"in_calls_abandoned_in_queue_ratio_per_day":       ratio("in_calls_abandoned_in_queue_per_day"),
	"in_calls_short_abandoned_in_queue_ratio_per_day": ratio("in_calls_short_abandoned_in_queue_per_day"),
	"in_calls_abandoned_percent_per_day":              ratio("in_calls_abandoned_total_per_day"),

	// The agents of a total are people, not the sum over services: an agent with two skills counts
	// once.
	"agents_logged": func(l serviceView) (float64, bool) { return float64(l.allAgents.logged), true },
	"agents_busy":   func(l serviceView) (float64, bool) { return float64(l.allAgents.busy), true },
	"agents_ready":  func(l serviceView) (float64, bool) { return float64(l.allAgents.ready), true },
}

// formatStat formats a number as the API sends the statistic: durations in whole seconds,
// everything else with up to four decimals.
func formatStat(stat string, v float64) string {
	switch stat {
	case "in_average_speed_of_answer", "in_max_wait_time", "service_level_threshold_time":
		v = math.Floor(v)
	}
	return formatDecimal(v)
}

// agentCount counts agents by state.
type agentCount struct{ logged, busy, ready int }

func (h *agentCount) countState(state string) {
	switch state {
	case "":
		return
	case "busy":
		h.busy++
	case "ready":
		h.ready++
	}
	h.logged++
}

// serviceView is the values of some services.
type serviceView struct {
	services    []*service
	now         time.Time
	agentCounts map[string]*agentCount // by service
	allAgents   agentCount             // over all services
}

// statText returns one cell of a service grid.
func (l serviceView) statText(s *service, stat string) string {
	if v, ok := s.Stats[stat]; ok {
		return v
	}
	if stat == "name" {
		return s.Name
	}
	if v, ok := l.statNumber(s, stat); ok {
		return formatStat(stat, v)
	}
	return ""
}

// totalText returns a total over the services.
func (l serviceView) totalText(stat string) string {
	if of := serviceStats[stat]; of != nil {
		if v, ok := of(l); ok {
			return formatStat(stat, v)
		}
		return ""
	}
	// A statistic that a script has defined is summed where it is a number.
	for _, s := range l.services {
		if _, ok := s.Stats[stat]; ok {
			v, _ := sum(stat)(l)
			return formatDecimal(v)
		}
	}
	return ""
}

// statNumber returns the number of a cell, false when there is none: the statistic is unknown, an
// average is over nothing, or a script has set it to text.
func (l serviceView) statNumber(s *service, stat string) (float64, bool) {
	if v, ok := s.Stats[stat]; ok {
		return parseNumber(v)
	}
	if count := serviceCounts[stat]; count != nil {
		return float64(count(s)), true
	}
	d := &s.day
	switch stat {
	case "service_level_threshold_time":
		return levelThreshold.Seconds(), true
	case "service_level_target":
		return levelTarget, true
	case "service_level":
		return ratioOf(d.inTime, d.answered+d.abandoned)
	case "in_average_speed_of_answer":
		return ratioOf(int(d.waited/time.Second), d.answered)
	case "in_max_wait_time":
		if len(s.waiting) == 0 {
			return 0, true
		}
		return float64(max(l.now.Sub(s.waiting[0]), 0) / time.Second), true
	case "in_calls_abandoned_total_per_day":
		long, _ := l.statNumber(s, "in_calls_abandoned_in_queue_per_day")
		short, _ := l.statNumber(s, "in_calls_short_abandoned_in_queue_per_day")
		return long + short, true
	}
	heads := l.agentCounts[s.Name]
	if heads == nil {
		heads = &agentCount{}
	}
	switch stat {
	case "agents_logged":
		return float64(heads.logged), true
	case "agents_busy":
		return float64(heads.busy), true
	case "agents_ready":
		return float64(heads.ready), true
	}
	if part, ok := ratios[stat]; ok {
		return ratio(part)(serviceView{services: []*service{s}, now: l.now, agentCounts: l.agentCounts})
	}
	return 0, false
}

// serviceCounts are the statistics of a service that are counted.
var serviceCounts = map[string]func(s *service) int{
	"in_calls_waiting":                          func(s *service) int { return len(s.waiting) },
	"in_calls_queued_per_day":                   func(s *service) int { return s.day.queued },
	"in_calls_received_per_day":                 func(s *service) int { return s.day.received },
	"in_calls_abandoned_in_queue_per_day":       func(s *service) int { return s.day.abandoned },
	"in_calls_short_abandoned_in_queue_per_day": func(s *service) int { return s.day.shortAbandoned },
	"out_calls_answered_per_day":                func(s *service) int { return s.day.outAnswered },
}

// ratios maps each ratio to the count that it is the share of.
var ratios = map[string]string{
	"in_calls_abandoned_in_queue_ratio_per_day":       "in_calls_abandoned_in_queue_per_day",
	"in_calls_short_abandoned_in_queue_ratio_per_day": "in_calls_short_abandoned_in_queue_per_day",
	"in_calls_abandoned_percent_per_day":              "in_calls_abandoned_total_per_day",
}

func ratioOf(part, total int) (float64, bool) {
	if total == 0 {
		return 0, false
	}
	return float64(part) / float64(total), true
}

func sum(stat string) func(serviceView) (float64, bool) {
	return func(l serviceView) (float64, bool) {
		total := 0.0
		for _, s := range l.services {
			v, _ := l.statNumber(s, stat)
			total += v
		}
		return total, true
	}
}

func maximum(stat string) func(serviceView) (float64, bool) {
	return func(l serviceView) (float64, bool) {
		top := 0.0
		for _, s := range l.services {
			v, _ := l.statNumber(s, stat)
			top = max(top, v)
		}
		return top, true
	}
}

// ratio is a count's share of the calls received.
func ratio(stat string) func(serviceView) (float64, bool) {
	part, total := sum(stat), sum("in_calls_received_per_day")
	return func(l serviceView) (float64, bool) {
		of, _ := total(l)
		if of == 0 {
			return 0, false
		}
		v, _ := part(l)
		return v / of, true
	}
}

// average is the plain average over the services that have a value.
func average(stat string) func(serviceView) (float64, bool) {
	return func(l serviceView) (float64, bool) {
		total, n := 0.0, 0
		for _, s := range l.services {
			if v, ok := l.statNumber(s, stat); ok {
				total += v
				n++
			}
		}
		return total / float64(max(n, 1)), n > 0
	}
}

// weighted is the average over the services that have a value, by a count; the
// plain one while that count is nil everywhere.
func weighted(stat, by string) func(serviceView) (float64, bool) {
	plain := average(stat)
	return func(l serviceView) (float64, bool) {
		total, weights := 0.0, 0.0
		for _, s := range l.services {
			if v, ok := l.statNumber(s, stat); ok {
				weight, _ := l.statNumber(s, by)
				total += v * weight
				weights += weight
			}
		}
		if weights == 0 {
			return plain(l)
		}
		return total / weights, true
	}
}
