package reader_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// TestCluster: on replicated streams, whose leaders step down, a view and a consumer miss and repeat
// nothing.
func TestCluster(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, natstest.StartCluster(t))
	names := []string{streams.Name, "KV_" + streams.StateBucket}
	for _, name := range names {
		s, err := w.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.Replicas = 3
		if _, err := w.js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		await(t, "the stream has three copies in sync", func() bool {
			info, err := s.Info(t.Context())
			if err != nil || info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
				return false
			}
			return info.Cluster.Replicas[0].Current && info.Cluster.Replicas[1].Current
		})
	}
	history(w)
	v := w.view(reader.ViewOptions{})
	w.check(v)
	c := w.consume(nil, reader.ConsumeOptions{AckWait: time.Second})
	want := append([]string{}, wholeBatches...)
	c.awaitAll(want)
	for _, request := range []string{"STREAM.LEADER.STEPDOWN." + names[0], "STREAM.LEADER.STEPDOWN." + names[1], "CONSUMER.LEADER.STEPDOWN." + names[0] + ".work"} {
		await(t, "the leader steps down", func() bool {
			_, err := w.js.Conn().Request("$JS.API."+request, nil, time.Second)
			return err == nil
		})
		await(t, "another one leads", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			s, err := w.js.Stream(ctx, names[0])
			return err == nil && s.CachedInfo().Cluster.Leader != ""
		})
		poll := w.id.Poll
		w.agent("anna", fmt.Sprint("acd_state=ready extension=", poll))
		w.poll()
		w.check(v)
		want = append(want, fmt.Sprintf("acme-2-%d-2: acme-2-%d-1", poll, poll))
		c.awaitAll(want)
	}
	c.stop()
}
