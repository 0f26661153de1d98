package bpcc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// TestRetryAfterHoldsAllRequests: whichever request the server answers so, none is sent until the
// time is over. Another client of the same server is not concerned.
func TestRetryAfterHoldsAllRequests(t *testing.T) {
	t.Parallel()
	requests := map[string]func(context.Context, *bpcc.Client) error{
		"/subscription/data":      func(ctx context.Context, c *bpcc.Client) error { _, err := c.Data(ctx); return err },
		"/check_available_agents": func(ctx context.Context, c *bpcc.Client) error { _, err := c.Available(ctx, "Voice"); return err },
		"/cfg/services":           func(ctx context.Context, c *bpcc.Client) error { _, err := c.Services(ctx); return err },
		"/cfg/dispositions": func(ctx context.Context, c *bpcc.Client) error {
			_, err := c.Dispositions(ctx, bpcc.DispositionQuery{})
			return err
		},
		"/oauth/token":           func(ctx context.Context, c *bpcc.Client) error { _, err := c.AccessToken(ctx); return err },
		"/statsapi/subscription": func(ctx context.Context, c *bpcc.Client) error { return c.Subscribe(ctx, bpcc.Subscription{}) },
		"/subscription/active":   func(ctx context.Context, c *bpcc.Client) error { return c.Unsubscribe(ctx) },
	}
	for path, first := range requests {
		for _, status := range []int{429, 503} {
			t.Run(path, func(t *testing.T) {
				t.Parallel()
				sim := bpcctest.NewServer(bpcctest.Config{})
				t.Cleanup(sim.Close)
				c := newClient(t, bpcc.Config{URL: sim.URL, Governor: bpcc.NewGovernor(1000)})
				other := newClient(t, bpcc.Config{URL: sim.URL, Governor: bpcc.NewGovernor(1000)})
				sim.Inject(bpcctest.Fault{Path: path, Status: status, RetryAfter: "1000"})
				if err := first(t.Context(), c); !errors.Is(err, bpcc.ErrThrottled) {
					t.Fatalf("the first request: %v", err)
				}
				sim.Inject(bpcctest.Fault{Path: "/", Times: -1}) // counts requests, whatever they are
				for path := range requests {
					sim.Inject(bpcctest.Fault{Path: path, Times: -1})
				}
				before := sim.Counts().Faults
				for path, request := range requests {
					err := request(t.Context(), c)
					var e *bpcc.Error
					if !errors.As(err, &e) || e.Kind != bpcc.ErrThrottled || e.Status != 0 || e.RetryAfter < 900*time.Second || e.RetryAfter > 1000*time.Second {
						t.Errorf("%s: %v (%+v)", path, err, e)
					}
				}
				if n := sim.Counts().Faults - before; n > 0 {
					t.Errorf("%d requests were sent all the same", n)
				}
				if _, err := other.AccessToken(t.Context()); err != nil {
					t.Errorf("another client: %v", err)
				}
			})
		}
	}
}

// TestThrottledWithoutRetryAfter holds back nothing: the next request is the caller's choice.
func TestThrottledWithoutRetryAfter(t *testing.T) {
	t.Parallel()
	sim := bpcctest.NewServer(bpcctest.Config{})
	t.Cleanup(sim.Close)
	c := newClient(t, bpcc.Config{URL: sim.URL, Governor: bpcc.NewGovernor(1000)})
	for _, fault := range []bpcctest.Fault{{Status: 429}, {Status: 503, RetryAfter: "soon"}, {Status: 500, RetryAfter: "60"}} {
		fault.Path = "/check_available_agents"
		sim.Inject(fault)
		if _, err := c.Available(t.Context(), "Voice"); err == nil {
			t.Errorf("%+v is no error", fault)
		}
		if _, err := c.Available(t.Context(), "Voice"); err != nil {
			t.Errorf("after %+v: %v", fault, err)
		}
	}
}

// TestCheckTimeout bounds availability checks alone.
func TestCheckTimeout(t *testing.T) {
	t.Parallel()
	sim := bpcctest.NewServer(bpcctest.Config{})
	t.Cleanup(sim.Close)
	c := newClient(t, bpcc.Config{URL: sim.URL, CheckTimeout: 20 * time.Millisecond})
	sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Delay: time.Minute})
	sim.Inject(bpcctest.Fault{Path: "/oauth/token", Delay: 60 * time.Millisecond})
	if _, err := c.Available(t.Context(), "Voice"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, bpcc.ErrTransport) {
		t.Errorf("a check: %v", err)
	}
	if _, err := c.AccessToken(t.Context()); err != nil {
		t.Errorf("a login: %v", err)
	}
}
