package bridge

import (
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// desk is what one part of a batch is written on, and the next part too: a part
// of a thousand events takes two megabytes. The tenants of a process share their
// desks, and the collector takes those that lie idle.
type desk struct {
	scribe
	letters
}

// desk gives one.
func (e *engine) desk() *desk {
	if d, ok := e.desks.Get().(*desk); ok {
		return d
	}
	return &desk{}
}

// leave clears a desk for its next user, after a batch of so many messages. One
// that is large for what this batch or the one before needed is not kept: after a
// start, batches are small.
func (e *engine) leave(d *desk, messages int) {
	messages = min(messages, batchLimit)
	needed := min(e.batched, messages)
	e.batched = messages
	if len(d.all) > 64 && len(d.all)/8 > needed {
		return
	}
	d.forget()
	e.desks.Put(d)
}

// letters are a part's messages, in memory that the next part uses again.
type letters struct {
	all    []nats.Msg
	msgs   []*nats.Msg
	values []string // of their headers
	ends   []int    // of their data in text
	text   []byte
}

// sized makes room for so many messages.
func (l *letters) sized(n int) {
	if n > len(l.all) {
		*l = letters{
			all: make([]nats.Msg, n), msgs: make([]*nats.Msg, n),
			values: make([]string, n+1), ends: make([]int, n), text: l.text,
		}
		for i := range l.all {
			l.msgs[i] = &l.all[i]
		}
		l.values[n] = contentType
	}
}

// messages makes the NATS messages of events; index is the first one's. They are
// good until the next call.
func (l *letters) messages(e *engine, events []event, source string, poll uint64, index int) ([]*nats.Msg, error) {
	if e.encoder == nil || e.encoder.source != source {
		e.encoder = newEncoder(source)
	}
	prefix := SubjectPrefix + "." + Token(e.tenant) + "."
	ids := e.tenant + "-" + strconv.FormatUint(e.epoch, 10) + "-" + strconv.FormatUint(poll, 10) + "-"
	l.sized(len(events))
	texts := e.texts(events, prefix, ids, index)
	b, err := slices.Grow(l.text[:0], len(events)*e.encoder.typical), error(nil)
	for i := range events {
		ev, msg := &events[i], l.msgs[i]
		cut := len(prefix) + len(ev.subject)
		*msg = nats.Msg{Subject: texts[:cut], Header: msg.Header}
		texts = texts[cut:]
		cut = len(ids) + decimals(index+i)
		id := texts[:cut]
		texts = texts[cut:]
		if b, err = e.encoder.append(b, id, ev); err != nil {
			return nil, err
		}
		l.ends[i], l.values[i] = len(b), id
		// A header is a map; nats.Msg has it no other way.
		if msg.Header == nil {
			msg.Header = make(nats.Header, 6) // the batch has its own, besides
		}
		clear(msg.Header)
		msg.Header["Content-Type"], msg.Header[nats.MsgIdHdr] = l.values[len(l.all):], l.values[i:i+1:i+1]
		if ev.removal {
			msg.Header.Set("KV-Operation", "DEL")
		}
	}
	from := 0
	for i, end := range l.ends[:len(events)] {
		l.all[i].Data, from = b[from:end:end], end
	}
	l.text = b
	e.encoder.typical = max(e.encoder.typical, len(b)/len(events)+len(b)/len(events)/32)
	return l.msgs[:len(events)], nil
}

// texts puts the subjects and ids of events into one text, in turn.
func (e *engine) texts(events []event, prefix, ids string, index int) string {
	size := len(events) * (len(prefix) + len(ids) + decimals(index+len(events)))
	for i := range events {
		size += len(events[i].subject)
	}
	var b strings.Builder
	b.Grow(size)
	var digits [20]byte
	for i := range events {
		b.WriteString(prefix)
		b.WriteString(events[i].subject)
		b.WriteString(ids)
		b.Write(strconv.AppendInt(digits[:0], int64(index+i), 10))
	}
	return b.String()
}

// decimals is how many digits a number has that is not negative.
func decimals(n int) int {
	digits := 1
	for ; n >= 10; n /= 10 {
		digits++
	}
	return digits
}
