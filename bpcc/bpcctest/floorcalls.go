package bpcctest

import (
	"math"
	"slices"
	"time"
)

// How customers behave. Calls are shorter than in life, so that forty agents
// make about one change of state per second.
const (
	meanPatience = 30 * time.Second
	// shortAbandon is where giving up stops being "short".
	shortAbandon = 10 * time.Second
	// baseLoad is the waves' share of what the agents could handle. The rest of
	// a busy day comes in surges.
	baseLoad = 0.5
	wave     = 4 * time.Minute
	// surgeEvery is for a floor of surgeAgents or more; smaller ones could not
	// work off that many.
	surgeEvery  = 27 * time.Second
	surgeAgents = 40
)

// line is a service with its queue.
type line struct {
	name  string
	media string
	// rate is the mean number of calls per second, phase where its wave stands.
	rate, phase float64
	workers     []*worker
	queue       []*call // the oldest first
}

// call is a customer who waits.
type call struct {
	line    *line
	arrived time.Time
	gone    bool // answered or given up
}

// calls plans the next call of a line. The rate follows a wave: calls are drawn
// for its crest and thinned out elsewhere.
func (f *Floor) calls(l *line) {
	const crest = 1.6
	if l.rate <= 0 {
		return
	}
	f.in(time.Duration(f.random.ExpFloat64()/(l.rate*crest)*float64(time.Second)), func() {
		at := 2*math.Pi*f.now.Sub(f.config.Start).Seconds()/wave.Seconds() + l.phase
		if f.chance((1 + (crest-1)*math.Sin(at)) / crest) {
			f.arrive(l)
		}
		f.calls(l)
	})
}

// surge lets a crowd call one service within seconds, enough of them to leave
// nobody ready and more than five waiting, and plans the next one.
func (f *Floor) surge(after time.Duration) {
	f.in(after, func() {
		l := f.lines[f.random.IntN(len(f.lines))]
		ready := 0
		for _, wk := range l.workers {
			if f.isReady(wk) {
				ready++
			}
		}
		for range ready + 7 + f.random.IntN(4) {
			f.in(f.between(0, 4*time.Second), func() { f.arrive(l) })
		}
		quieter := max(1, float64(surgeAgents)/float64(len(f.workers)))
		f.surge(time.Duration(quieter * float64(f.between(surgeEvery-7*time.Second, surgeEvery+7*time.Second))))
	})
}

// arrive is a customer's call: the agent who has been ready longest takes it, or
// it waits until one is, or until the customer has had enough.
func (f *Floor) arrive(l *line) {
	s := f.world.services[l.name]
	if s == nil {
		return // a script has removed the service
	}
	s.day.received++
	c := &call{line: l, arrived: f.now}
	var first *worker
	for _, wk := range l.workers {
		if f.isReady(wk) && (first == nil || wk.readySince.Before(first.readySince)) {
			first = wk
		}
	}
	if first != nil {
		f.answer(first, c)
		return
	}
	s.day.queued++
	l.queue = append(l.queue, c)
	f.showQueue(l)
	f.in(f.about(meanPatience, 3*time.Second), func() {
		if c.gone {
			return
		}
		f.leave(c)
		if s := f.world.services[l.name]; s != nil {
			if f.now.Sub(c.arrived) < shortAbandon {
				s.day.shortAbandoned++
			} else {
				s.day.abandoned++
			}
		}
	})
}

// leave takes a call out of its queue.
func (f *Floor) leave(c *call) {
	c.gone = true
	if i := slices.Index(c.line.queue, c); i >= 0 {
		c.line.queue = slices.Delete(c.line.queue, i, i+1)
		f.showQueue(c.line)
	}
}

// showQueue makes the queue what the service's statistics tell.
func (f *Floor) showQueue(l *line) {
	s := f.world.services[l.name]
	if s == nil {
		return
	}
	s.waiting = s.waiting[:0]
	for _, c := range l.queue {
		s.waiting = append(s.waiting, c.arrived)
	}
}

// answer connects a call with an agent.
func (f *Floor) answer(wk *worker, c *call) {
	f.leave(c)
	if s := f.world.services[c.line.name]; s != nil {
		waited := f.now.Sub(c.arrived)
		s.day.answered++
		s.day.waited += waited
		if waited <= levelThreshold {
			s.day.inTime++
		}
	}
	f.talk(wk, c.line, false, f.about(meanTalk, 5*time.Second))
}

// oldest finds the call that has waited longest for one of the agent's skills.
func (f *Floor) oldest(wk *worker) *call {
	var first *call
	for _, l := range wk.skills {
		if len(l.queue) > 0 && (first == nil || l.queue[0].arrived.Before(first.arrived)) {
			first = l.queue[0]
		}
	}
	return first
}
