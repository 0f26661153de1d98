// Command router is an example of a program that routes calls by what the bridge
// knows: may a call be sent to this service now?
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/router --tenant demo
//
// It keeps a view of the availabilities. The one rule of such a program: an answer
// that may be old is no answer. So it says ROUTE only if the feed is live and
// recent, and HOLD, with the reason, in every other case.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"bpcc-nats/reader"
)

func main() {
	tenant := flag.String("tenant", "demo", "tenant whose services to show")
	limit := flag.Duration("limit", reader.DefaultStaleAfter, "how old the last observation may be")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := must(reader.Connect(os.Getenv("NATS_URL"), *tenant, reader.Options{StaleAfter: *limit}))
	view := must(r.View(ctx, reader.ViewOptions{Kinds: []string{"availability"}}))
	defer view.Close()
	said := map[string]string{}
	for ; ctx.Err() == nil; time.Sleep(250 * time.Millisecond) {
		for _, a := range view.Picture().Availabilities() {
			answer := view.Available(a.Service)
			verdict := map[bool]string{true: "ROUTE", false: "HOLD "}[answer.Route]
			if line := fmt.Sprintf("%s  %-24s %s", verdict, a.Service, answer.Reason); line != said[a.Service] {
				said[a.Service] = line
				fmt.Println(time.Now().Format(time.TimeOnly), line)
			}
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
