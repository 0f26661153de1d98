package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit"
)

// message is one message of a stream that an auditor reads.
type message struct {
	seq     uint64
	stored  time.Time
	subject string
	header  nats.Header
	body    []byte
}

// goldenStream is the recorded day as a stream would hold it.
func goldenStream(t testing.TB) []message {
	t.Helper()
	text, err := os.ReadFile("../testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var all []message
	for line := range bytes.Lines(text) {
		subject, body, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		m := message{seq: uint64(len(all) + 11), subject: string(subject), header: nats.Header{}, body: body}
		m.header.Set("Nats-Msg-Id", m.id())
		m.header.Set("Content-Type", "application/cloudevents+json")
		if strings.HasSuffix(m.subject, ".disappeared") {
			m.header.Set("KV-Operation", "DEL")
		}
		all = append(all, m)
	}
	return all
}

// message is m as an auditor reads it.
func (m message) message() audit.Message {
	return audit.Message{Seq: m.seq, Stored: m.stored, Subject: m.subject, Header: m.header, Body: m.body}
}

func (m message) id() string {
	var e struct{ ID string }
	if json.Unmarshal(m.body, &e) != nil {
		return ""
	}
	return e.ID
}

func judge(t *testing.T, o audit.Options, all []message) audit.Report {
	t.Helper()
	a, err := audit.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		a.Add(m.message())
	}
	return a.Report()
}

func TestAuditOfASoundDay(t *testing.T) {
	t.Parallel()
	all := goldenStream(t)
	r := judge(t, audit.Options{Whole: true}, all)
	if !r.OK || len(r.Faults) > 0 || len(r.Notes) > 0 {
		t.Errorf("unsound: %v, notes %v", r.Faults, r.Notes)
	}
	if r.Events != len(all) || len(r.Tenants) != 1 || r.FirstSeq != 11 || r.LastSeq != uint64(10+len(all)) {
		t.Errorf("report %+v", r)
	}
	day := r.Tenants[0]
	if day.Tenant != "acme" || day.Status != "stopped" || day.Checkpoints != 19 || day.StartedMidChain != 0 || day.Entities != 11 {
		t.Errorf("tenant %+v", day)
	}
	if len(day.Gaps) != 1 || day.Gaps[0].Kind != "interrupted" || day.Gaps[0].Cause == "" || day.Gaps[0].To.IsZero() || day.GapSeconds < 5 {
		t.Errorf("gaps %+v", day.Gaps)
	}
}

// TestAuditNamesWhatIsWrong breaks a valid day in every way that an auditor must report.
func TestAuditNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	edit := func(old, text string) func(*testing.T, []message) []message {
		return func(t *testing.T, all []message) []message {
			for i := range all {
				if strings.Contains(string(all[i].body), old) {
					all[i].body = []byte(strings.Replace(string(all[i].body), old, text, 1))
					return all
				}
			}
			t.Fatalf("the day has no %s", old)
			return nil
		}
	}
	without := func(ids ...string) func(*testing.T, []message) []message {
		return func(t *testing.T, all []message) []message {
			kept := slices.DeleteFunc(slices.Clone(all), func(m message) bool { return slices.Contains(ids, m.id()) })
			if len(kept) != len(all)-len(ids) {
				t.Fatalf("the day has not all of %v", ids)
			}
			return kept
		}
	}
	header := func(id, name, value string) func(*testing.T, []message) []message {
		return func(t *testing.T, all []message) []message {
			all[index(t, all, id)].header.Set(name, value)
			return all
		}
	}
	tests := map[string]struct {
		harm   func(*testing.T, []message) []message
		sparse bool     // not every sequence is to be expected
		want   []string // code, sequence, entity: in this order, others may stand between
	}{
		"lost event": {harm: without("acme-1-8-2"), sparse: true, want: []string{
			"missing acme-1-8-3 availability.Voice=20Inbound", "count acme-1-8-5", "revision acme-1-18-1 agent.anna=2Elopez",
		}},
		"lost first event of a poll": {harm: without("acme-1-8-1"), sparse: true, want: []string{
			"missing acme-1-8-2 agent.anna=2Elopez", "revision acme-1-8-2 agent.anna=2Elopez",
		}},
		"lost poll":        {harm: without("acme-1-24-1", "acme-1-24-2"), sparse: true, want: []string{"count acme-1-25-2"}},
		"lost from stream": {harm: without("acme-1-78-1"), want: []string{"sequence acme-1-82-1"}},
		"lost checkpoint":  {harm: without("acme-1-8-5"), sparse: true, want: []string{"uncovered acme-1-12-1"}},
		"lost resumption":  {harm: without("acme-1-55-1"), sparse: true, want: []string{"missing acme-1-55-2"}},
		"doubled event": {harm: func(t *testing.T, all []message) []message {
			i := index(t, all, "acme-1-8-2")
			return slices.Insert(all, i+1, all[i])
		}, sparse: true, want: []string{"duplicate acme-1-8-2 agent.anna=2Elopez"}},
		"doubled poll": {harm: func(t *testing.T, all []message) []message {
			i := index(t, all, "acme-1-8-1")
			return slices.Insert(all, i+5, all[i:i+5]...)
		}, sparse: true, want: []string{"duplicate acme-1-8-1", "duplicate acme-1-8-5"}},
		"event repeated later": {harm: func(t *testing.T, all []message) []message {
			return slices.Insert(all, index(t, all, "acme-1-21-1"), all[index(t, all, "acme-1-8-2")])
		}, sparse: true, want: []string{"order acme-1-8-2 agent.anna=2Elopez", "uncovered acme-1-21-1"}},
		"swapped events": {harm: func(t *testing.T, all []message) []message {
			i := index(t, all, "acme-1-8-1")
			all[i], all[i+1] = all[i+1], all[i]
			return all
		}, sparse: true, want: []string{"missing acme-1-8-2 agent.anna=2Elopez", "order acme-1-8-1 agent.anna=2Elopez"}},
		"swapped polls": {harm: func(t *testing.T, all []message) []message {
			i, j := index(t, all, "acme-1-24-1"), index(t, all, "acme-1-25-1")
			return slices.Concat(all[:i], all[j:j+2], all[i:j], all[j+2:])
		}, sparse: true, want: []string{"order acme-1-24-1 agent.carla"}},
		"cut in a batch": {harm: func(t *testing.T, all []message) []message {
			return all[:index(t, all, "acme-1-8-3")]
		}, want: []string{"uncovered"}},
		"half an event": {harm: func(t *testing.T, all []message) []message {
			last := &all[len(all)-1]
			last.body = last.body[:len(last.body)/2]
			return all
		}, want: []string{"schema", "uncovered"}},
		"edited value":            {harm: edit(`"in_calls_handled_per_day":"13"}`, `"in_calls_handled_per_day":"99"}`), want: []string{"chain acme-1-18-1 agent.anna=2Elopez"}},
		"edited state":            {harm: edit(`"from":{"state":"ready"}`, `"from":{"state":"busy"}`), want: []string{"image acme-1-8-1 agent.anna=2Elopez"}},
		"edited list of changes":  {harm: edit(`"changed":["in_calls_handled_per_day"]`, `"changed":["first_last_name"]`), want: []string{"image acme-1-8-2 agent.anna=2Elopez"}},
		"edited availability":     {harm: edit(`"available":false,"previous":true`, `"available":null,"previous":true`), want: []string{"chain acme-1-18-2 availability.Voice=20Inbound"}},
		"edited window":           {harm: edit(`"by":"2026-11-23T21:13:40.968Z"},"app"`, `"by":"2026-11-23T21:13:41.968Z"},"app"`), want: []string{"window acme-1-8-4 totals.bridge"}},
		"window ends before":      {harm: edit(`"by":"2026-11-23T21:13:44.468Z"},"agent"`, `"by":"2026-11-23T20:13:44.468Z"},"agent"`), want: []string{"window acme-1-15-1 agent.bob"}},
		"edited count":            {harm: edit(`"events":4,`, `"events":5,`), want: []string{"count acme-1-8-5"}},
		"edited heads":            {harm: edit(`"agents":3,"services":2`, `"agents":4,"services":2`), want: []string{"count acme-1-24-2", "count acme-1-25-2"}},
		"edited parts":            {harm: edit(`"part":1,"parts":1,"events":4,`, `"part":1,"parts":2,"events":4,`), want: []string{"part acme-1-12-1"}},
		"edited status":           {harm: edit(`"status":"interrupted","epoch":1,"part":1,"parts":1,"events":1`, `"status":"live","epoch":1,"part":1,"parts":1,"events":1`), want: []string{"feed acme-1-1-2"}},
		"edited watermark":        {harm: edit(`"observed_until":"2026-11-23T21:14:15.966Z","agents"`, `"observed_until":null,"agents"`), want: []string{"watermark acme-1-78-1"}},
		"not a schema's":          {harm: edit(`"revision":2,`, `"revision":0,`), want: []string{"schema acme-1-8-1 agent.anna=2Elopez"}},
		"another tenant's id":     {harm: edit(`"id":"acme-1-8-1"`, `"id":"umbrella-1-8-1"`), want: []string{"schema umbrella-1-8-1"}},
		"poll of another id":      {harm: edit(`"id":"acme-1-78-1"`, `"id":"acme-1-79-1"`), want: []string{"order acme-1-79-1"}},
		"raised twice":            {harm: edit(`"type":"bpcc.threshold.cleared.v1"`, `"type":"bpcc.threshold.raised.v1"`), want: []string{"chain"}},
		"resumed out of the blue": {harm: edit(`"type":"bpcc.feed.interrupted.v1"`, `"type":"bpcc.feed.stopped.v1"`), want: []string{"feed acme-1-55-1"}},
		"an epoch without start":  {harm: edit(`"id":"acme-1-78-1"`, `"id":"acme-2-78-1"`), want: []string{"epoch acme-2-78-1", "epoch acme-1-82-1"}},
		"on another's subject": {harm: func(t *testing.T, all []message) []message {
			all[index(t, all, "acme-1-15-1")].subject = "bpcc.v1.acme.agent.carla.state_changed"
			return all
		}, want: []string{"subject acme-1-15-1 agent.bob"}},
		"message id":                  {harm: header("acme-1-15-1", "Nats-Msg-Id", "x"), want: []string{"header acme-1-15-1 agent.bob"}},
		"content type":                {harm: header("acme-1-15-1", "Content-Type", "text/plain"), want: []string{"header acme-1-15-1 agent.bob"}},
		"false tombstone":             {harm: header("acme-1-15-1", "KV-Operation", "DEL"), want: []string{"tombstone acme-1-15-1 agent.bob"}},
		"tombstone left out":          {harm: header("acme-1-31-3", "KV-Operation", ""), want: []string{"tombstone acme-1-31-3 agent.bob"}},
		"another writer's checkpoint": {harm: header("acme-1-8-5", "Nats-Expected-Last-Subject-Sequence", "12"), want: []string{"missing acme-1-8-5"}},
		"nothing":                     {harm: func(*testing.T, []message) []message { return nil }, want: []string{"empty"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := test.harm(t, goldenStream(t))
			if test.sparse {
				for i := range all {
					all[i].seq = uint64(2*i + 1)
				}
			}
			r := judge(t, audit.Options{Whole: !test.sparse}, all)
			if r.OK {
				t.Fatal("it is held to be sound")
			}
			var got []string
			for _, f := range r.Faults {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Code, f.ID, f.Entity)))
				if i := index(t, all, f.ID); f.ID != "" && f.Seq != all[i].seq && f.Code != "duplicate" && f.Code != "order" {
					t.Errorf("%s %s is said to have sequence %d, it has %d", f.Code, f.ID, f.Seq, all[i].seq)
				}
			}
			rest := got
			for _, want := range test.want {
				i := slices.IndexFunc(rest, func(s string) bool { return s == want || strings.HasPrefix(s, want+" ") })
				if i < 0 {
					t.Fatalf("no %q in\n%s", want, strings.Join(got, "\n"))
				}
				rest = rest[i+1:]
			}
		})
	}
}

// index finds a message by its event's id.
func index(t *testing.T, all []message, id string) int {
	t.Helper()
	i := slices.IndexFunc(all, func(m message) bool { return m.id() == id })
	if i < 0 && id != "" {
		t.Fatalf("the day has no event %s", id)
	}
	return i
}

// TestAuditBeginsAnywhere cuts off the beginning of a day: from any event on, the rest is valid,
// its chains begin there, and the cut is noted.
func TestAuditBeginsAnywhere(t *testing.T) {
	t.Parallel()
	all := goldenStream(t)
	for i := range all {
		r := judge(t, audit.Options{Whole: true}, all[i:])
		if !r.OK {
			t.Errorf("from %s: %+v", all[i].id(), r.Faults)
		}
		inside := i > 0 && !strings.HasSuffix(all[i-1].subject, ".feed.checkpoint")
		if noted := len(r.Notes) == 1 && r.Notes[0].Code == "truncated"; noted != inside {
			t.Errorf("from %s: notes %+v", all[i].id(), r.Notes)
		}
	}
}

// TestAuditOfTenants mixes two tenants in one stream, batch by batch.
func TestAuditOfTenants(t *testing.T) {
	t.Parallel()
	day := goldenStream(t)
	var mixed []message
	for begin, i := 0, 0; i < len(day); i++ {
		if !strings.HasSuffix(day[i].subject, ".feed.checkpoint") {
			continue
		}
		mixed = append(mixed, day[begin:i+1]...)
		for _, m := range day[begin : i+1] {
			m.subject = strings.Replace(m.subject, "acme", "b=2Ec", 1)
			m.body = []byte(strings.NewReplacer(`"id":"acme-`, `"id":"b.c-`, `"follows":"acme-`, `"follows":"b.c-`, `"tenant":"acme"`, `"tenant":"b.c"`).Replace(string(m.body)))
			m.header = nats.Header{"Nats-Msg-Id": {m.id()}, "Content-Type": m.header["Content-Type"], "KV-Operation": m.header["KV-Operation"]}
			mixed = append(mixed, m)
		}
		begin = i + 1
	}
	for i := range mixed {
		mixed[i].seq = uint64(i + 1)
	}
	r := judge(t, audit.Options{Whole: true}, mixed)
	if !r.OK || len(r.Tenants) != 2 || r.Tenants[0].Events != len(day) || r.Tenants[1].Tenant != "b.c" {
		t.Errorf("both: %+v, %+v", r.Faults, r.Tenants)
	}
	mixed = slices.DeleteFunc(mixed, func(m message) bool { return m.id() == "acme-1-8-2" })
	if r := judge(t, audit.Options{Tenant: "b.c"}, mixed); !r.OK || len(r.Tenants) != 1 {
		t.Errorf("the other tenant alone: %+v", r.Faults)
	}
	if r := judge(t, audit.Options{Tenant: "acme"}, mixed); r.OK || r.Tenants[0].Tenant != "acme" {
		t.Errorf("the tenant with a loss alone: %+v", r)
	}
}

// TestAuditOfAnExport knows neither subjects, sequences nor headers.
func TestAuditOfAnExport(t *testing.T) {
	t.Parallel()
	a, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range goldenStream(t) {
		a.Add(audit.Message{Body: m.body})
	}
	if r := a.Report(); !r.OK || r.Tenants[0].Tenant != "acme" {
		t.Errorf("%+v", r)
	}
}

// TestAuditMissesNoBatchOfAnExport removes a batch that no other check misses: a watermark without
// events. The checkpoint that follows names it.
func TestAuditMissesNoBatchOfAnExport(t *testing.T) {
	t.Parallel()
	a, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range goldenStream(t) {
		if m.id() != "acme-1-78-1" {
			a.Add(audit.Message{Body: m.body})
		}
	}
	r := a.Report()
	if len(r.Faults) != 1 || r.Faults[0].Code != "missing" || !strings.Contains(r.Faults[0].Text, "acme-1-78-1") {
		t.Errorf("faults: %+v", r.Faults)
	}
}
