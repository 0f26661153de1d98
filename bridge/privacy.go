package bridge

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

// pseudonyms puts keyed hashes in the place of what tells who an agent is.
type pseudonyms struct{ key []byte }

// newPseudonyms returns nil if there is no key: then people keep their names.
func newPseudonyms(key Secret) *pseudonyms {
	if key == "" {
		return nil
	}
	return &pseudonyms{[]byte(key)}
}

// of gives the pseudonym of a text: the same for the same text and key, so that
// one agent stays one agent, and without the key not to be traced back. "" is
// no value and stays it.
func (p *pseudonyms) of(text string) string {
	if p == nil || text == "" {
		return text
	}
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(text))
	return "p" + hex.EncodeToString(mac.Sum(nil)[:10])
}

// rewrite is the layout's hook.
func (p *pseudonyms) rewrite(kind diff.Kind, stat, text string) string {
	if kind == kindAgent && slices.Contains(personalStats[:], stat) {
		return p.of(text)
	}
	return text
}
