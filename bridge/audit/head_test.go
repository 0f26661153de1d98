package audit_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nkeys"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// signer is a new key.
type signer struct {
	nkeys.KeyPair
	public string
}

func newSigner(t *testing.T) signer {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return signer{pair, public}
}

// sign signs the checkpoints from a message on.
func (s signer) sign(t *testing.T, all []message, from int) []message {
	t.Helper()
	for i := from; i < len(all); i++ {
		if !strings.HasSuffix(all[i].subject, event.Checkpoint) {
			continue
		}
		signature, err := s.Sign(all[i].body)
		if err != nil {
			t.Fatal(err)
		}
		all[i].header.Set(event.SignatureHeader, base64.StdEncoding.EncodeToString(signature))
		all[i].header.Set(event.SigningKeyHeader, s.public)
	}
	return all
}

// codes are the faults of a report, by their codes and ids.
func codes(list []audit.Finding) (out []string) {
	for _, f := range list {
		out = append(out, f.Code+" "+f.ID)
	}
	return out
}

// TestSignatures: keys are demanded of each checkpoint. The ways to forge a stream that is signed are in TestTampered of
// cmd/bridge/internal/export.
func TestSignatures(t *testing.T) {
	t.Parallel()
	own, second := newSigner(t), newSigner(t)
	signed := func(t *testing.T) []message { return own.sign(t, chained(t, 1), 0) }
	for name, test := range map[string]struct {
		stream func(t *testing.T) []message
		by     []string
		want   []string
	}{
		"signed":                            {signed, []string{own.public}, nil},
		"signed, and no key is given":       {signed, nil, nil},
		"not signed, and no key is given":   {func(t *testing.T) []message { return chained(t, 1) }, nil, nil},
		"not signed":                        {func(t *testing.T) []message { return chained(t, 1)[:5] }, []string{own.public}, []string{"signature acme-1-1-2", "signature acme-1-2-3"}},
		"two keys over time":                {func(t *testing.T) []message { return second.sign(t, signed(t), 5) }, []string{own.public, second.public}, nil},
		"another key over time":             {func(t *testing.T) []message { return second.sign(t, signed(t), 5) }, []string{own.public}, []string{"signature acme-1-3-2", "signature acme-1-4-2"}},
		"an export without headers":         {headless(signed), []string{own.public}, []string{"signature acme-1-1-2", "signature acme-1-2-3", "signature acme-1-3-2", "signature acme-1-4-2"}},
		"an export without headers, no key": {headless(signed), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, audit.Options{SignedBy: test.by}, test.stream(t))
			if d := cmp.Diff(test.want, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
		})
	}
}

// headless leaves all headers out.
func headless(stream func(t *testing.T) []message) func(t *testing.T) []message {
	return func(t *testing.T) []message {
		all := stream(t)
		for i := range all {
			all[i].header = nil
		}
		return all
	}
}

// headOf is the head that a message is.
func headOf(t *testing.T, m message) event.Head {
	t.Helper()
	h, err := event.NewHead("acme", m.subject, m.id(), m.seq, m.header.Get(event.SignatureHeader), m.header.Get(event.SigningKeyHeader), m.body)
	if err != nil || !h.Valid() {
		t.Fatalf("%+v: %v", h, err)
	}
	return h
}

// TestHeads compares a stream with heads that were kept elsewhere.
func TestHeads(t *testing.T) {
	t.Parallel()
	// The messages: 0 started, 1 checkpoint; 2 anna, 3 Voice, 4 checkpoint; 5 anna, 6 checkpoint; 7 Voice, 8 checkpoint.
	all := chained(t, 1)
	early, late := headOf(t, all[4]), headOf(t, all[8])
	other := late
	other.ID = "acme-1-4-3"
	elsewhere := late
	elsewhere.Tenant = "globex"
	for name, test := range map[string]struct {
		heads       []event.Head
		change      func([]message) []message
		want, notes []string
	}{
		"as it was":                      {[]event.Head{early, late}, nil, nil, nil},
		"the beginning is gone":          {[]event.Head{early, late}, func(all []message) []message { return all[5:] }, nil, []string{"head acme-1-2-3"}},
		"a fork: two heads, one history": {[]event.Head{early, late, other}, nil, []string{"head acme-1-4-3"}, nil},
		"another tenant":                 {[]event.Head{elsewhere}, nil, []string{"head acme-1-4-2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := chained(t, 1)
			if test.change != nil {
				stream = test.change(stream)
			}
			r := judge(t, audit.Options{Heads: test.heads}, stream)
			if d := cmp.Diff(test.want, codes(r.Faults)); d != "" {
				t.Errorf("faults (-want +got)\n%s%+v", d, r.Faults)
			}
			var notes []string
			for _, f := range r.Notes {
				if f.Code == "head" {
					notes = append(notes, f.Code+" "+f.ID)
				}
			}
			if d := cmp.Diff(test.notes, notes); d != "" {
				t.Errorf("notes (-want +got)\n%s", d)
			}
		})
	}
	if _, err := event.NewHead("acme", all[5].subject, all[5].id(), 5, "", "", all[5].body); err == nil {
		t.Error("an event about an agent is a head")
	}
}
