package bpcctest

import (
	"cmp"
	"container/heap"
	"context"
	"math/rand/v2"
	"time"
)

// FloorConfig says what kind of contact centre lives on a tenant. The zero value
// is a lively one of 40 agents.
type FloorConfig struct {
	// Agents and Services is how many there are; 0 means 40 and 6.
	Agents, Services int
	// Seed decides everything that happens: floors with the same configuration
	// live the same life, however it is cut into steps.
	Seed uint64
	// Start is the floor's first instant; zero means the tenant's now.
	Start time.Time
	// ResetAfter is the time from one daily reset to the next, the first counted
	// from Start; 0 means 24 hours.
	ResetAfter time.Duration
	// Speed is how fast the floor lives under Run: 2 is twice real time; 0 means 1.
	Speed float64
}

// Floor is a contact centre that lives by itself on a [Tenant]: customers call in
// waves and surges, wait, give up or are answered by the agent who was ready
// longest; agents come and go, take breaks and wrap up. It starts in the middle
// of a busy day.
//
// The floor's time is the clock of the tenant's durations from then on, and
// stands still between steps. Scripts may change the same world meanwhile: the
// floor leaves alone what it does not move itself, and agents and services that
// are removed stay away.
type Floor struct {
	config FloorConfig
	tenant *Tenant

	// All below is guarded by the tenant's mutex.
	world     *World
	random    *rand.Rand
	now       time.Time
	schedule  eventHeap
	lastEvent int // events so far
	workers   []*worker
	lines     []*line
}

// NewFloor puts a contact centre on a tenant. It stands still until
// [Floor.Step] or [Floor.Run]. A tenant has at most one.
func NewFloor(t *Tenant, c FloorConfig) *Floor {
	c.Agents = cmp.Or(c.Agents, 40)
	c.Services = cmp.Or(c.Services, 6)
	c.ResetAfter = cmp.Or(c.ResetAfter, 24*time.Hour)
	c.Speed = cmp.Or(c.Speed, 1)
	if c.Start.IsZero() {
		c.Start = t.config.Now()
	}
	f := &Floor{config: c, tenant: t, now: c.Start, random: rand.New(rand.NewPCG(c.Seed, 0x6270_6363))}
	t.Update(func(w *World) {
		f.world = w
		w.now = func() time.Time { return f.now }
		f.setUp()
	})
	return f
}

// Step lets d pass on the floor, as one change of the world.
func (f *Floor) Step(d time.Duration) {
	f.tenant.Update(func(*World) {
		until := f.now.Add(d)
		for len(f.schedule) > 0 && !f.schedule[0].at.After(until) {
			e, ok := heap.Pop(&f.schedule).(event)
			if !ok {
				return // the agenda holds nothing but events
			}
			f.now = e.at
			e.do()
		}
		f.now = until
	})
}

// Run lets the floor live in real time, times its speed, in steps of every. It
// blocks until ctx ends.
func (f *Floor) Run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// What has really passed: a tick that came late or was dropped must
			// not slow the floor down.
			now := time.Now()
			f.Step(time.Duration(float64(now.Sub(last)) * f.config.Speed))
			last = now
		}
	}
}

// ResetDaily resets the day's counters now; the next regular reset stays due.
func (f *Floor) ResetDaily() { f.tenant.ResetDaily() }

// event is something that will happen on the floor.
type event struct {
	at    time.Time
	order int // decides between events of one instant: first planned, first done
	do    func()
}

// eventHeap is a heap of events, the next one first.
type eventHeap []event

func (a eventHeap) Len() int      { return len(a) }
func (a eventHeap) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a eventHeap) Less(i, j int) bool {
	return cmp.Or(a[i].at.Compare(a[j].at), cmp.Compare(a[i].order, a[j].order)) < 0
}

// Push and Pop are for container/heap alone, which wants them in these types.
func (a *eventHeap) Push(x any) {
	if e, ok := x.(event); ok {
		*a = append(*a, e)
	}
}

// Pop takes the last element, for container/heap.
func (a *eventHeap) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	return e
}

// scheduleAfter plans do to happen after d.
func (f *Floor) scheduleAfter(d time.Duration, do func()) {
	f.lastEvent++
	heap.Push(&f.schedule, event{f.now.Add(max(d, 0)), f.lastEvent, do})
}

// randomExp is a random time of an exponential distribution, never below least.
func (f *Floor) randomExp(mean, minimum time.Duration) time.Duration {
	return max(time.Duration(f.random.ExpFloat64()*float64(mean)), minimum)
}

// randomBetween is a random time, all in the range alike.
func (f *Floor) randomBetween(lower, upper time.Duration) time.Duration {
	return lower + time.Duration(f.random.Int64N(int64(upper-lower)))
}

// randomBool is true with probability p.
func (f *Floor) randomBool(p float64) bool { return f.random.Float64() < p }
