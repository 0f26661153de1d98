package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fullReadInterval is how long a standby reads along before it reads all anew: what
// has aged out of the stream would stay in its memory for ever.
const fullReadInterval = time.Hour

// waitForLease waits until the lease is this instance's, and returns what a standby
// has read in the stream meanwhile; nil if it did not have to wait, or if too
// many tenants of this process read along already.
func (b *Bridge) waitForLease(ctx context.Context, l *lease) (*recovery, error) {
	if l.tryAcquire(ctx) == nil {
		return nil, nil
	}
	if !b.shared.readers.TryAcquire(1) {
		return nil, l.acquire(ctx)
	}
	defer b.shared.readers.Release(1)
	readCtx, stop := context.WithCancel(ctx)
	result := make(chan *recovery, 1)
	go func() { result <- b.tailHistory(readCtx, l.retryInterval) }()
	err := l.acquire(ctx)
	stop()
	return <-result, err
}

// tailHistory keeps a memory of the stream until ctx ends and returns it, or nil.
// There is one way back from any failure: to forget, and to read all anew.
func (b *Bridge) tailHistory(ctx context.Context, retry time.Duration) *recovery {
	lastLogged := ""
	for {
		m, err := b.tailOnce(ctx)
		if ctx.Err() != nil {
			return m
		}
		b.setWarm(false)
		if err != nil && err.Error() != lastLogged {
			lastLogged = err.Error()
			b.log.Warn("standby cannot read the stream, retrying", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// tailOnce reads all there is, and then what comes. When ctx ends the memory is
// good as far as it has read.
func (b *Bridge) tailOnce(ctx context.Context) (*recovery, error) {
	m, err := b.catchUp(ctx, nil)
	if err != nil {
		return nil, err
	}
	b.setWarm(true)
	tailCtx, cancel := context.WithTimeout(ctx, fullReadInterval)
	defer cancel()
	consumer, err := b.js.OrderedConsumer(tailCtx, b.config.Stream, m.tailConfig())
	if err != nil {
		return m, fmt.Errorf("read along: open a consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return m, fmt.Errorf("read along: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(tailCtx))
		switch {
		case tailCtx.Err() != nil:
			return m, nil
		case err != nil:
			return m, fmt.Errorf("read along: %w", err)
		}
		if err := m.next(msg); err != nil {
			return m, fmt.Errorf("read along: %w", err)
		}
	}
}

// catchUp brings a standby's memory up to the stream's last word, or reads all
// anew if there is none or the stream is another one by now.
func (b *Bridge) catchUp(ctx context.Context, m *recovery) (*recovery, error) {
	if err := b.shared.recoveries.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for other tenants to recall: %w", err)
	}
	defer b.shared.recoveries.Release(1)
	if m == nil {
		return recoverState(ctx, b.js, b.config, b.newEngine(), b.foreignLog)
	}
	info, err := fetchEventsInfo(ctx, b.js, b.config)
	if err != nil {
		return nil, err
	}
	if !info.Created.Equal(m.created) || info.State.LastSeq < m.until {
		return recoverState(ctx, b.js, b.config, b.newEngine(), b.foreignLog)
	}
	err = scanStream(ctx, b.js, b.config.Stream, m.tailConfig(), func(msg jetstream.Msg, _ uint64) error {
		return m.next(msg)
	})
	if err != nil {
		return nil, fmt.Errorf("read the rest of the stream: %w", err)
	}
	m.foreign.logTotal()
	return m, nil
}
