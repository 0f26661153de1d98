package bridge

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
)

// tooLarge is why a part is not stored: it holds messages of more bytes than the
// server takes. Without them it may be.
type tooLarge struct{ limit int }

func (t *tooLarge) Error() string { return fmt.Sprintf("a message has more than %d bytes", t.limit) }

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

// large hands on those events of a part that are too large to be stored. The
// checkpoint cannot be left out.
func large(p *part, limit int, found func(ev *event, msg *nats.Msg)) error {
	return p.events(func(events []event, msgs []*nats.Msg) error {
		for i, m := range msgs {
			if exceeds(m, limit) {
				found(&events[i], m)
			}
		}
		return nil
	})
}

// oversized tells whether there are any. What cannot be written is none.
func oversized(p *part, limit int) bool {
	any := false
	err := large(p, limit, func(*event, *nats.Msg) { any = true })
	return any && err == nil
}

// leaveOut leaves out of a part what the server would refuse, which must not keep
// all others back for ever, and says what that is. It returns [tooLarge].
func (b *Bridge) leaveOut(p *part, limit int) error {
	const mostTold = 1000 // bounds the memory of a floor where everything is too large
	if b.large == nil || len(b.large) > mostTold {
		b.large = map[string]bool{}
	}
	left := map[string]bool{} // not yet the part's: what one look finds, that look still shows
	err := large(p, limit, func(ev *event, msg *nats.Msg) {
		left[omitKey(*ev)] = true
		if about := ev.whom(); !b.large[about] {
			b.large[about] = true
			b.log.Warn("an event is larger than the server takes; it is left out, and told when it fits",
				"about", about, "type", ev.name, "bytes", len(msg.Data), "limit", limit,
				"advice", "raise max_payload of the server and max_msg_size of the stream, or ask for fewer statistics")
		}
	})
	if err != nil {
		return err
	}
	maps.Copy(p.left, left)
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
