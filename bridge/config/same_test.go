package config_test

import (
	"path/filepath"
	"testing"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
)

// TestSame: files that hold something else make another configuration, secrets of the connection do not.
func TestSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		bridgetest.ReplaceFile(t, filepath.Join(dir, name), content)
		return filepath.Join(dir, name)
	}
	ours := bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge")
	pseudonyms, token := file("pseudonyms", "0123456789abcdef"), file("token", "0123456789abcdef")
	rules := file("rules", `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","match":["*"],"raise":{"op":">=","value":8}}]`)
	tenants := file("tenants", `[{"tenant":"a"},{"tenant":"b","client_id":"c"}]`)
	signing := file("signing", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY")
	parse := func() []*config.Config {
		t.Helper()
		all, _, err := config.ParseAll([]string{
			"BPCC_URL=https://acme.example.com", "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=a-secret", "BPCC_CA_FILE=" + ours.File, "BPCC_CERT=" + cert, "BPCC_KEY=" + key,
			"BRIDGE_PSEUDONYM_KEY_FILE=" + pseudonyms, "BRIDGE_HTTP_TOKEN_FILE=" + token, "BRIDGE_THRESHOLDS_FILE=" + rules,
			"BRIDGE_TENANTS_FILE=" + tenants, "BRIDGE_SIGNING_KEY_FILE=" + signing,
		}, config.ForBridge)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	last := parse()
	for _, step := range []struct {
		name   string
		change func()
		same   bool
	}{
		{"nothing", func() {}, true},
		{"the token of the HTTP server", func() { file("token", "0123456789abcdeg") }, true},
		{"the rules", func() {
			file("rules", `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","match":["*"],"raise":{"op":">=","value":9}}]`)
		}, false},
		{"the key of pseudonyms", func() { file("pseudonyms", "0123456789abcdeg") }, false},
		{"the trusted roots", func() { bridgetest.ReplaceFile(t, ours.File, readText(t, bridgetest.NewCA(t).File)) }, false},
		{"a tenant", func() { file("tenants", `[{"tenant":"a"}]`) }, false},
		{"the signing key", func() { file("signing", "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4") }, false},
		{"nothing again", func() {}, true},
	} {
		step.change()
		next := parse()
		if got := config.Same(last, next); got != step.same {
			t.Errorf("after a change of %s they are the same: %v", step.name, got)
		}
		last = next
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	content, err := config.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
