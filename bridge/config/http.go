package config

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
)

// minTokenLen is the minimum length of BRIDGE_HTTP_TOKEN, in bytes. A shorter one could be found by trial.
const minTokenLen = 16

// HTTP is where the process serves probes, metrics and the live page, and to whom.
type HTTP struct {
	// Listen is the address, or [Off].
	Listen string `env:"BRIDGE_HTTP" envDefault:"127.0.0.1:8080"`
	// Hosts are the names under which browsers and others reach the server, beside those of [HTTP.Allows].
	Hosts List `env:"BRIDGE_HTTP_HOSTS"`
	// Token, if set, is required for everything but the status of the probes.
	Token Secret `env:"BRIDGE_HTTP_TOKEN"`
	// Cert and Key are files with the server's certificate; without them the server uses no TLS.
	Cert string `env:"BRIDGE_HTTP_TLS_CERT"`
	Key  string `env:"BRIDGE_HTTP_TLS_KEY"`
	// Debug is the loopback address of the profiles of the process, or [Off].
	Debug string `env:"BRIDGE_DEBUG_HTTP" envDefault:"off"`

	files secretFiles
}

// CurrentToken returns a function that returns the present token; nil if none is configured. It may be called
// concurrently.
func (c *HTTP) CurrentToken(log *slog.Logger) func() string {
	if c.Token == "" {
		return nil
	}
	return c.files.current("BRIDGE_HTTP_TOKEN", c.Token, log)
}

// Allows reports whether the Host of a request may be this server's, on a machine of this name. An IP
// address always may: DNS rebinding needs a name that the attacker controls.
func (c *HTTP) Allows(host, machine string) bool {
	name := canonicalHost(hostOf(host))
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	listen, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	names := append(List{listen}, c.Hosts...)
	if !IsLoopback(listen) {
		label, _, _ := strings.Cut(machine, ".")
		names = append(names, machine, label)
	}
	for _, n := range names {
		if name != "" && name == canonicalHost(n) {
			return true
		}
	}
	return false
}

// hostOf returns the host of a Host header, without its port.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func (c *HTTP) check(purpose Purpose, fault faultFunc) {
	if err := checkListen(c.Listen); c.Listen != Off && err != nil {
		fault("BRIDGE_HTTP", "%v; want host:port, such as 127.0.0.1:8080, or off", err)
	}
	if err := checkListen(c.Debug); c.Debug != Off && err != nil {
		fault("BRIDGE_DEBUG_HTTP", "%v; want host:port, such as 127.0.0.1:6060, or off", err)
	} else if host, _, _ := net.SplitHostPort(c.Debug); c.Debug != Off && !IsLoopback(host) {
		fault("BRIDGE_DEBUG_HTTP", "%q is no loopback address, and profiles are for this machine alone; use one such as 127.0.0.1:6060", c.Debug)
	}
	for _, host := range c.Hosts {
		if canonicalHost(host) == "" || strings.ContainsAny(host, ":/* ") {
			fault("BRIDGE_HTTP_HOSTS", "%q is not a host name; want names without scheme and port, such as bridge.example.com", host)
		}
	}
	if n := len(c.Token); n > 0 && n < minTokenLen {
		fault("BRIDGE_HTTP_TOKEN", "%d bytes can be found by trial; use at least %d", n, minTokenLen)
	}
	if purpose == ForBridge {
		checkKeyPair(fault, "BRIDGE_HTTP_TLS_CERT", c.Cert, "BRIDGE_HTTP_TLS_KEY", c.Key)
	}
}
