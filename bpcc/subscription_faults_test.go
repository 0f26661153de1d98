package bpcc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bpcc-nats/bpcc"
)

// subscriptionFaults holds what is said of each file in testdata/subscription.
var subscriptionFaults = map[string][]string{
	"app_asks_for_nothing": {
		`line 2, column 3: app "wall" requests nothing; want an object with stats_totals, service_grids, agent_grids or chat_messages`,
		`line 3, column 3: app "hall" requests nothing; want an object with stats_totals, service_grids, agent_grids or chat_messages`,
	},
	"app_id_empty": {
		`line 1, column 2: the subscription: an app id is empty; any text will do`,
	},
	"app_id_forgotten": {
		`line 2, column 3: the subscription: "agent_grids" stands where an app id should; put it inside of one: {"app id": {"agent_grids": … }}`,
	},
	"app_not_an_object": {
		`line 1, column 10: app "wall" is an array; want an object with stats_totals, service_grids, agent_grids or chat_messages`,
	},
	"app_twice": {
		`line 3, column 3: the subscription: duplicate key "wall", first in line 2; keep one`,
	},
	"brace_missing": {
		`line 4, column 1: the text ends here, in the middle of a value; a }, ] or " is missing`,
	},
	"column_id_twice": {
		`line 7, column 16: app "wall", agent grid "agents", column 2: another one in line 6 has the same id "1"; give each its own`,
		`line 8, column 16: app "wall", agent grid "agents", column 3: another one in line 6 has the same id "1"; give each its own`,
	},
	"column_without_id": {
		`line 6, column 9: app "wall", agent grid "agents", column 1 has no "id"; want text or a whole number, such as "1"`,
		`line 7, column 16: app "wall", agent grid "agents", column 2 has no "id"; want text or a whole number, such as "1"`,
		`line 8, column 16: app "wall", agent grid "agents", column 3, id is true; want text or a whole number, such as "1"`,
	},
	"column_without_statistic": {
		`line 6, column 9: app "wall", agent grid "agents", column 1 has no "stat_name"; want text, a statistic such as "acd_state"`,
		`line 7, column 34: app "wall", agent grid "agents", column 2 has no "stat_name"; want text, a statistic such as "acd_state"`,
		`line 8, column 34: app "wall", agent grid "agents", column 3, stat_name is 4; want text, a statistic such as "acd_state"`,
	},
	"columns_empty": {
		`line 5, column 18: app "wall", agent grid "agents" has no "columns"; want an array, even of one: [{"id": "1", "stat_name": "login_id"}, … ]`,
	},
	"columns_missing": {
		`line 1, column 29: app "wall", service grid "services" has no "columns"; want an array, even of one: [{"id": "1", "stat_name": "login_id"}, … ]`,
	},
	"columns_misspelt": {
		`line 5, column 7: app "wall", agent grid "agents": unknown key "colums"; the closest known key is "columns"`,
	},
	"columns_not_an_array": {
		`line 1, column 55: app "wall", agent grid "agents", columns is the text "login_id"; want an array, even of one: [{"id": "1", "stat_name": "login_id"}, … ]`,
	},
	"columns_not_objects": {
		`line 1, column 56: app "wall", agent grid "agents", column 1 is the text "login_id"; want an object with id and stat_name`,
		`line 1, column 68: app "wall", agent grid "agents", column 2 is null; want an object with id and stat_name`,
		`line 1, column 74: app "wall", agent grid "agents", column 3 is 3; want an object with id and stat_name`,
	},
	"comma_missing": {
		`line 7, column 9: a comma is missing before {, or a colon if a key precedes it`,
	},
	"comment": {
		`line 2, column 3: JSON has no comments; remove it`,
	},
	"comment_of_the_vendor": {
		`line 3, column 39: JSON has no comments; remove it`,
	},
	"comment_with_hash": {
		`line 1, column 1: JSON has no comments; remove it`,
	},
	"curly_quotes": {
		`line 2, column 3: text must be in straight double quotes ("), not “`,
	},
	"dispositions_not_an_array": {
		`line 7, column 80: app "wall", agent grid "agents", column 2, dispositions is the text "Sale"; want an array, even of one: [ … ]`,
	},
	"empty": {
		`line 1, column 1: the file is empty; want {"app id": {"agent_grids": [ … ]}}`,
	},
	"filter_by_absent_column": {
		`line 9, column 20: app "wall", agent grid "agents": filter_by names the column "7", which the grid does not have; its columns are "1", "2"`,
	},
	"filter_by_statistic": {
		`line 9, column 20: app "wall", agent grid "agents": filter_by takes the id of a column, not a statistic; write "2" for acd_state`,
	},
	"filter_operation": {
		`line 10, column 27: app "wall", agent grid "agents", filter_operation is the text "!="; want one of EQ, NE, LT, GT, LE, GE`,
	},
	"filter_without_column": {
		`line 9, column 27: app "wall", agent grid "agents" has filter_operation without filter_by; add filter_by (the id of a column of the grid) or remove filter_operation`,
		`line 10, column 23: app "wall", agent grid "agents" has filter_value without filter_by; add filter_by (the id of a column of the grid) or remove filter_value`,
	},
	"filter_without_operation": {
		`line 9, column 20: app "wall", agent grid "agents" has filter_by without filter_operation; add filter_operation (one of EQ, NE, LT, GT, LE, GE) or remove filter_by`,
	},
	"flag_in_words": {
		`line 9, column 32: app "wall", agent grid "agents", logged_in_agents_only is the text "yes"; want true or false`,
		`line 10, column 26: app "wall", agent grid "agents", my_subteam_only is 2; want true or false`,
	},
	"grid_id_twice": {
		`line 3, column 10: app "wall", agent grid "5": another one in line 2 has the same id "5"; give each its own`,
	},
	"grid_without_id": {
		`line 1, column 27: app "wall", agent grid 1 has no "id"; want text or a whole number, such as "1"`,
		`line 1, column 87: app "wall", agent grid 2 has no "id"; want text or a whole number, such as "1"`,
	},
	"key_in_other_case": {
		`line 9, column 7: app "wall", agent grid "agents": unknown key "Limit"; the closest known key is "limit"`,
		`line 10, column 7: app "wall", agent grid "agents": unknown key "teamIds"; the closest known key is "team_ids"`,
	},
	"key_twice": {
		`line 10, column 7: app "wall", agent grid "agents": duplicate key "limit", first in line 9; keep one`,
		`line 11, column 7: app "wall", agent grid "agents": duplicate key "id", first in line 4; keep one`,
	},
	"keys_of_the_user_interface": {
		`line 6, column 46: app "wall", agent grid "agents", column 1: unknown key "coltitle"; remove it (known are dispositions, id, stat_name)`,
		`line 6, column 67: app "wall", agent grid "agents", column 1: unknown key "dir"; remove it (known are dispositions, id, stat_name)`,
		`line 8, column 7: app "wall", agent grid "agents": unknown key "title"; remove it (known are columns, filter_by, filter_operation, filter_value, id, limit, logged_in_agents_only, my_subteam_only, order, order_by, order_dir, service_ids, team_ids)`,
	},
	"limit_fraction": {
		`line 9, column 16: app "wall", agent grid "agents", limit is 2.5; want a whole number from 0 (no limit) to 999999999`,
	},
	"limit_in_words": {
		`line 9, column 16: app "wall", agent grid "agents", limit is the text "ten"; want a whole number from 0 (no limit) to 999999999`,
	},
	"limit_negative": {
		`line 9, column 16: app "wall", agent grid "agents", limit is -1; want a whole number from 0 (no limit) to 999999999`,
	},
	"limit_not_a_scalar": {
		`line 9, column 16: app "wall", agent grid "agents", limit is an array; want a whole number from 0 (no limit) to 999999999`,
	},
	"limit_of_chat": {
		`line 1, column 39: app "wall", chat_messages, filter is 3; want text`,
		`line 1, column 51: app "wall", chat_messages, limit is the text "<count of top records>"; want a whole number from 0 (no limit) to 999999999`,
	},
	"no_app": {
		`line 1, column 1: the subscription names no app id; want an object {"app id": {"agent_grids": [ … ]}}`,
	},
	"not_an_object": {
		`line 1, column 1: the subscription is an array; want an object {"app id": {"agent_grids": [ … ]}}`,
	},
	"not_utf8": {
		`line 1, column 4: not UTF-8 text; save the file as UTF-8`,
	},
	"order_by_absent_column": {
		`line 9, column 50: app "wall", agent grid "agents", order 2: by names the column "12", which the grid does not have; its columns are "1", "2"`,
		`line 9, column 72: app "wall", agent grid "agents", order 3 has no "by"; want the id of a column of the grid`,
	},
	"order_by_statistic": {
		`line 9, column 19: app "wall", agent grid "agents": order_by takes the id of a column, not a statistic; write "2" for acd_state`,
	},
	"order_direction": {
		`line 10, column 20: app "wall", agent grid "agents", order_dir is the text "DOWN"; want ASC or DESC`,
	},
	"order_direction_alone": {
		`line 9, column 20: app "wall", agent grid "agents" has order_dir without order_by; add order_by (the id of a column of the grid) or remove order_dir`,
	},
	"order_in_both_spellings": {
		`line 10, column 19: app "wall", agent grid "agents" has both order and order_by, two spellings of one thing; keep one`,
	},
	"order_not_an_array": {
		`line 9, column 16: app "wall", agent grid "agents", order is an object; want an array, even of one: [{"by": "1", "dir": "ASC"}]`,
	},
	"quote_missing": {
		`line 1, column 43: the text ends here, in the middle of a value; a }, ] or " is missing`,
	},
	"section_misspelt": {
		`line 1, column 11: app "wall": unknown key "agent_grid"; the closest known key is "agent_grids"`,
	},
	"section_not_an_array": {
		`line 1, column 26: app "wall", agent_grids is an object; want an array, even of one: [{"id": "1", "columns": [ … ]}]`,
	},
	"several": {
		`line 3, column 33: app "wall", stats_totals_service_ids is the text "F4ED6F0C"; want an array, even of one: [ … ]`,
		`line 6, column 7: app "wall", agent grid "agents": unknown key "colums"; the closest known key is "columns"`,
		`line 7, column 16: app "wall", agent grid "agents", limit is the text "all"; want a whole number from 0 (no limit) to 999999999`,
		`line 12, column 60: app "wall", service grid "Dienste für Ältere", column 2: another one in line 12 has the same id "1"; give each its own`,
		`line 12, column 65: app "wall", service grid "Dienste für Ältere", column 2: unknown key "statNam"; the closest known key is "stat_name"`,
		`line 13, column 20: app "wall", service grid "Dienste für Ältere": filter_by takes the id of a column, not a statistic; write "1" for name`,
		`line 13, column 48: app "wall", service grid "Dienste für Ältere", filter_operation is the text "eq"; want one of EQ, NE, LT, GT, LE, GE`,
		`line 13, column 75: app "wall", service grid "Dienste für Ältere": unknown key "filter_values"; the closest known key is "filter_value"`,
		`line 16, column 3: app "hall" requests nothing; want an object with stats_totals, service_grids, agent_grids or chat_messages`,
	},
	"single_quotes": {
		`line 1, column 2: text must be in straight double quotes ("), not '`,
	},
	"statistic_in_both_spellings": {
		`line 6, column 46: app "wall", agent grid "agents", column 1 has both stat_name and statName, two spellings of one key; keep one`,
	},
	"statistic_misspelt": {
		`line 6, column 21: app "wall", agent grid "agents", column 1: unknown key "statname"; the closest known key is "stat_name"`,
		`line 7, column 9: app "wall", agent grid "agents", column 2 has no "stat_name"; want text, a statistic such as "acd_state"`,
		`line 7, column 21: app "wall", agent grid "agents", column 2: unknown key "stat"; remove it (known are dispositions, id, stat_name)`,
	},
	"sum_of_statistics": {
		`line 6, column 41: app "wall", agent grid "agents", column 1: unknown key "sum_stat_names"; remove it (known are dispositions, id, stat_name)`,
	},
	"team_ids_not_an_array": {
		`line 9, column 19: app "wall", agent grid "agents", team_ids is the text "F4ED6F0C-7B3E-4A37-9E23-2B6C2F0F8B11"; want an array, even of one: [ … ]`,
	},
	"team_ids_not_text": {
		`line 9, column 20: app "wall", agent grid "agents", item 1 of team_ids is an object; want text`,
		`line 9, column 68: app "wall", agent grid "agents", item 2 of team_ids is null; want text`,
		`line 10, column 23: app "wall", agent grid "agents", item 1 of service_ids is 17; want text`,
	},
	"totals_not_an_array": {
		`line 1, column 27: app "wall", stats_totals is the text "agents_ready"; want an array, even of one: [ … ]`,
	},
	"totals_not_text": {
		`line 1, column 44: app "wall", item 2 of stats_totals is 7; want text`,
		`line 1, column 47: app "wall", item 3 of stats_totals is empty; want text`,
		`line 1, column 51: app "wall", item 4 of stats_totals is an object; want text`,
	},
	"trailing_comma": {
		`line 7, column 46: a comma before ]; remove it`,
	},
	"two_documents": {
		`line 2, column 1: text after the end of the subscription; remove it`,
	},
}

func TestParseSubscriptionFaults(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/subscription/*.json")
	if err != nil || len(files) != len(subscriptionFaults) {
		t.Errorf("%d files, %d expectations (%v)", len(files), len(subscriptionFaults), err)
	}
	for name, want := range subscriptionFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(filepath.Join("testdata", "subscription", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			sub, err := bpcc.ParseSubscription(body)
			if !errors.Is(err, bpcc.ErrSubscription) || sub != nil {
				t.Fatalf("ParseSubscription = %v, %v; want nothing and ErrSubscription", sub, err)
			}
			var got []string
			for _, f := range faultsOf(t, err) {
				got = append(got, f.Error())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("faults (-want +got)\n%s", diff)
			}
			text := bpcc.ErrSubscription.Error() + ": " + want[0]
			if len(want) > 1 {
				text = bpcc.ErrSubscription.Error() + ":\n  " + strings.Join(want, "\n  ")
			}
			if diff := cmp.Diff(text, err.Error()); diff != "" {
				t.Errorf("text (-want +got)\n%s", diff)
			}
		})
	}
}

// faultsOf lists the faults that an error holds, and checks that
// errors.As finds the first.
func faultsOf(t *testing.T, err error) []*bpcc.SubscriptionFault {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("the error is a %T and holds nothing", err)
	}
	var all []*bpcc.SubscriptionFault
	for _, err := range joined.Unwrap() {
		if f, ok := err.(*bpcc.SubscriptionFault); ok {
			all = append(all, f)
		}
	}
	var first *bpcc.SubscriptionFault
	if !errors.As(err, &first) || len(all) == 0 || first != all[0] {
		t.Fatalf("errors.As finds %v in %d faults", first, len(all))
	}
	return all
}

// TestParseSubscriptionVariants reads one subscription in every spelling that
// documents, captures and known clients use.
func TestParseSubscriptionVariants(t *testing.T) {
	t.Parallel()
	want := bpcc.Subscription{"1": {
		StatsTotals:  []string{"agents_ready"},
		ChatMessages: &bpcc.ChatQuery{Filter: "", Limit: 6},
		AgentGrids: []bpcc.Grid{{
			ID:      "5",
			Columns: []bpcc.Column{{ID: "1", StatName: "login_id"}, {ID: "2", StatName: "acd_state"}},
			Order:   []bpcc.Order{{By: "2", Dir: "DESC"}}, Limit: 1000,
			FilterBy: "2", FilterOperation: "NE", LoggedInAgentsOnly: true,
		}},
	}}
	for name, body := range map[string]string{
		"numbers and booleans": `{"1":{"stats_totals":["agents_ready"],"chat_messages":{"filter":"","limit":6},"agent_grids":[{"id":5,
			"columns":[{"id":1,"stat_name":"login_id"},{"id":2,"statName":"acd_state"}],"order":[{"by":2,"dir":"desc"}],"limit":1000,
			"filter_by":2,"filter_operation":"NE","filter_value":"","logged_in_agents_only":true,"my_subteam_only":false,"team_ids":[],"service_ids":[]}]}}`,
		"all text": `{"1":{"stats_totals":["agents_ready"],"chat_messages":{"filter":"","limit":"6"},"agent_grids":[{"id":"5",
			"columns":[{"id":"1","statName":"login_id"},{"id":"2","stat_name":"acd_state"}],"order_by":"2","order_dir":"DESC","limit":"1000",
			"filter_by":"2","filter_operation":"NE","filter_value":"","logged_in_agents_only":"true","my_subteam_only":"false"}]}}`,
		"nulls, ones and a mark": "\ufeff" + `{"1":{"stats_totals":["agents_ready"],"service_grids":null,"chat_messages":{"limit":6},"agent_grids":[{"id":"5",
			"columns":[{"id":"1","stat_name":"login_id","dispositions":null},{"id":"2","stat_name":"acd_state","dispositions":[]}],
			"order":[{"by":"2","dir":"DESC"}],"order_by":null,"order_dir":"","limit":1000,"filter_by":"2","filter_operation":"NE",
			"logged_in_agents_only":1,"my_subteam_only":"0"}]}}`,
	} {
		got, err := bpcc.ParseSubscription([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// TestUnmarshalIsLenient: a server does not mind what ParseSubscription refuses.
func TestUnmarshalIsLenient(t *testing.T) {
	t.Parallel()
	var sub bpcc.Subscription
	body := `{"1":{"title":"x","agent_grids":[{"coltitles":[],"columns":[{"id":"1","stat_name":"login_id","coltitle":"Agent","dir":"ASC"}]}]}}`
	if err := json.Unmarshal([]byte(body), &sub); err != nil {
		t.Fatal(err)
	}
	if err := sub.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if _, err := bpcc.ParseSubscription([]byte(body)); !errors.Is(err, bpcc.ErrSubscription) {
		t.Errorf("ParseSubscription: %v, want ErrSubscription", err)
	}
}

// TestValidateNamesNoLines: what is no file has no lines.
func TestValidateNamesNoLines(t *testing.T) {
	t.Parallel()
	sub := bpcc.Subscription{"": {}, "wall": {AgentGrids: []bpcc.Grid{
		{ID: "a", Columns: []bpcc.Column{{ID: "1", StatName: "login_id"}, {ID: "1", StatName: "acd_state"}}},
		{ID: "a", Limit: -1, FilterBy: "login_id"},
	}}}
	err := sub.Validate()
	if !errors.Is(err, bpcc.ErrSubscription) {
		t.Fatalf("Validate: %v, want ErrSubscription", err)
	}
	want := `not a usable subscription:
  app "" requests nothing; want an object with stats_totals, service_grids, agent_grids or chat_messages
  the subscription: an app id is empty; any text will do
  app "wall", agent grid "a", column 2: another one has the same id "1"; give each its own
  app "wall", agent grid "a": another one has the same id "a"; give each its own
  app "wall", agent grid "a" has no "columns"; want an array, even of one: [{"id": "1", "stat_name": "login_id"}, … ]
  app "wall", agent grid "a", limit is -1; want a whole number from 0 (no limit) to 999999999
  app "wall", agent grid "a" has filter_by without filter_operation; add filter_operation (one of EQ, NE, LT, GT, LE, GE) or remove filter_by`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("text (-want +got)\n%s", diff)
	}
	if err := (bpcc.Subscription)(nil).Validate(); !errors.Is(err, bpcc.ErrSubscription) {
		t.Errorf("no subscription: %v, want ErrSubscription", err)
	}
}

// FuzzParseSubscriptionPositions: no panic, every fault stands inside of the
// text and they come in its order; what is accepted is valid and travels as it is.
func FuzzParseSubscriptionPositions(f *testing.F) {
	files, err := filepath.Glob("testdata/subscription/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"1":{"agent_grids":[{"id":5,"columns":[{"id":1,"statName":"login_id","dispositions":["a\u0000"]}],"order_by":1,"limit":"7","filter_by":1,"filter_operation":"NE","filter_value":0}],"chat_messages":{}}}`))
	f.Add([]byte("\ufeff{\r\n\t\"\\ud800\":{\"stats_totals\":[\"<&>\u2028\"]}}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		sub, err := bpcc.ParseSubscription(body)
		if err != nil {
			if !errors.Is(err, bpcc.ErrSubscription) || sub != nil {
				t.Fatalf("%v, %v", sub, err)
			}
			lines := bytes.Split(bytes.TrimPrefix(body, []byte("\ufeff")), []byte("\n"))
			line, column := 1, 1
			for _, f := range faultsOf(t, err) {
				if f.Text == "" || f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > utf8.RuneCount(lines[f.Line-1])+1 {
					t.Errorf("%v stands outside of the text", f)
				}
				if f.Line < line || f.Line == line && f.Column < column {
					t.Errorf("%v comes after line %d, column %d", f, line, column)
				}
				line, column = f.Line, f.Column
			}
			return
		}
		if err := sub.Validate(); err != nil {
			t.Fatalf("accepted, but not valid: %v", err)
		}
		wireJSON, err := json.Marshal(sub)
		if err != nil {
			t.Fatal(err)
		}
		again, err := bpcc.ParseSubscription(wireJSON)
		if err != nil {
			t.Fatalf("accepted, but not what becomes of it: %v\n%s", err, wireJSON)
		}
		if diff := cmp.Diff(sub, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read again (-first +second)\n%s", diff)
		}
	})
}
