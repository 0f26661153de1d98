package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/bridgetest"
)

func TestTLSErrors(t *testing.T) {
	t.Parallel()
	ours := bridgetest.NewCA(t)
	cert, key := ours.IssueCert("bridge")
	otherCert, _ := ours.IssueCert("other")
	empty := filepath.Join(t.TempDir(), "empty")
	bridgetest.ReplaceFile(t, empty, "\n")
	const local = "http://127.0.0.1:8090"
	tests := map[string]struct {
		env      []string // on top of what is right
		want     string   // in the fault; "" = there is none
		wantWarn string
	}{
		"http to this machine":          {env: []string{"BPCC_URL=" + local}},
		"http to localhost":             {env: []string{"BPCC_URL=http://LocalHost:8090"}},
		"http to this machine, v6":      {env: []string{"BPCC_URL=http://[::1]:8090"}},
		"http to elsewhere":             {env: []string{"BPCC_URL=http://acme.example.com"}, want: "BPCC_ALLOW_HTTP"},
		"http to a misleading name":     {env: []string{"BPCC_URL=http://localhost.example.com"}, want: "BPCC_ALLOW_HTTP"},
		"http to elsewhere, knowingly":  {env: []string{"BPCC_URL=http://acme.example.com", "BPCC_ALLOW_HTTP=true"}, wantWarn: "BPCC_URL is http"},
		"https, http allowed":           {env: []string{"BPCC_ALLOW_HTTP=true"}},
		"allowing what is neither":      {env: []string{"BPCC_ALLOW_HTTP=perhaps"}, want: "BPCC_ALLOW_HTTP: "},
		"certificate":                   {env: []string{"BPCC_CERT=" + cert, "BPCC_KEY=" + key}},
		"certificate without a key":     {env: []string{"BPCC_CERT=" + cert}, want: "BPCC_CERT and BPCC_KEY must be set together"},
		"key of another":                {env: []string{"BPCC_CERT=" + otherCert, "BPCC_KEY=" + key}, want: "BPCC_CERT: "},
		"no authority":                  {env: []string{"BPCC_CA_FILE=" + key}, want: "BPCC_CA_FILE: no PEM certificate in " + key},
		"empty secret":                  {env: []string{"BPCC_CLIENT_SECRET=", "BPCC_CLIENT_SECRET_FILE=" + empty}, want: "BPCC_CLIENT_SECRET_FILE: " + empty + ": file is empty"},
		"NATS certificate without key":  {env: []string{"NATS_CERT=" + cert}, want: "NATS_CERT and NATS_KEY must be set together"},
		"NATS key that is none":         {env: []string{"NATS_CERT=" + cert, "NATS_KEY=" + cert}, want: "NATS_CERT: "},
		"NATS authority that is none":   {env: []string{"NATS_CA=" + empty}, want: "NATS_CA: "},
		"NATS credentials not there":    {env: []string{"NATS_CREDS=/does/not/exist"}, want: "NATS_CREDS: "},
		"two NATS keys":                 {env: []string{"NATS_CREDS=" + empty, "NATS_NKEY=" + empty}, want: "NATS_NKEY: set, and NATS_CREDS too"},
		"user and token":                {env: []string{"NATS_USER=a", "NATS_PASSWORD=b", "NATS_TOKEN=c"}, want: "NATS_TOKEN: set, and NATS_USER too"},
		"password of nobody":            {env: []string{"NATS_PASSWORD=b"}, want: "NATS_USER: "},
		"user without a password":       {env: []string{"NATS_USER=b"}, want: "NATS_PASSWORD: "},
		"a password that breaks a URL":  {env: []string{"NATS_URL=nats://anna:hunter2/x@nats.example.com:4222"}, want: "NATS_URL: "},
		"one of two URLs":               {env: []string{"NATS_URL=nats://one.example.com, nats://anna:hunter2/x@two.example.com"}, want: "NATS_URL: "},
		"a list of URLs":                {env: []string{"NATS_URL=nats://one.example.com:4222, two.example.com:4222"}},
		"inbox prefix":                  {env: []string{"NATS_INBOX_PREFIX=_INBOX_bridge.acme"}},
		"inbox prefix with a wildcard":  {env: []string{"NATS_INBOX_PREFIX=_INBOX.>"}, want: "NATS_INBOX_PREFIX: "},
		"inbox prefix with a last dot":  {env: []string{"NATS_INBOX_PREFIX=_INBOX."}, want: "NATS_INBOX_PREFIX: "},
		"probes for all":                {env: []string{"BRIDGE_HTTP=:8080"}, wantWarn: "BRIDGE_HTTP=:8080 can be reached"},
		"probes for all, with a token":  {env: []string{"BRIDGE_HTTP=:8080", "BRIDGE_HTTP_TOKEN=0123456789abcdef"}},
		"probes with a short token":     {env: []string{"BRIDGE_HTTP_TOKEN=0123456789abcde"}, want: "BRIDGE_HTTP_TOKEN: 15 bytes can be found by trial"},
		"probes with an empty token":    {env: []string{"BRIDGE_HTTP_TOKEN_FILE=" + empty}, want: "BRIDGE_HTTP_TOKEN_FILE: " + empty + ": file is empty"},
		"probes, other names":           {env: []string{`BRIDGE_HTTP_HOSTS=bridge.example.com, bridge-a`}},
		"probes, a name with a port":    {env: []string{"BRIDGE_HTTP_HOSTS=bridge-a:8080"}, want: `BRIDGE_HTTP_HOSTS: "bridge-a:8080" is not a host name`},
		"probes, every name":            {env: []string{"BRIDGE_HTTP_HOSTS=*"}, want: `BRIDGE_HTTP_HOSTS: "*" is not a host name`},
		"profiles for this machine":     {env: []string{"BRIDGE_DEBUG_HTTP=localhost:6060"}},
		"profiles for all":              {env: []string{"BRIDGE_DEBUG_HTTP=:6060"}, want: `BRIDGE_DEBUG_HTTP: ":6060" is no loopback address`},
		"profiles for others":           {env: []string{"BRIDGE_DEBUG_HTTP=192.0.2.1:6060"}, want: `BRIDGE_DEBUG_HTTP: "192.0.2.1:6060" is no loopback address`},
		"profiles on no port":           {env: []string{"BRIDGE_DEBUG_HTTP=127.0.0.1"}, want: "BRIDGE_DEBUG_HTTP: address 127.0.0.1: missing port"},
		"probes with TLS":               {env: []string{"BRIDGE_HTTP_TLS_CERT=" + cert, "BRIDGE_HTTP_TLS_KEY=" + key}},
		"probes without the key":        {env: []string{"BRIDGE_HTTP_TLS_CERT=" + cert}, want: "BRIDGE_HTTP_TLS_CERT and BRIDGE_HTTP_TLS_KEY must be set together"},
		"probes with another key":       {env: []string{"BRIDGE_HTTP_TLS_CERT=" + otherCert, "BRIDGE_HTTP_TLS_KEY=" + key}, want: "BRIDGE_HTTP_TLS_CERT: "},
		"probes for this machine":       {env: []string{"BRIDGE_HTTP=localhost:8080"}},
		"embedded server for all":       {env: []string{"NATS_URL=", "BRIDGE_EMBEDDED_LISTEN=0.0.0.0:4222"}, wantWarn: "BRIDGE_EMBEDDED_LISTEN=0.0.0.0:4222 can be reached"},
		"probes without a port":         {env: []string{"BRIDGE_HTTP=8080"}, want: "BRIDGE_HTTP: address 8080: missing port in address; want host:port, such as 127.0.0.1:8080, or off"},
		"probes on no port":             {env: []string{"BRIDGE_HTTP=127.0.0.1:99999"}, want: `BRIDGE_HTTP: port "99999" is not a number from 0 to 65535; want host:port, such as 127.0.0.1:8080, or off`},
		"probes on a word":              {env: []string{"BRIDGE_HTTP=127.0.0.1:http!"}, want: `BRIDGE_HTTP: port "http!" is not a number`},
		"embedded without a port":       {env: []string{"NATS_URL=", "BRIDGE_EMBEDDED_LISTEN=127.0.0.1"}, want: "BRIDGE_EMBEDDED_LISTEN: address 127.0.0.1: missing port in address; want host:port"},
		"embedded on no port":           {env: []string{"NATS_URL=", "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:65536"}, want: `BRIDGE_EMBEDDED_LISTEN: port "65536" is not a number`},
		"embedded on an empty port":     {env: []string{"NATS_URL=", "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:"}, want: `BRIDGE_EMBEDDED_LISTEN: port "" is not a number`},
		"embedded with a scheme":        {env: []string{"NATS_URL=", "BRIDGE_EMBEDDED_LISTEN=nats://127.0.0.1:4222"}, want: "BRIDGE_EMBEDDED_LISTEN: address nats://127.0.0.1:4222: too many colons"},
		"an embedded server not in use": {env: []string{"BRIDGE_EMBEDDED_LISTEN=0.0.0.0:4222"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environ := append([]string{
				"BPCC_URL=https://acme.example.com", "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=a-secret", "NATS_URL=nats://127.0.0.1:4222",
			}, tt.env...)
			_, warnings, err := config.Parse(environ, config.ForBridge)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v; want %q in it", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("the error shows the password: %v", err)
			}
			if got := strings.Join(warnings, "\n"); (got == "") != (tt.wantWarn == "") || !strings.Contains(got, tt.wantWarn) {
				t.Errorf("warnings %q; want %q", got, tt.wantWarn)
			}
		})
	}
}
