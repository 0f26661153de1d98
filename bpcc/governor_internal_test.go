package bpcc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGovernorRate: so many requests a second, and a few at once after a pause.
func TestGovernorRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGovernor(20)
		for name, test := range map[string]struct {
			requests int
			want     time.Duration
		}{
			"a burst":          {2, 0},
			"one more":         {1, 50 * time.Millisecond},
			"a second's worth": {20, time.Second},
		} {
			time.Sleep(time.Hour)
			began := time.Now()
			burst := 0
			if name != "a burst" {
				burst = 2
			}
			for range burst + test.requests {
				if _, err := g.wait(t.Context(), priorityCheck); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took < test.want || took > test.want+time.Millisecond {
				t.Errorf("%s: took %v, want %v", name, took, test.want)
			}
		}
	})
}

// TestGovernorPriority: polls go before checks, checks before directories, and none waits for ever.
func TestGovernorPriority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGovernor(1)
		var mu sync.Mutex
		var order strings.Builder
		var all sync.WaitGroup
		ask := func(p priority, n int) {
			for range n {
				all.Go(func() {
					if _, err := g.wait(t.Context(), p); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					order.WriteByte("pcd"[p])
				})
				synctest.Wait()
			}
		}
		ask(priorityDirectory, 3)
		ask(priorityCheck, 20)
		ask(priorityPoll, 3)
		all.Wait()
		// The first one finds no other; each tenth is the one that has waited longest.
		if got, want := order.String(), "d"+"ppp"+"ccccc"+"d"+"ccccccccc"+"d"+"cccccc"; got != want {
			t.Errorf("order %s, want %s", got, want)
		}
	})
}

// TestGovernorHold: no request is sent until the time is over, neither new ones nor those that wait.
func TestGovernorHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGovernor(1)
		var waiting []error
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, p := range []priority{priorityPoll, priorityCheck, priorityDirectory, priorityPoll} {
			all.Go(func() {
				_, err := g.wait(t.Context(), p)
				mu.Lock()
				defer mu.Unlock()
				waiting = append(waiting, err)
			})
		}
		synctest.Wait()
		g.hold(time.Minute)
		g.hold(time.Second) // shortens nothing
		all.Wait()
		if n := len(slices.DeleteFunc(waiting, func(err error) bool { return !errors.Is(err, errHeld) })); n != 3 {
			t.Errorf("%d of those that wait are held back, want 3 without the one that was sent", n)
		}
		for _, p := range []priority{priorityPoll, priorityCheck, priorityDirectory} {
			if held, err := g.wait(t.Context(), p); !errors.Is(err, errHeld) || held != time.Minute {
				t.Errorf("priority %d: %v, %v", p, held, err)
			}
		}
		time.Sleep(time.Minute)
		if _, err := g.wait(t.Context(), priorityDirectory); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		g.hold(24 * time.Hour)
		if held := g.held(); held != maxHold {
			t.Errorf("held for %v, want %v at most", held, maxHold)
		}
	})
}

// TestGovernorCancel: a request that is cancelled while it waits takes no other's turn.
func TestGovernorCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGovernor(1)
		if _, err := g.wait(t.Context(), priorityPoll); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := g.wait(ctx, priorityPoll); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if _, err := g.wait(t.Context(), priorityCheck); err != nil || time.Since(began) != time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
		synctest.Wait()
		cancel()
		all.Wait()
	})
}
