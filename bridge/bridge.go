// Package bridge carries one tenant's changes from the Real-Time Statistics API
// of the Bright Pattern Contact Center to NATS JetStream.
//
// One poll is one transaction:
//
//	GET data → rows → changes → events → ONE atomic batch (events + checkpoint) → ack → next poll
//
// The stream is the only memory. At its start the bridge takes back from it the
// last published picture of every agent, service and rule, and publishes the
// difference to what it then sees; nothing is told twice and nothing is left
// out. What it believes to be published moves only with an acknowledgement. The
// checkpoint that closes every batch is also the fence: it is stored only if the
// checkpoint before it is still the last one, so that of two writers one is
// refused, whole batches at a time.
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

// Bridge is one tenant's way from BPCC to JetStream. Make it with [New]; all
// its state belongs to the goroutine of [Bridge.Run].
type Bridge struct {
	config  *Config
	js      jetstream.JetStream
	log     *slog.Logger
	now     func() time.Time
	plan    plan
	self    identity
	health  health        // written by the goroutine of Run, read by any
	metrics *metrics      // the process's
	limits  *limits       // the process's
	balance *balance      // the process's; nil if it runs one tenant
	yield   chan struct{} // taken by a leader that is to hand over
	strays  *strays       // of whoever reads the stream back: a standby's reader, then Run

	source       *source
	directory    *directoryPoller    // nil = neither events nor service names are wanted
	availability *availabilityPoller // nil = no checks

	// What follows is made anew from the stream at the start of each term.
	engine    *engine.Engine
	encoder   *event.Encoder
	watchdog  *watchdog
	fence     uint64          // sequence of the last message on the checkpoints' subject that is known; 0 = there is none
	committed time.Time       // when the last batch was acknowledged
	warned    string          // what was last warned of
	msgLimit  int             // the stream's max_msg_size as last seen; 0 or less = none
	large     map[string]bool // what was told to be too large
}

// New makes a bridge; nothing is sent before Run. The configuration must have
// been checked by [ParseConfig].
func New(c *Config, js jetstream.JetStream, log *slog.Logger) (*Bridge, error) {
	self, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return newBridge(c, js, log, self, newMetrics(c.Version), newLimits(js, c))
}

func newBridge(c *Config, js jetstream.JetStream, log *slog.Logger, self identity, m *metrics, shared *limits) (*Bridge, error) {
	log = log.With("tenant", c.Tenant)
	client, err := c.client(log)
	if err != nil {
		return nil, err
	}
	p := makePlan(c.Subscription, c, self.suffix)
	b := &Bridge{
		config: c, js: js, log: log, now: time.Now, plan: p, self: self,
		metrics: m, limits: shared, yield: make(chan struct{}),
		source: &source{client: client, cookie: c.Auth == authCookie, plan: p, log: log, now: time.Now},
	}
	b.strays = &strays{log: log, known: map[string]bool{}, count: m.strays.WithLabelValues(c.Tenant).Inc}
	b.engine, b.encoder = b.newEngine(), event.NewEncoder(c.source())
	b.standBy()
	if c.DirectoryInterval > 0 || !c.noAvailability() {
		b.directory = &directoryPoller{
			client: client, interval: cmp.Or(c.DirectoryInterval, 5*time.Minute), all: c.DirectoryInterval > 0,
			pseudonyms: event.NewPseudonyms(string(c.PseudonymKey)), log: log, now: time.Now,
			latest: map[string]engine.DirectorySnapshot{}, told: map[string]string{},
		}
	}
	if !c.noAvailability() {
		b.availability = &availabilityPoller{
			client: client, interval: c.AvailabilityInterval, log: log, now: time.Now,
			chosen: c.Services, directory: b.directory, latest: map[string]engine.AvailabilityResult{},
		}
	}
	return b, nil
}

// newEngine makes the engine of a term.
func (b *Bridge) newEngine() *engine.Engine {
	return engine.New(engineOptions(b.config, b.plan, b.self.instance))
}

// engineOptions are those of a configuration.
func engineOptions(c *Config, p plan, instance string) engine.Options {
	return engine.Options{
		Tenant: c.Tenant, Instance: instance, Version: cmp.Or(c.Version, "unknown"),
		Layout: p.layout, ChatApps: p.chatApps, DisappearAfter: c.DisappearAfter,
		InterruptAfter:       c.silence(),
		AvailabilityDebounce: c.AvailabilityDebounce,
		RebaselineAfter:      c.Retention / 2,
		Rules:                c.Rules,
		Pseudonyms:           event.NewPseudonyms(string(c.PseudonymKey)),
		Redacted:             matcher(c.RedactStats),
	}
}

// watch runs all pollers and hands what they see to each, until ctx ends or
// each fails.
func (b *Bridge) watch(ctx context.Context, each func(engine.Observation, *engine.Batch) error) error {
	if !b.stagger(ctx) {
		return nil
	}
	var pollers sync.WaitGroup
	polling, stopPolling := context.WithCancel(ctx)
	if b.directory != nil {
		pollers.Go(func() { b.directory.run(polling) })
	}
	if b.availability != nil {
		pollers.Go(func() { b.availability.run(polling) })
	}
	err := b.loop(ctx, each)
	stopPolling()
	pollers.Wait()
	return err
}

// stagger lets a moment pass before the first poll of one of many tenants, so
// that they do not poll in step. It is false if ctx ended meanwhile.
func (b *Bridge) stagger(ctx context.Context) bool {
	if b.balance == nil {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(mrand.N(b.config.PollInterval)):
		return true
	}
}

// loop polls at every interval, one request at a time, and hands on each poll
// and what is to be told of it. While a request takes longer than an interval,
// the ticks carry what else there is to tell.
func (b *Bridge) loop(ctx context.Context, each func(engine.Observation, *engine.Batch) error) error {
	tick := time.NewTicker(b.config.PollInterval)
	defer tick.Stop()
	polled := b.poll(ctx)
	for {
		var o engine.Observation
		var done *engine.Batch
		select {
		case <-ctx.Done():
			if polled != nil {
				<-polled
			}
			return nil
		case o = <-polled:
			polled = nil
			o = b.aside(o)
			done = b.engine.OnPoll(o)
			if o.Err == nil {
				b.source.settle(done.Err)
			}
			b.warn(strings.Join(done.Problems, "; "))
			b.metrics.polled(b.config.Tenant, o, done)
		case <-tick.C:
			if polled == nil {
				polled = b.poll(ctx)
				continue
			}
			o = b.aside(engine.Observation{Err: engine.ErrPending, At: b.now()})
			done = b.engine.OnTick(o)
			b.metrics.polled(b.config.Tenant, o, done)
		}
		if err := each(o, done); err != nil {
			if polled != nil {
				<-polled
			}
			return err
		}
		if free := b.engine.ReclaimBody(); free != nil {
			b.source.client.Reuse(free)
		}
	}
}

// carry commits what an observation gave, or a watermark if it is time for one.
func (b *Bridge) carry(ctx context.Context, batch *engine.Batch) error {
	defer b.report()
	if err := checkServer(b.js.Conn()); err != nil {
		return away(err)
	}
	late, err := b.rearmWatchdog(ctx)
	if err != nil {
		return err
	}
	if !b.engine.NeedsCommit(batch) && !late && b.now().Sub(b.committed) < b.config.CheckpointInterval {
		b.engine.Skip(batch)
		return nil
	}
	if err := b.commit(ctx, batch); err != nil {
		return err
	}
	b.log.Debug("committed", "poll", batch.Poll(), "events", batch.Len(), "checkpoint", b.fence)
	return nil
}

// rearmWatchdog puts off the watchdog's message if it is time for that. It reports
// whether the old one may have been sent meanwhile, so that a checkpoint is due.
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

// warn logs what is wrong with snapshots that are used all the same, when it
// becomes so and when it is over.
func (b *Bridge) warn(text string) {
	switch {
	case text == b.warned:
	case text == "":
		b.log.Info("snapshots are complete again")
	default:
		b.log.Warn("snapshot has problems", "problems", text)
	}
	b.warned = text
}

// poll asks the source once in the background; the channel brings the answer.
func (b *Bridge) poll(ctx context.Context) chan engine.Observation {
	polled := make(chan engine.Observation, 1)
	go func() {
		answer, err := b.source.poll(ctx)
		polled <- observed(answer, err, b.now())
	}()
	return polled
}

// observed is the observation that an answer makes, or its failure.
func observed(answer bpcc.Answer, err error, at time.Time) engine.Observation {
	return engine.Observation{
		Body: answer.Body, Sent: answer.Sent, Received: answer.Received, Err: err, Cause: interruptCause(err), At: at,
	}
}

// interruptCause is an error as feed.interrupted names it, "" for one that says
// nothing about why the source is not seen.
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
	}
	return "source"
}

// aside adds to an observation what the other pollers have found meanwhile.
func (b *Bridge) aside(o engine.Observation) engine.Observation {
	if b.directory != nil {
		o.Directories = b.directory.take()
	}
	if b.availability != nil {
		o.Availability = b.availability.take()
	}
	return o
}
