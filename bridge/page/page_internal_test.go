package page

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestPageDropsSlowReaders has a page that reads nothing: its session must end, and
// have buffered no more than one pull request. Pages beyond the bound get 503.
func TestPageDropsSlowReaders(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t)
	js := p.js
	p.writeTimeout = 300 * time.Millisecond
	p.slots = make(chan struct{}, 1)
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

	// More than the kernel buffers for a connection without a reader.
	for i := range 40 {
		if _, err := js.PublishMsgAsync(chatMessage(t, i, strings.Repeat("x", 800_000))); err != nil {
			t.Fatal(err)
		}
	}
	bridgetest.WaitUntil(t, "the end of the session of a page that reads nothing", func() bool { return len(p.slots) == 0 })
	// It reconnects.
	again, err := http.Get(server.URL + "/live/events")
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if again.StatusCode != http.StatusOK {
		t.Errorf("again: status %d", again.StatusCode)
	}
}

// TestSlowPageClient sends a page one event, and then more at once than it may lag
// behind: the session ends with an error. The same when NATS is gone.
func TestSlowPageClient(t *testing.T) {
	t.Parallel()
	p, embedded := newPage(t)
	// The server may deliver each message before it stores the next one, but not all of very many.
	p.maxLag, p.heartbeat = 0, 50*time.Millisecond
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	t.Cleanup(cancel)
	open := func() *bufio.Scanner {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/live/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		return lines
	}
	until := func(s *bufio.Scanner, line string) string {
		t.Helper()
		for s.Scan() {
			if s.Text() == line {
				s.Scan()
				return s.Text()
			}
		}
		t.Fatalf("the page did not get %q: %v", line, s.Err())
		return ""
	}
	page := open()
	until(page, "event: ready")
	if _, err := p.js.PublishMsg(t.Context(), chatMessage(t, 0, "")); err != nil {
		t.Fatal(err)
	}
	until(page, "event: events")
	batch, err := jetstreamext.NewBatchPublisher(p.js)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 900 {
		if err := batch.AddMsg(chatMessage(t, 1+i, "")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := batch.CommitMsg(t.Context(), chatMessage(t, 901, "")); err != nil {
		t.Fatal(err)
	}
	if got := until(page, "event: failure"); !strings.Contains(got, errSlowClient.Error()) {
		t.Errorf("failure: %s", got)
	}

	page = open()
	until(page, "event: heartbeat")
	embedded.Shutdown()
	if got := until(page, "event: failure"); !strings.Contains(got, "NATS") {
		t.Errorf("failure: %s", got)
	}
}

// chatMessage is an event of one poll of acme, by its number among them.
func chatMessage(t *testing.T, n int, content string) *nats.Msg {
	t.Helper()
	d := &event.ChatData{Base: event.Base{Tenant: "acme", Poll: 1}, App: "bridge", Message: event.ChatMessage{ID: fmt.Sprint(n), Content: content}}
	e := event.Event{ID: event.ID{Epoch: 1, Poll: 1, Index: uint64(n) + 1}, Name: "chat.message_posted", Time: time.Now(), Data: d}
	body, err := event.NewEncoder("https://acme.example/statsapi").Append(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	return &nats.Msg{Subject: e.Subject(), Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}}, Data: body}
}

// newPage makes a live page on a server with the streams, and no events.
// TestPageOutlivesTheTimeouts: the server's bounds for a request and its response do not end the live page.
func TestPageOutlivesTheTimeouts(t *testing.T) {
	t.Parallel()
	p, _ := newPage(t)
	p.heartbeat = 100 * time.Millisecond
	server := httptest.NewUnstartedServer(p)
	const timeout = 500 * time.Millisecond
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	server.Start()
	t.Cleanup(server.Close)
	began := time.Now()
	resp, err := http.Get(server.URL + "/live/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); time.Since(began) < 3*timeout; {
		if !lines.Scan() {
			t.Fatalf("ended after %v: %v", time.Since(began), lines.Err())
		}
	}
}

func newPage(t *testing.T) (*Handler, *server.Server) {
	t.Helper()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	js := natstest.Connect(t, s.ClientURL())
	c, _, err := config.Parse([]string{"NATS_URL=" + s.ClientURL(), "BRIDGE_TENANT=acme"}, config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	return New(js, c, slog.New(slog.DiscardHandler)), s
}
