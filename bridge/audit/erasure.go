package audit

import (
	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/event"
)

// ReadErasure reads what a feed.erased states before the events are added: the messages that it says
// are erased come before it. Anything else is ignored. For unknown values, subject is "" and header is
// nil, as for [Auditor.Add].
func (a *Auditor) ReadErasure(subject string, header nats.Header, body []byte) {
	v, err := event.ReadEnvelope(body)
	if name, _ := v.Name(); err != nil || name != event.Erased || a.validator.Event(body) != nil {
		return
	}
	e, err := v.Event()
	if err != nil || a.excluded(e.Tenant()) || header != nil && header.Get(nats.MsgIdHdr) != v.ID || subject != "" && subject != e.Subject() {
		return // Add reports it
	}
	t := a.tenantFor(e.Tenant())
	t.erased = t.erased.Union(e.Data.(*event.ErasedData).Sequences)
}

// checkErasure checks what an event states as erased.
func (a *Auditor) checkErasure(t *tenantAudit, e *audited, d *event.ErasedData) {
	var n, last uint64
	for _, r := range d.Sequences {
		if r.First <= last || r.Last < r.First {
			a.fault(t, e, "erasure", "the range from %d to %d is not in order", r.First, r.Last)
			return
		}
		n, last = n+r.Last-r.First+1, r.Last
	}
	switch {
	case n != d.Messages:
		a.fault(t, e, "erasure", "counts %d messages, its ranges hold %d", d.Messages, n)
	case e.seq > 0 && last >= e.seq:
		a.fault(t, e, "erasure", "states sequence %d, which is not before it", last)
	}
	t.batch.erasedKeys += d.Keys
	text := "states %d message(s) and %d key(s) of the view as erased"
	if d.Reason != "" {
		text += ": " + event.Truncate(d.Reason, 200)
	}
	a.note(t, e, "erased", text, d.Messages, d.Keys)
}

// stillPresent notes a message that is stated as erased and is there: the erasure was not finished. What
// is there is not missing.
func (a *Auditor) stillPresent(t *tenantAudit, e *audited) {
	var present bool
	if t.erased, present = t.erased.Without(e.seq); present {
		a.note(t, e, "present", "stated as erased, and still present: run bridge erase again")
	}
}

// erasedIn counts the messages of the tenant between two sequences that are stated as erased. It is 0
// where a sequence is not known.
func (t *tenantAudit) erasedIn(after, before uint64) uint64 {
	if before == 0 {
		return 0
	}
	return t.erased.Count(after+1, before-1)
}

// mayHaveLost reports whether counts of agents and services may differ from those of the events by the
// erasures known: by the erased events of the batch, by the entities that an erasure has removed, or by
// those that the term after it still found, where the erasure was not finished.
func (t *tenantAudit) mayHaveLost(e *audited, agents, services int) bool {
	if agents == 0 && services == 0 {
		return true
	}
	if n := t.erasedIn(t.checkpointSeq, e.seq); uint64(abs(agents)+abs(services)) <= n {
		return true
	}
	if keys := t.batch.erasedKeys; agents <= 0 && services <= 0 && -agents-services <= keys {
		return true
	}
	return t.batch.starts && agents >= 0 && services >= 0 && agents+services <= t.erasedKeys
}

func abs(n int) int { return max(n, -n) }
