package publish

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestHostileAcknowledgements answers a batch with whatever is no acknowledgement.
func TestHostileAcknowledgements(t *testing.T) {
	t.Parallel()
	g, _ := newPublisherTest(t)
	nc := g.js.Conn()
	for i, body := range []string{
		"null", "[]", "{}", `"x"`, "0", "{", "\x00", `{"error":null}`, `{"error":{}}`, `{"error":[]}`, `{"error":{"err_code":-1}}`,
		`{"stream":"GROUP","seq":-1,"batch":"x"}`, `{"stream":"GROUP","seq":18446744073709551615,"batch":"x","count":18446744073709551615}`,
		`{"stream":null,"seq":null,"batch":null,"count":null}`, `{"stream":"GROUP"}`,
	} {
		subject := fmt.Sprintf("hostile.%d", i)
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if m.Reply != "" {
				_ = m.Respond([]byte(body))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		msgs := newCommit("a", 2, 0)
		for _, m := range msgs {
			m.Subject = subject
		}
		if seq, err := g.publishAtomic(t.Context(), msgs); err == nil {
			t.Errorf("%s is taken for an acknowledgement, of sequence %d", body, seq)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}
