//go:build linux

package main_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// clusterReport is what a run has shown.
type clusterReport struct {
	seed      uint64
	injector  *faultInjector
	script    *tenantScript
	events    int
	polls     int // checkpoints
	epochs    uint64
	totals    auditTotals
	findings  []finding
	ever, now []record // all events that were ever stored, and those that the stream holds at the end
	replies   replyTotals
	lost      int // events that older backups did not hold
	takeover  []time.Duration
	viewDelay time.Duration // the view, after the last event
}

// logAround logs what the bridges said of their feed around the first finding of each kind, by their own clocks.
func (r *clusterReport) logAround(t *testing.T, all []record) {
	t.Helper()
	logged := map[string]bool{}
	for _, f := range r.findings {
		if f.seq == 0 || logged[f.kind] {
			continue
		}
		logged[f.kind] = true
		for i := range all {
			m := &all[i]
			if strings.HasPrefix(m.subject, "feed.") && m.seq+60 > f.seq && m.seq < f.seq+20 {
				t.Logf("%s at %d: %d %s %s of %s stored %s written %s observed until %v window %+v", f.kind, f.seq, m.seq, m.ID, m.subject,
					m.Data.Instance, m.stored.Format(time.RFC3339Nano), m.Time.Format(time.RFC3339Nano), m.Data.ObservedUntil, m.Data.Observed)
			}
		}
	}
}

// stopAndAudit waits for calm, stops the bridges, and audits.
func (r *clusterReport) stopAndAudit(t *testing.T, f *testFleet, tr *tenantHistory) {
	t.Helper()
	if !r.injector.settle(f.healthy) {
		r.addFinding(viewDiffersKind, "the fleet does not come to rest")
	}
	still := time.Now()
	var all []record
	var err error
	if !f.waitUntil(45*time.Second, func() bool { // until a poll after all changes is published; 30 s without any
		all, err = readStream(t.Context(), f.js)
		return err == nil && len(all) > 0 && covers(tr.byOneClock(all), still)
	}) {
		r.addFinding(viewDiffersKind, fmt.Sprintf("no checkpoint vouches for the end of the run: %v", err))
	}
	r.compareWithTenant(all, tr)
	diff := "not read"
	still = time.Now()
	// The bridges look for lost keys once a minute.
	if !f.waitUntil(150*time.Second, func() bool {
		if all, err = readStream(t.Context(), f.js); err != nil {
			diff = err.Error()
			return false
		}
		diff = viewDiffers(t.Context(), f.js, all)
		return diff == ""
	}) {
		r.addFinding(viewDiffersKind, "the view beside working bridges: "+diff)
	}
	t.Logf("view equal to the replay after %v, beside working bridges", time.Since(still).Round(time.Millisecond))
	if err := f.verify(r.injector.programs.bridge); err != nil {
		r.addFinding(verifyFault, err.Error())
	}
	for _, b := range f.bridges {
		if !b.stop(syscall.SIGTERM, 12*time.Second) {
			r.addFinding(viewDiffersKind, b.name+" does not stop within 12 s")
		}
	}
	stopped := time.Now()
	if all, err = readStream(t.Context(), f.js); err != nil {
		t.Fatal(err)
	}
	if f.waitUntil(time.Minute, func() bool { diff = viewDiffers(t.Context(), f.js, all); return diff == "" }) {
		r.viewDelay = time.Since(stopped)
	} else {
		r.addFinding(viewDiffersKind, "the view after a minute: "+diff)
	}
	r.auditAll(all, tr)
	r.logAround(t, all)
	for _, text := range append(f.unexpectedExits(), r.injector.unrecovered...) {
		r.addFinding(viewDiffersKind, text)
	}
}

// auditAll audits the stream as it is, and as it was before each restore. A restore takes events away, so
// what they report is counted before.
func (r *clusterReport) auditAll(all []record, tr *tenantHistory) {
	ever := slices.Clone(all) // all events that were ever stored
	audit := func(all []record) auditTotals {
		all = tr.byOneClock(all)
		r.findings = append(r.findings, auditStream(all)...)
		found, totals := auditHistory(all, tr, clusterMaxSilence, 2, r.injector.viewHarmed)
		r.findings = append(r.findings, found...)
		return totals
	}
	r.totals = audit(all)
	ids := map[string]bool{}
	for _, e := range all {
		ids[e.ID] = true
	}
	for _, p := range r.injector.replaced {
		r.totals.add(audit(p.records))
		kept := p.records[:len(p.records)-len(p.lost())]
		_, before := auditHistory(tr.byOneClock(kept), tr, clusterMaxSilence, 2, true)
		r.totals.subtract(before)
		for _, e := range p.lost() {
			r.lost++
			if ids[e.ID] && !p.viewToo {
				r.addFinding(duplicateEvent, e.ID+" was given before the restore of a backup, and again after it")
			}
		}
		ever = append(ever, p.lost()...)
	}
	// Streams before a restore and after it begin alike.
	slices.SortFunc(r.findings, func(a, b finding) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.text, b.text)) })
	r.findings = slices.Compact(r.findings)
	slices.SortStableFunc(ever, func(a, b record) int { return a.stored.Compare(b.stored) })
	slices.SortFunc(r.totals.responseTimes, time.Time.Compare)
	r.totals.responseTimes = slices.CompactFunc(r.totals.responseTimes, time.Time.Equal)
	r.takeover = r.injector.takeovers(ever)
	r.ever, r.now = ever, all
	for _, e := range ever {
		if e.subject == "feed.checkpoint" {
			r.polls++
			r.epochs = max(r.epochs, e.Data.Epoch)
		}
	}
	r.events = len(ever) - r.polls
}

// auditReplies audits the replies to requests, after the events.
func (r *clusterReport) auditReplies(replies []reply, tr *tenantHistory) {
	r.replies = countReplies(replies)
	r.findings = append(r.findings, auditReplies(replies, r.ever, r.now, tr)...)
}

func (r *clusterReport) addFinding(kind, text string) {
	r.findings = append(r.findings, finding{kind, 0, text})
}

func covers(all []record, at time.Time) bool {
	last := all[len(all)-1]
	return last.Data.ObservedUntil != nil && last.Data.ObservedUntil.After(at) && last.Data.Status == "live"
}

// compareWithTenant holds the replay against what the tenant shows at the end.
func (r *clusterReport) compareWithTenant(all []record, tr *tenantHistory) {
	_, images := replay(all)
	tenantImage := tr.current()
	for entity, image := range tenantImage {
		if got := tr.imageOf(entity, images[entity]); got != image {
			r.addFinding(viewDiffersKind, fmt.Sprintf("%s: the tenant shows %q, the replay %q", entity, image, got))
		}
	}
	for entity, stats := range images {
		known := stats == nil || strings.HasPrefix(entity, "threshold.")
		if _, there := tenantImage[entity]; !there && !known {
			r.addFinding(viewDiffersKind, entity+" is in the replay, and the tenant does not show it")
		}
	}
}

// viewDiffers compares the view with the replay of the events: "" or what differs.
func viewDiffers(ctx context.Context, js jetstream.JetStream, all []record) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	kv, err := js.KeyValue(ctx, "bpcc_state")
	if err != nil {
		return err.Error()
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err.Error()
	}
	defer watch.Stop()
	want, _ := replay(all)
	seen := 0
	for {
		select {
		case <-ctx.Done():
			return "it cannot be read: " + ctx.Err().Error()
		case entry := <-watch.Updates():
			if entry == nil {
				if seen != len(want) {
					return fmt.Sprintf("%d keys, the replay has %d", seen, len(want))
				}
				return ""
			}
			var e struct{ ID string }
			if err := json.Unmarshal(entry.Value(), &e); err != nil {
				return err.Error()
			}
			tokens := strings.Split(strings.TrimPrefix(entry.Key(), "acme."), ".")
			for i := range tokens {
				tokens[i] = decodeToken(tokens[i])
			}
			if key := strings.Join(tokens, "."); want[key] != e.ID {
				return fmt.Sprintf("%s is %s, in the replay %s", key, e.ID, want[key])
			}
			seen++
		}
	}
}

// render says it all.
func (r *clusterReport) render() string {
	var b strings.Builder
	line := func(what string, value any) { fmt.Fprintf(&b, "| %s | %v |\n", what, value) }
	kinds := map[string]int{}
	for _, s := range r.injector.injected {
		kinds[s.kind]++
	}
	worst := r.injector.longestGap(r.totals.responseTimes)
	b.WriteString("\n| fault | times | longest time between two published polls |\n|---|---|---|\n")
	for _, f := range slices.Concat(requiredFaults, optionalFaults) {
		if kinds[f.kind] > 0 {
			fmt.Fprintf(&b, "| %s | %d | %.1f s |\n", f.kind, kinds[f.kind], worst[f.kind].Seconds())
		}
	}
	fmt.Fprintf(&b, "\n| seed %d, lease %v | %d faults in %v |\n|---|---|\n", r.seed, *clusterTTL, len(r.injector.injected), clusterFor.Round(time.Second))
	line("changes made by the tenant", r.script.changes)
	line("responses that the leader got and published", r.totals.responses)
	line("differences that these show", r.totals.changes)
	line("events stored", r.events)
	line("of them lost by restored backups, and audited before", r.lost)
	line("checkpoints", r.polls)
	line("epochs", r.epochs)
	n := countByKind(r.findings)
	for _, kind := range findingKinds {
		line("**"+kind+"**", n[kind])
	}
	line("windows held against the true instant", r.totals.windows)
	line("gaps, true / reported", fmt.Sprintf("%d / %d, %v in all", r.totals.expectedGaps, len(r.totals.gaps), r.totals.gapTime.Round(time.Second)))
	line("servers restarted because they stayed unhealthy", r.injector.restarts)
	line("terms of a bridge whose clock was off", r.totals.otherClock)
	line("events that state again what the view lacked", r.totals.restated)
	line("versions that came and went unseen", r.totals.unseen)
	if n := len(r.takeover); n > 0 {
		line("takeover, median / worst", fmt.Sprintf("%.1f s / %.1f s of %d", r.takeover[n/2].Seconds(), r.takeover[n-1].Seconds(), n))
	}
	line("requests answered as fresh / as old / refused, without a leader, without a reply", fmt.Sprintf("%d / %d / %d, %d, %d",
		r.replies.fresh, r.replies.old, r.replies.refused, r.replies.noLeader, r.replies.noReply))
	line("view equal to the replay after", r.viewDelay.Round(time.Millisecond))
	return b.String()
}

// longestGap is the longest time without a published poll that each kind of fault
// has caused.
func (s *faultInjector) longestGap(responseTimes []time.Time) map[string]time.Duration {
	worst := map[string]time.Duration{}
	for i := 1; i < len(responseTimes); i++ {
		// The last fault that struck before sight came back is taken for the cause.
		for _, f := range slices.Backward(s.injected) {
			if f.at.Before(responseTimes[i]) {
				worst[f.kind] = max(worst[f.kind], responseTimes[i].Sub(responseTimes[i-1]))
				break
			}
		}
	}
	return worst
}

// takeovers are the times from the loss of a leader to the next epoch's first
// checkpoint.
func (s *faultInjector) takeovers(all []record) []time.Duration {
	var out []time.Duration
	for _, f := range s.injected {
		if !f.newLeader || strings.HasPrefix(f.kind, "rolling") {
			continue
		}
		epoch := uint64(0)
		for _, r := range all {
			if r.subject != "feed.checkpoint" {
				continue
			}
			if r.stored.Before(f.at) {
				epoch = r.Data.Epoch
			} else if r.Data.Epoch > epoch {
				out = append(out, r.stored.Sub(f.at))
				break
			}
		}
	}
	slices.Sort(out)
	return out
}
