package diff_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// grid wraps the rows of grid a into a body.
func grid(rows string) string {
	return `{"app":{"agent_grids":[{"id":"a","values":[` + rows + `]}]}}`
}

func TestParseTexts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ value, want string }{
		"text":             {`"ready"`, "ready"},
		"no text":          {`""`, ""},
		"null":             {`null`, ""},
		"whole number":     {`7`, "7"},
		"zero":             {`0`, "0"},
		"number as it is":  {`1.50e+02`, "1.50e+02"},
		"more than a word": {`123456789012345678901234567890`, "123456789012345678901234567890"},
		"true":             {`true`, "true"},
		"false":            {`false`, "false"},
		"escapes":          {`"\u00fc\n\"\/\ud83d\ude00"`, "ü\n\"/😀"},
		"half a pair":      {`"\ud83d"`, "\ufffd"},
		"not UTF-8":        {"\"\xff\"", "\ufffd"},
		"blanks around":    {" \t\r\n\"x\" \n", "x"},
		"blanks inside":    {`" x "`, " x "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s diff.State
			changes := compare(t, &s, layoutOf(), 0, grid(`{"1":"anna","2":`+tt.value+`}`), diff.Options{})
			if len(changes) != 1 {
				t.Fatalf("%d changes, want 1", len(changes))
			}
			if got, known := changes[0].After.Get("state"); got != tt.want || !known {
				t.Errorf("%s is read as %q (known %v), want %q", tt.value, got, known, tt.want)
			}
		})
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rows                string
		want                []string
		duplicates, unnamed int
	}{
		"numbers and booleans":        {rows: `{"1":7},{"1":true}`, want: []string{"7", "true"}},
		"a number is its text":        {rows: `{"1":7},{"1":"7"}`, want: []string{"7"}, duplicates: 1},
		"one spelling is another":     {rows: `{"1":"\u0061nna"},{"1":"anna"}`, want: []string{"anna"}, duplicates: 1},
		"case distinguishes":          {rows: `{"1":"Anna"},{"1":"anna"}`, want: []string{"Anna", "anna"}},
		"blanks distinguish":          {rows: `{"1":"anna "},{"1":"anna"}`, want: []string{"anna", "anna "}},
		"dots, stars and other signs": {rows: `{"1":"a.b*>"},{"1":"größe 😀"}`, want: []string{"a.b*>", "größe 😀"}},
		"empty, null and none":        {rows: `{"1":""},{"1":null},{"2":"ready"},{},null`, unnamed: 5},
		"three of one":                {rows: `{"1":"x"},{"1":"x"},{"1":"x"}`, want: []string{"x"}, duplicates: 2},
		"the last of two columns":     {rows: `{"1":"x","1":"y"}`, want: []string{"y"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			snap := parse(t, l, 0, grid(tt.rows))
			var s diff.State
			changes, err := s.Compare(l, snap, diff.Options{})
			if err != nil {
				t.Fatal(err)
			}
			acknowledge(&s, changes)
			if d := cmp.Diff(tt.want, s.IDs(agent)); d != "" {
				t.Errorf("keys (-want +got)\n%s", d)
			}
			if snap.Duplicates != tt.duplicates || snap.Unnamed != tt.unnamed || snap.Rows(0) != len(tt.want) {
				t.Errorf("%d duplicates, %d unnamed, %d rows; want %d, %d, %d",
					snap.Duplicates, snap.Unnamed, snap.Rows(0), tt.duplicates, tt.unnamed, len(tt.want))
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	validBody := body("anna ready 1; ben busy 1", "carl ready 1")
	tests := map[string]struct {
		body string
		want error
	}{
		"nothing":                   {"", layout.ErrMalformed},
		"HTML":                      {"<html><body>Please log in</body></html>", layout.ErrMalformed},
		"cut JSON":                  {validBody[:len(validBody)/2], layout.ErrMalformed},
		"two bodies":                {validBody + validBody, layout.ErrMalformed},
		"an array":                  {"[" + validBody + "]", layout.ErrMalformed},
		"a text":                    {`"app"`, layout.ErrMalformed},
		"an app that is an array":   {`{"app":[]}`, layout.ErrMalformed},
		"grids in an object":        {`{"app":{"agent_grids":{"id":"a","values":[]}}}`, layout.ErrMalformed},
		"a grid that is text":       {`{"app":{"agent_grids":["a"]}}`, layout.ErrMalformed},
		"rows in an object":         {`{"app":{"agent_grids":[{"id":"a","values":{}}]}}`, layout.ErrMalformed},
		"an id that is nested":      {`{"app":{"agent_grids":[{"id":{},"values":[]}]}}`, layout.ErrMalformed},
		"totals that are an array":  {`{"app":{"stats_totals":[]}}`, layout.ErrMalformed},
		"no app":                    {`{}`, layout.ErrForeign},
		"null":                      {`null`, layout.ErrForeign},
		"a foreign app":             {`{"wallboard":{}}`, layout.ErrForeign},
		"a foreign app in addition": {`{"app":{},"wallboard":{}}`, layout.ErrForeign},
		"an app in another case":    {`{"App":{}}`, layout.ErrForeign},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snap, err := diff.Parse(layoutOf(), []byte(tt.body))
			if !errors.Is(err, tt.want) || snap != nil {
				t.Errorf("%s gives %v, error %v; want %v", tt.body, snap, err, tt.want)
			}
		})
	}
}

func TestParseNamesTheCause(t *testing.T) {
	t.Parallel()
	var syntax *json.SyntaxError
	if _, err := diff.Parse(layoutOf(), []byte("<html>")); !errors.As(err, &syntax) {
		t.Errorf("error %v does not hold the JSON error", err)
	}
	if _, err := diff.Parse(layoutOf(), []byte(`{"app":{},"wallboard-7":{}}`)); !strings.Contains(fmt.Sprint(err), `"wallboard-7"`) {
		t.Errorf("error %v does not name the foreign app", err)
	}
}

// What a body does not mention has no rows; what was not asked for is not read.
func TestParseSections(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want []int // rows by grid
	}{
		"an empty app":           {`{"app":{}}`, []int{0, 0, 0}},
		"an app that is null":    {`{"app":null}`, []int{0, 0, 0}},
		"sections that are null": {`{"app":{"agent_grids":null,"stats_totals":null}}`, []int{0, 0, 0}},
		"values that are null":   {`{"app":{"agent_grids":[{"id":"a","values":null},null]}}`, []int{0, 0, 0}},
		"a grid not asked for":   {`{"app":{"agent_grids":[{"id":"z","values":[{"1":"anna"}]},{"id":"b","values":[{"1":"anna"}]}]}}`, []int{0, 1, 0}},
		"sections not asked for": {`{"app":{"chat_messages":[{"deeply":[{"nested":{}}]}],"stats_totals":{}}}`, []int{0, 0, 1}},
		"keys in any order":      {`{"app":{"stats_totals":{},"agent_grids":[{"values":[{"1":"anna"}],"id":"a"}]}}`, []int{1, 0, 1}},
		"an id that is a number": {`{"app":{"agent_grids":[{"id":5,"values":[{"1":"anna"}]}]}}`, []int{0, 0, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snap := parse(t, layoutOf(), 0, tt.body)
			if d := cmp.Diff(tt.want, []int{snap.Rows(0), snap.Rows(1), snap.Rows(2)}); d != "" {
				t.Errorf("rows (-want +got)\n%s", d)
			}
		})
	}
}

func TestParseLists(t *testing.T) {
	t.Parallel()
	l := &layout.Layout{Lists: []layout.List{{App: "app", Section: "chat_messages"}, {App: "other", Section: "chat_messages"}}}
	snap := parse(t, l, 0, `{"other":{},"app":{"chat_messages":[{"id":7,"is_urgent":true,"content":"größe"},{}]}}`)
	want := [][]map[string]string{{{"id": "7", "is_urgent": "true", "content": "größe"}, {}}, nil}
	if d := cmp.Diff(want, snap.Lists); d != "" {
		t.Errorf("lists (-want +got)\n%s", d)
	}
	snap = parse(t, l, 0, `{"other":{},"app":{"chat_messages":[{"id":{}},"x",{"id":"8"},{"id":"9","content":["a"]}]}}`)
	want = [][]map[string]string{{{"id": "8"}}, nil}
	if d := cmp.Diff(want, snap.Lists); d != "" {
		t.Errorf("lists with elements that cannot be read (-want +got)\n%s", d)
	}
	named := []layout.UnreadableRow{{Grid: "chat_messages"}, {Grid: "chat_messages", Column: "content"}, {Grid: "chat_messages", Column: "id"}}
	if d := cmp.Diff(named, snap.Unreadable.Named); d != "" || snap.Unreadable.Count != 3 {
		t.Errorf("%d elements cannot be read, named (-want +got)\n%s", snap.Unreadable.Count, d)
	}
	if _, err := diff.Parse(l, []byte(`{"other":{},"app":{"chat_messages":{"id":"7"}}}`)); !errors.Is(err, layout.ErrMalformed) {
		t.Errorf("a list that is an object gives error %v, want ErrMalformed", err)
	}
	if _, err := diff.Parse(l, []byte(`{"app":{}}`)); !errors.Is(err, layout.ErrForeign) {
		t.Errorf("a missing app of a list gives error %v, want ErrForeign", err)
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Rewrite = func(kind image.Kind, stat, text string) string {
		if kind == agent && (stat == "" || stat == "login") {
			return "p-" + text
		}
		return text
	}
	var s diff.State
	text := `{"app":{"stats_totals":{"waiting":"3"},"agent_grids":[{"id":"a","values":[{"1":"anna","2":"ready"}]}]}}`
	got := map[string]map[string]string{}
	for _, c := range compare(t, &s, l, 0, text, diff.Options{}) {
		got[c.ID] = asMap(c.After)
	}
	want := map[string]map[string]string{"p-anna": {"login": "p-anna", "state": "ready"}, "all": {"waiting": "3"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("images (-want +got)\n%s", d)
	}
}

// FuzzParse: no body makes the package panic, and what it accepts is what plain
// encoding/json finds in it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "null", "[]", "{}", `"app"`, "<html>", `{"app":null}`, `{"app":{},"b":{}}`, `{"app":{"agent_grids":[null]}}`,
		body("anna ready 1; ben busy 1", "anna _ 2"),
		grid(`{"1":"anna","2":null,"3":1.50e+2},{"1":true,"2":false},{"1":-0}`),
		grid(`{"\u0031":"\u0061nna","2":"\ud83d\ude00\ud83d"},{"1":"größe \u2028<>&"}`),
		" { \"app\" : { \"agent_grids\" : [ { \"values\" : [ { \"1\" : \"anna\" } ] , \"id\" : \"a\" } ] } } \r\n\t",
		`{"app":{"agent_grids":[]},"app":{"stats_totals":{"waiting":3,"waiting":"4"},"stats_totals":{"waiting":""}}}`,
		`{"app":{"agent_grids":[{"id":"a","values":[{"1":"x","1":"y"},{"1":"x"}],"values":[{"2":"z"}]},{"id":"a","values":[{"1":"b"}]}]}}`,
		`{"app":{"agent_grids":[{"ID":"a","Values":[{"1":"x"}]},{"id":1,"values":null}]}}`,
		grid("{\"1\":\"\xff\xfe\"},{\"1\":\"\xed\xa0\x80\"}"),
		grid(`{"1":"anna","2":{}}`), grid(`{"1":"anna","2":[1]},{"1":"ben","99":[]},{"1":["carl"]},[1],"x",null,{"1":"dora","2":"ready"}`),
		`{"app":{"agent_grids":[{"id":"a","values":[{"1":"x","2":[]}],"values":[7]},{"id":"b","values":{}}],"stats_totals":{"waiting":[]}}}`, grid(strings.Repeat("[", 1000)),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		l := layoutOf()
		snap, err := diff.Parse(l, body)
		if err != nil {
			if !errors.Is(err, layout.ErrMalformed) && !errors.Is(err, layout.ErrForeign) {
				t.Fatalf("error %v is neither ErrMalformed nor ErrForeign", err)
			}
			return
		}
		seen, err := parseReference(l, body, newOracle())
		if err != nil {
			t.Fatalf("accepted, but encoding/json says %v", err)
		}
		var s diff.State
		changes, err := s.Compare(l, snap, diff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := entityTexts{}
		for _, c := range changes {
			got.set(c.Kind, c.ID, asMap(c.After))
		}
		if d := cmp.Diff(seen.entityTexts, got); d != "" {
			t.Errorf("entities (-encoding/json +package)\n%s", d)
		}
		if d := cmp.Diff(seen.counts, countsOf(snap)); d != "" {
			t.Errorf("counts (-encoding/json +package)\n%s", d)
		}
		again, err := s.Compare(l, snap, diff.Options{})
		if err != nil || len(again) != len(changes) {
			t.Errorf("compared again: %d changes, %v; want the same %d", len(again), err, len(changes))
		}
		acknowledge(&s, changes)
		if again, err := s.Compare(l, snap, diff.Options{}); err != nil || len(again) > 0 {
			t.Errorf("after all is known: %s, %v; want nothing", describeChanges(again), err)
		}
	})
}
