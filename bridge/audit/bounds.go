package audit

import (
	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit/bounds"
	"bpcc-nats/bridge/event"
)

// checkpointID is the id of a checkpoint; "" of any other message.
func (x *examined) checkpointID() string {
	if _, ok := x.Data.(*event.CheckpointData); !ok || x.err != nil || x.header != nil && x.header.Get(nats.MsgIdHdr) != x.id {
		return ""
	}
	return x.id
}

// inBounds reports whether a message is in the range of its tenant. The checkpoint before it is added as such.
func (a *Auditor) inBounds(t *tenantAudit, x *examined) bool {
	switch t.bounds.Place(x.checkpointID()) {
	case bounds.Inside:
		return true
	case bounds.Before:
		a.addBefore(x)
	}
	a.sequence = max(a.sequence, x.seq)
	return false
}

// AddBefore adds the checkpoint before a tenant's range, with which the first batch is then compared. It is no part
// of the range, and must be added before all events. It reports whether the message is a checkpoint.
func (a *Auditor) AddBefore(m Message) bool {
	x := a.examine(m)
	if x.checkpointID() == "" || x.excluded {
		return x.excluded
	}
	a.addBefore(&x)
	a.sequence = 0
	return true
}

// addBefore adds the checkpoint before a range: only its faults count.
func (a *Auditor) addBefore(x *examined) {
	before, withHeader, t := a.report, a.withHeader, a.tenantFor(x.tenant)
	wanted := t.bounds.Wanted
	t.bounds.Wanted, t.before = bounds.Wanted{}, true
	a.add(x)
	before.Faults = a.report.Faults
	a.report, a.withHeader = before, withHeader
	t.added, t.checkpoints, t.types, t.report = false, 0, map[string]int{}, TenantReport{}
	t.signatures, t.chain.compared = coverage{}, coverage{}
	t.bounds.Wanted, t.before = wanted, false
	t.bounds.Begin(x.id)
}
