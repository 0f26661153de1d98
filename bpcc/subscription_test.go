package bpcc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bpcc-nats/bpcc"
)

var update = flag.Bool("update", false, "write golden files")

// The vendor's example, in its shape but with values of our own, goes out in
// the spelling that was captured working.
func TestSubscriptionGolden(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/vendor/example.json")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := bpcc.ParseSubscription(body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(sub, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/vendor/wire.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("wire (-want +got)\n%s", diff)
	}
}

// oneGrid wraps further members of a grid of three columns into a subscription.
func oneGrid(members string) []byte {
	if members != "" {
		members = "," + members
	}
	return []byte(`{"app":{"agent_grids":[{"id":"g","columns":[{"id":"1","stat_name":"login_id"},{"id":"2","stat_name":"acd_state"},{"id":"3","stat_name":"reason"}]` + members + `}]}}`)
}

// Each difference of spelling by itself, and what is sent for it.
func TestGridSyntaxVariants(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, wireJSON string }{
		"nothing":                {``, `"logged_in_agents_only":false`},
		"order":                  {`"order":[{"by":"2","dir":"DESC"},{"by":"1","dir":"ASC"}]`, `"order":[{"by":"2","dir":"DESC"},{"by":"1","dir":"ASC"}],"logged_in_agents_only":false`},
		"order_by":               {`"order_by":"2","order_dir":"DESC"`, `"order":[{"by":"2","dir":"DESC"}],"logged_in_agents_only":false`},
		"order_by a number":      {`"order_by":2`, `"order":[{"by":"2","dir":"ASC"}],"logged_in_agents_only":false`},
		"order in small letters": {`"order":[{"by":"2","dir":"desc"}]`, `"order":[{"by":"2","dir":"DESC"}],"logged_in_agents_only":false`},
		"order without dir":      {`"order":[{"by":"2"}]`, `"order":[{"by":"2","dir":"ASC"}],"logged_in_agents_only":false`},
		"order of none":          {`"order":[]`, `"logged_in_agents_only":false`},
		"limit":                  {`"limit":6`, `"limit":6,"logged_in_agents_only":false`},
		"limit in other forms":   {`"limit":1e1`, `"limit":10,"logged_in_agents_only":false`},
		"logged in as 1.0":       {`"logged_in_agents_only":1.0`, `"logged_in_agents_only":true`},
		"limit as text":          {`"limit":"6"`, `"limit":6,"logged_in_agents_only":false`},
		"limit of nothing":       {`"limit":""`, `"logged_in_agents_only":false`},
		"logged in":              {`"logged_in_agents_only":true`, `"logged_in_agents_only":true`},
		"logged in as text":      {`"logged_in_agents_only":"true"`, `"logged_in_agents_only":true`},
		"logged in as a number":  {`"logged_in_agents_only":1`, `"logged_in_agents_only":true`},
		"logged out as text":     {`"logged_in_agents_only":"false"`, `"logged_in_agents_only":false`},
		"subteam":                {`"my_subteam_only":"1"`, `"my_subteam_only":true,"logged_in_agents_only":false`},
		"filter":                 {`"filter_by":"2","filter_operation":"EQ","filter_value":"ready"`, `"logged_in_agents_only":false,"filter_by":"2","filter_operation":"EQ","filter_value":"ready"`},
		"filter by a number":     {`"filter_by":2,"filter_operation":"GT","filter_value":7`, `"logged_in_agents_only":false,"filter_by":"2","filter_operation":"GT","filter_value":"7"`},
		"filter for no value":    {`"filter_by":"2","filter_operation":"NE","filter_value":""`, `"logged_in_agents_only":false,"filter_by":"2","filter_operation":"NE","filter_value":""`},
		"filter by nothing":      {`"filter_by":"","filter_operation":"","filter_value":""`, `"logged_in_agents_only":false`},
		"restrictions":           {`"team_ids":["T"],"service_ids":["S"]`, `"team_ids":["T"],"service_ids":["S"],"logged_in_agents_only":false`},
		"no restrictions":        {`"team_ids":[],"service_ids":[]`, `"logged_in_agents_only":false`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sub, err := bpcc.ParseSubscription(oneGrid(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(sub)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(oneGrid(tt.wireJSON)), string(got)); diff != "" {
				t.Errorf("wire (-want +got)\n%s", diff)
			}
		})
	}
}

// All faults are reported together, so that a file is repaired in one go.
func TestAllFaultsTogether(t *testing.T) {
	t.Parallel()
	_, err := bpcc.ParseSubscription([]byte(`{"hall":{},"wall":{
		"agent_grids":[{"id":"g","columns":[{"id":"1","stat_name":""}],"limit":-1,"order":[{"by":"9","dir":"UP"}]},{"id":"g","columns":[]}],
		"service_grids":[{"id":"s","columns":[{"id":"1","stat_name":"name"}],"filter_by":"1","filter_operation":"LIKE"}]}}`))
	if !errors.Is(err, bpcc.ErrSubscription) {
		t.Fatalf("error %v, want ErrSubscription", err)
	}
	for _, want := range []string{`"hall"`, "stat_name", "-1", `"9"`, `"UP"`, `no "columns"`, "same id", `"LIKE"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s in\n%v", want, err)
		}
	}
}

func TestParseSubscriptionRefusesOtherTexts(t *testing.T) {
	t.Parallel()
	complete := string(oneGrid(""))
	for _, body := range []string{
		"", " ", "null", "{}", "[]", "7", `"app"`, "<html>", complete[:len(complete)/2], complete + complete, complete + "}", complete + "]", complete + "x",
		`{"app":null}`, `{"app":{"agent_grids":{}}}`, `{"app":{"agent_grids":[7]}}`, "{\"app\":{\"stats_totals\":[\"\xff\"]}}",
	} {
		if sub, err := bpcc.ParseSubscription([]byte(body)); !errors.Is(err, bpcc.ErrSubscription) || sub != nil {
			t.Errorf("%q gives %v, error %v; want ErrSubscription", body, sub, err)
		}
	}
}

// A subscription made in code is held to the same rules.
func TestValidateInCode(t *testing.T) {
	t.Parallel()
	column := []bpcc.Column{{ID: "1", StatName: "login_id"}}
	tests := map[string]struct {
		app bpcc.App
		ok  bool
	}{
		"a grid":               {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g", Columns: column}}}, true},
		"totals":               {bpcc.App{StatsTotals: []string{"agents_ready"}}, true},
		"chat":                 {bpcc.App{ChatMessages: &bpcc.ChatQuery{Limit: 3}}, true},
		"one id in two kinds":  {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g", Columns: column}}, ServiceGrids: []bpcc.Grid{{ID: "g", Columns: column}}}, true},
		"nothing":              {bpcc.App{StatsTotalsServiceIDs: []string{"S"}}, false},
		"no columns":           {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g"}}}, false},
		"one id in one kind":   {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g", Columns: column}, {ID: "g", Columns: column}}}, false},
		"order by a statistic": {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g", Columns: column, Order: []bpcc.Order{{By: "login_id", Dir: "ASC"}}}}}, false},
		"a strange filter":     {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g", Columns: column, FilterBy: "1", FilterOperation: "LIKE"}}}, false},
		"a negative limit":     {bpcc.App{AgentGrids: []bpcc.Grid{{ID: "g", Columns: column, Limit: -1}}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := bpcc.Subscription{"app": tt.app}.Validate()
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, bpcc.ErrSubscription) {
				t.Errorf("error %v, want success %v", err, tt.ok)
			}
		})
	}
}

// FuzzParseSubscription: no panic; what is accepted goes out as something that
// is accepted as the same.
func FuzzParseSubscription(f *testing.F) {
	example, err := os.ReadFile("testdata/vendor/example.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add(oneGrid(`"order_by":"2","order_dir":"DESC","limit":"6","filter_by":2,"filter_operation":"EQ","filter_value":true`))
	f.Add(oneGrid(`"order":[{"by":2}],"limit":1,"my_subteam_only":"1","logged_in_agents_only":0,"team_ids":[""]`))
	f.Add([]byte(`{"a":{"stats_totals":["x"]},"\u0061":{"chat_messages":{"limit":null}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		sub, err := bpcc.ParseSubscription(bytes.Clone(body))
		if err != nil {
			if !errors.Is(err, bpcc.ErrSubscription) || fmt.Sprint(err) == "" {
				t.Fatalf("error %v is not ErrSubscription", err)
			}
			return
		}
		wireJSON, err := json.Marshal(sub)
		if err != nil {
			t.Fatal(err)
		}
		again, err := bpcc.ParseSubscription(wireJSON)
		if err != nil {
			t.Fatalf("%s is sent, and refused: %v", wireJSON, err)
		}
		if diff := cmp.Diff(sub, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read again (-first +second)\n%s", diff)
		}
	})
}
