package bpcctest

import "time"

// SetAgent is [World.SetAgent] alone.
func (t *Tenant) SetAgent(a Agent) { t.Update(func(w *World) { w.SetAgent(a) }) }

// SetState is [World.SetState] alone.
func (t *Tenant) SetState(login, state, reason string) {
	t.Update(func(w *World) { w.SetState(login, state, reason) })
}

// SetStateDuration is [World.SetStateDuration] alone.
func (t *Tenant) SetStateDuration(login string, d time.Duration) {
	t.Update(func(w *World) { w.SetStateDuration(login, d) })
}

// AddCalls is [World.AddCalls] alone.
func (t *Tenant) AddCalls(login string, in, out int) {
	t.Update(func(w *World) { w.AddCalls(login, in, out) })
}

// SetAgentStat is [World.SetAgentStat] alone.
func (t *Tenant) SetAgentStat(login, stat, value string) {
	t.Update(func(w *World) { w.SetAgentStat(login, stat, value) })
}

// RemoveAgent is [World.RemoveAgent] alone.
func (t *Tenant) RemoveAgent(login string) { t.Update(func(w *World) { w.RemoveAgent(login) }) }

// SetService is [World.SetService] alone.
func (t *Tenant) SetService(s Service) { t.Update(func(w *World) { w.SetService(s) }) }

// RemoveService is [World.RemoveService] alone.
func (t *Tenant) RemoveService(name string) { t.Update(func(w *World) { w.RemoveService(name) }) }

// SetServiceStat is [World.SetServiceStat] alone.
func (t *Tenant) SetServiceStat(name, stat, value string) {
	t.Update(func(w *World) { w.SetServiceStat(name, stat, value) })
}

// SetTotal is [World.SetTotal] alone.
func (t *Tenant) SetTotal(stat, value string) { t.Update(func(w *World) { w.SetTotal(stat, value) }) }

// SetAvailability is [World.SetAvailability] alone.
func (t *Tenant) SetAvailability(service string, available *bool) {
	t.Update(func(w *World) { w.SetAvailability(service, available) })
}

// SetTeams is [World.SetTeams] alone.
func (t *Tenant) SetTeams(names ...string) { t.Update(func(w *World) { w.SetTeams(names...) }) }

// SetDispositions is [World.SetDispositions] alone.
func (t *Tenant) SetDispositions(list ...Disposition) {
	t.Update(func(w *World) { w.SetDispositions(list...) })
}

// AddChatMessage is [World.AddChatMessage] alone.
func (t *Tenant) AddChatMessage(m ChatMessage) { t.Update(func(w *World) { w.AddChatMessage(m) }) }

// ResetDaily is [World.ResetDaily] alone.
func (t *Tenant) ResetDaily() { t.Update((*World).ResetDaily) }
