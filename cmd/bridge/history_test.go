package main

import (
	"context"
	"strings"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// TestHistoryLostIsAWarning deletes the stream of events of a bridge that has run, before a start and
// before `bridge provision`. A first start does not warn.
func TestHistoryLostIsAWarning(t *testing.T) {
	t.Parallel()
	const warning = `"level":"WARN","msg":"history lost: stream recreated empty","stream":"BPCC_EVENTS","lost":"all events","hint":"to restore a backup`
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	js := natstest.Connect(t, server.URL())
	s := startTenant(t, bpcctest.Config{})
	env := append(sourceEnv(s.URL), "NATS_URL="+server.URL(), "BRIDGE_TENANT=acme", "BRIDGE_HTTP=off", "BRIDGE_LOG_FORMAT=json")
	// logOfTerm runs the bridge until a term has published, and returns its log.
	logOfTerm := func() string {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var stdout, stderr syncBuffer
		done := make(chan int, 1)
		go func() { done <- run(ctx, []string{"run"}, env, &stdout, &stderr) }()
		waitUntil(t, func() bool {
			events, err := js.Stream(ctx, "BPCC_EVENTS")
			return err == nil && events.CachedInfo().State.Msgs > 4
		}, stderr.String)
		cancel()
		if status := <-done; status != exitOK {
			t.Errorf("run: status %d\n%s", status, stderr.String())
		}
		return stderr.String()
	}
	lose := func() {
		t.Helper()
		if err := js.DeleteStream(t.Context(), "BPCC_EVENTS"); err != nil {
			t.Fatal(err)
		}
	}
	const created = `"level":"INFO","msg":"stream created","stream":"BPCC_EVENTS"`
	if text := logOfTerm(); strings.Contains(text, "history lost") || !strings.Contains(text, created) {
		t.Errorf("a first start logs\n%s", text)
	}
	lose()
	if text := logOfTerm(); strings.Count(text, warning) != 1 || strings.Contains(text, created) {
		t.Errorf("a start without the history logs\n%s", text)
	}
	lose()
	r := runCommand(t, t.Context(), env, "provision")
	if r.status != exitOK || !strings.Contains(r.stdout, "BPCC_EVENTS: history lost: stream recreated empty (all events)\nBPCC_EVENTS: created\n") || strings.Count(r.stderr, warning) != 1 {
		t.Errorf("provision: status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}
