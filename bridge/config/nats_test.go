package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/bridge/config"
)

// TestNATSNames gives variables of NATS that are unknown, contradictory or without a server: whoever
// names a server in words of other programs must not get the embedded one without a word.
func TestNATSNames(t *testing.T) {
	t.Parallel()
	const server = "NATS_URL=nats://127.0.0.1:4222"
	tests := map[string]struct {
		env   []string
		fault string // in the error; "" = none
		warn  string // in a warning; "" = no warning
	}{
		"nothing":                 {nil, "", ""},
		"empty":                   {[]string{"NATS_CREDS=", "NATS_URL="}, "", ""},
		"switched off":            {[]string{"NATS_TLS_FIRST=false"}, "", ""},
		"credentials alone":       {[]string{"NATS_USER=bridge", "NATS_PASSWORD=x"}, "NATS_URL: not set, but NATS_PASSWORD is, NATS_USER is; name the server in NATS_URL", ""},
		"a token alone":           {[]string{"NATS_TOKEN=x"}, "NATS_URL: not set, but NATS_TOKEN is", ""},
		"an authority alone":      {[]string{"NATS_TLS_FIRST=true"}, "NATS_URL: not set, but NATS_TLS_FIRST is", ""},
		"a domain alone":          {[]string{"NATS_JS_DOMAIN=hub"}, "NATS_URL: not set, but NATS_JS_DOMAIN is", ""},
		"server":                  {[]string{"NATS_SERVER=nats://x:4222"}, "NATS_SERVER is, which is unknown (NATS_URL?)", ""},
		"servers":                 {[]string{"NATS_SERVERS=nats://x:4222"}, "NATS_SERVERS is, which is unknown (NATS_URL?)", ""},
		"host":                    {[]string{"NATS_HOST=x"}, "NATS_HOST is, which is unknown (NATS_URL?)", ""},
		"urls":                    {[]string{"NATS_URLS=x"}, "NATS_URLS is, which is unknown (NATS_URL?)", ""},
		"user name":               {[]string{"NATS_USERNAME=x"}, "NATS_USERNAME is, which is unknown (NATS_USER?)", ""},
		"pass":                    {[]string{"NATS_PASS=x"}, "NATS_PASS is, which is unknown (NATS_PASSWORD?)", ""},
		"creds file":              {[]string{"NATS_CREDS_FILE=x"}, "NATS_CREDS_FILE is, which is unknown (NATS_CREDS?)", ""},
		"CA file":                 {[]string{"NATS_CA_FILE=x"}, "NATS_CA_FILE is, which is unknown (NATS_CA?)", ""},
		"of the nats CLI":         {[]string{"NATS_TIMEOUT=5s"}, "", "unknown variable NATS_TIMEOUT"},
		"unknown beside a server": {[]string{server, "NATS_CREDS_FILE=x"}, "", "unknown variable NATS_CREDS_FILE; the closest known variable is NATS_CREDS"},
		"links of Kubernetes":     {[]string{"NATS_SERVICE_HOST=10.0.0.1", "NATS_SERVICE_PORT_CLIENT=4222", "NATS_PORT=tcp://10.0.0.1:4222", "NATS_PORT_4222_TCP_ADDR=10.0.0.1"}, "", ""},
		"domain and prefix":       {[]string{server, "NATS_JS_DOMAIN=hub", "NATS_JS_API_PREFIX=ACME.API"}, "NATS_JS_DOMAIN: set, and NATS_JS_API_PREFIX too", ""},
		"a domain of two tokens":  {[]string{server, "NATS_JS_DOMAIN=a.b"}, `NATS_JS_DOMAIN: "a.b" is not a domain`, ""},
		"password to this host":   {[]string{server, "NATS_USER=a", "NATS_PASSWORD=hunter2"}, "", ""},
		"password to another":     {[]string{"NATS_URL=nats://127.0.0.1:4222,nats.acme.com", "NATS_USER=a", "NATS_PASSWORD=hunter2"}, "", "the password for NATS goes to nats.acme.com without encryption"},
		"password in the URL":     {[]string{"NATS_URL=nats://a:hunter2@nats.acme.com"}, "", "the password for NATS goes to nats.acme.com without encryption"},
		"token to another":        {[]string{"NATS_URL=nats.acme.com", "NATS_TOKEN=hunter2"}, "", "the token for NATS goes to nats.acme.com without encryption"},
		"token in the URL":        {[]string{"NATS_URL=nats://hunter2@nats.acme.com"}, "", "the token for NATS goes to nats.acme.com without encryption"},
		"password by TLS":         {[]string{"NATS_URL=tls://nats.acme.com", "NATS_USER=a", "NATS_PASSWORD=hunter2"}, "", ""},
		"password, TLS first":     {[]string{"NATS_URL=nats://nats.acme.com", "NATS_TLS_FIRST=true", "NATS_USER=a", "NATS_PASSWORD=hunter2"}, "", ""},
		"no secret":               {[]string{"NATS_URL=nats://nats.acme.com"}, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := config.Parse(test.env, config.ForStream)
			if (err != nil) != (test.fault != "") || err != nil && (!errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("error %v, want %q", err, test.fault)
			}
			has := slices.ContainsFunc(warnings, func(w string) bool { return test.warn != "" && strings.Contains(w, test.warn) })
			if err == nil && (has != (test.warn != "") || len(warnings) > 1 || test.warn == "" && len(warnings) > 0) {
				t.Errorf("warnings %q, want %q alone", warnings, test.warn)
			}
			if strings.Contains(strings.Join(warnings, ""), "hunter2") {
				t.Errorf("a secret shows: %q", warnings)
			}
		})
	}
}
