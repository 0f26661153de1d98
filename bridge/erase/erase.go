// Package erase erases one person from the stream and the view, and states that in the stream.
package erase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/lease"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/view"
)

var (
	// ErrAudit is returned for a stream that denies deletes or purges.
	ErrAudit = errors.New("the NATS server refuses to erase")
	// ErrLeading is returned when a bridge leads the tenant.
	ErrLeading = errors.New("a bridge leads the tenant")
	// ErrReason is returned for a reason that names the person.
	ErrReason = errors.New("the reason names the person")
	// ErrUnfinished is returned when the erasure is stated and not done; another run finishes it.
	ErrUnfinished = errors.New("erasure not finished")
)

// Options say what to erase.
type Options struct {
	// Agent is the id of the person in subjects, or another id of theirs.
	Agent string
	// Reason is free text for feed.erased. It must not name the person.
	Reason string
	// Instance is the name of the program, in the lease and in events.
	Instance string
	// Timeout is how long to wait for the lease.
	Timeout time.Duration
}

// Find returns what stream and view hold of a person of the tenant of a configuration, and changes
// nothing. The error is [ErrAudit] if it cannot be erased; what is found is returned nevertheless.
func Find(ctx context.Context, js jetstream.JetStream, c *config.Config, o Options) (Found, error) {
	s := newSearch(js, c, o.Agent, engine.Options{})
	if err := s.run(ctx); err != nil {
		return s.found, err
	}
	_, _, err := openErasable(ctx, js, c)
	return s.found, err
}

// Run erases a person: as the tenant's one writer it states what will be missing, and then deletes it. It
// returns what was erased. The error is [ErrAudit], [ErrLeading], [ErrReason] or [ErrUnfinished], or that
// of the server.
func Run(ctx context.Context, js jetstream.JetStream, c *config.Config, o Options, log *slog.Logger) (found Found, err error) {
	events, held, err := openErasable(ctx, js, c)
	if err != nil {
		return Found{}, err
	}
	l, err := acquireLease(ctx, js, c, o, log)
	if err != nil {
		return Found{}, err
	}
	ctx, end := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	for _, hold := range []func(context.Context) error{l.Hold, l.Guard} {
		background.Go(func() {
			if err := hold(ctx); err != nil {
				end(err)
			}
		})
	}
	defer func() {
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, lease.ErrLost) {
			err = errors.Join(cause, err)
		}
		end(nil)
		background.Wait()
		l.Release(context.WithoutCancel(ctx))
	}()
	s := newSearch(js, c, o.Agent, engine.Options{Tenant: c.Tenant, Instance: o.Instance, Version: c.Version})
	// The view must not take over later what is deleted here.
	behind, err := view.Behind(ctx, js, c.Stream, config.CallTimeout)
	if err == nil && behind > 0 {
		err = fmt.Errorf("view %s is %d event(s) behind the stream: try again when it has caught up", c.Stream.StateBucket, behind)
	}
	if err != nil {
		return s.found, err
	}
	if err := s.run(ctx); err != nil {
		return s.found, err
	}
	switch {
	case s.person.inText(o.Reason):
		return s.found, fmt.Errorf("%w: %q stays in the stream", ErrReason, o.Reason)
	case len(s.found.Messages) == 0 && len(s.found.Keys) == 0:
		return s.found, nil
	}
	maxSize := int(js.Conn().MaxPayload())
	if most := int(events.CachedInfo().Config.MaxMsgSize); most > 0 {
		maxSize = min(maxSize, most)
	}
	if err := s.state(ctx, s.erasures(o.Reason, maxSize)); err != nil {
		return s.found, fmt.Errorf("publish %s: %w", event.Erased, err)
	}
	if err := s.erase(ctx, events, held); err != nil {
		return s.found, fmt.Errorf("%w, run it again: %w", ErrUnfinished, err)
	}
	return s.found, nil
}

// openErasable opens the streams of the events and of the view. The error is [ErrAudit] if the server
// deletes nothing there.
func openErasable(ctx context.Context, js jetstream.JetStream, c *config.Config) (events, view jetstream.Stream, err error) {
	if events, err = js.Stream(ctx, c.Stream.Name); err != nil {
		return nil, nil, fmt.Errorf("read info of stream %s: %w", c.Stream.Name, err)
	}
	if view, err = js.Stream(ctx, stream.ViewStream(c.Stream)); err != nil {
		return nil, nil, fmt.Errorf("read info of stream %s: %w", stream.ViewStream(c.Stream), err)
	}
	settings := events.CachedInfo().Config
	switch {
	case settings.DenyDelete:
		err = fmt.Errorf("%w: stream %s was made with deny_delete (BRIDGE_AUDIT=true), which cannot be undone; what it holds of a person expires after %v, or make it anew with BRIDGE_AUDIT=false",
			ErrAudit, c.Stream.Name, settings.MaxAge)
	case view.CachedInfo().Config.DenyPurge:
		err = fmt.Errorf("%w: view %s was made with deny_purge; delete it, and bridge provision fills it again from the stream", ErrAudit, stream.ViewStream(c.Stream))
	}
	return events, view, err
}

// acquireLease makes this program the tenant's one writer.
func acquireLease(ctx context.Context, js jetstream.JetStream, c *config.Config, o Options, log *slog.Logger) (*lease.Lease, error) {
	l, err := lease.NewBucket(js, c.Stream.Lease, c.Times(), log).Open(ctx, lease.Options{
		Key: event.Token(c.Tenant), Instance: o.Instance, RetryMax: time.Second, Log: log,
		AtCapacity: func() bool { return false }, OnBlocked: func(string) {},
	})
	if err != nil {
		return nil, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	err = l.Acquire(waitCtx)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return l, err
	}
	leader := "another instance"
	if entry, getErr := l.KV().Get(ctx, event.Token(c.Tenant)); getErr == nil {
		leader = string(entry.Value())
	}
	return nil, fmt.Errorf("%w %s: %s; stop all its bridges, run the command again, and start them afterwards", ErrLeading, c.Tenant, leader)
}

// state publishes what will be missing, in a term of its own.
func (s *search) state(ctx context.Context, erasures []event.ErasedData) error {
	if s.source == "" {
		return errors.New("the tenant has no checkpoint")
	}
	batch := s.remaining.Erase(time.Now(), erasures)
	encoder := event.NewEncoder(s.source)
	publisher := publish.NewPublisher(s.js, s.config.Times())
	var buffer publish.Buffer
	key, err := s.config.Events.ReadSigningKey()
	if err != nil {
		return fmt.Errorf("BRIDGE_SIGNING_KEY_FILE: %w", err)
	}
	for chunk := range s.remaining.Chunks(batch, event.BatchLimit) {
		msgs, err := buffer.Encode(encoder, event.Prefix(s.config.Tenant), 0, s.last, chunk.Events)
		if err != nil {
			return err
		}
		last := msgs[len(msgs)-1]
		if err := publish.Sign(key, last); err != nil {
			return err
		}
		last.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(s.fence, 10))
		seq, err := publisher.Publish(ctx, msgs)
		if err != nil {
			return err
		}
		s.fence, s.last = seq, bytes.Clone(last.Data)
		s.remaining.Ack(chunk)
	}
	return nil
}

const (
	// rangeSize is more than one range of sequences takes as JSON, in bytes; envelopeSize is more than
	// all else of an event.
	rangeSize    = 60
	envelopeSize = 8 << 10
	// mostRanges bounds the ranges of one event where the server allows large messages.
	mostRanges = 5000
)

// erasures returns what is found as the data of as many events as a message's limit of bytes makes
// necessary.
func (s *search) erasures(reason string, maxSize int) []event.ErasedData {
	ranges := []event.SequenceRange{}
	for _, m := range s.found.Messages {
		if n := len(ranges); n > 0 && ranges[n-1].Last+1 == m.Seq {
			ranges[n-1].Last = m.Seq
			continue
		}
		ranges = append(ranges, event.SequenceRange{First: m.Seq, Last: m.Seq})
	}
	most := max(1, min(mostRanges, (maxSize-envelopeSize-len(reason))/rangeSize))
	var all []event.ErasedData
	for first := true; first || len(ranges) > 0; first = false {
		n := min(most, len(ranges))
		d := event.ErasedData{Reason: reason, Sequences: ranges[:n:n]}
		for _, r := range d.Sequences {
			d.Messages += r.Last - r.First + 1
		}
		if first {
			d.Keys = len(s.found.Keys)
		}
		all, ranges = append(all, d), ranges[n:]
	}
	return all
}

// erase deletes what is found. The bytes of a message are overwritten, where the server may delete it.
func (s *search) erase(ctx context.Context, events, held jetstream.Stream) error {
	for _, m := range s.found.Messages {
		if err := s.overwrite(ctx, events, m.Seq); err != nil {
			return fmt.Errorf("delete sequence %d of stream %s: %w", m.Seq, s.config.Stream.Name, err)
		}
	}
	for _, key := range s.found.Keys {
		if !held.CachedInfo().Config.DenyDelete {
			if err := s.overwrite(ctx, held, key.Seq); err != nil {
				return fmt.Errorf("delete a key of view %s: %w", s.config.Stream.StateBucket, err)
			}
		}
		if err := view.PurgeKey(ctx, s.js, s.config, key.Key, key.Seq); err != nil {
			return err
		}
	}
	return nil
}

// overwrite deletes a message, unless it is gone already.
func (s *search) overwrite(ctx context.Context, from jetstream.Stream, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Times().CallTimeout)
	defer cancel()
	prevErr := s.js.Conn().LastError()
	err := from.SecureDeleteMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil { // the server has no error of its own for a message that is gone
		if _, getErr := from.GetMsg(ctx, seq); errors.Is(getErr, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	return stream.Cause(s.js.Conn(), prevErr, err)
}
