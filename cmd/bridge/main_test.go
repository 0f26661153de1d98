package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/schemas"
)

// result is what a command left behind.
type result struct {
	status         int
	stdout, stderr string
}

// runCommand runs the program as a shell would.
func runCommand(t *testing.T, ctx context.Context, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr syncBuffer
	status := run(ctx, args, env, &stdout, &stderr)
	return result{status, stdout.String(), stderr.String()}
}

// syncBuffer is what several goroutines of a command write to.
type syncBuffer struct{ bridgetest.Buffer }

// waitFor waits until a text is written.
func (o *syncBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	waitUntil(t, func() bool { return strings.Contains(o.String(), text) }, func() string { return fmt.Sprintf("no %q in\n%s", text, o) })
}

// waitUntil waits until a condition holds. It does not wait for ever; then the test fails, and says what is
// instead.
func waitUntil(t *testing.T, condition func() bool, instead func() string) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !condition(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain; %s", instead())
		}
	}
}

func startTenant(t *testing.T, c bpcctest.Config) *bpcctest.Server {
	t.Helper()
	s := bpcctest.NewServer(c)
	t.Cleanup(s.Close)
	s.SetAgent(bpcctest.Agent{Login: "anna", State: "ready", Services: []string{"Voice"}})
	s.SetAgent(bpcctest.Agent{Login: "bob"})
	s.SetService(bpcctest.Service{Name: "Voice"})
	return s
}

func sourceEnv(url string) []string {
	return []string{"BPCC_URL=" + url, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "BPCC_TIMEOUT=2s", "BPCC_POLL_INTERVAL=100ms"}
}

// checkEnv is sourceEnv with polls so rare that no response is slow for them.
func checkEnv(url string) []string { return append(sourceEnv(url), "BPCC_POLL_INTERVAL=2s") }

func TestUsage(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args, env []string
		status    int
		want      []string // all in standard error, or output when status is 0
	}{
		"help":            {[]string{"help"}, nil, exitOK, []string{"bridge demo"}},
		"-h":              {[]string{"-h"}, nil, exitOK, []string{"bridge demo"}},
		"command help":    {[]string{"replay", "--help"}, nil, exitOK, nil},
		"version":         {[]string{"version"}, nil, exitOK, []string{"bridge "}},
		"unknown command": {[]string{"rnu"}, nil, exitUsage, []string{`unknown command "rnu"; the closest is run`}},
		"unknown help":    {[]string{"help", "rnu"}, nil, exitUsage, []string{`unknown command "rnu"; the closest is run`}},
		"unknown flag":    {[]string{"sim", "--lisen", "x"}, nil, exitUsage, []string{"unknown flag: --lisen; the closest is --listen"}},
		"one dash":        {[]string{"version", "-short=true"}, nil, exitOK, nil},
		"one dash, other": {[]string{"sim", "-lisen", "x"}, nil, exitUsage, []string{"unknown flag: --lisen; the closest is --listen"}},
		"no command":      {[]string{"--"}, nil, exitUsage, []string{"no command"}},
		"no value":        {[]string{"state", "--timeout"}, nil, exitUsage, []string{"--timeout"}},
		"with =":          {[]string{"version", "--short=true"}, nil, exitOK, nil},
		"-h of a command": {[]string{"replay", "-h"}, nil, exitOK, []string{"--with-meta"}},
		"left over":       {[]string{"run", "fast"}, nil, exitUsage, []string{`unexpected argument "fast"`}},
		"schemas":         {[]string{"schemas"}, nil, exitOK, []string{"bpcc.agent.state_changed.v1", "config/thresholds", "\nevent\nasyncapi\n"}},
		"one schema":      {[]string{"schemas", "agent.state_changed"}, nil, exitOK, []string{"urn:bpcc:schema:v1:agent.state_changed"}},
		"any event":       {[]string{"schemas", "event"}, nil, exitOK, []string{"urn:bpcc:schema:v1:event"}},
		"unknown schema":  {[]string{"schemas", "agent.state"}, nil, exitUsage, []string{"agent.state_changed"}},
		"nothing set":     {[]string{"run"}, nil, exitUsage, []string{"BPCC_URL", "BPCC_CLIENT_ID", "BPCC_CLIENT_SECRET_FILE"}},
		"run by default":  {nil, nil, exitUsage, []string{"BPCC_URL"}},
		"all faults at once": {[]string{"run"}, []string{
			"BPCC_URL=ftp://x", "BPCC_AUTH=basic", "BPCC_POLL_INTERVAL=10ms", "BPCC_TIMEOUT=fast", "BRIDGE_REPLICAS=many", "BRIDGE_AGENT_KEY=name",
			"BRIDGE_LOG_LEVEL=loud", "BRIDGE_THRESHOLDS=[{\"name\":\"x\"}]", "BPCC_CA_FILE=/no/such/file", "BRIDGE_STREAM=a.b", "NATS_CERT=/no/cert",
			"BRIDGE_STORE_MAX=much",
		}, exitUsage, []string{
			"BPCC_URL", "BPCC_AUTH", "BPCC_POLL_INTERVAL", "BPCC_TIMEOUT", "BRIDGE_REPLICAS", "BRIDGE_AGENT_KEY", "BRIDGE_LOG_LEVEL",
			"BRIDGE_THRESHOLDS", "BPCC_CA_FILE", "BRIDGE_STREAM", "NATS_CERT", "BRIDGE_STORE_MAX",
		}},
		"secret twice":     {[]string{"check"}, []string{"BPCC_URL=http://127.0.0.1:1", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "BPCC_CLIENT_SECRET_FILE=" + secret}, exitUsage, []string{"set twice"}},
		"secret file gone": {[]string{"check"}, []string{"BPCC_URL=http://127.0.0.1:1", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET_FILE=/no/such/file"}, exitUsage, []string{"BPCC_CLIENT_SECRET_FILE"}},
		"unknown variable": {[]string{"check"}, []string{"BPCC_POLL_INTERVALL=2s"}, exitUsage, []string{"BPCC_URL"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, t.Context(), test.env, test.args...)
			text := r.stderr
			if test.status == exitOK {
				text = r.stdout
			}
			if r.status != test.status {
				t.Errorf("status %d, want %d\n%s", r.status, test.status, r.stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const refused = "127.0.0.1:1" // no other test can come to listen there
	server, err := stream.StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	tests := map[string]struct {
		prepare func(*bpcctest.Server)
		env     func(url string) []string
		args    []string
		status  int
		want    []string
	}{
		"well": {status: exitOK, want: []string{"log in", "2 row(s) in agent_grids", "1 ready", "1 logged_out", `"Voice": true`, "\nOK: "}},
		"wrong secret": {
			env:    func(url string) []string { return append(checkEnv(url), "BPCC_CLIENT_SECRET=wrong") },
			status: exitFailed, want: []string{"fail  ", "401", "check the credentials"},
		},
		"cookie login is gone": {
			env: func(url string) []string {
				return append(checkEnv(url), "BPCC_AUTH=cookie", "BPCC_USERNAME=sim", "BPCC_PASSWORD=sim-secret")
			},
			status: exitFailed, want: []string{"403", "BPCC_AUTH=oauth"},
		},
		"unreachable host": {
			env:    func(string) []string { return checkEnv("http://" + refused) },
			status: exitFailed, want: []string{"fail  ", "refused"},
		},
		"pool used up": {
			prepare: func(s *bpcctest.Server) { s.FillSubscriptions() },
			status:  exitFailed, want: []string{"subscribe", "409", "used up"},
		},
		"HTML instead of JSON": {
			prepare: func(s *bpcctest.Server) {
				s.Inject(bpcctest.Fault{Path: "/oauth/token", Status: 200, Body: "<html>", ContentType: "text/html", Times: -1})
			},
			status: exitFailed, want: []string{"HTML instead of JSON", "BPCC_URL"},
		},
		"no agents": {
			prepare: func(s *bpcctest.Server) { s.RemoveAgent("anna"); s.RemoveAgent("bob") },
			status:  exitOK, want: []string{"warn  agents", "none visible", "supervisor", "\nOK: ", ", 1 warning(s)\n"},
		},
		"more services than the rate allows": {
			env: func(url string) []string {
				services := "S,S" // named twice
				for i := range 29 {
					services += fmt.Sprintf(",S%d", i)
				}
				return append(sourceEnv(url), "BPCC_MAX_REQUESTS=20", "BPCC_SERVICES="+services)
			},
			status: exitOK, want: []string{
				"warn  rate          30 services every 2s are 15 requests a second; with BPCC_MAX_REQUESTS=20 each is checked every 3.751s, and unknown 11.253s after",
				"raise BPCC_MAX_REQUESTS",
			},
		},
		"NATS as well": {
			env:    func(url string) []string { return append(checkEnv(url), "NATS_URL="+server.URL()) },
			status: exitOK, want: []string{"NATS          server 2.", "BPCC_EVENTS does not exist yet", "ok    retention     events of 30 days take about ", "\nOK: "},
		},
		"NATS is away": {
			env:    func(url string) []string { return append(checkEnv(url), "NATS_URL=nats://"+refused) },
			status: exitFailed, want: []string{"fail  connect", "check NATS_URL", "\nFAILED: 1 problem(s), 0 warning(s)\n"},
		},
		"the store follows the disk": {
			env:    func(url string) []string { return append(checkEnv(url), "BRIDGE_STORE_DIR=there/is/none") },
			status: exitOK, want: []string{"ok    store         there/is/none takes 0 B on a disk with ", " free; keeps about ", "BRIDGE_STORE_MAX follows the disk"},
		},
		"an empty NATS_URL": {
			env: func(url string) []string {
				return append(checkEnv(url), "NATS_URL=", "NATS_CONTEXT=", "BRIDGE_STORE_MAX=64MiB")
			},
			status: exitOK, want: []string{"NATS_URL is not set: bridge run starts its own server", " free; keeps 64 MiB of streams"},
		},
		"the store has a limit": {
			env:    func(url string) []string { return append(checkEnv(url), "BRIDGE_STORE_MAX=64MiB") },
			status: exitOK, want: []string{
				" free; keeps 64 MiB of streams", "OK: bridge run can work with this",
				"warn  retention     room for about 3 days of events, not 30 days", "estimated for 2 agent(s) who are busy all day; 56 MiB:", "raise BRIDGE_STORE_MAX (the events need",
			},
		},
		"the store's limit is beyond the disk": {
			env: func(url string) []string {
				return append(checkEnv(url), "BRIDGE_STORE_MAX=4EiB")
			},
			status: exitOK, want: []string{"warn  store", "full before BRIDGE_STORE_MAX=4.0 EiB", "lower BRIDGE_STORE_MAX", "1 warning(s)"},
		},
		"the store is a file": {
			env:    func(url string) []string { return append(checkEnv(url), "BRIDGE_STORE_DIR=main_test.go") },
			status: exitFailed, want: []string{"fail  store         main_test.go is not a directory", "set BRIDGE_STORE_DIR"},
		},
		"as JSON": {
			env:  func(url string) []string { return checkEnv(url) },
			args: []string{"--json"}, status: exitOK, want: []string{`"target":"127.0.0.1","step":"log in","outcome":"ok","found":"`},
		},
		"rows without a key": {
			prepare: func(s *bpcctest.Server) { s.SetAgentStat("bob", "login_id", "") },
			status:  exitFailed, want: []string{"1 row(s) without login_id"},
		},
		"a rule on a text": {
			prepare: func(s *bpcctest.Server) {
				s.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "87%", "agents_busy": ""}})
				s.SetService(bpcctest.Service{Name: "Chat", Stats: map[string]string{"in_calls_waiting": "3", "agents_busy": "1"}})
			},
			env: func(url string) []string {
				return append(checkEnv(url), `BRIDGE_THRESHOLDS=[
					{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">","value":5}},
					{"name":"busy","kind":"service","match":["Voice","Chat"],"stat":"agents_busy","raise":{"op":">","value":5}}]`)
			},
			status: exitOK, want: []string{
				`warn  rule          "backlog" cannot read in_calls_waiting of "Voice": the text "87%" is not a number that it reads`, `"parse": "percent"`,
				`ok    rule          "busy" applies to 2 row(s), 1 of them with a value`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTenant(t, bpcctest.Config{})
			if test.prepare != nil {
				test.prepare(s)
			}
			env := checkEnv(s.URL)
			if test.env != nil {
				env = test.env(s.URL)
			}
			r := runCommand(t, t.Context(), env, append([]string{"check"}, test.args...)...)
			if r.status != test.status {
				t.Errorf("status %d, want %d\n%s%s", r.status, test.status, r.stdout, r.stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("no %q in\n%s", want, r.stdout)
				}
			}
			if strings.Contains(r.stdout+r.stderr, "sim-secret") {
				t.Errorf("the secret shows:\n%s%s", r.stdout, r.stderr)
			}
		})
	}
}

func TestCheckNamesAnUnknownStatistic(t *testing.T) {
	t.Parallel()
	s := startTenant(t, bpcctest.Config{RefuseUnknownStats: true})
	file := filepath.Join(t.TempDir(), "subscription.json")
	body := `{"x":{"agent_grids":[{"id":"a","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"mood"}]}]}}`
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runCommand(t, t.Context(), append(checkEnv(s.URL), "BPCC_SUBSCRIPTION_FILE="+file,
		`BRIDGE_THRESHOLDS=[{"name":"moody","kind":"agent","stat":"mood","raise":{"op":">","value":5}}]`), "check")
	if r.status != exitFailed || !strings.Contains(r.stdout, `fail  subscribe     the server rejects "mood" (app "x", agent grid "a", column "2")`) ||
		!strings.Contains(r.stdout, `fail  rule          "moody" reads a statistic that the server rejects`) || !strings.Contains(r.stdout, "ok    snapshot") {
		t.Errorf("status %d\n%s", r.status, r.stdout)
	}
}

// TestRunAndReplay runs the bridge with its embedded server, reads its stream
// from a second command, stops it, and reads the stream again from the disk.
func TestRunAndReplay(t *testing.T) {
	t.Parallel()
	s := startTenant(t, bpcctest.Config{})
	listen := natstest.FreeAddress(t)
	env := append(sourceEnv(s.URL), "BRIDGE_STORE_DIR="+t.TempDir(), "BRIDGE_EMBEDDED_LISTEN="+listen, "BRIDGE_TENANT=acme", "BRIDGE_LOG_LEVEL=debug", "BRIDGE_HTTP=off")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- runCommand(t, ctx, env, "run") }()
	waitUntil(t, func() bool {
		// A replay that came before the bridge would open the store itself.
		nc, err := net.Dial("tcp", listen)
		if err == nil {
			nc.Close()
		}
		return err == nil
	}, func() string { return "nothing listens at " + listen })
	var live result
	waitUntil(t, func() bool {
		live = runCommand(t, t.Context(), env, "replay")
		return strings.Contains(live.stdout, "bpcc.totals.observed.v1")
	}, func() string { return live.stdout + live.stderr })
	cancel()
	r := <-done
	if r.status != exitOK {
		t.Errorf("run: status %d\n%s", r.status, r.stderr)
	}
	if strings.Contains(r.stderr, "sim-secret") {
		t.Error("the secret is in the log")
	}
	stored := runCommand(t, t.Context(), env, "replay")
	if stored.status != exitOK || !strings.Contains(stored.stdout, "bpcc.feed.stopped.v1") || !strings.HasPrefix(stored.stdout, live.stdout) {
		t.Errorf("replay from the disk: status %d\n%s\n%s", stored.status, stored.stdout, stored.stderr)
	}
	for line := range strings.Lines(stored.stdout) {
		if err := schemas.Validate([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	agents := runCommand(t, t.Context(), env, "replay", "--subject", "bpcc.v1.acme.agent.>")
	if n := strings.Count(agents.stdout, "\n"); n != 2 {
		t.Errorf("%d agent events, want 2\n%s", n, agents.stdout)
	}
	old := runCommand(t, t.Context(), env, "replay", "--since", "1h")
	if old.stdout != stored.stdout {
		t.Error("--since 1h is not all of a stream that is seconds old")
	}
	valid := runCommand(t, t.Context(), env, "verify")
	if valid.status != exitOK || !strings.Contains(valid.stdout, "SOUND") || !strings.Contains(valid.stdout, "stopped") {
		t.Errorf("verify: status %d\n%s%s", valid.status, valid.stdout, valid.stderr)
	}
	again := runCommand(t, t.Context(), env, "provision")
	if again.status != exitOK || strings.Count(again.stdout, "configured as expected") != 4 {
		t.Errorf("provision: status %d\n%s%s", again.status, again.stdout, again.stderr)
	}
}

func TestStoreHasOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := stream.StartServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	r := runCommand(t, t.Context(), []string{"BRIDGE_STORE_DIR=" + dir, "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0"}, "provision")
	if r.status != exitFailed || !strings.Contains(r.stderr, "in use by another process") {
		t.Errorf("status %d\n%s", r.status, r.stderr)
	}
}
