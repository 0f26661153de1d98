package bridge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge"
)

// TestSubscriptionExample: the example is the built-in subscription written out.
func TestSubscriptionExample(t *testing.T) {
	t.Parallel()
	const file = "../deploy/subscription.json"
	environ := []string{"BPCC_URL=http://localhost", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}
	builtin, _, err := bridge.ParseConfig(environ, bridge.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	written, _, err := bridge.ParseConfig(append(environ, "BPCC_SUBSCRIPTION_FILE="+file), bridge.ForSource)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(builtin.Subscription, written.Subscription); diff != "" {
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
	_, _, err := bridge.ParseConfig(environ, bridge.ForBridge)
	for _, want := range []string{`rule "hold time"`, "active_item_hold_duration", "BPCC_SUBSCRIPTION_FILE"} {
		if !errors.Is(err, bridge.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
