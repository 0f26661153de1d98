package bpcc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxHold bounds the wait that a server asks for.
const maxHold = time.Hour

// errHeld is the cause of a request that is not sent because the server has asked to wait.
var errHeld = errors.New("not sent: the server has asked to wait")

// priority orders the requests of a client that wait.
type priority int

const (
	priorityPoll      priority = iota // data, and what it needs: login and subscription
	priorityCheck                     // availability
	priorityDirectory                 // look-ups of the configuration
	priorities        = int(priorityDirectory) + 1
)

// fairShare is how often the request that has waited longest is sent whatever its priority, so that
// none waits for ever: every tenth time.
const fairShare = 10

// Governor bounds the requests to a tenant. It limits their rate: polls and logins go before
// availability checks, and these before look-ups of the configuration. After a 429 or 503 with
// Retry-After, whichever request it answers, it lets none go until that time is over. Create it with
// [NewGovernor].
type Governor struct {
	limiter *rate.Limiter

	mu        sync.Mutex // guards what follows
	heldUntil time.Time
	waiting   [priorities][]*waiter // in the order of their arrival
	arrived   int                   // requests so far
	granted   int                   // of them sent
	timer     *time.Timer           // for the next grant; nil = none is due
}

// waiter is a request that waits.
type waiter struct {
	number int
	ready  chan error // receives once: nil, or why the request is not sent
}

// NewGovernor returns a governor for a number of requests a second, of which a tenth may be sent at
// once.
func NewGovernor(perSecond int) *Governor {
	return &Governor{limiter: rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond/10))}
}

// wait returns when a request may be sent. The error is errHeld while the server has asked to wait;
// held is how long it does. Without a governor it returns at once.
func (g *Governor) wait(ctx context.Context, p priority) (held time.Duration, err error) {
	if g == nil {
		return 0, nil
	}
	w, held := g.enqueue(p)
	if held > 0 {
		return held, errHeld
	}
	select {
	case err = <-w.ready:
		return g.held(), err
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		g.waiting[p] = slices.DeleteFunc(g.waiting[p], func(x *waiter) bool { return x == w })
		return 0, ctx.Err()
	}
}

func (g *Governor) enqueue(p priority) (w *waiter, held time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if held = time.Until(g.heldUntil); held > 0 {
		return nil, held
	}
	g.arrived++
	w = &waiter{number: g.arrived, ready: make(chan error, 1)}
	g.waiting[p] = append(g.waiting[p], w)
	g.dispatch()
	return w, 0
}

// held returns how long no request may be sent.
func (g *Governor) held() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(0, time.Until(g.heldUntil))
}

// hold keeps back all requests for that long, those that wait already included.
func (g *Governor) hold(d time.Duration) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := time.Now().Add(min(d, maxHold)); until.After(g.heldUntil) {
		g.heldUntil = until
	}
	for p := range g.waiting {
		for _, w := range g.waiting[p] {
			w.ready <- errHeld
		}
		g.waiting[p] = nil
	}
}

// dispatch grants as many requests as the rate allows now, and sets the timer for the next one.
// Needs mu.
func (g *Governor) dispatch() {
	for {
		p := g.next()
		if p < 0 {
			return
		}
		now := time.Now()
		if !g.limiter.AllowN(now, 1) {
			if g.timer == nil {
				r := g.limiter.ReserveN(now, 1)
				g.timer = time.AfterFunc(r.DelayFrom(now), g.onTimer)
				r.CancelAt(now)
			}
			return
		}
		g.granted++
		g.waiting[p][0].ready <- nil
		g.waiting[p] = g.waiting[p][1:]
	}
}

func (g *Governor) onTimer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = nil
	g.dispatch()
}

// next returns the priority whose first request is the next one, below 0 if none waits. Needs mu.
func (g *Governor) next() int {
	first := -1
	for p, list := range g.waiting {
		if len(list) == 0 {
			continue
		}
		if first < 0 || g.granted%fairShare == fairShare-1 && list[0].number < g.waiting[first][0].number {
			first = p
		}
	}
	return first
}
