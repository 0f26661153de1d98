//go:build linux

package main_test

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire is what lies between a bridge and the NATS servers. A test can cut it,
// or make it deaf: what the bridge sends arrives, and no answer comes back.
type wire struct {
	listeners []net.Listener
	addresses []string
	running   sync.WaitGroup

	mu    sync.Mutex
	cut   bool          // guarded by mu
	deaf  chan struct{} // guarded by mu; nil, or closed when it hears again
	conns map[net.Conn]bool
}

// newWire listens once for every server.
func newWire(t *testing.T, backends []string) *wire {
	t.Helper()
	w := &wire{conns: map[net.Conn]bool{}}
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

func (w *wire) url() string { return strings.Join(w.addresses, ",") }

func (w *wire) serve(l net.Listener, backend string) {
	for {
		bridge, err := l.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.DialTimeout("tcp", backend, time.Second)
		if err != nil || !w.keep(bridge, server) {
			bridge.Close()
			if err == nil {
				server.Close()
			}
			continue
		}
		w.running.Go(func() { w.carry(server, bridge, false) })
		w.running.Go(func() { w.carry(bridge, server, true) })
	}
}

// keep notes two ends of a connection; false while the wire is cut.
func (w *wire) keep(ends ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return false
	}
	for _, c := range ends {
		w.conns[c] = true
	}
	return true
}

// carry copies until one end is closed, and closes the other.
func (w *wire) carry(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if answers {
			w.mu.Lock()
			deaf := w.deaf
			w.mu.Unlock()
			if deaf != nil {
				<-deaf
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

// sever cuts all connections and refuses new ones until mend.
func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	w.drop()
}

// drop needs mu.
func (w *wire) drop() {
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

// deafen lets no answer through until mend; then the connections end.
func (w *wire) deafen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf == nil {
		w.deaf = make(chan struct{})
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
	if w.deaf != nil {
		close(w.deaf)
		w.deaf = nil
		w.drop()
	}
}

func (w *wire) close() {
	for _, l := range w.listeners {
		l.Close()
	}
	w.mend()
	w.sever()
	w.running.Wait()
}
