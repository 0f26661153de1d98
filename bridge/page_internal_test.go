package bridge

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestPageDropsSlowReaders keeps a page from reading: what feeds it must let go
// of it, and have held no more than it asks for in advance. Pages beyond the
// bound are told so.
func TestPageDropsSlowReaders(t *testing.T) {
	t.Parallel()
	embedded, err := StartServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(embedded.Close)
	js := connectTo(t, embedded.URL())
	c, _, err := ParseConfig([]string{"NATS_URL=" + embedded.URL(), "BRIDGE_TENANT=acme"}, ForStream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Provision(t.Context(), js, c); err != nil {
		t.Fatal(err)
	}
	p := NewPage(js, c, slog.New(slog.DiscardHandler))
	p.patience = 300 * time.Millisecond
	p.readers = make(chan struct{}, 1)
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /live/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	head := make([]byte, 15)
	if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 200 OK" {
		t.Fatalf("%q, %v", head, err)
	}

	resp, err := http.Get(server.URL + "/live/events")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "open already") {
		t.Errorf("one page too many: status %d, %v, %s, %v", resp.StatusCode, resp.Header, body, err)
	}

	// More than the kernel holds for a connection that nobody reads.
	event := fmt.Appendf(nil, `{"type":"bpcc.chat.message_posted.v1","data":{"text":%q}}`, bytes.Repeat([]byte("x"), 800_000))
	for range 40 {
		if _, err := js.PublishAsync("bpcc.v1.acme.chat.message_posted", event); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); len(p.readers) > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a page that reads nothing is still fed")
		}
	}
	// It begins anew.
	again, err := http.Get(server.URL + "/live/events")
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if again.StatusCode != http.StatusOK {
		t.Errorf("again: status %d", again.StatusCode)
	}
}

func connectTo(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
