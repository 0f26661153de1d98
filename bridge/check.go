package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// ErrCheck is returned by [Check] when a step failed; the report says which.
var ErrCheck = errors.New("the check failed")

// readyPatience is how long a check waits for the first data of a subscription.
const readyPatience = 60 * time.Second

// report writes the steps of a check.
type report struct {
	w      io.Writer
	failed bool
}

func (r *report) ok(what, format string, args ...any) {
	fmt.Fprintf(r.w, "  ok    %-13s %s\n", what, fmt.Sprintf(format, args...))
}

func (r *report) fail(what string, err error) {
	r.failed = true
	fmt.Fprintf(r.w, "  FAIL  %-13s %v\n        %-13s → %s\n", what, err, "", advice(err))
}

// Check looks at the source as the bridge would: it logs in, subscribes, takes
// one snapshot and asks for one availability, and tells on w what it saw and
// what to mend. It publishes nothing. It takes the user's one subscription, so
// a bridge that runs as the same user subscribes again afterwards.
func Check(ctx context.Context, c *Config, w io.Writer) error {
	client, err := c.client(discard())
	if err != nil {
		return err
	}
	defer client.Close()
	r := &report{w: w}
	fmt.Fprintf(w, "%s as tenant %q\n", c.URL, c.Tenant)
	src := &source{client: client, cookie: c.Auth == authCookie, plan: makePlan(c.Subscription, c, "check"), log: discard(), now: time.Now}
	if checkSession(ctx, src, r) {
		checkData(ctx, src, c, r)
		checkDirectory(ctx, src, c, r)
	}
	if err := src.leave(ctx); err != nil {
		r.fail("unsubscribe", err)
	}
	if r.failed {
		return ErrCheck
	}
	fmt.Fprintln(w, "all is well")
	return nil
}

func checkSession(ctx context.Context, src *source, r *report) bool {
	if err := src.login(ctx); err != nil {
		r.fail("log in", err)
		return false
	}
	r.ok("log in", "the server knows the user")
	if err := src.client.Unsubscribe(ctx); err != nil {
		r.ok("unsubscribe", "an older subscription could not be deleted, which servers do now and then: %v", err)
	}
	err := src.create(ctx)
	for _, what := range src.refused {
		r.fail("subscribe", &refusal{why: "the server does not know " + what, mend: mendStatistic})
	}
	if err != nil {
		r.fail("subscribe", err)
		return false
	}
	r.ok("subscribe", "%d app id(s), %d grid(s)", len(src.plan.wire), len(src.plan.layout.Grids))
	return true
}

// checkData waits for the first snapshot and counts what is in it.
func checkData(ctx context.Context, src *source, c *Config, r *report) {
	began := time.Now()
	var answer bpcc.Answer
	for {
		var err error
		if answer, err = src.data(ctx); err == nil {
			break
		}
		if !errors.Is(err, bpcc.ErrNotReady) || time.Since(began) > readyPatience {
			r.fail("snapshot", err)
			return
		}
		select {
		case <-ctx.Done():
			r.fail("snapshot", ctx.Err())
			return
		case <-time.After(min(c.PollInterval, time.Second)):
		}
	}
	snap, err := src.plan.layout.Parse(answer.Body)
	if err != nil {
		r.fail("snapshot", err)
		return
	}
	r.ok("snapshot", "%d bytes in %v", len(answer.Body), answer.Received.Sub(answer.Sent).Round(time.Millisecond))
	for i, g := range src.plan.layout.Grids {
		r.ok(string(g.Kind), "%d row(s) in %s", snap.Rows(i), g.Name())
		if g.Limit > 0 && snap.Rows(i) >= g.Limit {
			r.ok(string(g.Kind), "the grid is as long as its limit of %d and may be cut: no departure will be believed; raise the limit", g.Limit)
		}
	}
	if n := snap.Unnamed; n > 0 {
		r.fail("rows", fmt.Errorf("%d row(s) without %s, which names them: they would be left out", n, c.AgentKey))
	}
	if n := snap.Duplicates; n > 0 {
		r.ok("rows", "%d row(s) have the key of another and would be left out", n)
	}
	checkStates(src, snap, r)
}

// checkStates counts agents by state, which tells at a glance whether the user
// supervises the right teams.
func checkStates(src *source, snap *diff.Snapshot, r *report) {
	var s diff.State
	seen, err := s.Compare(src.plan.layout, snap, diff.Options{DisappearAfter: 1})
	if err != nil {
		r.fail("snapshot", err)
		return
	}
	count := map[string]int{}
	for _, c := range seen {
		if c.Kind == kindAgent {
			count[stateOf(c.After).State]++
		}
	}
	for _, state := range sortedKeys(count) {
		r.ok("agents", "%d %s", count[state], cmp.Or(state, "in a state that is not asked for: subscribe to acd_state"))
	}
	asked := slices.ContainsFunc(src.plan.layout.Grids, func(g diff.Grid) bool { return g.Kind == kindAgent })
	if asked && len(count) == 0 {
		r.ok("agents", "none: is the user the supervisor of the teams?")
	}
}

func checkDirectory(ctx context.Context, src *source, c *Config, r *report) {
	if c.noAvailability() {
		return
	}
	names := c.Services
	if len(names) == 0 {
		list, err := src.client.Services(ctx)
		if err != nil {
			r.fail("services", err)
			return
		}
		for _, n := range list {
			if n.Name != "" {
				names = append(names, n.Name)
			}
		}
		names = slices.Compact(slices.Sorted(slices.Values(names)))
	}
	r.ok("services", "%d for availability checks", len(names))
	if len(names) == 0 {
		return
	}
	available, err := src.client.Available(ctx, names[0])
	if err != nil {
		r.fail("availability", err)
		return
	}
	r.ok("availability", "%q: %v", names[0], available)
}
