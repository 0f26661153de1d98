package bridge

import (
	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// headerOverhead is the maximum that the library adds to a message's headers.
const headerOverhead = 256

// exceedsLimit reports whether a message is larger than a limit in bytes.
func exceedsLimit(msg *nats.Msg, limit int) bool {
	// Few messages are near the limit; the headers of the others need not be encoded twice.
	return len(msg.Data)+4*headerOverhead > limit && msg.Size()+headerOverhead > limit
}

// maxMessageSize is the maximum size of a message in bytes, headers included.
func (b *Bridge) maxMessageSize() int {
	limit := int(b.js.Conn().MaxPayload())
	if b.streamMaxMsgSize > 0 {
		limit = min(limit, b.streamMaxMsgSize)
	}
	return limit
}

// anyOversize reports whether an event is too large to be stored. The checkpoint cannot be omitted.
func (b *Bridge) anyOversize(msgs []*nats.Msg) bool {
	limit := b.maxMessageSize()
	for _, m := range msgs[:len(msgs)-1] {
		if exceedsLimit(m, limit) {
			return true
		}
	}
	return false
}

// omitOversize omits from a chunk the entities that have an event larger than the server accepts,
// so that they do not block all others. It reports whether there were any.
func (b *Bridge) omitOversize(chunk *engine.Chunk, msgs []*nats.Msg) bool {
	if !b.anyOversize(msgs) {
		return false
	}
	const mostLogged = 1000 // bounds the memory if everything is too large
	if b.oversizeLogged == nil || len(b.oversizeLogged) > mostLogged {
		b.oversizeLogged = map[string]bool{}
	}
	limit := b.maxMessageSize()
	var oversize []*event.Event
	for i, m := range msgs[:len(msgs)-1] {
		if !exceedsLimit(m, limit) {
			continue
		}
		ev := &chunk.Events[i]
		oversize = append(oversize, ev)
		if entity := ev.CESubject(); !b.oversizeLogged[entity] {
			b.oversizeLogged[entity] = true
			b.log.Warn("event exceeds the server's message size", "entity", entity, "type", ev.Name, "bytes", len(m.Data), "limit", limit,
				"hint", "the entity is skipped until it fits: raise max_payload of the server and max_msg_size of the stream, or subscribe to fewer statistics")
		}
	}
	b.engine.Omit(chunk, oversize...)
	return true
}
