//go:build linux

package main_test

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// natsProxy is what lies between a bridge and the NATS servers. A test can cut it,
// or drop its replies: what the bridge sends arrives, and no reply comes back.
type natsProxy struct {
	listeners []net.Listener
	addresses []string
	running   sync.WaitGroup

	mu             sync.Mutex
	disconnected   bool          // guarded by mu
	repliesDropped chan struct{} // guarded by mu; nil, or closed when it hears again
	conns          map[net.Conn]bool
}

// newNATSProxy listens once for every server.
func newNATSProxy(t *testing.T, backends []string) *natsProxy {
	t.Helper()
	w := &natsProxy{conns: map[net.Conn]bool{}}
	for _, backend := range backends {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.listeners = append(w.listeners, l)
		w.addresses = append(w.addresses, "nats://"+l.Addr().String())
		w.running.Go(func() { w.serve(l, backend) })
	}
	return w
}

func (w *natsProxy) url() string { return strings.Join(w.addresses, ",") }

func (w *natsProxy) serve(l net.Listener, backend string) {
	for {
		bridge, err := l.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.DialTimeout("tcp", backend, time.Second)
		if err != nil || !w.addConns(bridge, server) {
			bridge.Close()
			if err == nil {
				server.Close()
			}
			continue
		}
		w.running.Go(func() { w.copyConn(server, bridge, false) })
		w.running.Go(func() { w.copyConn(bridge, server, true) })
	}
}

// addConns notes two ends of a connection; false while the wire is cut.
func (w *natsProxy) addConns(ends ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disconnected {
		return false
	}
	for _, c := range ends {
		w.conns[c] = true
	}
	return true
}

// copyConn copies until one end is closed, and closes the other.
func (w *natsProxy) copyConn(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if answers {
			w.mu.Lock()
			repliesDropped := w.repliesDropped
			w.mu.Unlock()
			if repliesDropped != nil {
				<-repliesDropped
				return // what was not heard is lost
			}
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// disconnect cuts all connections and refuses new ones until restore.
func (w *natsProxy) disconnect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disconnected = true
	w.closeConns()
}

// closeConns needs mu.
func (w *natsProxy) closeConns() {
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

// dropReplies lets no reply through until restore; then the connections end.
func (w *natsProxy) dropReplies() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.repliesDropped == nil {
		w.repliesDropped = make(chan struct{})
	}
}

func (w *natsProxy) restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disconnected = false
	if w.repliesDropped != nil {
		close(w.repliesDropped)
		w.repliesDropped = nil
		w.closeConns()
	}
}

func (w *natsProxy) close() {
	for _, l := range w.listeners {
		l.Close()
	}
	w.restore()
	w.disconnect()
	w.running.Wait()
}
