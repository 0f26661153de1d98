package bridge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"bpcc-nats/bridge/capacity"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/bridge/stream"
)

// storeError returns why the embedded server's store cannot be written; nil if it can, or for another
// server.
func (l *sharedResources) storeError() error {
	if l.embedded == nil {
		return nil
	}
	return l.embedded.StoreError()
}

// noteStorage stores why NATS does not store a batch, if the storage is the cause, until it stores
// again. It returns the error with that of the embedded server's store: the server answers with less, or
// not at all.
func (b *Bridge) noteStorage(err error) error {
	if storeErr := b.shared.storeError(); storeErr != nil {
		return fmt.Errorf("%w; %w", err, storeErr)
	}
	if cause := stream.FindStorageCause(err); cause != "" {
		b.health.mu.Lock()
		defer b.health.mu.Unlock()
		b.health.storage = cause
	}
	return err
}

// storageCause returns why NATS does not store the events; "" if it does, or for another reason.
func (b *Bridge) storageCause() stream.StorageCause {
	if err := b.shared.storeError(); err != nil {
		return stream.FindStorageCause(err)
	}
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	return b.health.storage
}

// storageReason returns the reason why an instance cannot work, with the cause that NATS has named: a
// server without space stops answering some time after it has said so.
func (b *Bridge) storageReason(blockedBy string) string {
	if err := b.shared.storeError(); err != nil {
		return err.Error() + "; " + stream.StorageHint(err)
	}
	noSpace := unix.ENOSPC.Error()
	if blockedBy != "" && b.storageCause() == stream.NoSpace && !strings.Contains(blockedBy, noSpace) {
		return "NATS has reported " + noSpace + "; " + blockedBy
	}
	return blockedBy
}

// warnHistoryLost logs that a term has ended because somebody else has made the stream of events anew.
func (b *Bridge) warnHistoryLost(ctx context.Context, err error) {
	if !errors.Is(err, errHistoryLost) {
		return
	}
	if seq, err := scan.LastSeq(ctx, b.js, b.config.Stream.Name); err == nil && seq == 0 {
		stream.LogEventsLost(b.config.Stream, b.log)
	}
}

// storageGauges describe what NATS holds and may hold.
type storageGauges struct {
	storeUsed, storeLimit, accountUsed, accountLimit, streamBytes, streamMaxBytes, oldest, retention, failed *prometheus.Desc
}

func newStorageGauges() storageGauges {
	return storageGauges{
		storeUsed:      newDesc("store_used_bytes", "Bytes in the streams of the embedded server, before compression."),
		storeLimit:     newDesc("store_limit_bytes", "How many bytes they may hold: BRIDGE_STORE_MAX, or what the disk allows."),
		accountUsed:    newDesc("account_storage_used_bytes", "Bytes that all streams of the account hold, all copies, before compression."),
		accountLimit:   newDesc("account_storage_limit_bytes", "How many bytes they may hold; +Inf without a limit."),
		streamBytes:    newDesc("stream_bytes", "Bytes that a stream holds, one copy, before compression.", "stream", "content"),
		streamMaxBytes: newDesc("stream_max_bytes", "How many bytes it may hold: its max_bytes; +Inf without a limit.", "stream", "content"),
		oldest:         newDesc("oldest_event_timestamp_seconds", "When the oldest event of the stream was stored, as Unix time."),
		retention:      newDesc("retention_seconds", "For how long the stream keeps events, if there is room."),
		failed:         newDesc("storage_failed", "1 while NATS does not store the events of a tenant that this instance leads, or the embedded server stores nothing, by cause.", "cause"),
	}
}

// collectStorage sends what the streams and the account hold, and why NATS does not store the events of
// one or more tenants.
func (f *Fleet) collectStorage(gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	g, use := f.metrics.storage, f.capacity.Use()
	if s := f.shared.embedded; s != nil {
		gauge(g.storeUsed, float64(s.Used()))
		gauge(g.storeLimit, float64(s.StoreMax()))
	}
	if len(use.Streams) > 0 { // else nothing was measured
		gauge(g.accountUsed, float64(use.Account.Used))
		gauge(g.accountLimit, limitGauge(use.Account.Limit))
	}
	for _, s := range use.Streams {
		gauge(g.streamBytes, float64(s.Bytes), s.Name, string(s.Content))
		gauge(g.streamMaxBytes, limitGauge(s.MaxBytes), s.Name, string(s.Content))
	}
	if events, _ := use.Find(capacity.Events); events.Messages > 0 {
		gauge(g.oldest, float64(events.First.UnixMilli())/1000)
		if events.Retention > 0 {
			gauge(g.retention, events.Retention.Seconds())
		}
	}
	failed := map[stream.StorageCause]bool{}
	for _, b := range f.bridges {
		failed[b.storageCause()] = true
	}
	for _, cause := range stream.StorageCauses() {
		gauge(g.failed, boolGauge(failed[cause]), string(cause))
	}
}

// limitGauge returns the value of a limit, which is infinite where there is none: an expression that
// compares with it needs no case of its own.
func limitGauge(limit int64) float64 {
	if limit <= 0 {
		return math.Inf(1)
	}
	return float64(limit)
}
