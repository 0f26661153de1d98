package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/config"
)

// parseTenantsFile parses a file of tenants on top of an environment.
func parseTenantsFile(t *testing.T, file string, environ ...string) (all []*config.Config, warnings []string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tenants.json")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.ParseAll(append(environ, "BRIDGE_TENANTS_FILE="+path), config.ForBridge)
}

// parseTenants is parseTenantsFile for a file that warrants no warnings.
func parseTenants(t *testing.T, file string, environ ...string) ([]*config.Config, error) {
	t.Helper()
	all, warnings, err := parseTenantsFile(t, file, environ...)
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	return all, err
}

// TestTenantsFile reads two tenants: what one does not say is the environment's,
// and a secret of its own takes the place of the process's, in whatever form.
func TestTenantsFile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of-globex\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := parseTenants(t, `[
		{"url": "https://acme.brightpattern.com", "poll_interval": "1s", "services": ["Voice", "Sales, EU"],
		 "thresholds": [{"name": "backlog", "kind": "service", "stat": "in_calls_waiting", "raise": {"op": ">", "value": 5}}]},
		{"BPCC_URL": "https://globex.example.com", "tenant": "Globex", "client_id": "other", "client_secret_file": "`+secret+`",
		 "disappear_after": 3,
		 "subscription": {"mine": {"agent_grids": [{"id": "a", "columns": [
		    {"id": "1", "stat_name": "login_id"}, {"id": "2", "stat_name": "acd_state"}]}]}}}
	]`, "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=of-the-process", "BRIDGE_RETENTION=24h")
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Tenant, URL, ClientID, Secret, Poll, Retention string
		Services                                       []string
		Rules, DisappearAfter                          int
	}
	var got []seen
	for _, c := range all {
		got = append(got, seen{c.Tenant, c.BPCC.URL, c.BPCC.ClientID, string(c.BPCC.ClientSecret), c.BPCC.PollInterval.String(), c.Stream.Retention.String(),
			c.BPCC.Services, len(c.Events.Rules), c.Events.DisappearAfter})
	}
	want := []seen{
		{"acme", "https://acme.brightpattern.com", "api", "of-the-process", "1s", "24h0m0s", []string{"Voice", "Sales, EU"}, 1, 2},
		{"Globex", "https://globex.example.com", "other", "of-globex", "2s", "24h0m0s", nil, 0, 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tenants (-want +got)\n%s", diff)
	}
}

func TestTenantsFileFaults(t *testing.T) {
	const good = `{"url": "https://acme.brightpattern.com"}`
	tests := map[string]struct {
		file string
		want []string
	}{
		"not JSON":           {"[\n{\"url\": }]", []string{"line 2", "JSON array"}},
		"no array":           {good, []string{"JSON array with an object for each tenant"}},
		"no tenant":          {"[]", []string{"contains no tenant"}},
		"unknown setting":    {`[{"url": "https://a.example.com", "poll_intervall": "1s"}]`, []string{"tenant 1", `"poll_intervall"`, "BPCC_POLL_INTERVAL"}},
		"of the process":     {`[{"url": "https://a.example.com", "retention": "1h"}]`, []string{"BRIDGE_RETENTION belongs to the process"}},
		"two of one name":    {"[" + good + "," + good + "]", []string{"tenant 2", `duplicate name "acme", first in tenant 1`}},
		"faults of each":     {`[{"url": "ftp://a"}, {"tenant": "b"}]`, []string{"tenant 1 (ftp://a)", "BPCC_URL: not an address", "tenant 2 (b)", "BPCC_URL: not set"}},
		"a null":             {`[{"url": "https://a.example.com", "tenant": null}]`, []string{"tenant: value is null"}},
		"an empty list":      {`[{"url": "https://a.example.com", "services": []}]`, []string{"BPCC_SERVICES: the list is empty", "none"}},
		"a name of NATS":     {`[{"url": "https://a.example.com", "nats_urls": "x"}]`, []string{"\"nats_urls\" is not a setting of a tenant; the closest one is \"BPCC_URL\""}},
		"nothing like it":    {`[{"url": "https://a.example.com", "colour": "x"}]`, []string{"\"colour\" is not a setting of a tenant"}},
		"a setting and more": {`[{"poll_intervall": "1s", "url": "ftp://a"}]`, []string{`"poll_intervall" is not a setting`, "BPCC_URL: not an address"}},
		"a number in a list": {`[{"url": "https://a.example.com", "services": ["a", 1]}]`, []string{"BPCC_SERVICES: want strings in the JSON array, found number"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseTenants(t, test.file, "BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=s")
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

// TestSharedAPIUser: BPCC keeps one subscription for a user, so two tenants of a file cannot share
// one, however the address and the login are written.
func TestSharedAPIUser(t *testing.T) {
	t.Parallel()
	const first = `{"url": "https://acme.brightpattern.com", "tenant": "first", "client_id": "stats", "client_secret": "a"}`
	tests := map[string]struct {
		second         string
		fault, warning bool
	}{
		"same":             {`{"url": "https://acme.brightpattern.com", "client_id": "stats"}`, true, false},
		"another secret":   {`{"url": "https://acme.brightpattern.com", "client_id": "stats", "client_secret": "b"}`, true, false},
		"case of the host": {`{"url": "https://ACME.BrightPattern.com", "client_id": "stats"}`, true, false},
		"port":             {`{"url": "https://acme.brightpattern.com:443", "client_id": "stats"}`, true, false},
		"slash and dot":    {`{"url": "https://acme.brightpattern.com./", "client_id": "stats"}`, true, false},
		"http":             {`{"url": "http://acme.brightpattern.com", "allow_http": true, "client_id": "stats"}`, true, true},
		"cookie":           {`{"url": "https://acme.brightpattern.com", "auth": "cookie", "username": "stats", "password": "p"}`, true, false},
		"the same scope":   {`{"url": "https://acme.brightpattern.com", "client_id": "stats", "scope": "Acme.brightpattern.com"}`, true, false},
		"another scope":    {`{"url": "https://acme.brightpattern.com", "client_id": "stats", "scope": "acme"}`, false, true},
		"another user":     {`{"url": "https://acme.brightpattern.com", "client_id": "stats2"}`, false, false},
		"another host":     {`{"url": "https://globex.brightpattern.com", "client_id": "stats"}`, false, false},
		"another port":     {`{"url": "https://acme.brightpattern.com:8443", "client_id": "stats"}`, false, false},
		"another path":     {`{"url": "https://acme.brightpattern.com/globex", "client_id": "stats"}`, false, false},
		"unused client id": {`{"url": "https://acme.brightpattern.com", "client_id": "stats", "auth": "cookie", "username": "u", "password": "p"}`, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			second := strings.Replace(test.second, "{", `{"tenant": "second", `, 1)
			_, warnings, err := parseTenantsFile(t, "["+first+","+second+"]", "BPCC_CLIENT_SECRET=s")
			if (err != nil) != test.fault || (len(warnings) > 0) != test.warning {
				t.Fatalf("error %v, warnings %v", err, warnings)
			}
			text := strings.Join(warnings, "\n")
			if test.fault {
				text = err.Error()
			}
			for _, want := range []string{"tenant 2 (second)", `same API user "stats" at acme.brightpattern.com as tenant 1 (first)`, "one subscription"} {
				if (test.fault || test.warning) && !strings.Contains(text, want) {
					t.Errorf("no %q in: %s", want, text)
				}
			}
		})
	}
}

// TestFaultsOfTheProcess: a fault of a variable of the process is listed once, not for each tenant.
func TestFaultsOfTheProcess(t *testing.T) {
	t.Parallel()
	_, err := parseTenants(t, `[{"url": "https://a.example.com"}, {"url": "https://b.example.com", "poll_interval": "5"}, {"url": "https://c.example.com", "client_id": ""}]`,
		"BPCC_CLIENT_ID=api", "BPCC_CLIENT_SECRET=s", "BRIDGE_REPLICAS=9", "BPCC_POLL_INTERVAL=1ms")
	lines := []string{
		"configuration:",
		"BPCC_POLL_INTERVAL: 1ms is not between 100ms and 10m; the default is 2s",
		"BRIDGE_REPLICAS: 9 is not between 1 and 5",
		`tenant 2 (https://b.example.com): BPCC_POLL_INTERVAL: "5": want a duration with its unit, such as 2s`,
		"tenant 3 (https://c.example.com): BPCC_CLIENT_ID: not set; give the username of the API user",
	}
	if !errors.Is(err, config.ErrInvalid) {
		t.Fatal(err)
	}
	for _, line := range lines {
		if n := strings.Count(err.Error(), line); n != 1 {
			t.Errorf("%d times %q in\n%v", n, line, err)
		}
	}
}
