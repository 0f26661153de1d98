package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// rereadAfter is how long a standby reads along before it reads all anew: what
// has aged out of the stream would stay in its memory for ever.
const rereadAfter = time.Hour

// await waits until the lease is this instance's, and returns what a standby
// has read in the stream meanwhile; nil if it did not have to wait, or if too
// many tenants of this process read along already.
func (b *Bridge) await(ctx context.Context, l *lease) (*recovery, error) {
	if l.attempt(ctx) == nil {
		return nil, nil
	}
	if !b.limits.readers.TryAcquire(1) {
		return nil, l.acquire(ctx)
	}
	defer b.limits.readers.Release(1)
	reading, stop := context.WithCancel(ctx)
	read := make(chan *recovery, 1)
	go func() { read <- b.readAlong(reading, l.retry) }()
	err := l.acquire(ctx)
	stop()
	return <-read, err
}

// readAlong keeps a memory of the stream until ctx ends and returns it, or nil.
// There is one way back from any failure: to forget, and to read all anew.
func (b *Bridge) readAlong(ctx context.Context, retry time.Duration) *recovery {
	told := ""
	for {
		m, err := b.follow(ctx)
		if ctx.Err() != nil {
			return m
		}
		b.warm(false)
		if err != nil && err.Error() != told {
			told = err.Error()
			b.log.Warn("standby cannot read the stream, retrying", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// follow reads all there is, and then what comes. When ctx ends the memory is
// good as far as it has read.
func (b *Bridge) follow(ctx context.Context) (*recovery, error) {
	m, err := b.recollect(ctx, nil)
	if err != nil {
		return nil, err
	}
	b.warm(true)
	fresh, cancel := context.WithTimeout(ctx, rereadAfter)
	defer cancel()
	consumer, err := b.js.OrderedConsumer(fresh, b.config.Stream, m.tailConfig())
	if err != nil {
		return m, fmt.Errorf("read along: open a consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return m, fmt.Errorf("read along: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(fresh))
		switch {
		case fresh.Err() != nil:
			return m, nil
		case err != nil:
			return m, fmt.Errorf("read along: %w", err)
		}
		if err := m.next(msg); err != nil {
			return m, fmt.Errorf("read along: %w", err)
		}
	}
}

// recollect brings a standby's memory up to the stream's last word, or reads all
// anew if there is none or the stream is another one by now.
func (b *Bridge) recollect(ctx context.Context, m *recovery) (*recovery, error) {
	if err := b.limits.recalls.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for other tenants to recall: %w", err)
	}
	defer b.limits.recalls.Release(1)
	if m == nil {
		return recoverState(ctx, b.js, b.config, b.newEngine(), b.strays)
	}
	info, err := lookToLead(ctx, b.js, b.config)
	if err != nil {
		return nil, err
	}
	if !info.Created.Equal(m.created) || info.State.LastSeq < m.until {
		return recoverState(ctx, b.js, b.config, b.newEngine(), b.strays)
	}
	err = visit(ctx, b.js, b.config.Stream, m.tailConfig(), func(msg jetstream.Msg, _ uint64) error {
		return m.next(msg)
	})
	if err != nil {
		return nil, fmt.Errorf("read the rest of the stream: %w", err)
	}
	m.strays.sum()
	return m, nil
}
