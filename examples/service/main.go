// Command service is an example of a service that does something once for every
// change of an agent's state: here it writes a line into a ledger.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/service --tenant demo
//
// End it in any way, start it again: it continues where it was, and no change is in
// the ledger twice or missing. The library hands over each change, in order, until
// the work is done. The ledger holds the id of each change that is done, stored
// together with the work; where you have a database it is a table in the same
// transaction. What is handed over again after a crash is therefore known.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/reader"
)

func main() {
	tenant := flag.String("tenant", "demo", "tenant whose agents to follow")
	durable := flag.String("durable", "example-service", "name of the consumer that holds the progress")
	name := flag.String("ledger", "state-changes.ndjson", "file for the changes")
	flag.Parse()
	ledger := must(os.OpenFile(*name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640))
	text := must(os.ReadFile(*name))
	text = text[:bytes.LastIndexByte(text, '\n')+1] // without a line that a crash has cut off
	must(0, ledger.Truncate(int64(len(text))))
	_, id, _ := bytes.Cut(text[max(0, bytes.LastIndex(text, []byte(`"id":`))):], []byte(`"id":"`))
	id, _, _ = bytes.Cut(id, []byte(`"`))
	last, _ := event.ParseID(*tenant, string(id)) // zero if nothing is done yet
	log.Printf("%d changes are in %s, the last is %q", bytes.Count(text, []byte("\n")), *name, id)
	r := must(reader.Connect(os.Getenv("NATS_URL"), *tenant, reader.Options{}))
	log.Fatal(r.Consume(context.Background(), *durable, reader.Each(func(_ context.Context, e *reader.Event) error {
		d := must(e.Decode()).Data.(*event.AgentData)
		line := must(json.Marshal(map[string]any{"id": e.MsgID(), "agent": d.Agent.ID, "from": d.From, "to": d.To, "observed": d.Observed}))
		must(ledger.Write(append(line, '\n')))
		return ledger.Sync() // what is done must outlive a power cut
	}), reader.ConsumeOptions{Subjects: []string{"agent.*.state_changed"}, After: last, AckWait: 5 * time.Second}))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
