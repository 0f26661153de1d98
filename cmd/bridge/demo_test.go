package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"bpcc-nats/internal/natstest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr syncBuffer
	status := make(chan int, 1)
	go func() { status <- run(ctx, []string{"demo", "--for", "1m", "--seed", "1"}, nil, &stdout, &stderr) }()
	for _, want := range []string{"agent: 40, service: 6", "agent  ", "→", "live page        http://127.0.0.1:"} {
		stdout.waitFor(t, want)
	}
	cancel()
	if got := <-status; got != exitOK || stderr.String() != "" {
		t.Errorf("status %d\n%s", got, stderr.String())
	}
}

// TestDemoAddresses reads the page and the stream of a demo at the
// addresses that a flag or a variable gives; the flag wins.
func TestDemoAddresses(t *testing.T) {
	t.Parallel()
	unused := "192.0.2.1:1" // no address of this machine
	tests := map[string]struct {
		env  func(page, nats string) []string
		args func(page, nats string) []string
	}{
		"variables": {
			env: func(page, nats string) []string {
				return []string{"BRIDGE_HTTP=" + page, "BRIDGE_EMBEDDED_LISTEN=" + nats}
			},
			args: func(_, _ string) []string { return nil },
		},
		"flags": {
			env: func(_, _ string) []string {
				return []string{"BRIDGE_HTTP=" + unused, "BRIDGE_EMBEDDED_LISTEN=" + unused}
			},
			args: func(page, nats string) []string { return []string{"--http", page, "--listen", nats} },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, listen := freePort(t), freePort(t)
			ctx, cancel := context.WithCancel(t.Context())
			var stdout, stderr syncBuffer
			status := make(chan int, 1)
			go func() {
				// On all addresses, as in a container.
				args := append([]string{"demo"}, test.args("0.0.0.0:"+page, "0.0.0.0:"+listen)...)
				status <- run(ctx, args, test.env("0.0.0.0:"+page, "0.0.0.0:"+listen), &stdout, &stderr)
			}()
			stdout.waitFor(t, "agent  ")
			response, err := http.Get("http://127.0.0.1:" + page + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), "<html") {
				t.Errorf("the page: %v, %s\n%s", err, response.Status, body)
			}
			r := runCommand(t, t.Context(), []string{"NATS_URL=nats://127.0.0.1:" + listen}, "replay", "--type", "agent.*")
			if r.status != exitOK || !strings.Contains(r.stdout, `"type":"bpcc.agent.`) {
				t.Errorf("replay: status %d\n%s%s", r.status, r.stdout, r.stderr)
			}
			for _, want := range []string{"NATS JetStream   nats://127.0.0.1:" + listen + "\n", "live page        http://127.0.0.1:" + page + "/\n"} {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("no %q in\n%s", want, stdout.String())
				}
			}
			cancel()
			if got := <-status; got != exitOK {
				t.Errorf("status %d\n%s", got, stderr.String())
			}
		})
	}
}

// TestDemoAddressInUse: an address that was asked for is not exchanged for another.
func TestDemoAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := runCommand(t, t.Context(), nil, "demo", "--for", "30s", "--http", l.Addr().String(), "--listen", "127.0.0.1:0")
	if r.status != exitFailed || !strings.Contains(r.stderr, "address already in use") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}

func TestDemoWithoutPage(t *testing.T) {
	t.Parallel()
	r := runCommand(t, t.Context(), []string{"BRIDGE_HTTP=off"}, "demo", "--for", "1s", "--listen", "127.0.0.1:0")
	if r.status != exitOK || r.stderr != "" || !strings.Contains(r.stdout, "NATS JetStream") || strings.Contains(r.stdout, "live page") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}

// freePort is a port on which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(natstest.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
