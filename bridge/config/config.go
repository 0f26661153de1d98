// Package config reads the configuration from the environment and checks it: all faults at once, each
// with how to correct it. Secrets and certificates in files may be replaced while the bridge runs.
package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
)

// ErrInvalid is returned by [Parse] when the environment has faults; its text names all of
// them, and how to correct each.
var ErrInvalid = errors.New("configuration")

const (
	authOAuth  = "oauth"
	AuthCookie = "cookie"
	// minPseudonymKeyLen is the minimum length of the key, in bytes. There are few names, so with a
	// weak key they could be found by trial.
	minPseudonymKeyLen = 16
	// NoServices in BPCC_SERVICES disables availability checks.
	NoServices = "none"
)

// Off, as BRIDGE_HTTP, disables the HTTP endpoint.
const Off = "off"

// Secret is text that is never shown: printed or logged it is "[redacted]".
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[redacted]" }

// MarshalText hides the secret from JSON and structured logs.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Config is the complete configuration, read from the environment. A variable of type [Secret], and
// BRIDGE_THRESHOLDS, may be given as NAME_FILE instead. Every duration has its bounds as tags min and
// max, and the tag zero, which says what 0 means, if 0 is allowed below min.
type Config struct {
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

	NATSURL      string `env:"NATS_URL"`
	NATSContext  string `env:"NATS_CONTEXT"`
	NATSCreds    string `env:"NATS_CREDS"`
	NATSNKey     string `env:"NATS_NKEY"`
	NATSUser     string `env:"NATS_USER"`
	NATSPassword Secret `env:"NATS_PASSWORD"`
	NATSToken    Secret `env:"NATS_TOKEN"`
	NATSCA       string `env:"NATS_CA"`
	NATSCert     string `env:"NATS_CERT"`
	NATSKey      string `env:"NATS_KEY"`
	// NATSInboxPrefix begins the subjects of replies, by default _INBOX. With a prefix for each
	// user, a server can keep replies from other users.
	NATSInboxPrefix string `env:"NATS_INBOX_PREFIX"`
	// NATSAPIPrefix begins the subjects of the JetStream API where it is imported from another
	// account; empty means $JS.API.
	NATSAPIPrefix string `env:"NATS_JS_API_PREFIX"`

	// Tenant is the name in subjects and ids; empty means the first label of the host, in lower case.
	Tenant         string        `env:"BRIDGE_TENANT"`
	Stream         string        `env:"BRIDGE_STREAM" envDefault:"BPCC_EVENTS"`
	StateBucket    string        `env:"BRIDGE_STATE_BUCKET" envDefault:"bpcc_state"`
	LeaseBucket    string        `env:"BRIDGE_LEASE_BUCKET" envDefault:"bpcc_lease"`
	Replicas       int           `env:"BRIDGE_REPLICAS" envDefault:"1"`
	Retention      time.Duration `env:"BRIDGE_RETENTION" envDefault:"720h" min:"1m" max:"87600h"`
	StoreDir       string        `env:"BRIDGE_STORE_DIR" envDefault:"./data"`
	EmbeddedListen string        `env:"BRIDGE_EMBEDDED_LISTEN" envDefault:"127.0.0.1:4222"`
	HTTP           string        `env:"BRIDGE_HTTP" envDefault:"127.0.0.1:8080"`
	Thresholds     string        `env:"BRIDGE_THRESHOLDS"`
	AgentKey       string        `env:"BRIDGE_AGENT_KEY" envDefault:"login_id"`
	VolatileStats  List          `env:"BRIDGE_VOLATILE_STATS" envDefault:"state_duration,login_time,active_item_talk_duration,active_item_hold_duration,agent_total_*_time,in_max_wait_time"`
	// RedactStats are patterns of statistics, and of fields of chat messages, that are not
	// published.
	RedactStats List `env:"BRIDGE_REDACT_STATS"`
	// PseudonymKey, if set, replaces agents' ids and names with keyed hashes.
	PseudonymKey   Secret `env:"BRIDGE_PSEUDONYM_KEY"`
	DisappearAfter int    `env:"BRIDGE_DISAPPEAR_AFTER" envDefault:"2"`
	// FrozenAfter is how long nothing must change, not even the clocks of agents, until the feed is
	// interrupted; a shorter time than the source may be silent counts as that time.
	FrozenAfter        time.Duration `env:"BRIDGE_FROZEN_AFTER" envDefault:"5s" min:"1s" max:"1h" zero:"never"`
	CheckpointInterval time.Duration `env:"BRIDGE_CHECKPOINT_INTERVAL" envDefault:"30s" min:"100ms" max:"1h"`
	LeaseTTL           time.Duration `env:"BRIDGE_LEASE_TTL" envDefault:"5s" min:"1s" max:"10m"`
	// StoreMax is the most that the streams of the embedded server hold, in bytes
	// before compression; 0 follows the disk.
	StoreMax Size `env:"BRIDGE_STORE_MAX"`
	// TenantsFile names the tenants of a process that runs several; see
	// [ParseAll].
	TenantsFile string `env:"BRIDGE_TENANTS_FILE"`
	LogLevel    string `env:"BRIDGE_LOG_LEVEL" envDefault:"info"`
	LogFormat   string `env:"BRIDGE_LOG_FORMAT" envDefault:"auto"`

	// The rest is derived from the fields above.

	// Version is the version of the program, set by its main.
	Version string
	// Subscription is the parsed SubscriptionFile, or the built-in one.
	Subscription bpcc.Subscription
	// Rules are the threshold rules.
	Rules []rule.Rule
	// RootCAs are the trusted roots for BPCC; nil means the system's.
	RootCAs *x509.CertPool
	// Timing holds the waits that are not configured; nil means those of [DefaultTiming].
	Timing *Timing

	files map[string]string // by NAME, of what was given as NAME_FILE
	proxy *url.URL          // for requests to BPCC; nil = none
}

// Purpose is the part of the configuration that a command needs.
type Purpose int

const (
	// ForSource needs BPCC alone, as a check does.
	ForSource Purpose = iota
	// ForStream needs NATS alone, as a replay does.
	ForStream
	// ForBridge needs both.
	ForBridge
)

// Embedded reports whether the bridge runs its own NATS server because none is configured.
func (c *Config) Embedded() bool { return c.NATSURL == "" && c.NATSContext == "" }

// InterruptAfter is how long there may be no good poll before the feed is interrupted.
func (c *Config) InterruptAfter() time.Duration {
	return max(3*c.PollInterval, c.Times().MinInterruptAfter)
}

// EffectiveFrozenAfter is how long the source's picture must stand still until it counts as frozen: no
// shorter than the source may be silent; 0 is never.
func (c *Config) EffectiveFrozenAfter() time.Duration {
	if c.FrozenAfter == 0 {
		return 0
	}
	return max(c.FrozenAfter, c.InterruptAfter())
}

// AvailabilityDisabled reports whether no availability is checked.
func (c *Config) AvailabilityDisabled() bool {
	return len(c.Services) == 1 && c.Services[0] == NoServices
}

// Parse reads the environment ("NAME=value" each) and checks it. All faults are in one
// [ErrInvalid]. Warnings are for the log: they name variables that look like the bridge's and are
// not.
func Parse(environ []string, purpose Purpose) (c *Config, warnings []string, err error) {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	c = &Config{}
	vars := env.ToMap(environ)
	for name, value := range vars {
		// A variable may be set from a file that has one.
		vars[name] = strings.TrimPrefix(value, "\ufeff")
	}
	if warnings, err = unknownNames(vars); err != nil {
		return nil, nil, err
	}
	c.files = readFiles(vars, fault)
	if err := env.ParseWithOptions(c, env.Options{Environment: vars}); err != nil {
		var all env.AggregateError
		if !errors.As(err, &all) {
			return nil, warnings, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		for _, err := range all.Errors {
			var p env.ParseError
			if errors.As(err, &p) {
				fault(envName(p.Name), "%v (want a %s)", p.Err, wantOf(p.Type.String()))
				continue
			}
			faults = append(faults, err)
		}
	}
	if purpose != ForStream {
		c.checkSource(fault)
		warnings = append(warnings, c.checkSourceTLS(fault)...)
		c.checkProxy(vars, fault)
		warnings = append(warnings, c.checkRedaction(fault)...)
	}
	if purpose != ForSource {
		c.checkNATS(fault)
	}
	warnings = append(warnings, c.configWarnings(purpose)...)
	c.checkDurations(purpose, fault)
	c.checkBridge(purpose, fault)
	if len(faults) > 0 {
		return nil, warnings, fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(faults...))
	}
	return c, warnings, nil
}

func (c *Config) checkSource(fault func(name, format string, args ...any)) {
	u, err := parseAddress(c.URL)
	switch {
	case c.URL == "":
		fault("BPCC_URL", "not set; give the tenant's address, such as https://acme.brightpattern.com")
	case err != nil:
		fault("BPCC_URL", "%v", err)
	case c.Tenant == "":
		c.Tenant = tenantOf(u.Hostname())
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
	c.Subscription = BuiltinSubscription()
	c.checkSubscription(fault)
}

func (c *Config) checkSubscription(fault func(name, format string, args ...any)) {
	var err error
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

func (c *Config) checkNATS(fault func(name, format string, args ...any)) {
	c.checkNATSAuth(fault)
	if c.Replicas < 1 || c.Replicas > 5 {
		fault("BRIDGE_REPLICAS", "%d is not between 1 and 5", c.Replicas)
	}
	if c.Embedded() && c.Replicas > 1 {
		fault("BRIDGE_REPLICAS", "the embedded server keeps one copy; set NATS_URL to a cluster for %d", c.Replicas)
	}
	if c.StoreMax != 0 && c.StoreMax < storeMaxLeast {
		fault("BRIDGE_STORE_MAX", "%d bytes is below %v; give a size with its unit, such as 50GB or 50GiB", int64(c.StoreMax), storeMaxLeast)
	}
	for name, v := range map[string]string{
		"BRIDGE_STREAM": c.Stream, "BRIDGE_STATE_BUCKET": c.StateBucket, "BRIDGE_LEASE_BUCKET": c.LeaseBucket,
	} {
		if v == "" || event.Token(v) != v {
			fault(name, "%q has characters other than A-Z, a-z, 0-9, _ and -", v)
		}
	}
}

func (c *Config) checkBridge(purpose Purpose, fault func(name, format string, args ...any)) {
	if purpose != ForStream && strings.ContainsFunc(c.Tenant, unicode.IsControl) {
		fault("BRIDGE_TENANT", "contains control characters")
	}
	if c.AgentKey != "login_id" && c.AgentKey != "user_id" {
		fault("BRIDGE_AGENT_KEY", "%q is neither login_id nor user_id", c.AgentKey)
	}
	if c.DisappearAfter < 1 {
		fault("BRIDGE_DISAPPEAR_AFTER", "%d is below 1", c.DisappearAfter)
	}
	if n := len(c.PseudonymKey); n > 0 && n < minPseudonymKeyLen {
		fault("BRIDGE_PSEUDONYM_KEY", "%d bytes are too few to prevent guessing of names; use at least %d", n, minPseudonymKeyLen)
	}
	if _, _, err := net.SplitHostPort(c.HTTP); c.HTTP != Off && err != nil {
		fault("BRIDGE_HTTP", "%v; want host:port, or off", err)
	}
	switch {
	case slices.Contains(c.Services, ""):
		fault("BPCC_SERVICES", "a name in the list is empty")
	case c.Services != nil && len(c.Services) == 0:
		fault("BPCC_SERVICES", "the list is empty; leave the variable unset to check all services, or set it to %s to check none", NoServices)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		fault("BRIDGE_LOG_LEVEL", "%q is not debug, info, warn or error", c.LogLevel)
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.LogFormat) {
		fault("BRIDGE_LOG_FORMAT", "%q is not auto, text or json", c.LogFormat)
	}
	rules, err := rule.Parse([]byte(c.Thresholds))
	if err != nil {
		fault("BRIDGE_THRESHOLDS", "%v", err)
	}
	c.Rules = rules
	if purpose != ForStream {
		for _, err := range rule.Unsubscribed(rules, SubscribedStats(c.Subscription), GlobMatcher(c.RedactStats)) {
			fault("BRIDGE_THRESHOLDS", "%v", err)
		}
	}
}
