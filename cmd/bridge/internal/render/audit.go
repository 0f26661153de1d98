package render

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/audit/bounds"
	"bpcc-nats/cmd/bridge/internal/console"
)

// Audit writes the report of an audit for people.
func Audit(c *console.Console, r audit.Report) error {
	w, flush := c.Aligned()
	what := fmt.Sprintf("%d events", r.Events)
	if r.LastSeq > 0 {
		what += fmt.Sprintf(", sequences %d to %d", r.FirstSeq, r.LastSeq)
	}
	if !r.From.IsZero() {
		what += fmt.Sprintf(", %s to %s", console.FormatTime(r.From), console.FormatTime(r.To))
	}
	w.Printf("%s\n\n", what)
	w.Printf("TENANT\tEVENTS\tCHECKPOINTS\tENTITIES\tEPOCH\tPOLL\tSTATUS\tOBSERVED UNTIL\tGAPS\tGAP TIME\n")
	for _, t := range r.Tenants {
		w.Printf("%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%v\n", t.Tenant, t.Events, t.Checkpoints, t.Entities, t.LastEpoch, t.LastPoll,
			console.OrDash(t.Status), console.FormatTime(t.ObservedUntil), t.GapCount, console.RoundDuration(time.Duration(t.GapSeconds*float64(time.Second))))
	}
	w.Printf("\nRANGE\tFIRST CHECKPOINT\tSEQUENCE\tTIME\tLAST CHECKPOINT\tSEQUENCE\tTIME\n")
	for _, t := range r.Tenants {
		w.Printf("%s", t.Tenant)
		for _, at := range []*bounds.Checkpoint{t.First, t.Last} {
			if at == nil {
				at = &bounds.Checkpoint{}
			}
			seq := ""
			if at.Seq > 0 {
				seq = strconv.FormatUint(at.Seq, 10)
			}
			w.Printf("\t%s\t%s\t%s", console.OrDash(at.ID), console.OrDash(seq), console.FormatTime(at.Time))
		}
		w.Printf("\n")
	}
	for _, t := range r.Tenants {
		if len(t.Gaps) > 0 {
			w.Printf("\nGAPS of %s\tfrom\tto\tduration\tnet changes\tevent\n", t.Tenant)
		}
		for _, g := range t.Gaps {
			to, duration := "open", "–"
			if !g.To.IsZero() {
				to = console.FormatTime(g.To)
			}
			if !g.From.IsZero() && !g.To.IsZero() {
				duration = console.RoundDuration(g.To.Sub(g.From)).String()
			}
			w.Printf("  %s: %s\t%s\t%s\t%s\t%d\t%s\n", g.Kind, g.Cause, console.FormatTime(g.From), to, duration, g.Changes, g.ID)
		}
		if more := t.GapCount - len(t.Gaps); more > 0 {
			w.Printf("  and %d more\n", more)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	writeFindings(c, "NOTES", console.Yellow, r.Notes)
	writeFindings(c, "FAULTS", console.Red, r.Faults)
	writeChecks(c, r)
	writeNotProved(c, r)
	c.Printf("\n")
	return Verdict(c, r)
}

// Verdict writes whether the events are sound.
func Verdict(c *console.Console, r audit.Report) error {
	if r.OK {
		proved := "every event is valid, unique, in order, counted by its checkpoint, and consistent with all others"
		if r.Part != nil {
			proved = "as far as checked; this is a part of a stream: " + partName(r.Part)
		}
		return c.Printf("%s %s\n", c.Paint(console.Green, "SOUND"), proved)
	}
	c.Printf("%s", c.Paint(console.Red, "UNSOUND"))
	for _, code := range slices.Sorted(maps.Keys(r.ByCode)) {
		c.Printf("  %s %d", code, r.ByCode[code])
	}
	return c.Printf("\n")
}

// writeNotProved writes what the range does not prove.
func writeNotProved(c *console.Console, r audit.Report) {
	begun := false
	for _, t := range r.Tenants {
		for _, text := range t.NotProved {
			if !begun {
				c.Printf("\nNOT PROVED\n")
				begun = true
			}
			c.Printf("  %s  %s\n", t.Tenant, text)
		}
	}
}

// partName says which part of a stream was checked.
func partName(p *audit.PartReport) string {
	if p.Inferred {
		return "what it has is concluded from its events, since neither --subject nor --type names it"
	}
	return p.Name
}

// writeChecks writes what was checked of a part, and of everything else what was not.
func writeChecks(c *console.Console, r audit.Report) {
	for _, group := range []struct {
		title string
		made  bool
	}{{"CHECKED", true}, {"NOT CHECKED", false}} {
		begun := false
		for _, check := range r.Checks {
			if group.made != check.Complete() || group.made && r.Part == nil {
				continue
			}
			if !begun {
				c.Printf("\n%s\n", group.title)
				begun = true
			}
			text := check.Proves
			if check.Why != "" {
				text = check.Made + ": " + check.Why
			}
			c.Printf("  %-14s  %s\n", check.Check, text)
		}
	}
}

func writeFindings(c *console.Console, title, colour string, list []audit.Finding) {
	if len(list) > 0 {
		c.Printf("\n%s\n", title)
	}
	for _, f := range list {
		where := fmt.Sprintf("line %d", f.N)
		if f.Seq > 0 {
			where = fmt.Sprintf("sequence %d", f.Seq)
		}
		entity := f.Tenant
		if f.Entity != "" {
			entity += " " + f.Entity
		}
		c.Printf("  %s  %s  %s  %s\n      %s\n", c.Paint(colour, fmt.Sprintf("%-9s", f.Code)), where, entity, console.OrDash(f.ID), f.Text)
	}
}
