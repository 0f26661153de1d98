package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
	"bpcc-nats/cmd/bridge/internal/export"
)

// Key is a public key that signatures name, and the checkpoints that they are of.
type Key struct {
	Key         string `json:"key"`
	Checkpoints int    `json:"checkpoints"`
	First       string `json:"first"`
	Last        string `json:"last"`
}

// checkpoints is what a bundle says of the checkpoints of its events.
type checkpoints struct {
	last map[string]export.Message // by tenant
	keys map[string]*Key
}

func newCheckpoints() *checkpoints {
	return &checkpoints{last: map[string]export.Message{}, keys: map[string]*Key{}}
}

// isCheckpoint reports whether a subject is that of checkpoints.
func isCheckpoint(subject string) bool { return strings.HasSuffix(subject, "."+event.Checkpoint) }

// add adds the next message.
func (c *checkpoints) add(m export.Message) {
	id := m.Header.Get(nats.MsgIdHdr)
	tenant, ok := event.TenantOf(m.Subject)
	if !ok || id == "" || !isCheckpoint(m.Subject) {
		return
	}
	c.last[tenant] = m
	name := m.Header.Get(event.SigningKeyHeader)
	if name == "" {
		return
	}
	k := c.keys[name]
	if k == nil {
		k = &Key{Key: name, First: id}
		c.keys[name] = k
	}
	k.Checkpoints++
	k.Last = id
}

// heads are the last checkpoints, by tenant. One without a chain, or that is none, is no head.
func (c *checkpoints) heads() (all []event.Head) {
	for _, tenant := range slices.Sorted(maps.Keys(c.last)) {
		m := c.last[tenant]
		head, err := event.NewHead(tenant, m.Subject, m.Header.Get(nats.MsgIdHdr), m.Seq,
			m.Header.Get(event.SignatureHeader), m.Header.Get(event.SigningKeyHeader), m.Event)
		if err == nil {
			all = append(all, head)
		}
	}
	return all
}

// signers are the keys, in order.
func (c *checkpoints) signers() (all []Key) {
	for _, name := range slices.Sorted(maps.Keys(c.keys)) {
		all = append(all, *c.keys[name])
	}
	return all
}

// files returns the files that hold them.
func (c *checkpoints) files() (heads, keys []byte) {
	return lines(c.heads()), lines(c.signers())
}

// lines are values, one a line.
func lines[T any](all []T) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, v := range all {
		_ = e.Encode(v) // never fails for texts and numbers
	}
	return b.Bytes()
}

// check compares files with the events.
func (c *checkpoints) check(headsText, keysText []byte) error {
	heads, keys := c.files()
	switch {
	case !bytes.Equal(heads, headsText):
		return fmt.Errorf("%s: these are not the last checkpoints of the events", headsFile)
	case !bytes.Equal(keys, keysText):
		return fmt.Errorf("%s: these are not the keys that the events name", keysFile)
	}
	return nil
}
