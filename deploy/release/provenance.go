package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
)

// The key that signs a release is in the environment: PEM of an Ed25519 key in PKCS #8, or a file with it.
const (
	keyVariable     = "RELEASE_SIGNING_KEY"
	builderVariable = "RELEASE_BUILDER" // a URI, which the provenance states
)

// readSigningKey returns the key of the environment; nil means that there is none.
func readSigningKey() (*signerverifier.ED25519SignerVerifier, error) {
	text := []byte(os.Getenv(keyVariable))
	if name := os.Getenv(keyVariable + "_FILE"); name != "" {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return nil, err
		}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	// The errors of the library do not hold the key.
	key, err := signerverifier.LoadKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyVariable, err)
	}
	if key.KeyType != signerverifier.ED25519KeyType || key.KeyVal.Private == "" {
		return nil, errors.New(keyVariable + " is no private key of Ed25519")
	}
	return signerverifier.NewED25519SignerVerifierFromSSLibKey(key)
}

// resource is a resource descriptor of in-toto.
type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// statement returns the provenance of the files, as in-toto and SLSA have it. It has no time of day, so that a
// second build gives the same.
func (r *release) statement(targets []string, files []resource) ([]byte, error) {
	builder := os.Getenv(builderVariable)
	if builder == "" {
		builder = "urn:" + product + ":builder:local"
	}
	return json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       files,
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate": map[string]any{
			"buildDefinition": map[string]any{
				"buildType":          "urn:" + product + ":release:v1",
				"externalParameters": map[string]any{"version": r.version, "targets": targets},
				"internalParameters": map[string]any{"SOURCE_DATE_EPOCH": r.at.Unix()},
				"resolvedDependencies": []resource{
					{Name: "source", Digest: map[string]string{"gitCommit": r.commit}},
					{Name: "go", URI: "pkg:generic/go@" + r.goVersion},
				},
			},
			"runDetails": map[string]any{"builder": map[string]string{"id": builder}},
		},
	})
}

// sign writes the signature of SHA256SUMS, and the signed provenance of all files.
func (r *release) sign(ctx context.Context, key *signerverifier.ED25519SignerVerifier, targets []string, sums []byte, files []resource) error {
	signature, err := key.Sign(ctx, sums)
	if err != nil {
		return err
	}
	if err := r.write("SHA256SUMS.sig", signature); err != nil {
		return err
	}
	statement, err := r.statement(targets, files)
	if err != nil {
		return err
	}
	signer, err := dsse.NewEnvelopeSigner(key)
	if err != nil {
		return err
	}
	envelope, err := signer.SignPayload(ctx, "application/vnd.in-toto+json", statement)
	if err != nil {
		return err
	}
	line, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("%s_%s.intoto.jsonl", product, r.version), append(line, '\n'))
}
