package bridge_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/internal/variants"
	"bpcc-nats/reader"
	"bpcc-nats/reader/past"
)

// agentNames are the agents of the history.
var agentNames = []string{"ann", "bob", "eve", "joe"}

// TestStateAtIsTheTenant lets agents work, leave, return, change teams and be renamed, while the source freezes, fails and
// is full, and bridges stop, crash and take over. At random instants, what [reader.Reader.StateAt] calls
// certain is what the tenant was; what it calls unknown is bounded by what the stream says of that time. Services
// come and go meanwhile, with calls that wait and without an agent. The
// report of [report.Read] is for how long it was so.
func TestStateAtIsTheTenant(t *testing.T) {
	t.Parallel()
	seeds := uint64(2)
	if variants.RunAll() {
		seeds = 6
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			runHistoryOfTenant(t, seed)
		})
	}
}

func runHistoryOfTenant(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 11))
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "300ms"
	w.env["BPCC_TIMEOUT"] = "400ms"
	w.env["BRIDGE_FROZEN_AFTER"] = "1500ms"
	w.pollInterval = 50 * time.Millisecond
	w.waitsDividedBy = 25
	w.simulatedTime = true // whole seconds of clocks do not show states as short as these
	sub := w.config().BPCC.Subscription
	names := agentNames
	for _, login := range names {
		w.setAgent(login, "ready", "")
	}
	services := w.newRandomServices(seed)
	history := []tenantVersion{{snapshot: services.addTo(w.tenantSnapshot(sub))}}
	record := func(do func()) {
		from := time.Now()
		do()
		history = append(history, tenantVersion{from, time.Now(), services.addTo(w.tenantSnapshot(sub))})
	}
	change := func(do func()) {
		record(func() {
			do()
			services.step()
		})
	}
	stop := w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	for round := range 24 {
		login := names[random.IntN(len(names))]
		switch n := random.IntN(8); {
		case round == 4: // checks of a service fail until its availability counts as unknown
			w.tenant.Inject(bpcctest.Fault{Services: []string{"Voice"}, Status: 502, Times: -1})
			change(func() { services.flip("Voice") })
			w.waitForEvents("an unknown availability", func(all []storedEvent) bool {
				return slices.ContainsFunc(withSubject(all, "availability.Voice.changed"), func(s storedEvent) bool { return s.field("available") == nil })
			})
			change(func() { services.flip("Voice") })
			w.tenant.ClearFaults()
			w.waitForPolls(2)
		case round == 8: // the source stands still while the tenant goes on
			record(func() { services.setWaiting("Voice", 1) })
			w.waitTwoPolls()
			w.tenant.Inject(bpcctest.Fault{Frozen: true, Times: -1})
			w.waitTwoPolls() // what changes between them is in no gap
			record(func() { services.setWaiting("Voice", 1+backlog) })
			for range 3 {
				record(func() { w.setAgent(login, []string{"ready", "busy", "not_ready"}[random.IntN(3)], "") })
				w.waitTwoPolls()
			}
			w.waitForEvents("the source to be found frozen", func(all []storedEvent) bool {
				return slices.ContainsFunc(withSubject(all, "feed.interrupted"), func(s storedEvent) bool { return s.text("cause") == "frozen" })
			})
			record(func() { services.setWaiting("Voice", 0) })
			w.tenant.ClearFaults()
			w.waitFor("feed.resumed", len(withSubject(w.events(), "feed.resumed"))+1)
		case round == 14: // another bridge takes over
			standby := w.startBridge()
			stop()
			stop = standby
			w.waitForPolls(2)
		case round == 18: // a bridge crashes
			stop()
			crash := w.startCrashable()
			w.waitForPolls(3)
			crash()
			record(func() {
				w.setAgent(login, "not_ready", "Crash")
				services.flip("Chat")
			})
			<-time.After(2 * unseen)
			record(func() { services.flip("Chat") })
			terms := len(withSubject(w.events(), "feed.started"))
			stop = w.startBridge()
			w.waitFor("feed.started", terms+1)
			w.waitForPolls(2)
		case round == 20: // a call has waited for long, so that the report has a longest wait
			record(func() { services.arrive("Voice", 3*time.Second) })
			w.waitTwoPolls()
		case n == 0:
			change(func() { w.tenant.RemoveAgent(login) })
			w.waitTwoPolls()
		case n == 1:
			change(func() {
				w.tenant.SetAgent(bpcctest.Agent{Login: login, First: fmt.Sprint("Name", round), Last: "Doe", Team: []string{"Sales", "Support"}[round%2], Services: []string{"Voice"}, State: "ready"})
			})
		case n == 2:
			w.tenant.Inject(bpcctest.Fault{Status: 502, Times: 1 + random.IntN(8)})
			change(func() { w.setAgent(login, "busy", "") })
			w.waitTwoPolls()
		case n == 3:
			stop()
			change(func() { w.setAgent(login, "not_ready", fmt.Sprint("Reason", round)) })
			if random.IntN(2) == 0 {
				<-time.After(300 * time.Millisecond) // longer than what is no gap
			}
			stop = w.startBridge()
			w.waitForPolls(2)
		default:
			change(func() {
				w.setAgent(login, []string{"ready", "busy", "not_ready", ""}[random.IntN(4)], fmt.Sprint(round))
			})
		}
		w.waitTwoPolls()
		w.waitTwoPolls()
	}
	w.tenant.ClearFaults()
	n := len(withSubject(w.events(), "feed.checkpoint"))
	w.waitFor("feed.checkpoint", n+2)
	stop()
	w.comparePast(random, history)
	w.compareReport(history)
}

// comparePast compares states at random instants with what the tenant showed.
func (w *testEnv) comparePast(random *rand.Rand, history []tenantVersion) {
	w.t.Helper()
	all := w.events()
	r, err := reader.Open(w.js, "acme", reader.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	c := pastComparison{w: w, r: r, random: random, all: all, history: history, reasons: map[past.Reason]int{}}
	first, last := all[0].Time.Add(-100*time.Millisecond), all[len(all)-1].Time.Add(100*time.Millisecond)
	// Every instant that is drawn must be past.
	for _, latest := range []time.Time{last, history[len(history)-1].since.Add(250 * time.Millisecond)} {
		<-time.After(time.Until(latest))
	}
	for range 20 {
		c.compareAt(first.Add(time.Duration(random.Int64N(int64(last.Sub(first))))))
	}
	for range 60 { // some time after something has changed, and soon after
		i := random.IntN(len(history)-1) + 1
		wait := 200 * time.Millisecond
		if i+1 < len(history) {
			wait = history[i+1].from.Sub(history[i].since)
		}
		c.compareAt(history[i].since.Add(time.Duration(random.Int64N(int64(wait)))))
		c.compareAt(history[i].since.Add(time.Duration(random.IntN(60)-20) * time.Millisecond))
	}
	c.compareCheckpoints()
	w.t.Logf("%d states are certain, of them %d held only around the instant; unknown: %v", c.certain, c.excused, c.reasons)
	if c.certain < 30 || c.excused > c.certain/10 {
		w.t.Errorf("%d states are certain, of them %d held only around the instant", c.certain, c.excused)
	}
}

type pastComparison struct {
	w                *testEnv
	r                *reader.Reader
	random           *rand.Rand
	all              []storedEvent
	history          []tenantVersion
	certain, excused int
	reasons          map[past.Reason]int
}

// unseen is how long a state may last and not be seen, since polls fail before that counts as a gap.
const unseen = 500 * time.Millisecond

// holds reports whether the tenant showed something at an instant, and else whether it did shortly before
// and after, so that no poll may have shown anything else.
func (c *pastComparison) holds(at time.Time, shows func(snapshot) bool) (now, around bool) {
	any := func(after, by time.Time) bool {
		for s := range versionsBetween(c.history, after, by) {
			if shows(s) {
				return true
			}
		}
		return false
	}
	return any(at, at), any(at.Add(-unseen), at) && any(at, at.Add(unseen))
}

// compareAt compares one state.
func (c *pastComparison) compareAt(at time.Time) {
	c.w.t.Helper()
	s, err := c.r.StateAt(c.w.t.Context(), at, reader.StateAtOptions{})
	if err != nil {
		c.w.t.Fatal(err)
	}
	named := map[string]bool{}
	if n := len(s.Entities); n > 0 {
		c.compareOne(at, s.Entities[c.random.IntN(n)])
	}
	for _, e := range s.Entities {
		kind, id := kindAndID(c.w.t, e)
		if kind == "availability" && e.Certain() && c.history[0].snapshot[kind] != nil {
			if a := e.Possible[0].Event.Availability(); a.Available != nil {
				c.check(at, e.Key, func(h snapshot) bool { return h[kind][id]["available"] == strconv.FormatBool(*a.Available) })
			}
		}
		if kind == "threshold" || kind == "availability" {
			continue
		}
		named[e.Key] = true
		if !e.Certain() {
			c.reasons[e.Unknown.Reason]++
			c.checkUnknown(at, e)
			continue
		}
		c.check(at, e.Key, func(h snapshot) bool { return cmp.Equal(h[kind][id], plain(e.Possible[0].Event)) })
		if at.Before(e.From) || at.After(e.Until) {
			c.w.t.Errorf("%s at %v: certain from %v to %v", e.Key, at, e.From, e.Until)
		}
	}
	if len(s.Unknown) > 0 {
		return // others may be missing
	}
	for h := range versionsBetween(c.history, at, at) {
		for kind, rows := range h {
			for id := range rows {
				key := event.RowKey(event.Agent, id)
				if kind == "agent" && !named[key] {
					c.check(at, key+" (absent)", func(h snapshot) bool { return h["agent"][id] == nil })
				}
			}
		}
	}
}

// compareOne compares what all of the stream tells with what requests for one entity do.
func (c *pastComparison) compareOne(at time.Time, want past.Entity) {
	c.w.t.Helper()
	kind, id := kindAndID(c.w.t, want)
	if kind == "threshold" {
		return
	}
	s, err := c.r.StateAt(c.w.t.Context(), at, reader.StateAtOptions{Entity: svc.StateRequest{Kind: kind, ID: id}})
	if err != nil {
		c.w.t.Fatal(err)
	}
	got, ok := s.Entity(want.Key)
	if !ok || got.Certain() != want.Certain() {
		c.w.t.Errorf("%s at %v: alone it is %+v, among all %+v", want.Key, at, got, want)
		return
	}
	if d := cmp.Diff(summary(want), summary(got)); d != "" {
		c.w.t.Errorf("%s at %v (-among all +alone)\n%s", want.Key, at, d)
	}
}

// summary writes what is known of an entity.
func summary(e past.Entity) string {
	var b strings.Builder
	for _, p := range e.Possible {
		fmt.Fprintf(&b, "%d ", p.Seq)
	}
	if e.Certain() {
		return fmt.Sprint(b.String(), e.From, e.Until)
	}
	return fmt.Sprint(b.String(), e.Unknown.Reason, e.Unknown.After, e.Unknown.By)
}

// check counts what is certain, and reports it if the tenant was not so.
func (c *pastComparison) check(at time.Time, what string, shows func(snapshot) bool) {
	c.w.t.Helper()
	c.certain++
	now, around := c.holds(at, shows)
	if !now && around {
		c.excused++
	}
	if !now && !around {
		c.w.t.Errorf("%s is called certain at %v, and the tenant was not so", what, at)
	}
}

// checkUnknown checks that the stream knows no better.
func (c *pastComparison) checkUnknown(at time.Time, e past.Entity) {
	c.w.t.Helper()
	inWindow := func(s storedEvent) bool {
		after, err := time.Parse(time.RFC3339, s.text("observed", "after"))
		by, err2 := time.Parse(time.RFC3339, s.text("observed", "by"))
		return err2 == nil && by.After(at) && (err != nil || after.Before(at))
	}
	var last storedEvent
	for _, s := range c.all {
		switch e.Unknown.Reason {
		case past.Changing, past.BeforeFirst:
			if entityKey(s.Subject) == e.Key && inWindow(s) {
				return
			}
		case past.Gap, past.BridgeAway:
			if s.Subject == "feed.resumed" && inWindow(s) {
				return
			}
		case past.RowsMissing:
			if since, err := time.Parse(time.RFC3339, s.text("missing_since")); err == nil && since.Before(at) && at.Before(s.Time.Add(time.Second)) {
				return
			}
		}
		if s.Subject == "feed.checkpoint" {
			last = s
		}
	}
	until, err := time.Parse(time.RFC3339, last.text("observed_until"))
	if err == nil && at.After(until) {
		return
	}
	c.w.t.Errorf("%s at %v is unknown (%+v), and nothing in the stream explains it", e.Key, at, e.Unknown)
}

// compareCheckpoints compares the states at checkpoints with the fold of the stream up to them.
func (c *pastComparison) compareCheckpoints() {
	c.w.t.Helper()
	checkpoints := withSubject(c.all, "feed.checkpoint")
	compared := 0
	for range 15 {
		i := c.random.IntN(len(checkpoints) - 1)
		s := checkpoints[i]
		at := s.Time.Add(3 * time.Millisecond)
		if !checkpoints[i+1].Time.After(at) || s.text("observed_until") == "" {
			continue
		}
		known := map[string]bool{}
		for _, e := range c.all {
			switch key := entityKey(e.Subject); {
			case e.Seq > s.Seq || key == "":
			case strings.HasSuffix(e.Subject, ".disappeared"), strings.HasSuffix(e.Subject, ".cleared"):
				delete(known, key)
			default:
				known[key] = true
			}
		}
		p, err := c.r.StateAt(c.w.t.Context(), at, reader.StateAtOptions{})
		if err != nil {
			c.w.t.Fatal(err)
		}
		got := map[string]bool{}
		for _, e := range p.Entities {
			if len(e.Possible) > 0 && e.Possible[0].Event != nil {
				got[e.Key] = true
			}
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(got))); d != "" {
			c.w.t.Errorf("%s: (-fold +state)\n%s", s.ID, d)
		}
		if p.Feed.Seq != s.Seq || !p.Feed.Complete {
			c.w.t.Errorf("%s: the state is that of %d, complete %v", s.ID, p.Feed.Seq, p.Feed.Complete)
		}
		compared++
	}
	if compared < 3 {
		c.w.t.Errorf("%d checkpoints compared", compared)
	}
}

// kindAndID are the kind and the id of an entity that may have been present.
func kindAndID(t *testing.T, e past.Entity) (kind, id string) {
	t.Helper()
	kind, token, _ := strings.Cut(e.Key, ".")
	if kind == "threshold" {
		return kind, ""
	}
	id, err := event.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return kind, id
}

// plain are the statistics of an event about a row, without running clocks.
func plain(e *event.Event) map[string]string {
	stats := map[string]string{}
	for name, text := range e.Row().After.All() {
		stats[name] = text
	}
	return withoutClocks(stats)
}
