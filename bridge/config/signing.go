package config

import (
	"encoding/base64"
	"fmt"

	"github.com/nats-io/nkeys"
)

// SigningKey signs checkpoints. Printed or logged it is "[redacted]".
type SigningKey struct {
	pair   nkeys.KeyPair
	public string
}

// String hides the key.
func (*SigningKey) String() string { return "[redacted]" }

// GoString hides the key from %#v.
func (*SigningKey) GoString() string { return "[redacted]" }

// Public is the public key, as nkeys write it.
func (k *SigningKey) Public() string { return k.public }

// Sign returns the Ed25519 signature of a body, in base64.
func (k *SigningKey) Sign(body []byte) (string, error) {
	signature, err := k.pair.Sign(body)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// ReadSigningKey reads the key of SigningKeyFile; nil if there is none.
func (c *Events) ReadSigningKey() (*SigningKey, error) {
	if c.SigningKeyFile == "" {
		return nil, nil
	}
	seed, err := readSecret(c.SigningKeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return nil, fmt.Errorf("%s holds no nkey seed, which begins with S, such as nk -gen user makes: %w", c.SigningKeyFile, err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.SigningKeyFile, err)
	}
	if nkeys.Prefix(public) == nkeys.PrefixByteCurve {
		return nil, fmt.Errorf("%s holds a curve key, which signs nothing; use a user's seed (SU…)", c.SigningKeyFile)
	}
	return &SigningKey{pair, public}, nil
}
