//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The audits are no better than their power to fail. What follows gives them
// a small stream and its truth, which they must find sound, and then the same
// with one thing wrong.

var checkerStart = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func timeAt(seconds float64) time.Time {
	return checkerStart.Add(time.Duration(seconds * float64(time.Second)))
}

func timestampAt(seconds float64) string { return timeAt(seconds).Format(time.RFC3339Nano) }

// statsOf is anna with n calls, the whole of what this tenant shows of her.
func statsOf(n int) string {
	return fmt.Sprintf(`{"login_id":"anna","in_calls_handled_per_day":"%d"}`, n)
}

// newRecord makes a record of an event's data.
func newRecord(id, subject, data string) record {
	r := record{subject: subject, msgID: id, removal: strings.HasSuffix(subject, ".disappeared")}
	if err := json.Unmarshal([]byte(fmt.Sprintf(`{"id":%q,"data":%s}`, id, data)), &r); err != nil {
		panic(err)
	}
	r.batch = id[:strings.LastIndexByte(id, '-')]
	return r
}

func newCheckpoint(epoch, poll, index int, until float64, status string) record {
	return newRecord(fmt.Sprintf("acme-%d-%d-%d", epoch, poll, index), "feed.checkpoint", fmt.Sprintf(
		`{"poll":%d,"epoch":%d,"part":1,"parts":1,"events":%d,"status":%q,"observed_until":%q,"instance":"host-%d"}`,
		poll, epoch, index-1, status, timestampAt(until), epoch))
}

func newStarted(epoch, poll int, when float64) record {
	r := newRecord(fmt.Sprintf("acme-%d-%d-1", epoch, poll), "feed.started", fmt.Sprintf(`{"poll":%d,"epoch":%d,"instance":"host-%d"}`, poll, epoch, epoch))
	r.Time = timeAt(when)
	return r
}

func newChange(epoch, poll, index, revision, from, to int, after, by float64, gap bool) record {
	return newRecord(fmt.Sprintf("acme-%d-%d-%d", epoch, poll, index), "agent.anna.stats_changed", fmt.Sprintf(
		`{"poll":%d,"revision":%d,"observed":{"after":%q,"by":%q},"after_gap":%v,"before":%s,"after":%s}`,
		poll, revision, timestampAt(after), timestampAt(by), gap, statsOf(from), statsOf(to)))
}

// validStream is a stream of two terms: anna has 1 call, then 2, then no poll is made
// for 8 s, and a second bridge finds 3, and 4.
func validStream() []record {
	first := newRecord("acme-1-2-1", "agent.anna.observed", fmt.Sprintf(`{"poll":2,"revision":1,"observed":{"after":null,"by":%q},"after":%s}`, timestampAt(1.1), statsOf(1)))
	first.Data.Before = nil
	never := newCheckpoint(1, 1, 2, 0, "interrupted")
	never.Data.ObservedUntil = nil
	interrupted := newRecord("acme-2-5-1", "feed.interrupted", `{"poll":5,"epoch":2}`)
	resumed := newRecord("acme-2-5-2", "feed.resumed", fmt.Sprintf(`{"poll":5,"epoch":2,"observed":{"after":%q,"by":%q}}`, timestampAt(2), timestampAt(10.1)))
	all := []record{
		newStarted(1, 1, 0.5), never,
		first, newCheckpoint(1, 2, 2, 1, "live"),
		newChange(1, 3, 1, 2, 1, 2, 1, 2.1, false), newCheckpoint(1, 3, 2, 2, "live"),
		newStarted(2, 4, 9.5), newCheckpoint(2, 4, 2, 2, "interrupted"),
		interrupted, resumed, newChange(2, 5, 3, 3, 2, 3, 2, 10.1, true), newCheckpoint(2, 5, 4, 10, "live"),
		newChange(2, 6, 1, 4, 3, 4, 10, 11.1, false), newCheckpoint(2, 6, 2, 11, "live"),
		newCheckpoint(2, 7, 1, 20, "live"),
	}
	for i := range all {
		all[i].seq = uint64(i + 1)
	}
	return all
}

// validHistory is what the tenant of sound has shown, and when.
func validHistory(t *testing.T) *tenantHistory {
	tr := newTenantHistory(t, time.Second)
	image := func(n int) string { return "login_id=anna in_calls_handled_per_day=" + fmt.Sprint(n) + " " }
	recordShown := func(owner string, seconds float64, n int) {
		tr.responses[owner] = append(tr.responses[owner], response{
			arrived: timeAt(seconds + 0.01), done: timeAt(seconds + 0.05), certain: true, snapshot: snapshot{"agent.anna": image(n)},
		})
	}
	recordShown("1", 1, 1)
	recordShown("1", 1.5, 1)
	recordShown("1", 2, 2)
	recordShown("2", 10, 3)
	recordShown("2", 11, 4)
	for s := 12.0; s < 20; s++ {
		recordShown("2", s, 4)
	}
	// A token has ended: refused, and asked again in the same millisecond.
	tr.responses["2"] = append(tr.responses["2"], response{arrived: timeAt(20.0003), done: timeAt(20.0004), certain: true})
	recordShown("2", 20, 4)
	for _, s := range []struct {
		at float64
		n  int
	}{{0, 1}, {1.8, 2}, {5, 3}, {10.5, 4}} {
		tr.versions["agent.anna"] = append(tr.versions["agent.anna"], version{timeAt(s.at), timeAt(s.at), image(s.n)})
	}
	// An agent who left before the stream began is in no event.
	tr.versions["agent.gone"] = []version{{timeAt(-5), timeAt(-5), image(1)}, {timeAt(0.2), timeAt(0.2), ""}}
	return tr
}

func auditRecords(all []record, tr *tenantHistory) []finding {
	found, _ := auditHistory(all, tr, 5*time.Second, 2, false)
	return append(auditStream(all), found...)
}

func TestAuditOfAValidStream(t *testing.T) {
	t.Parallel()
	if found := auditRecords(validStream(), validHistory(t)); len(found) > 0 {
		t.Errorf("\n%s", firstFindings(found, 5))
	}
}

func TestAuditFindsEveryKind(t *testing.T) {
	t.Parallel()
	without := func(all []record, ids ...string) []record {
		return slices.DeleteFunc(all, func(r record) bool { return slices.Contains(ids, r.ID) })
	}
	at := func(all []record, id string) *record {
		return &all[slices.IndexFunc(all, func(r record) bool { return r.ID == id })]
	}
	tests := map[string]struct {
		want    string
		corrupt func(all []record, tr *tenantHistory) []record
	}{
		"an event is missing": {missingEvent, func(all []record, _ *tenantHistory) []record { return without(all, "acme-1-3-1") }},
		"a batch is missing":  {missingEvent, func(all []record, _ *tenantHistory) []record { return without(all, "acme-2-6-1", "acme-2-6-2") }},
		"a change and its return are missing": {missingEvent, func(all []record, tr *tenantHistory) []record {
			tr.responses["2"][3].snapshot = snapshot{"agent.anna": "login_id=anna in_calls_handled_per_day=5 "}
			return all
		}},
		"a departure is missing": {missingEvent, func(all []record, tr *tenantHistory) []record {
			for i := range tr.responses["2"] {
				if i > 2 {
					tr.responses["2"][i].snapshot = snapshot{"agent.bob": "login_id=bob "}
				}
			}
			return all
		}},
		"a version that lasted is missing, with any poll": {missingEvent, func(all []record, tr *tenantHistory) []record {
			tr.versions["agent.carl"] = []version{{checkerStart, checkerStart, "login_id=carl "}, {checkerStart.Add(9 * time.Second), checkerStart.Add(9 * time.Second), ""}}
			at(all, "acme-2-5-2").Data.Observed.After = new(checkerStart.Add(8 * time.Second))
			return all
		}},
		"an id is there twice": {duplicateEvent, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-6-1").ID, at(all, "acme-2-6-1").msgID = "acme-2-5-3", "acme-2-5-3"
			return all
		}},
		"a change is published twice": {duplicateEvent, func(all []record, _ *tenantHistory) []record {
			again := *at(all, "acme-2-6-1")
			again.ID, again.msgID, again.Data.Revision, again.Data.Poll = "acme-2-7-1", "acme-2-7-1", 5, 7
			again.Data.Before = again.Data.After
			return slices.Insert(all, len(all)-1, again)
		}},
		"a revision is missing": {brokenChain, func(all []record, _ *tenantHistory) []record { at(all, "acme-2-6-1").Data.Revision = 5; return all }},
		"a revision comes again": {outOfOrder, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-6-1").Data.Revision = 3
			return all
		}},
		"before is not the last after": {brokenChain, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-6-1").Data.Before = map[string]string{"login_id": "anna"}
			return all
		}},
		"the old writer goes on": {fencedWriter, func(all []record, _ *tenantHistory) []record {
			late := newCheckpoint(1, 8, 1, 21, "live")
			return append(all, late)
		}},
		"a term without a start": {fencedWriter, func(all []record, _ *tenantHistory) []record { return without(all, "acme-2-4-1", "acme-2-4-2") }},
		"two writers in one term": {fencedWriter, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-7-1").Data.Instance = "host-3"
			return all
		}},
		"polls out of order": {outOfOrder, func(all []record, _ *tenantHistory) []record {
			r := at(all, "acme-2-7-1")
			r.ID, r.msgID, r.Data.Poll = "acme-2-3-1", "acme-2-3-1", 3
			return all
		}},
		"a checkpoint counts wrongly": {brokenBatch, func(all []record, _ *tenantHistory) []record { at(all, "acme-2-5-4").Data.Events = 2; return all }},
		"events without a checkpoint": {brokenBatch, func(all []record, _ *tenantHistory) []record { return all[:len(all)-2] }},
		"a batch is stored half":      {brokenBatch, func(all []record, _ *tenantHistory) []record { at(all, "acme-2-5-3").batch = "another"; return all }},
		"a window begins after the change": {wrongWindow, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-6-1").Data.Observed.After = new(checkerStart.Add(10600 * time.Millisecond))
			return all
		}},
		"a window ends before the change": {wrongWindow, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-6-1").Data.Observed.By = checkerStart.Add(10300 * time.Millisecond)
			return all
		}},
		"a gap is not reported": {unreportedGap, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-5-1").subject, at(all, "acme-2-5-2").subject = "feed.other", "feed.other"
			return all
		}},
		"a gap is reported too short": {unreportedGap, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-5-2").Data.Observed.After = new(checkerStart.Add(4 * time.Second))
			return all
		}},
		"a change over a gap without a word": {unreportedGap, func(all []record, _ *tenantHistory) []record { at(all, "acme-2-5-3").Data.AfterGap = false; return all }},
		"live while interrupted":             {unreportedGap, func(all []record, _ *tenantHistory) []record { return without(all, "acme-2-5-2") }},
		"blindness where there was sight": {falseGap, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-5-2").Data.Observed.After = new(checkerStart.Add(time.Second))
			return all
		}},
		"a moment's blindness": {falseGap, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-5-2").Data.Observed.By = checkerStart.Add(3 * time.Second)
			return all
		}},
		"a checkpoint vouches for a poll that never was": {duplicateEvent, func(all []record, _ *tenantHistory) []record {
			at(all, "acme-2-7-1").Data.ObservedUntil = new(checkerStart.Add(40 * time.Second))
			return all
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := validHistory(t)
			found := auditRecords(test.corrupt(validStream(), tr), tr)
			if countByKind(found)[test.want] == 0 {
				t.Errorf("the audit does not find it %q, but %v\n%s", test.want, slices.Sorted(maps.Keys(countByKind(found))), firstFindings(found, 3))
			}
		})
	}
}

// TestAuditOfRestatements restates what is published, as after the view has lost it: that is sound if
// something has harmed the view, and if it is what is published.
func TestAuditOfRestatements(t *testing.T) {
	t.Parallel()
	restated := func(calls int) []record {
		all := validStream()
		r := newRecord("acme-2-8-1", "agent.anna.observed", fmt.Sprintf(`{"poll":8,"revision":5,"observed":{"after":null,"by":%q},"after":%s}`, timestampAt(11.1), statsOf(calls)))
		return append(all, r, newCheckpoint(2, 8, 2, 20, "live"))
	}
	audit := func(all []record, restatable bool) map[string]int {
		found, totals := auditHistory(all, validHistory(t), 5*time.Second, 2, restatable)
		if len(found) == 0 && totals.restated != 1 {
			t.Errorf("%d restated, want 1", totals.restated)
		}
		return countByKind(append(auditStream(all), found...))
	}
	if n := audit(restated(4), true); len(n) > 0 {
		t.Errorf("after harm to the view: %v", n)
	}
	if n := audit(restated(4), false); n[duplicateEvent] != 1 {
		t.Errorf("without harm to the view: %v, want one %q", n, duplicateEvent)
	}
	if n := audit(restated(3), true); n[brokenChain] != 1 || n[duplicateEvent] != 1 {
		t.Errorf("of an older image: %v, want a %q and a %q", n, brokenChain, duplicateEvent)
	}
}

// TestAuditOfAnotherClock gives the second bridge a clock that is off: its times are true by its own
// clock alone, those that it repeats from the first one by that one's.
func TestAuditOfAnotherClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{40 * time.Second, -40 * time.Second} {
		all, tr := validStream(), validHistory(t)
		term := 1
		for i := range all {
			r := &all[i]
			if r.subject == "feed.started" && r.Data.Epoch == 2 {
				term = 2
			}
			if term == 1 {
				continue
			}
			r.Time = r.Time.Add(offset)
			if until := r.Data.ObservedUntil; until != nil && until.After(timeAt(2)) {
				r.Data.ObservedUntil = new(until.Add(offset))
			}
			if w := r.Data.Observed; w != nil {
				w.By = w.By.Add(offset)
				if w.After.After(timeAt(2)) {
					w.After = new(w.After.Add(offset))
				}
			}
		}
		if found := auditRecords(all, tr); len(found) == 0 {
			t.Errorf("%v: the audit finds nothing, though it does not know of the clock", offset)
		}
		tr.offsets["2"] = offset
		if found := auditRecords(tr.byOneClock(all), tr); len(found) > 0 {
			t.Errorf("%v:\n%s", offset, firstFindings(found, 5))
		}
		if offset < 0 {
			// What the first bridge wrote is in the future of the second one, which sets it back.
			for i := range all[6:] {
				back := func(at *time.Time) *time.Time {
					if at != nil && at.Equal(timeAt(2)) {
						at = new(at.Add(offset - time.Second))
					}
					return at
				}
				r := &all[6+i]
				r.Data.ObservedUntil = back(r.Data.ObservedUntil)
				if w := r.Data.Observed; w != nil {
					w.After = back(w.After)
				}
			}
			if found := auditRecords(tr.byOneClock(all), tr); len(found) > 0 {
				t.Errorf("%v, set back:\n%s", offset, firstFindings(found, 5))
			}
		}
		all[len(all)-3].Data.Observed.By = timeAt(10.3).Add(offset)
		if n := countByKind(auditRecords(tr.byOneClock(all), tr)); n[wrongWindow] != 1 {
			t.Errorf("%v: %v, want one %q", offset, n, wrongWindow)
		}
	}
}

func TestFalseAlarms(t *testing.T) {
	t.Parallel()
	var published []time.Time
	for s := 0.0; s < 30; s += 0.5 {
		published = append(published, timeAt(s))
	}
	m := staleMessages{1: timeAt(20), 2: timeAt(50)}
	if found := m.falseAlarms(published); len(found) != 1 || found[0].seq != 1 {
		t.Errorf("%v, want the message at 20 s alone", found)
	}
}

// TestStartWithClock asks programs with another clock for the time.
func TestStartWithClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{time.Hour, -90 * time.Second} {
		cmd := exec.CommandContext(t.Context(), "date", "+%s")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &out, &syscall.SysProcAttr{}
		began := time.Now()
		err := startWithClock(cmd, offset)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err == nil {
			err = cmd.Wait()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
		if ahead := time.Unix(seconds, 0).Sub(began); err != nil || (ahead-offset).Abs() > 10*time.Second {
			t.Errorf("a clock %v ahead says %q (%v), which is %v ahead", offset, out.String(), err, ahead)
		}
	}
}
