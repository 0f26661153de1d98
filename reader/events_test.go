package reader_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// history stores the history that most tests read:
//
//	1 started, 2 agent anna, 3 agent bob, 4 checkpoint
//	5 anna's state, 6 service, 7 checkpoint
//	8 a foreign message
//	9 resumed, 10 bob's extension, 11 checkpoint
//	12 checkpoint, without events
//	13 started, 14 anna's state, 15 checkpoint
func history(w *world) {
	w.started()
	w.agent("anna", "acd_state=ready")
	w.agent("bob", "acd_state=busy extension=1")
	w.poll()
	w.agent("anna", "acd_state=busy")
	w.service("Voice Inbound", 3)
	w.poll()
	w.foreign("agent.anna.state_changed")
	w.resumed()
	w.agent("bob", "acd_state=busy extension=2")
	w.poll()
	w.poll()
	w.started()
	w.agent("anna", "acd_state=ready")
	w.poll()
}

var whole = []string{
	"1 feed.started acme-1-1-1", "2 agent.appeared acme-1-1-2", "3 agent.appeared acme-1-1-3", "4 checkpoint acme-1-1-4 closes 3 from acme-1-1-1",
	"5 agent.state_changed acme-1-2-1", "6 service.appeared acme-1-2-2", "7 checkpoint acme-1-2-3 closes 2 from acme-1-2-1",
	"8 foreign agent.anna.state_changed",
	"9 gap 1m0s", "10 agent.stats_changed acme-1-3-2", "11 checkpoint acme-1-3-3 closes 2 from acme-1-3-1",
	"12 checkpoint acme-1-4-1 closes 0 from -",
	"13 feed.started acme-2-5-1", "14 agent.state_changed acme-2-5-2", "15 checkpoint acme-2-5-3 closes 2 from acme-2-5-1",
}

// readAll reads to the end of the stream.
func readAll(t *testing.T, r *reader.Reader, from reader.Start, o reader.EventsOptions) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var got []string
	for item, err := range r.Events(ctx, from, o) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, describe(item))
		if e, ok := item.(*reader.Event); ok {
			if decoded, err := e.Decode(); err != nil || decoded.ID != e.ID || decoded.Name != e.Name {
				t.Errorf("%s decodes as %s %v: %v", e.MsgID(), decoded.Name, decoded.ID, err)
			}
		}
	}
	return got
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	r := w.open(reader.Options{})
	fifth, err := w.js.Stream(t.Context(), streams.Name)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := fifth.GetMsg(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		from     reader.Start
		subjects []string
		want     []string
	}{
		"all":                             {reader.Beginning(), nil, whole},
		"from a sequence":                 {reader.AtSequence(13), nil, whole[12:]},
		"from within a batch":             {reader.AtSequence(6), nil, append([]string{whole[5], "7 checkpoint acme-1-2-3 closes 1 from acme-1-2-2"}, whole[7:]...)},
		"from a time":                     {reader.AtTime(msg.Time), nil, whole[4:]},
		"from a time in the future":       {reader.AtTime(time.Now().Add(time.Hour)), nil, nil},
		"after an event":                  {reader.After(event.ID{Epoch: 1, Poll: 1, Index: 2}), nil, append([]string{whole[2], "4 checkpoint acme-1-1-4 closes 1 from acme-1-1-3"}, whole[4:]...)},
		"after a checkpoint":              {reader.After(event.ID{Epoch: 1, Poll: 2, Index: 3}), nil, whole[7:]},
		"after the last":                  {reader.After(event.ID{Epoch: 2, Poll: 5, Index: 3}), nil, nil},
		"after the zero id":               {reader.After(event.ID{}), nil, whole},
		"from now":                        {reader.Now(), nil, nil},
		"of some subjects":                {reader.Beginning(), []string{"agent.*.state_changed"}, []string{whole[4], whole[7], whole[13]}},
		"of an entity":                    {reader.Beginning(), []string{"agent.bob.*"}, []string{whole[2], whole[9]}},
		"of a kind that was never seen":   {reader.Beginning(), []string{"chat.>"}, nil},
		"of some subjects with batches":   {reader.Beginning(), []string{"service.>", "feed.checkpoint"}, []string{"4 checkpoint acme-1-1-4 closes 0 from -", whole[5], "7 checkpoint acme-1-2-3 closes 1 from acme-1-2-2", "11 checkpoint acme-1-3-3 closes 0 from -", whole[11], "15 checkpoint acme-2-5-3 closes 0 from -"}},
		"of some subjects after an event": {reader.After(event.ID{Epoch: 1, Poll: 2, Index: 1}), []string{"agent.*.state_changed"}, []string{whole[7], whole[13]}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, readAll(t, r, test.from, reader.EventsOptions{Subjects: test.subjects})); d != "" {
				t.Errorf("items (-want +got)\n%s", d)
			}
		})
	}
	await(t, "no consumer is left", func() bool { return w.consumers() == 0 })
}

// TestHoles deletes messages: what is missing is told where it is, and nothing else.
func TestHoles(t *testing.T) {
	t.Parallel()
	items := func(from, to int, instead ...string) []string { return append(instead, whole[from:to]...) }
	join := func(parts ...[]string) (all []string) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	tests := map[string]struct {
		delete   []uint64
		subjects []string
		want     []string
	}{
		"an event": {delete: []uint64{6}, want: join(whole[:5],
			[]string{`hole missing of 1 in "" after acme-1-2-1 (5) before acme-1-2-3 (7)`, "7 checkpoint acme-1-2-3 closes 1 from acme-1-2-1"}, whole[7:])},
		"the first of a poll": {delete: []uint64{5}, want: join(whole[:4],
			[]string{`hole missing of 1 in "" after acme-1-1-4 (4) before acme-1-2-2 (6)`, whole[5], "7 checkpoint acme-1-2-3 closes 1 from acme-1-2-2"}, whole[7:])},
		"a checkpoint": {delete: []uint64{7}, want: join(whole[:6], whole[7:8],
			[]string{`hole missing of at least 1 in "" after acme-1-2-2 (6) before acme-1-3-1 (9)`}, whole[8:10], []string{"11 checkpoint acme-1-3-3 closes 4 from acme-1-2-1"}, whole[11:])},
		"a whole poll": {delete: []uint64{5, 6, 7}, want: join(whole[:4], whole[7:10],
			[]string{`hole missing of at least 1 in "" after acme-1-1-4 (4) before acme-1-3-1 (9)`}, whole[10:])},
		"a poll without events": {delete: []uint64{12}, want: join(whole[:11], whole[12:14],
			[]string{`hole missing of at least 1 in "" after acme-1-3-3 (11) before acme-2-5-1 (13)`}, whole[14:])},
		"the end":           {delete: []uint64{13, 14, 15}, want: whole[:12]},
		"a foreign message": {delete: []uint64{8}, want: join(whole[:7], whole[8:])},
		"the beginning":     {delete: []uint64{1, 2}, want: join(items(2, 3), []string{"4 checkpoint acme-1-1-4 closes 1 from acme-1-1-3"}, whole[4:])},
		"two polls apart": {delete: []uint64{6, 14}, want: join(whole[:5],
			[]string{`hole missing of 1 in "" after acme-1-2-1 (5) before acme-1-2-3 (7)`, "7 checkpoint acme-1-2-3 closes 1 from acme-1-2-1"}, whole[7:13],
			[]string{`hole missing of 1 in "" after acme-2-5-1 (13) before acme-2-5-3 (15)`, "15 checkpoint acme-2-5-3 closes 1 from acme-2-5-1"})},
		"of an entity": {subjects: []string{"agent.*.*"}, delete: []uint64{5}, want: join(whole[1:3], whole[7:8], whole[9:10],
			[]string{`hole missing of 1 in "agent.anna" after acme-1-1-2 (2) before acme-2-5-2 (14)`}, whole[13:14])},
		"of another entity":                {subjects: []string{"service.>"}, delete: []uint64{5}, want: whole[5:6]},
		"of a subject that proves nothing": {subjects: []string{"agent.*.stats_changed"}, delete: []uint64{3}, want: whole[9:10]},
		"among checkpoints": {subjects: []string{"feed.checkpoint"}, delete: []uint64{12}, want: []string{
			"4 checkpoint acme-1-1-4 closes 0 from -", "7 checkpoint acme-1-2-3 closes 0 from -", "11 checkpoint acme-1-3-3 closes 0 from -",
			`hole missing of at least 1 in "feed" after acme-1-3-3 (11) before acme-2-5-3 (15)`, "15 checkpoint acme-2-5-3 closes 0 from -"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			history(w)
			w.delete(test.delete...)
			if d := cmp.Diff(test.want, readAll(t, w.open(reader.Options{}), reader.Beginning(), reader.EventsOptions{Subjects: test.subjects})); d != "" {
				t.Errorf("items (-want +got)\n%s", d)
			}
		})
	}
}

// TestHolesInStates: a reader of the changes of state alone is told which are missing, and of nothing else.
// They are 3; 6, 7; 10, 11; 14, 15; 20.
func TestHolesInStates(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		delete   []uint64
		subjects []string
		want     []string
	}{
		"none":                    {subjects: []string{"agent.*.state_changed"}},
		"statistics":              {subjects: []string{"agent.*.state_changed"}, delete: []uint64{4, 8}},
		"a departure":             {subjects: []string{"agent.*.state_changed"}, delete: []uint64{18, 19}},
		"a departure that counts": {subjects: []string{"agent.*.*"}, delete: []uint64{18}, want: []string{`hole missing of 1 in "agent.anna" after acme-1-4-3 (16) before acme-1-5-2 (19)`}},
		"one":                     {subjects: []string{"agent.*.state_changed"}, delete: []uint64{6}, want: []string{`hole missing of 1 in "agent.anna" after acme-1-1-3 (3) before acme-1-2-2 (7)`}},
		"two":                     {subjects: []string{"agent.anna.state_changed"}, delete: []uint64{10, 11}, want: []string{`hole missing of 2 in "agent.anna" after acme-1-2-2 (7) before acme-1-4-1 (14)`}},
		"shown by an appearance": {subjects: []string{"agent.*.state_changed", "agent.*.appeared"}, delete: []uint64{14, 15},
			want: []string{`hole missing of 2 in "agent.anna" after acme-1-3-2 (11) before acme-1-5-2 (19)`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.started()
			for i := range 4 {
				w.agent("anna", fmt.Sprint("acd_state=ready extension=", i))
				w.agent("anna", fmt.Sprint("acd_state=busy extension=", i))
				w.agent("anna", fmt.Sprint("acd_state=busy extension=", i+1))
				w.poll()
			}
			w.agent("anna", "")
			w.agent("anna", "acd_state=busy")
			w.agent("anna", "acd_state=ready")
			w.poll()
			w.delete(test.delete...)
			var got []string
			for _, item := range readAll(t, w.open(reader.Options{}), reader.Beginning(), reader.EventsOptions{Subjects: test.subjects}) {
				if strings.HasPrefix(item, "hole") {
					got = append(got, item)
				}
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("holes (-want +got)\n%s", d)
			}
		})
	}
}

// TestAfterWhatHasExpired: a reader that was away for longer than events are kept is told so.
func TestAfterWhatHasExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	s, err := w.js.Stream(t.Context(), streams.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(9)); err != nil {
		t.Fatal(err)
	}
	r := w.open(reader.Options{})
	got := readAll(t, r, reader.After(event.ID{Epoch: 1, Poll: 1, Index: 4}), reader.EventsOptions{})
	want := append(append([]string{}, whole[8:10]...), `hole expired of at least 1 in "" after acme-1-1-4 (0) before acme-1-3-1 (9)`)
	if d := cmp.Diff(append(want, whole[10:]...), got); d != "" {
		t.Errorf("items (-want +got)\n%s", d)
	}
	// What comes next is there.
	if d := cmp.Diff(whole[8:], readAll(t, r, reader.After(event.ID{Epoch: 1, Poll: 2, Index: 3}), reader.EventsOptions{})); d != "" {
		t.Errorf("items (-want +got)\n%s", d)
	}
}

// TestCopies: an event that is stored a second time is foreign, wherever it is.
func TestCopies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config := streamConfig(t, w)
	// Else the server would refuse them. It is set while no id is known: after that an update can leave the
	// timer of the server at the window from before.
	config.Duplicates = 100 * time.Millisecond
	if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	history(w)
	await(t, "the server forgets ids", func() bool {
		w.stored = w.stored[:15]
		return w.publish(w.stored[4].msg) > 0 && count(t, w) == 16
	})
	got := readAll(t, w.open(reader.Options{}), reader.Beginning(), reader.EventsOptions{})
	if d := cmp.Diff(append(append([]string{}, whole...), "16 foreign agent.anna.state_changed"), got); d != "" {
		t.Errorf("items (-want +got)\n%s", d)
	}
}

func streamConfig(t *testing.T, w *world) jetstream.StreamConfig {
	t.Helper()
	s, err := w.js.Stream(t.Context(), streams.Name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

func count(t *testing.T, w *world) uint64 {
	t.Helper()
	s, err := w.js.Stream(t.Context(), streams.Name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// TestUndeliverable: a message that nats.go takes for a response of the server stops no reading, in the middle
// and at the end.
func TestUndeliverable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status := &nats.Msg{Subject: "bpcc.v1.acme.agent.anna.state_changed", Header: nats.Header{"Status": {"404"}}}
	w.started()
	w.poll()
	w.publish(status)
	w.poll()
	w.publish(status)
	want := []string{"1 feed.started acme-1-1-1", "2 checkpoint acme-1-1-2 closes 1 from acme-1-1-1", "4 checkpoint acme-1-2-1 closes 0 from -", "unreadable 5 to 5"}
	if d := cmp.Diff(want, readAll(t, w.open(reader.Options{}), reader.Beginning(), reader.EventsOptions{})); d != "" {
		t.Errorf("items (-want +got)\n%s", d)
	}
	v := w.view(reader.ViewOptions{})
	ready(t, v)
	w.agent("anna", "acd_state=ready")
	w.poll()
	w.check(v)
}

// TestErasure: what is erased is a hole that is stated.
func TestErasure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	w.add(event.Erased, &event.ErasedData{Base: w.base(), Epoch: w.id.Epoch, Messages: 3, Sequences: []event.SequenceRange{{First: 5, Last: 6}, {First: 14, Last: 14}}})
	w.poll()
	w.delete(5, 6, 14)
	got := strings.Join(readAll(t, w.open(reader.Options{}), reader.Beginning(), reader.EventsOptions{}), "\n")
	for _, want := range []string{
		`hole erased of 2 in "" after acme-1-1-4 (4) before acme-1-2-3 (7)`,
		`hole erased of 1 in "" after acme-2-5-1 (13) before acme-2-5-3 (15)`,
	} {
		if !strings.Contains(got, want) || strings.Count(got, "hole") != 2 {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestDamage damages messages on disk: they are named, and what they leave is a hole of that cause.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
	w := newWorldOn(t, s.ClientURL())
	history(w)
	w.js.Conn().Close()
	s.Shutdown()
	s.WaitForShutdown()
	for _, i := range []int{5, 14} { // an event in the middle, and the end
		natstest.FlipBit(t, dir, streams.Name, w.stored[i].msg.Data)
	}
	s = natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
	w.url = s.ClientURL()
	r := w.open(reader.Options{})
	want := append(append([]string{}, whole[:5]...), "unreadable 6 to 6", `hole unreadable of 1 in "" after acme-1-2-1 (5) before acme-1-2-3 (7)`,
		"7 checkpoint acme-1-2-3 closes 1 from acme-1-2-1")
	want = append(append(want, whole[7:14]...), "unreadable 15 to 15")
	if d := cmp.Diff(want, readAll(t, r, reader.Beginning(), reader.EventsOptions{})); d != "" {
		t.Errorf("items (-want +got)\n%s", d)
	}
}

// TestFollow: a following reader goes on over the loss of its connection and of its consumer, and ends
// when the stream is another one.
func TestFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	js := natstest.Connect(t, w.url)
	r, err := reader.Open(js, "acme", reader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	history(w)
	want := append([]string{}, whole...)
	var got []string
	for item, err := range r.Events(ctx, reader.Beginning(), reader.EventsOptions{Follow: true}) {
		if errors.Is(err, reader.ErrOtherTimeline) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, describe(item))
		switch len(got) {
		case 15:
			w.agent("bob", "acd_state=ready extension=2")
			w.poll()
			want = append(want, "16 agent.state_changed acme-2-6-1", "17 checkpoint acme-2-6-2 closes 1 from acme-2-6-1")
		case 17:
			if err := js.Conn().ForceReconnect(); err != nil {
				t.Fatal(err)
			}
			w.poll()
			want = append(want, "18 checkpoint acme-2-7-1 closes 0 from -")
		case 18:
			deleteConsumers(t, w)
			w.poll()
			want = append(want, "19 checkpoint acme-2-8-1 closes 0 from -")
		case 19:
			if err := w.js.DeleteStream(t.Context(), streams.Name); err != nil {
				t.Fatal(err)
			}
			if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: streams.Name, Subjects: []string{"bpcc.v1.>"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ctx.Err() != nil {
		t.Fatal("the reading does not end although the stream is another one")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("items (-want +got)\n%s", d)
	}
}

// deleteConsumers deletes the consumers of the stream.
func deleteConsumers(t *testing.T, w *world) {
	t.Helper()
	s, err := w.js.Stream(t.Context(), streams.Name)
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.ConsumerNames(t.Context()).Name() {
		if err := s.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.open(reader.Options{})
	for _, subject := range []string{"", "agent.", "bpcc.v1.acme.agent.>", "agent.>.x", "a b"} {
		for _, err := range r.Events(t.Context(), reader.Beginning(), reader.EventsOptions{Subjects: []string{subject}}) {
			if !errors.Is(err, reader.ErrOptions) {
				t.Errorf("subject %q: %v, want %v", subject, err, reader.ErrOptions)
			}
		}
	}
	missing := w.open(reader.Options{Stream: "NONE"})
	for _, err := range missing.Events(t.Context(), reader.Beginning(), reader.EventsOptions{}) {
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("missing stream: %v, want %v", err, jetstream.ErrStreamNotFound)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range r.Events(ctx, reader.Beginning(), reader.EventsOptions{Follow: true}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v, want %v", err, context.Canceled)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	js := newWorld(t).js
	tests := map[string]struct {
		js      jetstream.JetStream
		tenant  string
		options reader.Options
		want    []string
	}{
		"defaults":       {js, "acme", reader.Options{}, nil},
		"no connection":  {nil, "acme", reader.Options{}, []string{"jetstream.New"}},
		"no tenant":      {js, "", reader.Options{}, []string{"BRIDGE_TENANT"}},
		"bad name":       {js, "acme", reader.Options{Stream: "bpcc.events"}, []string{`Stream "bpcc.events"`}},
		"bad bucket":     {js, "acme", reader.Options{StateBucket: "a b"}, []string{`StateBucket "a b"`}},
		"bad durations":  {js, "acme", reader.Options{StaleAfter: -1, Timeout: 1}, []string{"StaleAfter is -1ns; want at least 1s", "Timeout is 1ns"}},
		"several faults": {nil, "", reader.Options{Stream: "*"}, []string{"Stream", "no tenant", "no JetStream"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := reader.Open(test.js, test.tenant, test.options)
			if errors.Is(err, reader.ErrOptions) != (test.want != nil) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
}

// TestPending: an event says how many messages follow it.
func TestPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	r := w.open(reader.Options{})
	left := uint64(len(whole))
	for item, err := range r.Events(t.Context(), reader.Beginning(), reader.EventsOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		left--
		if e := reader.EventOf(item); e != nil && e.Pending != left {
			t.Errorf("%s: %d messages follow, want %d", e.MsgID(), e.Pending, left)
		}
	}
	if left > 0 {
		t.Errorf("%d messages are left", left)
	}
}
