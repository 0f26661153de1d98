package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestProbesRespondBeforeNATS starts a bridge whose NATS server is not there: it
// is alive, and not ready.
func TestProbesRespondBeforeNATS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
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
	for deadline := time.Now().Add(20 * time.Second); status("/healthz") != http.StatusOK; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no response at /healthz")
		}
	}
	if got := status("/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d, want 503", got)
	}
	cancel()
	if got := <-done; got != exitOK {
		t.Errorf("exit status %d: %s", got, stderr.String())
	}
}
