package bridge_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/bridge"
)

// mark is the byte order mark of UTF-8, which editors write and do not show.
const mark = "\ufeff"

// withMark writes a file's content behind a mark into another file.
func withMark(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	marked := filepath.Join(t.TempDir(), filepath.Base(file))
	replaceFile(t, marked, mark+string(content))
	return marked
}

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
	secret := func(get func(c *bridge.Config) bridge.Secret) func(c *bridge.Config) bool {
		return func(c *bridge.Config) bool { return string(get(c)) == "an öffentliches secret" }
	}
	tests := map[string]struct {
		content string
		more    []string
		good    func(c *bridge.Config) bool
	}{
		"BPCC_CLIENT_SECRET_FILE":   {"an öffentliches secret\r\n", []string{"BPCC_CLIENT_SECRET="}, secret(func(c *bridge.Config) bridge.Secret { return c.ClientSecret })},
		"BPCC_PASSWORD_FILE":        {"an öffentliches secret\n", nil, secret(func(c *bridge.Config) bridge.Secret { return c.Password })},
		"NATS_PASSWORD_FILE":        {"an öffentliches secret", []string{"NATS_USER=x"}, secret(func(c *bridge.Config) bridge.Secret { return c.NATSPassword })},
		"NATS_TOKEN_FILE":           {"an öffentliches secret\n", nil, secret(func(c *bridge.Config) bridge.Secret { return c.NATSToken })},
		"BRIDGE_PSEUDONYM_KEY_FILE": {"an öffentliches secret\n", nil, secret(func(c *bridge.Config) bridge.Secret { return c.PseudonymKey })},
		"BRIDGE_THRESHOLDS_FILE":    {rules, nil, func(c *bridge.Config) bool { return len(c.Rules) == 1 }},
		"BPCC_SUBSCRIPTION_FILE":    {subscription, nil, func(c *bridge.Config) bool { return len(c.Subscription["x"].AgentGrids) == 1 }},
	}
	right := []string{"BPCC_URL=https://acme.example.com", "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=a-secret", "NATS_URL=nats://127.0.0.1:4222"}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "file")
			parse := func(content string) (*bridge.Config, error) {
				replaceFile(t, file, content)
				c, _, err := bridge.ParseConfig(append(append(right[:len(right):len(right)], tt.more...), name+"="+file), bridge.ForBridge)
				return c, err
			}
			for _, content := range []string{tt.content, mark + tt.content} {
				if c, err := parse(content); err != nil || !tt.good(c) {
					t.Errorf("%.10q: error %v, or another content", content, err)
				}
			}
			for _, content := range []string{utf16("{}", false), utf16("{}", true)} {
				if _, err := parse(content); err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), "text is in UTF-16; save it as UTF-8") {
					t.Errorf("UTF-16: error %v", err)
				}
			}
			if _, err := parse(mark + "\n"); err == nil {
				t.Error("a mark alone is taken for a content")
			}
		})
	}
	ours := newTestCA(t)
	cert, key := ours.issueCert("bridge")
	environ := append(right[:len(right):len(right)], "BPCC_CA_FILE="+withMark(t, ours.file), "BPCC_CERT="+withMark(t, cert), "BPCC_KEY="+withMark(t, key),
		"NATS_CA="+withMark(t, ours.file), "NATS_CERT="+withMark(t, cert), "NATS_KEY="+withMark(t, key), "BRIDGE_THRESHOLDS="+mark+rules, "BPCC_SUBSCRIPTION="+mark+subscription)
	if c, _, err := bridge.ParseConfig(environ, bridge.ForBridge); err != nil || len(c.Rules) != 1 || len(c.Subscription) != 1 {
		t.Errorf("certificates and variables with a mark: %v", err)
	}
	if all, err := parseTenants(t, mark+`[{"url":"https://acme.example.com"}]`, right[1:]...); err != nil || len(all) != 1 {
		t.Errorf("tenants: %v", err)
	}
	if _, err := parseTenants(t, utf16("[{}]", false), right...); err == nil || !strings.Contains(err.Error(), "BRIDGE_TENANTS_FILE") || !errors.Is(err, bridge.ErrUTF16) {
		t.Errorf("tenants in UTF-16: %v", err)
	}
}

// TestRecordingWithByteOrderMark opens recordings that a program has copied with a mark, or in UTF-16.
func TestRecordingWithByteOrderMark(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"plain": mark + "{}\n", "compressed": string(compressed(t, mark+"{}\n"))} {
		// It gets as far as the fields of the first line.
		if _, err := bridge.OpenRecording(name, strings.NewReader(content)); err == nil || !strings.Contains(err.Error(), "format is not") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, content := range [][]byte{[]byte(utf16("{}\n", false)), compressed(t, utf16("{}\n", true))} {
		if _, err := bridge.OpenRecording("x", bytes.NewReader(content)); !errors.Is(err, bridge.ErrRecording) || !errors.Is(err, bridge.ErrUTF16) {
			t.Errorf("UTF-16: %v", err)
		}
	}
}

// compressed is a text as a recorder compresses it.
func compressed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
