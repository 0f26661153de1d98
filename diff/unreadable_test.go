package diff_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

// TestUnreadableRows: what cannot be read spoils its row, and no other.
func TestUnreadableRows(t *testing.T) {
	t.Parallel()
	const ben = `,{"1":"ben","2":"busy"}`
	row := func(id, column string) []layout.UnreadableRow {
		return []layout.UnreadableRow{{Grid: "agent_grids a", ID: id, Column: column}}
	}
	tests := map[string]struct {
		body  string
		named []layout.UnreadableRow
		count int
		ids   []string
	}{
		"an array in a cell":          {grid(`{"1":"anna","2":["ready"]}` + ben), row("anna", "2"), 1, []string{"ben"}},
		"an empty array":              {grid(`{"1":"anna","2":[]}` + ben), row("anna", "2"), 1, []string{"ben"}},
		"an object":                   {grid(`{"1":"anna","3":{"a":1}}` + ben), row("anna", "3"), 1, []string{"ben"}},
		"in a key":                    {grid(`{"1":["anna"],"2":"ready"}` + ben), row("", "1"), 1, []string{"ben"}},
		"in two cells":                {grid(`{"3":[],"2":{},"1":"anna"}` + ben), row("anna", "2"), 1, []string{"ben"}},
		"the last of two cells":       {grid(`{"1":"anna","2":"ready","2":[]}` + ben), row("anna", "2"), 1, []string{"ben"}},
		"not the last of two cells":   {grid(`{"1":"anna","2":[],"2":"ready"}` + ben), nil, 0, []string{"anna", "ben"}},
		"a number as key":             {grid(`{"1":7,"2":[]}` + ben), row("7", "2"), 1, []string{"ben"}},
		"without a key":               {grid(`{"2":[]}` + ben), row("", "2"), 1, []string{"ben"}},
		"a column that nobody reads":  {grid(`{"1":"anna","99":{"a":[1]}}` + ben), nil, 0, []string{"anna", "ben"}},
		"a row that is an array":      {grid(`["anna","ready"]` + ben), row("", ""), 1, []string{"ben"}},
		"a row that is text":          {grid(`"anna"` + ben), row("", ""), 1, []string{"ben"}},
		"a row that is a number":      {grid(`7` + ben), row("", ""), 1, []string{"ben"}},
		"a row that is a boolean":     {grid(`false` + ben), row("", ""), 1, []string{"ben"}},
		"one twice, and readable":     {grid(`{"1":"ben","2":[]}` + ben), row("ben", "2"), 1, []string{"ben"}},
		"all of a grid":               {grid(`{"1":"anna","2":[]}`), row("anna", "2"), 1, nil},
		"a grid that nobody reads":    {`{"app":{"agent_grids":[{"id":"z","values":[[1],{"1":[]}]}]}}`, nil, 0, nil},
		"totals":                      {`{"app":{"stats_totals":{"waiting":[3]}}}`, []layout.UnreadableRow{{Grid: "stats_totals", ID: "all", Column: "waiting"}}, 1, nil},
		"a total that nobody reads":   {`{"app":{"stats_totals":{"waiting":3,"more":[]}}}`, nil, 0, nil},
		"several, in order of names":  {grid(`{"1":"carl","2":[]},{"1":"ben","2":[]},{"1":"anna","2":[]},{"1":"dora","2":[]}`), nil, 4, nil},
		"many without a name are one": {grid(`[1],[2],[3],[4]`), row("", ""), 4, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			snap := parse(t, l, 0, tt.body)
			if strings.HasPrefix(name, "several") {
				tt.named = append(append(row("anna", "2"), row("ben", "2")...), row("carl", "2")...)
			}
			if d := cmp.Diff(tt.named, snap.Unreadable.Named); d != "" || snap.Unreadable.Count != tt.count {
				t.Errorf("%d rows cannot be read, want %d; named (-want +got)\n%s", snap.Unreadable.Count, tt.count, d)
			}
			var s diff.State
			changes, err := s.Compare(l, snap, diff.Options{})
			if err != nil {
				t.Fatal(err)
			}
			acknowledge(&s, changes)
			if d := cmp.Diff(tt.ids, s.IDs(agent)); d != "" {
				t.Errorf("agents (-want +got)\n%s", d)
			}
		})
	}
}

// TestUnreadableIsNoDeparture: a row that is there and cannot be read is missing, and never a
// departure. What changed meanwhile has the last sight of the row as the beginning of its window.
func TestUnreadableIsNoDeparture(t *testing.T) {
	t.Parallel()
	const (
		anna, ben = `{"1":"anna","2":"ready"}`, `{"1":"ben","2":"busy"}`
		spoilt    = `{"1":"anna","2":["ready"]}`
	)
	type step struct{ rows, want string }
	tests := map[string][]step{
		"for long, then the same":    {{anna + "," + ben, ""}, {spoilt + "," + ben, ""}, {spoilt + "," + ben, ""}, {spoilt + "," + ben, ""}, {anna + "," + ben, ""}},
		"for long, then changed":     {{anna + "," + ben, ""}, {spoilt + "," + ben, ""}, {spoilt + "," + ben, ""}, {`{"1":"anna","2":"busy"},` + ben, "changed anna state=busy"}},
		"then gone":                  {{anna + "," + ben, ""}, {spoilt + "," + ben, ""}, {spoilt + "," + ben, ""}, {ben, ""}, {ben, "disappeared anna"}},
		"in between, it counts anew": {{anna + "," + ben, ""}, {ben, ""}, {spoilt + "," + ben, ""}, {ben, ""}, {ben, "disappeared anna"}},
		"its key cannot be read":     {{anna + "," + ben, ""}, {`{"1":["anna"]},` + ben, ""}, {`{"1":["anna"]},` + ben, ""}, {anna + "," + ben, ""}},
		"it is no object":            {{anna + "," + ben, ""}, {`"anna",` + ben, ""}, {`"anna",` + ben, ""}, {ben, ""}, {ben, "disappeared anna"}},
		"the whole grid":             {{anna + "," + ben, ""}, {spoilt + `,{"1":"ben","2":{}}`, ""}, {spoilt + `,{"1":"ben","2":{}}`, ""}, {anna + "," + ben, ""}},
		"a row that was there before is another's": {
			{`"x",` + anna + "," + ben, ""}, {`"x",` + ben, ""}, {`"x",` + ben, "disappeared anna"},
		},
		"a new one appears when it can be read": {{ben, ""}, {spoilt + "," + ben, ""}, {anna + "," + ben, "appeared anna"}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := layoutOf()
			o := diff.Options{DisappearAfter: 2, Baseline: map[image.Kind]bool{agent: true}}
			var s diff.State
			lastSeen := -1
			for n, step := range steps {
				changes := compare(t, &s, l, n, grid(step.rows), o)
				if n > 0 {
					if got := describeChanges(changes); got != step.want {
						t.Errorf("snapshot %d: %q, want %q", n, got, step.want)
					}
				}
				for _, c := range changes {
					if c.ID == "anna" && c.Op == diff.Changed && !c.SeenUntil.Equal(second(lastSeen)) {
						t.Errorf("snapshot %d: seen until %v, want %v", n, c.SeenUntil, second(lastSeen))
					}
				}
				acknowledge(&s, changes)
				since, missing := s.MissingSince()
				shown := strings.Contains(step.rows, `"anna","2":"`)
				if shown {
					lastSeen = n
				}
				if want := !shown && s.Image(agent, "anna").Text("login") != ""; missing != want || missing && !since.Equal(second(lastSeen)) {
					t.Errorf("snapshot %d: missing %v since %v, want %v, %v", n, missing, since, want, second(lastSeen))
				}
			}
		})
	}
}

// TestUnreadableIsPseudonymous: a row that cannot be read is named as its entity is.
func TestUnreadableIsPseudonymous(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Rewrite = func(_ image.Kind, stat, text string) string {
		if stat == "" || stat == "login" {
			return "p-" + text
		}
		return text
	}
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, grid(`{"1":"anna"},{"1":"ben"}`), diff.Options{}))
	for n := range 3 {
		snap := read(t, &s, l, n+1, grid(`{"1":"anna","2":[]},{"1":"ben"}`))
		if d := cmp.Diff([]layout.UnreadableRow{{Grid: "agent_grids a", ID: "p-anna", Column: "2"}}, snap.Unreadable.Named); d != "" {
			t.Errorf("named (-want +got)\n%s", d)
		}
		if changes, err := s.Compare(l, snap, diff.Options{DisappearAfter: 1}); err != nil || len(changes) > 0 {
			t.Errorf("%s, error %v", describeChanges(changes), err)
		}
	}
}

// TestUnreadableCountsTowardsTheLimit: a grid is cut at its limit whatever its rows are.
func TestUnreadableCountsTowardsTheLimit(t *testing.T) {
	t.Parallel()
	l := layoutOf()
	l.Grids[0].Limit = 2
	var s diff.State
	o := diff.Options{DisappearAfter: 1}
	acknowledge(&s, compare(t, &s, l, 0, grid(`{"1":"anna"},{"1":"ben"}`), o))
	if got := describeChanges(compare(t, &s, l, 1, grid(`{"1":"anna"},{"1":"carl","2":[]}`), o)); got != "" {
		t.Errorf("%q, but the limit may hide ben", got)
	}
}

// TestShapeErrors: an error says where a body is not as expected, and whether it is a snapshot at all.
func TestShapeErrors(t *testing.T) {
	t.Parallel()
	foreign := `{"wallboard":{"agent_grids":[{"id":"a","values":[{"1":"anna"}]}]}}`
	tests := map[string]struct {
		body    string
		isShape bool
		text    string
	}{
		"an error":                    {`{"error":"session expired"}`, true, `member "error": want an object, have text`},
		"a code":                      {`{"code":401,"message":"session expired"}`, true, `member "code": want an object, have a number`},
		"an error in an object":       {`{"error":{"code":401,"message":"session expired"}}`, true, `"error"`},
		"an error beside no data":     {`{"data":null,"errors":[{"message":"session expired"}]}`, true, `member "errors": want an object, have an array`},
		"an empty object":             {`{}`, true, `"app"`},
		"nothing of anybody":          {`{"wallboard":{}}`, true, `"wallboard"`},
		"an array":                    {`[]`, true, "body: want an object, have an array"},
		"text":                        {`"session expired"`, true, "body: want an object, have text"},
		"no JSON":                     {`{error: session expired}`, true, ""},
		"nothing":                     {"", true, ""},
		"blanks":                      {" \n", true, ""},
		"rows in an object":           {`{"app":{"agent_grids":[{"id":"a","values":{"1":"anna"}}]}}`, true, `agent_grids "a", values: want an array of rows, have an object`},
		"rows that are text":          {`{"app":{"agent_grids":[{"id":"b"},{"id":"a","values":"none"}]}}`, true, `agent_grids "a", values: want an array of rows, have text`},
		"an id that is nested":        {`{"app":{"agent_grids":[{"id":"b"},{"id":{}}]}}`, true, "agent_grids, grid 2, id: want text, have an object"},
		"a grid that is text":         {`{"app":{"agent_grids":["a"]}}`, true, "agent_grids, grid 1: want an object, have text"},
		"grids in an object":          {`{"app":{"agent_grids":{}}}`, true, "agent_grids: want an array of grids, have an object"},
		"grids that are a number":     {`{"app":{"agent_grids":0}}`, true, "agent_grids: want an array of grids, have a number"},
		"totals in an array":          {`{"app":{"stats_totals":[]}}`, true, "stats_totals: want an object, have an array"},
		"totals that are a boolean":   {`{"app":{"stats_totals":true}}`, true, "stats_totals: want an object, have a boolean"},
		"a name without an end":       {`{"` + strings.Repeat("error", 1000) + `":7}`, true, "member of 5000 bytes: want"},
		"an id without an end":        {`{"app":{"agent_grids":[{"id":"` + strings.Repeat("a", 5000) + `","values":7}]}}`, true, "agent_grids of 5000 bytes, values: want"},
		"a snapshot of another":       {foreign, false, `"wallboard"`},
		"another's part in addition":  {`{"app":{},"wallboard":{"agent_grids":[]}}`, false, `"wallboard"`},
		"cut after the first bracket": {`{`, false, "unexpected end"},
		"cut in the middle":           {body("anna ready 1", "")[:50], false, "unexpected end"},
		"cut before the end":          {strings.TrimSuffix(body("anna ready 1", ""), "}"), false, "unexpected end"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := diff.Parse(layoutOf(), []byte(tt.body))
			if !errors.Is(err, layout.ErrMalformed) && !errors.Is(err, layout.ErrForeign) {
				t.Fatalf("error %v", err)
			}
			if got := errors.Is(err, layout.ErrShape); got != tt.isShape {
				t.Errorf("%v: ErrShape %v, want %v", err, got, tt.isShape)
			}
			if !strings.Contains(fmt.Sprint(err), tt.text) || strings.Contains(fmt.Sprint(err), "anna") || len(fmt.Sprint(err)) > 300 {
				t.Errorf("error %q, want %q in it and nothing of the rows", err, tt.text)
			}
		})
	}
}

// TestUnreadableRowsAreManyAtOnce: as many rows as there may be cost no more than a poll.
func TestUnreadableRowsAreManyAtOnce(t *testing.T) {
	t.Parallel()
	var good, bad []string
	for i := range 5000 {
		good = append(good, fmt.Sprintf(`{"1":"agent%d","2":"ready"}`, i))
		bad = append(bad, fmt.Sprintf(`{"1":"agent%d","2":["ready"]}`, i))
	}
	l := layoutOf()
	var s diff.State
	acknowledge(&s, compare(t, &s, l, 0, grid(strings.Join(good, ",")), diff.Options{}))
	began := time.Now()
	for n := range 3 {
		if changes := compare(t, &s, l, n+1, grid(strings.Join(bad, ",")), diff.Options{DisappearAfter: 2}); len(changes) > 0 {
			t.Fatalf("%d changes", len(changes))
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("three snapshots take %v", took)
	}
	if changes := compare(t, &s, l, 4, grid(strings.Join(good, ",")), diff.Options{}); len(changes) > 0 {
		t.Errorf("%d changes when the rows can be read again", len(changes))
	}
}
