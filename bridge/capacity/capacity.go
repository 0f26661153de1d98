// Package capacity measures what the streams of the bridge and their account hold and may hold, and
// estimates for how long there is room for the events.
package capacity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// Content is what a stream of the bridge holds.
type Content string

// Contents.
const (
	Events   Content = "events"
	View     Content = "view"
	Watchdog Content = "watchdog"
	Leases   Content = "leases"
)

// Stream is what one stream holds and may hold. Bytes are those of one copy, counted before compression.
type Stream struct {
	Name     string
	Content  Content
	Bytes    int64
	MaxBytes int64 // 0 = no limit
	Messages uint64
	Replicas int
	// First and Last are when the oldest and the newest message were stored; zero if there is none.
	First, Last time.Time
	// Retention is for how long messages are kept; 0 = for ever.
	Retention time.Duration
}

// Account is what all streams of the account hold and may hold: bytes of all copies.
type Account struct {
	Used  int64
	Limit int64 // 0 = none
}

// Use is what the streams of the bridge and their account hold.
type Use struct {
	Account Account
	Streams []Stream // those that exist
}

// Find returns the stream with that content; ok reports whether it exists.
func (u Use) Find(content Content) (s Stream, ok bool) {
	for _, s := range u.Streams {
		if s.Content == content {
			return s, true
		}
	}
	return Stream{}, false
}

// Measure reads what the streams and the account hold. It returns what can be read, with the errors of
// what cannot; a stream that does not exist is no error.
func Measure(ctx context.Context, js jetstream.JetStream, c config.Stream, timing *config.Timing) (Use, error) {
	ctx, cancel := context.WithTimeout(ctx, timing.CallTimeout)
	defer cancel()
	var use Use
	var errs []error
	for _, name := range stream.Names(c) {
		s, err := js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			errs = append(errs, fmt.Errorf("read info of stream %s: %w", name, err))
		default:
			use.Streams = append(use.Streams, newStream(contentOf(c, name), s.CachedInfo()))
		}
	}
	info, err := js.AccountInfo(ctx)
	if err != nil {
		errs = append(errs, fmt.Errorf("read info of the account: %w", err))
	} else {
		use.Account = newAccount(info, c.Replicas)
	}
	return use, errors.Join(errs...)
}

func contentOf(c config.Stream, name string) Content {
	switch name {
	case c.Name:
		return Events
	case stream.ViewStream(c):
		return View
	case stream.LeaseStream(c.Lease):
		return Leases
	}
	return Watchdog
}

func newStream(content Content, info *jetstream.StreamInfo) Stream {
	s := Stream{
		Name: info.Config.Name, Content: content, Bytes: int64(info.State.Bytes), MaxBytes: max(info.Config.MaxBytes, 0),
		Messages: info.State.Msgs, Replicas: info.Config.Replicas, Retention: info.Config.MaxAge,
	}
	if s.Messages > 0 {
		s.First, s.Last = info.State.FirstTime, info.State.LastTime
	}
	return s
}

// newAccount returns the use of an account. Where its limits are those of tiers, it is that of the tier
// of streams with as many replicas, whose limit counts one copy.
func newAccount(info *jetstream.AccountInfo, replicas int) Account {
	used, limit := info.Store, info.Limits.MaxStore
	if tier, ok := info.Tiers["R"+strconv.Itoa(replicas)]; ok {
		used, limit = tier.Store, tier.Limits.MaxStore
		if limit > 0 {
			limit *= int64(replicas)
		}
	}
	return Account{Used: int64(used), Limit: max(limit, 0)}
}

// Monitor measures again and again, for metrics.
type Monitor struct {
	js     jetstream.JetStream
	config config.Stream
	timing *config.Timing
	log    *slog.Logger

	mu  sync.Mutex
	use Use // guarded by mu
}

// NewMonitor returns a monitor of the streams of a configuration.
func NewMonitor(js jetstream.JetStream, c config.Stream, timing *config.Timing, log *slog.Logger) *Monitor {
	return &Monitor{js: js, config: c, timing: timing, log: log}
}

// Use returns the last measurement.
func (m *Monitor) Use() Use {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.use
}

// Run measures until ctx ends, as often as the view is compared with the stream.
func (m *Monitor) Run(ctx context.Context) {
	for {
		use, err := Measure(ctx, m.js, m.config, m.timing)
		if ctx.Err() != nil {
			return
		}
		// Other code reports a stream that cannot be read, and a permission that is missing.
		if err != nil {
			m.log.Debug("storage not measured", "err", err)
		}
		m.mu.Lock()
		m.use = use
		m.mu.Unlock()
		next := m.timing.ViewInterval
		if events, _ := use.Find(Events); events.Messages == 0 {
			next = m.timing.ViewBusyInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}
