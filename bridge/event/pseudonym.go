package event

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"bpcc-nats/diff"
)

// personalStats are the statistics of an agent that tell who it is. "" is the
// key of a row.
var personalStats = [...]string{
	"", "login_id", "user_id", "firstname", "lastname", "first_last_name", "last_first_name", "extension",
}

// Pseudonyms puts keyed hashes in the place of what tells who an agent is. The
// nil Pseudonyms changes nothing.
type Pseudonyms struct{ key []byte }

// NewPseudonyms returns nil if there is no key: then people keep their names.
func NewPseudonyms(key string) *Pseudonyms {
	if key == "" {
		return nil
	}
	return &Pseudonyms{[]byte(key)}
}

// Hash gives the pseudonym of a text: the same for the same text and key, so that
// one agent stays one agent, and without the key not to be traced back. "" is
// no value and stays it.
func (p *Pseudonyms) Hash(text string) string {
	if p == nil || text == "" {
		return text
	}
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(text))
	return "p" + hex.EncodeToString(mac.Sum(nil)[:10])
}

// Rewrite is the hook of a [diff.Layout].
func (p *Pseudonyms) Rewrite(kind diff.Kind, stat, text string) string {
	if kind == Agent && slices.Contains(personalStats[:], stat) {
		return p.Hash(text)
	}
	return text
}
