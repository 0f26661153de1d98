package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
)

// refuse checks that each command that uses a NATS server, or judges it, fails with
// why and what to do about it.
func refuse(t *testing.T, url, why, cure string) {
	t.Helper()
	s := startTenant(t, bpcctest.Config{})
	env := append(sourceEnv(s.URL), "NATS_URL="+url, "BRIDGE_TENANT=acme", "BRIDGE_HTTP=off")
	for _, command := range []string{"run", "provision", "check"} {
		r := runCommand(t, t.Context(), env, command)
		said := r.stderr
		if command == "check" {
			said = r.stdout
		}
		if r.status != exitFailed || !strings.Contains(said, why) || !strings.Contains(said, cure) {
			t.Errorf("%s: status %d, want %d, %q and %q\n%s%s", command, r.status, exitFailed, why, cure, r.stdout, r.stderr)
		}
	}
}

// TestOldServerIsRefused gives the commands a server of an old release. They make
// no stream there.
func TestOldServerIsRefused(t *testing.T) {
	t.Parallel()
	url, _ := natstest.StartOld(t, t.TempDir(), 0)
	refuse(t, url, "the NATS server is too old: server ", "upgrade all NATS servers to release 2.12.1 or later")
	js := natstest.Connect(t, url)
	for name := range js.StreamNames(t.Context()).Name() {
		t.Errorf("stream %s was made", name)
	}
}

// TestLeaseBucketWithoutTTLIsRefused gives them a bucket of leases that was made by
// hand.
func TestLeaseBucketWithoutTTLIsRefused(t *testing.T) {
	t.Parallel()
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	js := natstest.Connect(t, server.URL())
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "bpcc_lease"}); err != nil {
		t.Fatal(err)
	}
	refuse(t, server.URL(), "stream KV_bpcc_lease has no max_age", "nats kv edit bpcc_lease --ttl 5s")
}
