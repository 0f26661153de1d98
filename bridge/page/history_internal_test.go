package page

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// queueStats are the statistics of a queue; nil is one that is gone.
func queueStats(waiting, level string) image.Image {
	return image.New(image.Stat{Name: "in_calls_waiting", Text: waiting}, image.Stat{Name: "service_level", Text: level})
}

// TestQueueHistory: a slot has its peak, which includes what was waiting when it began, and what was left.
func TestQueueHistory(t *testing.T) {
	t.Parallel()
	begin := time.Unix(0, 0).Add(1000 * historyStep)
	at := func(slot int, second time.Duration) time.Time {
		return begin.Add(time.Duration(slot)*historyStep + second*time.Second)
	}
	h := history{}
	h.reset(begin, begin)
	h.addService("Voice", at(0, 10), queueStats("2", "0.9"), queueStats("8", "0.9"))
	h.addService("Voice", at(0, 20), queueStats("8", "0.9"), queueStats("3", "0.8"))
	h.addService("Voice", at(2, 0), queueStats("3", "0.8"), queueStats("1", ""))
	h.addService("Voice", at(2, 5), queueStats("1", ""), queueStats("4", "0.7"))
	h.addService("Voice", at(1, 5), queueStats("4", "0.7"), queueStats("5", "0.7")) // a clock that was set back
	h.addService("Voice", at(4, 0), queueStats("5", "0.7"), queueStats("soon", "high"))
	h.addService("Voice", at(6, 0), queueStats("soon", "high"), image.Image{})
	want := [][4]any{{int64(0), 8.0, 3.0, "0.8"}, {int64(2), 5.0, 5.0, "0.7"}, {int64(4), 5.0, nil, "high"}, {int64(6), nil, nil, ""}}
	if d := cmp.Diff(want, h.document("acme", at(7, 0)).Queues["Voice"]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	h.forget(at(5, 0))
	if d := cmp.Diff([][4]any{{int64(0), 5.0, nil, "high"}, {int64(1), nil, nil, ""}}, h.document("acme", at(7, 0)).Queues["Voice"]); d != "" {
		t.Errorf("an hour later (-want +got)\n%s", d)
	}
	if h.forget(at(50, 0)); len(h.queues) != 0 {
		t.Errorf("a queue that is gone: %v", h.queues)
	}
}

// TestHistoryIsBounded: neither queues nor thresholds make a history larger than its bounds, and no agent is in it.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	h := history{}
	h.reset(now, now.Add(-historyReach))
	raise := func(name, kind, id string, at time.Time) {
		e := event.Event{Name: name, Time: at, Data: &event.ThresholdData{Rule: "r", Entity: event.EntityRef{Kind: kind, ID: id}}}
		h.addThreshold(&e, e.Data.(*event.ThresholdData))
	}
	for i := range historyQueues + 3 {
		h.addService(fmt.Sprint("Q", i), now.Add(-time.Hour), image.Image{}, queueStats("1", "1"))
	}
	raise(event.ThresholdCleared, "service", "before", now.Add(-time.Hour)) // raised before the beginning
	if m := h.marks[0]; !m.From.Equal(h.from) || !m.Until.Equal(now.Add(-time.Hour)) {
		t.Errorf("%+v", m)
	}
	for i := range historyMarks + 20 {
		raise(event.ThresholdRaised, "service", "Q1", now.Add(time.Duration(i)*time.Millisecond))
		raise(event.ThresholdRaised, "service", "Q1", now.Add(time.Hour)) // once more, after a restart
		raise(event.ThresholdCleared, "service", "Q1", now.Add(time.Duration(i)*time.Millisecond+1))
	}
	raise(event.ThresholdRaised, "agent", "ann", now)
	d := h.document("acme", now)
	if len(d.Queues) != historyQueues || d.LeftOut != 3 || len(d.Raised) != historyMarks || d.Shortened {
		t.Errorf("%d queues, %d left out, %d marks, shortened %v", len(d.Queues), d.LeftOut, len(d.Raised), d.Shortened)
	}
	for _, m := range d.Raised {
		if m.Entity.Kind != "service" || m.Until.Sub(m.From) != 1 {
			t.Fatalf("%+v", m)
		}
	}
	s := histories{byTenant: map[string]*history{}}
	for i := range historyTenants + 5 {
		s.of(fmt.Sprint("t", i), now.Add(time.Duration(i)*time.Second))
	}
	if len(s.byTenant) != historyTenants || s.byTenant["t4"] != nil || s.byTenant["t5"] == nil {
		t.Errorf("%d tenants", len(s.byTenant))
	}
	if got := most(math.NaN(), 2) + most(1, math.NaN()) + most(3, 1); got != 6 {
		t.Errorf("most: %v", got)
	}
}

// hostileHistory adds an event to a history, and encodes it.
func hostileHistory(body []byte) error {
	now := time.Now()
	h := history{}
	h.reset(now, now.Add(-historyReach))
	var decoder event.Decoder
	if _, e, err := decoder.Decode(body); err == nil {
		h.add(&e, now)
	}
	h.forget(now.Add(-historyReach))
	_, err := json.Marshal(h.document("acme", now))
	return err
}
