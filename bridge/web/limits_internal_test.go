package web

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
)

// dialLimited starts a server with bounds, and returns a function that connects to it.
func dialLimited(t *testing.T, bounds limits) (dial func() net.Conn) {
	t.Helper()
	s, err := listen(t.Context(), config.HTTP{Listen: "127.0.0.1:0"}, bounds, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

// TestConnections: a connection beyond the bound waits until another one ends.
func TestConnections(t *testing.T) {
	t.Parallel()
	bounds := defaultLimits()
	bounds.connections = 1
	dial := dialLimited(t, bounds)
	first := dial()
	fmt.Fprint(first, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	second := dial()
	fmt.Fprint(second, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	answered := make(chan error, 1)
	go func() {
		_, err := http.ReadResponse(bufio.NewReader(second), nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("answered while another connection is open: %v", err)
		return
	case <-time.After(200 * time.Millisecond):
	}
	first.Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestLimits: clients that are slow, idle or send too much do not hold the server.
func TestLimits(t *testing.T) {
	t.Parallel()
	dial := dialLimited(t, limits{connections: 3, headerBytes: 1 << 10, header: 300 * time.Millisecond, request: time.Minute, idle: 300 * time.Millisecond})
	slow, idle := dial(), dial()
	fmt.Fprint(slow, "GET /healthz HTTP/1.1\r\nHost: ")
	fmt.Fprint(idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	answered := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(answered, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err)
	}
	third := dial()
	fmt.Fprint(third, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Long: "+strings.Repeat("x", 8<<10)+"\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(third), nil); err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header: %v, %v", resp, err)
	}
	for name, r := range map[string]io.Reader{"slow": slow, "idle": answered} {
		if rest, err := io.ReadAll(r); err != nil || strings.Contains(string(rest), "200 OK") {
			t.Errorf("the %s connection: %v, %s", name, err, rest)
		}
	}
}
