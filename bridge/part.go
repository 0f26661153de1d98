package bridge

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// delivery is one batch on its way into the stream, in as many parts as it takes.
type delivery struct {
	engine *engine
	desk   *desk
	batch  batch
	source string
	parts  int
	left   map[string]bool // entities of which something is left out
	kept   [2][]outcome    // memory for the outcomes of a part that is not acknowledged yet and of the one behind
}

// part is what one atomic batch stores: events of a poll, and the checkpoint behind
// them. Its messages are written when they are looked at, some at a time, since
// nobody needs more of them at once; a thousand would take two megabytes. Whoever
// looks again sees the same bytes, until the part is acknowledged.
type part struct {
	*delivery
	drafts []draft
	number int // of this part, from 1
	first  int // place of its first message in the poll

	// What the last look has found.
	outcomes []outcome
	closing  *nats.Msg // the checkpoint; good until the next part's is written

	behind  *part    // the next one, if somebody has asked for it
	ahead   *opening // the atomic batch that has its events already; nil = none
	doubted bool     // a try to store it has failed
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

// deliver hands a batch to store in as many parts as it takes, and moves the engine
// as far as store has taken it. A part that store finds too large is handed to it
// once more, without what it has left out: that is as if it had not been seen.
func (e *engine) deliver(b batch, source string, store func(p *part) error) error {
	d := delivery{engine: e, desk: e.desk(), batch: b, source: source, left: map[string]bool{}}
	defer e.leave(d.desk)
	d.parts = max(1, (len(b.events)+batchLimit-2)/(batchLimit-1)) // one at least, for the checkpoint
	for p := d.part(1, 1); p != nil; {
		err := store(p)
		if large := (*tooLarge)(nil); errors.As(err, &large) {
			continue
		}
		if err != nil {
			return fmt.Errorf("commit poll %d, part %d of %d: %w", b.poll, p.number, d.parts, err)
		}
		e.acknowledge(b, p.outcomes, p.number == d.parts)
		e.previous = p.closing.Header.Get(nats.MsgIdHdr)
		p = p.next()
	}
	return nil
}

// part begins the one of a number.
func (d *delivery) part(number, first int) *part {
	from := (number - 1) * (batchLimit - 1)
	return &part{delivery: d, number: number, first: first, drafts: d.batch.events[from:min(from+batchLimit-1, len(d.batch.events))]}
}

// next is the part behind one that has been looked at, nil if that is the last.
func (p *part) next() *part {
	if p.behind == nil && p.number < p.parts {
		p.behind = p.part(p.number+1, p.first+len(p.outcomes)+1)
	}
	return p.behind
}

// look hands on all messages, and the events that they are made of, deskful by
// deskful, the checkpoint last and by itself. They are good until take returns.
func (p *part) look(take func(events []event, msgs []*nats.Msg) error) error {
	if err := p.events(take); err != nil {
		return err
	}
	closing, msg, err := p.close()
	if err != nil {
		return err
	}
	return take([]event{closing}, []*nats.Msg{msg})
}

// events is look without the checkpoint. The part before need not be acknowledged
// yet.
func (p *part) events(take func(events []event, msgs []*nats.Msg) error) error {
	p.outcomes, p.closing, p.behind = p.kept[p.number%2][:0], nil, nil
	for rest := p.drafts; len(rest) > 0; {
		n := min(deskful, len(rest))
		place := p.first + len(p.outcomes)
		events := omit(p.desk.write(p.engine, &p.batch, rest[:n]), p.left)
		rest = rest[n:]
		for i := range events {
			p.outcomes = append(p.outcomes, events[i].outcome())
		}
		p.kept[p.number%2] = p.outcomes
		msgs, err := p.desk.messages(p.engine, events, p.source, p.batch.poll, place)
		if err != nil {
			return err
		}
		if err := take(events, msgs); err != nil {
			return err
		}
	}
	return nil
}

// close writes the checkpoint of a part whose events have been looked at. The part
// before must be acknowledged.
func (p *part) close() (event, *nats.Msg, error) {
	ev := p.engine.checkpoint(p.batch, p.outcomes, p.number, p.parts)
	msgs, err := p.desk.seal.messages(p.engine, []event{ev}, p.source, p.batch.poll, p.first+len(p.outcomes))
	if err != nil {
		return ev, nil, err
	}
	p.closing = msgs[0]
	return ev, p.closing, nil
}

// checkpoint is the part's last message, as it was or will be published.
func (p *part) checkpoint() (*nats.Msg, error) {
	if p.closing != nil {
		return p.closing, nil
	}
	err := p.look(func([]event, []*nats.Msg) error { return nil })
	return p.closing, err
}

// size is how many messages it has, before any is left out.
func (p *part) size() int { return len(p.drafts) + 1 }
