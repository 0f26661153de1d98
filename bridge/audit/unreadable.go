package audit

import "bpcc-nats/bridge/audit/sequences"

// AddUnreadable adds messages, by their sequences in order, that the stream holds and the server cannot
// load, as after a fault of its disk. Each run of them is one fault. What is missing in the events that
// come after it, and may be among them, is no further fault.
func (a *Auditor) AddUnreadable(missing []uint64) {
	for _, run := range sequences.Runs(missing) {
		a.found(Finding{Code: "unreadable", N: a.report.Events, Seq: run.First, Text: run.String() + ": the server cannot load it; its disk or file system is damaged"})
		if a.sequence > 0 || a.report.Events == 0 {
			a.sequence = max(a.sequence, run.Last)
		}
		a.unreadable += run.Last - run.First + 1
		a.unreadableRuns = append(a.unreadableRuns, run)
	}
}

// noteUnreadable counts, for the tenant of an event, the unreadable messages since its last event: each
// may be one of its own.
func (a *Auditor) noteUnreadable(t *tenantAudit) {
	n := a.unreadable - t.unreadable
	if n == 0 {
		return
	}
	t.unreadable = a.unreadable
	t.lost += n
	t.feedKnown, t.interrupted = false, false
}

// mayBeLost reports whether so many messages may be among the unreadable ones.
func mayBeLost(n, unreadable uint64) bool { return n > 0 && n <= unreadable }

// isUnreadable reports whether the message at a sequence was added as unreadable.
func (a *Auditor) isUnreadable(seq uint64) bool {
	for _, run := range a.unreadableRuns {
		if run.First <= seq && seq <= run.Last {
			return true
		}
	}
	return false
}
