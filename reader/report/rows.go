package report

import (
	"cmp"
	"slices"
	"time"

	"bpcc-nats/bridge/event"
)

// Report returns the sums. The fold must not be used after it. The error is [ErrNoObservation].
func (f *Fold) Report() (*Report, error) {
	if !f.begun {
		return nil, ErrNoObservation
	}
	f.end()
	from, to := f.inRange(never, forever)
	instant := func(at int64) time.Time { return time.Unix(0, at).In(f.zone) }
	r := &Report{Since: instant(f.first), Until: instant(f.until), First: instant(f.first), Missing: f.lost, Foreign: f.foreign}
	if f.since != never {
		r.Since = instant(f.since)
	}
	days := map[int]*span{}
	f.eachDay(from, to, func(day int, from, to int64) {
		days[day] = &span{from, to}
		if f.since != never && day == f.calendar.day(f.first) { // with what is before the first observation
			days[day].from = min(from, max(f.since, f.calendar.begins[day]))
		}
		s := days[day]
		r.Days = append(r.Days, Day{
			Date: f.calendar.dates[day], Since: instant(s.from), Until: instant(to),
			Unseen: time.Duration(f.gaps.overlap(from, to) + from - s.from),
		})
	})
	services := map[string]*Service{}
	for _, t := range f.timelines {
		for day, l := range t.days {
			s := days[day]
			if s == nil { // after the last observation
				continue
			}
			b := bounds{l: l, before: max(f.first-s.from, 0), most: s.to - s.from}
			date := f.calendar.dates[day]
			if t.kind == string(event.Agent) {
				r.Agents = append(r.Agents, t.agents(date, b)...)
				continue
			}
			key := date + " " + t.id
			if services[key] == nil {
				services[key] = &Service{Day: date, Service: t.id, Rules: []Rule{}}
			}
			t.addTo(services[key], b)
		}
	}
	for _, s := range services {
		if s.Unavailable == nil && s.LongestWait == nil && len(s.Rules) == 0 {
			continue
		}
		slices.SortFunc(s.Rules, func(a, b Rule) int { return cmp.Compare(a.Rule, b.Rule) })
		r.Services = append(r.Services, *s)
	}
	slices.SortFunc(r.Agents, func(a, b Agent) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Team, b.Team), cmp.Compare(a.State, b.State), cmp.Compare(a.Reason, b.Reason))
	})
	slices.SortFunc(r.Services, func(a, b Service) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Service, b.Service)) })
	return r, nil
}

// bounds makes ranges out of what is counted on a day.
type bounds struct {
	l      *ledger
	before int64 // how much of the day is before the first observation
	most   int64 // how much of the day the report has
}

func (b *bounds) of(a *amount) Range {
	return Range{
		AtLeast: time.Duration(a.least),
		AtMost:  time.Duration(min(a.least+a.perhaps+b.l.trips+b.l.unseen, b.most-b.before)),
		Unseen:  b.unseen(),
	}
}

func (b *bounds) unseen() time.Duration { return time.Duration(b.l.unseen + b.before) }

// agents returns the rows of an agent on a day.
func (t *timeline) agents(date string, b bounds) []Agent {
	var rows []Agent
	for c, a := range b.l.cells {
		r := b.of(a)
		if r.AtMost == 0 && a.times == 0 {
			continue
		}
		rows = append(rows, Agent{date, t.id, t.name, c.team, c.state, c.reason, a.times, a.logIns, a.trips, r})
	}
	return rows
}

// addTo adds the figures of a service on a day.
func (t *timeline) addTo(s *Service, b bounds) {
	figure := func(state string) Figure {
		a := b.l.cells[cell{state: state}]
		if a == nil {
			a = &amount{}
		}
		return Figure{a.times, b.of(a)}
	}
	switch t.kind {
	case "service":
		if b.l.waited {
			r := b.l.wait
			r.Unseen = b.unseen()
			s.LongestWait = &r
		}
	case "availability":
		u := figure(stateUnavailable)
		s.Unavailable = &u
	default:
		if r := figure(stateRaised); b.l.cells[cell{state: stateRaised}] != nil {
			s.Rules = append(s.Rules, Rule{t.rule, r})
		}
	}
}
