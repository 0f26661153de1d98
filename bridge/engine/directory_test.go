package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// listing adds a listing of a directory to an observation: "1=Sales 2=Support" are
// two entries. It was asked for 30 ms before it was answered.
func (b *bridge) listing(directory, text string) func(*engine.Observation) {
	names := map[string]string{}
	for _, word := range strings.Fields(text) {
		id, name, _ := strings.Cut(word, "=")
		names[id] = name
	}
	return b.names(directory, names)
}

func (b *bridge) names(directory string, names map[string]string) func(*engine.Observation) {
	return func(o *engine.Observation) {
		o.Directories = append(o.Directories, engine.DirectorySnapshot{
			Directory: directory, Names: names, Sent: b.now.Add(-30 * time.Millisecond), Received: b.now,
		})
	}
}

// spellDirectory writes what an event about a directory says, as "+1=Sales -2=Support
// 3=Old>New".
func spellDirectory(d *event.DirectoryData) string {
	var out []string
	for _, e := range d.Added {
		out = append(out, "+"+e.ID+"="+e.Name)
	}
	for _, e := range d.Removed {
		out = append(out, "-"+e.ID+"="+e.Name)
	}
	for _, e := range d.Renamed {
		out = append(out, e.ID+"="+e.From+">"+e.To)
	}
	if d.Baseline {
		out = append(out, fmt.Sprintf("baseline %d/%d", d.Part, d.Parts))
	}
	if d.AfterGap {
		out = append(out, "after gap")
	}
	return strings.Join(out, " ")
}

// TestDirectories: what a series of listings of one directory publishes.
func TestDirectories(t *testing.T) {
	t.Parallel()
	type step struct{ listing, want string }
	restart := func(b *bridge) { b.stop(); b.restart() }
	for name, test := range map[string]struct {
		steps  []step
		before map[int]func(b *bridge) // the step of that number, from 1
	}{
		"a baseline, and then changes": {steps: []step{
			{"1=Sales 2=Support", "+1=Sales +2=Support baseline 1/1"}, {"1=Sales 2=Support", ""}, {"1=Sales 2=Support 3=Night", "+3=Night"},
			{"1=Sales 3=Night", "-2=Support"}, {"1=Sale 3=Night", "1=Sales>Sale"}, {"1=Sale 4=Day", "+4=Day -3=Night"},
		}},
		"all at once":                 {steps: []step{{"1=a 2=b 3=c 4=d", "+1=a +2=b +3=c +4=d baseline 1/1"}, {"0=x 1=a 3=y 4=z 5=e", "+0=x +5=e -2=b 3=c>y 4=d>z"}}},
		"an empty one":                {steps: []step{{"", "baseline 1/1"}, {"", ""}, {"1=a", "+1=a"}}},
		"half of it gone is believed": {steps: []step{{"1=a 2=b", "+1=a +2=b baseline 1/1"}, {"1=a", "-2=b"}}},
		"more than half gone is believed at the second listing": {steps: []step{
			{"1=a 2=b 3=c", "+1=a +2=b +3=c baseline 1/1"}, {"1=a", ""}, {"1=a", "-2=b -3=c"},
		}},
		"a short listing in between is nothing": {steps: []step{
			{"1=a 2=b 3=c", "+1=a +2=b +3=c baseline 1/1"}, {"1=a", ""}, {"1=a 2=b 3=c", ""}, {"2=b", ""}, {"1=a 2=b 3=c 4=d", "+4=d"}, {"", ""}, {"1=a 2=b 3=c 4=d", ""},
		}},
		"a restart publishes the difference": {steps: []step{{"1=a 2=b", "+1=a +2=b baseline 1/1"}, {"1=a 2=c", "2=b>c after gap"}, {"1=a 2=b", "2=c>b"}},
			before: map[int]func(*bridge){2: restart}},
		"a restart without a difference": {steps: []step{{"1=a 2=b", "+1=a +2=b baseline 1/1"}, {"1=a 2=b", ""}, {"1=a 2=b 3=c", "+3=c"}},
			before: map[int]func(*bridge){2: restart}},
		"more than half gone is not believed after a restart either": {steps: []step{{"1=a 2=b 3=c", "+1=a +2=b +3=c baseline 1/1"}, {"1=a", ""}, {"1=a", "-2=b -3=c after gap"}},
			before: map[int]func(*bridge){2: restart}},
		"a baseline again before the stream loses it": {steps: []step{{"1=a", "+1=a baseline 1/1"}, {"1=a", ""}, {"1=b", "+1=b baseline 1/1"}, {"1=b", ""}},
			before: map[int]func(*bridge){3: func(b *bridge) { b.now = b.now.Add(360 * time.Hour) }}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			for i, step := range test.steps {
				if before := test.before[i+1]; before != nil {
					before(b)
				}
				got := ""
				for _, e := range b.poll(agents("anna=ready"), b.listing(engine.Teams, step.listing)) {
					if d, ok := e.Data.(*event.DirectoryData); ok {
						got += spellDirectory(d)
					}
				}
				if got != step.want {
					t.Errorf("step %d, %s: %q, want %q", i+1, step.listing, got, step.want)
				}
			}
		})
	}
}

// TestDirectoryEvents: what the events say, apart from the entries.
func TestDirectoryEvents(t *testing.T) {
	t.Parallel()
	b := start(t)
	events := b.poll(snapshot{}, b.listing(engine.Agents, "U-1=anna U-2=bob"), b.listing(engine.Dispositions, "Sale=Sale"),
		b.listing(engine.Services, "S-1=Voice"), b.listing(engine.Teams, "T-1=Sales"))
	b.expect("baselines", events, "directory/agents changed, directory/dispositions changed, directory/services changed, directory/teams changed")
	for i := range events {
		d := dataOf[*event.DirectoryData](b, &events[i])
		if !d.Baseline || !d.Observed.After.IsZero() || !d.Observed.By.Equal(b.now) || d.AfterGap {
			t.Errorf("%s: the first listing is published as a change: %+v", d.Kind, d)
		}
		if d.Added == nil || d.Removed == nil || d.Renamed == nil {
			t.Errorf("%s: %+v; consumers are promised arrays", d.Kind, d)
		}
	}
	asked := b.now.Add(-30 * time.Millisecond)
	e := b.only("a rename", b.poll(snapshot{}, b.listing(engine.Agents, "U-1=anna U-2=bob.b")), "directory/agents changed")
	want := &event.DirectoryData{
		Base: event.Base{Tenant: "acme", Poll: 3}, Kind: "agents", Observed: event.Between(asked, b.now),
		Added: []event.DirectoryEntry{}, Removed: []event.DirectoryEntry{}, Renamed: []event.DirectoryRename{{ID: "U-2", From: "bob", To: "bob.b"}},
	}
	if d := cmp.Diff(want, dataOf[*event.DirectoryData](b, e)); d != "" || e.ViewKey() != "directory.agents" {
		t.Errorf("renamed, under %s (-want +got)\n%s", e.ViewKey(), d)
	}
	// A restart knows when the last event was published, and not when it last asked.
	published := b.now
	b.poll(snapshot{}, b.listing(engine.Agents, "U-1=anna U-2=bob.b"))
	b.restart()
	e = b.only("the net difference", b.poll(snapshot{}, b.listing(engine.Agents, "U-1=anna U-2=bob"), b.listing(engine.Teams, "T-1=Sales")), "directory/agents changed")
	if d := dataOf[*event.DirectoryData](b, e); !d.AfterGap || d.Baseline || !d.Observed.After.Equal(published) {
		t.Errorf("after a restart: %+v; want the window from %v", d, published)
	}
}

// TestLargeDirectory: no event has more than 500 entries of a kind.
func TestLargeDirectory(t *testing.T) {
	t.Parallel()
	of := func(n int, name string) map[string]string {
		names := map[string]string{}
		for i := range n {
			names[fmt.Sprintf("%04d", i)] = name
		}
		return names
	}
	count := func(events []event.Event) (out []string) {
		for i := range events {
			d := events[i].Data.(*event.DirectoryData)
			text := fmt.Sprintf("+%d -%d >%d", len(d.Added), len(d.Removed), len(d.Renamed))
			if d.Baseline {
				text += fmt.Sprintf(" baseline %d/%d", d.Part, d.Parts)
			}
			out = append(out, text)
		}
		return out
	}
	b := start(t)
	if d := cmp.Diff([]string{"+500 -0 >0 baseline 1/3", "+500 -0 >0 baseline 2/3", "+201 -0 >0 baseline 3/3"}, count(b.poll(snapshot{}, b.names("agents", of(1201, "a"))))); d != "" {
		t.Errorf("baseline (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"+0 -0 >500", "+0 -0 >500", "+0 -0 >201"}, count(b.poll(snapshot{}, b.names("agents", of(1201, "b"))))); d != "" {
		t.Errorf("renamed (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"+500 -0 >500", "+0 -0 >500", "+0 -0 >201"}, count(b.poll(snapshot{}, b.names("agents", of(1701, "c"))))); d != "" {
		t.Errorf("renamed and added (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"+0 -500 >0", "+0 -1 >0"}, count(b.poll(snapshot{}, b.names("agents", of(1200, "c"))))); d != "" {
		t.Errorf("removed (-want +got)\n%s", d)
	}
	published := b.engine.Published().Directories["agents"]
	if d := cmp.Diff(of(1200, "c"), published); d != "" {
		t.Errorf("the directory, folded from its events (-want +got)\n%s", d)
	}
}

// TestDirectoryWithoutSource: listings are published while the source is not seen.
func TestDirectoryWithoutSource(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	b.expect("a poll fails", b.fail("source", b.listing(engine.Teams, "1=Sales")), "directory/teams changed")
	b.now = b.now.Add(interval)
	o := engine.Observation{At: b.now}
	b.listing(engine.Teams, "1=Sale")(&o)
	b.expect("no answer yet", b.commit(b.engine.OnTick(o)), "directory/teams changed")
}

// TestRenamedLogin: where agents are known by their login ids, a new one is another
// agent; the directory says that it is the same user.
func TestRenamedLogin(t *testing.T) {
	t.Parallel()
	b := start(t)
	show := func(login string) snapshot {
		return agents("bob=ready carl=ready").set(login, "user_id", "U-1").set(login, "acd_state", "ready")
	}
	b.poll(show("anna"), b.listing(engine.Agents, "U-1=anna U-2=bob U-3=carl"))
	events := b.poll(show("anna.b"), b.listing(engine.Agents, "U-1=anna.b U-2=bob U-3=carl"))
	b.expect("a new login", events, "directory/agents changed, agent/anna.b appeared")
	if got := spellDirectory(dataOf[*event.DirectoryData](b, &events[0])); got != "U-1=anna>anna.b" {
		t.Errorf("directory: %s", got)
	}
	appeared := dataOf[*event.AgentData](b, &events[1])
	gone := dataOf[*event.AgentData](b, b.only("the old login", b.poll(show("anna.b")), "agent/anna disappeared"))
	if appeared.Agent.UserID != "U-1" || gone.Agent.UserID != "U-1" || events[1].Subject() != "bpcc.v1.acme.agent.anna=2Eb.appeared" {
		t.Errorf("appeared %+v on %s, gone %+v", appeared.Agent, events[1].Subject(), gone.Agent)
	}
}
