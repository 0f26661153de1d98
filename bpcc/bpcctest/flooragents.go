package bpcctest

import (
	"time"
)

// How agents behave.
const (
	meanTalk         = 55 * time.Second
	meanWrapUp       = 13 * time.Second
	meanShift        = 45 * time.Minute
	meanTimeOff      = 7 * time.Minute
	outboundInterval = 12 * time.Minute // from ready to a call of one's own
	breakInterval    = 15 * time.Minute // from ready to a break
)

// worker is the state of an agent on the floor.
type worker struct {
	login       string
	skills      []*serviceQueue
	readySince  time.Time
	shiftEnd    time.Time
	breakReason string // reason of the break asked for after this call
	stateCount  int    // counts the state changes; what was scheduled before the last one is void
}

// changeState puts an agent into a state. It returns false if a script has removed the agent.
func (f *Floor) changeState(wk *worker, state, reason string) bool {
	wk.stateCount++
	a := f.world.agents[wk.login]
	if a == nil {
		return false
	}
	a.NextState, a.holdTime = "", 0
	f.world.SetState(wk.login, state, reason)
	return true
}

// scheduleUnlessChanged schedules what the agent does after d, unless its state changes first.
func (f *Floor) scheduleUnlessChanged(wk *worker, d time.Duration, do func()) {
	stateCount := wk.stateCount
	f.scheduleAfter(d, func() {
		if wk.stateCount == stateCount && f.world.agents[wk.login] != nil {
			do()
		}
	})
}

// isReady reports whether an agent can answer a call, overrides by scripts included.
func (f *Floor) isReady(wk *worker) bool {
	a := f.world.agents[wk.login]
	return a != nil && a.State == "ready"
}

// logIn starts a shift: not ready at first, then ready.
func (f *Floor) logIn(wk *worker) {
	wk.shiftEnd = f.now.Add(f.randomExp(meanShift, 5*time.Minute))
	if f.changeState(wk, "not_ready", "") {
		f.scheduleUnlessChanged(wk, f.randomBetween(2*time.Second, 12*time.Second), func() { f.nextTask(wk) })
	}
}

func (f *Floor) logOut(wk *worker) {
	if f.changeState(wk, "", "") {
		f.scheduleUnlessChanged(wk, f.randomExp(meanTimeOff, time.Minute), func() { f.logIn(wk) })
	}
}

// nextTask decides what an idle agent does: end the shift, answer a waiting call, or be ready for
// the next one.
func (f *Floor) nextTask(wk *worker) {
	if !f.now.Before(wk.shiftEnd) {
		f.logOut(wk)
		return
	}
	if c := f.oldestCall(wk); c != nil {
		f.connectCall(wk, c)
		return
	}
	wk.readySince = f.now
	if !f.changeState(wk, "ready", "") {
		return
	}
	f.scheduleUnlessChanged(wk, f.randomExp(outboundInterval, time.Second), func() { f.startOutboundCall(wk) })
	f.scheduleUnlessChanged(wk, f.randomExp(breakInterval, time.Second), func() { f.takeBreak(wk, f.randomReason()) })
	f.scheduleUnlessChanged(wk, wk.shiftEnd.Sub(f.now), func() { f.logOut(wk) })
}

func (f *Floor) startOutboundCall(wk *worker) {
	if len(wk.skills) == 0 {
		return
	}
	l := wk.skills[0]
	if s := f.world.services[l.name]; s != nil {
		s.day.outAnswered++
	}
	f.startCall(wk, l, true, f.randomExp(meanTalk, 5*time.Second))
}

// startCall starts a call that lasts for d.
func (f *Floor) startCall(wk *worker, l *serviceQueue, out bool, d time.Duration) {
	if !f.changeState(wk, "busy", "") {
		return
	}
	f.world.agents[wk.login].media = l.media
	if f.randomBool(0.15) {
		f.scheduleUnlessChanged(wk, d/2, func() {
			wk.breakReason = f.randomReason()
			f.world.agents[wk.login].NextState = "not_ready"
		})
	}
	if f.randomBool(0.2) {
		holdTime := min(f.randomBetween(3*time.Second, 20*time.Second), d/4)
		f.scheduleUnlessChanged(wk, d/4+holdTime, func() { f.world.agents[wk.login].holdTime += holdTime })
	}
	f.scheduleUnlessChanged(wk, d, func() { f.wrapUp(wk, out, d) })
}

// wrapUp is the work after a call. The call counts as handled when it ends.
func (f *Floor) wrapUp(wk *worker, out bool, talked time.Duration) {
	d := f.randomExp(meanWrapUp, 3*time.Second)
	if !f.changeState(wk, "after_call_work", "") {
		return
	}
	a := f.world.agents[wk.login]
	if out {
		a.today.callsOut++
	} else {
		a.today.callsIn++
	}
	a.today.handling += talked + d
	if list := f.world.dispositions; len(list) > 0 {
		f.world.AddDisposition(wk.login, list[f.random.IntN(len(list))].Name)
	}
	f.scheduleUnlessChanged(wk, d, func() {
		reason := wk.breakReason
		wk.breakReason = ""
		switch {
		case reason != "":
			f.takeBreak(wk, reason)
		case f.randomBool(0.04):
			f.takeBreak(wk, f.randomReason())
		default:
			f.nextTask(wk)
		}
	})
}

// takeBreak starts a break. Sometimes its reason changes before it ends.
func (f *Floor) takeBreak(wk *worker, reason string) {
	if !f.changeState(wk, "not_ready", reason) {
		return
	}
	d := f.randomBetween(time.Minute, 2*time.Minute)
	if reason != "Break" {
		d = f.randomBetween(2*time.Minute, 6*time.Minute)
	}
	if f.randomBool(0.1) {
		f.scheduleUnlessChanged(wk, d/2, func() { f.world.SetState(wk.login, "not_ready", f.randomReason()) })
	}
	f.scheduleUnlessChanged(wk, d, func() { f.nextTask(wk) })
}

// randomReason draws why an agent is not ready; short breaks are the most frequent.
func (f *Floor) randomReason() string {
	return [...]string{"Break", "Break", "Break", "Lunch", "Meeting", "Training"}[f.random.IntN(6)]
}
