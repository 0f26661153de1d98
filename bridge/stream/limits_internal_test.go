package stream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/natstest"
)

func limitedConfig(t *testing.T, env ...string) config.Stream {
	t.Helper()
	c, _, err := config.Parse(append(env, "NATS_URL=nats://elsewhere"), config.ForStream)
	if err != nil {
		t.Fatal(err)
	}
	return c.Stream
}

// TestAccountDemandsLimit provisions in an account that demands max_bytes of every stream: without a
// limit it is refused with what to do, with one all streams have theirs.
func TestAccountDemandsLimit(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	limits := server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: 1 << 30, MaxStreams: -1, MaxConsumers: -1, MaxBytesRequired: true}
	if err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}); err != nil {
		t.Fatal(err)
	}
	js := natstest.Connect(t, s.ClientURL())
	_, err := Provision(t.Context(), js, limitedConfig(t), config.DefaultTiming(), nil)
	if err == nil || IsTransient(err) || !strings.HasSuffix(err.Error(), "set BRIDGE_MAX_BYTES: the account demands a limit of every stream") {
		t.Errorf("without a limit: %v, want it refused for good, with what to do", err)
	}
	c := limitedConfig(t, "BRIDGE_MAX_BYTES=128MiB")
	if _, err := Provision(t.Context(), js, c, config.DefaultTiming(), nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, name := range Names(c) {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = stream.CachedInfo().Config.MaxBytes
	}
	want := map[string]int64{"BPCC_EVENTS": 128 << 20, "KV_bpcc_state": 32 << 20, "BPCC_EVENTS_WATCHDOG": serviceBytes, "KV_bpcc_lease": serviceBytes}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("max_bytes (-want +got)\n%s", d)
	}
}

// TestEventsAtTheirLimit publishes more than BRIDGE_MAX_BYTES allows: the oldest events are deleted, new
// ones are stored, and the view keeps what it had from those that are gone.
func TestEventsAtTheirLimit(t *testing.T) {
	t.Parallel()
	js, c := startServer(t), limitedConfig(t, "BRIDGE_MAX_BYTES=1MiB")
	if _, err := Provision(t.Context(), js, c, config.DefaultTiming(), nil); err != nil {
		t.Fatal(err)
	}
	body := []byte(strings.Repeat("x", 10_000))
	for i := range 300 {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("bpcc.v1.acme.agent.a%d.state_changed", i), body); err != nil {
			t.Fatal(err)
		}
	}
	events, err := js.Stream(t.Context(), c.Name)
	if err != nil {
		t.Fatal(err)
	}
	state := events.CachedInfo().State
	if state.Bytes > 1<<20 || state.LastSeq != 300 || state.FirstSeq < 190 {
		t.Errorf("the stream holds %d bytes, sequences %d to %d; want at most 1 MiB, and the newest", state.Bytes, state.FirstSeq, state.LastSeq)
	}
	kv, err := js.KeyValue(t.Context(), c.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.Watch(t.Context(), "acme.agent.*")
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	held := map[string]bool{}
	for len(held) < 300 {
		select {
		case entry := <-watch.Updates():
			if entry != nil {
				held[entry.Key()] = true
			}
		case <-t.Context().Done():
			t.Fatalf("the view holds %d entities of 300", len(held))
		}
	}
}

// TestPrintedStreamsFit creates the streams as an operator would from their printed configurations.
func TestPrintedStreamsFit(t *testing.T) {
	t.Parallel()
	js, c := startServer(t), limitedConfig(t, "BRIDGE_MAX_BYTES=1GB", "BRIDGE_RETENTION=24h")
	printed, err := json.Marshal(Configs(c))
	if err != nil {
		t.Fatal(err)
	}
	var all []jetstream.StreamConfig
	if err := json.Unmarshal(printed, &all); err != nil {
		t.Fatal(err)
	}
	for _, want := range all {
		if want.Metadata[formatKey] != "v1" || want.Metadata[versionKey] == "" {
			t.Errorf("metadata of %s is %v, want format and version", want.Name, want.Metadata)
		}
		if _, err := js.CreateStream(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	done, err := Provision(t.Context(), js, c, config.DefaultTiming(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range done {
		if p.Created || len(p.Differs) > 0 {
			t.Errorf("provision: %+v, want the printed stream to fit", p)
		}
	}
}

// TestSingleReplicaInCluster says that one copy on a cluster does not outlive its server, and keeps the
// streams where they are wanted.
func TestSingleReplicaInCluster(t *testing.T) {
	t.Parallel()
	js := natstest.Connect(t, natstest.StartCluster(t))
	c := limitedConfig(t, "BRIDGE_PLACEMENT_CLUSTER=test", "BRIDGE_PLACEMENT_TAGS=disk:ssd")
	done, err := Provision(t.Context(), js, c, config.DefaultTiming(), nil)
	if err == nil {
		t.Fatalf("provision: %+v, want no server with the tag", done)
	}
	c.PlacementTags = nil
	done, err = Provision(t.Context(), js, c, config.DefaultTiming(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = "num_replicas is 1 in cluster test: nothing is stored while one server is down"
	if d := cmp.Diff([]string{want}, done[0].Differs); d != "" {
		t.Errorf("differences (-want +got)\n%s", d)
	}
}
