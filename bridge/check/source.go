package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/source"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// firstDataTimeout is how long a check waits for the first data of a subscription.
const firstDataTimeout = 60 * time.Second

// checkHint is what an operator can do about an error that a running bridge would
// only retry.
func checkHint(err error) string {
	switch hint := source.Hint(err); {
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, layout.ErrForeign):
		return "another program uses the same API user and replaces its one subscription; give the bridge a user of its own"
	case errors.Is(err, bpcc.ErrThrottled):
		return "the server limits the rate: check again later, and poll less often (BPCC_POLL_INTERVAL)"
	case errors.Is(err, bpcc.ErrNotReady):
		return "the server has no data for this subscription yet; check again in a minute"
	case hint == source.RetryHint, hint == source.UnreachableHint:
		return "is BPCC_URL right, and does this machine reach it (DNS, firewall, proxy)?"
	default:
		return hint
	}
}

// Source tests the source as the bridge would use it: it logs in, subscribes, fetches
// one snapshot and one availability, and reports what it found and what to do. It
// publishes nothing. It replaces the user's one subscription, so a bridge that
// runs as the same user subscribes again afterwards. It returns how many agents it has seen.
func Source(ctx context.Context, c *config.Config, report func(Step)) (agents int, err error) {
	src, err := source.NewSession(c, "check", slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer src.Client.Close()
	x := &checkRun{report: report}
	x.reportOK("configuration", "%s login as %q, a poll every %v, agents identified by %s", c.BPCC.Auth, c.BPCC.User(), c.BPCC.PollInterval, c.Events.AgentKey)
	if checkSession(ctx, src, x) {
		agents = checkData(ctx, src, c, x)
		checkDirectory(ctx, src, c.BPCC, x)
	}
	if err := src.Unsubscribe(ctx); err != nil {
		x.reportWarning("unsubscribe", "nothing to do: the subscription expires", "%v", err)
	}
	return agents, x.result()
}

func checkSession(ctx context.Context, src *source.Session, x *checkRun) bool {
	began := time.Now()
	if err := src.Login(ctx); err != nil {
		x.reportFailure("log in", err)
		return false
	}
	x.reportOK("log in", "the server accepts the credentials, response in %v", elapsedSince(began))
	if err := src.Client.Unsubscribe(ctx); err != nil {
		x.reportOK("unsubscribe", "an older subscription was not deleted; the server may refuse that now and then: %v", err)
	}
	err := src.Subscribe(ctx)
	for _, stat := range src.Refused {
		x.fail("subscribe", "the server rejects "+stat, source.StatisticHint)
	}
	if err != nil {
		x.reportFailure("subscribe", err)
		return false
	}
	x.reportOK("subscribe", "%d app id(s), %d grid(s)", len(src.Plan.Wire), len(src.Plan.Layout.Grids))
	return true
}

func elapsedSince(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }

// checkData waits for the first snapshot and counts its rows. It returns how many agents it shows.
func checkData(ctx context.Context, src *source.Session, c *config.Config, x *checkRun) (agents int) {
	response, err := firstData(ctx, src, c.BPCC)
	if err != nil {
		x.reportFailure("snapshot", err)
		return 0
	}
	snap, err := diff.Parse(src.Plan.Layout, response.Body)
	if err != nil {
		x.reportFailure("snapshot", src.ExplainAnswer(err, response.Body))
		return 0
	}
	duration := response.Received.Sub(response.Sent).Round(time.Millisecond)
	if 2*duration > c.BPCC.PollInterval {
		x.reportWarning("snapshot", "raise BPCC_POLL_INTERVAL, or subscribe to less", "%d bytes in %v, with a poll every %v", len(response.Body), duration, c.BPCC.PollInterval)
	} else {
		x.reportOK("snapshot", "%d bytes in %v", len(response.Body), duration)
	}
	for i, g := range src.Plan.Layout.Grids {
		if n := snap.BodyRows(i); g.Cut(n) {
			x.reportWarning(string(g.Kind), "raise the limit or remove it: departures cannot be detected",
				"%d row(s) in %s, as many as its limit of %d: rows may be missing", n, g.Name(), g.Limit)
			continue
		}
		x.reportOK(string(g.Kind), "%d row(s) in %s", snap.Rows(i), g.Name())
	}
	if n := snap.Unnamed; n > 0 {
		x.fail("rows", fmt.Sprintf("%d row(s) without %s, which identifies them: they would be skipped", n, c.Events.AgentKey),
			"give those agents a "+c.Events.AgentKey+", or identify agents by another statistic (BRIDGE_AGENT_KEY)")
	}
	if n := snap.Duplicates; n > 0 {
		x.reportWarning("rows", "make sure that no two rows have one "+c.Events.AgentKey+" or service name",
			"%d row(s) have a duplicate key and would be skipped, such as %.64q", n, slices.Concat(snap.DuplicateKeys...)[0])
	}
	if snap.Unreadable.Count > 0 {
		x.reportWarning("rows", "report it to the operator of the server, or remove the column from the subscription", "%s", engine.DescribeUnreadable(snap))
	}
	var s diff.State
	seen, err := s.Compare(src.Plan.Layout, snap, diff.Options{DisappearAfter: 1})
	if err != nil {
		x.reportFailure("snapshot", err)
		return 0
	}
	checkEntities(src, seen, x)
	checkRules(c.Events.Rules, &s, src.RefusedStats, x)
	for _, c := range seen {
		if c.Kind == event.Agent {
			agents++
		}
	}
	return agents
}

// firstData fetches the first snapshot of a new subscription, for which servers need
// some time.
func firstData(ctx context.Context, src *source.Session, c config.BPCC) (bpcc.Response, error) {
	began := time.Now()
	for {
		response, err := src.FetchData(ctx)
		if err == nil || !errors.Is(err, bpcc.ErrNotReady) || time.Since(began) > firstDataTimeout {
			return response, err
		}
		select {
		case <-ctx.Done():
			return response, ctx.Err()
		case <-time.After(min(c.PollInterval, time.Second)):
		}
	}
}

// checkEntities counts agents by state and names services, which shows whether the
// user supervises the right teams.
func checkEntities(src *source.Session, seen []diff.Change, x *checkRun) {
	count := map[string]int{}
	var services []string
	for _, c := range seen {
		switch c.Kind {
		case event.Agent:
			count[event.NewAgentReader().State(c.After).State]++
		case event.Service:
			services = append(services, c.ID)
		}
	}
	subscribed := func(kind image.Kind) bool {
		return slices.ContainsFunc(src.Plan.Layout.Grids, func(g layout.Grid) bool { return g.Kind == kind })
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(count)) {
		if state != "" {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	switch {
	case !subscribed(event.Agent):
	case len(count) == 0:
		x.reportWarning("agents", "make the API user a supervisor of the teams to monitor", "none visible")
	case count[""] > 0:
		x.reportWarning("agents", "add acd_state to the subscription", "%d without a state, which is not subscribed: no event will report a change of state", count[""])
	default:
		x.reportOK("agents", "%s", strings.Join(parts, ", "))
	}
	slices.Sort(services)
	if len(services) > 0 {
		x.reportOK("services", "%s", firstFew(services))
	} else if subscribed(event.Service) {
		x.reportWarning("services", "give the API user the privilege View real-time service metrics, and check that its teams have services", "none visible")
	}
}

func checkDirectory(ctx context.Context, src *source.Session, c config.BPCC, x *checkRun) {
	if c.AvailabilityDisabled() {
		x.reportOK("availability", "disabled (BPCC_SERVICES=%s)", config.NoServices)
		return
	}
	names := c.Services
	if len(names) == 0 {
		refs, err := src.Client.Services(ctx)
		if err != nil {
			x.reportFailure("directory", err)
			return
		}
		for _, n := range refs {
			if n.Name != "" {
				names = append(names, n.Name)
			}
		}
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 {
		x.reportWarning("directory", "nothing to do if the tenant has no services; else list them in BPCC_SERVICES", "no service for availability checks")
		return
	}
	x.reportOK("directory", "%d service(s) for availability checks", len(names))
	checkRate(c, len(names), x)
	began := time.Now()
	available, err := src.Client.Available(ctx, names[0])
	if err != nil {
		x.reportFailure("availability", err)
		return
	}
	x.reportOK("availability", "%q: %v, response in %v", names[0], available, elapsedSince(began))
}

// checkRate reports how often so many services are checked.
func checkRate(c config.BPCC, services int, x *checkRun) {
	interval := c.CheckInterval(services)
	if interval == c.AvailabilityInterval {
		x.reportOK("rate", "each service is checked every %v, with at most %d requests a second", interval, c.MaxRequests)
		return
	}
	x.reportWarning("rate", source.RateHint, "%d services every %v are %.0f requests a second; with BPCC_MAX_REQUESTS=%d each is checked every %v, and unknown %v after its last good check",
		services, c.AvailabilityInterval, float64(services)/c.AvailabilityInterval.Seconds(), c.MaxRequests, interval, c.UnknownAfter(interval))
}

// firstFew lists some names for people, and … for the rest.
func firstFew(names []string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
