package main

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/internal/bridgetest"
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

// TestHealthOfAGuardedServer: `bridge health` reaches a server with TLS and a token, and reports why it is not ready.
func TestHealthOfAGuardedServer(t *testing.T) {
	t.Parallel()
	cert, key := bridgetest.NewCA(t).IssueCert("bridge.example.com")
	token := filepath.Join(t.TempDir(), "token")
	bridgetest.ReplaceFile(t, token, "0123456789abcdef")
	env := []string{
		"BPCC_URL=http://127.0.0.1:1", "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "NATS_URL=nats://127.0.0.1:1",
		"BRIDGE_HTTP=" + natstest.FreeAddress(t), "BRIDGE_HTTP_TLS_CERT=" + cert, "BRIDGE_HTTP_TLS_KEY=" + key, "BRIDGE_HTTP_TOKEN_FILE=" + token,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var stdout, stderr bytes.Buffer
	go func() { done <- run(ctx, []string{"run"}, env, &stdout, &stderr) }()
	var r result
	waitUntil(t, func() bool {
		r = runCommand(t, t.Context(), env, "health")
		return strings.Contains(r.stdout, "not connected to NATS yet")
	}, func() string { return r.stdout + r.stderr })
	if r.status != exitFailed || !strings.Contains(r.stderr, "bridge not ready: 503") {
		t.Errorf("status %d: %s", r.status, r.stderr)
	}
	cancel()
	if got := <-done; got != exitOK {
		t.Errorf("exit status %d: %s", got, stderr.String())
	}
}
