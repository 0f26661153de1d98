package stream

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/internal/natstest"
)

// TestSupported checks which releases are supported: final ones, pre-releases, builds
// from source, and texts that are no versions.
func TestSupported(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.12.1": true, "2.12.15": true, "2.14.3": true, "2.15.2": true, "3.0.0": true, "10.0.0": true, "v2.12.1": true,
		"2.12.8-fips": true, "2.12.1+build.7": true,
		// A pre-release comes before its release.
		"2.12.0": false, "v2.12.0": false, "2.12.0-RC.1": false, "2.12.0-preview.2": false, "2.12.0-dev": false, "2.12.1-RC.1": false, "2.12.2-RC.1": true,
		"2.14.0-preview": true, "2.15.0-RC.3": true, "2.15.0-dev": true, "2.16.0-beta.1": true,
		"2.11.9": false, "2.11.17": false, "2.11.99-RC.2": false, "2.10.29": false, "2.9.0": false, "1.4.1": false, "0.0.0": false,
		// No server reports these.
		"": false, "dev": false, "latest": false, "2.x": false, "2.12.0.1": false, "02.12.0": false, "2.12.0 ": false, "-2.12.0": false, "vv2.12.0": false,
	} {
		if got := supported(version); got != want {
			t.Errorf("%q: supported is %v, want %v", version, got, want)
		}
	}
}

// TestLeaderVersion reads the release of a stream's leader from the answers of real
// servers: one that may lead, and one that may not.
func TestLeaderVersion(t *testing.T) {
	t.Parallel()
	newest := startServer(t)
	stream, err := newest.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GROUP", Subjects: []string{"g.>"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckLeader(stream.CachedInfo()); err != nil {
		t.Error(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(CheckLeader(info), CheckServer(newest.Conn())); err != nil {
		t.Error(err)
	}
	none := &jetstream.StreamInfo{Config: jetstream.StreamConfig{Name: "S"}, Cluster: &jetstream.ClusterInfo{Leader: "n1"}}
	if err := CheckLeader(none); !errors.Is(err, ErrServerVersion) || !strings.Contains(err.Error(), "server n1") || !strings.Contains(err.Error(), "2.10 or earlier") {
		t.Errorf("a leader that does not report its release: %v", err)
	}

	url, _ := natstest.StartOld(t, t.TempDir(), 0)
	js := natstest.Connect(t, url)
	old, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GROUP", Subjects: []string{"g.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckLeader(old.CachedInfo()); !errors.Is(err, ErrServerVersion) || !strings.Contains(err.Error(), "leads stream GROUP") {
		t.Errorf("the leader of a stream on an old server: %v", err)
	}
	if err := CheckServer(js.Conn()); !errors.Is(err, ErrServerVersion) || !strings.Contains(err.Error(), js.Conn().ConnectedServerVersion()) {
		t.Errorf("a connection to an old server: %v", err)
	}
	js.Conn().Close()
	if err := CheckServer(js.Conn()); err != nil {
		t.Errorf("no connection: %v", err)
	}
}
