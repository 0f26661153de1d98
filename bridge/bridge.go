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
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/figures"
	"bpcc-nats/bridge/recovery"
	"bpcc-nats/bridge/source"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/watchdog"
)

// Bridge publishes one tenant's changes from BPCC to JetStream. Create it with [New]. All its state
// belongs to the goroutine of [Bridge.Run].
type Bridge struct {
	config     *config.Config
	js         jetstream.JetStream
	log        *slog.Logger
	now        func() time.Time
	created    time.Time // when the bridge was made
	self       identity
	health     healthState          // written by the goroutine of Run, read by any
	progress   progress             // likewise
	metrics    *metrics             // of the process
	figures    *figures.Tenant      // metrics of what is published; nil = none
	shared     *sharedResources     // of the process
	stepDown   chan struct{}        // received by a leader that must hand over
	foreignLog *recovery.ForeignLog // used by the goroutine that reads the stream: a standby's reader, then Run

	loop    *source.Loop
	encoder *event.Encoder

	oversizeLogged map[string]bool // entities logged as too large

	term // the present one, or the last
}

// term is what is made anew at the start of each term.
type term struct {
	engine           *engine.Engine // nil until the state is recovered from the stream
	answers          *answer.State  // what is published, for replies to requests
	maxCheckAge      time.Duration  // how old the last good check of a service may be
	watchdog         *watchdog.Watchdog
	fence            uint64    // sequence of the last message on the checkpoints' subject that is known; 0 = none
	checkpoint       []byte    // body of the last checkpoint; empty = none
	headLogged       time.Time // when the last checkpoint was logged
	lastCommit       time.Time // when the last batch was acknowledged
	failure          string    // why the last poll was not good, and what to do; "" = it was, or that is not known
	streamMaxMsgSize int       // the stream's max_msg_size as last seen; 0 or less = none
	view             viewRepair
	background       *sync.WaitGroup // goroutines that end with the term
	removalTTL       time.Duration   // of the messages of removals; 0 = none
}

// New returns a bridge; nothing is sent before Run. The configuration must have been checked by
// [config.Parse].
func New(c *config.Config, js jetstream.JetStream, log *slog.Logger) (*Bridge, error) {
	self, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return newBridge(c, js, log, self, newMetrics(c.Version), newSharedResources(js, c, nil, log))
}

func newBridge(c *config.Config, js jetstream.JetStream, log *slog.Logger, self identity, m *metrics, shared *sharedResources) (*Bridge, error) {
	log = log.With("tenant", c.Tenant)
	loop, err := source.NewLoop(c, source.Options{
		AppIDSuffix: self.appIDSuffix, Spread: shared.rebalancer != nil,
		CountPoll:  func(o engine.Observation, batch *engine.Batch) { m.countPoll(c.Tenant, o, batch) },
		CountCheck: func(outcome string) { m.checks.WithLabelValues(c.Tenant, outcome).Inc() },
	}, log)
	if err != nil {
		return nil, err
	}
	b := &Bridge{
		config: c, js: js, log: log, now: time.Now, created: time.Now(), loop: loop, self: self,
		metrics: m, shared: shared, stepDown: make(chan struct{}),
	}
	// So that the first one is seen as an increase.
	m.viewRebuilds.WithLabelValues(c.Tenant)
	m.commits.WithLabelValues(c.Tenant, "failed")
	m.commits.WithLabelValues(c.Tenant, "fenced")
	b.foreignLog = recovery.NewForeignLog(log, m.foreignMessages.WithLabelValues(c.Tenant).Inc, m.unreadableMessages.WithLabelValues(c.Tenant).Inc)
	if len(c.Events.MetricsStats) > 0 {
		b.figures = figures.New(c.Tenant, c.Events.MetricsStats, log)
	}
	b.encoder = event.NewEncoder(c.BPCC.CloudEventSource())
	b.setStandby()
	return b, nil
}

// newEngine returns the engine of a term.
func (b *Bridge) newEngine() *engine.Engine { return engine.New(b.loop.EngineOptions(b.self.instance)) }

// commitIfDue commits the batch of an observation, or a checkpoint if one is due.
func (b *Bridge) commitIfDue(ctx context.Context, batch *engine.Batch) error {
	defer b.updateHealth()
	if err := stream.CheckServer(b.js.Conn()); err != nil {
		return stream.AsUnavailable(err)
	}
	mayHaveFired, err := b.rearmWatchdog(ctx)
	if err != nil {
		return err
	}
	if !b.engine.NeedsCommit(batch) && !mayHaveFired && b.now().Sub(b.lastCommit) < b.config.Stream.CheckpointInterval {
		b.engine.Skip(batch)
		b.updateAnswers(nil)
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
	if !b.watchdog.Due(now, b.engine.Status()) {
		return false, nil
	}
	stale := b.engine.StaleCheckpoint(now)
	body, err := b.encoder.Append(nil, &stale)
	if err != nil {
		return false, err
	}
	serverNow := b.shared.clock.Now(ctx, b.config.Times().ClockInterval)
	return b.watchdog.Reset(ctx, now, serverNow, b.engine.Status(), body), nil
}
