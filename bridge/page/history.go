package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader"
)

const (
	// historyReach is how far back a history goes, in slots of historyStep.
	historyReach = 24 * time.Hour
	historyStep  = 5 * time.Minute
	// historyEvents is about how many events about queues and thresholds one is made of: with more it goes less
	// far back.
	historyEvents = 300_000
	// historyQueues and historyMarks bound what one holds: queues, and raised thresholds and gaps.
	historyQueues = 200
	historyMarks  = 500
	// historyTTL is how long pages share a history, before the events since are read.
	historyTTL = 20 * time.Second
	// historyTenants is of how many tenants a process keeps histories, historyReaders how many are read at a
	// time, and historyTimeout how long reading one may take.
	historyTenants = 64
	historyReaders = 2
	historyTimeout = time.Minute
)

// histories holds the histories of the tenants that pages show.
type histories struct {
	reading chan struct{} // holds one for each history that is being read

	mu       sync.Mutex
	byTenant map[string]*history // by token; guarded by mu
}

// history is the last day of the queues of one tenant, made of the events of the stream.
type history struct {
	asked time.Time // when a page last asked for it; guarded by histories.mu

	mu      sync.Mutex // held by the one request that reads; guards the fields below
	expires time.Time
	body    []byte                  // the response
	most    uint64                  // about how many events it may be made of; 0 = historyEvents
	created time.Time               // when the stream was created that it is made of
	next    uint64                  // sequence of the first event that is not in it; 0 = it is empty
	from    time.Time               // since when it is complete
	queues  map[string]queueHistory // by name
	leftOut map[string]bool         // queues for which there is no room
	marks   []*raisedMark
	raised  map[string]*raisedMark // by view key, of the marks those that are still raised
	gaps    [][2]time.Time
}

// queueHistory is what a queue was, by slots; a slot without a change is left out.
type queueHistory []historyPoint

// historyPoint is one slot of a queue.
type historyPoint struct {
	slot int64 // number of steps since 1970
	// peak is the most waiting calls in the slot, last how many wait at its end; NaN = no value.
	peak, last float64
	level      string // the last service level, as BPCC wrote it
}

// raisedMark is a time in which a threshold was raised.
type raisedMark struct {
	Rule     string          `json:"rule"`
	Severity string          `json:"severity"`
	Entity   event.EntityRef `json:"entity"`
	From     time.Time       `json:"from"`
	Until    time.Time       `json:"until,omitzero"` // zero: it is still raised
}

// historyDocument is the response to /live/history.
type historyDocument struct {
	Tenant string    `json:"tenant"` // token
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Step   float64   `json:"step_seconds"`
	// Shortened reports whether it begins late, for there are too many events.
	Shortened bool `json:"shortened"`
	// Queues has, of each slot with a change, its number since From, the most waiting calls and those at its end
	// (null = no value), and the service level at its end as BPCC wrote it.
	Queues  map[string][][4]any `json:"queues"`
	LeftOut int                 `json:"queues_left_out"`
	Raised  []*raisedMark       `json:"raised"`
	Gaps    [][2]time.Time      `json:"gaps"` // in which the source was not seen
}

// handleHistory handles /live/history?tenant=TOKEN.
func (p *Handler) handleHistory(w http.ResponseWriter, r *http.Request) {
	tenant, err := p.tenantQuery(r.URL.Query().Get("tenant"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), historyTimeout)
	defer cancel()
	body, err := p.fetchHistory(ctx, tenant)
	if err != nil {
		p.log.Debug("cannot read history", "tenant", tenant, "err", err)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "The history cannot be read: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// They fail only when the client is gone.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(p.writeTimeout))
	_, _ = w.Write(body)
}

// fetchHistory returns the response for a tenant, of which one request at a time reads what is new.
func (p *Handler) fetchHistory(ctx context.Context, tenant string) ([]byte, error) {
	h := p.histories.of(tenant, time.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.expires) {
		return h.body, nil
	}
	if err := p.readHistory(ctx, tenant, h); err != nil {
		if h.next == 0 && errors.Is(err, context.DeadlineExceeded) { // this server needs longer
			h.most = max(1000, cmp.Or(h.most, historyEvents)/4)
		}
		h.next = 0 // it may hold a part of the events
		return nil, err
	}
	return h.body, nil
}

// of returns the history of a tenant; the one that no page has asked for the longest makes room.
func (s *histories) of(tenant string, now time.Time) *history {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.byTenant[tenant]
	if h == nil {
		h = &history{}
		s.byTenant[tenant] = h
	}
	h.asked = now
	if len(s.byTenant) > historyTenants {
		oldest := tenant
		for t, other := range s.byTenant {
			if other.asked.Before(s.byTenant[oldest].asked) {
				oldest = t
			}
		}
		delete(s.byTenant, oldest)
	}
	return h
}

// readHistory reads the events that a history lacks, and makes its response.
func (p *Handler) readHistory(ctx context.Context, tenant string, h *history) error {
	select {
	case p.histories.reading <- struct{}{}:
		defer func() { <-p.histories.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	info, err := scan.Info(ctx, p.js, p.config.Stream.Name)
	if err != nil {
		return err
	}
	r, err := p.open(tenant)
	if err != nil {
		return err
	}
	now, end := time.Now(), info.State.LastSeq
	if h.next == 0 || !info.Created.Equal(h.created) || end+1 < h.next {
		h.reset(info.Created, now.Add(-historyReach))
		n, most := uint64(0), cmp.Or(h.most, historyEvents)
		for _, filter := range []string{"service.>", "threshold.>"} {
			pending, err := p.countPending(ctx, tenant, filter, h.from)
			if err != nil {
				return err
			}
			n += pending
		}
		if n > most {
			h.from = now.Add(-time.Duration(float64(historyReach) * float64(most) / float64(n)))
		}
	}
	var decoder event.Decoder
	for _, filter := range []string{"service.>", "threshold.>", event.Started, event.Resumed} {
		from := reader.AtTime(h.from)
		if h.next > 0 {
			from = reader.AtSequence(h.next)
		}
		for item, err := range r.Events(ctx, from, reader.EventsOptions{Subjects: []string{filter}}) {
			if err != nil {
				return fmt.Errorf("read %s: %w", filter, err)
			}
			stored := reader.EventOf(item)
			if stored == nil {
				continue
			}
			if stored.Seq > end {
				break
			}
			if _, e, err := decoder.Decode(stored.Body); err == nil { // faster than to decode each one alone
				h.add(&e, now)
			}
		}
	}
	h.next = end + 1
	h.forget(now.Add(-historyReach))
	if h.body, err = json.Marshal(h.document(tenant, now)); err != nil {
		return fmt.Errorf("encode history: %w", err)
	}
	h.expires = time.Now().Add(historyTTL)
	return nil
}

// reset empties a history, which then begins at an instant in a stream.
func (h *history) reset(created, from time.Time) {
	h.created, h.from, h.next, h.marks, h.gaps = created, from, 0, nil, nil
	h.queues, h.leftOut, h.raised = map[string]queueHistory{}, map[string]bool{}, map[string]*raisedMark{}
}

// add adds an event. One whose time is in the future has a time that nobody can show.
func (h *history) add(e *event.Event, now time.Time) {
	if e.Time.After(now.Add(time.Minute)) {
		return
	}
	if e.Time.Before(h.from) {
		e.Time = h.from
	}
	switch d := e.Data.(type) {
	case *event.ServiceData:
		h.addService(d.Service, e.Time, d.Before, d.After)
	case *event.ThresholdData:
		h.addThreshold(e, d)
	case *event.ResumedData:
		h.addGap(d.Observed.After.Time, d.Observed.By.Time, now)
	case *event.FeedData:
		if e.Name == event.Started && !d.ObservedUntil.IsZero() {
			h.addGap(d.ObservedUntil.Time, e.Time, now)
		}
	}
}

// addGap adds a gap, as far as it is in the history.
func (h *history) addGap(from, until, now time.Time) {
	if from.Before(h.from) {
		from = h.from
	}
	if until.After(from) && !until.After(now.Add(time.Minute)) {
		h.gaps = lastMarks(append(h.gaps, [2]time.Time{from, until}))
	}
}

func (h *history) addService(name string, at time.Time, before, after image.Image) {
	q, known := h.queues[name]
	if !known && len(h.queues) >= historyQueues {
		h.leftOut[name] = true
		return
	}
	if !known && !before.IsZero() { // it was so at the beginning
		q = q.add(h.from, before)
	}
	h.queues[name] = q.add(at, after)
}

// add adds the statistics from an instant on; none if the queue is gone.
func (q queueHistory) add(at time.Time, stats image.Image) queueHistory {
	waiting, known := event.Decimal(stats.Text("in_calls_waiting"))
	if !known {
		waiting = math.NaN()
	}
	p := historyPoint{slot: slotOf(at), peak: waiting, last: waiting, level: event.Truncate(stats.Text("service_level"), 20)}
	if len(q) == 0 {
		return append(q, p)
	}
	last := &q[len(q)-1]
	if last.slot < p.slot {
		p.peak = most(last.last, p.peak) // the slot begins with what was before
		return append(q, p)
	}
	p.slot, p.peak = last.slot, most(last.peak, p.peak)
	*last = p
	return q
}

// most returns the larger one of two numbers that may be NaN.
func most(a, b float64) float64 {
	switch {
	case math.IsNaN(a):
		return b
	case math.IsNaN(b):
		return a
	}
	return max(a, b)
}

func slotOf(at time.Time) int64 { return at.Unix() / int64(historyStep/time.Second) }

func (h *history) addThreshold(e *event.Event, d *event.ThresholdData) {
	if d.Entity.Kind != "service" {
		return // above all no person
	}
	key := e.ViewKey()
	open := h.raised[key]
	if e.Name == event.ThresholdRaised {
		if open == nil {
			open = &raisedMark{Rule: d.Rule, Severity: d.Severity, Entity: d.Entity, From: e.Time}
			h.marks, h.raised[key] = lastMarks(append(h.marks, open)), open
		}
		return
	}
	if open == nil { // raised before the beginning
		open = &raisedMark{Rule: d.Rule, Severity: d.Severity, Entity: d.Entity, From: h.from}
		h.marks = lastMarks(append(h.marks, open))
	}
	open.Until = e.Time
	delete(h.raised, key)
}

// lastMarks returns as many of the last ones as there is room for.
func lastMarks[T any](marks []T) []T {
	return marks[max(0, len(marks)-historyMarks):]
}

// forget removes what ended before an instant.
func (h *history) forget(before time.Time) {
	if h.from.Before(before) {
		h.from = before
	}
	first := slotOf(h.from)
	for name, q := range h.queues {
		old := 0 // one stays, for what was at the beginning
		for old+1 < len(q) && q[old+1].slot <= first {
			old++
		}
		if q = slices.Delete(q, 0, old); len(q) == 1 && q[0].slot < first && math.IsNaN(q[0].last) && q[0].level == "" {
			delete(h.queues, name) // gone for a day
			continue
		}
		h.queues[name] = q
	}
	h.marks = slices.DeleteFunc(h.marks, func(m *raisedMark) bool { return !m.Until.IsZero() && m.Until.Before(before) })
	h.gaps = slices.DeleteFunc(h.gaps, func(gap [2]time.Time) bool { return gap[1].Before(before) })
}

// document returns the response.
func (h *history) document(tenant string, now time.Time) historyDocument {
	first := slotOf(h.from)
	d := historyDocument{
		Tenant: tenant, From: time.Unix(first*int64(historyStep/time.Second), 0).UTC(), Until: now.UTC(), Step: historyStep.Seconds(),
		Shortened: h.from.After(now.Add(-historyReach + time.Minute)), Queues: map[string][][4]any{}, LeftOut: len(h.leftOut),
		Raised: append([]*raisedMark{}, h.marks...), Gaps: append([][2]time.Time{}, h.gaps...),
	}
	number := func(n float64) any {
		if math.IsNaN(n) {
			return nil
		}
		return n
	}
	for name, q := range h.queues {
		points := make([][4]any, len(q))
		for i, p := range q {
			points[i] = [4]any{max(0, p.slot-first), number(p.peak), number(p.last), p.level}
		}
		d.Queues[name] = points
	}
	return d
}
