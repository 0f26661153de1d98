package diff_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"bpcc-nats/diff"
)

func ExampleState_Compare() {
	layout := &diff.Layout{
		Grids: []diff.Grid{{
			Kind: "agent", App: "wallboard", Section: "agent_grids", ID: "all", Key: "1",
			Columns: []diff.Column{{ID: "1", Stat: "login_id"}, {ID: "2", Stat: "acd_state"}, {ID: "3", Stat: "state_duration"}},
		}},
		Volatile: func(stat string) bool { return stat == "state_duration" },
	}
	options := diff.Options{DisappearAfter: 2, Baseline: map[diff.Kind]bool{}}
	var state diff.State
	for i, rows := range []string{
		`{"1":"john.smith","2":"ready","3":"20"},{"1":"diana.yeh","2":"busy","3":"5"}`,
		`{"1":"diana.yeh","2":"busy","3":"7"},{"1":"john.smith","2":"not_ready","3":"1"}`,
		`{"1":"diana.yeh","2":"busy","3":"9"}`,
		`{"1":"diana.yeh","2":"busy","3":"11"}`,
	} {
		snapshot, err := layout.Parse([]byte(`{"wallboard":{"agent_grids":[{"id":"all","values":[` + rows + `]}]}}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		changes, err := state.Compare(layout, snapshot, options)
		if err != nil {
			fmt.Println(err)
			return
		}
		options.Baseline["agent"] = true
		for _, c := range changes {
			fmt.Println(i, c.Op, c.ID, c.Stats, c.Before.Text("acd_state"), "->", c.After.Text("acd_state"))
			// Published and acknowledged: from now on, this is what is known.
			state.Set(c.Kind, c.ID, c.After)
		}
	}
	// Output:
	// 0 observed diana.yeh []  -> busy
	// 0 observed john.smith []  -> ready
	// 1 changed john.smith [acd_state] ready -> not_ready
	// 3 disappeared john.smith [] not_ready ->
}

// BenchmarkCompare compares a large tenant's snapshots, parsed before.
func BenchmarkCompare(b *testing.B) {
	const agents, columns = 10_000, 16
	l := &diff.Layout{
		Grids:    []diff.Grid{{Kind: agent, App: "app", Section: "agent_grids", ID: "a", Key: "1"}},
		Volatile: func(stat string) bool { return stat == "stat3" },
	}
	for i := range columns {
		l.Grids[0].Columns = append(l.Grids[0].Columns, diff.Column{ID: strconv.Itoa(i + 1), Stat: "stat" + strconv.Itoa(i+1)})
	}
	// snapshot writes all agents; changed of them have the given state.
	snapshot := func(changed int, state string) *diff.Snapshot {
		var text strings.Builder
		for i := range agents {
			if i > 0 {
				text.WriteByte(',')
			}
			fmt.Fprintf(&text, `{"1":"agent%05d"`, i)
			for c := 2; c <= columns; c++ {
				v := "value" + strconv.Itoa(c)
				if c == 2 && i < changed {
					v = state
				}
				fmt.Fprintf(&text, `,"%d":%q`, c, v)
			}
			text.WriteByte('}')
		}
		return parse(b, l, 0, grid(text.String()))
	}
	for _, percent := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("%d%%", percent), func(b *testing.B) {
			changed := agents * percent / 100
			snaps := []*diff.Snapshot{snapshot(changed, "ready"), snapshot(changed, "busy")}
			var s diff.State
			first, err := s.Compare(l, snaps[0], diff.Options{DisappearAfter: 2})
			if err != nil {
				b.Fatal(err)
			}
			acknowledge(&s, first)
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				changes, err := s.Compare(l, snaps[i%2], diff.Options{DisappearAfter: 2})
				if err != nil || len(changes) != changed {
					b.Fatalf("%d changes, error %v; want %d", len(changes), err, changed)
				}
				acknowledge(&s, changes)
			}
		})
	}
}
