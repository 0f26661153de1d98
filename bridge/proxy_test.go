package bridge_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/natstest"
)

// natsProxy stands between a bridge and its NATS server, as a network does that
// loses its way: it holds back what is sent in one direction, and cuts.
type natsProxy struct {
	listener           net.Listener
	target             string
	toServer, toClient pauseGate
	serving            sync.WaitGroup

	mu       sync.Mutex // guards what follows
	conns    map[net.Conn]bool
	down     bool   // all connections are refused
	pattern  string // what callback waits for
	callback func()
}

// onClientSends calls do, once, as soon as the bridge has sent text and before the server
// gets it.
func (p *natsProxy) onClientSends(text string, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pattern, p.callback = text, do
}

func (p *natsProxy) matchSent(b []byte) {
	p.mu.Lock()
	do := p.callback
	if do == nil || !bytes.Contains(b, []byte(p.pattern)) {
		p.mu.Unlock()
		return
	}
	p.callback = nil
	p.mu.Unlock()
	do()
}

// pauseGate lets bytes through while it is open.
type pauseGate struct {
	mu   sync.Mutex
	open chan struct{} // closed = open; nil = never shut so far
}

func (g *pauseGate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *pauseGate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}

func (g *pauseGate) openC() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		now := make(chan struct{})
		close(now)
		return now
	}
	return g.open
}

func newNATSProxy(t *testing.T, target string) *natsProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &natsProxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			stopped := p.down
			p.mu.Unlock()
			if stopped {
				client.Close()
				continue
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			p.copyBoth(client, server)
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.toServer.resume()
		p.toClient.resume()
		p.closeConns()
		p.serving.Wait()
	})
	return p
}

// copyBoth copies both ways until either side ends.
func (p *natsProxy) copyBoth(client, server net.Conn) {
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
	pipe := func(from, to net.Conn, g *pauseGate) {
		defer end()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if g == &p.toServer {
					p.matchSent(buf[:n])
				}
				select {
				case <-g.openC():
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

// setDown takes the server away, or brings it back.
func (p *natsProxy) setDown(yes bool) {
	p.mu.Lock()
	p.down = yes
	p.mu.Unlock()
	if yes {
		p.closeConns()
	}
}

// closeConns ends all connections; what is held back is lost, unless a gate that was
// opened before lets it through.
func (p *natsProxy) closeConns() {
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

// connect connects to NATS by way of the proxy, as the bridge's own connection
// would be.
func (p *natsProxy) connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	return natstest.Connect(t, "nats://"+p.listener.Addr().String(), append(reconnecting(), nats.Timeout(time.Second))...)
}

// newProxiedEnv is an environment whose bridge reaches NATS only through a proxy.
func newProxiedEnv(t *testing.T) (*testEnv, *natsProxy) {
	t.Helper()
	w := newTestEnv(t, bpcctest.Config{})
	return w, w.newProxy()
}

// newProxy stands in front of the server.
func (w *testEnv) newProxy() *natsProxy {
	w.t.Helper()
	server, err := url.Parse(w.nc.ConnectedUrl())
	if err != nil {
		w.t.Fatal(err)
	}
	return newNATSProxy(w.t, server.Host)
}
