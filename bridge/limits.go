package bridge

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"bpcc-nats/bridge/clock"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/lease"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/rebalance"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/trace"
	"bpcc-nats/bridge/view"
)

// Limits for the concurrent reads of the tenants of one process. A server allows 1,000 consumers on
// a stream, for all processes together.
const (
	maxReaders    = 200
	maxRecoveries = 16
)

// sharedResources are what the tenants of a process share. A tenant with a slot of readers
// may wait for one of recoveries, never the reverse.
type sharedResources struct {
	readers     *semaphore.Weighted   // standbys that tail the stream; one without a slot does not
	recoveries  *semaphore.Weighted   // recoveries of tenants
	publisher   *publish.Publisher    // publishes their batches
	buffers     publish.Buffers       // buffers of their batches
	bucket      *lease.Bucket         // bucket of their leases
	clock       *clock.Clock          // the NATS server's clock
	view        *view.Monitor         // how far the view is behind
	embedded    *stream.Server        // the NATS server inside the process; nil = another one
	rebalancer  *rebalance.Rebalancer // nil for one tenant
	tracer      *trace.Tracer         // exports their polls; nil = not
	roleChanged chan struct{}         // holds one when the role of any of them has changed
}

func newSharedResources(js jetstream.JetStream, c *config.Config, embedded *stream.Server, log *slog.Logger) *sharedResources {
	return &sharedResources{
		readers:     semaphore.NewWeighted(maxReaders),
		recoveries:  semaphore.NewWeighted(maxRecoveries),
		publisher:   publish.NewPublisher(js, c.Times()),
		bucket:      lease.NewBucket(js, c.Stream.Lease, c.Times(), log),
		view:        view.NewMonitor(js, c.Stream, c.Times(), embedded, log),
		clock:       clock.New(js, c.Stream, c.Times(), time.Now, log),
		embedded:    embedded,
		roleChanged: make(chan struct{}, 1),
	}
}

// notifyRoleChange signals that the role of a tenant has changed.
func (l *sharedResources) notifyRoleChange() {
	select {
	case l.roleChanged <- struct{}{}:
	default: // already signalled
	}
}
