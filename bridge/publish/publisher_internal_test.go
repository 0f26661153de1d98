package publish

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// newPublisherTest makes a stream on a server, and what publishes to it.
func newPublisherTest(t *testing.T) (*Publisher, jetstream.Stream) {
	t.Helper()
	js := natstest.Connect(t, natstest.StartAny(t))
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GROUP", Subjects: []string{"g.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	return NewPublisher(js, config.DefaultTiming()), stream
}

// newCommit is a tenant's commit: some events, and a checkpoint behind the fence.
func newCommit(tenant string, events int, fence uint64) []*nats.Msg {
	var msgs []*nats.Msg
	for i := range events {
		m := nats.NewMsg("g." + tenant + ".event")
		m.Data = []byte(strconv.Itoa(i))
		msgs = append(msgs, m)
	}
	m := nats.NewMsg("g." + tenant + ".checkpoint")
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(fence, 10))
	return append(msgs, m)
}

// publishTogether publishes commits that find every turn taken until all of them wait.
func publishTogether(t *testing.T, g *Publisher, commits map[string][]*nats.Msg) (seqs map[string]uint64, errs map[string]error) {
	t.Helper()
	for range maxBatchesInFlight {
		g.slots <- struct{}{}
	}
	seqs, errs = map[string]uint64{}, map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for tenant, msgs := range commits {
		all.Go(func() {
			seq, err := g.publishBatch(t.Context(), msgs)
			mu.Lock()
			defer mu.Unlock()
			seqs[tenant], errs[tenant] = seq, err
		})
	}
	bridgetest.WaitUntil(t, "all commits wait", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.queue) == len(commits)
	})
	for range maxBatchesInFlight {
		<-g.slots
	}
	all.Wait()
	return seqs, errs
}

func TestWaitingCommitsAreCoalesced(t *testing.T) {
	t.Parallel()
	g, stream := newPublisherTest(t)
	commits := map[string][]*nats.Msg{}
	for i := range 20 {
		commits[fmt.Sprint("t", i)] = newCommit(fmt.Sprint("t", i), i%5+1, 0)
	}
	seqs, errs := publishTogether(t, g, commits)
	batches := map[string]bool{}
	for tenant := range commits {
		if errs[tenant] != nil {
			t.Fatalf("%s: %v", tenant, errs[tenant])
		}
		last, err := stream.GetLastMsgForSubject(t.Context(), "g."+tenant+".checkpoint")
		if err != nil {
			t.Fatalf("%s: %v", tenant, err)
		}
		if last.Sequence != seqs[tenant] {
			t.Errorf("%s: its checkpoint is reported at %d, and is at %d", tenant, seqs[tenant], last.Sequence)
		}
		batches[last.Header.Get("Nats-Batch-Id")] = true
	}
	if len(batches) > maxBatchesInFlight {
		t.Errorf("%d commits went in %d batches, want %d at most", len(commits), len(batches), maxBatchesInFlight)
	}
}

func TestRefusedCommitDoesNotAffectOthers(t *testing.T) {
	t.Parallel()
	g, stream := newPublisherTest(t)
	commits := map[string][]*nats.Msg{"stale": newCommit("stale", 3, 99)}
	for i := range 5 {
		commits[fmt.Sprint("t", i)] = newCommit(fmt.Sprint("t", i), 2, 0)
	}
	seqs, errs := publishTogether(t, g, commits)
	for tenant := range commits {
		_, err := stream.GetLastMsgForSubject(t.Context(), "g."+tenant+".event")
		switch {
		case tenant == "stale" && !IsWrongSequence(errs[tenant]):
			t.Errorf("a commit behind an old fence: %v, want the fence's refusal", errs[tenant])
		case tenant == "stale" && !errors.Is(err, jetstream.ErrMsgNotFound):
			t.Errorf("of a commit that was refused something is stored: %v", err)
		case tenant != "stale" && (errs[tenant] != nil || err != nil || seqs[tenant] == 0):
			t.Errorf("%s: %v at %d, read back %v; want it stored", tenant, errs[tenant], seqs[tenant], err)
		}
	}
}

func TestWaitingCommitCanBeRemoved(t *testing.T) {
	t.Parallel()
	g, stream := newPublisherTest(t)
	for range maxBatchesInFlight {
		g.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.publishBatch(ctx, newCommit("gone", 1, 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("a commit that was withdrawn: %v, want %v", err, context.Canceled)
	}
	for range maxBatchesInFlight {
		<-g.slots
	}
	if _, err := g.publishBatch(t.Context(), newCommit("here", 1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.GetLastMsgForSubject(t.Context(), "g.gone.checkpoint"); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("a commit that was withdrawn is stored: %v", err)
	}
}

func TestLargeCommitsAreNotShared(t *testing.T) {
	t.Parallel()
	g, _ := newPublisherTest(t)
	commits := map[string][]*nats.Msg{"large": newCommit("large", event.BatchLimit-1, 0), "small": newCommit("small", 1, 0), "half": newCommit("half", event.BatchLimit/2, 0)}
	seqs, errs := publishTogether(t, g, commits)
	for tenant := range commits {
		if errs[tenant] != nil || seqs[tenant] == 0 {
			t.Errorf("%s: %v at %d; want it stored", tenant, errs[tenant], seqs[tenant])
		}
	}
}
