package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/schemas"
)

// storedEvent is an event as it lies in the stream.
type storedEvent struct {
	Seq     uint64
	Stored  time.Time
	Subject string // below the tenant
	Header  nats.Header
	ID      string
	Type    string
	Time    time.Time
	Data    map[string]any
	Body    []byte
}

func (s storedEvent) text(path ...string) string {
	v, _ := s.field(path...).(string)
	return v
}

func (s storedEvent) field(path ...string) any {
	var v any = s.Data
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// events reads the whole stream of the tenant and checks every promise that
// holds for any stream: schemas, ids, revisions, joins, checkpoints.
func (w *testEnv) events() []storedEvent {
	w.t.Helper()
	all := w.readEvents()
	checkStream(w.t, all)
	return all
}

// readEvents is events without the promises that rest on the stream's beginning.
func (w *testEnv) readEvents() []storedEvent {
	w.t.Helper()
	all := slices.DeleteFunc(w.readAllMessages(), func(s storedEvent) bool { return w.foreignSeqs[s.Seq] })
	// A reader may look while a batch is being stored; its checkpoint ends it.
	for len(all) > 0 && all[len(all)-1].Subject != "feed.checkpoint" {
		all = all[:len(all)-1]
	}
	return all
}

// readAllMessages is readEvents with what the test has put in itself.
func (w *testEnv) readAllMessages() []storedEvent {
	w.t.Helper()
	all := w.rawMessages()
	for i, s := range all {
		if !w.foreignSeqs[s.Seq] {
			all[i] = w.decode(s)
		}
	}
	return all
}

// rawMessages reads the messages of the stream as they lie there, not decoded. A request to a server
// that is just restarted may never be answered: it is put again.
func (w *testEnv) rawMessages() []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); ; {
		all, err := w.tryReadAll()
		if err == nil {
			return all
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
		w.waitTwoPolls()
	}
}

func (w *testEnv) tryReadAll() ([]storedEvent, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), testTimeout/8)
	defer cancel()
	consumer, err := w.js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, err
	}
	var all []storedEvent
	for pending := info.NumPending; pending > 0; {
		batch, err := consumer.Fetch(int(min(pending, 500)), jetstream.FetchMaxWait(testTimeout/8))
		if err != nil {
			return nil, err
		}
		before := pending
		for msg := range batch.Messages() {
			all = append(all, w.storedMessage(msg))
			pending--
		}
		if batch.Error() != nil {
			return nil, batch.Error()
		}
		if pending == before {
			return nil, errors.New("the reader of the test was sent nothing")
		}
	}
	return all, nil
}

// storedMessage is a message as it lies in the stream, not decoded.
func (w *testEnv) storedMessage(msg jetstream.Msg) storedEvent {
	w.t.Helper()
	meta, err := msg.Metadata()
	if err != nil {
		w.t.Fatal(err)
	}
	return storedEvent{Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Header: msg.Headers(), Body: msg.Data(), Subject: strings.TrimPrefix(msg.Subject(), "bpcc.v1.acme.")}
}

// decode validates and decodes an event: once, though its stream is read again and again.
func (w *testEnv) decode(s storedEvent) storedEvent {
	w.t.Helper()
	e, known := w.decoded[string(s.Body)]
	if !known {
		if err := errors.Join(schemas.Validate(s.Body), json.Unmarshal(s.Body, &e)); err != nil {
			w.t.Fatalf("%s: %v\n%s", s.Subject, err, s.Body)
		}
		w.decoded[string(s.Body)] = e
	}
	e.Seq, e.Subject, e.Header, e.Body = s.Seq, s.Subject, s.Header, s.Body
	return e
}

// checkStream checks what an auditor would.
func checkStream(t *testing.T, all []storedEvent) {
	t.Helper()
	ids := map[string]bool{}
	revisions := map[string]float64{}
	images := map[string]any{}
	inBatch := 0
	for _, s := range all {
		if ids[s.ID] || s.ID == "" || s.Header.Get("Nats-Msg-Id") != s.ID {
			t.Errorf("id %q is empty, doubled or not the message id %q", s.ID, s.Header.Get("Nats-Msg-Id"))
		}
		ids[s.ID] = true
		if got := s.Header.Get("Content-Type"); got != "application/cloudevents+json" {
			t.Errorf("%s: content type %q", s.ID, got)
		}
		if s.Subject == "feed.checkpoint" {
			if got := s.field("events"); got != float64(inBatch) {
				t.Errorf("%s: checkpoint counts %v events, the batch holds %d", s.ID, got, inBatch)
			}
			inBatch = 0
			continue
		}
		inBatch++
		key := entityKey(s.Subject)
		if key == "" {
			continue
		}
		if got := s.field("revision"); got != revisions[key]+1 {
			t.Errorf("%s: %s has revision %v after %v", s.ID, key, got, revisions[key])
		}
		revisions[key]++
		if after := s.field("after"); s.field("revision") != 1.0 && strings.HasSuffix(s.Subject, ".observed") && after != nil {
			if !reflect.DeepEqual(images[key], after) {
				t.Errorf("%s: %s is observed again and is not the last after (-want +got)\n%s", s.ID, key, cmp.Diff(images[key], after))
			}
		} else if prevImage := s.field("before"); !reflect.DeepEqual(images[key], prevImage) {
			t.Errorf("%s: %s: before is not the last after (-want +got)\n%s", s.ID, key, cmp.Diff(images[key], prevImage))
		}
		images[key] = s.field("after")
	}
}

// entityKey is the key in the view of the entity that a subject is about, "" for
// events without a revision.
func entityKey(subject string) string {
	t := strings.Split(subject, ".")
	switch t[0] {
	case "agent", "service", "availability", "totals", "threshold":
		return strings.Join(t[:len(t)-1], ".")
	}
	return ""
}

// viewKey is the key in the view of a subject's last event, "" for none.
func viewKey(subject string) string {
	if subject == "feed.checkpoint" {
		return "feed"
	}
	if name, ok := strings.CutSuffix(subject, ".changed"); ok && strings.HasPrefix(name, "directory.") {
		return name
	}
	return entityKey(subject)
}

// waitForEvents reads the stream until condition holds.
func (w *testEnv) waitForEvents(what string, condition func([]storedEvent) bool) []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); ; {
		all := w.events()
		if condition(all) {
			return all
		}
		if time.Now().After(deadline) {
			for _, s := range all {
				w.t.Logf("%d %s %v", s.Seq, s.Subject, s.Data)
			}
			w.t.Fatalf("waited in vain for %s", what)
		}
		w.waitTwoPolls()
	}
}

// waitTwoPolls waits for the bridge to poll once or twice.
func (w *testEnv) waitTwoPolls() {
	polls := w.tenant.Counts().DataRequests()
	for deadline := time.Now().Add(time.Second); w.tenant.Counts().DataRequests() < polls+2 && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
	}
}

// waitFor waits until n events have a subject, and returns all that have it.
func (w *testEnv) waitFor(subject string, n int) []storedEvent {
	w.t.Helper()
	all := w.waitForEvents(subject, func(all []storedEvent) bool { return len(withSubject(all, subject)) >= n })
	return withSubject(all, subject)
}

// waitForUnvalidated is waitFor in a stream whose beginning is gone.
func (w *testEnv) waitForUnvalidated(subject string, n int) []storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); w.waitTwoPolls() {
		if found := withSubject(w.readEvents(), subject); len(found) >= n {
			return found
		}
	}
	w.t.Fatalf("waited in vain for %s", subject)
	return nil
}

// withSubject picks the events with a subject.
func withSubject(all []storedEvent, subject string) []storedEvent {
	return slices.DeleteFunc(slices.Clone(all), func(s storedEvent) bool { return s.Subject != subject })
}

// subjectsOf lists subjects without checkpoints, in order.
func subjectsOf(all []storedEvent) []string {
	var out []string
	for _, s := range all {
		if s.Subject != "feed.checkpoint" {
			out = append(out, s.Subject)
		}
	}
	return out
}

func afterSeq(all []storedEvent, seq uint64) []storedEvent {
	return slices.DeleteFunc(slices.Clone(all), func(s storedEvent) bool { return s.Seq <= seq })
}

func lastSeqOf(all []storedEvent) uint64 { return all[len(all)-1].Seq }

// viewIDs reads the view: the id of the event under each key.
func viewIDs(t *testing.T, kv jetstream.KeyValue) map[string]string {
	t.Helper()
	watch, err := kv.WatchAll(t.Context(), jetstream.IgnoreDeletes())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	ids := map[string]string{}
	for entry := range watch.Updates() {
		if entry == nil {
			break
		}
		var s storedEvent
		if err := json.Unmarshal(entry.Value(), &s); err != nil {
			t.Fatal(err)
		}
		ids[entry.Key()] = s.ID
	}
	return ids
}

// compareView waits until the view is what a replay of the events gives, and
// returns that: the id of the last event by key.
func (w *testEnv) compareView(all []storedEvent) map[string]string {
	w.t.Helper()
	want := map[string]string{}
	for _, s := range all {
		key := viewKey(s.Subject)
		if key == "" {
			continue
		}
		want["acme."+key] = s.ID
		if s.Header.Get("KV-Operation") != "" {
			delete(want, "acme."+key)
		}
	}
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_state")
	if err != nil {
		w.t.Fatal(err)
	}
	var diff string
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if diff = cmp.Diff(want, viewIDs(w.t, kv)); diff == "" {
			return want
		}
	}
	w.t.Errorf("view (-replay +view)\n%s", diff)
	return want
}
