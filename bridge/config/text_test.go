package config_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
)

// utf16 writes ASCII text in UTF-16, with its mark.
func utf16(text string, bigEndian bool) string {
	out := []byte("\xff\xfe")
	if bigEndian {
		out = []byte("\xfe\xff")
	}
	for _, c := range []byte(text) {
		if bigEndian {
			out = append(out, 0, c)
		} else {
			out = append(out, c, 0)
		}
	}
	return string(out)
}

// TestByteOrderMarks: a mark is no part of any file or variable, and a file in UTF-16 is refused by name.
func TestByteOrderMarks(t *testing.T) {
	t.Parallel()
	const (
		rules        = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">","value":5}}]`
		subscription = `{"x":{"agent_grids":[{"id":"a","columns":[{"id":"1","stat_name":"login_id"}]}],"service_grids":[{"id":"s","columns":[{"id":"1","stat_name":"in_calls_waiting"}]}]}}`
	)
	secret := func(get func(c *config.Config) config.Secret) func(c *config.Config) bool {
		return func(c *config.Config) bool { return string(get(c)) == "an öffentliches secret" }
	}
	tests := map[string]struct {
		content string
		more    []string
		good    func(c *config.Config) bool
	}{
		"BPCC_CLIENT_SECRET_FILE":   {"an öffentliches secret\r\n", []string{"BPCC_CLIENT_SECRET="}, secret(func(c *config.Config) config.Secret { return c.BPCC.ClientSecret })},
		"BPCC_PASSWORD_FILE":        {"an öffentliches secret\n", nil, secret(func(c *config.Config) config.Secret { return c.BPCC.Password })},
		"NATS_PASSWORD_FILE":        {"an öffentliches secret", []string{"NATS_USER=x"}, secret(func(c *config.Config) config.Secret { return c.NATS.Password })},
		"NATS_TOKEN_FILE":           {"an öffentliches secret\n", nil, secret(func(c *config.Config) config.Secret { return c.NATS.Token })},
		"BRIDGE_PSEUDONYM_KEY_FILE": {"an öffentliches secret\n", nil, secret(func(c *config.Config) config.Secret { return c.Events.PseudonymKey })},
		"BRIDGE_THRESHOLDS_FILE":    {rules, nil, func(c *config.Config) bool { return len(c.Events.Rules) == 1 }},
		"BPCC_SUBSCRIPTION_FILE":    {subscription, nil, func(c *config.Config) bool { return len(c.BPCC.Subscription["x"].AgentGrids) == 1 }},
	}
	right := []string{"BPCC_URL=https://acme.example.com", "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=a-secret", "NATS_URL=nats://127.0.0.1:4222"}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "file")
			parse := func(content string) (*config.Config, error) {
				bridgetest.ReplaceFile(t, file, content)
				c, _, err := config.Parse(append(append(right[:len(right):len(right)], tt.more...), name+"="+file), config.ForBridge)
				return c, err
			}
			for _, content := range []string{tt.content, bridgetest.Mark + tt.content} {
				if c, err := parse(content); err != nil || !tt.good(c) {
					t.Errorf("%.10q: error %v, or another content", content, err)
				}
			}
			for _, content := range []string{utf16("{}", false), utf16("{}", true)} {
				if _, err := parse(content); err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), "text is in UTF-16; save it as UTF-8") {
					t.Errorf("UTF-16: error %v", err)
				}
			}
			if _, err := parse(bridgetest.Mark + "\n"); err == nil {
				t.Error("a mark alone is taken for a content")
			}
		})
	}
	ours := bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge")
	environ := append(right[:len(right):len(right)], "BPCC_CA_FILE="+bridgetest.WithMark(t, ours.File), "BPCC_CERT="+bridgetest.WithMark(t, cert), "BPCC_KEY="+bridgetest.WithMark(t, key),
		"NATS_CA="+bridgetest.WithMark(t, ours.File), "NATS_CERT="+bridgetest.WithMark(t, cert), "NATS_KEY="+bridgetest.WithMark(t, key), "BRIDGE_THRESHOLDS="+bridgetest.Mark+rules, "BPCC_SUBSCRIPTION="+bridgetest.Mark+subscription)
	if c, _, err := config.Parse(environ, config.ForBridge); err != nil || len(c.Events.Rules) != 1 || len(c.BPCC.Subscription) != 1 {
		t.Errorf("certificates and variables with a mark: %v", err)
	}
	if all, err := parseTenants(t, bridgetest.Mark+`[{"url":"https://acme.example.com"}]`, right[1:]...); err != nil || len(all) != 1 {
		t.Errorf("tenants: %v", err)
	}
	if _, err := parseTenants(t, utf16("[{}]", false), right...); err == nil || !strings.Contains(err.Error(), "BRIDGE_TENANTS_FILE") || !errors.Is(err, config.ErrUTF16) {
		t.Errorf("tenants in UTF-16: %v", err)
	}
}
