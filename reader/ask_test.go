package reader_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/svc"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/reader"
)

// TestAsk: requests go to the bridge that leads the tenant of the reader. The bridge's own tests have its
// replies.
func TestAsk(t *testing.T) {
	t.Parallel()
	js := natstest.Connect(t, natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL())
	r, err := reader.Open(js, "acme.eu", reader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AskAvailability(t.Context(), "Voice"); !errors.Is(err, svc.ErrNoLeader) {
		t.Errorf("availability without a leader: %v", err)
	}
	if _, err := r.AskState(t.Context(), svc.StateRequest{Kind: "agent", ID: "anna"}); !errors.Is(err, svc.ErrNoLeader) {
		t.Errorf("state without a leader: %v", err)
	}
	for subject, reply := range map[string]string{
		"bpcc.svc.acme=2Eeu.availability": `{"tenant":"acme.eu","service":"Voice","available":true,"fresh":true,"age":0.1,"max_age":6,"feed":{"status":"live","age":0.2}}`,
		"bpcc.svc.acme=2Eeu.state":        `{"tenant":"acme.eu","kind":"agent","id":"anna","fresh":true,"age":0.1,"max_age":6,"feed":{"status":"live","age":0.2}}`,
	} {
		if _, err := js.Conn().Subscribe(subject, func(m *nats.Msg) {
			if err := m.Respond([]byte(reply)); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if a, err := r.AskAvailability(t.Context(), "Voice"); err != nil || !a.Route() {
		t.Errorf("availability: %+v, error %v", a, err)
	}
	if s, err := r.AskState(t.Context(), svc.StateRequest{Kind: "agent", ID: "anna"}); err != nil || !s.Fresh {
		t.Errorf("state: %+v, error %v", s, err)
	}
}
