package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// benchRun is one run of a contender.
type benchRun struct {
	contender        string
	agents, services int
	load             load
	interval         time.Duration
	// warm is the number of polls before the measured ones.
	warm, polls int
}

// result is the result of a run.
type result struct {
	benchRun
	// cost is the processor time of the contender per poll, from request to request, with all that
	// it does between them; server is that of NATS.
	cost, server time.Duration
	// latency is, per poll with events, the time from the last byte of the response to the storing
	// of the last event, by the server's own timestamp.
	latency []time.Duration
	// peak is the maximum resident memory, in bytes.
	peak int
	// events is how many were stored per poll, bytes the size of a response.
	events []int
	bytes  int
}

// run runs a contender, with its own server and tenant.
func (p programs) run(ctx context.Context, t benchRun) (r result, err error) {
	server, err := startNATS(ctx, p.nats)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	sim, err := serve(newWorld(t.agents, t.services, t.load))
	if err != nil {
		return r, err
	}
	defer sim.close()
	tenant := sim.list[0]
	// One more poll ends the last measured one.
	tenant.targetPolls = t.warm + t.polls + 1
	tenant.mu.Lock()
	contender, stream, err := p.start(ctx, t.contender, sim.address(0), server, t.interval)
	if err == nil {
		tenant.cost = contender.cost
		tenant.serverCost = server.cost
	}
	tenant.mu.Unlock()
	if err != nil {
		return r, err
	}
	defer contender.stop()
	limit := time.After(time.Duration(tenant.targetPolls+5)*t.interval*3 + 20*time.Second)
	select {
	case <-tenant.targetReached:
	case <-contender.exited:
		return r, contender.exitError()
	case <-limit:
		return r, fmt.Errorf("%s is too slow for an interval of %v at %d agents", t.contender, t.interval, t.agents)
	case <-ctx.Done():
		return r, ctx.Err()
	}
	r = result{benchRun: t}
	if r.peak, err = contender.peak(); err != nil {
		return r, err
	}
	contender.stop() // so that the stream ends
	tenant.mu.Lock()
	polls := tenant.polls[t.warm : t.warm+t.polls+1]
	tenant.mu.Unlock()
	first, last := polls[0], polls[len(polls)-1]
	r.cost = (last.cost - first.cost) / time.Duration(t.polls)
	r.server = (last.serverCost - first.serverCost) / time.Duration(t.polls)
	r.bytes = first.bytes
	stored, err := readStored(ctx, server.js, stream, first.answered)
	if err != nil {
		return r, err
	}
	for i, p := range polls[:t.polls] {
		events, end := stored.countEvents(p.answered, polls[i+1].arrived)
		r.events = append(r.events, events)
		if events > 0 {
			r.latency = append(r.latency, end.Sub(p.answered))
		}
	}
	if t.load.Share > 0 && len(r.latency) == 0 {
		return r, errors.New("no event was stored")
	}
	return r, nil
}

// storedMessage is when a message was stored, and whether it is an event about a row: the bridge's
// checkpoints are not.
type storedMessage struct {
	storedAt time.Time
	isEvent  bool
}

type storedMessages []storedMessage

// readStored reads when the messages of a stream were stored, from a time on.
func readStored(ctx context.Context, js jetstream.JetStream, name string, from time.Time) (storedMessages, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from, HeadersOnly: true,
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var list storedMessages
	if info.NumPending == 0 {
		return nil, nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		list = append(list, storedMessage{meta.Timestamp, !strings.Contains(msg.Subject(), ".feed.")})
		if meta.NumPending == 0 {
			return list, nil
		}
	}
}

// countEvents counts the events that were stored between two times, and returns when the last
// message was stored.
func (l storedMessages) countEvents(from, to time.Time) (events int, last time.Time) {
	for _, s := range l {
		if s.storedAt.Before(from) || s.storedAt.After(to) {
			continue
		}
		last = s.storedAt
		if s.isEvent {
			events++
		}
	}
	return events, last
}

// median is the middle one of the values, or the mean of the two in the middle; 0 without values.
func median[T int | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted, half := slices.Sorted(slices.Values(values)), len(values)/2
	if len(values)%2 == 1 {
		return sorted[half]
	}
	return sorted[half-1] + (sorted[half]-sorted[half-1])/2
}
