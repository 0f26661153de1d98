package bpcctest

import (
	"math"
	"slices"
	"time"
)

// How customers behave. Calls are shorter than real ones, so that forty agents make about one
// change of state per second.
const (
	meanQueueTime = 30 * time.Second
	// shortAbandon is the limit up to which an abandoned call counts as short.
	shortAbandon = 10 * time.Second
	// baseLoad is the waves' share of the agents' capacity. The rest of a busy day comes in surges.
	baseLoad       = 0.5
	callRatePeriod = 4 * time.Minute
	// surgeEvery is the interval for a floor of surgeAgents or more; smaller ones could not handle
	// that many calls.
	surgeEvery  = 27 * time.Second
	surgeAgents = 40
)

// serviceQueue is a service with its queue.
type serviceQueue struct {
	name  string
	media string
	// rate is the mean number of calls per second, phase the phase of its wave.
	rate, phase float64
	workers     []*worker
	queue       []*call // the oldest first
}

// call is a customer who waits.
type call struct {
	line    *serviceQueue
	arrived time.Time
	ended   bool // answered or given up
}

// scheduleCalls schedules the next call of a service. The rate follows a wave: calls are drawn at its
// maximum rate and some are dropped at other times.
func (f *Floor) scheduleCalls(l *serviceQueue) {
	const peakFactor = 1.6
	if l.rate <= 0 {
		return
	}
	f.scheduleAfter(time.Duration(f.random.ExpFloat64()/(l.rate*peakFactor)*float64(time.Second)), func() {
		at := 2*math.Pi*f.now.Sub(f.config.Start).Seconds()/callRatePeriod.Seconds() + l.phase
		if f.randomBool((1 + (peakFactor-1)*math.Sin(at)) / peakFactor) {
			f.callArrives(l)
		}
		f.scheduleCalls(l)
	})
}

// scheduleSurge makes many customers call one service within seconds, enough to leave no agent
// ready and more than five calls waiting, and schedules the next surge.
func (f *Floor) scheduleSurge(after time.Duration) {
	f.scheduleAfter(after, func() {
		l := f.lines[f.random.IntN(len(f.lines))]
		ready := 0
		for _, wk := range l.workers {
			if f.isReady(wk) {
				ready++
			}
		}
		for range ready + 7 + f.random.IntN(4) {
			f.scheduleAfter(f.randomBetween(0, 4*time.Second), func() { f.callArrives(l) })
		}
		factor := max(1, float64(surgeAgents)/float64(len(f.workers)))
		f.scheduleSurge(time.Duration(factor * float64(f.randomBetween(surgeEvery-7*time.Second, surgeEvery+7*time.Second))))
	})
}

// callArrives handles a customer's call: the agent who has been ready longest answers it, or it
// waits until an agent is ready or the customer gives up.
func (f *Floor) callArrives(l *serviceQueue) {
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
		f.connectCall(first, c)
		return
	}
	s.day.queued++
	l.queue = append(l.queue, c)
	f.updateQueueStats(l)
	f.scheduleAfter(f.randomExp(meanQueueTime, 3*time.Second), func() {
		if c.ended {
			return
		}
		f.removeFromQueue(c)
		if s := f.world.services[l.name]; s != nil {
			if f.now.Sub(c.arrived) < shortAbandon {
				s.day.shortAbandoned++
			} else {
				s.day.abandoned++
			}
		}
	})
}

// removeFromQueue takes a call out of its queue.
func (f *Floor) removeFromQueue(c *call) {
	c.ended = true
	if i := slices.Index(c.line.queue, c); i >= 0 {
		c.line.queue = slices.Delete(c.line.queue, i, i+1)
		f.updateQueueStats(c.line)
	}
}

// updateQueueStats sets the service's statistics from the queue.
func (f *Floor) updateQueueStats(l *serviceQueue) {
	s := f.world.services[l.name]
	if s == nil {
		return
	}
	s.waiting = s.waiting[:0]
	for _, c := range l.queue {
		s.waiting = append(s.waiting, c.arrived)
	}
}

// connectCall connects a call with an agent.
func (f *Floor) connectCall(wk *worker, c *call) {
	f.removeFromQueue(c)
	if s := f.world.services[c.line.name]; s != nil {
		waited := f.now.Sub(c.arrived)
		s.day.answered++
		s.day.waited += waited
		if waited <= levelThreshold {
			s.day.inTime++
		}
	}
	f.startCall(wk, c.line, false, f.randomExp(meanTalk, 5*time.Second))
}

// oldestCall finds the call that has waited longest for one of the agent's skills.
func (f *Floor) oldestCall(wk *worker) *call {
	var first *call
	for _, l := range wk.skills {
		if len(l.queue) > 0 && (first == nil || l.queue[0].arrived.Before(first.arrived)) {
			first = l.queue[0]
		}
	}
	return first
}
