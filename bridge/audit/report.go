package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"bpcc-nats/bridge/audit/bounds"
)

// Report is the result of an [Auditor].
type Report struct {
	// OK reports whether there were events to check, and no fault. Stated gaps and erasures are no
	// faults.
	OK bool `json:"ok"`
	// Events counts the events that were checked, checkpoints included.
	Events int `json:"events"`
	// FirstSeq and LastSeq are stream sequences, 0 if they are not known.
	FirstSeq uint64 `json:"first_sequence,omitempty"`
	LastSeq  uint64 `json:"last_sequence,omitempty"`
	// From and To are the times of the first and the last event.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Tenants are in order of their names.
	Tenants []TenantReport `json:"tenants"`
	// Faults are the first faults, in order; ByCode counts all.
	Faults []Finding `json:"faults"`
	// Notes are observations that are no faults.
	Notes []Finding `json:"notes"`
	// Part is nil if all of the stream, or of its tenants, was added in the range. OK says then no more
	// than what Checks has.
	Part *PartReport `json:"part,omitempty"`
	// Checks are all kinds of checks, made or not.
	Checks []Check        `json:"checks"`
	ByCode map[string]int `json:"faults_by_code"`
}

// PartReport says which part of the stream was added.
type PartReport struct {
	// Name is its name, such as its subjects.
	Name string `json:"name"`
	// Inferred says that its subjects are not known: its events show what it has.
	Inferred bool `json:"inferred"`
}

// TenantReport is the result for one tenant.
type TenantReport struct {
	Tenant      string         `json:"tenant"`
	Events      int            `json:"events"`
	Checkpoints int            `json:"checkpoints"`
	Types       map[string]int `json:"types"`
	// Entities counts revision chains; StartedMidChain counts those that begin after revision 1,
	// since the range begins later.
	Entities        int `json:"entities"`
	StartedMidChain int `json:"entities_started_mid_chain"`
	// LastEpoch and LastPoll are those of the last event.
	LastEpoch uint64 `json:"last_epoch"`
	LastPoll  uint64 `json:"last_poll"`
	// Status and ObservedUntil are those of the last checkpoint.
	Status        string    `json:"status"`
	ObservedUntil time.Time `json:"observed_until,omitzero"`
	// Gaps are the first gaps; GapCount and GapSeconds count all.
	Gaps       []Gap   `json:"gaps"`
	GapCount   int     `json:"gap_count"`
	GapSeconds float64 `json:"gap_seconds"`
	// First and Last are the checkpoints with which the range begins and ends; nil if it has none. After is the
	// id of the one before, if its message is known.
	First *bounds.Checkpoint `json:"first_checkpoint,omitempty"`
	Last  *bounds.Checkpoint `json:"last_checkpoint,omitempty"`
	After string             `json:"begins_after,omitempty"`
	// NotProved says, for people, what the range does not prove; empty if the part does not have the checkpoints.
	NotProved []string `json:"not_proved"`
	// AfterGap counts the net changes over a gap.
	AfterGap int `json:"changes_after_gap"`
}

// Gap is a time without good polls, or without a checkpoint.
type Gap struct {
	// Kind is interrupted (the source was away), restart (no bridge was running),
	// no_good_poll (shown by its changes alone) or no_checkpoint (checkpoints are
	// missing for longer than their interval).
	Kind  string `json:"kind"`
	Cause string `json:"cause"`
	// From is zero if there was no good poll before, To if the gap is open at the end.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Changes counts the net changes over the gap.
	Changes int `json:"changes"`
	// Seq and ID are of the first event that shows it.
	Seq uint64 `json:"sequence,omitempty"`
	ID  string `json:"id"`
}

// Finding is one fault or note.
type Finding struct {
	// Code is one word for programs: foreign, schema, subject, header, tombstone,
	// sequence, unreadable, duplicate, order, epoch, missing, uncovered, count, part, revision,
	// chain, digest, signature, head, bound, image, time, clock, stored, window, since, duration, reentered, reset, unseen, value,
	// watermark, feed, gap, erasure, empty; of notes: truncated, clock, restored, forgotten, erased, present, chained.
	Code string `json:"code"`
	// N counts the events added, from 1: the line of an export.
	N      int    `json:"n"`
	Seq    uint64 `json:"sequence,omitempty"`
	Tenant string `json:"tenant"`
	// Entity is the key in the view below the tenant, "" for other events.
	Entity string `json:"entity,omitempty"`
	ID     string `json:"id,omitempty"`
	Type   string `json:"type,omitempty"`
	Text   string `json:"text"`
}

// listLimit bounds the lists of a report; more entries are only counted. Otherwise a stream that is
// wrong throughout would be repeated in full.
const listLimit = 200

func (a *Auditor) fault(t *tenantAudit, e *audited, code, format string, args ...any) {
	a.found(t.finding(e, code, fmt.Sprintf(format, args...)))
}

func (a *Auditor) note(t *tenantAudit, e *audited, code, format string, args ...any) {
	a.report.Notes = find(a.report.Notes, t.finding(e, code, fmt.Sprintf(format, args...)))
}

// found adds a fault.
func (a *Auditor) found(f Finding) {
	a.report.ByCode[f.Code]++
	a.report.Faults = find(a.report.Faults, f)
}

func find(found []Finding, f Finding) []Finding {
	if len(found) >= listLimit {
		return found
	}
	return append(found, f)
}

func (t *tenantAudit) finding(e *audited, code, text string) Finding {
	return Finding{Code: code, N: e.n, Seq: e.seq, Tenant: t.name, Entity: e.entity, ID: e.id, Type: e.typ, Text: text}
}

// count adds an event to the report.
func (r *Report) count(seq uint64, at time.Time) {
	r.Events++
	if seq > 0 && r.FirstSeq == 0 {
		r.FirstSeq = seq
	}
	r.LastSeq = max(r.LastSeq, seq)
	if at.IsZero() {
		return
	}
	if r.From.IsZero() {
		r.From = at
	}
	r.To = at
}

func (t *TenantReport) gap(g Gap) {
	t.GapCount++
	t.GapSeconds += g.length().Seconds()
	if len(t.Gaps) < listLimit {
		t.Gaps = append(t.Gaps, g)
	}
}

// length is 0 where an end is not known.
func (g *Gap) length() time.Duration {
	if g.From.IsZero() || g.To.IsZero() {
		return 0
	}
	return g.To.Sub(g.From)
}

// Report returns the result so far, as if the range ended here. More events may be added
// afterwards.
func (a *Auditor) Report() Report {
	r := a.report
	r.Tenants, r.ByCode = []TenantReport{}, maps.Clone(r.ByCode)
	if p := a.options.Part; p != nil {
		r.Part = &PartReport{p.Name, p.Includes == nil}
	}
	r.Faults, r.Notes = append([]Finding{}, r.Faults...), append([]Finding{}, r.Notes...)
	if r.Events == 0 {
		r.ByCode["empty"]++
		r.Faults = append(r.Faults, Finding{Code: "empty", Text: "no events to check"})
	}
	for _, name := range slices.Sorted(maps.Keys(a.tenants)) {
		t := a.tenants[name]
		for _, id := range t.bounds.Missing() {
			r.ByCode["bound"]++
			r.Faults = append(r.Faults, Finding{Code: "bound", Tenant: name, ID: id, Text: "the range is to begin after this checkpoint, or to end with it, and does not hold it"})
		}
		if !t.added {
			continue
		}
		out := t.report
		out.Tenant, out.Checkpoints, out.Entities, out.StartedMidChain = t.name, t.checkpoints, len(t.entities), t.startedMidChain
		out.Types, out.Gaps = maps.Clone(t.types), append([]Gap{}, out.Gaps...)
		for _, n := range t.types {
			out.Events += n
		}
		out.LastEpoch, out.LastPoll, out.Status, out.ObservedUntil = t.last.Epoch, t.last.Poll, t.status, t.until
		out.First, out.Last, out.After, out.NotProved = t.bounds.First, t.bounds.Last, t.bounds.After, []string{}
		if t.extent.checkpoints() {
			out.NotProved = append(out.NotProved, t.bounds.NotProved(name, a.options.Heads, a.headsFound, len(a.options.SignedBy) > 0)...)
		}
		if t.open != nil {
			out.gap(*t.open)
		}
		end := Finding{N: r.Events, Seq: r.LastSeq, Tenant: t.name}
		if n := t.batch.n; n > 0 && t.extent.checkpoints() && a.unreadable == t.unreadable && t.lost == 0 {
			end.Code, end.Text = "uncovered", fmt.Sprintf("the range ends inside a batch: its last %d event(s) have no checkpoint", n)
			r.ByCode[end.Code]++
			r.Faults = append(r.Faults, end)
		}
		if t.part < t.parts && t.extent.checkpoints() {
			end.Code, end.Text = "truncated", fmt.Sprintf("the range ends with part %d of %d of poll %d", t.part, t.parts, t.last.Poll)
			r.Notes = append(r.Notes, end)
		}
		for _, s := range t.confirmed() {
			r.ByCode[s.first.Code] += s.count
			if len(r.Faults) < listLimit {
				r.Faults = append(r.Faults, s.first)
			}
		}
		r.Tenants = append(r.Tenants, out)
	}
	a.findHeads(&r)
	r.Checks = a.checks()
	r.OK = len(r.ByCode) == 0
	return r
}
