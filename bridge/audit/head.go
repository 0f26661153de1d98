package audit

import (
	"slices"

	"bpcc-nats/bridge/event"
)

// checkSignature checks the signature of a checkpoint, where its headers are known.
func (a *Auditor) checkSignature(t *tenantAudit, e *audited, x *examined) {
	if x.header == nil {
		if len(a.options.SignedBy) > 0 && !t.before {
			a.fault(t, e, "signature", "the signature is not known: the export lacks the headers, which --with-meta keeps")
		}
		return
	}
	signature, key := x.header.Get(event.SignatureHeader), x.header.Get(event.SigningKeyHeader)
	signed := signature != "" || key != ""
	wanted := a.options.SignedBy
	if t.before {
		wanted = nil // the signature of the next checkpoint covers it
	}
	switch {
	case !signed && len(wanted) == 0:
	case !signed:
		a.fault(t, e, "signature", "the checkpoint is not signed")
	case event.VerifySignature(key, signature, x.body) != nil:
		a.fault(t, e, "signature", "%v", event.ErrSignature)
	case len(wanted) > 0 && !slices.Contains(wanted, key):
		a.fault(t, e, "signature", "the checkpoint is signed by %s, which is none of the given keys", key)
	}
	t.signatures.add(signed)
}

// checkHeads compares a checkpoint with the heads that name it.
func (a *Auditor) checkHeads(t *tenantAudit, e *audited, d *event.CheckpointData, x *examined) {
	for i := range a.options.Heads {
		h := &a.options.Heads[i]
		if h.Tenant != t.name || h.ID != e.id {
			continue
		}
		a.headsFound[h.ID] = true
		if h.Chain != d.Chain || h.Sum != event.MessageSum(x.subject, x.storedID(), x.body) {
			a.fault(t, e, "head", "the head of this id has another sum: the stream holds another history up to here")
		}
	}
}

// findHeads adds the faults for heads that the stream does not hold. One from before its beginning says nothing
// of it.
func (a *Auditor) findHeads(r *Report) {
	for _, h := range a.options.Heads {
		t := a.tenants[h.Tenant]
		if a.headsFound[h.ID] || a.excluded(h.Tenant) {
			continue
		}
		f := Finding{Code: "head", Tenant: h.Tenant, ID: h.ID, Text: "the stream does not hold this head: it ends before it, or holds another history"}
		if t != nil && t.firstCheckpoint != (event.ID{}) {
			if id, err := event.ParseID(h.Tenant, h.ID); err == nil && id.Compare(t.firstCheckpoint) < 0 {
				f.Text = "the range begins after this head, which so proves nothing"
				r.Notes = append(r.Notes, f)
				continue
			}
		}
		r.ByCode[f.Code]++
		r.Faults = append(r.Faults, f)
	}
}
