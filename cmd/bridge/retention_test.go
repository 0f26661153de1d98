package main

import (
	"context"
	"strings"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/natstest"
)

// TestCheckOfARunningBridge checks beside a bridge that runs with the embedded server: the limit of its
// stream counts, not that of the check's own environment.
func TestCheckOfARunningBridge(t *testing.T) {
	t.Parallel()
	s := startTenant(t, bpcctest.Config{})
	listen := natstest.FreeAddress(t)
	env := append(sourceEnv(s.URL), "BRIDGE_STORE_DIR="+t.TempDir(), "BRIDGE_EMBEDDED_LISTEN="+listen, "BRIDGE_TENANT=acme", "BRIDGE_HTTP=off", "BRIDGE_LOG_FORMAT=json")
	check := func() result {
		t.Helper()
		return runCommand(t, t.Context(), append(env, "BRIDGE_STORE_MAX=1TiB", "BRIDGE_RETENTION=8760h"), "check")
	}
	if r := check(); strings.Contains(r.stdout, "max_bytes of stream") || !strings.Contains(r.stdout, "retention") {
		t.Errorf("without a bridge: status %d\n%s", r.status, r.stdout)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- runCommand(t, ctx, append(env, "BRIDGE_STORE_MAX=64MiB"), "run") }()
	var r result
	waitUntil(t, func() bool {
		r = check()
		return strings.Contains(r.stdout, "56 MiB: max_bytes of stream BPCC_EVENTS")
	}, func() string { return r.stdout })
	cancel()
	<-done
	if !strings.Contains(r.stdout, "warn  retention") || !strings.Contains(r.stdout, "56 MiB: max_bytes of stream BPCC_EVENTS") {
		t.Errorf("beside a bridge: status %d\n%s", r.status, r.stdout)
	}
}
