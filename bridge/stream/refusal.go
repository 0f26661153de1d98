package stream

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"
)

// refusalConn is a connection that knows why a server refuses it. A server with too many connections says
// so and closes at once; the library then fails to write, and never reads what the server said.
type refusalConn struct {
	net.Conn

	mu       sync.Mutex
	begin    []byte // what the server has sent first, refusalBegin bytes at most
	written  bool   // the library has answered to that
	accepted bool   // the server has gone on: it has not refused the connection at once
}

// refusalBegin bounds what is kept: INFO and an error of the server.
const refusalBegin = 16 << 10

// refusalWait bounds the wait for what a server has sent before it closed.
const refusalWait = 100 * time.Millisecond

func (c *refusalConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.accepted:
	case c.written && n > 0:
		c.begin, c.accepted = nil, true
	default:
		c.begin = append(c.begin, b[:min(n, refusalBegin-len(c.begin))]...)
	}
	return n, err
}

func (c *refusalConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = true
	if err != nil && !c.accepted {
		if said := c.refusal(); said != "" {
			err = fmt.Errorf("nats: %s: %w", said, err)
		}
	}
	return n, err
}

// refusal returns the error that the server has sent, "" if it has sent none.
func (c *refusalConn) refusal() string {
	const before, after = "-ERR '", "'"
	if !bytes.Contains(c.begin, []byte(before)) {
		rest := make([]byte, refusalBegin-len(c.begin))
		if c.Conn.SetReadDeadline(time.Now().Add(refusalWait)) == nil {
			n, _ := c.Conn.Read(rest) // at the end of the connection there may be nothing
			c.begin = append(c.begin, rest[:n]...)
		}
	}
	_, said, _ := bytes.Cut(c.begin, []byte(before))
	said, _, found := bytes.Cut(said, []byte(after))
	if !found {
		return ""
	}
	return string(said)
}
