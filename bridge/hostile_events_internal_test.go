package bridge

import (
	"bytes"
	"slices"
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
	tenant, centre, read, taken := config.Config{Tenant: "acme"}, newBenchSource(5), 0, 0
	auditor, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	first, second := centre.body(0, 0, false), centre.body(1, 100, false)
	events := append(hostile.FirstOfEachType(t, "testdata/golden/events.ndjson"), hostile.Event{
		Address: "bpcc.v1.acme.feed.erased", ID: "acme-1-9-1", Type: schemas.Type(event.Erased),
		Body: []byte(`{"specversion":"1.0","id":"acme-1-9-1","source":"https://acme.example","type":"bpcc.feed.erased.v1","subject":"feed","time":"2026-11-23T10:00:00.000Z",` +
			`"datacontenttype":"application/json","dataschema":"urn:bpcc:schema:v1:feed.erased","data":{"tenant":"acme","poll":9,"epoch":1,"instance":"i","reason":"r",` +
			`"messages":3,"keys":1,"sequences":[{"first":1,"last":2},{"first":9,"last":9}]}}`),
	})
	for _, e := range events {
		subject := strings.TrimPrefix(e.Address, event.Prefix(tenant.Tenant))
		for c := range hostile.Changes(e.Body) {
			changed := c.Apply(e.Body)
			header := nats.Header{}
			header.Set(nats.MsgIdHdr, e.ID)
			hostile.MustNotPanic(t, e.Type+" "+c.String(), func() {
				read++
				for _, body := range [][]byte{changed, e.Body} {
					seq++
					auditor.ReadErasure(e.Address, header, body)
					auditor.Add(audit.Message{Seq: seq, Subject: e.Address, Header: header, Body: body})
				}
				auditor.Report()
				_, _ = event.ParseValue(tenant.Tenant, event.ViewKey(subject), changed)
				ev, err := event.Parse(tenant.Tenant, e.Address, e.ID, changed)
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
	// The golden day has no chat message.
	eventTypes := slices.DeleteFunc(schemas.Names(), func(name string) bool { return strings.Contains(name, "/") })
	if want := len(eventTypes) - 1; len(events) != want || taken < read/100 {
		t.Errorf("%d types, want %d; of %d events %d were taken back", len(events), want, read, taken)
	}
	t.Logf("%d events, of which %d were taken back", read, taken)
}
