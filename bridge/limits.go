package bridge

import (
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// What the tenants of one process read at a time, all together. A server opens
// 1,000 consumers on a stream, for all processes, and refuses more.
const (
	maxReaders    = 200
	maxRecoveries = 16
)

// sharedResources hold the tenants of a process to that. Who has a place as a reader may
// wait for one to recall, and nobody the other way round.
type sharedResources struct {
	readers     *semaphore.Weighted // standbys that read along; who finds no place does without
	recoveries  *semaphore.Weighted // readings of a tenant's memory
	publisher   *batchPublisher     // what they write
	buffers     messageBuffers      // what they write it in
	bucket      *leaseBucket        // where their leases are
	roleChanged chan struct{}       // holds one when the role of any of them has changed
}

func newSharedResources(js jetstream.JetStream, c *Config) *sharedResources {
	return &sharedResources{
		readers:     semaphore.NewWeighted(maxReaders),
		recoveries:  semaphore.NewWeighted(maxRecoveries),
		publisher:   newBatchPublisher(js),
		bucket:      newLeaseBucket(js, c),
		roleChanged: make(chan struct{}, 1),
	}
}

// notifyRoleChange notes that the role of a tenant has changed.
func (l *sharedResources) notifyRoleChange() {
	select {
	case l.roleChanged <- struct{}{}:
	default: // noted already
	}
}
