package reader

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"bpcc-nats/cmd/bridge/internal/console"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	now := time.Now()
	first := Message{Seq: 11, Stored: now}
	tests := map[string]struct {
		s    Range
		m    Message
		n    int
		want float64
	}{
		"open":        {Range{}, Message{Seq: 20, Pending: 30}, 10, 0.25},
		"to sequence": {Range{To: 31}, Message{Seq: 16, Pending: 900}, 6, 0.25},
		"until":       {Range{Until: Time{Time: now.Add(time.Hour)}}, Message{Seq: 16, Stored: now.Add(30 * time.Minute), Pending: 9}, 6, 0.5},
		"one message": {Range{To: 11}, first, 1, 1},
	}
	for name, test := range tests {
		b := Progress{bounds: test.s, count: test.n, firstMessage: first}
		if got := b.doneShare(test.m); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	var out bytes.Buffer
	b := NewProgress(console.New(&out, nil), Range{})
	b.Update(first)
	b.Close()
	if out.Len() > 0 {
		t.Errorf("what takes no time draws %q", out.String())
	}
	b.startedAt = now.Add(-time.Minute)
	b.Update(Message{Seq: 12, Pending: 2, Stored: now})
	b.Close()
	if text := out.String(); !strings.Contains(text, " 50%  2 events") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("the bar is %q", text)
	}
}

// TestProgressBounds draws the bar of a replay for whatever a stream may hold: times that go
// back, and counts that are not true.
func TestProgressBounds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		s    Range
		m    Message // after one of sequence 10, stored at 10:00
		want string
	}{
		"half":             {Range{}, Message{Seq: 11, Stored: at, Pending: 2}, " 50%"},
		"to a sequence":    {Range{To: 30}, Message{Seq: 15, Stored: at}, " 25%"},
		"beyond its end":   {Range{To: 30}, Message{Seq: 99, Stored: at}, "100%"},
		"before its start": {Range{To: 30}, Message{Seq: 5, Stored: at}, "  0%"},
		"end before start": {Range{To: 5}, Message{Seq: 11, Stored: at}, "100%"},
		"until a time":     {Range{Until: Time{Time: at.Add(4 * time.Minute)}}, Message{Seq: 11, Stored: at.Add(time.Minute)}, " 25%"},
		"a time before":    {Range{Until: Time{Time: at.Add(time.Minute)}}, Message{Seq: 11, Stored: at.Add(-time.Hour)}, "  0%"},
		"until that time":  {Range{Until: Time{Time: at}}, Message{Seq: 11, Stored: at.Add(-time.Hour)}, "100%"},
		"no time":          {Range{Until: Time{Time: at.Add(time.Minute)}}, Message{Seq: 11}, "  0%"},
		"the most pending": {Range{}, Message{Seq: 11, Stored: at, Pending: math.MaxUint64}, "  0%"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			b := NewProgress(console.New(&out, nil), test.s)
			b.Update(Message{Seq: 10, Stored: at})
			b.startedAt = b.startedAt.Add(-time.Minute) // what takes no time has no bar
			b.Update(test.m)
			if !strings.Contains(out.String(), "] "+test.want) {
				t.Errorf("want %s in %q", test.want, out.String())
			}
		})
	}
}
