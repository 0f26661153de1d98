package bridge

import (
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// What the tenants of one process read at a time, all together. A server opens
// 1,000 consumers on a stream, for all processes, and refuses more.
const (
	readersMost = 200
	recallsMost = 16
)

// limits hold the tenants of a process to that. Who has a place as a reader may
// wait for one to recall, and nobody the other way round.
type limits struct {
	readers *semaphore.Weighted // standbys that read along; who finds no place does without
	recalls *semaphore.Weighted // readings of a tenant's memory
	batches *grouping           // what they write
	buffers messageBuffers      // what they write it in
	bucket  *leaseBucket        // where their leases are
	turned  chan struct{}       // holds one when the role of any of them has changed
}

func newLimits(js jetstream.JetStream, c *Config) *limits {
	return &limits{
		readers: semaphore.NewWeighted(readersMost),
		recalls: semaphore.NewWeighted(recallsMost),
		batches: newGrouping(js),
		bucket:  newLeaseBucket(js, c),
		turned:  make(chan struct{}, 1),
	}
}

// turn notes that the role of a tenant has changed.
func (l *limits) turn() {
	select {
	case l.turned <- struct{}{}:
	default: // noted already
	}
}
