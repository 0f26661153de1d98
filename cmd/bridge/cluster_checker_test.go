//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// The audits are no better than their power to fail. What follows gives them
// a small stream and its truth, which they must find sound, and then the same
// with one thing wrong.

var checkerStart = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return checkerStart.Add(time.Duration(seconds * float64(time.Second)))
}

func stampOf(seconds float64) string { return at(seconds).Format(time.RFC3339Nano) }

// row is anna with n calls, the whole of what this tenant shows of her.
func row(n int) string {
	return fmt.Sprintf(`{"login_id":"anna","in_calls_handled_per_day":"%d"}`, n)
}

// stored makes a record of an event's data.
func stored(id, subject, data string) record {
	r := record{subject: subject, msgID: id, removal: strings.HasSuffix(subject, ".disappeared")}
	if err := json.Unmarshal([]byte(fmt.Sprintf(`{"id":%q,"data":%s}`, id, data)), &r); err != nil {
		panic(err)
	}
	r.batch = id[:strings.LastIndexByte(id, '-')]
	return r
}

func checkpointOf(epoch, poll, index int, until float64, status string) record {
	return stored(fmt.Sprintf("acme-%d-%d-%d", epoch, poll, index), "feed.checkpoint", fmt.Sprintf(
		`{"poll":%d,"epoch":%d,"part":1,"parts":1,"events":%d,"status":%q,"observed_until":%q,"instance":"host-%d"}`,
		poll, epoch, index-1, status, stampOf(until), epoch))
}

func startedOf(epoch, poll int, when float64) record {
	r := stored(fmt.Sprintf("acme-%d-%d-1", epoch, poll), "feed.started", fmt.Sprintf(`{"poll":%d,"epoch":%d,"instance":"host-%d"}`, poll, epoch, epoch))
	r.Time = at(when)
	return r
}

func changeOf(epoch, poll, index, revision, from, to int, after, by float64, gap bool) record {
	return stored(fmt.Sprintf("acme-%d-%d-%d", epoch, poll, index), "agent.anna.stats_changed", fmt.Sprintf(
		`{"poll":%d,"revision":%d,"observed":{"after":%q,"by":%q},"after_gap":%v,"before":%s,"after":%s}`,
		poll, revision, stampOf(after), stampOf(by), gap, row(from), row(to)))
}

// sound is a stream of two terms: anna has 1 call, then 2, then nobody looks
// for 8 s, and a second bridge finds 3, and 4.
func sound() []record {
	first := stored("acme-1-2-1", "agent.anna.observed", fmt.Sprintf(`{"poll":2,"revision":1,"observed":{"after":null,"by":%q},"after":%s}`, stampOf(1.1), row(1)))
	first.Data.Before = nil
	never := checkpointOf(1, 1, 2, 0, "interrupted")
	never.Data.ObservedUntil = nil
	interrupted := stored("acme-2-5-1", "feed.interrupted", `{"poll":5,"epoch":2}`)
	resumed := stored("acme-2-5-2", "feed.resumed", fmt.Sprintf(`{"poll":5,"epoch":2,"observed":{"after":%q,"by":%q}}`, stampOf(2), stampOf(10.1)))
	all := []record{
		startedOf(1, 1, 0.5), never,
		first, checkpointOf(1, 2, 2, 1, "live"),
		changeOf(1, 3, 1, 2, 1, 2, 1, 2.1, false), checkpointOf(1, 3, 2, 2, "live"),
		startedOf(2, 4, 9.5), checkpointOf(2, 4, 2, 2, "interrupted"),
		interrupted, resumed, changeOf(2, 5, 3, 3, 2, 3, 2, 10.1, true), checkpointOf(2, 5, 4, 10, "live"),
		changeOf(2, 6, 1, 4, 3, 4, 10, 11.1, false), checkpointOf(2, 6, 2, 11, "live"),
		checkpointOf(2, 7, 1, 20, "live"),
	}
	for i := range all {
		all[i].seq = uint64(i + 1)
	}
	return all
}

// soundTruth is what the tenant of sound has shown, and when.
func soundTruth(t *testing.T) *truth {
	tr := newTruth(t, time.Second)
	image := func(n int) string { return "login_id=anna in_calls_handled_per_day=" + fmt.Sprint(n) + " " }
	show := func(owner string, seconds float64, n int) {
		tr.answers[owner] = append(tr.answers[owner], answer{
			arrived: at(seconds + 0.01), done: at(seconds + 0.05), sure: true, picture: picture{"agent.anna": image(n)},
		})
	}
	show("1", 1, 1)
	show("1", 1.5, 1)
	show("1", 2, 2)
	show("2", 10, 3)
	show("2", 11, 4)
	for s := 12.0; s < 20; s++ {
		show("2", s, 4)
	}
	// A token has ended: refused, and asked again in the same millisecond.
	tr.answers["2"] = append(tr.answers["2"], answer{arrived: at(20.0003), done: at(20.0004), sure: true})
	show("2", 20, 4)
	for _, s := range []struct {
		at float64
		n  int
	}{{0, 1}, {1.8, 2}, {5, 3}, {10.5, 4}} {
		tr.spans["agent.anna"] = append(tr.spans["agent.anna"], span{at(s.at), at(s.at), image(s.n)})
	}
	return tr
}

func audit(all []record, tr *truth) []finding {
	found, _ := auditTruth(all, tr, 5*time.Second, 2)
	return append(auditStream(all), found...)
}

func TestAuditOfASoundStream(t *testing.T) {
	t.Parallel()
	if found := audit(sound(), soundTruth(t)); len(found) > 0 {
		t.Errorf("\n%s", first(found, 5))
	}
}

func TestAuditFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	without := func(all []record, ids ...string) []record {
		return slices.DeleteFunc(all, func(r record) bool { return slices.Contains(ids, r.ID) })
	}
	at := func(all []record, id string) *record {
		return &all[slices.IndexFunc(all, func(r record) bool { return r.ID == id })]
	}
	tests := map[string]struct {
		want  string
		spoil func(all []record, tr *truth) []record
	}{
		"an event is missing": {lost, func(all []record, _ *truth) []record { return without(all, "acme-1-3-1") }},
		"a batch is missing":  {lost, func(all []record, _ *truth) []record { return without(all, "acme-2-6-1", "acme-2-6-2") }},
		"a change and its return are missing": {lost, func(all []record, tr *truth) []record {
			tr.answers["2"][3].picture = picture{"agent.anna": "login_id=anna in_calls_handled_per_day=5 "}
			return all
		}},
		"a departure is missing": {lost, func(all []record, tr *truth) []record {
			for i := range tr.answers["2"] {
				if i > 2 {
					tr.answers["2"][i].picture = picture{"agent.bob": "login_id=bob "}
				}
			}
			return all
		}},
		"a version that lasted is missing, whoever looked": {lost, func(all []record, tr *truth) []record {
			tr.spans["agent.carl"] = []span{{checkerStart, checkerStart, "login_id=carl "}, {checkerStart.Add(9 * time.Second), checkerStart.Add(9 * time.Second), ""}}
			at(all, "acme-2-5-2").Data.Observed.After = new(checkerStart.Add(8 * time.Second))
			return all
		}},
		"an id is there twice": {doubled, func(all []record, _ *truth) []record {
			at(all, "acme-2-6-1").ID, at(all, "acme-2-6-1").msgID = "acme-2-5-3", "acme-2-5-3"
			return all
		}},
		"a change is told twice": {doubled, func(all []record, _ *truth) []record {
			again := *at(all, "acme-2-6-1")
			again.ID, again.msgID, again.Data.Revision, again.Data.Poll = "acme-2-7-1", "acme-2-7-1", 5, 7
			again.Data.Before = again.Data.After
			return slices.Insert(all, len(all)-1, again)
		}},
		"a revision is missing": {broken, func(all []record, _ *truth) []record { at(all, "acme-2-6-1").Data.Revision = 5; return all }},
		"a revision comes again": {disorder, func(all []record, _ *truth) []record {
			at(all, "acme-2-6-1").Data.Revision = 3
			return all
		}},
		"before is not the last after": {broken, func(all []record, _ *truth) []record {
			at(all, "acme-2-6-1").Data.Before = map[string]string{"login_id": "anna"}
			return all
		}},
		"the old writer goes on": {fenced, func(all []record, _ *truth) []record {
			late := checkpointOf(1, 8, 1, 21, "live")
			return append(all, late)
		}},
		"a term without a start": {fenced, func(all []record, _ *truth) []record { return without(all, "acme-2-4-1", "acme-2-4-2") }},
		"two writers in one term": {fenced, func(all []record, _ *truth) []record {
			at(all, "acme-2-7-1").Data.Instance = "host-3"
			return all
		}},
		"polls out of order": {disorder, func(all []record, _ *truth) []record {
			r := at(all, "acme-2-7-1")
			r.ID, r.msgID, r.Data.Poll = "acme-2-3-1", "acme-2-3-1", 3
			return all
		}},
		"a checkpoint counts wrongly": {unsealed, func(all []record, _ *truth) []record { at(all, "acme-2-5-4").Data.Events = 2; return all }},
		"events without a checkpoint": {unsealed, func(all []record, _ *truth) []record { return all[:len(all)-2] }},
		"a batch is stored half":      {unsealed, func(all []record, _ *truth) []record { at(all, "acme-2-5-3").batch = "another"; return all }},
		"a window begins after the change": {window, func(all []record, _ *truth) []record {
			at(all, "acme-2-6-1").Data.Observed.After = new(checkerStart.Add(10600 * time.Millisecond))
			return all
		}},
		"a window ends before the change": {window, func(all []record, _ *truth) []record {
			at(all, "acme-2-6-1").Data.Observed.By = checkerStart.Add(10300 * time.Millisecond)
			return all
		}},
		"a time without sight is not told": {blind, func(all []record, _ *truth) []record {
			at(all, "acme-2-5-1").subject, at(all, "acme-2-5-2").subject = "feed.other", "feed.other"
			return all
		}},
		"a time without sight is told too short": {blind, func(all []record, _ *truth) []record {
			at(all, "acme-2-5-2").Data.Observed.After = new(checkerStart.Add(4 * time.Second))
			return all
		}},
		"a change over a gap without a word": {blind, func(all []record, _ *truth) []record { at(all, "acme-2-5-3").Data.AfterGap = false; return all }},
		"live while interrupted":             {blind, func(all []record, _ *truth) []record { return without(all, "acme-2-5-2") }},
		"blindness where there was sight": {falsely, func(all []record, _ *truth) []record {
			at(all, "acme-2-5-2").Data.Observed.After = new(checkerStart.Add(time.Second))
			return all
		}},
		"a moment's blindness": {falsely, func(all []record, _ *truth) []record {
			at(all, "acme-2-5-2").Data.Observed.By = checkerStart.Add(3 * time.Second)
			return all
		}},
		"a checkpoint vouches for a poll that never was": {doubled, func(all []record, _ *truth) []record {
			at(all, "acme-2-7-1").Data.ObservedUntil = new(checkerStart.Add(40 * time.Second))
			return all
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := soundTruth(t)
			found := audit(test.spoil(sound(), tr), tr)
			if count(found)[test.want] == 0 {
				t.Errorf("the audit does not find it %q, but %v\n%s", test.want, slices.Sorted(maps.Keys(count(found))), first(found, 3))
			}
		})
	}
}
