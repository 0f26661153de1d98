package report_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/variants"
	"bpcc-nats/reader/past"
	"bpcc-nats/reader/report"
)

// TestReportIsTheIntegral: in random streams the report is the integral of what [past] knows of each instant.
// Agents come, change, leave and change teams, in windows of which some overlap a gap.
func TestReportIsTheIntegral(t *testing.T) {
	t.Parallel()
	seeds := uint64(8)
	if variants.RunAll() {
		seeds = 30
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			lines := randomDay(rand.New(rand.NewPCG(seed, 3)))
			// Every window and gap ends at a whole second, so that all of a second is as its middle.
			const from, to = 4, 96
			want := map[string]*integral{}
			get := func(key string) *integral {
				if want[key] == nil {
					want[key] = &integral{}
				}
				return want[key]
			}
			unseen := map[string]float64{}
			for at := from + 0.5; at < to; at++ {
				s := newScript(t)
				s.fold = past.New(second(at))
				for _, e := range s.read(lines).fold.State(nil).Entities {
					states := map[string]bool{} // "" is none
					for _, p := range e.Possible {
						state := ""
						if p.Event != nil {
							a := p.Event.Data.(*event.AgentData)
							if state = a.After.Text("acd_state"); state != "" {
								state = a.Agent.ID + " " + a.After.Text("team_name") + " " + state
							}
						}
						states[state] = true
					}
					only := len(states) == 1 // something else may change
					delete(states, "")
					id := strings.TrimPrefix(e.Key, "agent.")
					switch {
					case e.Certain(), e.Unknown.Reason == past.Changing && only:
						for key := range states {
							get(key).least++
						}
					case e.Unknown.Reason == past.Changing:
						for key := range states {
							get(key).perhaps++
						}
					default:
						unseen[id]++
						for key := range states {
							get(key)
						}
					}
				}
			}
			m := report.NewMessages("acme", between(from, to))
			for _, message := range newScript(t).read(lines).messages {
				m.Add(message)
			}
			r, err := m.Report()
			if err != nil {
				t.Fatal(err)
			}
			sums := map[string]time.Duration{}
			// A gap begins when the last good poll is sent, and the windows of that one end a second later.
			gaps := float64(strings.Count(lines, "gap"))
			for _, a := range r.Agents {
				i := get(a.Agent + " " + a.Team + " " + a.State)
				i.seen = true
				least, most := a.AtLeast.Seconds(), a.AtMost.Seconds()
				if least != i.least || most < i.least+i.perhaps || most > i.least+i.perhaps+a.Unseen.Seconds()+gaps || a.Unseen.Seconds() < unseen[a.Agent]-gaps {
					t.Errorf("%+v: want %+v, unseen at least %v", a, i, unseen[a.Agent])
				}
				sums[a.Agent] += a.AtLeast
				if sums[a.Agent] > (to-from)*time.Second-a.Unseen {
					t.Errorf("%s: %v certain and %v unseen", a.Agent, sums[a.Agent], a.Unseen)
				}
			}
			for key, i := range want {
				if !i.seen && i.least+i.perhaps > 0 {
					t.Errorf("the report has no %s: %+v", key, i)
				}
			}
			if t.Failed() {
				t.Log(lines)
			}
		})
	}
}

// integral is what the past says of a state, in seconds.
type integral struct {
	least, perhaps float64
	seen           bool
}

// randomDay writes a script of 100 seconds with a poll every two seconds.
func randomDay(random *rand.Rand) string {
	var b strings.Builder
	states := []string{"ready", "busy", "not_ready", "logged_out", "-"}
	teams := []string{"Sales", "Support"}
	type agent struct {
		revision    int
		state, team string
	}
	agents := map[string]*agent{}
	names := []string{"ann", "bob", "eve"}
	for _, name := range names {
		agents[name] = &agent{1, "ready", "Sales"}
		fmt.Fprintf(&b, "%s 1 ready 0 3\n", name)
	}
	fmt.Fprintf(&b, "checkpoint 3 2\n")
	for sent, last := 4, 2; sent < 100; sent += 2 {
		after := last
		switch random.IntN(12) {
		case 0: // polls fail, and that is no gap
			continue
		case 1: // a gap
			sent += 2 * random.IntN(5)
			fmt.Fprintf(&b, "gap %d %d %s\n", last, sent+1, []string{"source", "away"}[random.IntN(2)])
		}
		for _, name := range names {
			a := agents[name]
			if random.IntN(4) > 0 {
				continue
			}
			state := states[random.IntN(len(states))]
			if state == "-" && a.state == "-" {
				continue
			}
			if state == a.state {
				a.team = teams[random.IntN(2)]
			}
			a.state = state
			a.revision++
			fmt.Fprintf(&b, "%s %d %s %d %d team=%s\n", name, a.revision, state, after, sent+1, a.team)
		}
		fmt.Fprintf(&b, "checkpoint %d %d\n", sent+1, sent)
		last = sent
	}
	return b.String()
}
