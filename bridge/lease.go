package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lease lets one of several instances lead a tenant. It decides who polls, not
// who may write: two that both believe to lead for a moment are told apart by
// the fence. The bucket's own TTL ends a lease that is not renewed; a TTL of the
// key would be lost at the first renewal.
//
// Election libraries for JetStream exist, none of them kept up and served; this
// is the part of one that is needed.
type lease struct {
	conn     *nats.Conn
	kv       jetstream.KeyValue
	bucket   *leaseBucket
	key      string
	instance string
	ttl      time.Duration
	retry    time.Duration // how often a standby tries
	full     func() bool   // whether others should take a free lease first
	hinder   func(string)  // hears why the lease cannot be had, "" when it can
	log      *slog.Logger
	now      func() time.Time

	free     time.Time // since when the lease is seen free while others should take it
	revision uint64    // of the key, while held
	renewed  time.Time // when the request that last renewed it was sent
	unsure   time.Time // when the first one since was sent, which got no answer; zero = none

	awake chan struct{} // holds one when the process is awake for a poll
}

// rouse tells that the process is awake: a renewal that is soon due is done now,
// for waking up costs more than either of the two.
func (l *lease) rouse() {
	select {
	case l.awake <- struct{}{}:
	default:
	}
}

// errLeaseLost ends a term whose lease was not renewed in time.
var errLeaseLost = errors.New("the lease is lost")

// acquire waits until the lease is this instance's or ctx ends. The error is
// errAway if the bucket is gone, and [unfit] if leases cannot be had from it.
func (l *lease) acquire(ctx context.Context) error {
	told := ""
	for {
		err := l.attempt(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if gone := l.missing(ctx, err); gone != nil {
			return gone
		}
		if err := l.unfit(ctx); err != nil {
			return err
		}
		// Who leads is news when it changes, not at every try.
		text, fault := l.obstacle(ctx, err)
		if text != told {
			told = text
			if fault {
				l.log.Warn("cannot acquire the leader lease", "err", text)
			} else {
				l.log.Info("standing by", "reason", text)
			}
		}
		if !fault {
			text = ""
		}
		l.hinder(text)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.retry):
		}
	}
}

// errRoom is why a free lease is not taken.
var errRoom = errors.New("at capacity: leaving this tenant to an instance with room")

// attempt takes the lease, or leaves it to others for a while if this instance
// leads its share already.
func (l *lease) attempt(ctx context.Context) error {
	if err := checkServer(l.conn); err != nil {
		return err
	}
	if l.full() && !l.abandoned(ctx) {
		return errRoom
	}
	return l.try(ctx)
}

// abandoned tells whether the lease has been free for so long that nobody with
// room will take it.
func (l *lease) abandoned(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := l.kv.Get(ctx, l.key)
	if !errors.Is(err, jetstream.ErrKeyNotFound) {
		l.free = time.Time{}
		return false
	}
	if l.free.IsZero() {
		l.free = l.now()
	}
	return l.now().Sub(l.free) >= 2*l.ttl
}

func (l *lease) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	before := l.conn.LastError()
	sent := l.now()
	revision, err := l.kv.Create(ctx, l.key, []byte(l.instance))
	if errors.Is(err, jetstream.ErrKeyExists) {
		// What was taken without its answer being heard in time, or lost only for
		// want of answers, is still this instance's: it need not wait for itself.
		if mine, _ := l.mine(ctx); mine {
			revision, err = l.kv.Update(ctx, l.key, []byte(l.instance), l.revision)
		}
	}
	if err = permitted(l.conn, before, err); err != nil {
		return fmt.Errorf("take the lease: %w", err)
	}
	l.revision, l.renewed, l.free, l.unsure = revision, sent, time.Time{}, time.Time{}
	l.hinder("")
	return nil
}

// missing is errAway if the lease cannot be taken because its bucket is gone.
func (l *lease) missing(ctx context.Context, err error) error {
	if !errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, nats.ErrNoResponders) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := l.bucket.js.Stream(ctx, l.bucket.stream); errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: bucket of leases: %w", errAway, err)
	}
	return nil
}

// obstacle says in words why the lease could not be taken, and whether that is
// a fault; that another instance has it is none.
func (l *lease) obstacle(ctx context.Context, err error) (why string, fault bool) {
	if errors.Is(err, errRoom) {
		return err.Error(), false
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return err.Error(), true
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if entry, err := l.kv.Get(ctx, l.key); err == nil {
		return string(entry.Value()) + " leads", false
	}
	return "another instance leads", false
}

// hold renews the lease until ctx ends (nil) or it is lost ([errLeaseLost]).
func (l *lease) hold(ctx context.Context) error {
	for {
		// Counted from the last renewal: what was slow to be had is soon renewed.
		// That leaves time for two more requests, and is a little more than the
		// interval between polls, both by default.
		next := l.renewed.Add(21 * l.ttl / 50).Sub(l.now())
		select {
		case <-ctx.Done():
			return nil
		case <-l.awake:
			if l.now().Sub(l.renewed) < l.ttl/4 {
				continue
			}
		case <-time.After(max(next, l.ttl/20)):
		}
		deadline := l.renewed.Add(l.ttl)
		err := l.renew(ctx, deadline)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, errLeaseLost):
			return err
		case !l.now().Before(deadline):
			return fmt.Errorf("%w: it could not be renewed for %v: %w", errLeaseLost, l.ttl, err)
		}
	}
}

// renewal is what became of one request to renew the lease.
type renewal struct {
	sent     time.Time
	revision uint64
	err      error
}

// renew asks until the lease ends at deadline: again after a while, since an
// answer may be lost, and without giving the answers before up, since they may be
// late. A request that fails ends it, unless others are under way.
func (l *lease) renew(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, max(deadline.Sub(l.now()), time.Millisecond))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	const most = 4 // the lease ends before a fifth
	answers := make(chan renewal, most)
	pending := 0
	before, known := l.conn.LastError(), l.revision
	ask := func() {
		pending++
		sent := l.now()
		if l.unsure.IsZero() {
			l.unsure = sent
		}
		asking.Go(func() {
			revision, err := l.kv.Update(ctx, l.key, []byte(l.instance), known)
			answers <- renewal{sent, revision, permitted(l.conn, before, err)}
		})
	}
	ask()
	for again := time.NewTicker(l.ttl / 4); ; {
		select {
		case <-again.C:
			if pending < most {
				ask()
			}
			continue
		case a := <-answers:
			pending--
			switch {
			case a.err == nil:
				again.Stop()
				l.revision, l.renewed, l.unsure = a.revision, a.sent, time.Time{}
				return nil
			case errors.Is(a.err, jetstream.ErrKeyRevisionMismatch):
				again.Stop()
				return l.confirm(ctx)
			case pending == 0:
				again.Stop()
				return fmt.Errorf("renew the lease: %w", a.err)
			}
		}
	}
}

// confirm finds out who has moved the lease: a request of this instance whose
// answer was lost or is late, the first one at the earliest, or another instance.
func (l *lease) confirm(ctx context.Context) error {
	mine, err := l.mine(ctx)
	switch {
	case err != nil:
		return err
	case !mine:
		return fmt.Errorf("%w: another instance has it", errLeaseLost)
	}
	l.renewed, l.unsure = l.unsure, time.Time{}
	return nil
}

// mine finds out whether the key is still this instance's: a renewal whose
// answer was lost has moved the revision.
func (l *lease) mine(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entry, err := l.kv.Get(ctx, l.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look at the lease: %w", err)
	case string(entry.Value()) != l.instance:
		return false, nil
	}
	l.revision = entry.Revision()
	return true, nil
}

// release gives the lease up, so that a standby need not wait for its end. What
// another instance holds by now is left alone.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := l.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		// The last renewal was cut off by the end of the term, after it was
		// sent, or the lease is another's by now.
		var mine bool
		if mine, err = l.mine(ctx); mine {
			err = l.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision))
		}
	}
	if err != nil {
		l.log.Warn("lease not released", "err", err, "ttl", l.ttl)
	}
}
