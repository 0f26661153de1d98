package stream

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestLongInterruption: an interruption of hours is logged again and again, with how long it lasts and why.
func TestLongInterruption(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := &connLogger{log: slog.New(slog.NewTextHandler(&log, nil))}
	began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	r.beginInterruption(errors.New("EOF"), began)
	for s := range 2 * 3600 {
		r.logInterruption(nats.ErrNoServers, began.Add(time.Duration(s+1)*time.Second))
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for i, want := range []string{
		`msg="disconnected from NATS" err=EOF`, `msg="NATS error" err="nats: no servers available for connection" lasts=1s hint=`,
		`lasts=1m0s`, `lasts=3m0s`, `lasts=7m0s`, `lasts=15m0s`, `lasts=31m0s`, `lasts=1h3m0s`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d lacks %q:\n%s", i+1, want, log.String())
		}
	}
	if len(lines) != 8 || !strings.Contains(lines[7], "check that one runs at NATS_URL") {
		t.Errorf("%d lines:\n%s", len(lines), log.String())
	}
	if lasted := r.endInterruption(began.Add(2 * time.Hour)); lasted != "2h0m0s" {
		t.Errorf("it has lasted %s", lasted)
	}
}
