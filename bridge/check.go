package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// ErrCheck is returned by [Check] and [CheckStreams] when a step failed; what
// they tell says which.
var ErrCheck = errors.New("the check failed")

// Outcome is how a step of a check went.
type Outcome string

// Outcomes. A warning lets a bridge run, though not as somebody may expect.
const (
	Well    Outcome = "ok"
	Warning Outcome = "warn"
	Failure Outcome = "FAIL"
)

// Step is one thing that a check looked at.
type Step struct {
	// Name is what was looked at, in a word or two.
	Name    string
	Outcome Outcome
	// Saw is what was found there.
	Saw string
	// Mend is what to do about it; "" where nothing is to be done.
	Mend string
}

// readyPatience is how long a check waits for the first data of a subscription.
const readyPatience = 60 * time.Second

// examination tells the steps of a check.
type examination struct {
	tell   func(Step)
	failed bool
}

func (x *examination) ok(what, format string, args ...any) {
	x.tell(Step{what, Well, fmt.Sprintf(format, args...), ""})
}

func (x *examination) warn(what, mend, format string, args ...any) {
	x.tell(Step{what, Warning, fmt.Sprintf(format, args...), mend})
}

func (x *examination) fail(what string, err error) {
	x.failed = true
	x.tell(Step{what, Failure, err.Error(), remedy(err)})
}

func (x *examination) result() error {
	if x.failed {
		return ErrCheck
	}
	return nil
}

// remedy is advice to somebody who can look and mend, where a bridge that runs
// would only try again.
func remedy(err error) string {
	var r *refusal
	switch text := advice(err); {
	case errors.As(err, &r):
		return r.mend
	case errors.Is(err, bpcc.ErrNoSubscription), errors.Is(err, diff.ErrForeign):
		return "another program uses the same API user and takes its one subscription away; give the bridge a user of its own"
	case errors.Is(err, bpcc.ErrThrottled):
		return "the server asks for patience: check again later, and poll less often (BPCC_POLL_INTERVAL)"
	case errors.Is(err, bpcc.ErrNotReady):
		return "the server has no data for this subscription yet; check again in a minute"
	case text == tryAgain:
		return "is BPCC_URL right, and does this machine reach it (DNS, firewall, proxy)?"
	default:
		return text
	}
}

// Check looks at the source as the bridge would: it logs in, subscribes, takes
// one snapshot and asks for one availability, and tells what it saw and what to
// mend. It publishes nothing. It takes the user's one subscription, so a bridge
// that runs as the same user subscribes again afterwards.
func Check(ctx context.Context, c *Config, tell func(Step)) error {
	client, err := c.client(discard())
	if err != nil {
		return err
	}
	defer client.Close()
	x := &examination{tell: tell}
	user := c.ClientID
	if c.Auth == authCookie {
		user = c.Username
	}
	x.ok("configuration", "%s login as %q, a poll every %v, agents named by %s", c.Auth, user, c.PollInterval, c.AgentKey)
	src := &source{client: client, cookie: c.Auth == authCookie, plan: makePlan(c.Subscription, c, "check"), log: discard(), now: time.Now}
	if checkSession(ctx, src, x) {
		checkData(ctx, src, c, x)
		checkDirectory(ctx, src, c, x)
	}
	if err := src.leave(ctx); err != nil {
		x.warn("unsubscribe", "nothing: the subscription ends by itself", "%v", err)
	}
	return x.result()
}

func checkSession(ctx context.Context, src *source, x *examination) bool {
	began := time.Now()
	if err := src.login(ctx); err != nil {
		x.fail("log in", err)
		return false
	}
	x.ok("log in", "the server knows the user, and answers in %v", took(began))
	if err := src.client.Unsubscribe(ctx); err != nil {
		x.ok("unsubscribe", "an older subscription could not be deleted, which servers do now and then: %v", err)
	}
	err := src.create(ctx)
	for _, what := range src.refused {
		x.fail("subscribe", &refusal{why: "the server does not know " + what, mend: mendStatistic})
	}
	if err != nil {
		x.fail("subscribe", err)
		return false
	}
	x.ok("subscribe", "%d app id(s), %d grid(s)", len(src.plan.wire), len(src.plan.layout.Grids))
	return true
}

func took(since time.Time) time.Duration { return time.Since(since).Round(time.Millisecond) }

// checkData waits for the first snapshot and counts what is in it.
func checkData(ctx context.Context, src *source, c *Config, x *examination) {
	answer, err := firstData(ctx, src, c)
	if err != nil {
		x.fail("snapshot", err)
		return
	}
	snap, err := src.plan.layout.Parse(answer.Body)
	if err != nil {
		x.fail("snapshot", err)
		return
	}
	lasted := answer.Received.Sub(answer.Sent).Round(time.Millisecond)
	if 2*lasted > c.PollInterval {
		x.warn("snapshot", "raise BPCC_POLL_INTERVAL, or ask for less", "%d bytes in %v, with a poll every %v", len(answer.Body), lasted, c.PollInterval)
	} else {
		x.ok("snapshot", "%d bytes in %v", len(answer.Body), lasted)
	}
	for i, g := range src.plan.layout.Grids {
		if g.Limit > 0 && snap.Rows(i) >= g.Limit {
			x.warn(string(g.Kind), "raise the limit or leave it out: no departure will be believed",
				"%d row(s) in %s, as many as its limit of %d: it may be cut", snap.Rows(i), g.Name(), g.Limit)
			continue
		}
		x.ok(string(g.Kind), "%d row(s) in %s", snap.Rows(i), g.Name())
	}
	if n := snap.Unnamed; n > 0 {
		x.failed = true
		x.tell(Step{"rows", Failure, fmt.Sprintf("%d row(s) without %s, which names them: they would be left out", n, c.AgentKey),
			"give those agents a " + c.AgentKey + ", or name agents by another statistic (BRIDGE_AGENT_KEY)"})
	}
	if n := snap.Duplicates; n > 0 {
		x.warn("rows", "look for two rows with one "+c.AgentKey+" or service name", "%d row(s) have the key of another and would be left out", n)
	}
	checkPeople(src, snap, x)
}

// firstData takes the first snapshot of a new subscription, which servers need a
// while for.
func firstData(ctx context.Context, src *source, c *Config) (bpcc.Answer, error) {
	began := time.Now()
	for {
		answer, err := src.data(ctx)
		if err == nil || !errors.Is(err, bpcc.ErrNotReady) || time.Since(began) > readyPatience {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(min(c.PollInterval, time.Second)):
		}
	}
}

// checkPeople counts agents by state and names services, which tells at a glance
// whether the user supervises the right teams.
func checkPeople(src *source, snap *diff.Snapshot, x *examination) {
	var s diff.State
	seen, err := s.Compare(src.plan.layout, snap, diff.Options{DisappearAfter: 1})
	if err != nil {
		x.fail("snapshot", err)
		return
	}
	count := map[string]int{}
	var services []string
	for c := range seen.All() {
		switch c.Kind {
		case event.Agent:
			count[event.NewAgentReader().State(c.After).State]++
		case event.Service:
			services = append(services, c.ID)
		}
	}
	asked := func(kind diff.Kind) bool {
		return slices.ContainsFunc(src.plan.layout.Grids, func(g diff.Grid) bool { return g.Kind == kind })
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(count)) {
		if state != "" {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	switch {
	case !asked(event.Agent):
	case len(count) == 0:
		x.warn("agents", "make the user the supervisor of the teams to be seen", "there are none")
	case count[""] > 0:
		x.warn("agents", "ask for acd_state in the subscription", "%d whose state is not asked for: no event will tell of it", count[""])
	default:
		x.ok("agents", "%s", strings.Join(parts, ", "))
	}
	slices.Sort(services)
	if len(services) > 0 {
		x.ok("services", "%s", firstFew(services))
	} else if asked(event.Service) {
		x.warn("services", "give the user the privilege View real-time service metrics, and look whether its teams have services", "there are none")
	}
}

func checkDirectory(ctx context.Context, src *source, c *Config, x *examination) {
	if c.noAvailability() {
		x.ok("availability", "not asked for (BPCC_SERVICES=%s)", noServices)
		return
	}
	names := c.Services
	if len(names) == 0 {
		listed, err := src.client.Services(ctx)
		if err != nil {
			x.fail("directory", err)
			return
		}
		for _, n := range listed {
			if n.Name != "" {
				names = append(names, n.Name)
			}
		}
		names = slices.Compact(slices.Sorted(slices.Values(names)))
	}
	if len(names) == 0 {
		x.warn("directory", "nothing, if the tenant has no services; else name them in BPCC_SERVICES", "no service for availability checks")
		return
	}
	x.ok("directory", "%d service(s) for availability checks", len(names))
	began := time.Now()
	available, err := src.client.Available(ctx, names[0])
	if err != nil {
		x.fail("availability", err)
		return
	}
	x.ok("availability", "%q: %v, asked in %v", names[0], available, took(began))
}

// firstFew writes names for people; what is many is enough to be seen as such.
func firstFew(names []string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
