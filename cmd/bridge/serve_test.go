package main

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"bpcc-nats/internal/natstest"
)

// TestProbesRespondBeforeNATS starts a bridge whose NATS server is not there: it
// is alive, and not ready.
func TestProbesRespondBeforeNATS(t *testing.T) {
	address := natstest.FreeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var stdout, stderr bytes.Buffer
	go func() {
		done <- run(ctx, []string{"run"}, []string{
			"BPCC_URL=http://127.0.0.1:1", "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret",
			"NATS_URL=nats://127.0.0.1:1", "BRIDGE_HTTP=" + address,
		}, &stdout, &stderr)
	}()
	status := func(path string) int {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	waitUntil(t, func() bool { return status("/healthz") == http.StatusOK }, func() string { return "no response at /healthz" })
	if got := status("/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d, want 503", got)
	}
	cancel()
	if got := <-done; got != exitOK {
		t.Errorf("exit status %d: %s", got, stderr.String())
	}
}
