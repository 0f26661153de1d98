package bridge

import (
	"bytes"

	"github.com/nats-io/nats.go"
)

// part is what one batch stores: events of a poll, and the checkpoint behind them.
// Its messages are written when they are looked at, some at a time, since nobody
// needs more of them at once; a thousand would take two megabytes. Whoever looks
// again sees the same bytes, until the part is acknowledged.
type part struct {
	engine *engine
	desk   *desk
	batch  *batch
	source string
	drafts []draft
	left   map[string]bool // entities of which something is left out
	number int             // of this part, from 1
	of     int             // parts
	first  int             // place of its first message in the poll

	// What the last look has found.
	outcomes []outcome
	closing  *nats.Msg // the checkpoint
}

// outcome is what is kept of an event until it is acknowledged.
type outcome struct {
	name     string
	told     told
	revision revision
	applied  func(*engine)
}

func (e *event) outcome() outcome { return outcome{e.name, e.told, e.revision, e.applied} }

// deskful is how many events lie on a desk at a time.
const deskful = 64

// look hands on all messages, and the events that they are made of, deskful by
// deskful. They are good until take returns. The last one is the checkpoint; end
// tells when it is among them.
func (p *part) look(take func(events []event, msgs []*nats.Msg, end bool) error) error {
	e := p.engine
	p.outcomes, p.closing = p.outcomes[:0], nil
	for from := 0; ; from += deskful {
		to := min(from+deskful, len(p.drafts))
		end := to == len(p.drafts)
		place := p.first + len(p.outcomes)
		events := omit(p.desk.write(e, p.batch, p.drafts[from:to]), p.left)
		for i := range events {
			p.outcomes = append(p.outcomes, events[i].outcome())
		}
		if end {
			events = append(events, e.checkpoint(*p.batch, p.outcomes, p.number, p.of))
		}
		msgs, err := p.desk.messages(e, events, p.source, p.batch.poll, place)
		if err != nil {
			return err
		}
		if end {
			last := msgs[len(msgs)-1]
			p.closing = &nats.Msg{Subject: last.Subject, Header: nats.Header{nats.MsgIdHdr: {last.Header.Get(nats.MsgIdHdr)}}, Data: bytes.Clone(last.Data)}
		}
		if err := take(events, msgs, end); err != nil || end {
			return err
		}
	}
}

// checkpoint is the part's last message, as it was or will be published.
func (p *part) checkpoint() (*nats.Msg, error) {
	if p.closing == nil {
		err := p.look(func([]event, []*nats.Msg, bool) error { return nil })
		if err != nil {
			return nil, err
		}
	}
	return p.closing, nil
}

// size is how many messages it has, before any is left out.
func (p *part) size() int { return len(p.drafts) + 1 }
