package diff_test

import (
	"fmt"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

func ExampleState_Compare() {
	l := &layout.Layout{
		Grids: []layout.Grid{{
			Kind: "agent", App: "wallboard", Section: "agent_grids", ID: "all", Key: "1",
			Columns: []layout.Column{{ID: "1", Stat: "login_id"}, {ID: "2", Stat: "acd_state"}, {ID: "3", Stat: "state_duration"}},
		}},
		Volatile: []string{"state_duration"},
	}
	options := diff.Options{DisappearAfter: 2, Baseline: map[image.Kind]bool{}}
	var state diff.State
	for i, rows := range []string{
		`{"1":"john.smith","2":"ready","3":"20"},{"1":"diana.yeh","2":"busy","3":"5"}`,
		`{"1":"diana.yeh","2":"busy","3":"7"},{"1":"john.smith","2":"not_ready","3":"1"}`,
		`{"1":"diana.yeh","2":"busy","3":"9"}`,
		`{"1":"diana.yeh","2":"busy","3":"11"}`,
	} {
		snapshot, err := diff.Parse(l, []byte(`{"wallboard":{"agent_grids":[{"id":"all","values":[`+rows+`]}]}}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		changes, err := state.Compare(l, snapshot, options)
		if err != nil {
			fmt.Println(err)
			return
		}
		options.Baseline["agent"] = true
		for _, c := range changes {
			fmt.Println(i, c.Op, c.ID, c.Stats, c.Before.Text("acd_state"), "->", c.After.Text("acd_state"))
			// Published and acknowledged: from now on, this is what is known.
			state.Set(c.Kind, c.ID, c.After, 1)
		}
	}
	// Output:
	// 0 observed diana.yeh []  -> busy
	// 0 observed john.smith []  -> ready
	// 1 changed john.smith [acd_state] ready -> not_ready
	// 3 disappeared john.smith [] not_ready ->
}
