// Package config reads the configuration from the environment and checks it: all faults at once, each
// with how to correct it. Secrets and certificates in files may be replaced while the bridge runs.
package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"

	"bpcc-nats/bridge/rule"
)

// ErrInvalid is returned by [Parse] when the environment has faults; its text names all of
// them, and how to correct each.
var ErrInvalid = errors.New("configuration")

// Off, as BRIDGE_HTTP or BRIDGE_DEBUG_HTTP, disables that server.
const Off = "off"

// Config is the complete configuration, read from the environment. A variable of type [Secret], and
// BRIDGE_THRESHOLDS, may be given as NAME_FILE instead. Every duration has its bounds as tags min and
// max, and the tag zero, which says what 0 means, if 0 is allowed below min.
type Config struct {
	BPCC BPCC
	NATS NATS
	// Tenant is the name in subjects and ids; empty means the first label of the host, in lower case.
	Tenant   string `env:"BRIDGE_TENANT"`
	Stream   Stream
	Embedded Embedded
	HTTP     HTTP
	Events   Events
	// TenantsFile names the tenants of a process that runs several; see [ParseAll].
	TenantsFile string `env:"BRIDGE_TENANTS_FILE"`
	Log         Log

	// Version is the version of the program, set by its main.
	Version string
	// Timing holds the waits that are not configured; nil means those of [DefaultTiming].
	Timing *Timing
}

// Log is what the bridge logs, and how.
type Log struct {
	Level  string `env:"BRIDGE_LOG_LEVEL" envDefault:"info"`
	Format string `env:"BRIDGE_LOG_FORMAT" envDefault:"auto"`
}

func (c *Log) check(fault faultFunc) {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Level) {
		fault("BRIDGE_LOG_LEVEL", "%q is not debug, info, warn or error", c.Level)
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Format) {
		fault("BRIDGE_LOG_FORMAT", "%q is not auto, text or json", c.Format)
	}
}

// Times are the waits that are not configured.
func (c *Config) Times() *Timing {
	if c.Timing == nil {
		return DefaultTiming()
	}
	return c.Timing
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

// InterruptAfter is how long there may be no good poll before the feed is interrupted.
func (c *Config) InterruptAfter() time.Duration {
	return max(3*c.BPCC.PollInterval, c.Times().MinInterruptAfter)
}

// EffectiveFrozenAfter is how long the source's picture must stand still until it counts as frozen: no
// shorter than the source may be silent; 0 is never.
func (c *Config) EffectiveFrozenAfter() time.Duration {
	if c.Events.FrozenAfter == 0 {
		return 0
	}
	return max(c.Events.FrozenAfter, c.InterruptAfter())
}

// Parse reads the environment ("NAME=value" each) and checks it. All faults are in one
// [ErrInvalid]. Warnings are for the log: they name variables that look like the bridge's and are
// not.
func Parse(environ []string, purpose Purpose) (c *Config, warnings []string, err error) {
	c, warnings, faults, err := parse(env.ToMap(environ), purpose)
	if err != nil {
		return nil, warnings, err
	}
	if len(faults) > 0 {
		return nil, warnings, fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(faults...))
	}
	return c, warnings, nil
}

// variableFault is what is wrong with a variable.
type variableFault struct{ name, text string }

func (f variableFault) Error() string { return f.name + ": " + f.text }

// parse is [Parse] with a list of the faults, each a [variableFault].
func parse(vars map[string]string, purpose Purpose) (c *Config, warnings []string, faults []error, err error) {
	fault := func(name, format string, args ...any) {
		faults = append(faults, variableFault{name, fmt.Sprintf(format, args...)})
	}
	c = &Config{}
	for name, value := range vars {
		// A variable may be set from a file that has one.
		vars[name] = strings.TrimPrefix(value, "\ufeff")
	}
	if warnings, err = unknownNames(vars); err != nil {
		return nil, nil, nil, err
	}
	files := readFiles(vars, fault)
	c.BPCC.files, c.NATS.files, c.HTTP.files = files, files, files
	if err := c.setFields(vars, fault); err != nil {
		return nil, warnings, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	warnings = append(warnings, c.check(purpose, vars, fault)...)
	return c, warnings, faults, nil
}

// faultFunc adds a fault of a variable.
type faultFunc func(name, format string, args ...any)

// check checks the parts that a purpose needs, and derives what is derived from them.
func (c *Config) check(purpose Purpose, vars map[string]string, fault faultFunc) (warnings []string) {
	if purpose != ForStream {
		c.BPCC.check(fault)
		if u, err := parseAddress(c.BPCC.URL); err == nil && c.Tenant == "" {
			c.Tenant = tenantOf(u.Hostname())
		}
		warnings = append(warnings, c.BPCC.checkTLS(fault)...)
		c.BPCC.checkProxy(vars, fault)
		warnings = append(warnings, c.Events.checkRedaction(c.BPCC.Subscription, fault)...)
		warnings = append(warnings, c.Events.checkMetrics(c.BPCC.Subscription)...)
	}
	if purpose != ForSource {
		c.NATS.check(vars, fault)
		warnings = append(warnings, c.NATS.warnings()...)
		c.Stream.check(fault)
		if c.NATS.Embedded() && c.Stream.Replicas > 1 {
			fault("BRIDGE_REPLICAS", "the embedded server keeps one copy; set NATS_URL to a cluster for %d", c.Stream.Replicas)
		}
		c.Embedded.check(fault)
	}
	warnings = append(warnings, c.warnings(purpose)...)
	c.checkDurations(purpose, fault)
	if purpose != ForStream && strings.ContainsFunc(c.Tenant, unicode.IsControl) {
		fault("BRIDGE_TENANT", "contains control characters")
	}
	c.HTTP.check(purpose, fault)
	c.BPCC.checkServices(fault)
	c.Log.check(fault)
	c.Events.check(fault)
	if purpose == ForBridge {
		var err error
		if c.Events.SigningKey, err = c.Events.ReadSigningKey(); err != nil {
			fault("BRIDGE_SIGNING_KEY_FILE", "%v", err)
		}
	}
	if purpose != ForStream {
		for _, err := range rule.Unsubscribed(c.Events.Rules, SubscribedStats(c.BPCC.Subscription), GlobMatcher(c.Events.RedactStats)) {
			fault("BRIDGE_THRESHOLDS", "%v", err)
		}
	}
	return warnings
}

// warnings returns warnings about what other machines can reach without a password, and about
// settings without effect.
func (c *Config) warnings(purpose Purpose) (warnings []string) {
	reachable := func(address string) bool {
		host, _, err := net.SplitHostPort(address)
		return err == nil && !IsLoopback(host)
	}
	if purpose == ForBridge && c.HTTP.Listen != Off && c.HTTP.Token == "" && reachable(c.HTTP.Listen) {
		warnings = append(warnings, fmt.Sprintf("BRIDGE_HTTP=%s can be reached from other machines without a password: set BRIDGE_HTTP_TOKEN_FILE, or keep it within a trusted network", c.HTTP.Listen))
	}
	if purpose != ForSource && c.NATS.Embedded() && reachable(c.Embedded.Listen) {
		warnings = append(warnings, fmt.Sprintf("BRIDGE_EMBEDDED_LISTEN=%s can be reached from other machines, and the embedded server has no password: "+
			"any client can read and write everything; set NATS_URL to your own server instead", c.Embedded.Listen))
	}
	if purpose != ForSource && c.Embedded.StoreMax != 0 && !c.NATS.Embedded() {
		warnings = append(warnings, "BRIDGE_STORE_MAX is not used: it limits the embedded server, and NATS_URL or NATS_CONTEXT names another")
	}
	if purpose != ForSource && c.NATS.Context != "" && c.NATS.URL != "" {
		warnings = append(warnings, "NATS_CONTEXT and its credentials are not used, because NATS_URL is set")
	}
	return warnings
}
