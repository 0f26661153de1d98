package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"bpcc-nats/bpcc"
)

const (
	authOAuth = "oauth"
	// AuthCookie is the login of releases before 5.5.5.
	AuthCookie = "cookie"
	// NoServices in BPCC_SERVICES disables availability checks.
	NoServices = "none"
	// defaultMaxRequests is the default of BPCC_MAX_REQUESTS, mostMaxRequests its maximum.
	defaultMaxRequests = 50
	mostMaxRequests    = 1000
	// minUnknownAfter is the least default of BPCC_AVAILABILITY_UNKNOWN_AFTER.
	minUnknownAfter = 5 * time.Second
)

// BPCC is how the bridge connects to a tenant, and what it polls.
type BPCC struct {
	URL      string `env:"BPCC_URL"`
	ClientID string `env:"BPCC_CLIENT_ID"`
	// ClientSecret is the API secret key generated for the user ClientID.
	ClientSecret Secret `env:"BPCC_CLIENT_SECRET"`
	// Auth is "oauth" or, for releases before 5.5.5, "cookie".
	Auth     string `env:"BPCC_AUTH" envDefault:"oauth"`
	Username string `env:"BPCC_USERNAME"`
	Password Secret `env:"BPCC_PASSWORD"`
	// Scope is the token scope and tenantUrl; empty means the URL's host.
	Scope        string        `env:"BPCC_SCOPE"`
	PollInterval time.Duration `env:"BPCC_POLL_INTERVAL" envDefault:"2s" min:"100ms" max:"10m"`
	Timeout      time.Duration `env:"BPCC_TIMEOUT" envDefault:"10s" min:"100ms" max:"5m"`
	// MaxRequests bounds the requests a second to the tenant; 0 is the default.
	MaxRequests      int    `env:"BPCC_MAX_REQUESTS" envDefault:"50"`
	SubscriptionFile string `env:"BPCC_SUBSCRIPTION_FILE"`
	// SubscriptionBody is the content of such a file.
	SubscriptionBody     string        `env:"BPCC_SUBSCRIPTION"`
	Services             List          `env:"BPCC_SERVICES"`
	AvailabilityInterval time.Duration `env:"BPCC_AVAILABILITY_INTERVAL" envDefault:"2s" min:"100ms" max:"1h"`
	// AvailabilityDebounce is how long a changed availability must last until it is published.
	AvailabilityDebounce time.Duration `env:"BPCC_AVAILABILITY_DEBOUNCE" envDefault:"0s" min:"0s" max:"1h"`
	// AvailabilityUnknownAfter is how old the last good check of a service must be until its
	// availability is published as unknown; 0 is three intervals, at least 5 s.
	AvailabilityUnknownAfter time.Duration `env:"BPCC_AVAILABILITY_UNKNOWN_AFTER" min:"1s" max:"24h" zero:"three availability intervals, at least 5s"`
	// DirectoryInterval is the interval at which teams, services, agents and dispositions are
	// listed; 0 disables directory events.
	DirectoryInterval time.Duration `env:"BPCC_DIRECTORY_INTERVAL" envDefault:"5m" min:"100ms" max:"24h" zero:"off"`
	CAFile            string        `env:"BPCC_CA_FILE"`
	// Cert and Key are files with the client certificate for BPCC.
	Cert string `env:"BPCC_CERT"`
	Key  string `env:"BPCC_KEY"`
	// AllowHTTP allows an http URL of another machine.
	AllowHTTP bool `env:"BPCC_ALLOW_HTTP"`

	// The rest is derived from the fields above.

	// Subscription is the parsed SubscriptionFile, or the built-in one.
	Subscription bpcc.Subscription
	// RootCAs are the trusted roots for BPCC; nil means the system's.
	RootCAs *x509.CertPool

	files secretFiles
	proxy *url.URL // for requests to BPCC; nil = none
}

// check checks what a source needs.
func (c *BPCC) check(fault faultFunc) {
	if c.URL == "" {
		fault("BPCC_URL", "not set; give the tenant's address, such as https://acme.brightpattern.com")
	} else if _, err := parseAddress(c.URL); err != nil {
		fault("BPCC_URL", "%v", err)
	}
	switch c.Auth {
	case authOAuth:
		if c.ClientID == "" {
			fault("BPCC_CLIENT_ID", "not set; give the username of the API user")
		}
		if c.ClientSecret == "" {
			fault("BPCC_CLIENT_SECRET", "not set; generate the API secret key on that user's page, and set it here or by BPCC_CLIENT_SECRET_FILE")
		}
	case AuthCookie:
		if c.Username == "" {
			fault("BPCC_USERNAME", "not set; BPCC_AUTH=cookie needs it")
		}
		if c.Password == "" {
			fault("BPCC_PASSWORD", "not set; BPCC_AUTH=cookie needs it, here or by BPCC_PASSWORD_FILE")
		}
	default:
		fault("BPCC_AUTH", "%q is neither oauth nor cookie", c.Auth)
	}
	c.checkRates(fault)
	c.checkSubscription(fault)
}

// checkRates checks the settings that bound one another.
func (c *BPCC) checkRates(fault faultFunc) {
	if c.MaxRequests == 0 {
		c.MaxRequests = defaultMaxRequests
	}
	switch perSecond := float64(time.Second) / float64(max(c.PollInterval, 1)); {
	case c.MaxRequests < 1 || c.MaxRequests > mostMaxRequests:
		fault("BPCC_MAX_REQUESTS", "%d is not between 1 and %d", c.MaxRequests, mostMaxRequests)
	case 2*perSecond > float64(c.MaxRequests) && c.PollInterval >= 100*time.Millisecond:
		fault("BPCC_MAX_REQUESTS", "%d is too few for polls every %v (BPCC_POLL_INTERVAL): these may take half of the requests at most", c.MaxRequests, c.PollInterval)
	}
	if d := c.AvailabilityUnknownAfter; d > 0 && d < 2*c.AvailabilityInterval {
		fault("BPCC_AVAILABILITY_UNKNOWN_AFTER", "%v is below two intervals of the checks (BPCC_AVAILABILITY_INTERVAL is %v)", d, c.AvailabilityInterval)
	}
}

// subscriptionSource is where a tenant's subscription comes from.
type subscriptionSource struct{ file, body string }

// shareSubscription takes the subscription of an earlier tenant that has the same, so that a thousand tenants
// keep one.
func (c *BPCC) shareSubscription(known map[subscriptionSource]bpcc.Subscription) {
	source := subscriptionSource{c.SubscriptionFile, c.SubscriptionBody}
	if sub, ok := known[source]; ok {
		c.Subscription = sub
		return
	}
	known[source] = c.Subscription
}

// checkSubscription parses the subscription.
func (c *BPCC) checkSubscription(fault faultFunc) {
	var err error
	c.Subscription = BuiltinSubscription()
	switch {
	case c.SubscriptionFile != "" && c.SubscriptionBody != "":
		fault("BPCC_SUBSCRIPTION", "set twice, here and by BPCC_SUBSCRIPTION_FILE; keep one")
	case c.SubscriptionFile != "":
		var body []byte
		if body, err = ReadFile(c.SubscriptionFile); err == nil {
			c.Subscription, err = bpcc.ParseSubscription(body)
		}
		if err != nil {
			fault("BPCC_SUBSCRIPTION_FILE", "%s: %v", c.SubscriptionFile, err)
		}
	case c.SubscriptionBody != "":
		if c.Subscription, err = bpcc.ParseSubscription([]byte(c.SubscriptionBody)); err != nil {
			fault("BPCC_SUBSCRIPTION", "%v", err)
		}
	}
}

// checkServices checks the list of services.
func (c *BPCC) checkServices(fault faultFunc) {
	switch {
	case slices.Contains(c.Services, ""):
		fault("BPCC_SERVICES", "a name in the list is empty")
	case c.Services != nil && len(c.Services) == 0:
		fault("BPCC_SERVICES", "the list is empty; leave the variable unset to check all services, or set it to %s to check none", NoServices)
	}
}

// checkTLS checks the TLS settings of the connection to BPCC.
func (c *BPCC) checkTLS(fault faultFunc) (warnings []string) {
	if u, err := url.Parse(c.URL); err == nil && u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		if c.AllowHTTP {
			warnings = append(warnings, "BPCC_URL is http: the secret and all data can be read and changed on the network")
		} else {
			fault("BPCC_URL", "plain http exposes the secret and all data on the network; use https, or set BPCC_ALLOW_HTTP=true if that is what you want")
		}
	}
	if c.CAFile != "" {
		var err error
		if c.RootCAs, err = readCA(c.CAFile); err != nil {
			fault("BPCC_CA_FILE", "%v", err)
		}
	}
	checkKeyPair(fault, "BPCC_CERT", c.Cert, "BPCC_KEY", c.Key)
	return warnings
}

// errProxy is returned for a proxy's address that cannot be used. It does not hold the address,
// which may hold a password.
var errProxy = errors.New("not an address of the form http://host:port; also https, socks5 and socks5h, and user:password@ before the host, " +
	"percent-encoded (the value is not shown, because it may hold a password)")

// checkProxy finds the proxy for requests to BPCC, by the variables that other programs read too.
// What cannot be used as a proxy is a fault: without one, requests would go past the proxy.
func (c *BPCC) checkProxy(vars map[string]string, fault faultFunc) {
	u, err := parseAddress(c.URL)
	if err != nil {
		return
	}
	name := firstSet(vars, strings.ToUpper(u.Scheme)+"_PROXY", u.Scheme+"_proxy", "ALL_PROXY", "all_proxy")
	const anyProxy = "http://proxy.invalid"
	exceptions := httpproxy.Config{HTTPProxy: anyProxy, HTTPSProxy: anyProxy, NoProxy: vars[firstSet(vars, "NO_PROXY", "no_proxy")]}
	if proxy, err := exceptions.ProxyFunc()(u); name == "" || proxy == nil || err != nil {
		return // not for this address
	}
	if c.proxy, err = parseProxy(vars[name]); err != nil {
		fault(name, "%v", err)
	}
}

// firstSet returns the first of the variables that is not empty; "" if all are.
func firstSet(vars map[string]string, names ...string) string {
	i := slices.IndexFunc(names, func(name string) bool { return vars[name] != "" })
	if i < 0 {
		return ""
	}
	return names[i]
}

// parseProxy parses the address of a proxy. Without a scheme it is that of an HTTP proxy.
func parseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) ||
		u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, "?#") || strings.ContainsAny(u.Host, " \t\\") {
		return nil, errProxy
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errProxy
		}
	}
	return u, nil
}

// AvailabilityDisabled reports whether no availability is checked.
func (c *BPCC) AvailabilityDisabled() bool {
	return len(c.Services) == 1 && c.Services[0] == NoServices
}

// UnknownAfter is how old the last good check of a service may be where the services are checked at
// an interval.
func (c *BPCC) UnknownAfter(interval time.Duration) time.Duration {
	if c.AvailabilityUnknownAfter > 0 {
		return max(c.AvailabilityUnknownAfter, 2*interval)
	}
	return max(3*interval, minUnknownAfter)
}

// CheckInterval is the interval at which so many services are checked: the configured one, or what
// BPCC_MAX_REQUESTS leaves beside the polls, less a tenth for logins and directories.
func (c *BPCC) CheckInterval(services int) time.Duration {
	left := 0.9*float64(c.MaxRequests) - float64(time.Second)/float64(c.PollInterval)
	if left <= 0 {
		return c.AvailabilityInterval // a test polls more often than a configuration may
	}
	needed := time.Duration(float64(services) / left * float64(time.Second))
	if needed <= c.AvailabilityInterval {
		return c.AvailabilityInterval
	}
	return needed.Truncate(time.Millisecond) + time.Millisecond
}

// CloudEventSource is the CloudEvents source: the API at the tenant's address.
func (c *BPCC) CloudEventSource() string {
	u, err := parseAddress(c.URL)
	if err != nil { // not checked, such as the source of a recording
		return strings.TrimRight(c.URL, "/") + "/statsapi"
	}
	return u.Scheme + "://" + canonicalAddress(u) + "/statsapi"
}

// apiUser identifies a user of the API. BPCC keeps one subscription for each.
type apiUser struct{ address, name string }

// User returns the name that the bridge logs in with.
func (c *BPCC) User() string {
	if c.Auth == AuthCookie {
		return c.Username
	}
	return c.ClientID
}

// apiUser returns the user that the bridge logs in as. A client id is a username, so both logins
// of one name are one user.
func (c *BPCC) apiUser() apiUser {
	user := apiUser{name: c.User()}
	if u, err := parseAddress(c.URL); err == nil {
		user.address = canonicalAddress(u)
	}
	return user
}

// effectiveScope returns the tenant that a login names, in one form however it is written.
func (c *BPCC) effectiveScope() string {
	host := ""
	if u, err := parseAddress(c.URL); err == nil {
		host = u.Hostname()
	}
	return canonicalHost(cmp.Or(c.Scope, host))
}

// Client returns the API client of the configuration.
func (c *BPCC) Client(log *slog.Logger) (*bpcc.Client, error) {
	secret := c.files.current("BPCC_CLIENT_SECRET", c.ClientSecret, log)
	if c.Auth == AuthCookie {
		secret = c.files.current("BPCC_PASSWORD", c.Password, log)
	}
	return bpcc.New(bpcc.Config{
		URL: c.URL, ClientID: c.ClientID, Username: c.Username, Scope: c.Scope, Secret: secret,
		Timeout: c.Timeout, CheckTimeout: c.UnknownAfter(c.AvailabilityInterval) / 2, Governor: bpcc.NewGovernor(c.MaxRequests),
		RootCAs: c.RootCAs, Certificate: CurrentCertificate("BPCC_CERT", c.Cert, c.Key, log),
		Proxy: http.ProxyURL(c.proxy),
	})
}
