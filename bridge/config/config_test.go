package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/config"
)

// TestSubscriptionExample: the example is the built-in subscription written out.
func TestSubscriptionExample(t *testing.T) {
	t.Parallel()
	const file = "../../deploy/subscription.json"
	environ := []string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}
	builtin, _, err := config.Parse(environ, config.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	written, _, err := config.Parse(append(environ, "BPCC_SUBSCRIPTION_FILE="+file), config.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(builtin.BPCC.Subscription, written.BPCC.Subscription); diff != "" {
		t.Errorf("subscription (-built in +%s)\n%s", file, diff)
	}
}

// TestRuleOnUnsubscribedStatistic is a fault of the configuration, not a silence.
func TestRuleOnUnsubscribedStatistic(t *testing.T) {
	t.Parallel()
	environ := []string{
		"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b",
		`BRIDGE_THRESHOLDS=[{"name":"hold time","kind":"agent","stat":"active_item_hold_duration","raise":{"op":">","value":5}}]`,
	}
	_, _, err := config.Parse(environ, config.ForBridge)
	for _, want := range []string{`rule "hold time"`, "active_item_hold_duration", "BPCC_SUBSCRIPTION_FILE"} {
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// TestServiceList: the services are separated by commas, or a JSON array where a name has one.
func TestServiceList(t *testing.T) {
	t.Parallel()
	for text, test := range map[string]struct {
		want  []string
		fault string
	}{
		"":                        {nil, ""},
		"none":                    {[]string{"none"}, ""},
		"Sales":                   {[]string{"Sales"}, ""},
		" Sales , Billing":        {[]string{"Sales", "Billing"}, ""},
		`["Sales, EU","Billing"]`: {[]string{"Sales, EU", "Billing"}, ""},
		" [ \"Sales, EU\" ]\n":    {[]string{"Sales, EU"}, ""},
		`["[VIP] ü \"A\""]`:       {[]string{`[VIP] ü "A"`}, ""},
		`[" Sales"]`:              {[]string{" Sales"}, ""},
		"Sales,":                  {nil, "a name in the list is empty"},
		`["Sales",""]`:            {nil, "a name in the list is empty"},
		`[]`:                      {nil, "the list is empty"},
		`["Sales", "Billing"`:     {nil, "begins with [ and is not a JSON array"},
		`[Sales]`:                 {nil, "begins with [ and is not a JSON array"},
		`["Sales"] x`:             {nil, "begins with [ and is not a JSON array"},
		`['Sales']`:               {nil, `want a list such as Sales,Billing, or a JSON array such as ["Sales, EU","Billing"]`},
		`["Sales", 1]`:            {nil, "want strings in the JSON array, found number"},
		`["Sales", null]`:         {nil, "item 2 of the JSON array is null"},
		`[["Sales"]]`:             {nil, "want strings in the JSON array, found array"},
		`{"Sales": true}`:         {[]string{`{"Sales": true}`}, ""},
	} {
		c, _, err := config.Parse([]string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "BPCC_SERVICES=" + text}, config.ForBridge)
		if test.fault != "" {
			if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "BPCC_SERVICES: ") || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%q: no %q in %v", text, test.fault, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(test.want, []string(c.BPCC.Services)); diff != "" {
			t.Errorf("%q (-want +got)\n%s", text, diff)
		}
	}
}

// TestRequestsThroughProxy: requests to BPCC go through the proxy that the environment names.
func TestRequestsThroughProxy(t *testing.T) {
	t.Parallel()
	// To its server, a request through a proxy differs only in its host.
	sim := bpcctest.NewServer(bpcctest.Config{})
	t.Cleanup(sim.Close)
	c, _, err := config.Parse([]string{
		"BPCC_URL=http://acme.invalid", "BPCC_ALLOW_HTTP=true", "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "BPCC_POLL_INTERVAL=100ms", "all_proxy=" + sim.URL,
	}, config.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	var failed []check.Step
	_, err = check.Source(t.Context(), c, func(s check.Step) {
		if s.Outcome == check.Failure {
			failed = append(failed, s)
		}
	})
	if err != nil {
		t.Errorf("%v: %+v", err, failed)
	}
}

// TestContradictoryRuleIsRefused at load, with all other faults of the configuration.
func TestContradictoryRuleIsRefused(t *testing.T) {
	t.Parallel()
	_, _, err := config.Parse([]string{
		"BPCC_URL=https://acme.example", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "BPCC_POLL_INTERVAL=1ms",
		`BRIDGE_THRESHOLDS=[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":8},"clear":{"op":">=","value":3}}]`,
	}, config.ForSource)
	for _, want := range []string{`rule "backlog"`, "raise >= 8", "clear >= 3", "BPCC_POLL_INTERVAL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it with %q", err, want)
		}
	}
}
