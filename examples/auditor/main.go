// Command auditor is an example of a program that copies the history to a file and
// proves it complete: no event missing, none duplicate.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/auditor --out events.ndjson
//
// It reads the stream to its present end and writes each event as it is stored, one a
// line. It prints what is missing or foreign, and ends with status 1 if anything is.
// `bridge verify events.ndjson` judges such a file years later, without any server.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"bpcc-nats/reader"
)

func main() {
	tenant := flag.String("tenant", "demo", "tenant whose history to copy")
	out := flag.String("out", "events.ndjson", "file for the events")
	flag.Parse()
	file := must(os.Create(*out))
	r := must(reader.Connect(os.Getenv("NATS_URL"), *tenant, reader.Options{}))
	events, faults := 0, 0
	for item, err := range r.Events(context.Background(), reader.Beginning(), reader.EventsOptions{}) {
		if e := reader.EventOf(must(item, err)); e != nil {
			must(file.Write(append(e.Body, '\n')))
			events++
		} else {
			fmt.Println("FAULT", item)
			faults++
		}
	}
	must(0, file.Close())
	if faults > 0 {
		os.Exit(1)
	}
	fmt.Println("complete: none of", events, "events is missing or duplicate")
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
