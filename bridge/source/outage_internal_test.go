package source

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
)

// TestLongOutage: a source that is down for an hour is in the log more than once, with how long and why, and
// so is its return.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	clock := newFakeClock()
	s := &Session{timing: config.DefaultTiming(), log: slog.New(slog.NewTextHandler(&log, nil)), now: clock.now}
	for range 3600 / 5 {
		s.recordFailure("BPCC request failed", errTransportFault)
		clock.advance(5 * time.Second)
	}
	s.reportResult(nil)
	text := log.String()
	for _, want := range []string{"lasts=0s", "lasts=1m0s", "lasts=3m0s", "lasts=31m0s", `hint="check the network`, `msg="BPCC answers again" after=1h0m0s`} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "BPCC request failed"); n != 6 {
		t.Errorf("%d lines for an hour:\n%s", n, text)
	}
}
