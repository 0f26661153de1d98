package answer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/diff/image"
	"bpcc-nats/schemas"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// never is when no service was checked.
func never(string) (time.Time, bool) { return time.Time{}, false }

// checked is when every service was checked in this term.
func checked(seconds float64) func(string) (time.Time, bool) {
	return func(string) (time.Time, bool) { return at(seconds), true }
}

// checkedBefore is when every service was checked in the term before.
func checkedBefore(seconds float64) func(string) (time.Time, bool) {
	return func(string) (time.Time, bool) { return at(seconds), false }
}

// live is a feed that was observed until then.
func live(seconds float64) answer.Feed {
	return answer.Feed{
		Status: event.StatusLive, Epoch: 3, Poll: 18250, Instance: "one", ObservedUntil: at(seconds), MaxAge: 5 * time.Second, MaxCheckAge: 6 * time.Second,
	}
}

func base(revision uint64, by float64) event.EntityBase {
	return event.EntityBase{
		Base: event.Base{Tenant: "acme", Poll: 18250}, Revision: revision, Observed: event.Between(at(by-2), at(by)),
	}
}

func newEvent(index uint64, name string, d event.Data) event.Event {
	return event.Event{ID: event.ID{Epoch: 3, Poll: 18250, Index: index}, Name: name, Time: at(1), Data: d}
}

func agentEvent(index, revision uint64, verb, id, state string) event.Event {
	d := &event.AgentData{EntityBase: base(revision, 1), Agent: event.AgentRef{ID: id}}
	d.StateRevision = 1
	if verb != "disappeared" {
		d.After = image.New(image.Stat{Name: "login_id", Text: id}, image.Stat{Name: "acd_state", Text: state}, image.Stat{Name: "team_name", Text: "Sales"})
	}
	return newEvent(index, "agent."+verb, d)
}

func availabilityEvent(index, revision uint64, service string, value *bool, reason string) event.Event {
	d := event.AvailabilityObservedData{EntityBase: base(revision, 1), Service: service, Available: value, Reason: reason}
	if revision == 1 {
		return newEvent(index, "availability.observed", &d)
	}
	return newEvent(index, "availability.changed", &event.AvailabilityChangedData{AvailabilityObservedData: d})
}

var (
	yes = true
	no  = false
)

// day is what is published of a small contact centre.
func day() []event.Event {
	value, cleared := "6", newEvent(7, event.ThresholdCleared, &event.ThresholdData{
		EntityBase: base(2, 1), Rule: "slow", Severity: "critical", Entity: event.EntityRef{Kind: "service", ID: "Voice In"}, Stat: "service_level", Limit: 80, Op: ">=", For: "0s",
		ClearedBy: event.ClearedByEntityGone,
	})
	return []event.Event{
		agentEvent(1, 41, "state_changed", "john.smith", "not_ready"), agentEvent(2, 1, "observed", "anna", ""), agentEvent(3, 1, "observed", "gone", "ready"),
		newEvent(4, "service.stats_changed", &event.ServiceData{EntityBase: base(9, 1), Service: "Voice In", RowData: event.RowData{After: image.New(image.Stat{Name: "in_calls_waiting", Text: "6"})}}),
		newEvent(5, "totals.observed", &event.TotalsData{EntityBase: base(1, 1), App: "bridge", RowData: event.RowData{After: image.New(image.Stat{Name: "in_calls_waiting", Text: "7"})}}),
		newEvent(6, event.ThresholdRaised, &event.ThresholdData{
			EntityBase: base(1, 1), Rule: "back.log", Severity: "warning", Entity: event.EntityRef{Kind: "service", ID: "Voice In"}, Stat: "in_calls_waiting", Value: &value, Limit: 5, Op: ">=", For: "10s",
			PendingSince: event.Floor(at(-9)),
		}),
		cleared,
		availabilityEvent(8, 16, "Voice In", &yes, ""), availabilityEvent(9, 1, "Chat", &no, ""), availabilityEvent(10, 5, "Fax", nil, "timeout"),
		agentEvent(11, 2, "disappeared", "gone", ""),
	}
}

// openDay is a state with all that is published by then.
func openDay() *answer.State {
	s := answer.NewState("acme")
	s.Update(day(), live(1), func(service string) (time.Time, bool) {
		if service == "Fax" {
			return at(-30), true
		}
		return at(1.5), true
	})
	return s
}

// ask asks and validates the reply.
func ask[T any](t *testing.T, schema string, reply func([]byte, time.Time) ([]byte, error), request string, now time.Time) T {
	t.Helper()
	body, err := reply([]byte(request), now)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	if err := schemas.ValidateMessage(schema, body); err != nil {
		t.Errorf("%s: %v\n%s", request, err, body)
	}
	var r T
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	return r
}

func askService(t *testing.T, s *answer.State, service string, now time.Time) svc.AvailabilityReply {
	t.Helper()
	return ask[svc.AvailabilityReply](t, "availability.reply", s.Availability, fmt.Sprintf(`{"service":%q}`, service), now)
}

// TestAvailability: the whole of a reply.
func TestAvailability(t *testing.T) {
	t.Parallel()
	want := svc.AvailabilityReply{
		Tenant: "acme",
		ServiceAvailability: svc.ServiceAvailability{
			Service: "Voice In", Available: &yes, CheckedAt: event.Floor(at(1.5)),
			Freshness: svc.Freshness{Fresh: true, Age: svc.Age(500 * time.Millisecond), MaxAge: svc.Age(6 * time.Second)},
			Event:     svc.LastEvent{ID: "acme-3-18250-8", Type: "bpcc.availability.changed.v1", Time: event.Floor(at(1)), Revision: 16, Observed: event.Between(at(-1), at(1))},
		},
		Feed: svc.Feed{Status: "live", ObservedUntil: event.Floor(at(1)), Age: svc.Age(time.Second), Epoch: 3, Instance: "one", Poll: 18250},
	}
	s := openDay()
	if d := cmp.Diff(want, askService(t, s, "Voice In", at(2))); d != "" {
		t.Errorf("reply (-want +got)\n%s", d)
	}
	unknown := askService(t, s, "Fax", at(2))
	if unknown.Available != nil || unknown.Reason != "timeout" || unknown.Fresh || unknown.Age != svc.Age(32*time.Second) {
		t.Errorf("unknown: %+v", unknown)
	}
	for _, request := range []string{"", "  ", "{}", `{"service":null}`, "null"} {
		all := ask[svc.AvailabilitiesReply](t, "availabilities.reply", s.Availability, request, at(2))
		var names []string
		for _, a := range all.Services {
			names = append(names, a.Service)
			if d := cmp.Diff(askService(t, s, a.Service, at(2)).ServiceAvailability, a); d != "" {
				t.Errorf("%s (-alone +among all)\n%s", a.Service, d)
			}
		}
		if d := cmp.Diff([]string{"Chat", "Fax", "Voice In"}, names); d != "" || !cmp.Equal(all.Feed, want.Feed) {
			t.Errorf("%q: services (-want +got)\n%s, feed %+v", request, d, all.Feed)
		}
	}
	empty := ask[svc.AvailabilitiesReply](t, "availabilities.reply", answerableState(t).Availability, "", at(2))
	if empty.Services == nil || len(empty.Services) > 0 {
		t.Errorf("no services: %v", empty.Services)
	}
}

// answerableState is a state without entities.
func answerableState(t *testing.T) *answer.State {
	t.Helper()
	s := answer.NewState("acme")
	s.Update(nil, live(1), never)
	return s
}

// TestFreshness: an availability is as fresh as its check, all else as the feed.
func TestFreshness(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change    func(f *answer.Feed)
		checkedAt func(string) (time.Time, bool)
		now       float64
		checkAge  svc.Age
		fresh     bool // of the availability
		age       svc.Age
		live      bool // whether the state is fresh
	}{
		"now":                    {nil, checked(1.5), 2, svc.Age(time.Second / 2), true, svc.Age(time.Second), true},
		"as old as they may":     {nil, checked(0), 6, svc.Age(6 * time.Second), true, svc.Age(5 * time.Second), true},
		"the check is too old":   {nil, checked(0), 6.001, svc.Age(6001 * time.Millisecond), false, svc.Age(5001 * time.Millisecond), false},
		"never checked":          {nil, never, 2, svc.NoAge, false, svc.Age(time.Second), true},
		"polls fail":             {func(f *answer.Feed) { f.Status, f.Cause = event.StatusInterrupted, "source" }, checked(1.5), 2, svc.Age(time.Second / 2), true, svc.Age(time.Second), false},
		"stopped":                {func(f *answer.Feed) { f.Status = event.StatusStopped }, checked(1.5), 2, svc.Age(time.Second / 2), true, svc.Age(time.Second), false},
		"never polled":           {func(f *answer.Feed) { f.Status, f.ObservedUntil = event.StatusInterrupted, time.Time{} }, checked(1.5), 2, svc.Age(time.Second / 2), true, svc.NoAge, false},
		"checks are seldom":      {func(f *answer.Feed) { f.MaxCheckAge = time.Minute }, checked(0), 60, svc.Age(time.Minute), true, svc.Age(59 * time.Second), false},
		"another leader checked": {nil, checkedBefore(1.5), 2, svc.Age(time.Second / 2), false, svc.Age(time.Second), true},
		"a clock set back":       {nil, checked(3), 2, 0, true, svc.Age(time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := live(1)
			if test.change != nil {
				test.change(&f)
			}
			s := answer.NewState("acme")
			s.Update(day(), f, test.checkedAt)
			a := askService(t, s, "Chat", at(test.now))
			if a.Age != test.checkAge || a.Fresh != test.fresh || a.Feed.Status != f.Status || a.Feed.Cause != f.Cause || a.Feed.Age != test.age {
				t.Errorf("availability: %+v", a)
			}
			state := ask[svc.StateReply](t, "state.reply", s.State, `{"kind":"agent","id":"anna"}`, at(test.now))
			if state.Age != test.age || state.Fresh != test.live || state.MaxAge != svc.Age(5*time.Second) || !cmp.Equal(a.Feed, state.Feed) {
				t.Errorf("agent: %+v", state)
			}
			again := ask[svc.StateReply](t, "state.reply", s.State, `{"kind":"availability","id":"Chat"}`, at(test.now))
			if !cmp.Equal(again.Freshness, a.Freshness) || again.Availability.CheckedAt != a.CheckedAt || *again.Availability.Available {
				t.Errorf("availability as a state: %+v, want %+v", again, a)
			}
		})
	}
}

// TestSuspendedMachine: the monotonic clock of a machine that was suspended says that no time has passed.
func TestSuspendedMachine(t *testing.T) {
	t.Parallel()
	s := answer.NewState("acme")
	before := time.Now()
	f := live(0)
	f.ObservedUntil = before
	s.Update(day(), f, func(string) (time.Time, bool) { return before.Add(-time.Hour).Round(0), true })
	if a := askService(t, s, "Chat", before); a.Fresh || a.Age != svc.Age(time.Hour) {
		t.Errorf("%+v", a)
	}
}

// TestState: the replies about each kind.
func TestState(t *testing.T) {
	t.Parallel()
	s := openDay()
	for request, want := range map[string]svc.StateReply{
		`{"kind":"agent","id":"john.smith"}`: {
			Agent: &event.AgentRef{ID: "john.smith", LoginID: "john.smith", Team: "Sales"}, State: &event.AgentState{State: "not_ready"},
			Event: svc.LastEvent{ID: "acme-3-18250-1", Type: "bpcc.agent.state_changed.v1", Revision: 41, StateRevision: 1},
		},
		`{"kind":"agent","id":"anna"}`: {
			Agent: &event.AgentRef{ID: "anna", LoginID: "anna", Team: "Sales"}, State: &event.AgentState{State: "logged_out"},
			Event: svc.LastEvent{ID: "acme-3-18250-2", Type: "bpcc.agent.observed.v1", Revision: 1, StateRevision: 1},
		},
		`{"kind":"service","id":"Voice In"}`: {Event: svc.LastEvent{ID: "acme-3-18250-4", Type: "bpcc.service.stats_changed.v1", Revision: 9}},
		`{"kind":"totals","id":"bridge"}`:    {Event: svc.LastEvent{ID: "acme-3-18250-5", Type: "bpcc.totals.observed.v1", Revision: 1}},
		`{"kind":"availability","id":"Fax"}`: {
			Availability: &svc.CheckedAvailability{Reason: "timeout", CheckedAt: event.Floor(at(-30))},
			Event:        svc.LastEvent{ID: "acme-3-18250-10", Type: "bpcc.availability.changed.v1", Revision: 5},
		},
		`{"kind":"threshold","rule":"back.log","id":"Voice In"}`: {
			Threshold: &svc.Threshold{
				Raised: true, Severity: "warning", Entity: event.EntityRef{Kind: "service", ID: "Voice In"}, Stat: "in_calls_waiting", Value: new("6"), Limit: 5, Op: ">=", For: "10s",
				PendingSince: event.Floor(at(-9)),
			},
			Event: svc.LastEvent{ID: "acme-3-18250-6", Type: "bpcc.threshold.raised.v1", Revision: 1},
		},
		`{"kind":"threshold","rule":"slow","id":"Voice In"}`: {
			Threshold: &svc.Threshold{
				Severity: "critical", Entity: event.EntityRef{Kind: "service", ID: "Voice In"}, Stat: "service_level", Limit: 80, Op: ">=", For: "0s", ClearedBy: "entity_gone",
			},
			Event: svc.LastEvent{ID: "acme-3-18250-7", Type: "bpcc.threshold.cleared.v1", Revision: 2},
		},
	} {
		got := ask[svc.StateReply](t, "state.reply", s.State, request, at(2))
		if err := json.Unmarshal([]byte(request), &want.StateRequest); err != nil {
			t.Fatal(err)
		}
		want.Tenant, want.Feed, want.Freshness = "acme", got.Feed, got.Freshness
		want.Event.Time, want.Event.Observed = event.Floor(at(1)), event.Between(at(-1), at(1))
		want.Image = got.Image
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", request, d)
		}
		if row := got.Kind == "agent" || got.Kind == "service" || got.Kind == "totals"; row == got.Image.IsZero() {
			t.Errorf("%s: image %v", request, got.Image)
		}
	}
	waiting := ask[svc.StateReply](t, "state.reply", s.State, `{"kind":"service","id":"Voice In"}`, at(2))
	if got := waiting.Image.Text("in_calls_waiting"); got != "6" {
		t.Errorf("the image has %q", got)
	}
}

// TestRefusedRequests: what is wrong is said in one line.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	s := openDay()
	long := `{"service":"` + strings.Repeat("x", 20_000) + `"}`
	for _, test := range []struct {
		reply   func([]byte, time.Time) ([]byte, error)
		request string
		code    int
		says    string
	}{
		{s.Availability, `{`, svc.BadRequest, "unexpected EOF"},
		{s.Availability, `Billing`, svc.BadRequest, "invalid character 'B'"},
		{s.Availability, "{\"servi\nce\":1}", svc.BadRequest, `invalid character '\n'`},
		{s.Availability, `[]`, svc.BadRequest, "array"},
		{s.Availability, `"Billing"`, svc.BadRequest, "string"},
		{s.Availability, `{"service":1}`, svc.BadRequest, "service"},
		{s.Availability, `{"servce":"Voice In"}`, svc.BadRequest, "servce"},
		{s.Availability, `{"service":"Voice In"} {}`, svc.BadRequest, "more than one"},
		{s.Availability, `{"service":"Voice In"}x`, svc.BadRequest, "invalid character 'x'"},
		{s.Availability, `{"service":""}`, svc.BadRequest, "service is empty"},
		{s.Availability, long, svc.BadRequest, "larger than 16384 bytes"},
		{s.Availability, `{"service":"Sales"}`, svc.NotFound, "availability"},
		{s.Availability, `{"service":"voice in"}`, svc.NotFound, "availability"},
		{s.Availability, `{"service":"Voice=20In"}`, svc.NotFound, "availability"},
		{s.State, ``, svc.BadRequest, "EOF"},
		{s.State, `{}`, svc.BadRequest, "kind is none of agent, service"},
		{s.State, `{"kind":"feed","id":"x"}`, svc.BadRequest, "kind is none of"},
		{s.State, `{"kind":"agent"}`, svc.BadRequest, "id is missing"},
		{s.State, `{"kind":"agent","id":"anna","rule":"x"}`, svc.BadRequest, "rule"},
		{s.State, `{"kind":"threshold","id":"Voice In"}`, svc.BadRequest, "rule is missing"},
		{s.State, `{"key":"agent.anna"}`, svc.BadRequest, "key"},
		{s.State, `{"kind":"agent","id":"nobody"}`, svc.NotFound, "no such agent"},
		{s.State, `{"kind":"agent","id":"gone"}`, svc.NotFound, "gone"},
		{s.State, `{"kind":"availability","id":"Sales"}`, svc.NotFound, "no such availability"},
		{s.State, `{"kind":"threshold","id":"Voice In","rule":"back"}`, svc.NotFound, "no such threshold"},
		{s.State, `{"kind":"threshold","id":"log.Voice In","rule":"back"}`, svc.NotFound, "no such threshold"},
	} {
		body, err := test.reply([]byte(test.request), at(2))
		var refusal *svc.Error
		if !errors.As(err, &refusal) || refusal.Code != test.code || !strings.Contains(refusal.Description, test.says) || body != nil {
			t.Errorf("%.60s: %s, error %v, want %d with %q", test.request, body, err, test.code, test.says)
			continue
		}
		if strings.ContainsAny(refusal.Description, "\r\n") || len(refusal.Description) > 300 {
			t.Errorf("%.60s: %q", test.request, refusal.Description)
		}
	}
}

// TestUpdateReplaces: an entity that comes back, and events of entities that are known.
func TestUpdateReplaces(t *testing.T) {
	t.Parallel()
	s := answer.NewState("acme")
	for _, ev := range day() {
		s.Recover(&ev)
	}
	s.Update([]event.Event{
		agentEvent(20, 3, "appeared", "gone", "ready"), agentEvent(21, 42, "state_changed", "john.smith", "ready"),
		availabilityEvent(22, 17, "Voice In", nil, "service_removed"), newEvent(23, event.Checkpoint, &event.CheckpointData{}),
		newEvent(24, "directory.changed", &event.DirectoryData{Kind: "teams"}), newEvent(25, "chat.message_posted", &event.ChatData{}),
	}, live(3), checked(2))
	for id, want := range map[string]uint64{"gone": 3, "john.smith": 42, "anna": 1} {
		r := ask[svc.StateReply](t, "state.reply", s.State, fmt.Sprintf(`{"kind":"agent","id":%q}`, id), at(4))
		if r.Event.Revision != want || !r.Fresh {
			t.Errorf("%s: %+v, want revision %d", id, r, want)
		}
	}
	if r := askService(t, s, "Voice In", at(4)); r.Available != nil || r.Reason != "service_removed" || r.Event.Revision != 17 || r.Fresh {
		t.Errorf("a removed service: %+v", r)
	}
	s.Update([]event.Event{agentEvent(30, 4, "disappeared", "gone", "")}, live(4), checked(2))
	if _, err := s.State([]byte(`{"kind":"agent","id":"gone"}`), at(4)); !errors.Is(err, &svc.Error{Code: svc.NotFound}) {
		t.Errorf("who is gone again: %v", err)
	}
}

// TestOneUpdateAtOnce: a reply never mixes two polls.
func TestOneUpdateAtOnce(t *testing.T) {
	t.Parallel()
	s := answer.NewState("acme")
	update := func(n uint64) {
		f := live(float64(n))
		f.Poll = n
		s.Update([]event.Event{agentEvent(1, n, "state_changed", "anna", "ready"), availabilityEvent(2, n, "Chat", &yes, "")}, f, checked(float64(n)))
	}
	update(1)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 300 {
				r := ask[svc.StateReply](t, "state.reply", s.State, `{"kind":"agent","id":"anna"}`, at(0))
				a := askService(t, s, "Chat", at(0))
				if r.Event.Revision != r.Feed.Poll || a.Event.Revision != a.Feed.Poll || !a.CheckedAt.Equal(at(float64(a.Feed.Poll))) {
					t.Errorf("poll %d with revision %d, poll %d with revision %d", r.Feed.Poll, r.Event.Revision, a.Feed.Poll, a.Event.Revision)
				}
			}
		})
	}
	for n := range uint64(2000) {
		update(n + 2)
	}
	asking.Wait()
}

// FuzzRequests: whatever is asked, the reply is valid or the error has a code.
func FuzzRequests(f *testing.F) {
	for _, request := range []string{
		"", "{}", `{"service":"Voice In"}`, `{"service":null}`, `{"kind":"agent","id":"john.smith"}`, `{"kind":"threshold","id":"Voice In","rule":"back.log"}`,
		`{"kind":"availability","id":"Fax"}`, `[1]`, `{"service":"\ud800"}`, `{"service":"` + "\xff" + `"}`,
	} {
		f.Add([]byte(request))
	}
	s := openDay()
	f.Fuzz(func(t *testing.T, request []byte) {
		for schema, reply := range map[string]func([]byte, time.Time) ([]byte, error){"availability.reply": s.Availability, "state.reply": s.State} {
			body, err := reply(request, at(2))
			var refusal *svc.Error
			switch {
			case err == nil:
				if strings.Contains(string(body), `"services":`) {
					schema = "availabilities.reply"
				}
				if err := schemas.ValidateMessage(schema, body); err != nil {
					t.Errorf("%q: %v", request, err)
				}
			case !errors.As(err, &refusal) || refusal.Code < 400 || refusal.Code > 499 || strings.ContainsAny(refusal.Description, "\r\n"):
				t.Errorf("%q: %v", request, err)
			}
		}
	})
}
