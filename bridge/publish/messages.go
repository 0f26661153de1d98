package publish

import (
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// Buffer holds the messages of one chunk, in memory that the next chunk uses again. The
// tenants of a process share their buffers.
type Buffer struct {
	msgs  []*nats.Msg
	names []byte // subjects and ids, concatenated
	data  []byte // bodies, concatenated
	ends  []int  // ends of subject, id and body of each message

	ids, contentType []string // header values

	chain event.Chain
}

// Buffers keeps some buffers that are not large. A [sync.Pool] would be empty at most polls of a large tenant, since
// the garbage collector runs more often.
type Buffers struct {
	mu   sync.Mutex
	kept []*Buffer // guarded by mu
}

const (
	// keptBuffers is how many buffers are kept. More tenants seldom commit at once.
	keptBuffers = 4
	// keptSize bounds the bodies of a kept buffer, in bytes: some hundred events.
	keptSize = 512 << 10
)

// Get returns a buffer.
func (p *Buffers) Get() *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.kept) - 1
	if last < 0 {
		return &Buffer{}
	}
	b := p.kept[last]
	p.kept = p.kept[:last]
	return b
}

// Put takes a buffer back, with whose messages nobody does anything any more.
func (p *Buffers) Put(b *Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) < keptBuffers && cap(b.data) <= keptSize {
		p.kept = append(p.kept, b)
	}
}

// Encode encodes the messages of events. They are valid until the next call, and may be sent
// repeatedly. previous is the body of the checkpoint before; removalTTL is the TTL of removals; 0 = none.
func (b *Buffer) Encode(encoder *event.Encoder, prefix string, removalTTL time.Duration, previous []byte, events []event.Event) ([]*nats.Msg, error) {
	b.names, b.data, b.ends = b.names[:0], b.data[:0], b.ends[:0]
	for i := range events {
		e := &events[i]
		if d, ok := e.Data.(*event.CheckpointData); ok {
			d.Chain = b.sum(prefix, d.Follows, previous)
		}
		b.names = e.AppendSubject(b.names, prefix)
		b.ends = append(b.ends, len(b.names))
		b.names = e.ID.Append(b.names, e.Tenant())
		b.ends = append(b.ends, len(b.names))
		if i > 0 {
			b.reserve(len(b.data)/i, len(events)-i)
		}
		var err error
		if b.data, err = encoder.Append(b.data, e); err != nil {
			return nil, err
		}
		b.ends = append(b.ends, len(b.data))
	}
	b.grow(len(events))
	names := string(b.names)
	var name, body int
	for i, m := range b.msgs[:len(events)] {
		subject, id, end := b.ends[3*i], b.ends[3*i+1], b.ends[3*i+2]
		m.Subject, m.Reply, m.Data = names[name:subject], "", b.data[body:end:end]
		// Headers are a map. A batch adds members and overwrites them on a retry; a message without
		// a batch must not have them.
		clear(m.Header)
		b.ids[i] = names[subject:id]
		m.Header["Content-Type"], m.Header[nats.MsgIdHdr] = b.contentType, b.ids[i:i+1:i+1]
		if events[i].Removes() {
			m.Header["KV-Operation"] = []string{"DEL"}
			if removalTTL > 0 {
				m.Header[jetstream.MsgTTLHeader] = []string{removalTTL.String()}
			}
		}
		name, body = id, end
	}
	return b.msgs[:len(events)], nil
}

// sum is the chain of a checkpoint that closes what is encoded so far. follows is the id of the one before.
func (b *Buffer) sum(prefix, follows string, previous []byte) string {
	b.chain.Begin(prefix+event.Checkpoint, follows, previous)
	var name, body int
	for i := 0; i < len(b.ends); i += 3 {
		subject, id, end := b.ends[i], b.ends[i+1], b.ends[i+2]
		b.chain.Add(b.names[name:subject], b.names[subject:id], b.data[body:end])
		name, body = id, end
	}
	return b.chain.Sum()
}

// Last is the body of the last message that was encoded.
func (b *Buffer) Last() []byte {
	begin := 0
	if n := len(b.ends); n > 3 {
		begin = b.ends[n-4]
	}
	return b.data[begin:]
}

// maxGrowth bounds what is reserved by what is there, since the first body may be far larger than the
// others: that of a directory holds all names.
const maxGrowth = 8

// reserve makes room for n more bodies of about that size, if there is no room for two.
func (b *Buffer) reserve(size, n int) {
	if cap(b.data)-len(b.data) < 2*size {
		b.data = slices.Grow(b.data, min(size*n+size*n/16+2*size, maxGrowth*len(b.data)))
	}
}

// grow makes room for n messages.
func (b *Buffer) grow(n int) {
	if n <= len(b.msgs) {
		return
	}
	messages := make([]nats.Msg, n)
	b.msgs, b.ids = make([]*nats.Msg, n), make([]string, n)
	b.contentType = []string{event.ContentType}
	for i := range messages {
		messages[i].Header = make(nats.Header, 6)
		b.msgs[i] = &messages[i]
	}
}
