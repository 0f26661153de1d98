package diff_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
	"bpcc-nats/diff/layout"
)

const service image.Kind = "service"

// benchCentre is a large contact centre as the benchmarks see it: agents of twenty
// columns, six of which run by themselves, and a service of fifteen columns for
// every twenty agents.
type benchCentre struct {
	agents, services int
	layout           *layout.Layout
}

func newBenchCentre(agents int) *benchCentre {
	c := &benchCentre{agents: agents, services: agents / 20, layout: &layout.Layout{
		Grids: []layout.Grid{
			{Kind: agent, App: "app", Section: "agent_grids", ID: "agents", Key: "1"},
			{Kind: service, App: "app", Section: "service_grids", ID: "services", Key: "1"},
		},
		Clock: "agent15",
	}}
	for grid, columns := range []int{20, 15} {
		for n := 1; n <= columns; n++ {
			stat := string(c.layout.Grids[grid].Kind) + strconv.Itoa(n)
			if n > 14 && grid == 0 {
				c.layout.Volatile = append(c.layout.Volatile, stat)
			}
			c.layout.Grids[grid].Columns = append(c.layout.Grids[grid].Columns, layout.Column{ID: strconv.Itoa(n), Stat: stat})
		}
	}
	return c
}

// body writes a snapshot. Of a hundred rows that many have another state and
// count than at an even tick; ticking, two clocks of every row run. The last
// rows come first if turned.
func (c *benchCentre) body(tick, percent int, ticking, turned bool) []byte {
	b := []byte(`{"app":{"agent_grids":[{"id":"agents","values":[`)
	rows := func(name string, n, columns int) {
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			if turned {
				i = n - 1 - i
			}
			changed := tick%2 == 1 && i%100 < percent
			b = fmt.Appendf(b, `{"1":"%s%05d"`, name, i)
			for column := 2; column <= columns; column++ {
				text := "v" + strconv.Itoa(i*column%9973)
				switch {
				case column == 6:
					text = "ready"
					if changed {
						text = "not_ready"
					}
				case column == 9 && changed:
					text = strconv.Itoa(i*column%97 + 1)
				case column == 9:
					text = strconv.Itoa(i * column % 97)
				case ticking && columns == 20 && (column == 15 || column == 16):
					text = strconv.Itoa(100 + i%5000 + 2*tick)
				case column > 14:
					text = strconv.Itoa(100 + i%5000)
				}
				b = fmt.Appendf(b, `,"%d":%q`, column, text)
			}
			b = append(b, '}')
		}
	}
	rows("agent", c.agents, 20)
	b = append(b, `]}],"service_grids":[{"id":"services","values":[`...)
	rows("service", c.services, 15)
	return append(b, `]}]}}`...)
}

// run parses and compares bodies in turn, and acknowledges the changes.
func (c *benchCentre) run(b *testing.B, bodies [][]byte, want int) {
	var s diff.State
	options := diff.Options{DisappearAfter: 2, ReentryTest: &diff.ReentryTest{
		Clock:  func(before, after int) bool { return before > after+2 },
		Images: func(image.Kind, image.Image, image.Image) bool { return false },
	}}
	step := func(body []byte) int {
		snap, err := s.Parse(c.layout, body)
		if err != nil {
			b.Fatal(err)
		}
		changes, err := s.Compare(c.layout, snap, options)
		if err != nil {
			b.Fatal(err)
		}
		for _, change := range changes {
			s.Set(change.Kind, change.ID, change.After, 1)
		}
		return len(changes)
	}
	if got := step(bodies[0]); got != c.agents+c.services {
		b.Fatalf("%d changes at first, want %d", got, c.agents+c.services)
	}
	b.SetBytes(int64(len(bodies[0])))
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		if got := step(bodies[i%len(bodies)]); got != want {
			b.Fatalf("%d changes, want %d", got, want)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	c := newBenchCentre(10_000)
	all := c.agents + c.services
	first := c.body(0, 0, false, false)
	b.Run("baseline: encoding/json into maps", func(b *testing.B) {
		b.SetBytes(int64(len(first)))
		b.ReportAllocs()
		for b.Loop() {
			var apps map[string]map[string][]struct {
				ID     string
				Values []map[string]string
			}
			if err := json.Unmarshal(first, &apps); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("changed=0%", func(b *testing.B) { c.run(b, [][]byte{first, c.body(0, 0, false, false)}, 0) })
	b.Run("changed=0%,reordered", func(b *testing.B) { c.run(b, [][]byte{first, c.body(0, 0, false, true)}, 0) })
	for _, percent := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("changed=%d%%", percent), func(b *testing.B) {
			c.run(b, [][]byte{first, c.body(1, percent, false, false)}, all*percent/100)
		})
	}
	b.Run("ticking", func(b *testing.B) {
		c.run(b, [][]byte{c.body(0, 0, true, false), c.body(1, 0, true, false)}, 0)
	})
}

// BenchmarkDiffSize shows that the cost is linear.
func BenchmarkDiffSize(b *testing.B) {
	for _, agents := range []int{100, 1_000, 10_000, 50_000} {
		c := newBenchCentre(agents)
		b.Run(fmt.Sprintf("agents=%d,changed=1%%", agents), func(b *testing.B) {
			c.run(b, [][]byte{c.body(0, 0, false, false), c.body(1, 1, false, false)}, agents/100+c.services/100+min(1, c.services%100))
		})
		b.Run(fmt.Sprintf("agents=%d,ticking", agents), func(b *testing.B) {
			c.run(b, [][]byte{c.body(0, 0, true, false), c.body(1, 0, true, false)}, 0)
		})
	}
}
