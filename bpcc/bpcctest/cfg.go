package bpcctest

import (
	"net/http"
	"slices"
)

// Disposition is a configured outcome of a call. The look-up of dispositions can filter by the
// flags.
type Disposition struct {
	Name           string `json:"name"`
	AgentCanSelect bool   `json:"agent_can_select"`
	Inbound        bool   `json:"inbound"`
	Outbound       bool   `json:"outbound"`
	Preview        bool   `json:"preview"`
}

// getTeams is Get Teams: those that the user supervises.
func (t *Tenant) getTeams(u *user, _ *http.Request, _ Fault) reply {
	var list []ref
	for _, team := range t.world.teams {
		if u.scope.team(team) {
			list = append(list, ref{TeamID(team), team})
		}
	}
	return refsReply(list)
}

// getServices lists the services that the user's teams have a skill for.
func (t *Tenant) getServices(u *user, _ *http.Request, _ Fault) reply {
	var list []ref
	for _, s := range t.world.servicesOf(u.scope) {
		list = append(list, ref{s.ID, s.Name})
	}
	return refsReply(list)
}

// getAgents lists all users of the tenant by login id: a captured response has more of them than
// the grid has rows.
func (t *Tenant) getAgents(_ *user, _ *http.Request, _ Fault) reply {
	list := make([]ref, 0, len(t.world.agents))
	for _, a := range t.world.agents {
		list = append(list, ref{a.UserID, a.Login})
	}
	return refsReply(list)
}

// ref is one object of a configuration look-up.
type ref struct{ id, name string }

// refsReply returns a list in an order that looks arbitrary, as captured lists do, and that is the
// same in every call.
func refsReply(list []ref) reply {
	slices.SortFunc(list, func(a, b ref) int { return compareHashed(0, a.id, b.id) })
	items := make([][]byte, len(list))
	for i, n := range list {
		b := appendQuoted([]byte("{\n  \"id\" : "), n.id)
		b = appendQuoted(append(b, ",\n  \"name\" : "...), n.name)
		items[i] = append(b, "\n}"...)
	}
	return jsonReply(http.StatusOK, indentJSON(items))
}

// getDispositions is Get Dispositions. Each filter that is 1 selects those that have the flag.
func (t *Tenant) getDispositions(_ *user, r *http.Request, _ Fault) reply {
	q := r.URL.Query()
	requested := func(name string) bool { return q.Get(name) == "1" }
	items := [][]byte{}
	for _, d := range t.world.dispositions {
		if requested("agentCanSelect") && !d.AgentCanSelect || requested("inbound") && !d.Inbound ||
			requested("outbound") && !d.Outbound || requested("preview") && !d.Preview {
			continue
		}
		items = append(items, appendQuoted(nil, d.Name))
	}
	return jsonReply(http.StatusOK, indentJSON(items))
}

// getAvailability is Get Available Agents: open to everyone, without a login. A service that does
// not exist has no agent ready. The tenant parameter does not matter, as there is only one tenant.
func (t *Tenant) getAvailability(r *http.Request, f Fault) reply {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.worldOf(f).available(r.URL.Query().Get("service")) {
		return jsonReply(http.StatusOK, []byte(`{"availability": true}`))
	}
	return jsonReply(http.StatusOK, []byte(`{"availability": false}`))
}
