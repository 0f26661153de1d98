// Package bridge publishes one tenant's changes from the Real-Time Statistics API of the Bright
// Pattern Contact Center to NATS JetStream.
//
// One poll is one transaction:
//
//	GET data → rows → changes → events → ONE atomic batch (events + checkpoint) → ack → next poll
//
// The stream is the only memory. At its start the bridge recovers from it the last published image
// of every agent, service and rule, and publishes the difference to its first poll: nothing is
// published twice and nothing is omitted. Only an acknowledgement changes what it believes to be
// published. The checkpoint that closes every batch is also the fence: it is stored only if the
// previous checkpoint is still the last one, so of two writers one is refused, by complete batches.
package bridge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// Bridge publishes one tenant's changes from BPCC to JetStream. Create it with [New]. All its state
// belongs to the goroutine of [Bridge.Run].
type Bridge struct {
	config     *Config
	js         jetstream.JetStream
	log        *slog.Logger
	now        func() time.Time
	plan       plan
	self       identity
	health     healthState      // written by the goroutine of Run, read by any
	metrics    *metrics         // of the process
	shared     *sharedResources // of the process
	rebalancer *rebalancer      // of the process; nil if it runs one tenant
	stepDown   chan struct{}    // received by a leader that must hand over
	foreignLog *foreignLog      // used by the goroutine that reads the stream: a standby's reader, then Run

	source       *source
	directory    *directoryPoller    // nil = neither events nor service names are needed
	availability *availabilityPoller // nil = no checks

	// The rest is recovered from the stream at the start of each term.
	engine           *engine.Engine
	encoder          *event.Encoder
	watchdog         *watchdog
	fence            uint64          // sequence of the last message on the checkpoints' subject that is known; 0 = none
	lastCommit       time.Time       // when the last batch was acknowledged
	lastProblems     []string        // of the last good snapshot
	streamMaxMsgSize int             // the stream's max_msg_size as last seen; 0 or less = none
	oversizeLogged   map[string]bool // entities logged as too large
}

// New returns a bridge; nothing is sent before Run. The configuration must have been checked by
// [ParseConfig].
func New(c *Config, js jetstream.JetStream, log *slog.Logger) (*Bridge, error) {
	self, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return newBridge(c, js, log, self, newMetrics(c.Version), newSharedResources(js, c))
}

func newBridge(c *Config, js jetstream.JetStream, log *slog.Logger, self identity, m *metrics, shared *sharedResources) (*Bridge, error) {
	log = log.With("tenant", c.Tenant)
	client, err := c.client(log)
	if err != nil {
		return nil, err
	}
	p := newPlan(c.Subscription, c, self.appIDSuffix)
	b := &Bridge{
		config: c, js: js, log: log, now: time.Now, plan: p, self: self,
		metrics: m, shared: shared, stepDown: make(chan struct{}),
		source: &source{client: client, cookie: c.Auth == authCookie, plan: p, rules: c.Rules, timing: c.times(), log: log, now: time.Now},
	}
	b.foreignLog = &foreignLog{log: log, known: map[string]bool{}, countMetric: m.foreignMessages.WithLabelValues(c.Tenant).Inc}
	b.engine, b.encoder = b.newEngine(), event.NewEncoder(c.cloudEventSource())
	b.setStandby()
	if c.DirectoryInterval > 0 || !c.availabilityDisabled() {
		b.directory = &directoryPoller{
			client: client, interval: cmp.Or(c.DirectoryInterval, 5*time.Minute), allDirectories: c.DirectoryInterval > 0, omitAgents: c.redactsDirectory(),
			pseudonymizer: event.NewPseudonyms(string(c.PseudonymKey)), log: log, now: time.Now,
			relistAfter: c.times().relistAfter, latest: map[string]engine.DirectorySnapshot{}, lastLogged: map[string]string{},
		}
	}
	if !c.availabilityDisabled() {
		b.availability = &availabilityPoller{
			client: client, config: c, directory: b.directory, log: log, now: time.Now,
			countMetric: func(outcome string) { m.checks.WithLabelValues(c.Tenant, outcome).Inc() },
			latest:      map[string]checkResults{}, failing: map[string]string{},
		}
	}
	return b, nil
}

// newEngine returns the engine of a term.
func (b *Bridge) newEngine() *engine.Engine {
	o := engineOptions(b.config, b.plan, b.self.instance)
	o.Explain = b.source.explainAnswer
	return engine.New(o)
}

// engineOptions returns the engine options of a configuration.
func engineOptions(c *Config, p plan, instance string) engine.Options {
	return engine.Options{
		Tenant: c.Tenant, Instance: instance, Version: cmp.Or(c.Version, "unknown"),
		Layout: p.layout, ChatApps: p.chatApps, DisappearAfter: c.DisappearAfter,
		InterruptAfter:       c.interruptAfter(),
		FrozenAfter:          c.frozenAfter(),
		AvailabilityDebounce: c.AvailabilityDebounce, AvailabilityUnknownAfter: c.unknownAfter(c.AvailabilityInterval),
		RebaselineAfter: c.Retention / 2,
		Rules:           c.Rules,
		Pseudonyms:      event.NewPseudonyms(string(c.PseudonymKey)),
		Redacted:        globMatcher(c.RedactStats),
	}
}

// runPollers runs all pollers and calls handle with each observation, until ctx ends or handle
// fails.
func (b *Bridge) runPollers(ctx context.Context, handle func(engine.Observation, *engine.Batch) error) error {
	if !b.startJitter(ctx) {
		return nil
	}
	var pollers sync.WaitGroup
	pollCtx, stopPolling := context.WithCancel(ctx)
	if b.directory != nil {
		pollers.Go(func() { b.directory.runDirectories(pollCtx) })
	}
	if b.availability != nil {
		pollers.Go(func() { b.availability.runAvailability(pollCtx) })
	}
	err := b.pollLoop(ctx, handle)
	stopPolling()
	pollers.Wait()
	return err
}

// startJitter waits for a random time before the first poll of one of many tenants, so that they do
// not poll at the same time. It returns false if ctx ended meanwhile.
func (b *Bridge) startJitter(ctx context.Context) bool {
	if b.rebalancer == nil {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(mrand.N(b.config.PollInterval)):
		return true
	}
}

// pollLoop polls at every interval, one request at a time, and calls handle with each poll and its
// batch. While a request takes longer than an interval, the ticks publish what needs no response.
func (b *Bridge) pollLoop(ctx context.Context, handle func(engine.Observation, *engine.Batch) error) error {
	tick := time.NewTicker(b.config.PollInterval)
	defer tick.Stop()
	between, stop := b.betweenPolls()
	defer stop()
	polled := b.startPoll(ctx)
	for {
		var o engine.Observation
		var result *engine.Batch
		select {
		case <-ctx.Done():
			if polled != nil {
				<-polled
			}
			return nil
		case o = <-polled:
			polled = nil
			o = b.withSidePolls(o)
			result = b.engine.OnPoll(o)
			if o.Err == nil {
				b.source.reportResult(result.Err)
			}
			if b.directory != nil && result.SkippedRows != nil {
				result.SkippedRows["directory"] = b.directory.skippedEntries()
			}
			b.logProblems(result)
			for _, u := range result.Unreadable {
				b.log.Warn("rule cannot read its statistic", "rule", u.Rule, "stat", u.Stat, "entity", u.Entity, "text", u.Text, "hint", unreadableHint)
			}
			b.metrics.countPoll(b.config.Tenant, o, result)
		case <-tick.C:
			if polled == nil {
				polled = b.startPoll(ctx)
				continue
			}
			o = b.withSidePolls(engine.Observation{Err: engine.ErrPending, At: b.now()})
			result = b.engine.OnTick(o)
			b.metrics.countPoll(b.config.Tenant, o, result)
		case <-between:
			o = b.withSidePolls(engine.Observation{Err: engine.ErrPending, At: b.now()})
			result = b.engine.OnTick(o)
		}
		if err := handle(o, result); err != nil {
			if polled != nil {
				<-polled
			}
			return err
		}
		if spare := b.engine.ReclaimBody(); spare != nil {
			b.source.client.Recycle(spare)
		}
	}
}

// betweenPolls returns a channel for ticks between polls that are further apart than availability
// checks: these are published without waiting for the next poll.
func (b *Bridge) betweenPolls() (tick <-chan time.Time, stop func()) {
	interval := max(b.config.AvailabilityInterval, time.Second)
	if b.availability == nil || interval >= b.config.PollInterval {
		return nil, func() {}
	}
	t := time.NewTicker(interval)
	return t.C, t.Stop
}

// commitIfDue commits the batch of an observation, or a checkpoint if one is due.
func (b *Bridge) commitIfDue(ctx context.Context, batch *engine.Batch) error {
	defer b.updateHealth()
	if err := checkServer(b.js.Conn()); err != nil {
		return asUnavailable(err)
	}
	mayHaveFired, err := b.rearmWatchdog(ctx)
	if err != nil {
		return err
	}
	if !b.engine.NeedsCommit(batch) && !mayHaveFired && b.now().Sub(b.lastCommit) < b.config.CheckpointInterval {
		b.engine.Skip(batch)
		return nil
	}
	if err := b.commit(ctx, batch); err != nil {
		return err
	}
	b.log.Debug("committed", "poll", batch.Poll(), "events", batch.Len(), "checkpoint", b.fence)
	return nil
}

// rearmWatchdog postpones the watchdog's message if that is due. It reports whether the old one may
// have been published meanwhile, so that a checkpoint is due.
func (b *Bridge) rearmWatchdog(ctx context.Context) (late bool, err error) {
	now := b.now()
	if !b.watchdog.due(now, b.engine.Status()) {
		return false, nil
	}
	stale := b.engine.StaleCheckpoint(now)
	body, err := b.encoder.Append(nil, &stale)
	if err != nil {
		return false, err
	}
	return b.watchdog.reset(ctx, now, b.engine.Status(), body), nil
}

// logProblems logs what is wrong with snapshots that are used nevertheless, when there is a new
// problem and when all have ended. A poll without a snapshot ends none.
func (b *Bridge) logProblems(result *engine.Batch) {
	if result.Err != nil {
		return
	}
	problems := result.Problems
	known := func(p string) bool { return slices.Contains(b.lastProblems, p) }
	switch {
	case slices.ContainsFunc(problems, func(p string) bool { return !known(p) }):
		b.log.Warn("snapshot has problems", "problems", strings.Join(problems, "; "))
	case len(problems) == 0 && len(b.lastProblems) > 0:
		b.log.Info("snapshots are complete again")
	}
	b.lastProblems = problems
}

// startPoll polls the source once in the background; the channel receives the result.
func (b *Bridge) startPoll(ctx context.Context) chan engine.Observation {
	polled := make(chan engine.Observation, 1)
	go func() {
		response, err := b.source.poll(ctx)
		o := observed(response, err, b.now())
		o.Refused = b.source.refusedStats
		polled <- o
	}()
	return polled
}

// observed returns the observation of a response or its error.
func observed(answer bpcc.Response, err error, at time.Time) engine.Observation {
	return engine.Observation{
		Body: answer.Body, Sent: answer.Sent, Received: answer.Received, Err: err, Cause: interruptCause(err), At: at,
	}
}

// interruptCause maps an error to the cause in feed.interrupted, "" for one that does not explain
// why the source is not observed.
func interruptCause(err error) string {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case err == nil || is(bpcc.ErrNotReady, engine.ErrPending):
		return ""
	case is(bpcc.ErrAuth, bpcc.ErrForbidden):
		return "auth"
	case is(bpcc.ErrNoSubscription, bpcc.ErrLimit, diff.ErrForeign):
		return "subscription_lost"
	case is(bpcc.ErrMalformed, bpcc.ErrTooLarge, diff.ErrMalformed):
		return "truncated"
	case is(diff.ErrEmpty):
		return "empty"
	case is(engine.ErrFrozen):
		return "frozen"
	case is(engine.ErrOutdated):
		return "outdated"
	}
	return "source"
}

// withSidePolls adds the results of the other pollers to an observation.
func (b *Bridge) withSidePolls(o engine.Observation) engine.Observation {
	if b.directory != nil {
		o.Directories = b.directory.drainSnapshots()
	}
	if b.availability != nil {
		o.Availability, o.AvailabilityUnknownAfter = b.availability.drainResults(), b.availability.stretchedUnknownAfter()
	}
	return o
}
