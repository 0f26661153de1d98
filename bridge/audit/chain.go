package audit

import (
	"bytes"

	"bpcc-nats/bridge/event"
)

// chainAudit compares `chain` of the checkpoints of a tenant with their messages.
type chainAudit struct {
	sum event.Chain // of the open batch
	// The last checkpoint.
	subject, id string
	body        []byte
	chained     bool // it has a chain

	compared coverage // of the checkpoints that have a chain
}

// begin begins an open batch.
func (c *chainAudit) begin() { c.sum.Begin(c.subject, c.id, c.body) }

// checkChainOf compares `chain` of a checkpoint with the messages that it closes and with the checkpoint before,
// where all of them are known: the first checkpoint of a range follows one that is not, and erased messages are gone.
func (a *Auditor) checkChainOf(t *tenantAudit, e *audited, d *event.CheckpointData, x *examined, erased int) {
	c := &t.chain
	if c.compared.of == 0 && d.Chain != "" && t.checkpoints > 0 && !c.chained && t.lost == 0 {
		a.note(t, e, "chained", "the checkpoints before have no `chain`: they were published by an earlier version")
	}
	switch {
	case d.Chain == "" && c.chained && t.lost == 0:
		a.fault(t, e, "digest", "there is no `chain`, although the checkpoint before has one")
	case d.Chain == "", d.Follows != "" && c.id == "": // the range begins here
	case !t.extent.whole || t.batch.cut || t.lost > 0 || erased > 0 || d.Follows != c.id:
		c.compared.add(false)
	default:
		c.compared.add(true)
		if got := c.sum.Sum(); got != d.Chain {
			a.fault(t, e, "digest", "`chain` is %.16s…, the checkpoint before and the messages of the batch give %.16s…", d.Chain, got)
		}
	}
	c.subject, c.id, c.body, c.chained = x.subject, x.storedID(), bytes.Clone(x.body), d.Chain != ""
}
