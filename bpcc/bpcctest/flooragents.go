package bpcctest

import (
	"time"
)

// How agents behave.
const (
	meanTalk     = 55 * time.Second
	meanWrapUp   = 13 * time.Second
	meanShift    = 45 * time.Minute
	meanTimeOff  = 7 * time.Minute
	betweenOuts  = 12 * time.Minute // from ready to a call of one's own
	betweenRests = 15 * time.Minute // from ready to a break
)

// worker is an agent's life on the floor.
type worker struct {
	login      string
	skills     []*line
	readySince time.Time
	shiftEnd   time.Time
	rest       string // reason of the break asked for after this call
	turn       int    // counts the states; what was planned in an older one is void
}

// enter puts an agent into a state. False means that a script has removed the
// agent, whose life ends with that.
func (f *Floor) enter(wk *worker, state, reason string) bool {
	wk.turn++
	a := f.world.agents[wk.login]
	if a == nil {
		return false
	}
	a.NextState, a.held = "", 0
	f.world.SetState(wk.login, state, reason)
	return true
}

// then plans what the agent does after d, unless something else comes first.
func (f *Floor) then(wk *worker, d time.Duration, do func()) {
	turn := wk.turn
	f.in(d, func() {
		if wk.turn == turn && f.world.agents[wk.login] != nil {
			do()
		}
	})
}

// isReady tells whether an agent can take a call, scripts' word included.
func (f *Floor) isReady(wk *worker) bool {
	a := f.world.agents[wk.login]
	return a != nil && a.State == "ready"
}

// logIn starts a shift: not ready at first, then ready.
func (f *Floor) logIn(wk *worker) {
	wk.shiftEnd = f.now.Add(f.about(meanShift, 5*time.Minute))
	if f.enter(wk, "not_ready", "") {
		f.then(wk, f.between(2*time.Second, 12*time.Second), func() { f.free(wk) })
	}
}

func (f *Floor) logOut(wk *worker) {
	if f.enter(wk, "", "") {
		f.then(wk, f.about(meanTimeOff, time.Minute), func() { f.logIn(wk) })
	}
}

// free is an agent with nothing to do: the shift is over, a call waits, or the
// agent is ready for the next one.
func (f *Floor) free(wk *worker) {
	if !f.now.Before(wk.shiftEnd) {
		f.logOut(wk)
		return
	}
	if c := f.oldest(wk); c != nil {
		f.answer(wk, c)
		return
	}
	wk.readySince = f.now
	if !f.enter(wk, "ready", "") {
		return
	}
	f.then(wk, f.about(betweenOuts, time.Second), func() { f.callOut(wk) })
	f.then(wk, f.about(betweenRests, time.Second), func() { f.pause(wk, f.reason()) })
	f.then(wk, wk.shiftEnd.Sub(f.now), func() { f.logOut(wk) })
}

func (f *Floor) callOut(wk *worker) {
	if len(wk.skills) == 0 {
		return
	}
	l := wk.skills[0]
	if s := f.world.services[l.name]; s != nil {
		s.day.outAnswered++
	}
	f.talk(wk, l, true, f.about(meanTalk, 5*time.Second))
}

// talk is a call from its first word to its last.
func (f *Floor) talk(wk *worker, l *line, out bool, d time.Duration) {
	if !f.enter(wk, "busy", "") {
		return
	}
	f.world.agents[wk.login].media = l.media
	if f.chance(0.15) {
		f.then(wk, d/2, func() {
			wk.rest = f.reason()
			f.world.agents[wk.login].NextState = "not_ready"
		})
	}
	if f.chance(0.2) {
		hold := min(f.between(3*time.Second, 20*time.Second), d/4)
		f.then(wk, d/4+hold, func() { f.world.agents[wk.login].held += hold })
	}
	f.then(wk, d, func() { f.wrapUp(wk, out, d) })
}

// wrapUp is the work after a call. The call counts as handled when it ends.
func (f *Floor) wrapUp(wk *worker, out bool, talked time.Duration) {
	d := f.about(meanWrapUp, 3*time.Second)
	if !f.enter(wk, "after_call_work", "") {
		return
	}
	a := f.world.agents[wk.login]
	if out {
		a.day.out++
	} else {
		a.day.in++
	}
	a.day.handling += talked + d
	if list := f.world.dispositions; len(list) > 0 {
		f.world.AddDisposition(wk.login, list[f.random.IntN(len(list))].Name)
	}
	f.then(wk, d, func() {
		reason := wk.rest
		wk.rest = ""
		switch {
		case reason != "":
			f.pause(wk, reason)
		case f.chance(0.04):
			f.pause(wk, f.reason())
		default:
			f.free(wk)
		}
	})
}

// pause is a break. Now and then its reason changes before it ends.
func (f *Floor) pause(wk *worker, reason string) {
	if !f.enter(wk, "not_ready", reason) {
		return
	}
	d := f.between(time.Minute, 2*time.Minute)
	if reason != "Break" {
		d = f.between(2*time.Minute, 6*time.Minute)
	}
	if f.chance(0.1) {
		f.then(wk, d/2, func() { f.world.SetState(wk.login, "not_ready", f.reason()) })
	}
	f.then(wk, d, func() { f.free(wk) })
}

// reason draws why an agent is not ready; short breaks are the most frequent.
func (f *Floor) reason() string {
	return [...]string{"Break", "Break", "Break", "Lunch", "Meeting", "Training"}[f.random.IntN(6)]
}
