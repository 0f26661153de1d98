package event

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"

	"github.com/nats-io/nkeys"
)

// Head is a checkpoint as it was once the newest one, for safekeeping elsewhere. A stream that still has it with
// this sum was not changed before it.
type Head struct {
	Tenant string `json:"tenant"`
	// ID is the id of the checkpoint, Chain its chain.
	ID    string `json:"id"`
	Chain string `json:"chain"`
	// Sum is the sum of the checkpoint's own message: SHA-256 over its bytes as in a chain.
	Sum string `json:"sum"`
	// Signature and SigningKey are its headers; "" if it is not signed.
	Signature  string `json:"signature,omitempty"`
	SigningKey string `json:"signing_key,omitempty"`
	// Seq is its sequence in the stream, which a restored stream may give anew.
	Seq uint64 `json:"sequence"`
}

// ErrNoHead is returned for a message that is no checkpoint with a chain.
var ErrNoHead = errors.New("no checkpoint with a chain")

// NewHead returns the head that a checkpoint's message is, by its headers and its body. The error is [ErrNoHead] or
// [ErrForeign].
func NewHead(tenant, subject, id string, seq uint64, signature, signingKey string, body []byte) (Head, error) {
	e, err := Parse(tenant, subject, id, body)
	if err != nil {
		return Head{}, err
	}
	d, ok := e.Data.(*CheckpointData)
	if !ok || d.Chain == "" {
		return Head{}, ErrNoHead
	}
	return Head{
		Tenant: tenant, ID: id, Chain: d.Chain, Sum: MessageSum(subject, id, body), Seq: seq,
		Signature: signature, SigningKey: signingKey,
	}, nil
}

// MessageSum is the sum of one message, as of a chain's first one.
func MessageSum(subject, id string, body []byte) string {
	var c Chain
	c.Begin(subject, id, body)
	return c.Sum()
}

// ErrSignature is returned for a signature that is not that of a body by the key that it names.
var ErrSignature = errors.New("the signature is not that of the checkpoint by the key that it names")

// VerifySignature checks the signature of a body, in base64, by a public key as nkeys write it. The error is
// [ErrSignature].
func VerifySignature(key, signature string, body []byte) error {
	public, err := nkeys.FromPublicKey(key)
	if err != nil {
		return ErrSignature
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || public.Verify(body, raw) != nil {
		return ErrSignature
	}
	return nil
}

// sumLength is the length of sums in heads.
const sumLength = 2 * sha256.Size

// Valid reports whether a head names a checkpoint and has its sums.
func (h *Head) Valid() bool {
	isSum := func(text string) bool {
		_, err := hex.DecodeString(text)
		return err == nil && len(text) == sumLength
	}
	return h.Tenant != "" && h.ID != "" && isSum(h.Chain) && isSum(h.Sum)
}
