package bpcc

import (
	"io"
	"net/http"
	"slices"
)

// readBody reads a response's body, up to one byte beyond MaxBody. It uses the memory of into if
// that is large enough.
func (c *Client) readBody(resp *http.Response, into []byte) ([]byte, error) {
	body, size := into[:0], min(max(resp.ContentLength, 0), c.config.MaxBody)
	if int64(cap(body)) <= size {
		// The next response may be a few bytes longer.
		body = make([]byte, 0, size+size/32+512)
	}
	limited := io.LimitReader(resp.Body, c.config.MaxBody+1)
	for {
		if len(body) == cap(body) {
			body = slices.Grow(body, cap(body)/4+512)
		}
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

// Recycle returns the memory of a response's body for a later response of Data. The caller must not
// use the body any more.
func (c *Client) Recycle(body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recycled = body[:0]
}

// takeRecycled returns the memory that was recycled last, if any.
func (c *Client) takeRecycled() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	recycled := c.recycled
	c.recycled = nil
	return recycled
}
