package bpcctest

import (
	"math"
	"time"
)

// service is a Service with what the tenant keeps about it.
type service struct {
	Service
	day     serviceDay
	waiting []time.Time // arrivals of the calls in queue, the oldest first
}

// serviceDay is what has come to a service since the daily reset.
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

// serviceStats names the statistics of services and totals, which share one name
// space, and says how a total comes from its services.
var serviceStats = map[string]func(l load) (value float64, ok bool){
	"name":                         func(load) (float64, bool) { return 0, false }, // text, and no total
	"service_level_target":         mean("service_level_target"),
	"service_level_threshold_time": mean("service_level_threshold_time"),
	"service_level":                weighted("service_level", "in_calls_received_per_day"),
	"in_average_speed_of_answer":   weighted("in_average_speed_of_answer", "in_calls_received_per_day"),
	"in_calls_waiting":             sum("in_calls_waiting"),
	"in_max_wait_time":             most("in_max_wait_time"),
	"in_calls_queued_per_day":      sum("in_calls_queued_per_day"),
	"in_calls_received_per_day":    sum("in_calls_received_per_day"),
	"out_calls_answered_per_day":   sum("out_calls_answered_per_day"),

	"in_calls_abandoned_in_queue_per_day":             sum("in_calls_abandoned_in_queue_per_day"),
	"in_calls_short_abandoned_in_queue_per_day":       sum("in_calls_short_abandoned_in_queue_per_day"),
	"in_calls_abandoned_total_per_day":                sum("in_calls_abandoned_total_per_day"),
	"in_calls_abandoned_in_queue_ratio_per_day":       ratio("in_calls_abandoned_in_queue_per_day"),
	"in_calls_short_abandoned_in_queue_ratio_per_day": ratio("in_calls_short_abandoned_in_queue_per_day"),
	"in_calls_abandoned_percent_per_day":              ratio("in_calls_abandoned_total_per_day"),

	// The agents of a total are people, not the sum over services: who has two
	// skills is one agent.
	"agents_logged": func(l load) (float64, bool) { return float64(l.people.logged), true },
	"agents_busy":   func(l load) (float64, bool) { return float64(l.people.busy), true },
	"agents_ready":  func(l load) (float64, bool) { return float64(l.people.ready), true },
}

// text prints a number as its statistic travels: durations in whole seconds,
// all else with up to four decimals.
func text(stat string, v float64) string {
	switch stat {
	case "in_average_speed_of_answer", "in_max_wait_time", "service_level_threshold_time":
		v = math.Floor(v)
	}
	return decimal(v)
}

// headcount counts agents by what they do.
type headcount struct{ logged, busy, ready int }

func (h *headcount) add(state string) {
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

// load is one look at a number of services.
type load struct {
	services []*service
	now      time.Time
	heads    map[string]*headcount // by service
	people   headcount             // over all services together
}

// value is one cell of a service grid.
func (l load) value(s *service, stat string) string {
	if v, ok := s.Stats[stat]; ok {
		return v
	}
	if stat == "name" {
		return s.Name
	}
	if v, ok := l.count(s, stat); ok {
		return text(stat, v)
	}
	return ""
}

// total is a total over the services.
func (l load) total(stat string) string {
	if of := serviceStats[stat]; of != nil {
		if v, ok := of(l); ok {
			return text(stat, v)
		}
		return ""
	}
	// A statistic of a script's own making is added up where it is a number.
	for _, s := range l.services {
		if _, ok := s.Stats[stat]; ok {
			v, _ := sum(stat)(l)
			return decimal(v)
		}
	}
	return ""
}

// count is the number behind a cell, false when there is none: the statistic is
// unknown, an average is over nothing, or somebody has overridden it with text.
func (l load) count(s *service, stat string) (float64, bool) {
	if v, ok := s.Stats[stat]; ok {
		return number(v)
	}
	d := &s.day
	switch stat {
	case "service_level_threshold_time":
		return levelThreshold.Seconds(), true
	case "service_level_target":
		return levelTarget, true
	case "service_level":
		return share(d.inTime, d.answered+d.abandoned)
	case "in_average_speed_of_answer":
		return share(int(d.waited/time.Second), d.answered)
	case "in_calls_waiting":
		return float64(len(s.waiting)), true
	case "in_max_wait_time":
		if len(s.waiting) == 0 {
			return 0, true
		}
		return float64(max(l.now.Sub(s.waiting[0]), 0) / time.Second), true
	case "in_calls_queued_per_day":
		return float64(d.queued), true
	case "in_calls_received_per_day":
		return float64(d.received), true
	case "in_calls_abandoned_in_queue_per_day":
		return float64(d.abandoned), true
	case "in_calls_short_abandoned_in_queue_per_day":
		return float64(d.shortAbandoned), true
	case "in_calls_abandoned_total_per_day":
		long, _ := l.count(s, "in_calls_abandoned_in_queue_per_day")
		short, _ := l.count(s, "in_calls_short_abandoned_in_queue_per_day")
		return long + short, true
	case "out_calls_answered_per_day":
		return float64(d.outAnswered), true
	}
	heads := l.heads[s.Name]
	if heads == nil {
		heads = &headcount{}
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
		return ratio(part)(load{services: []*service{s}, now: l.now, heads: l.heads})
	}
	return 0, false
}

// ratios says which count each ratio is the share of.
var ratios = map[string]string{
	"in_calls_abandoned_in_queue_ratio_per_day":       "in_calls_abandoned_in_queue_per_day",
	"in_calls_short_abandoned_in_queue_ratio_per_day": "in_calls_short_abandoned_in_queue_per_day",
	"in_calls_abandoned_percent_per_day":              "in_calls_abandoned_total_per_day",
}

func share(part, whole int) (float64, bool) {
	if whole == 0 {
		return 0, false
	}
	return float64(part) / float64(whole), true
}

func sum(stat string) func(load) (float64, bool) {
	return func(l load) (float64, bool) {
		total := 0.0
		for _, s := range l.services {
			v, _ := l.count(s, stat)
			total += v
		}
		return total, true
	}
}

func most(stat string) func(load) (float64, bool) {
	return func(l load) (float64, bool) {
		top := 0.0
		for _, s := range l.services {
			v, _ := l.count(s, stat)
			top = max(top, v)
		}
		return top, true
	}
}

// ratio is a count's share of the calls received.
func ratio(stat string) func(load) (float64, bool) {
	part, whole := sum(stat), sum("in_calls_received_per_day")
	return func(l load) (float64, bool) {
		of, _ := whole(l)
		if of == 0 {
			return 0, false
		}
		v, _ := part(l)
		return v / of, true
	}
}

// mean is the plain average over the services that have a value.
func mean(stat string) func(load) (float64, bool) {
	return func(l load) (float64, bool) {
		total, n := 0.0, 0
		for _, s := range l.services {
			if v, ok := l.count(s, stat); ok {
				total += v
				n++
			}
		}
		return total / float64(max(n, 1)), n > 0
	}
}

// weighted is the average over the services that have a value, by a count; the
// plain one while that count is nil everywhere.
func weighted(stat, by string) func(load) (float64, bool) {
	plain := mean(stat)
	return func(l load) (float64, bool) {
		total, weights := 0.0, 0.0
		for _, s := range l.services {
			if v, ok := l.count(s, stat); ok {
				weight, _ := l.count(s, by)
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
