package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// Headers of a checkpoint that is signed: the Ed25519 signature of its body in base64, and the public key as nkeys
// write it.
const (
	SignatureHeader  = "Bpcc-Signature"
	SigningKeyHeader = "Bpcc-Signing-Key"
)

// Chain computes `chain` of a checkpoint: SHA-256 over the message of the checkpoint before, if there is one, and
// over the messages of the batch that the checkpoint closes, in their order. So a checkpoint stands for the whole
// stream before it. docs/evidence.md defines the bytes. It is used by one goroutine, and
// begins with [Chain.Begin].
type Chain struct {
	sum    hash.Hash
	length [8]byte
}

// Begin begins another sum, with the message of the checkpoint before: its subject, its id and its body. The id is
// "" if there is none.
func (c *Chain) Begin(subject, id string, body []byte) {
	if c.sum == nil {
		c.sum = sha256.New()
	}
	c.sum.Reset()
	if id != "" {
		c.Add([]byte(subject), []byte(id), body)
	}
}

// Add adds a message, by its subject, its id (Nats-Msg-Id) and its body: each of them as its length in 8 bytes, the
// most significant first, and then its bytes.
func (c *Chain) Add(subject, id, body []byte) {
	for _, part := range [...][]byte{subject, id, body} {
		binary.BigEndian.PutUint64(c.length[:], uint64(len(part)))
		c.sum.Write(c.length[:])
		c.sum.Write(part)
	}
}

// Sum is the sum of the messages added since [Chain.Begin], in lower-case hexadecimal digits.
func (c *Chain) Sum() string {
	var sum [sha256.Size]byte
	return hex.EncodeToString(c.sum.Sum(sum[:0]))
}
