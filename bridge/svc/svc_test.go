package svc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"bpcc-nats/bridge/svc"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/schemas"
)

// answerWith answers each request on an endpoint of acme, until the end of the test.
func answerWith(t testing.TB, nc *nats.Conn, endpoint string, respond func(request *nats.Msg) *nats.Msg) {
	t.Helper()
	s, err := nc.Subscribe(svc.Subject("acme", endpoint), func(m *nats.Msg) {
		if err := m.RespondMsg(respond(m)); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Unsubscribe() }) // fails only if the connection is closed
}

func connect(t testing.TB) *nats.Conn {
	t.Helper()
	return natstest.Connect(t, natstest.Start(t, &server.Options{}).ClientURL()).Conn()
}

// published is the reply of a bridge that checked Billing 2 s ago and polled 1 s ago.
func published(available bool) svc.AvailabilityReply {
	return svc.AvailabilityReply{
		Tenant: "acme",
		ServiceAvailability: svc.ServiceAvailability{
			Service: "Billing", Available: &available, Freshness: svc.Freshness{Fresh: true, Age: svc.Age(2 * time.Second), MaxAge: svc.Age(6 * time.Second)},
		},
		Feed: svc.Feed{Status: "live", Age: svc.Age(time.Second), Epoch: 3},
	}
}

func reply(t testing.TB, v any) *nats.Msg {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return &nats.Msg{Data: body}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	for tenant, want := range map[string]string{
		"acme": "bpcc.svc.acme.state", "acme.eu": "bpcc.svc.acme=2Eeu.state", "*": "bpcc.svc.=2A.state", "a >": "bpcc.svc.a=20=3E.state",
	} {
		if got := svc.Subject(tenant, svc.State); got != want {
			t.Errorf("%q: %s, want %s", tenant, got, want)
		}
	}
}

// TestErrorHeaders: the headers are those of the service API, which other clients know.
func TestErrorHeaders(t *testing.T) {
	t.Parallel()
	if svc.CodeHeader != micro.ErrorCodeHeader || svc.DescriptionHeader != micro.ErrorHeader {
		t.Errorf("%s and %s", svc.CodeHeader, svc.DescriptionHeader)
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for text, age := range map[string]svc.Age{
		"null": svc.NoAge, "0": 0, "0.001": svc.Age(time.Millisecond), "1.5": svc.Age(1500 * time.Millisecond), "86400": svc.Age(24 * time.Hour),
	} {
		b, err := json.Marshal(age)
		var back svc.Age
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || string(b) != text || back != age {
			t.Errorf("%v: written %s, read %v, error %v", age, b, back, err)
		}
	}
	// What is younger than it says would be wrong.
	if b, err := json.Marshal(svc.Age(1_000_001)); err != nil || string(b) != "0.002" {
		t.Errorf("a little more than a millisecond: %s, error %v", b, err)
	}
	for _, test := range []struct {
		age  svc.Age
		want bool
	}{{svc.NoAge, false}, {0, true}, {svc.Age(time.Second), true}, {svc.Age(time.Second + 1), false}} {
		if got := test.age.Within(svc.Age(time.Second)); got != test.want {
			t.Errorf("%v within a second: %v", test.age, got)
		}
	}
	if err := json.Unmarshal([]byte(`"1s"`), new(svc.Age)); err == nil {
		t.Error("text is read as an age")
	}
}

// TestAsk: the ages of a reply are those at its arrival.
func TestAsk(t *testing.T) {
	t.Parallel()
	nc := connect(t)
	answerWith(t, nc, svc.Availability, func(m *nats.Msg) *nats.Msg {
		if err := schemas.ValidateMessage("availability.request", m.Data); err != nil {
			t.Error(err)
		}
		if string(m.Data) == "{}" {
			return reply(t, svc.AvailabilitiesReply{Tenant: "acme", Services: []svc.ServiceAvailability{published(true).ServiceAvailability}, Feed: published(true).Feed})
		}
		return reply(t, published(true))
	})
	answerWith(t, nc, svc.State, func(m *nats.Msg) *nats.Msg {
		if err := schemas.ValidateMessage("state.request", m.Data); err != nil {
			t.Error(err)
		}
		r := svc.StateReply{Tenant: "acme", Freshness: published(true).Freshness, Feed: published(true).Feed}
		if err := json.Unmarshal(m.Data, &r.StateRequest); err != nil {
			t.Error(err)
		}
		return reply(t, r)
	})
	r, err := svc.AskAvailability(t.Context(), nc, "acme", "Billing")
	if err != nil || !r.Route() || r.Age <= svc.Age(2*time.Second) || r.Age > svc.Age(5*time.Second) || r.Feed.Age <= svc.Age(time.Second) {
		t.Errorf("availability: %+v, error %v", r, err)
	}
	all, err := svc.AskAvailabilities(t.Context(), nc, "acme")
	if err != nil || len(all.Services) != 1 || !all.Services[0].Route() || all.Services[0].Age <= svc.Age(2*time.Second) || all.Feed.Age <= svc.Age(time.Second) {
		t.Errorf("all availabilities: %+v, error %v", all, err)
	}
	for _, request := range []svc.StateRequest{{Kind: "agent", ID: "john.smith"}, {Kind: "threshold", ID: "Billing", Rule: "backlog"}} {
		state, err := svc.AskState(t.Context(), nc, "acme", request)
		if err != nil || state.StateRequest != request || !state.Fresh || state.Age <= svc.Age(2*time.Second) || state.Feed.Age <= svc.Age(time.Second) {
			t.Errorf("state: %+v, error %v", state, err)
		}
	}
}

// TestLateReply: a reply that was fresh when it was made is not fresh when it comes too late.
func TestLateReply(t *testing.T) {
	t.Parallel()
	nc := connect(t)
	const late = 50 * time.Millisecond
	answerWith(t, nc, svc.Availability, func(*nats.Msg) *nats.Msg {
		<-time.After(late)
		r := published(true)
		r.Age = r.MaxAge - svc.Age(late/2)
		return reply(t, r)
	})
	r, err := svc.AskAvailability(t.Context(), nc, "acme", "Billing")
	if err != nil || r.Fresh || r.Route() || r.Age <= r.MaxAge {
		t.Errorf("%+v, error %v", r, err)
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, test := range []struct {
		available *bool
		fresh     bool
		want      bool
	}{{&yes, true, true}, {&yes, false, false}, {&no, true, false}, {nil, false, false}, {nil, true, false}} {
		a := svc.ServiceAvailability{Available: test.available, Freshness: svc.Freshness{Fresh: test.fresh}}
		if got := a.Route(); got != test.want {
			t.Errorf("%+v: %v", a, got)
		}
	}
}

// TestAskErrors: every reply that is none has its error.
func TestAskErrors(t *testing.T) {
	t.Parallel()
	refusal := func(code, description string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{svc.CodeHeader: {code}, svc.DescriptionHeader: {description}}}
	}
	other := published(true)
	other.Service = "Sales"
	for name, test := range map[string]struct {
		tenant   string
		response *nats.Msg // nil = nobody answers
		want     error
	}{
		"nobody leads":               {"acme", nil, svc.ErrNoLeader},
		"nobody leads, as NATS says": {"acme", nil, nats.ErrNoResponders},
		"an empty tenant":            {"", nil, &svc.Error{Code: svc.BadRequest}},
		"not found":                  {"acme", refusal("404", "no availability of this service is published"), &svc.Error{Code: svc.NotFound}},
		"another code":               {"acme", refusal("503", "later"), &svc.Error{Code: 503}},
		"no code":                    {"acme", refusal("none", "x"), svc.ErrReply},
		"no JSON":                    {"acme", &nats.Msg{Data: []byte("+OK")}, svc.ErrReply},
		"an empty reply":             {"acme", &nats.Msg{}, svc.ErrReply},
		"an acknowledgement":         {"acme", &nats.Msg{Data: []byte(`{"stream":"OTHER","seq":1}`)}, svc.ErrReply},
		"about other service":        {"acme", reply(t, other), svc.ErrReply},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := connect(t)
			if test.response != nil {
				for _, endpoint := range []string{svc.Availability, svc.State} {
					answerWith(t, nc, endpoint, func(*nats.Msg) *nats.Msg { return test.response })
				}
			}
			r, err := svc.AskAvailability(t.Context(), nc, test.tenant, "Billing")
			if !errors.Is(err, test.want) || r.Route() {
				t.Errorf("availability: %+v, error %v, want %v", r, err, test.want)
			}
			if all, err := svc.AskAvailabilities(t.Context(), nc, test.tenant); !errors.Is(err, test.want) {
				t.Errorf("all availabilities: %+v, error %v, want %v", all, err, test.want)
			}
			if state, err := svc.AskState(t.Context(), nc, test.tenant, svc.StateRequest{Kind: "agent", ID: "anna"}); !errors.Is(err, test.want) {
				t.Errorf("state: %+v, error %v, want %v", state, err, test.want)
			}
		})
	}
}

// TestAskEnds: a leader that says nothing does not hold a requester for ever.
func TestAskEnds(t *testing.T) {
	t.Parallel()
	nc := connect(t)
	if _, err := nc.SubscribeSync(svc.Subject("acme", svc.Availability)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := svc.AskAvailability(context.WithoutCancel(t.Context()), nc, "acme", "Billing"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, svc.ErrNoLeader) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took < svc.DefaultTimeout {
		t.Errorf("it waited for %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := svc.AskAvailability(ctx, nc, "acme", "Billing"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestMessagesAreValid: what the types write is valid, and they read back what they write.
func TestMessagesAreValid(t *testing.T) {
	t.Parallel()
	for name, into := range map[string]any{
		"availability.reply": &svc.AvailabilityReply{}, "availabilities.reply": &svc.AvailabilitiesReply{}, "state.reply": &svc.StateReply{},
		"availability.request": &svc.AvailabilityRequest{}, "state.request": &svc.StateRequest{},
	} {
		text, err := schemas.Schema("svc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ Examples []json.RawMessage }
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		for _, example := range s.Examples[:1] {
			if err := json.Unmarshal(example, into); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			written, err := json.Marshal(into)
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			if err := errors.Join(json.Unmarshal(example, &want), json.Unmarshal(written, &got)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-example +written)\n%s", name, d)
			}
		}
	}
}

func ExampleAskAvailability() {
	ctx := context.Background()
	nc, err := nats.Connect("nats://127.0.0.1:4222")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	r, err := svc.AskAvailability(ctx, nc, "acme", "Billing")
	switch {
	case errors.Is(err, svc.ErrNoLeader):
		fmt.Println("no bridge leads: do not route")
	case err != nil:
		fmt.Println("do not route:", err)
	case r.Route():
		fmt.Println("an agent was available", r.Age, "ago")
	default:
		fmt.Println("do not route: fresh", r.Fresh, r.Reason, "the feed is", r.Feed.Status)
	}
}

func ExampleError() {
	err := error(svc.Errorf(svc.NotFound, "no availability of this service is published"))
	fmt.Println(err)
	fmt.Println(errors.Is(err, &svc.Error{Code: svc.NotFound}))
	// Output:
	// no availability of this service is published (404)
	// true
}
