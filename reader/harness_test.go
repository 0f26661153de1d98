package reader_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/diff/image"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// testTimeout bounds every wait of a test; nothing waits so long unless it fails.
const testTimeout = 40 * time.Second

// streams are the streams of a bridge, from which a test may delete.
var streams = config.Stream{
	Name: "BPCC_EVENTS", StateBucket: "bpcc_state", Lease: config.Lease{Bucket: "bpcc_lease", TTL: 5 * time.Second}, Replicas: 1, Retention: time.Hour,
}

// world is a NATS server with the streams of a bridge, and a writer of hand-made events in place of the
// bridge.
type world struct {
	t   failer
	url string
	js  jetstream.JetStream // of the writer

	tenant    string
	encoder   *event.Encoder
	agents    *event.AgentReader
	id        event.ID // of the next event
	revisions map[string]uint64
	states    map[string]uint64
	present   map[string]image.Image // the image that each row has
	follows   string
	batch     []*nats.Msg // not stored yet
	status    string
	age       time.Duration // by which observations are old
	until     event.Time    // of the last checkpoint
	stored    []stored      // everything the stream holds or has held
}

// failer is what a test and an example have to report what fails.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// stored is a message that was stored.
type stored struct {
	seq uint64
	id  event.ID // zero for a foreign message
	key string   // in the view
	msg *nats.Msg
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		return newWorldOn(t, natstest.StartAny(t))
	}
	return newWorldOn(t, natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL())
}

func newWorldOn(t testing.TB, url string) *world {
	t.Helper()
	return newWriter(t, url, natstest.Connect(t, url))
}

// newWriter makes the streams and a writer.
func newWriter(t failer, url string, js jetstream.JetStream) *world {
	w := &world{
		t: t, url: url, js: js, tenant: "acme", encoder: event.NewEncoder("https://acme.example/statsapi"),
		agents: event.NewAgentReader(), id: event.ID{Epoch: 1, Poll: 1, Index: 1}, revisions: map[string]uint64{}, states: map[string]uint64{}, present: map[string]image.Image{},
		status: event.StatusLive,
	}
	w.provision()
	return w
}

// provision makes the streams that are missing.
func (w *world) provision() {
	w.t.Helper()
	for _, c := range stream.Configs(streams) {
		if _, err := w.js.CreateStream(context.Background(), c); err != nil {
			w.t.Fatal(err)
		}
	}
}

// open opens a reader with its own connection.
func (w *world) open(o reader.Options, options ...nats.Option) *reader.Reader {
	w.t.Helper()
	options = append(options, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	r, err := reader.Open(natstest.Connect(w.t.(testing.TB), w.url, options...), w.tenant, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) base() event.Base { return event.Base{Tenant: w.tenant, Poll: w.id.Poll} }

func (w *world) entity(key string) event.EntityBase {
	w.revisions[key]++
	window := event.Window{By: event.Ceil(time.Now().Add(-w.age))}
	if w.revisions[key] > 1 && w.until.Before(window.By.Time) {
		window.After = w.until
	}
	return event.EntityBase{Base: w.base(), Revision: w.revisions[key], Observed: window}
}

// add adds an event to the present batch.
func (w *world) add(name string, d event.Data) *nats.Msg {
	w.t.Helper()
	e := event.Event{ID: w.id, Name: name, Time: time.Now().Add(-w.age), Data: d}
	w.id.Index++
	body, err := w.encoder.Append(nil, &e)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &nats.Msg{Subject: e.Subject(), Data: body, Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}, "Content-Type": {event.ContentType}}}
	if e.Removes() {
		m.Header.Set("KV-Operation", "DEL")
	}
	w.batch = append(w.batch, m)
	return m
}

// agent gives an agent the statistics of a text such as "acd_state=ready extension=1"; "" makes it
// disappear.
func (w *world) agent(id, stats string) {
	w.t.Helper()
	key := "agent." + event.Token(id)
	before, was := w.present[key]
	after := imageOf(stats)
	d := &event.AgentData{EntityBase: w.entity(key), Agent: event.AgentRef{ID: id, Name: strings.ToUpper(id)}}
	d.Before, d.After = before, after
	verb := "stats_changed"
	from, to := w.agents.State(before), w.agents.State(after)
	switch {
	case stats == "":
		verb, d.From = "disappeared", &from
		delete(w.present, key)
	case !was:
		verb, d.To = "appeared", &to
	case from != to:
		verb, d.From, d.To = "state_changed", &from, &to
	}
	if stats != "" {
		w.present[key] = after
	}
	if w.states[key] == 0 || verb == "state_changed" {
		w.states[key]++
	}
	d.StateRevision = w.states[key]
	w.add("agent."+verb, d)
}

// service gives a service a number of waiting calls.
func (w *world) service(name string, waiting int) {
	w.t.Helper()
	key := "service." + event.Token(name)
	before, was := w.present[key]
	d := &event.ServiceData{EntityBase: w.entity(key), Service: name}
	d.Before, d.After = before, imageOf(fmt.Sprint("in_calls_waiting=", waiting))
	w.present[key] = d.After
	if was {
		w.add("service.stats_changed", d)
	} else {
		w.add("service.appeared", d)
	}
}

// available publishes the availability of a service; nil = unknown.
func (w *world) available(service string, yes *bool) {
	w.t.Helper()
	d := &event.AvailabilityChangedData{}
	d.EntityBase, d.Service, d.Available = w.entity("availability."+event.Token(service)), service, yes
	if yes == nil {
		d.Reason = "old"
	}
	if d.Revision == 1 {
		w.add("availability.observed", &d.AvailabilityObservedData)
		return
	}
	w.add("availability.changed", d)
}

// threshold raises or clears a rule about a service.
func (w *world) threshold(service string, raised bool) {
	w.t.Helper()
	d := &event.ThresholdData{
		EntityBase: w.entity("threshold.backlog." + event.Token(service)), Rule: "backlog", Severity: "warning",
		Entity: event.EntityRef{Kind: "service", ID: service}, Stat: "in_calls_waiting", Op: ">=", Limit: 5, For: "0s",
	}
	name := event.ThresholdRaised
	if !raised {
		name, d.ClearedBy = event.ThresholdCleared, event.ClearedByCondition
	}
	w.add(name, d)
}

// directory publishes a change of a directory: entries are "id=name", "id~name" for a new
// name, "-id" for one that is removed.
func (w *world) directory(kind string, part, parts int, entries ...string) {
	w.t.Helper()
	d := &event.DirectoryData{Base: w.base(), Kind: kind, Baseline: parts > 0, Part: part, Parts: parts, Added: []event.DirectoryEntry{}, Removed: []event.DirectoryEntry{}, Renamed: []event.DirectoryRename{}}
	for _, text := range entries {
		id, name, renamed := strings.Cut(text, "~")
		if renamed {
			d.Renamed = append(d.Renamed, event.DirectoryRename{ID: id, To: name})
		} else if id, removed := strings.CutPrefix(text, "-"); removed {
			d.Removed = append(d.Removed, event.DirectoryEntry{ID: id})
		} else {
			id, name, _ := strings.Cut(text, "=")
			d.Added = append(d.Added, event.DirectoryEntry{ID: id, Name: name})
		}
	}
	w.add("directory.changed", d)
}

// started begins another term.
func (w *world) started() {
	w.t.Helper()
	if w.id.Poll > 1 {
		w.id.Epoch++
	}
	w.add(event.Started, &event.FeedData{Base: w.base(), Epoch: w.id.Epoch, Instance: "test", Version: "test"})
}

// resumed ends a gap.
func (w *world) resumed() {
	w.t.Helper()
	by := event.Ceil(time.Now())
	w.add(event.Resumed, &event.ResumedData{Base: w.base(), Epoch: w.id.Epoch, Cause: "source", Observed: event.Window{After: event.Floor(by.Add(-time.Minute)), By: by}})
}

// close adds the checkpoint that closes a part of a poll.
func (w *world) close(part, parts int) {
	w.t.Helper()
	m := w.add(event.Checkpoint, &event.CheckpointData{
		Base: w.base(), Status: w.status, Epoch: w.id.Epoch, Part: part, Parts: parts, Events: len(w.batch), Follows: w.follows, Observing: []string{},
		ObservedUntil: event.Floor(time.Now().Add(-w.age)), AvailabilityUntil: event.Floor(time.Now().Add(-w.age)),
	})
	w.follows, w.until = m.Header.Get(nats.MsgIdHdr), event.Floor(time.Now().Add(-w.age))
}

// send stores what was added, message by message.
func (w *world) send() {
	w.t.Helper()
	for _, m := range w.batch {
		w.publish(m)
	}
	w.batch = nil
}

// publish stores one message.
func (w *world) publish(m *nats.Msg) uint64 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ack, err := w.js.PublishMsg(ctx, m)
	if err != nil {
		w.t.Fatal(err)
	}
	s := stored{seq: ack.Sequence, msg: m, key: event.ViewKey(strings.TrimPrefix(m.Subject, event.Prefix(w.tenant)))}
	if id, err := event.ParseID(w.tenant, m.Header.Get(nats.MsgIdHdr)); err == nil {
		s.id = id
	}
	w.stored = append(w.stored, s)
	return ack.Sequence
}

// poll stores the events that were added since the last one, and a checkpoint.
func (w *world) poll() {
	w.t.Helper()
	w.close(1, 1)
	w.send()
	w.id.Poll, w.id.Index = w.id.Poll+1, 1
}

// foreign stores a message that no bridge has written.
func (w *world) foreign(subject string) uint64 {
	w.t.Helper()
	return w.publish(&nats.Msg{Subject: event.Prefix(w.tenant) + subject, Data: []byte(`{"hello": "world"}`), Header: nats.Header{}})
}

// delete deletes messages of the stream.
func (w *world) delete(sequences ...uint64) {
	w.t.Helper()
	s, err := w.js.Stream(context.Background(), streams.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, seq := range sequences {
		if err := s.DeleteMsg(context.Background(), seq); err != nil {
			w.t.Fatalf("delete message %d: %v", seq, err)
		}
	}
}

// consumers returns how many consumers the streams have.
func (w *world) consumers() int {
	w.t.Helper()
	n := 0
	for _, name := range []string{streams.Name, "KV_" + streams.StateBucket} {
		s, err := w.js.Stream(context.Background(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		n += s.CachedInfo().State.Consumers
	}
	return n
}

// imageOf reads "name=text name=text".
func imageOf(text string) image.Image {
	if text == "" {
		return image.Image{}
	}
	var stats []image.Stat
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		stats = append(stats, image.Stat{Name: name, Text: value})
	}
	return image.New(stats...)
}

// await waits until a condition holds.
func await(t failer, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: does not happen", what)
		}
	}
}

// fold is the oracle of pictures: the last message of each key up to a sequence, by the rules of the view.
// A message that the bridge did not write hides what was there.
func (w *world) fold(upTo uint64) map[string]event.ID {
	known := map[string]event.ID{}
	var last event.ID
	for _, s := range w.stored {
		if s.seq > upTo {
			break
		}
		e, err := event.Parse(w.tenant, s.msg.Subject, s.msg.Header.Get(nats.MsgIdHdr), s.msg.Data)
		copied := err == nil && s.id.Compare(last) <= 0
		switch {
		case err != nil || copied || e.Removes():
			delete(known, s.key)
		case e.EntityBase() != nil:
			known[s.key] = s.id
		}
		if err == nil && !copied {
			last = s.id
		}
	}
	return known
}

// held returns the event of each entity of a picture.
func held(p *reader.Picture) map[string]event.ID {
	out := map[string]event.ID{}
	for _, a := range p.Agents() {
		out["agent."+event.Token(a.ID)] = a.EventID
	}
	for _, s := range p.Services() {
		out["service."+event.Token(s.Name)] = s.EventID
	}
	for _, a := range p.Availabilities() {
		out["availability."+event.Token(a.Service)] = a.EventID
	}
	for _, t := range p.AllTotals() {
		out["totals."+event.Token(t.App)] = t.EventID
	}
	for _, t := range p.Thresholds() {
		out["threshold."+event.Token(t.Data.Rule)+"."+event.Token(t.Data.Entity.ID)] = t.EventID
	}
	return out
}

// texts lists the keys and ids of a fold, in order.
func texts(m map[string]event.ID) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %s", key, m[key].Append(nil, "acme")))
	}
	return out
}

// describe writes an item in one line.
func describe(i reader.Item) string {
	id := func(id event.ID) string {
		if id == (event.ID{}) {
			return "-"
		}
		return string(id.Append(nil, "acme"))
	}
	switch i := i.(type) {
	case *reader.Event:
		return fmt.Sprintf("%d %s %s", i.Seq, i.Name, i.MsgID())
	case *reader.Checkpoint:
		return fmt.Sprintf("%d checkpoint %s closes %d from %s", i.Seq, i.MsgID(), i.Count, id(i.First))
	case *reader.Gap:
		return fmt.Sprintf("%d gap %v", i.Seq, i.Data.Observed.By.Sub(i.Data.Observed.After.Time))
	case *reader.Hole:
		least := ""
		if i.AtLeast {
			least = "at least "
		}
		return fmt.Sprintf("hole %s of %s%d in %q after %s (%d) before %s (%d)", i.Cause, least, i.Missing, i.Key, id(i.After), i.AfterSeq, id(i.Before), i.BeforeSeq)
	case *reader.Foreign:
		return fmt.Sprintf("%d foreign %s", i.Seq, strings.TrimPrefix(i.Subject, "bpcc.v1.acme."))
	case *reader.Unreadable:
		return fmt.Sprintf("unreadable %d to %d", i.First, i.Last)
	}
	return fmt.Sprintf("%T", i)
}
