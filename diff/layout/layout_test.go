package layout_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// described is a layout of each form of a section.
func described() *layout.Layout {
	columns := []layout.Column{{ID: "1", Stat: "login"}, {ID: "2", Stat: "state"}}
	return &layout.Layout{
		Grids: []layout.Grid{
			{Kind: "agent", App: "app", Section: "agent_grids", ID: "a", Key: "1", Columns: columns},
			{Kind: "agent", App: "app", Section: "agent_grids", ID: "b", Key: "9", Columns: columns},
			{Kind: "totals", App: "app", Section: "stats_totals", Entity: "all", Columns: []layout.Column{{ID: "waiting", Stat: "waiting"}}},
		},
		Lists: []layout.List{{App: "app", Section: "chat_messages"}, {App: "other", Section: "chat_messages"}},
	}
}

// TestNormalize: a body of any shape is written in the usual one, without what nobody reads.
func TestNormalize(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, want string }{
		"nothing":              {`{"app":{},"other":null}`, `{"app":{},"other":{}}`},
		"sections not read":    {`{"app":{"service_grids":[{"id":"a"}]},"other":{"stats_totals":{}}}`, `{"app":{},"other":{}}`},
		"scalars":              {`{"app":{"stats_totals":{"waiting":1.50,"b":true,"c":null,"d":"<\u00fc>"}},"other":{}}`, `{"app":{"stats_totals":{"b":"true","c":"","d":"<ü>","waiting":"1.50"}},"other":{}}`},
		"the last of two":      {`{"other":{},"app":{"stats_totals":{"waiting":[],"waiting":"2"}}}`, `{"app":{"stats_totals":{"waiting":"2"}},"other":{}}`},
		"totals that are null": {`{"app":{"stats_totals":null},"other":{}}`, `{"app":{"stats_totals":null},"other":{}}`},
		"the last table of an id": {`{"other":{},"app":{"agent_grids":[{"id":"a","values":[{"1":"x"}]},{"id":"z","values":[{}]},{"ID":"a","Values":[{"1":"y"},null]},null]}}`,
			`{"app":{"agent_grids":[{"id":"a","values":[{"1":"y"},null]},{"id":"b","values":null}]},"other":{}}`},
		"a list": {`{"app":{"chat_messages":[{"id":7},null,{"id":[]},7]},"other":{}}`, `{"app":{"chat_messages":[{"id":"7"},{}]},"other":{}}`},
		"rows that cannot be read": {`{"app":{"agent_grids":[{"id":"b","values":[{"1":[]},{"9":{}},{"8":[],"9":"x"},[]]}],"stats_totals":{"waiting":{}}},"other":{}}`,
			`{"app":{"agent_grids":[{"id":"a","values":null},{"id":"b","values":[{"9":"x"}]}],"stats_totals":null},"other":{}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := described().Normalize([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want+"\n", string(got)); d != "" {
				t.Errorf("body (-want +got)\n%s", d)
			}
		})
	}
}

// TestUnreadable: what is left out is counted by grid and kind, and named in the order of names.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	body := `{"app":{"agent_grids":[{"id":"b","values":[{"1":[],"9":"x"},[1],{"2":{},"9":"c"}]}],"chat_messages":[7]},"other":{}}`
	_, u, err := described().Normalize([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := layout.Unreadable{
		Count: 4, Rows: map[int]int{1: 3}, Unnamed: map[image.Kind]int{"agent": 1},
		Named: []layout.UnreadableRow{{Grid: "agent_grids b"}, {Grid: "agent_grids b", ID: "c", Column: "2"}, {Grid: "agent_grids b", ID: "x", Column: "1"}},
	}
	if d := cmp.Diff(want, u, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "ids" }, cmp.Ignore())); d != "" {
		t.Errorf("unreadable (-want +got)\n%s", d)
	}
	for id, want := range map[string]bool{"x": true, "c": true, "y": false} {
		if got := u.Holds("agent", id); got != want {
			t.Errorf("holds %s: %v, want %v", id, got, want)
		}
	}
}

// TestSections: each section is there once, in the order of grids and lists.
func TestSections(t *testing.T) {
	t.Parallel()
	want := []layout.Section{
		{App: "app", Name: "agent_grids", Tables: []int{0, 1}, Row: -1, List: -1},
		{App: "app", Name: "stats_totals", Row: 2, List: -1},
		{App: "app", Name: "chat_messages", Row: -1, List: 0},
		{App: "other", Name: "chat_messages", Row: -1, List: 1},
	}
	if d := cmp.Diff(want, described().Sections()); d != "" {
		t.Errorf("sections (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"app", "other"}, described().Apps()); d != "" {
		t.Errorf("app ids (-want +got)\n%s", d)
	}
	if _, _, err := described().Normalize([]byte(`{"app":{}}`)); !errors.Is(err, layout.ErrForeign) {
		t.Errorf("error %v without one of them, want ErrForeign", err)
	}
}
