package bpcctest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Agent is a user of the tenant as scripts set it.
type Agent struct {
	Login string `json:"login"`
	// UserID is the GUID; empty means [UserID] of the login.
	UserID string `json:"user_id"`
	First  string `json:"first"`
	Last   string `json:"last"`
	// Team is the team's name. A team is created with its first agent.
	Team      string `json:"team"`
	Extension string `json:"extension"`
	// Services names the services that the agent has the skill for.
	Services []string `json:"services"`
	// State is ready, not_ready, busy, after_call_work or any other text; empty means logged out.
	State     string `json:"state"`
	NextState string `json:"next_state"`
	// Reason is why the agent is not ready.
	Reason string `json:"reason"`
	// Stats overrides columns by statistic name, with "" too. Names outside the vendor's list
	// define statistics that are otherwise unknown.
	Stats map[string]string `json:"stats"`
}

// Service is a service (a queue) of the tenant as scripts set it.
type Service struct {
	Name string `json:"name"`
	// ID is the GUID; empty means [ServiceID] of the name.
	ID string `json:"id"`
	// Stats overrides columns by statistic name, with "" too. Ratios and totals
	// are computed from overridden counts.
	Stats map[string]string `json:"stats"`
}

// ChatMessage is a message of the internal chat.
type ChatMessage struct {
	ID, LoginID, FirstName, LastName string
	Sent                             time.Time
	Urgent                           bool
	Content                          string
}

// World is the state behind a tenant's statistics. It is passed to the callback of [Tenant.Update]
// and must not be used outside it.
type World struct {
	now          func() time.Time
	agents       map[string]*agent
	services     map[string]*service
	teams        []string
	dispositions []Disposition
	totals       map[string]string
	availability map[string]bool
	chat         []ChatMessage // oldest first
}

func newWorld(clock func() time.Time) *World {
	return &World{
		now:          clock,
		agents:       map[string]*agent{},
		services:     map[string]*service{},
		totals:       map[string]string{},
		availability: map[string]bool{},
		dispositions: []Disposition{
			{"Agent failure", false, true, true, false},
			{"Disposition not found", false, true, true, true},
			{"Dropped while talking", true, true, true, true},
			{"Offer rejected", true, false, true, true},
			{"Phone number out of service", true, false, true, true},
			{"Product sold", true, true, true, true},
			{"Silence", true, true, false, false},
			{"System failure", false, true, true, false},
			{"Wrong number", true, true, true, true},
		},
	}
}

// SetAgent adds an agent, or replaces the one with the same login. A change of state restarts its
// state_duration; the day's times and calls are kept.
func (w *World) SetAgent(a Agent) {
	a.Services, a.Stats = slices.Clone(a.Services), maps.Clone(a.Stats)
	if a.UserID == "" {
		a.UserID = UserID(a.Login)
	}
	in := w.agents[a.Login]
	now := w.now()
	if in == nil {
		in = &agent{since: now, accruedUntil: now}
		w.agents[a.Login] = in
	}
	in.accrue(now)
	if in.State != a.State {
		in.since = now
	}
	if in.teamID == "" || in.Team != a.Team {
		in.teamID = teamID(a.Team)
		w.addTeam(a.Team)
	}
	in.Agent = a
}

func teamID(name string) string {
	if name == "" {
		return ""
	}
	return TeamID(name)
}

// SetState changes only an agent's state and reason. An agent that does not exist is added.
func (w *World) SetState(login, state, reason string) {
	a := w.agent(login)
	now := w.now()
	a.accrue(now)
	if a.State != state {
		a.since = now
	}
	a.State, a.Reason = state, reason
}

// SetStateDuration makes an agent's state have lasted for d, without a change of the state: less than
// before sets its clock back. An agent that does not exist is added.
func (w *World) SetStateDuration(login string, d time.Duration) {
	w.agent(login).since = w.now().Add(-d)
}

// AddCalls adds to the calls that an agent has handled today; negative numbers correct them. An agent
// that does not exist is added.
func (w *World) AddCalls(login string, in, out int) {
	a := w.agent(login)
	a.today.callsIn, a.today.callsOut = max(a.today.callsIn+in, 0), max(a.today.callsOut+out, 0)
}

// SetAgentStat overrides one column of an agent. An agent that does not exist is
// added.
func (w *World) SetAgentStat(login, stat, value string) {
	a := w.agent(login)
	if a.Stats == nil {
		a.Stats = map[string]string{}
	}
	a.Stats[stat] = value
}

// Agent returns an agent as it is now, or false if there is none of that login.
func (w *World) Agent(login string) (Agent, bool) {
	a := w.agents[login]
	if a == nil {
		return Agent{}, false
	}
	out := a.Agent
	out.Services, out.Stats = slices.Clone(out.Services), maps.Clone(out.Stats)
	return out, true
}

func (w *World) agent(login string) *agent {
	if w.agents[login] == nil {
		w.SetAgent(Agent{Login: login})
	}
	return w.agents[login]
}

// RemoveAgent removes an agent and its row.
func (w *World) RemoveAgent(login string) { delete(w.agents, login) }

// SetService adds a service, or replaces the one with the same name. The day's calls are kept.
func (w *World) SetService(s Service) {
	s.Stats = maps.Clone(s.Stats)
	if s.ID == "" {
		s.ID = ServiceID(s.Name)
	}
	in := w.services[s.Name]
	if in == nil {
		in = &service{}
		w.services[s.Name] = in
	}
	in.Service = s
}

// SetServiceStat overrides one column of a service. A service that does not
// exist is added.
func (w *World) SetServiceStat(name, stat, value string) {
	if w.services[name] == nil {
		w.SetService(Service{Name: name})
	}
	s := w.services[name]
	if s.Stats == nil {
		s.Stats = map[string]string{}
	}
	s.Stats[stat] = value
}

// SetWaiting sets when the calls that wait for a service arrived, the oldest first. A service that does not
// exist is added.
func (w *World) SetWaiting(name string, arrivals ...time.Time) {
	if w.services[name] == nil {
		w.SetService(Service{Name: name})
	}
	w.services[name].waiting = slices.Clone(arrivals)
}

// Service returns a service as it is now, or false if there is none of that name.
func (w *World) Service(name string) (Service, bool) {
	s := w.services[name]
	if s == nil {
		return Service{}, false
	}
	out := s.Service
	out.Stats = maps.Clone(out.Stats)
	return out, true
}

// RemoveService removes a service, and the skill for it from all agents.
func (w *World) RemoveService(name string) {
	delete(w.services, name)
	for _, a := range w.agents {
		a.Services = slices.DeleteFunc(a.Services, func(s string) bool { return s == name })
	}
}

// SetTotal overrides a total, for all users and all choices of services.
func (w *World) SetTotal(stat, value string) { w.totals[stat] = value }

// SetAvailability overrides whether a service has agents ready, only for the check of available
// agents; nil removes the override.
func (w *World) SetAvailability(service string, available *bool) {
	if available == nil {
		delete(w.availability, service)
		return
	}
	w.availability[service] = *available
}

func (w *World) available(service string) bool {
	if v, ok := w.availability[service]; ok {
		return v
	}
	for _, a := range w.agents {
		if a.state() == "ready" && slices.Contains(a.Services, service) {
			return true
		}
	}
	return false
}

// SetTeams sets the teams. Teams that have agents exist regardless.
func (w *World) SetTeams(names ...string) {
	w.teams = nil
	for _, name := range names {
		w.addTeam(name)
	}
	for _, login := range slices.Sorted(maps.Keys(w.agents)) {
		w.addTeam(w.agents[login].Team)
	}
}

func (w *World) addTeam(name string) {
	if name != "" && !slices.Contains(w.teams, name) {
		w.teams = append(w.teams, name)
	}
}

// SetDispositions sets the dispositions, in the order in which they are listed. A new tenant has
// nine.
func (w *World) SetDispositions(list ...Disposition) { w.dispositions = slices.Clone(list) }

// AddChatMessage adds a message to the internal chat. A missing ID or time is set.
func (w *World) AddChatMessage(m ChatMessage) {
	if m.Sent.IsZero() {
		m.Sent = w.now()
	}
	if m.ID == "" {
		m.ID = guid("chat/" + m.Sent.String() + m.LoginID + m.Content)
	}
	w.chat = append(w.chat, m)
}

// AddDisposition counts a call that an agent has ended with a disposition.
func (w *World) AddDisposition(login, disposition string) {
	a := w.agent(login)
	if a.today.dispositions == nil {
		a.today.dispositions = map[string]int{}
	}
	a.today.dispositions[disposition]++
	a.today.dispositionTotal++
}

// ResetDaily is the tenant's daily reset: the day's counters start again, overridden ones included.
func (w *World) ResetDaily() {
	now := w.now()
	for _, a := range w.agents {
		a.accrue(now)
		a.today = agentDay{}
		resetDaily(a.Stats)
	}
	for _, s := range w.services {
		// Waiting calls belong to the new day; otherwise shares of it could exceed all.
		s.day = serviceDay{received: len(s.waiting), queued: len(s.waiting)}
		resetDaily(s.Stats)
	}
	resetDaily(w.totals)
}

func resetDaily(stats map[string]string) {
	for name, v := range stats {
		if strings.HasSuffix(name, "_per_day") || strings.HasPrefix(name, "agent_total_") {
			if v != "" {
				stats[name] = "0"
			}
		}
	}
}
