package bridge_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// proxy stands between a bridge and its NATS server, as a network does that
// loses its way: it holds back what is sent in one direction, and cuts.
type proxy struct {
	listener           net.Listener
	target             string
	toServer, toClient gate
	serving            sync.WaitGroup

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	gone  bool   // nobody is let in
	watch string // what do waits for
	do    func()
}

// when calls do, once, as soon as the bridge has sent text and before the server
// gets it.
func (p *proxy) when(text string, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch, p.do = text, do
}

func (p *proxy) sending(b []byte) {
	p.mu.Lock()
	do := p.do
	if do == nil || !bytes.Contains(b, []byte(p.watch)) {
		p.mu.Unlock()
		return
	}
	p.do = nil
	p.mu.Unlock()
	do()
}

// gate lets bytes through while it is open.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed = open; nil = never shut so far
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}

func (g *gate) opened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		now := make(chan struct{})
		close(now)
		return now
	}
	return g.open
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			gone := p.gone
			p.mu.Unlock()
			if gone {
				client.Close()
				continue
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			p.carry(client, server)
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.toServer.release()
		p.toClient.release()
		p.cut()
		p.serving.Wait()
	})
	return p
}

// carry copies both ways until either side ends.
func (p *proxy) carry(client, server net.Conn) {
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	ended := make(chan struct{})
	var once sync.Once
	end := func() {
		once.Do(func() {
			close(ended)
			client.Close()
			server.Close()
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, server)
			p.mu.Unlock()
		})
	}
	pipe := func(from, to net.Conn, g *gate) {
		defer end()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if g == &p.toServer {
					p.sending(buf[:n])
				}
				select {
				case <-g.opened():
				case <-ended:
					return // what was held back is lost
				}
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	p.serving.Go(func() { pipe(client, server, &p.toServer) })
	p.serving.Go(func() { pipe(server, client, &p.toClient) })
}

// away takes the server away, or brings it back.
func (p *proxy) away(yes bool) {
	p.mu.Lock()
	p.gone = yes
	p.mu.Unlock()
	if yes {
		p.cut()
	}
}

// cut ends all connections; what is held back is lost, unless a gate that was
// opened before lets it through.
func (p *proxy) cut() {
	p.mu.Lock()
	conns := make([]io.Closer, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// through connects to NATS by way of the proxy, as the bridge's own connection
// would be.
func (p *proxy) through(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("nats://"+p.listener.Addr().String(), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(time.Second))
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
