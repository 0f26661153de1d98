package reader_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"bpcc-nats/bridge/svc"
	"bpcc-nats/reader"
)

// BenchmarkStateAt reads the past of one agent, and of all, in a stream of 200,000 messages about 10,000
// agents, at random instants.
func BenchmarkStateAt(b *testing.B) {
	w := newWorld(b)
	begin := time.Now()
	w.age = 0
	fillAgents(b, w, 200_000, 10_000)
	end := time.Now()
	r := w.open(reader.Options{})
	random := rand.New(rand.NewPCG(1, 1))
	at := func() time.Time { return begin.Add(time.Duration(random.Int64N(int64(end.Sub(begin))))) }
	b.Run("agent", func(b *testing.B) {
		for b.Loop() {
			o := reader.StateAtOptions{Entity: svc.StateRequest{Kind: "agent", ID: fmt.Sprint("agent", random.IntN(10_000))}}
			if _, err := r.StateAt(b.Context(), at(), o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.StateAt(b.Context(), at(), reader.StateAtOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
