package bridge_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// natsContext writes a context of the nats CLI, and returns the variable that names it.
func natsContext(t *testing.T, settings map[string]any) string {
	t.Helper()
	content, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "context.json")
	bridgetest.ReplaceFile(t, file, string(content))
	return "NATS_CONTEXT=" + file
}

// hubAndLeaf starts two servers with a JetStream domain each, connected by a leaf node.
func hubAndLeaf(t *testing.T) (hub, leaf *server.Server) {
	t.Helper()
	hub = natstest.Start(t, &server.Options{
		ServerName: "hub", JetStream: true, StoreDir: t.TempDir(), JetStreamDomain: "hub", LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT},
	})
	vars, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	remote := &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(vars.LeafNode.Port))}
	leaf = natstest.Start(t, &server.Options{
		ServerName: "leaf", JetStream: true, StoreDir: t.TempDir(), JetStreamDomain: "leaf",
		LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}},
	})
	return hub, leaf
}

// streamNames lists the streams in the domain of a server.
func streamNames(t *testing.T, s *server.Server) (names []string) {
	t.Helper()
	list := natstest.Connect(t, s.ClientURL()).StreamNames(t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestDomain connects to a leaf node and names the hub's JetStream, in each way. All that the bridge makes
// and publishes is in the hub, and nothing in the leaf, where requests without a domain go.
func TestDomain(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]func(url string) []string{
		"domain in a context": func(url string) []string {
			return []string{natsContext(t, map[string]any{"url": url, "jetstream_domain": "hub"})}
		},
		"prefix in a context": func(url string) []string {
			return []string{natsContext(t, map[string]any{"url": url, "jetstream_api_prefix": "$JS.hub.API"})}
		},
		"in the environment": func(url string) []string { return []string{"NATS_URL=" + url, "NATS_JS_DOMAIN=hub"} },
		"before a context's": func(url string) []string {
			return []string{natsContext(t, map[string]any{"url": url, "jetstream_domain": "leaf"}), "NATS_JS_DOMAIN=hub"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub, leaf := hubAndLeaf(t)
			js, err := openFromEnv(t, &bridgetest.Buffer{}, func(err error) { t.Errorf("given up: %v", err) }, env(leaf.ClientURL())...)
			if err != nil {
				t.Fatal(err)
			}
			w := newTestEnvOn(t, bpcctest.Config{}, hub.ClientURL())
			w.setAgent("anna", "ready", "")
			// The leaf node connects when it does.
			w.waitUntil("streams in the hub", func() bool {
				_, err := stream.Provision(t.Context(), js, w.config().Stream, config.DefaultTiming(), nil)
				return err == nil
			})
			if got, want := streamNames(t, hub), []string{"BPCC_EVENTS", "BPCC_EVENTS_WATCHDOG", "KV_bpcc_lease", "KV_bpcc_state"}; !slices.Equal(got, want) {
				t.Errorf("streams in the hub: %v, want %v", got, want)
			}
			b := w.startBridgeHandle(js)
			waitForReady(t, b)
			w.waitFor("agent.anna.observed", 1)
			if names := streamNames(t, leaf); len(names) > 0 {
				t.Errorf("streams in the leaf: %v", names)
			}
		})
	}
}

// TestTLSFirst connects to a server that wants TLS before it sends anything.
func TestTLSFirst(t *testing.T) {
	t.Parallel()
	authority := bridgetest.NewCA(t)
	s := natstest.Start(t, &server.Options{TLSConfig: authority.ServerTLS(false), TLSHandshakeFirst: true})
	plain := "nats://" + s.Addr().String()
	for name, env := range map[string][]string{
		"in the environment": {"NATS_URL=" + plain, "NATS_CA=" + authority.File, "NATS_TLS_FIRST=true"},
		"in a context":       {natsContext(t, map[string]any{"url": plain, "ca": authority.File, "tls_first": true})},
	} {
		if _, err := connectFromEnv(t, &bridgetest.Buffer{}, func(error) {}, env...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without it nothing arrives: that may be a slow network, so the bridge retries, and says what to check.
	c, _, err := config.Parse([]string{"NATS_URL=" + plain, "NATS_CA=" + authority.File}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	var log bridgetest.Buffer
	go func() {
		// It ends with the test.
		_, _ = stream.Connect(t.Context(), c.NATS, "test", slog.New(slog.NewJSONHandler(&log, nil)), func(error) {})
	}()
	waitForLog(t, &log, "set NATS_TLS_FIRST=true")
}

// TestContextProxy connects through the SOCKS proxy of a context.
func TestContextProxy(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{})
	proxy, connections := startSOCKS(t)
	nc, err := connectFromEnv(t, &bridgetest.Buffer{}, func(error) {}, natsContext(t, map[string]any{"url": s.ClientURL(), "socks_proxy": "socks5://" + proxy, "inbox_prefix": "_INBOX_bridge"}))
	if err != nil {
		t.Fatal(err)
	}
	if connections.Load() == 0 {
		t.Error("the proxy is not used")
	}
	if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, "_INBOX_bridge.") {
		t.Errorf("the inbox is %s", inbox)
	}
}

// startSOCKS runs a SOCKS5 proxy without authentication, and counts its connections.
func startSOCKS(t *testing.T) (address string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connections = &atomic.Int64{}
	serve := func(conn net.Conn) {
		defer conn.Close()
		greeting, request := make([]byte, 3), make([]byte, 10) // one method; CONNECT to an IPv4 address
		if _, err := io.ReadFull(conn, greeting); err != nil {
			return
		}
		_, _ = conn.Write([]byte{5, 0})
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		target, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: request[4:8], Port: int(request[8])<<8 | int(request[9])})
		if err != nil {
			return
		}
		defer target.Close()
		connections.Add(1)
		_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		go func() { _, _ = io.Copy(target, conn) }()
		_, _ = io.Copy(conn, target)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String(), connections
}
