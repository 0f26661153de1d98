package audit

import "fmt"

// Run is a number of sequences that follow each other.
type Run struct{ First, Last uint64 }

// String names the messages.
func (r Run) String() string {
	if r.First == r.Last {
		return fmt.Sprintf("message %d", r.First)
	}
	return fmt.Sprintf("messages %d to %d", r.First, r.Last)
}

// Runs groups sequences in order.
func Runs(sequences []uint64) []Run {
	var runs []Run
	for _, seq := range sequences {
		if n := len(runs); n > 0 && runs[n-1].Last+1 == seq {
			runs[n-1].Last = seq
		} else {
			runs = append(runs, Run{seq, seq})
		}
	}
	return runs
}

// AddUnreadable adds messages, by their sequences in order, that the stream holds and the server cannot
// load, as after a fault of its disk. Each run of them is one fault. What is missing in the events that
// come after it, and may be among them, is no further fault.
func (a *Auditor) AddUnreadable(sequences []uint64) {
	for _, run := range Runs(sequences) {
		a.report.ByCode["unreadable"]++
		e := audited{n: a.report.Events, seq: run.First}
		a.report.Faults = find(a.report.Faults, &tenantAudit{}, &e, "unreadable", run.String()+": the server cannot load it; its disk or file system is damaged")
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
