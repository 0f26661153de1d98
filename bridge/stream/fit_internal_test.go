package stream

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// TestStreamFit provisions where an operator has created one of the streams differently: settings on
// which a guarantee depends are refused by name, others are reported, and those that do not concern
// the bridge are neither.
func TestStreamFit(t *testing.T) {
	t.Parallel()
	c := bridgetest.StreamConfig(t, 1)
	const events, watchdog, view, lease = "BPCC_EVENTS", "BPCC_EVENTS_WATCHDOG", "KV_bpcc_state", "KV_bpcc_lease"
	tests := map[string]struct {
		stream  string
		change  func(*jetstream.StreamConfig)
		refused string // part of the error; "" = used
		differs string // part of what is reported; "" = nothing
	}{
		"as asked":           {stream: events, change: func(*jetstream.StreamConfig) {}},
		"interest":           {stream: events, change: func(s *jetstream.StreamConfig) { s.Retention = jetstream.InterestPolicy }, refused: "retention is Interest, not Limits"},
		"workqueue":          {stream: events, change: func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy }, refused: "retention is WorkQueue, not Limits"},
		"no acknowledgement": {stream: lease, change: func(s *jetstream.StreamConfig) { s.NoAck = true }, refused: "no_ack is true, not false"},
		"subject transform": {stream: events, change: func(s *jetstream.StreamConfig) {
			s.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "bpcc.v1.>", Destination: "other.>"}
		}, refused: `subject_transform is {"src":"bpcc.v1.>","dest":"other.>"}, not null`},
		"one message a subject":    {stream: events, change: func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 1 }, refused: "max_msgs_per_subject is 1, not 0"},
		"no atomic batches":        {stream: events, change: func(s *jetstream.StreamConfig) { s.AllowAtomicPublish = false }, refused: "allow_atomic is false, not true"},
		"other subjects":           {stream: events, change: func(s *jetstream.StreamConfig) { s.Subjects = []string{"bpcc.v1.other.>"} }, refused: "subjects are [bpcc.v1.other.>], without bpcc.v1.>"},
		"no schedules":             {stream: watchdog, change: func(s *jetstream.StreamConfig) { s.AllowMsgSchedules = false }, refused: "allow_msg_schedules is false, not true"},
		"refused when full":        {stream: view, change: func(s *jetstream.StreamConfig) { s.DiscardNewPerSubject = true }, refused: "discard_new_per_subject is true, not false"},
		"view of part":             {stream: view, change: func(s *jetstream.StreamConfig) { s.Sources[0].OptStartSeq = 100 }, refused: "opt_start_seq"},
		"view without a transform": {stream: view, change: func(s *jetstream.StreamConfig) { s.Sources[0].SubjectTransforms = s.Sources[0].SubjectTransforms[:2] }, refused: "sources are"},
		"view with subjects":       {stream: view, change: func(s *jetstream.StreamConfig) { s.Subjects = []string{"$KV.bpcc_state.>"} }, refused: "any client could write"},
		"history of leases":        {stream: lease, change: func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 5 }, refused: "max_msgs_per_subject is 5, not 1"},
		"lease for ever":           {stream: lease, change: func(s *jetstream.StreamConfig) { s.MaxAge = 0 }, refused: "TTL"},

		"memory": {stream: events, change: func(s *jetstream.StreamConfig) {
			s.Storage, s.Compression = jetstream.MemoryStorage, jetstream.NoCompression
		}, differs: "storage is Memory, not File"},
		"shorter":          {stream: events, change: func(s *jetstream.StreamConfig) { s.MaxAge = 24 * time.Hour }, differs: "max_age is 24h0m0s, not 720h0m0s"},
		"smaller":          {stream: events, change: func(s *jetstream.StreamConfig) { s.MaxBytes = 64 << 20 }, differs: "max_bytes is 67108864, not 0: events may be dropped"},
		"small messages":   {stream: events, change: func(s *jetstream.StreamConfig) { s.MaxMsgSize = 8 << 10 }, differs: "max_msg_size is 8192, not 0: entities"},
		"purge allowed":    {stream: events, change: func(s *jetstream.StreamConfig) { s.DenyPurge = false }, differs: "deny_purge is false, not true"},
		"delete allowed":   {stream: events, change: func(s *jetstream.StreamConfig) { s.DenyDelete = false }, differs: "deny_delete is false, not true: what is stored can be removed"},
		"other duplicates": {stream: events, change: func(s *jetstream.StreamConfig) { s.Duplicates = time.Minute }, differs: "duplicate_window is 1m0s, not 2m0s"},
		"few consumers":    {stream: events, change: func(s *jetstream.StreamConfig) { s.MaxConsumers = 9 }, differs: "max_consumers is 9, not 0"},
		"view keeps old":   {stream: view, change: func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld }, differs: "discard is DiscardOld, not DiscardNew"},

		"described": {stream: events, change: func(s *jetstream.StreamConfig) { s.Description, s.Metadata = "ours", map[string]string{"team": "ops"} }},
		"republished": {stream: events, change: func(s *jetstream.StreamConfig) {
			s.RePublish = &jetstream.RePublish{Source: "bpcc.v1.>", Destination: "copy.>"}
		}},
		"rolled up":     {stream: events, change: func(s *jetstream.StreamConfig) { s.AllowRollup, s.DenyPurge = true, false }, differs: "deny_purge"},
		"later":         {stream: events, change: func(s *jetstream.StreamConfig) { s.FirstSeq = 1000 }},
		"more subjects": {stream: events, change: func(s *jetstream.StreamConfig) { s.Subjects = append(s.Subjects, "ours.>") }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := startServer(t)
			for _, want := range Configs(c.Stream) {
				if want.Name == tt.stream {
					tt.change(&want)
					if _, err := js.CreateStream(t.Context(), want); err != nil {
						t.Fatal(err)
					}
				}
			}
			done, err := Provision(t.Context(), js, c.Stream, c.Times(), nil)
			if tt.refused != "" {
				if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("provision: %v, want it refused because %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range done {
				reported := slices.ContainsFunc(p.Differs, func(text string) bool { return strings.Contains(text, tt.differs) })
				if p.Stream == tt.stream && tt.differs != "" && !reported {
					t.Errorf("of %s it reports %q, without %q", p.Stream, p.Differs, tt.differs)
				}
				if (p.Stream != tt.stream || tt.differs == "") && len(p.Differs) > 0 {
					t.Errorf("of %s it reports %q, want nothing", p.Stream, p.Differs)
				}
			}
		})
	}
}

// TestCreatedStreamIsCompared creates the streams on a server that ignores settings it does not know: the
// answer is compared with what was asked.
func TestCreatedStreamIsCompared(t *testing.T) {
	t.Parallel()
	if os.Getenv(natstest.OldServer) == "" {
		t.Skipf("NOT TESTED: an old NATS server. %s is not set; .ci/run builds one", natstest.OldServer)
	}
	url, _ := natstest.StartOld(t, t.TempDir(), 0)
	js, c := natstest.Connect(t, url), bridgetest.StreamConfig(t, 1)
	want := eventsConfig(c.Stream)
	created, err := js.CreateStream(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if fatal, _ := compareStreams(want, created.CachedInfo().Config); !slices.Contains(fatal, "allow_atomic is false, not true") {
		t.Errorf("differences %q, want allow_atomic among them", fatal)
	}
}

// TestAuditCannotBeTurnedOff: a stream that denies deletes is used with BRIDGE_AUDIT=false, too, and the
// difference says that the server never changes it and what to do. The other way round it can be changed.
func TestAuditCannotBeTurnedOff(t *testing.T) {
	t.Parallel()
	js := startServer(t)
	base := bridgetest.StreamConfig(t, 1)
	audited, erasable := base.Stream, base.Stream
	erasable.Audit = false
	if !audited.Audit {
		t.Fatal("BRIDGE_AUDIT is not true by default")
	}
	provision := func(c config.Stream) map[string]string {
		done, err := Provision(t.Context(), js, c, base.Times(), nil)
		if err != nil {
			t.Fatal(err)
		}
		differs := map[string]string{}
		for _, p := range done {
			if len(p.Differs) > 0 {
				differs[p.Stream] = strings.Join(p.Differs, "\n")
			}
		}
		return differs
	}
	if differs := provision(audited); len(differs) > 0 {
		t.Errorf("a new stream differs: %q", differs)
	}
	differs := provision(erasable)
	for stream, settings := range map[string][]string{"BPCC_EVENTS": {"deny_delete is true, not false", "deny_purge is true, not false"}, "KV_bpcc_state": {"deny_delete is true, not false"}} {
		for _, want := range append(settings, "BRIDGE_AUDIT=false has no effect", "create it again") {
			if !strings.Contains(differs[stream], want) {
				t.Errorf("of %s it reports %q, without %q", stream, differs[stream], want)
			}
		}
	}
	if len(differs) != 2 {
		t.Errorf("it reports %q, want the events and the view", differs)
	}
	if _, err := js.UpdateStream(t.Context(), eventsConfig(erasable)); err == nil {
		t.Error("the server has changed the stream: the text says that it does not")
	}
	for _, name := range Names(erasable) {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if differs := provision(erasable); len(differs) > 0 {
		t.Errorf("a stream made with BRIDGE_AUDIT=false differs: %q", differs)
	}
	if text := provision(audited)["BPCC_EVENTS"]; !strings.Contains(text, "nats stream edit --deny-delete") {
		t.Errorf("it reports %q, without how to deny deletes", text)
	}
	if _, err := js.UpdateStream(t.Context(), eventsConfig(audited)); err != nil {
		t.Errorf("the server does not deny deletes afterwards: %v", err)
	}
}
