package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/internal/natstest"
)

// backgroundRun is bridge run in this process, until the test ends.
type backgroundRun struct {
	t      *testing.T
	env    []string
	http   string
	stderr *syncBuffer
	done   chan int
}

func startRun(t *testing.T, tenant *bpcctest.Server, env ...string) *backgroundRun {
	t.Helper()
	r := &backgroundRun{t: t, http: natstest.FreeAddress(t), stderr: &syncBuffer{}, done: make(chan int, 1)}
	r.env = append(append(sourceEnv(tenant.URL), "BRIDGE_TENANT=acme", "BRIDGE_LOG_FORMAT=json", "BRIDGE_LEASE_TTL=1s", "BRIDGE_HTTP="+r.http), env...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { r.done <- run(ctx, []string{"run"}, r.env, &syncBuffer{}, r.stderr) }()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// waitFor waits for a state of the process, which must not end before.
func (r *backgroundRun) waitFor(what string, so func(bridge.Health) bool) {
	r.t.Helper()
	var h bridge.Health
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		select {
		case status := <-r.done:
			r.done <- status
			r.t.Fatalf("run ends with status %d before %s\n%s", status, what, r.stderr)
		default:
		}
		h = bridge.Health{}
		if resp, err := http.Get("http://" + r.http + "/readyz"); err == nil {
			err = json.NewDecoder(resp.Body).Decode(&h)
			resp.Body.Close()
			if err == nil && so(h) {
				return
			}
		}
	}
	r.t.Fatalf("waited in vain for %s: %+v\n%s", what, h, r.stderr)
}

func isReady(h bridge.Health) bool { return h.Ready }

// TestMaxPayloadLowered lowers the server's limit while a bridge runs. The server closes the connection
// at the first message above it, and the client library gives the connection up. The process goes on, with
// all but the entity that is too large.
func TestMaxPayloadLowered(t *testing.T) {
	t.Parallel()
	address, reload := natstest.StartReloadable(t, "max_payload: 1MB")
	tenant := startTenant(t, bpcctest.Config{})
	r := startRun(t, tenant, "NATS_URL=nats://"+address)
	r.waitFor("the start", isReady)
	reload("max_payload: 8KB")
	tenant.SetAgent(bpcctest.Agent{Login: "bob", Last: strings.Repeat("x", 10000)})
	r.waitFor("another connection", func(h bridge.Health) bool {
		return strings.Contains(r.stderr.String(), "NATS connection closed, connecting again") && strings.Contains(r.stderr.String(), "event exceeds the server's message size") && h.Ready
	})
	tenant.SetState("anna", "busy", "")
	waitUntil(t, func() bool {
		events := runCommand(t, t.Context(), r.env, "replay", "--subject", "bpcc.v1.acme.agent.anna.state_changed")
		return strings.Contains(events.stdout, `"busy"`)
	}, func() string { return "the others are not published\n" + r.stderr.String() })
	if valid := runCommand(t, t.Context(), r.env, "verify"); valid.status != exitOK || !strings.Contains(valid.stdout, "SOUND") {
		t.Errorf("verify: %s%s", valid.stdout, valid.stderr)
	}
	if !strings.Contains(r.stderr.String(), "raise max_payload of the NATS server") {
		t.Errorf("no hint in\n%s", r.stderr)
	}
}

// TestStartWaitsForTheServer starts bridges at servers that cannot serve them yet: each says why, in the
// log and at /readyz, and goes on by itself.
func TestStartWaitsForTheServer(t *testing.T) {
	t.Parallel()
	t.Run("without JetStream", func(t *testing.T) {
		t.Parallel()
		s := natstest.Start(t, &server.Options{})
		r := startRun(t, startTenant(t, bpcctest.Config{}), "NATS_URL="+s.ClientURL())
		r.waitFor("the reason", func(h bridge.Health) bool { return strings.Contains(h.Reason, "enable JetStream on the NATS server") })
		if c := runCommand(t, t.Context(), r.env, "check"); c.status != exitFailed || !strings.Contains(strings.Join(strings.Fields(c.stdout), " "), "enable JetStream on the NATS server") {
			t.Errorf("check: status %d\n%s%s", c.status, c.stdout, c.stderr)
		}
		if err := s.EnableJetStream(&server.JetStreamConfig{StoreDir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		r.waitFor("JetStream", isReady)
	})
	t.Run("without quorum", func(t *testing.T) {
		t.Parallel()
		r := startRun(t, startTenant(t, bpcctest.Config{}), "NATS_URL="+serverWithoutQuorum(t))
		r.waitFor("the reason", func(h bridge.Health) bool { return strings.Contains(h.Reason, "no server leads") })
	})
	t.Run("without a free connection", func(t *testing.T) {
		t.Parallel()
		s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxConn: 1})
		other := natstest.Connect(t, s.ClientURL())
		r := startRun(t, startTenant(t, bpcctest.Config{}), "NATS_URL="+s.ClientURL())
		r.waitFor("the reason", func(bridge.Health) bool {
			return strings.Contains(r.stderr.String(), "raise max_connections")
		})
		other.Conn().Close()
		r.waitFor("a connection", isReady)
	})
}

// TestServerLimitsEndTheStart gives the commands servers whose limits never pass by themselves.
func TestServerLimitsEndTheStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options   server.Options
		env       string
		why, cure string
	}{
		"duplicate window": {server.Options{JetStreamLimits: server.JSLimitOpts{Duplicates: time.Second}}, "", "duplicates window can not be larger", "raise max_duplicate_window"},
		"max_file_store":   {server.Options{JetStreamMaxStore: 1 << 20}, "BRIDGE_MAX_BYTES=128MiB", "insufficient storage resources", "lower BRIDGE_MAX_BYTES"},
		"max_payload":      {server.Options{MaxPayload: 100}, "", "maximum payload exceeded", "raise max_payload"},
		"no cluster":       {server.Options{}, "BRIDGE_REPLICAS=3", "replicas > 1 not supported", "set BRIDGE_REPLICAS=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.options.JetStream, test.options.StoreDir = true, t.TempDir()
			url := natstest.Start(t, &test.options).ClientURL()
			env := append(sourceEnv(startTenant(t, bpcctest.Config{}).URL), "NATS_URL="+url, "BRIDGE_TENANT=acme", "BRIDGE_HTTP=off", test.env)
			for _, command := range []string{"run", "provision"} {
				if r := runCommand(t, t.Context(), env, command); r.status != exitFailed || !strings.Contains(r.stderr, test.why) || !strings.Contains(r.stderr, test.cure) {
					t.Errorf("%s: status %d, want %d, %q and %q\n%s", command, r.status, exitFailed, test.why, test.cure, r.stderr)
				}
			}
		})
	}
}
