package bridge

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/source"
	"bpcc-nats/internal/hostile"
	"bpcc-nats/schemas"
)

// TestHostileEvents puts every kind of wrong value in every place of an event of
// each type, as the stream and the view may hold them. Reading one must not panic, and
// a bridge that has restored one must be able to go on.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	tenant, centre, types, read, taken := config.Config{Tenant: "acme"}, newBenchSource(20), map[string]bool{}, 0, 0
	auditor, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	first, second := centre.body(0, 0, false), centre.body(1, 100, false)
	for line := range bytes.Lines(text) {
		address, body, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		subject := strings.TrimPrefix(string(address), event.Prefix(tenant.Tenant))
		var e struct{ ID, Type string }
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		if types[e.Type] {
			continue
		}
		types[e.Type] = true
		for c := range hostile.Changes(body) {
			changed := c.Apply(body)
			header := nats.Header{}
			header.Set(nats.MsgIdHdr, e.ID)
			hostile.MustNotPanic(t, e.Type+" "+c.String(), func() {
				read++
				for _, body := range [][]byte{changed, body} {
					seq++
					auditor.Add(seq, string(address), header, body)
				}
				auditor.Report()
				_, _ = event.ParseValue(tenant.Tenant, event.ViewKey(subject), changed)
				ev, err := event.Parse(tenant.Tenant, string(address), e.ID, changed)
				if err != nil {
					return
				}
				taken++
				en, stored := engine.New(source.EngineOptions(centre.config(), source.Plan{Layout: centre.layout}, "test")), 0
				en.Recover(&ev)
				en.Start(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
				step := centre.stepFunc(en, &stored)
				for _, snapshot := range [][]byte{first, second, first} {
					step(t, bytes.Clone(snapshot))
				}
				stale := en.StaleCheckpoint(time.Date(2026, 11, 23, 10, 1, 0, 0, time.UTC))
				if _, err := event.NewEncoder("https://acme.example").Append(nil, &stale); err != nil {
					t.Error(err)
				}
			})
		}
	}
	// The golden day has no chat message, and the configuration is no event.
	if want := len(schemas.Names()) - 2; len(types) != want || taken < read/100 {
		t.Errorf("%d types, want %d; of %d events %d were taken back", len(types), want, read, taken)
	}
	t.Logf("%d events, of which %d were taken back", read, taken)
}
