package bpcctest

import (
	"fmt"
	"strings"

	"bpcc-nats/bpcc"
)

// scope is what an API user supervises. The zero value is all teams.
type scope struct {
	teams map[string]bool // nil = all
	own   string          // the first team, the only one with my_subteam_only
}

func newScope(teams []string) scope {
	if len(teams) == 0 {
		return scope{}
	}
	s := scope{teams: map[string]bool{}, own: teams[0]}
	for _, team := range teams {
		s.teams[team] = true
	}
	return s
}

func (s scope) team(name string) bool { return s.teams == nil || s.teams[name] }

// servicesOf lists the services in a scope: all, or those that an agent of its teams has the skill
// for.
func (w *World) servicesOf(s scope) []*service {
	return w.servicesFor(func(a *agent) bool { return s.team(a.Team) }, s.teams == nil)
}

// servicesFor lists all services, or those that one of the agents has the skill for.
func (w *World) servicesFor(agents func(*agent) bool, all bool) []*service {
	var list []*service
	if all {
		for _, s := range w.services {
			list = append(list, s)
		}
		return list
	}
	seen := map[string]bool{}
	for _, a := range w.agents {
		if !agents(a) {
			continue
		}
		for _, name := range a.Services {
			if s := w.services[name]; s != nil && !seen[name] {
				seen[name] = true
				list = append(list, s)
			}
		}
	}
	return list
}

// idSet returns the set of the GUIDs; nil, which is no restriction, if there are none.
func idSet(ids []string) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[strings.ToUpper(id)] = true
	}
	return set
}

// serviceNames finds the names of the services with these GUIDs; nil stays nil.
func (w *World) serviceNames(ids map[string]bool) map[string]bool {
	if ids == nil {
		return nil
	}
	names := map[string]bool{}
	for name, s := range w.services {
		if ids[strings.ToUpper(s.ID)] {
			names[name] = true
		}
	}
	return names
}

// unknownStat returns an error for the first statistic of sub that neither the vendor nor a script
// has defined.
func (w *World) unknownStat(sub bpcc.Subscription) error {
	agentStat := func(name string) bool {
		known := agentStats[name] != nil
		for _, a := range w.agents {
			_, set := a.Stats[name]
			known = known || set
		}
		return known
	}
	serviceStat := func(name string) bool {
		_, known := serviceStats[name]
		for _, s := range w.services {
			_, set := s.Stats[name]
			known = known || set
		}
		return known
	}
	for _, app := range sub {
		for _, name := range app.StatsTotals {
			if _, ok := w.totals[name]; !ok && (name == "name" || !serviceStat(name)) && name != dispositionStat {
				return fmt.Errorf("unknown statistic %q in stats_totals", name)
			}
		}
		for _, g := range app.AgentGrids {
			for _, c := range g.Columns {
				if !agentStat(c.StatName) {
					return fmt.Errorf("unknown statistic %q in agent grid %q", c.StatName, g.ID)
				}
			}
		}
		for _, g := range app.ServiceGrids {
			for _, c := range g.Columns {
				if !serviceStat(c.StatName) {
					return fmt.Errorf("unknown statistic %q in service grid %q", c.StatName, g.ID)
				}
			}
		}
	}
	return nil
}
