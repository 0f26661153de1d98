package bpcc

import (
	"io"
	"net/http"
	"slices"
)

// readBody reads an answer's body, as far as one byte beyond the cap, into the memory
// of an older body if that has the room.
func (c *Client) readBody(resp *http.Response, into []byte) ([]byte, error) {
	body, size := into[:0], min(max(resp.ContentLength, 0), c.config.MaxBody)
	if int64(cap(body)) <= size {
		// A little more, for the next answer may be a few bytes longer.
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

// Recycle gives the memory of an answer's body back, for a later answer of Data to
// be read into. The caller must not look at it any more.
func (c *Client) Recycle(body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recycled = body[:0]
}

// takeRecycled takes the memory that was given back last, if any.
func (c *Client) takeRecycled() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	recycled := c.recycled
	c.recycled = nil
	return recycled
}
