package reader

import (
	"strings"
	"time"

	"bpcc-nats/cmd/bridge/internal/console"
)

// Progress is a bar on a terminal that shows how far a long replay is.
type Progress struct {
	c            *console.Console
	bounds       Range
	startedAt    time.Time
	drawnAt      time.Time
	firstMessage Message
	count        int
}

// NewProgress returns a bar for a range, which begins with its first message.
func NewProgress(c *console.Console, s Range) *Progress {
	return &Progress{c: c, bounds: s, startedAt: time.Now()}
}

// Update counts a message and draws the bar, not too often, and not in the first second.
func (b *Progress) Update(m Message) {
	if b.count++; b.count == 1 {
		b.firstMessage = m
	}
	now := time.Now()
	if now.Sub(b.startedAt) < time.Second || now.Sub(b.drawnAt) < 200*time.Millisecond {
		return
	}
	b.drawnAt = now
	const width = 30
	full := int(b.doneShare(m) * width)
	b.c.Printf("\r\x1b[K[%s%s] %3.0f%%  %d events  %.0f/s  at %s", strings.Repeat("█", full), strings.Repeat("░", width-full),
		100*b.doneShare(m), b.count, float64(b.count)/now.Sub(b.startedAt).Seconds(), console.FormatTime(m.Stored))
}

// doneShare is the part of the range before m, from 0 to 1. A later message may have an
// earlier time, since clocks of servers differ.
func (b *Progress) doneShare(m Message) float64 {
	done, all := float64(b.count), float64(b.count)+float64(m.Pending)
	switch {
	case b.bounds.To > 0:
		done, all = float64(m.Seq)-float64(b.firstMessage.Seq), float64(b.bounds.To)-float64(b.firstMessage.Seq)
	case !b.bounds.Until.IsZero():
		done, all = m.Stored.Sub(b.firstMessage.Stored).Seconds(), b.bounds.Until.Sub(b.firstMessage.Stored).Seconds()
	}
	if all <= 0 {
		return 1
	}
	return min(max(done/all, 0), 1)
}

// Close clears the bar.
func (b *Progress) Close() {
	if !b.drawnAt.IsZero() {
		b.c.Printf("\r\x1b[K")
	}
}
