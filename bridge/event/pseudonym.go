package event

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"bpcc-nats/diff/image"
)

// personalStats are the statistics that identify an agent. "" is the key of a row.
var personalStats = [...]string{
	"", "login_id", "user_id", "firstname", "lastname", "first_last_name", "last_first_name", "extension",
}

// Pseudonyms replaces what identifies an agent with keyed hashes. The nil Pseudonyms changes
// nothing.
type Pseudonyms struct{ key []byte }

// NewPseudonyms returns nil if there is no key: names are then published.
func NewPseudonyms(key string) *Pseudonyms {
	if key == "" {
		return nil
	}
	return &Pseudonyms{[]byte(key)}
}

// Hash returns the pseudonym of a text. It is the same for the same text and key, so one agent
// stays one agent, and cannot be reversed without the key. "" means no value and stays "".
func (p *Pseudonyms) Hash(text string) string {
	if p == nil || text == "" {
		return text
	}
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(text))
	return "p" + hex.EncodeToString(mac.Sum(nil)[:10])
}

// Rewrite is the Rewrite function of a [layout.Layout].
func (p *Pseudonyms) Rewrite(kind image.Kind, stat, text string) string {
	if kind == Agent && slices.Contains(personalStats[:], stat) {
		return p.Hash(text)
	}
	return text
}
