package config_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"bpcc-nats/bridge/config"
)

// TestSigningKey reads the key that signs checkpoints, which nothing shows.
func TestSigningKey(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	curve, err := nkeys.CreateCurveKeys()
	if err != nil {
		t.Fatal(err)
	}
	seed := func(pair nkeys.KeyPair) string {
		text, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		content string
		want    string // in the error; "" if there is none
	}{
		"a seed":       {seed(user) + "\n", ""},
		"empty":        {"\n", "file is empty"},
		"a public key": {public, "holds no nkey seed"},
		"a curve key":  {seed(curve), "holds a curve key"},
		"words":        {"secret words", "holds no nkey seed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "seed")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			c, _, err := config.Parse([]string{
				"BPCC_URL=https://acme.example", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "NATS_URL=nats://elsewhere", "BRIDGE_SIGNING_KEY_FILE=" + file,
			}, config.ForBridge)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), "BRIDGE_SIGNING_KEY_FILE: "+file) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), strings.TrimSpace(test.content)) && name != "empty" {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			key := c.Events.SigningKey
			signature, err := key.Sign([]byte("body"))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(signature)
			if err != nil || user.Verify([]byte("body"), raw) != nil || key.Public() != public {
				t.Errorf("signed %s by %s", signature, key.Public())
			}
			for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
				if text := fmt.Sprintf(format, key) + fmt.Sprintf(format, c.Events); strings.Contains(text, test.content[:20]) {
					t.Errorf("%s shows the key: %s", format, text)
				}
			}
		})
	}
}
