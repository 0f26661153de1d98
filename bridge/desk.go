package bridge

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// desk is what some messages of a part are written on, and the next ones too. The
// tenants of a process share their desks, and the collector takes those that lie
// idle.
type desk struct {
	scribe
	letters
	seal letters // for the checkpoint: there may be events of the next part on the desk
}

// desk gives one.
func (e *engine) desk() *desk {
	if d, ok := e.desks.Get().(*desk); ok {
		return d
	}
	return &desk{}
}

// leave clears a desk for its next user.
func (e *engine) leave(d *desk) {
	d.forget()
	e.desks.Put(d)
}

// letters are messages, in memory that the next ones use again.
type letters struct {
	all    []nats.Msg
	msgs   []*nats.Msg
	values []string // of their headers
	extra  []bool   // which of them have headers that the others do not have
	sheets [][]byte // for their data
}

// sheet is how large a piece of memory for data is, but for the first, which is
// often enough. There are as many as it takes: one piece for all would be copied as
// it grows, and be larger than needed.
const sheet = 64 << 10

// sized makes room for so many messages.
func (l *letters) sized(n int) {
	if n > len(l.all) {
		*l = letters{all: make([]nats.Msg, n), msgs: make([]*nats.Msg, n), values: make([]string, n+1), extra: make([]bool, n), sheets: l.sheets}
		for i := range l.all {
			l.msgs[i] = &l.all[i]
		}
		l.values[n] = contentType
	}
}

// blank gives the nth sheet.
func (l *letters) blank(n int) []byte {
	if n == len(l.sheets) {
		size := sheet
		if n == 0 {
			size = sheet / 8
		}
		l.sheets = append(l.sheets, make([]byte, 0, size))
	}
	return l.sheets[n]
}

// messages makes the NATS messages of events; index is the first one's. They are
// good until the next call.
func (l *letters) messages(e *engine, events []event, source string, poll uint64, index int) ([]*nats.Msg, error) {
	if e.encoder == nil || e.encoder.source != source {
		e.encoder = newEncoder(source)
	}
	ids := e.tenant + "-" + strconv.FormatUint(e.epoch, 10) + "-" + strconv.FormatUint(poll, 10) + "-"
	l.sized(len(events))
	root := subjectRoot(e.tenant)
	texts := e.texts(events, root, ids, index)
	used, rest := 1, l.blank(0)
	for i := range events {
		ev, msg := &events[i], l.msgs[i]
		address := ev.address
		if address == "" {
			cut := len(root) + len(ev.subject)
			address, texts = texts[:cut], texts[cut:]
		}
		*msg = nats.Msg{Subject: address, Header: msg.Header}
		cut := len(ids) + decimals(index+i)
		id := texts[:cut]
		texts = texts[cut:]
		if cap(rest) < min(e.encoder.longest, sheet/8) {
			rest = l.blank(used)
			used++
		}
		data, err := e.encoder.append(rest, id, ev)
		if err != nil {
			return nil, err
		}
		if msg.Data = data[:len(data):len(data)]; len(data) <= cap(rest) { // else it has memory of its own
			rest = rest[len(data):len(data):cap(rest)]
		}
		last := i == len(events)-1
		l.head(i, id, last && i == 0)
		if ev.removal {
			msg.Header.Set("KV-Operation", "DEL")
		}
		l.extra[i] = ev.removal || last // which may get a fence
	}
	return l.msgs[:len(events)], nil
}

// head gives the ith message its headers. A header is a map, nats.Msg has it no
// other way; of most only the id is another than last time. A batch adds its own,
// which it overwrites, and which a message alone must not have.
func (l *letters) head(i int, id string, alone bool) {
	h := l.all[i].Header
	if h == nil {
		h = make(nats.Header, 6)
		l.all[i].Header = h
	}
	if l.extra[i] || alone {
		clear(h)
	}
	if l.values[i] = id; len(h) == 0 {
		h["Content-Type"], h[nats.MsgIdHdr] = l.values[len(l.all):], l.values[i:i+1:i+1]
	}
}

// texts puts the addresses of events that have none yet, and the ids of all, into
// one text, in turn.
func (e *engine) texts(events []event, root, ids string, index int) string {
	size := len(events) * (len(ids) + decimals(index+len(events)))
	for i := range events {
		if events[i].address == "" {
			size += len(root) + len(events[i].subject)
		}
	}
	var b strings.Builder
	b.Grow(size)
	var digits [20]byte
	for i := range events {
		if events[i].address == "" {
			b.WriteString(root)
			b.WriteString(events[i].subject)
		}
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
