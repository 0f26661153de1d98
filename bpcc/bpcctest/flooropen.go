package bpcctest

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// setUp hires agents, opens services and starts the day in its middle.
func (f *Floor) setUp() {
	for i := range f.config.Services {
		l := &serviceQueue{name: serviceName(i), media: "voice", phase: f.random.Float64() * 2 * math.Pi}
		if strings.Contains(l.name, "Chat") {
			l.media = "chat"
		}
		f.lines = append(f.lines, l)
		f.world.SetService(Service{Name: l.name})
	}
	used := map[string]bool{}
	teams := min(len(teamNames), (f.config.Agents+9)/10)
	for i := range f.config.Agents {
		f.addWorker(i, teamNames[i%max(teams, 1)], used)
	}
	for _, wk := range f.workers {
		// An agent's capacity is divided equally among the skills.
		for _, l := range wk.skills {
			l.rate += baseLoad / (meanTalk + meanWrapUp).Seconds() / float64(len(wk.skills))
		}
		f.seedState(wk)
	}
	for _, l := range f.lines {
		f.scheduleCalls(l)
	}
	if len(f.lines) > 0 && len(f.workers) > 0 {
		f.scheduleSurge(2 * time.Second)
	}
	f.scheduleReset()
}

// scheduleReset plans the daily resets.
func (f *Floor) scheduleReset() {
	f.scheduleAfter(f.config.ResetAfter, func() {
		f.world.ResetDaily()
		f.scheduleReset()
	})
}

// addWorker adds an agent with a name, one to three skills and a morning's work.
func (f *Floor) addWorker(i int, team string, used map[string]bool) {
	first, last := firstNames[f.random.IntN(len(firstNames))], lastNames[f.random.IntN(len(lastNames))]
	login := first.ascii + "." + last.ascii
	for n := 2; used[login]; n++ {
		login = first.ascii + "." + last.ascii + strconv.Itoa(n)
	}
	used[login] = true
	wk := &worker{login: login}
	a := Agent{Login: login, First: first.text, Last: last.text, Team: team, Extension: strconv.Itoa(1001 + i)}
	for _, k := range f.random.Perm(len(f.lines))[:min(1+f.random.IntN(3), len(f.lines))] {
		l := f.lines[k]
		l.workers = append(l.workers, wk)
		wk.skills = append(wk.skills, l)
		a.Services = append(a.Services, l.name)
	}
	f.world.SetAgent(a)
	f.workers = append(f.workers, wk)
	f.seedHistory(wk)
}

// seedHistory gives an agent and its services the calls of the morning, so that
// counters, averages and ratios have plausible values from the first snapshot.
func (f *Floor) seedHistory(wk *worker) {
	a := f.world.agents[wk.login]
	if len(wk.skills) == 0 {
		return
	}
	for range 40 + f.random.IntN(80) {
		s := f.world.services[wk.skills[f.random.IntN(len(wk.skills))].name]
		duration := f.randomExp(meanTalk, 5*time.Second) + f.randomExp(meanWrapUp, 3*time.Second)
		a.today.callsIn++
		a.today.handling += duration
		a.today.busy += duration * 4 / 5
		a.today.afterCall += duration / 5
		a.today.ready += duration / 3
		if list := f.world.dispositions; len(list) > 0 {
			f.world.AddDisposition(wk.login, list[f.random.IntN(len(list))].Name)
		}
		s.day.received++
		s.day.answered++
		waited := time.Duration(0)
		if f.randomBool(0.35) {
			waited = f.randomExp(20*time.Second, time.Second)
			s.day.queued++
		}
		if s.day.waited += waited; waited <= levelThreshold {
			s.day.inTime++
		}
		switch {
		case f.randomBool(0.06):
			s.day.received, s.day.queued, s.day.abandoned = s.day.received+1, s.day.queued+1, s.day.abandoned+1
		case f.randomBool(0.03):
			s.day.received, s.day.queued, s.day.shortAbandoned = s.day.received+1, s.day.queued+1, s.day.shortAbandoned+1
		}
	}
	f.world.services[wk.skills[0].name].day.outAnswered++
	a.today.callsOut++
	a.today.handling += meanTalk
	a.today.busy += meanTalk
	a.today.pause = f.randomBetween(5*time.Minute, 40*time.Minute)
	a.today.logged = a.today.ready + a.today.busy + a.today.afterCall + a.today.pause
}

// seedState puts an agent into a state that is typical for the middle of a day, begun some time
// ago.
func (f *Floor) seedState(wk *worker) {
	if f.randomBool(0.1) {
		f.logOut(wk)
		return
	}
	// The elapsed part of such a shift has the same distribution as its remaining part.
	wk.shiftEnd = f.now.Add(f.randomExp(meanShift, 30*time.Second))
	since := time.Duration(0)
	switch p := f.random.Float64(); {
	case p < 0.6 && len(wk.skills) > 0:
		since = f.randomExp(meanTalk/2, 0)
		f.startCall(wk, wk.skills[f.random.IntN(len(wk.skills))], false, f.randomExp(meanTalk, time.Second))
	case p < 0.7:
		since = f.randomBetween(0, 5*time.Second)
		f.wrapUp(wk, false, meanTalk)
	case p < 0.8:
		since = f.randomBetween(0, time.Minute)
		f.takeBreak(wk, f.randomReason())
	default:
		f.nextTask(wk)
	}
	a := f.world.agents[wk.login]
	a.since = f.now.Add(-since)
	wk.readySince = a.since
}
