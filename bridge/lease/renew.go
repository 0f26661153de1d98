package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/stream"
)

// renewInterval leaves time for two more requests, and is a little longer than the default interval
// between polls.
func (l *Lease) renewInterval() time.Duration { return 21 * l.ttl / 50 }

// renewal is the result of one request to renew the lease.
type renewal struct {
	sent     time.Time
	revision uint64
	err      error
}

// renew sends requests until one succeeds or the lease ends at deadline: again after some time,
// since a response may be lost, while earlier requests stay pending, since their responses may be
// late. A failed request ends it, unless others are pending.
func (l *Lease) renew(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, max(deadline.Sub(l.now()), time.Millisecond))
	var requests sync.WaitGroup
	defer requests.Wait()
	defer cancel()
	const maxPending = 4 // the lease ends before a fifth request
	renewals := make(chan renewal, maxPending)
	pending := 0
	prevErr, lastRevision := l.conn.LastError(), l.revision
	send := func() {
		pending++
		sent := l.now()
		requests.Go(func() {
			revision, err := l.kv.Update(ctx, l.options.Key, []byte(l.options.Instance), lastRevision)
			renewals <- renewal{sent, revision, stream.Cause(l.conn, prevErr, err)}
		})
	}
	send()
	var confirm <-chan time.Time
	ticker := time.NewTicker(l.ttl / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if pending < maxPending {
				send()
			}
		case <-confirm:
			return l.confirmOwner(ctx)
		case a := <-renewals:
			pending--
			switch {
			case a.err == nil:
				l.revision = a.revision
				l.setRenewed(a.sent)
				return nil
			case errors.Is(a.err, jetstream.ErrKeyRevisionMismatch) && pending > 0:
				// One of the others may have changed it, and its response be here in a moment.
				confirm = time.After(l.ttl / 50)
			case errors.Is(a.err, jetstream.ErrKeyRevisionMismatch):
				return l.confirmOwner(ctx)
			case pending == 0:
				return fmt.Errorf("renew lease: %w", a.err)
			}
		}
	}
}

// confirmOwner finds out who has changed the lease: a request of this instance whose response was
// lost or is late, or another instance. A replica that is behind may still return a lease that
// another instance has taken, so only a renewal of what was read proves that it is this instance's.
func (l *Lease) confirmOwner(ctx context.Context) error {
	for {
		revision, err := l.readOwn(ctx)
		if err != nil {
			return err
		}
		sent := l.now()
		revision, err = l.kv.Update(ctx, l.options.Key, []byte(l.options.Instance), revision)
		switch {
		case err == nil:
			l.revision = revision
			l.setRenewed(sent)
			return nil
		case !errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			return fmt.Errorf("renew lease: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("renew lease: %w", ctx.Err())
		case <-time.After(min(l.ttl/50, 20*time.Millisecond)):
		}
	}
}

// readOwn returns the revision of this instance's lease; [ErrLost] if a replica returns no lease, or
// that of another instance.
func (l *Lease) readOwn(ctx context.Context) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	entry, err := l.kv.Get(ctx, l.options.Key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return 0, fmt.Errorf("%w: it has ended", ErrLost)
	case err != nil:
		return 0, fmt.Errorf("read lease: %w", err)
	case string(entry.Value()) != l.options.Instance:
		return 0, fmt.Errorf("%w: another instance has it", ErrLost)
	}
	return entry.Revision(), nil
}

// Confirm returns nil if the lease is this instance's at a moment of the call, [ErrLost] if it is not,
// and else why that is not known. The lease must not be held meanwhile.
func (l *Lease) Confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.callTimeout)
	defer cancel()
	return l.confirmOwner(ctx)
}
