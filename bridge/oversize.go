package bridge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
)

// tooLarge is why a part is not stored: it holds messages of more bytes than the
// server takes. Without them it may be.
type tooLarge struct{ limit int }

func (t *tooLarge) Error() string { return fmt.Sprintf("a message has more than %d bytes", t.limit) }

// errShrunk is returned when it turns out that the server takes less than it did.
var errShrunk = errors.New("the limit of a message has shrunk")

// headerRoom is what the library adds to a message's headers, at most.
const headerRoom = 256

// exceeds tells whether a message is larger than a limit in bytes.
func exceeds(msg *nats.Msg, limit int) bool {
	// Few are near the limit; the headers of the others need not be written twice.
	return len(msg.Data)+4*headerRoom > limit && msg.Size()+headerRoom > limit
}

// largest is how many bytes a message may have, headers included.
func (b *Bridge) largest() int {
	limit := int(b.js.Conn().MaxPayload())
	if b.msgLimit > 0 {
		limit = min(limit, b.msgLimit)
	}
	return limit
}

// oversized tells whether an event of a part is too large to be stored. The
// checkpoint, its last message, cannot be left out.
func oversized(msgs []*nats.Msg, limit int) bool {
	return slices.ContainsFunc(msgs[:len(msgs)-1], func(m *nats.Msg) bool { return exceeds(m, limit) })
}

// fit is tooLarge, and says which ones are, if a part holds messages that the
// server would refuse: they must not keep all others back for ever.
func (b *Bridge) fit(events []event, msgs []*nats.Msg) error {
	limit := b.largest()
	if !oversized(msgs, limit) {
		return nil
	}
	const mostTold = 1000 // bounds the memory of a floor where everything is too large
	if b.large == nil || len(b.large) > mostTold {
		b.large = map[string]bool{}
	}
	for i, msg := range msgs[:len(msgs)-1] {
		if about := events[i].whom(); exceeds(msg, limit) && !b.large[about] {
			b.large[about] = true
			b.log.Warn("an event is larger than the server takes; it is left out, and told when it fits",
				"about", about, "type", events[i].name, "bytes", len(msg.Data), "limit", limit,
				"advice", "raise max_payload of the server and max_msg_size of the stream, or ask for fewer statistics")
		}
	}
	return &tooLarge{limit}
}

// omit takes out of a part what is about an entity of which something was left
// out: a later event would join on to what nobody has seen.
func omit(part []event, left map[string]bool) []event {
	if len(left) == 0 {
		return part
	}
	return slices.DeleteFunc(slices.Clone(part), func(ev event) bool { return left[omitKey(ev)] })
}

// omitKey names what an event joins on to.
func omitKey(ev event) string {
	if key := viewKey(ev.subject); key != "" {
		return key
	}
	return ev.whom()
}
