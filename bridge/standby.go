package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/lease"
	"bpcc-nats/bridge/outage"
	"bpcc-nats/bridge/recovery"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// fullReadInterval is the interval at which a standby reads everything again: what has expired from
// the stream would otherwise stay in its state.
const fullReadInterval = time.Hour

// waitForLease waits until this instance has the lease, and returns what a standby has read from
// the stream meanwhile; nil if it did not have to wait, or if too many tenants of this process tail
// the stream already.
func (b *Bridge) waitForLease(ctx context.Context, l *lease.Lease) (*recovery.Recovery, error) {
	if l.TryAcquire(ctx) == nil {
		return nil, nil
	}
	if !b.shared.readers.TryAcquire(1) {
		return nil, l.Acquire(ctx)
	}
	defer b.shared.readers.Release(1)
	readCtx, stop := context.WithCancel(ctx)
	result := make(chan *recovery.Recovery, 1)
	go func() { result <- b.tailHistory(readCtx, l.RetryInterval()) }()
	err := l.Acquire(ctx)
	stop()
	return <-result, err
}

// tailHistory follows the stream until ctx ends and returns its recovery, or nil. After any failure
// it reads everything again.
func (b *Bridge) tailHistory(ctx context.Context, retry time.Duration) *recovery.Recovery {
	var unread outage.Outage
	for {
		prevErr := b.js.Conn().LastError()
		m, err := b.tailOnce(ctx)
		if ctx.Err() != nil {
			return m
		}
		b.setWarm(false, "")
		if err != nil {
			err = stream.Cause(b.js.Conn(), prevErr, err)
			b.setWarm(false, stream.Explain(b.config.Stream, err))
		}
		if err == nil {
			unread.End(b.now())
		} else if lasts, due := unread.Failed(b.now(), err.Error()); due {
			b.log.Warn("standby cannot read the stream, retrying", "err", err, "lasts", lasts, "hint", stream.Hint(b.config.Stream, err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// tailOnce reads everything, and then what is stored. When ctx ends, the recovery is valid up to
// what was read.
func (b *Bridge) tailOnce(ctx context.Context) (*recovery.Recovery, error) {
	m, err := b.catchUp(ctx, nil)
	if err != nil {
		return nil, err
	}
	b.setWarm(true, "")
	tailCtx, cancel := context.WithTimeout(ctx, fullReadInterval)
	defer cancel()
	consumer, err := b.js.OrderedConsumer(tailCtx, b.config.Stream.Name, m.TailConfig())
	if err != nil {
		return m, fmt.Errorf("tail stream: create consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return m, fmt.Errorf("tail stream: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(tailCtx))
		switch {
		case tailCtx.Err() != nil:
			return m, nil
		case err != nil:
			return m, fmt.Errorf("tail stream: %w", err)
		}
		if err := m.Next(msg); err != nil {
			return m, fmt.Errorf("tail stream: %w", err)
		}
	}
}

// catchUp reads the rest of the stream into a standby's recovery, or reads everything if there is
// none, the stream was recreated, or events were erased.
func (b *Bridge) catchUp(ctx context.Context, m *recovery.Recovery) (*recovery.Recovery, error) {
	if err := b.shared.recoveries.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for recovery of other tenants: %w", err)
	}
	defer b.shared.recoveries.Release(1)
	if m == nil {
		return recovery.Read(ctx, b.js, b.config, b.newEngine(), b.foreignLog)
	}
	info, err := stream.EventsInfo(ctx, b.js, b.config.Stream)
	if err != nil {
		return nil, err
	}
	if !info.Created.Equal(m.Created) || info.State.LastSeq < m.Until {
		return recovery.Read(ctx, b.js, b.config, b.newEngine(), b.foreignLog)
	}
	err = scan.All(ctx, b.js, b.config.Stream.Name, m.TailConfig(), func(msg jetstream.Msg, _ uint64) error {
		return m.Next(msg)
	})
	if err != nil {
		return nil, fmt.Errorf("read rest of stream: %w", err)
	}
	if m.Erased {
		return recovery.Read(ctx, b.js, b.config, b.newEngine(), b.foreignLog)
	}
	m.Foreign.LogTotal()
	return m, nil
}
