package scan_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/scan"
	"bpcc-nats/internal/natstest"
)

// TestUnreadableMessages damages messages on disk while the server is down: a scan passes over what
// the server cannot load, ends, and reads all else; what is missing is named by its sequence.
func TestUnreadableMessages(t *testing.T) {
	t.Parallel()
	const compressed = 220   // messages of which the first block is full, and so compressed
	const maxBytes = 120_000 // so small that the server makes its smallest blocks, of 32,000 bytes
	tests := map[string]struct {
		messages int
		size     int
		damage   []string // bodies
		block    bool     // damage the compressed block instead
	}{
		"none":               {messages: 30, size: 100},
		"the last":           {messages: 30, size: 100, damage: []string{"body-0030"}},
		"the first":          {messages: 30, size: 100, damage: []string{"body-0001"}},
		"in the middle":      {messages: 30, size: 100, damage: []string{"body-0015"}},
		"several":            {messages: 30, size: 100, damage: []string{"body-0010", "body-0011", "body-0029", "body-0030"}},
		"after a block":      {messages: compressed, size: 200, damage: []string{fmt.Sprintf("body-%04d", compressed)}},
		"a whole block":      {messages: compressed, size: 200, block: true},
		"a block and a tail": {messages: compressed, size: 200, block: true, damage: []string{fmt.Sprintf("body-%04d", compressed)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
			js := natstest.Connect(t, s.ClientURL())
			c := jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}, Compression: jetstream.S2Compression, AllowDirect: true, MaxBytes: maxBytes}
			if _, err := js.CreateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= test.messages; i++ {
				body := fmt.Sprintf("body-%04d %s", i, bytes.Repeat([]byte{byte('a' + i%26)}, test.size))
				if _, err := js.PublishAsync(fmt.Sprintf("x.%d", i%10), []byte(body)); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 {
					<-js.PublishAsyncComplete()
				}
			}
			<-js.PublishAsyncComplete()
			if test.block {
				natstest.WaitCompressed(t, dir, "X", 1)
			}
			js.Conn().Close()
			s.Shutdown()
			s.WaitForShutdown()
			for _, body := range test.damage {
				natstest.FlipBit(t, dir, "X", []byte(body))
			}
			if test.block {
				natstest.FlipBitOfBlock(t, dir, "X", 1)
			}
			s = natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
			js = natstest.Connect(t, s.ClientURL())

			var read []uint64
			all := jetstream.OrderedConsumerConfig{FilterSubjects: []string{"x.>"}}
			err := scan.All(t.Context(), js, "X", all, func(_ jetstream.Msg, seq uint64) error { read = append(read, seq); return nil })
			if err != nil {
				t.Fatal(err)
			}
			bad, err := scan.FindUnreadable(t.Context(), js, "X", "x.>", 1, uint64(test.messages), test.messages)
			if err != nil {
				t.Fatal(err)
			}
			if want := len(test.damage); !test.block && len(bad) != want || test.block && len(bad) < 100 {
				t.Errorf("%d messages are named as unreadable: %v", len(bad), bad[:min(len(bad), 10)])
			}
			both := slices.Concat(read, bad)
			slices.Sort(both)
			var want []uint64
			for seq := range test.messages {
				want = append(want, uint64(seq+1))
			}
			if d := cmp.Diff(want, both); d != "" || !slices.IsSorted(read) {
				t.Errorf("read and named together (-want +got)\n%s", d)
			}
			last := map[string]uint64{}
			err = scan.LastPerSubject(t.Context(), js, "X", "x.>", func(msg jetstream.Msg, seq uint64) error { last[msg.Subject()] = seq; return nil })
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				seq := uint64(test.messages - i)
				subject := fmt.Sprintf("x.%d", seq%10)
				if got, damaged := last[subject], slices.Contains(bad, seq); damaged == (got == seq) {
					t.Errorf("the last message on %s is read as %d; want %d: %v", subject, got, seq, !damaged)
				}
			}
		})
	}
}
