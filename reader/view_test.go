package reader_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	bridgestream "bpcc-nats/bridge/stream"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// view opens a view until the test ends.
func (w *world) view(o reader.ViewOptions) *reader.View {
	w.t.Helper()
	v, err := w.open(reader.Options{Timeout: time.Second}).View(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.(testing.TB).Cleanup(v.Close)
	return v
}

// ready waits for the first picture of a view.
func ready(t testing.TB, v *reader.View) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := v.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// check waits until a view shows all that is stored, and compares it.
func (w *world) check(v *reader.View) {
	w.t.Helper()
	last := w.checkSeq(v)
	want := w.fold(w.stored[len(w.stored)-1].seq)
	if d := cmp.Diff(texts(want), texts(held(v.Picture()))); d != "" {
		w.t.Fatalf("the picture at %d (-stream +picture)\n%s", last, d)
	}
}

// checkSeq waits until a view shows the last checkpoint, and returns its sequence.
func (w *world) checkSeq(v *reader.View) uint64 {
	w.t.Helper()
	last := uint64(0)
	for i := len(w.stored) - 1; i >= 0; i-- {
		if s := w.stored[i]; s.key == "feed" && s.id != (event.ID{}) {
			last = s.seq
			await(w.t, fmt.Sprintf("the view shows checkpoint %d", last), func() bool { return v.Picture().Seq == last && v.Picture().ID == s.id })
			break
		}
	}
	return last
}

func TestView(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var updates []string
	v := w.view(reader.ViewOptions{OnUpdate: func(u reader.Update) {
		mu.Lock()
		defer mu.Unlock()
		var all []string
		for _, c := range u.Changes {
			switch {
			case c.Before == nil:
				all = append(all, "+"+c.Key)
			case c.After == nil:
				all = append(all, "-"+c.Key)
			default:
				all = append(all, c.Key)
			}
		}
		updates = append(updates, fmt.Sprintf("%d listed=%v %s", u.Picture.Seq, u.Listed, strings.Join(all, " ")))
	}})
	if f := v.Freshness(); f.Fresh() || f.Status != reader.StatusUnknown || f.Reason == "" {
		t.Errorf("before the first picture: %+v", f)
	}
	if p := v.Picture(); p.Checkpoint != nil || len(p.Agents()) > 0 {
		t.Errorf("before the first picture: %+v", p)
	}
	yes := true
	w.started()
	w.agent("john.smith", "acd_state=ready extension=1")
	w.agent("anna", "acd_state= extension=2")
	w.service("Voice Inbound", 3)
	w.available("Voice Inbound", &yes)
	w.threshold("Voice Inbound", true)
	w.poll()
	ready(t, v)
	w.check(v)
	p := v.Picture()
	a, ok := p.Agent("john.smith")
	if !ok || a.State.State != "ready" || a.Name != "JOHN.SMITH" || a.Stats.Text("extension") != "1" || a.Revision != 1 || a.Seq != 2 {
		t.Errorf("agent %+v %v", a, ok)
	}
	if all := p.Agents(); len(all) != 2 || all[0].ID != "anna" || all[0].State.State != event.LoggedOut || all[1].ID != "john.smith" {
		t.Errorf("agents %+v", all)
	}
	if s, ok := p.Service("Voice Inbound"); !ok || s.Stats.Text("in_calls_waiting") != "3" {
		t.Errorf("service %+v %v", s, ok)
	}
	if s, ok := p.Availability("Voice Inbound"); !ok || s.Available == nil || !*s.Available {
		t.Errorf("availability %+v %v", s, ok)
	}
	if s, ok := p.Threshold("backlog", "Voice Inbound"); !ok || !s.Raised || s.Data.Severity != "warning" {
		t.Errorf("threshold %+v %v", s, ok)
	}
	if _, ok := p.Totals("bridge"); ok {
		t.Error("there are totals")
	}
	if f := v.Freshness(); !f.Fresh() || f.Reason != "" || f.Age < 0 || f.Age > testTimeout {
		t.Errorf("freshness %+v", f)
	}

	w.agent("anna", "")
	w.agent("john.smith", "acd_state=busy extension=1")
	w.threshold("Voice Inbound", false)
	w.close(1, 2)
	w.send()
	w.service("Voice Inbound", 1)
	w.service("Chat", 1)
	w.close(2, 2)
	w.send()
	w.id.Poll, w.id.Index = w.id.Poll+1, 1
	w.check(v)
	w.poll()
	w.check(v)
	w.foreign("agent.john=2Esmith.state_changed")
	await(t, "the agent is hidden", func() bool { _, known := v.Picture().Agent("john.smith"); return !known })
	w.agent("john.smith", "acd_state=ready extension=1")
	w.poll()
	w.check(v)
	mu.Lock()
	defer mu.Unlock()
	want := []string{
		"7 listed=true +agent.john=2Esmith +agent.anna +service.Voice=20Inbound +availability.Voice=20Inbound +threshold.backlog.Voice=20Inbound",
		"14 listed=false -agent.anna agent.john=2Esmith threshold.backlog.Voice=20Inbound service.Voice=20Inbound +service.Chat",
		"15 listed=false ",
		"15 listed=false -agent.john=2Esmith",
		"18 listed=false +agent.john=2Esmith",
	}
	if d := cmp.Diff(want, updates); d != "" {
		t.Errorf("updates (-want +got)\n%s", d)
	}
}

// TestKinds: a view of some kinds holds these alone, and is as fresh.
func TestKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	yes := true
	w.started()
	w.agent("anna", "acd_state=ready")
	w.available("Chat", &yes)
	w.poll()
	v := w.view(reader.ViewOptions{Kinds: []string{"availability"}})
	ready(t, v)
	for range 3 {
		if a := v.Available("Chat"); !a.Route || len(v.Picture().Agents()) != 0 {
			t.Fatalf("answer %+v, agents %v", a, v.Picture().Agents())
		}
		w.agent("anna", fmt.Sprint("acd_state=ready extension=", w.id.Poll))
		w.poll()
		await(t, "the view goes on", func() bool { return v.Picture().Seq == w.stored[len(w.stored)-1].seq })
	}
	w.available("Chat", nil)
	w.poll()
	await(t, "the availability is unknown", func() bool { return v.Available("Chat").Reason == "availability is unknown: old" })
	if _, err := w.open(reader.Options{}).View(t.Context(), reader.ViewOptions{Kinds: []string{"agents"}}); !errors.Is(err, reader.ErrOptions) {
		t.Errorf("kind agents: %v, want %v", err, reader.ErrOptions)
	}
}

// staleWatchdog makes the server's view say that no bridge confirms the feed, as the watchdog of a dead
// bridge does.
func (w *world) staleWatchdog() {
	w.t.Helper()
	// A checkpoint that the server's view takes later would hide it.
	await(w.t, "the server's view is complete", func() bool { return viewSeq(w) >= w.stored[len(w.stored)-1].seq })
	d := &event.CheckpointData{Base: w.base(), Status: event.StatusStale, Epoch: w.id.Epoch, Part: 1, Parts: 1, ObservedUntil: event.Floor(time.Now())}
	e := event.Event{ID: event.ID{Epoch: w.id.Epoch, Poll: w.id.Poll}, Name: event.Checkpoint, Time: time.Now(), Data: d}
	body, err := w.encoder.Append(nil, &e)
	if err != nil {
		w.t.Fatal(err)
	}
	m := nats.NewMsg("bpcc.watchdog.acme.armed")
	m.Data = body
	m.Header.Set("Content-Type", event.ContentType)
	m.Header.Set("Nats-Schedule", "@at "+time.Now().UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", "bpcc.watchdog.acme.stale")
	if _, err := w.js.PublishMsg(context.Background(), m); err != nil {
		w.t.Fatal(err)
	}
}

// TestFreshness: nothing but a live and recent feed is fresh.
func TestFreshness(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	begin := func(w *world) {
		w.started()
		w.available("Chat", &yes)
	}
	tests := map[string]struct {
		publish func(w *world)
		options reader.Options
		status  string
		reason  string // of the answer
	}{
		"live":         {publish: func(w *world) { begin(w); w.poll() }, status: "live", reason: "an agent is available"},
		"no agent":     {publish: func(w *world) { begin(w); w.available("Chat", &no); w.poll() }, status: "live", reason: "no agent is available"},
		"unknown":      {publish: func(w *world) { begin(w); w.available("Chat", nil); w.poll() }, status: "live", reason: "availability is unknown: old"},
		"not known":    {publish: func(w *world) { w.started(); w.poll() }, status: "live", reason: "nothing is published about the service"},
		"interrupted":  {publish: func(w *world) { begin(w); w.status = "interrupted"; w.poll() }, status: "interrupted", reason: "the feed is interrupted"},
		"stopped":      {publish: func(w *world) { begin(w); w.status = "stopped"; w.poll() }, status: "stopped", reason: "the feed is stopped"},
		"another word": {publish: func(w *world) { begin(w); w.status = "resting"; w.poll() }, status: "resting", reason: "the feed is resting"},
		"old":          {publish: func(w *world) { begin(w); w.age = time.Minute; w.poll() }, status: "stale", reason: "the feed is older than 35s"},
		"old, and that is allowed": {publish: func(w *world) { begin(w); w.age = time.Minute; w.poll() }, options: reader.Options{StaleAfter: time.Hour},
			status: "live", reason: "an agent is available"},
		"an old check": {publish: func(w *world) { begin(w); w.age = time.Minute; w.poll() }, options: reader.Options{StaleAfter: time.Hour, AvailabilityStaleAfter: time.Second},
			status: "live", reason: "availability was last checked more than 1s ago"},
		"a bridge whose clock is ahead": {publish: func(w *world) { begin(w); w.age = -time.Hour; w.poll() }, options: reader.Options{StaleAfter: time.Second},
			status: "stale", reason: "the feed is older than 1s"},
		"a dead bridge": {publish: func(w *world) { begin(w); w.poll(); w.staleWatchdog() }, status: "stale", reason: "the feed is stale: no bridge confirms it"},
		"a foreign checkpoint": {publish: func(w *world) { begin(w); w.poll(); w.foreign("feed.checkpoint") },
			status: "unknown", reason: "a foreign message hides the last checkpoint"},
		"a foreign availability": {publish: func(w *world) { begin(w); w.poll(); w.foreign("availability.Chat.changed") },
			status: "live", reason: "nothing is published about the service"},
		"half a poll": {publish: func(w *world) { begin(w); w.poll(); w.available("Chat", &no); w.close(1, 2); w.send() },
			status: "live", reason: "an agent is available"},
	}
	for name, test := range tests {
		for _, early := range []bool{true, false} { // the view is there before the events, or after them
			t.Run(fmt.Sprint(name, " early ", early), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				if !early {
					test.publish(w)
					await(t, "the server's view is complete", func() bool {
						_, err := w.js.KeyValue(t.Context(), streams.StateBucket)
						return err == nil && viewSeq(w) >= uint64(len(w.stored)-1)
					})
				}
				v, err := w.open(test.options).View(t.Context(), reader.ViewOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer v.Close()
				if early {
					test.publish(w)
				}
				var a reader.Answer
				for deadline := time.Now().Add(testTimeout / 2); ; <-time.After(5 * time.Millisecond) {
					a = v.Available("Chat")
					if a.Freshness.Status == test.status && a.Reason == test.reason {
						break
					}
					if name == "half a poll" && !early { // there is no picture before the poll is whole
						if a.Freshness.Status == reader.StatusUnknown && viewSeq(w) >= uint64(len(w.stored)) {
							break
						}
					}
					if time.Now().After(deadline) {
						t.Fatalf("got %+v, want status %q, reason %q", a, test.status, test.reason)
					}
				}
				if routes := test.reason == "an agent is available"; name != "half a poll" && a.Route != routes {
					t.Errorf("route %v, want %v", a.Route, routes)
				}
			})
		}
	}
}

// viewSeq returns how far the server's view is: its last message of the stream.
func viewSeq(w *world) uint64 {
	w.t.Helper()
	s, err := w.js.Stream(context.Background(), "KV_"+streams.StateBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	for seq := s.CachedInfo().State.LastSeq; seq > 0; seq-- {
		msg, err := s.GetMsg(context.Background(), seq)
		if err != nil {
			continue // a later one has replaced it
		}
		if from, seq, err := scan.ParseSource(msg.Header); err == nil && from == streams.Name {
			return seq
		}
	}
	return 0
}

// TestStaleIsOverruledByWhatIsLater: a bridge that comes back overrules the watchdog, and an older
// checkpoint does not.
func TestStaleIsOverruledByWhatIsLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.started()
	w.poll()
	v := w.view(reader.ViewOptions{})
	ready(t, v)
	for range 2 {
		w.staleWatchdog()
		await(t, "the feed is stale", func() bool { return v.Freshness().Status == event.StatusStale })
		w.poll()
		await(t, "the feed is live", func() bool { return v.Freshness().Fresh() })
	}
	w.staleWatchdog()
	late := w.view(reader.ViewOptions{})
	await(t, "the feed is stale to a view that begins later", func() bool { return late.Freshness().Status == event.StatusStale })
	// The server's view lags: it does not show the checkpoint.
	w.stopSourcing()
	w.poll()
	await(t, "the feed is live, by the stream", func() bool { return v.Freshness().Fresh() && late.Freshness().Fresh() })
	if f := v.Freshness(); f.ViewBehind == 0 {
		t.Errorf("the server's view is not behind: %+v", f)
	}
}

// stopSourcing makes the server's view lag for ever.
func (w *world) stopSourcing() {
	w.t.Helper()
	s, err := w.js.Stream(context.Background(), "KV_"+streams.StateBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.Sources = nil
	if _, err := w.js.UpdateStream(context.Background(), c); err != nil {
		w.t.Fatal(err)
	}
}

// TestLaggingView: a view that begins while the server's view lags shows what the stream has.
func TestLaggingView(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	w.stopSourcing()
	w.agent("anna", "acd_state=busy")
	w.service("Chat", 1)
	w.poll()
	v := w.view(reader.ViewOptions{})
	w.check(v)
	if !v.Freshness().Fresh() {
		t.Errorf("freshness %+v", v.Freshness())
	}
}

// TestRecovery: a view recovers from all that can be done to the streams and the connection, and is not
// fresh as long as it has not.
func TestRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	js := natstest.Connect(t, w.url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	r, err := reader.Open(js, "acme", reader.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.View(t.Context(), reader.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	w.check(v)
	change := func() {
		w.agent("anna", fmt.Sprint("acd_state=ready extension=", w.id.Poll))
		w.poll()
	}
	t.Log("the connection is lost")
	if err := js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	change()
	w.check(v)
	t.Log("the consumers are deleted")
	deleteConsumers(t, w)
	change()
	w.check(v)
	t.Log("the server's view is rebuilt")
	if err := w.js.DeleteStream(t.Context(), "KV_"+streams.StateBucket); err != nil {
		t.Fatal(err)
	}
	change()
	w.check(v)
	for _, c := range bridgestream.Configs(streams) {
		if c.Name == "KV_"+streams.StateBucket {
			if _, err := w.js.CreateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	change()
	w.check(v)
	w.staleWatchdog()
	await(t, "the feed is stale, by the new view", func() bool { return v.Freshness().Status == event.StatusStale })
	change()
	await(t, "the feed is live", func() bool { return v.Freshness().Fresh() })

	t.Log("an older backup of the stream is restored")
	backup := natstest.BackUp(t, w.js, streams.Name)
	kept := len(w.stored)
	change()
	w.check(v)
	backup.Restore(t, w.js, streams.Name)
	await(t, "the view is not fresh", func() bool { return !v.Freshness().Fresh() })
	w.stored = w.stored[:kept]
	w.id.Epoch++
	rebuild(t, w)
	change()
	w.check(v)
	await(t, "the feed is live", func() bool { return v.Freshness().Fresh() })

	t.Log("everything is deleted")
	for _, name := range []string{streams.Name, "KV_" + streams.StateBucket} {
		if err := w.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the view is not fresh", func() bool { return !v.Freshness().Fresh() })
	for _, c := range bridgestream.Configs(streams) {
		if c.Name == streams.Name || c.Name == "KV_"+streams.StateBucket {
			if _, err := w.js.CreateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.stored, w.follows = nil, ""
	w.id.Epoch++
	w.agent("carl", "acd_state=ready")
	w.poll()
	w.check(v)
	await(t, "the feed is live", func() bool { return v.Freshness().Fresh() })
	v.Close()
	if f := v.Freshness(); f.Fresh() || f.Reason != "the view is closed" {
		t.Errorf("after Close: %+v", f)
	}
	await(t, "no consumer is left", func() bool { return w.consumers() == 0 })
}

// rebuild deletes the server's view and makes it again.
func rebuild(t *testing.T, w *world) {
	t.Helper()
	s, err := w.js.Stream(t.Context(), "KV_"+streams.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteStream(t.Context(), "KV_"+streams.StateBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
}

// TestDirectories: a directory is known from its last baseline on, whenever the view begins.
func TestDirectories(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var changed []string
	early := w.view(reader.ViewOptions{OnUpdate: func(u reader.Update) {
		mu.Lock()
		defer mu.Unlock()
		changed = append(changed, u.Directories...)
	}})
	text := func(v *reader.View, kind string) string {
		entries, known := v.Picture().Directory(kind)
		return fmt.Sprint(entries, known)
	}
	w.started()
	w.directory("teams", 0, 0, "9=lost") // its baseline has expired
	w.poll()
	ready(t, early)
	steps := []struct {
		publish func()
		want    string
	}{
		{func() {}, "[] false"},
		{func() { w.directory("teams", 1, 2, "1=Sales", "2=Support") }, "[] false"},
		{func() { w.directory("teams", 2, 2, "3=Claims") }, "[{1 Sales} {2 Support} {3 Claims}] true"},
		{func() { w.directory("teams", 0, 0, "4=Web", "-1", "2~Help") }, "[{2 Help} {3 Claims} {4 Web}] true"},
		{func() { w.foreign("directory.teams.changed") }, "[{2 Help} {3 Claims} {4 Web}] true"},
		{func() { w.directory("teams", 1, 1) }, "[] true"},
	}
	for _, step := range steps {
		step.publish()
		w.poll()
		w.check(early)
		late := w.view(reader.ViewOptions{})
		w.check(late)
		only := w.view(reader.ViewOptions{Kinds: []string{"directory"}})
		w.checkSeq(only)
		for name, v := range map[string]*reader.View{"early": early, "late": late, "of directories": only} {
			if got := text(v, "teams"); got != step.want {
				t.Errorf("%s view: teams %s, want %s", name, got, step.want)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if d := cmp.Diff([]string{"teams", "teams", "teams", "teams"}, changed); d != "" {
		t.Errorf("changed directories (-want +got)\n%s", d)
	}
}

// TestErasedIsForgotten: what is erased leaves the picture.
func TestErasedIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	v := w.view(reader.ViewOptions{})
	w.check(v)
	w.add(event.Erased, &event.ErasedData{Base: w.base(), Epoch: w.id.Epoch, Sequences: []event.SequenceRange{{First: 3, Last: 3}, {First: 10, Last: 10}}})
	w.poll()
	await(t, "the erasure is seen", func() bool { return v.Picture().Seq == w.stored[len(w.stored)-1].seq })
	if _, known := v.Picture().Agent("bob"); known {
		t.Error("bob is still known")
	}
	if _, known := v.Picture().Agent("anna"); !known {
		t.Error("anna is not known")
	}
}

// TestMissingStreams: a view may begin before the streams exist, and says what is missing.
func TestMissingStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{streams.Name, "KV_" + streams.StateBucket} {
		if err := w.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	v := w.view(reader.ViewOptions{})
	await(t, "the stream is said to be missing", func() bool { return strings.Contains(v.Freshness().Reason, "stream not found") })
	for _, c := range bridgestream.Configs(streams) {
		if c.Name == streams.Name || c.Name == "KV_"+streams.StateBucket {
			if _, err := w.js.CreateStream(t.Context(), c); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				t.Fatal(err)
			}
		}
	}
	history(w)
	w.check(v)
}

// TestLostServer: a view whose server is gone is fresh for as long as its last observation is young, and
// never longer.
func TestLostServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	w := newWorldOn(t, s.ClientURL())
	history(w)
	v, err := w.open(reader.Options{StaleAfter: time.Second, Timeout: time.Second}).View(t.Context(), reader.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ready(t, v)
	w.poll()
	await(t, "the feed is live", func() bool { return v.Freshness().Fresh() })
	s.Shutdown()
	await(t, "the feed is stale", func() bool {
		f := v.Freshness()
		if f.Fresh() && f.Age > time.Second {
			t.Errorf("fresh: %+v", f)
		}
		return f.Status == event.StatusStale
	})
}

// TestNothingIsLeft: a view and a reading that have ended leave no goroutine behind, and no consumer.
func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	history(w)
	v := w.view(reader.ViewOptions{})
	w.check(v)
	ctx, cancel := context.WithCancel(t.Context())
	r := w.open(reader.Options{})
	for item, err := range r.Events(ctx, reader.Beginning(), reader.EventsOptions{Follow: true}) {
		if err != nil || item.(interface{ MsgID() string }).MsgID() == "acme-1-2-3" {
			break
		}
	}
	consumed := w.consume(func(ctx context.Context, b reader.Batch) error { cancel(); return nil }, reader.ConsumeOptions{})
	<-ctx.Done()
	consumed.stop()
	v.Close()
	stacks := make([]byte, 1<<20)
	await(t, "no goroutine of the library is left", func() bool {
		all := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(all, "bpcc-nats/reader.(*")
	})
	await(t, "the durable consumer alone is left", func() bool { return w.consumers() == 1 })
}
