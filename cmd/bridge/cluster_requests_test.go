//go:build linux

package main_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/svc"
)

// reply is what a request about an entity came to.
type reply struct {
	entity         string // as in the view, its id not encoded
	sent, received time.Time
	err            error // why there was no reply

	event, image string // the id of the last event, the image; an availability is true, false or null
	fresh        bool
	age          time.Duration // at the time of the reply
	missingSince time.Time     // of the feed, by the clock of the instance
	epoch        uint64
	instance     string
}

// requester asks the leader for one entity after the other, and keeps the replies.
type requester struct {
	nc       *nats.Conn
	history  *tenantHistory
	services []string
	agents   []string

	mu      sync.Mutex
	replies []reply
}

const (
	// requestInterval is the time between two requests, requestTimeout how long each waits for its reply.
	requestInterval = 100 * time.Millisecond
	requestTimeout  = 300 * time.Millisecond
)

// run asks until ctx ends, then waits for the last replies.
func (q *requester) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(requestInterval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking.Go(func() {
			r := reply{sent: time.Now()}
			if n%2 == 0 {
				q.askAvailability(&r, q.services[n/2%len(q.services)])
			} else {
				q.askState(&r, q.agents[n/2%len(q.agents)])
			}
			q.mu.Lock()
			defer q.mu.Unlock()
			q.replies = append(q.replies, r)
		})
	}
}

func (q *requester) askAvailability(r *reply, service string) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	r.entity = "availability." + service
	a, err := svc.AskAvailability(ctx, q.nc, "acme", service)
	r.image = "null"
	if a.Available != nil {
		r.image = strconv.FormatBool(*a.Available)
	}
	r.take(a.Event, a.Freshness, a.Feed, err)
}

func (q *requester) askState(r *reply, agent string) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	r.entity = "agent." + agent
	state, err := svc.AskState(ctx, q.nc, "acme", svc.StateRequest{Kind: "agent", ID: agent})
	r.image = q.history.imageOf(r.entity, maps.Collect(state.Image.All()))
	r.take(state.Event, state.Freshness, state.Feed, err)
}

func (r *reply) take(event svc.LastEvent, freshness svc.Freshness, feed svc.Feed, err error) {
	r.received, r.err = time.Now(), err
	r.event, r.fresh, r.age = event.ID, freshness.Fresh, time.Duration(freshness.Age)
	r.missingSince, r.epoch, r.instance = feed.MissingSince.Time, feed.Epoch, feed.Instance
}

// replyTotals counts what requests came to.
type replyTotals struct{ fresh, old, refused, noLeader, noReply int }

// countReplies counts replies.
func countReplies(all []reply) (t replyTotals) {
	for _, r := range all {
		switch refusal := (*svc.Error)(nil); {
		case r.err == nil && r.fresh:
			t.fresh++
		case r.err == nil:
			t.old++
		case errors.As(r.err, &refusal):
			t.refused++
		case errors.Is(r.err, svc.ErrNoLeader):
			t.noLeader++
		default:
			t.noReply++
		}
	}
	return t
}

// replySlack is by how much the clock of a leader may be ahead of that of the one before without being noticed,
// and a little more.
const replySlack = 400 * time.Millisecond

// auditReplies holds replies against all events that were ever stored, those that the stream holds now, and
// what the tenant has shown. A reply may be late, but it must not say what was never stored; and if it calls
// itself fresh, it must be true of a time within its age, be of the leader of its time, and hold all that was
// stored before that time.
func auditReplies(replies []reply, ever, now []record, history *tenantHistory) (found []finding) {
	stored := map[string]*record{}
	for i := range ever {
		stored[ever[i].ID] = &ever[i]
	}
	byEntity, began := map[string][]*record{}, map[uint64]time.Time{}
	for i := range now {
		if entity := now[i].entity(); entity != "" {
			byEntity[entity] = append(byEntity[entity], &now[i])
		}
		if r := &now[i]; r.subject == "feed.started" {
			began[r.Data.Epoch] = r.stored
		}
	}
	for _, r := range replies {
		add := func(format string, args ...any) {
			found = append(found, finding{wrongReply, 0, fmt.Sprintf("%s at %s by epoch %d, fresh %v, age %v: ", r.entity, r.sent.Format("15:04:05.000"), r.epoch, r.fresh, r.age) + fmt.Sprintf(format, args...)})
		}
		if r.err != nil {
			continue
		}
		e := stored[r.event]
		if e == nil || e.entity() != r.entity {
			add("it is of %s, which was never stored", r.event)
			continue
		}
		if image := e.image(history); image != r.image {
			add("it says %q, and %s %q", r.image, r.event, image)
		}
		if !r.fresh {
			continue
		}
		since := r.sent.Add(-r.age - replySlack)
		for epoch, at := range began {
			if epoch > r.epoch && r.sent.After(at.Add(50*time.Millisecond)) {
				add("epoch %d had begun at %v", epoch, at)
			}
		}
		if later := newerThan(byEntity[r.entity], r.event); later != nil && later.stored.Before(since) {
			add("%s was stored after %s, at %v", later.ID, r.event, later.stored)
		}
		// A row that is missing is published as present until that is confirmed.
		if missing := r.missingSince.Add(-history.offsetOf(r.instance)); !r.missingSince.IsZero() && missing.Before(since) {
			since = missing.Add(-replySlack)
		}
		if !history.showed(r.entity, r.image, since, r.received) {
			add("the tenant did not show %q between %v and %v", r.image, since, r.received)
		}
	}
	return found
}

// newerThan returns the event of an entity that follows on an event; nil if that is the last one, or not there.
func newerThan(events []*record, id string) *record {
	i := slices.IndexFunc(events, func(r *record) bool { return r.ID == id })
	if i < 0 || i+1 == len(events) {
		return nil
	}
	return events[i+1]
}

// image is what a reply must hold of an event.
func (r *record) image(history *tenantHistory) string {
	switch {
	case r.Data.After != nil:
		return history.imageOf(r.entity(), r.Data.After)
	case r.Data.Available != nil:
		return strconv.FormatBool(*r.Data.Available)
	}
	return "null"
}

// showed reports whether the tenant showed an image of an entity at some time between two.
func (tr *tenantHistory) showed(entity, image string, from, to time.Time) bool {
	list := tr.versionsOf(entity)
	for i, v := range list {
		ended := i+1 < len(list) && list[i+1].since.Before(from)
		if v.image == image && !ended && !v.from.After(to) {
			return true
		}
	}
	return false
}

// validReplies are true replies about the stream of validStream.
func validReplies() []reply {
	image := func(n int) string { return fmt.Sprintf("login_id=anna in_calls_handled_per_day=%d ", n) }
	return []reply{
		{entity: "agent.anna", sent: timeAt(1.5), received: timeAt(1.6), event: "acme-1-2-1", image: image(1), fresh: true, age: 500 * time.Millisecond, epoch: 1, instance: "host-1"},
		// The tenant shows 2 since 1.8, and the poll at 2 is not yet stored.
		{entity: "agent.anna", sent: timeAt(2.05), received: timeAt(2.06), event: "acme-1-2-1", image: image(1), fresh: true, age: 550 * time.Millisecond, epoch: 1, instance: "host-1"},
		{entity: "agent.anna", sent: timeAt(6), received: timeAt(6.1), event: "acme-1-3-1", image: image(2), age: 4 * time.Second, epoch: 1, instance: "host-1"},
		{entity: "agent.anna", sent: timeAt(7), received: timeAt(7.1), err: svc.ErrNoLeader},
		{entity: "agent.anna", sent: timeAt(7.2), received: timeAt(7.5), err: context.DeadlineExceeded},
		{entity: "agent.bob", sent: timeAt(7.2), received: timeAt(7.5), err: svc.Errorf(svc.NotFound, "no such agent")},
		{entity: "agent.anna", sent: timeAt(12), received: timeAt(12.1), event: "acme-2-6-1", image: image(4), fresh: true, age: time.Second, epoch: 2, instance: "host-2"},
	}
}

// TestAuditOfReplies: what is true passes, and each kind of untruth is found.
func TestAuditOfReplies(t *testing.T) {
	t.Parallel()
	audit := func(change func(replies []reply)) []finding {
		replies, all := validReplies(), validStream()
		for i, r := range all {
			all[i].stored = timeAt(map[string]float64{"acme-1-1-1": 0.5, "acme-1-2-1": 1.1, "acme-1-3-1": 2.1, "acme-2-4-1": 9.5, "acme-2-5-3": 10.1, "acme-2-6-1": 11.1}[r.ID])
		}
		change(replies)
		return auditReplies(replies, all, all, validHistory(t))
	}
	if found := audit(func([]reply) {}); len(found) > 0 {
		t.Errorf("\n%s", firstFindings(found, 5))
	}
	if got, want := countReplies(validReplies()), (replyTotals{fresh: 3, old: 1, refused: 1, noLeader: 1, noReply: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	for name, change := range map[string]func(replies []reply){
		"of an event that is not stored":     func(r []reply) { r[0].event = "acme-1-2-9" },
		"of another entity's event":          func(r []reply) { r[0].event = "acme-1-2-2" },
		"another image than the event's":     func(r []reply) { r[2].image = r[0].image },
		"fresh, and too old":                 func(r []reply) { r[2].fresh, r[2].age = true, 500*time.Millisecond },
		"fresh, while a newer one is stored": func(r []reply) { r[1].sent, r[1].received = timeAt(3), timeAt(3.1) },
		"fresh, by a former leader": func(r []reply) {
			r[6].event, r[6].image, r[6].epoch, r[6].sent, r[6].age = "acme-1-3-1", r[2].image, 1, timeAt(9.7), 9*time.Second
		},
	} {
		if found := audit(change); len(found) == 0 || slices.ContainsFunc(found, func(f finding) bool { return f.kind != wrongReply }) {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
