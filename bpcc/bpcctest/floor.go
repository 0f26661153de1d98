package bpcctest

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"time"
)

// FloorConfig configures a simulated contact centre. The zero value is a busy one with 40 agents.
type FloorConfig struct {
	// Agents and Services is how many there are; 0 means 40 and 6.
	Agents, Services int
	// Seed determines everything that happens: floors with the same configuration behave the same,
	// whatever the steps are.
	Seed uint64
	// Start is the floor's first instant; zero means the tenant's now.
	Start time.Time
	// ResetAfter is the time from one daily reset to the next, the first counted
	// from Start; 0 means 24 hours.
	ResetAfter time.Duration
	// Speed is the speed of time in Run: 2 is twice real time; 0 means 1.
	Speed float64
}

// Floor simulates a contact centre on a [Tenant]: customers call in waves and surges, wait, give up
// or are answered by the agent who was ready longest; agents come and go, take breaks and wrap up.
// It starts in the middle of a busy day.
//
// The floor's time becomes the clock of the tenant's durations, and does not advance between steps.
// Scripts may change the same world meanwhile: the floor changes only its own values, and does not
// bring back removed agents and services.
type Floor struct {
	config FloorConfig
	tenant *Tenant

	// All below is guarded by the tenant's mutex.
	world    *World
	random   *rand.Rand
	now      time.Time
	schedule []event // the next one first
	workers  []*worker
	lines    []*serviceQueue
}

// NewFloor creates a contact centre on a tenant. Nothing happens until [Floor.Step] or [Floor.Run].
// A tenant has at most one.
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

// Step advances the floor's time by d, as one change of the world.
func (f *Floor) Step(d time.Duration) {
	f.tenant.Update(func(*World) {
		until := f.now.Add(d)
		for len(f.schedule) > 0 && !f.schedule[0].at.After(until) {
			e := f.schedule[0]
			f.schedule = f.schedule[1:]
			f.now = e.at
			e.do()
		}
		f.now = until
	})
}

// Run advances the floor in real time, times its speed, in steps of every. It blocks until ctx
// ends.
func (f *Floor) Run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// The elapsed time is used, since a late or dropped tick must not slow the floor down.
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
	at time.Time
	do func()
}

// scheduleAfter schedules do to happen after d, and after all that is scheduled for that time already.
func (f *Floor) scheduleAfter(d time.Duration, do func()) {
	at := f.now.Add(max(d, 0))
	i := sort.Search(len(f.schedule), func(i int) bool { return f.schedule[i].at.After(at) })
	f.schedule = slices.Insert(f.schedule, i, event{at, do})
}

// randomExp returns a random duration of an exponential distribution, at least minimum.
func (f *Floor) randomExp(mean, minimum time.Duration) time.Duration {
	return max(time.Duration(f.random.ExpFloat64()*float64(mean)), minimum)
}

// randomBetween returns a random duration of a uniform distribution.
func (f *Floor) randomBetween(lower, upper time.Duration) time.Duration {
	return lower + time.Duration(f.random.Int64N(int64(upper-lower)))
}

// randomBool is true with probability p.
func (f *Floor) randomBool(p float64) bool { return f.random.Float64() < p }
