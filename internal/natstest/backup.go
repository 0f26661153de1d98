package natstest

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// backupTimeout bounds each step of a backup and of a restore.
const backupTimeout = 20 * time.Second

// Backup is a stream as `nats stream backup` stores it.
type Backup struct {
	Config json.RawMessage
	State  json.RawMessage
	chunks [][]byte
}

// BackUp makes a backup of a stream, by the requests that the nats CLI sends.
func BackUp(t testing.TB, js jetstream.JetStream, stream string) *Backup {
	t.Helper()
	nc := js.Conn()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	request, err := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := nc.Request("$JS.API.STREAM.SNAPSHOT."+stream, request, backupTimeout)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Error         json.RawMessage
		Config, State json.RawMessage
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.Error != nil {
		t.Fatalf("backup of %s: %s", stream, reply.Data)
	}
	b := &Backup{Config: answer.Config, State: answer.State}
	for {
		chunk, err := sub.NextMsg(backupTimeout)
		if err != nil {
			t.Fatalf("backup of %s: %v", stream, err)
		}
		if len(chunk.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, bytes.Clone(chunk.Data))
		if chunk.Reply == "" {
			continue // not every chunk is acknowledged
		}
		if err := chunk.Respond(nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Restore deletes a stream, if there is one, and restores it from a backup, as `nats stream restore` does.
func (b *Backup) Restore(t testing.TB, js jetstream.JetStream, stream string) {
	t.Helper()
	nc := js.Conn()
	_ = js.DeleteStream(t.Context(), stream) // there may be none
	request, err := json.Marshal(map[string]any{"config": b.Config, "state": b.State})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := nc.Request("$JS.API.STREAM.RESTORE."+stream, request, backupTimeout)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Error          json.RawMessage
		DeliverSubject string `json:"deliver_subject"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.Error != nil {
		t.Fatalf("restore of %s: %s", stream, reply.Data)
	}
	for _, chunk := range append(b.chunks, nil) {
		reply, err := nc.Request(answer.DeliverSubject, chunk, backupTimeout)
		if err != nil {
			t.Fatalf("restore of %s: %v", stream, err)
		}
		if bytes.Contains(reply.Data, []byte(`"error"`)) {
			t.Fatalf("restore of %s: %s", stream, reply.Data)
		}
	}
}
