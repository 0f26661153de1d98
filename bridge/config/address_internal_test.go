package config

import (
	"errors"
	"strings"
	"testing"
)

// TestTenantOfURL: a host has one tenant and one CloudEvents source, however it is written.
func TestTenantOfURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, tenant, source string }{
		{"https://acme.brightpattern.com", "acme", "https://acme.brightpattern.com/statsapi"},
		{"https://ACME.brightpattern.com", "acme", "https://acme.brightpattern.com/statsapi"},
		{"HTTPS://Acme.BrightPattern.com/", "acme", "https://acme.brightpattern.com/statsapi"},
		{"https://ACME.brightpattern.com.:443/", "acme", "https://acme.brightpattern.com/statsapi"},
		{"https://Acme.example.com:8443/Base%2FPath/", "acme", "https://acme.example.com:8443/Base%2FPath/statsapi"},
		{"https://Acme", "acme", "https://acme/statsapi"},
		{"http://LOCALHOST.:80", "localhost", "http://localhost/statsapi"},
		{"https://Bücher.example.com", "xn--bcher-kva", "https://xn--bcher-kva.example.com/statsapi"},
		{"https://XN--BCHER-KVA.example.com", "xn--bcher-kva", "https://xn--bcher-kva.example.com/statsapi"},
		{"https://b%C3%BCcher.example.com", "xn--bcher-kva", "https://xn--bcher-kva.example.com/statsapi"},
		{"http://127.0.0.1:8090", "127.0.0.1", "http://127.0.0.1:8090/statsapi"},
		{"http://127.0.0.1.:8090", "127.0.0.1", "http://127.0.0.1:8090/statsapi"},
		{"https://[2001:DB8::0:1]", "2001:db8::1", "https://[2001:db8::1]/statsapi"},
		{"http://[::1]:8090", "::1", "http://[::1]:8090/statsapi"},
	} {
		c, _, err := Parse([]string{"BPCC_URL=" + test.url, "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "BPCC_ALLOW_HTTP=true"}, ForBridge)
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		if c.Tenant != test.tenant || c.BPCC.CloudEventSource() != test.source {
			t.Errorf("%s: tenant %q, source %s; want %q, %s", test.url, c.Tenant, c.BPCC.CloudEventSource(), test.tenant, test.source)
		}
	}
	c, _, err := Parse([]string{"BPCC_URL=https://acme.brightpattern.com", "BRIDGE_TENANT=ACME", "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}, ForBridge)
	if err != nil || c.Tenant != "ACME" {
		t.Errorf("a tenant that is set: %+v, error %v", c, err)
	}
}

// TestURLFaults: what is not the address of a tenant is refused, and no password of it is shown.
func TestURLFaults(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"acme.brightpattern.com", "ftp://acme", "https://", "https://:443", "https://.brightpattern.com", "https://.", "https:acme", "//acme",
		"https://john:hunter2@acme", "https://@acme", "https://john:hunter2%zz@acme", "https://acme?x=hunter2", "https://acme?", "https://acme#hunter2",
		"https://\u0301a.example.com", " https://acme", "https://ac me", "https://acme:port",
	} {
		_, _, err := Parse([]string{"BPCC_URL=" + address, "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b"}, ForBridge)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "BPCC_URL: not an address of the form https://host") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestProxy: a proxy is used where its variable says, and an address that is none is a fault rather
// than a request that goes past the proxy.
func TestProxy(t *testing.T) {
	t.Parallel()
	const acme = "https://acme.brightpattern.com"
	for name, test := range map[string]struct {
		url, env string // env is separated by spaces
		want     string // the proxy, or the variable with a fault
	}{
		"none":                {acme, "", ""},
		"https":               {acme, "HTTPS_PROXY=http://proxy:3128", "http://proxy:3128"},
		"lower case":          {acme, "https_proxy=http://proxy:3128", "http://proxy:3128"},
		"upper case first":    {acme, "https_proxy=http://b HTTPS_PROXY=http://a", "http://a"},
		"without a scheme":    {acme, "HTTPS_PROXY=proxy.example.com:3128", "http://proxy.example.com:3128"},
		"a name alone":        {acme, "HTTPS_PROXY=proxy", "http://proxy"},
		"a slash":             {acme, "HTTPS_PROXY=http://proxy:3128/", "http://proxy:3128/"},
		"a password":          {acme, "HTTPS_PROXY=http://john:p%40ss@proxy:3128", "http://john:p%40ss@proxy:3128"},
		"password, no scheme": {acme, "HTTPS_PROXY=john:pass@proxy:3128", "http://john:pass@proxy:3128"},
		"SOCKS":               {acme, "ALL_PROXY=socks5://proxy:1080", "socks5://proxy:1080"},
		"all, lower case":     {acme, "all_proxy=socks5h://proxy:1080", "socks5h://proxy:1080"},
		"https before all":    {acme, "ALL_PROXY=http://b HTTPS_PROXY=http://a", "http://a"},
		"of the other scheme": {acme, "HTTP_PROXY=http//:broken", ""},
		"http":                {"http://acme.brightpattern.com", "HTTP_PROXY=http://proxy:3128 HTTPS_PROXY=:broken", "http://proxy:3128"},
		"empty":               {acme, "HTTPS_PROXY= https_proxy= ALL_PROXY=", ""},
		"no proxy":            {acme, "HTTPS_PROXY=http//:broken NO_PROXY=.brightpattern.com", ""},
		"no proxy at all":     {acme, "HTTPS_PROXY=http//:broken no_proxy=*", ""},
		"no proxy elsewhere":  {acme, "HTTPS_PROXY=http//:broken NO_PROXY=example.com", "HTTPS_PROXY"},
		"this machine":        {"http://127.0.0.1:8090", "HTTP_PROXY=http//:broken", ""},

		"a slash missing":     {acme, "HTTPS_PROXY=http:/hunter2:3128", "HTTPS_PROXY"},
		"a colon missing":     {acme, "HTTPS_PROXY=http//hunter2:3128", "HTTPS_PROXY"},
		"a scheme misspelled": {acme, "HTTPS_PROXY=htp://hunter2:3128", "HTTPS_PROXY"},
		"no host":             {acme, "HTTPS_PROXY=http://:3128", "HTTPS_PROXY"},
		"a port in words":     {acme, "https_proxy=http://proxy:hunter2", "https_proxy"},
		"a port too large":    {acme, "HTTPS_PROXY=http://proxy:99999", "HTTPS_PROXY"},
		"a bad escape":        {acme, "HTTPS_PROXY=http://john:hunter2%zz@proxy:3128", "HTTPS_PROXY"},
		"an open bracket":     {acme, "HTTPS_PROXY=http://[::1", "HTTPS_PROXY"},
		"a hash in it":        {acme, "HTTPS_PROXY=http://john:hunter2#x@proxy:3128", "HTTPS_PROXY"},
		"a tab":               {acme, "HTTPS_PROXY=\thttp://proxy:3128", "HTTPS_PROXY"},
		"a path":              {acme, "HTTPS_PROXY=http://proxy:3128/hunter2", "HTTPS_PROXY"},
		"all":                 {acme, "ALL_PROXY=http//:hunter2", "ALL_PROXY"},
		"for http":            {"http://acme.brightpattern.com", "http_proxy=http//:hunter2", "http_proxy"},
	} {
		environ := append([]string{"BPCC_URL=" + test.url, "BPCC_CLIENT_ID=a", "BPCC_CLIENT_SECRET=b", "BPCC_ALLOW_HTTP=true"}, strings.Split(test.env, " ")...)
		c, _, err := Parse(environ, ForSource)
		if strings.HasSuffix(strings.ToUpper(test.want), "_PROXY") {
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want+": not an address of the form http://host:port") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		if c.BPCC.proxy != nil {
			got = c.BPCC.proxy.String()
		}
		if got != test.want {
			t.Errorf("%s: the proxy is %q, want %q", name, got, test.want)
		}
	}
}
