package config

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// errAddress is returned for a text that is not the address of a tenant. It does not hold the text,
// which may hold a password.
var errAddress = errors.New("not an address of the form https://host")

// parseAddress parses BPCC_URL.
func parseAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.ContainsAny(text, "?#") {
		return nil, errAddress
	}
	if host := canonicalHost(u.Hostname()); host == "" || strings.HasPrefix(host, ".") {
		return nil, errAddress
	}
	return u, nil
}

// canonicalHost returns the one form of a host that can be written in several: in lower case,
// without the dot of an absolute name, in ASCII, and an IP address in its shortest form. "" is no
// host.
func canonicalHost(host string) string {
	if strings.IndexFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		var err error
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return "" // no name server knows such a name
		}
	}
	host = strings.TrimSuffix(host, ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String()
	}
	return strings.ToLower(host)
}

// tenantOf derives a tenant's name from a host: its first label, or all of an address without
// labels. A host has one name, however it is written.
func tenantOf(host string) string {
	host = canonicalHost(host)
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	label, _, _ := strings.Cut(host, ".")
	return label
}

// canonicalAddress returns an address without its scheme, in the one form that it has however it is
// written: the port is left out where it is the scheme's own.
func canonicalAddress(u *url.URL) string {
	host := canonicalHost(u.Hostname())
	switch port := u.Port(); {
	case port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme]:
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return host + strings.TrimRight(u.EscapedPath(), "/")
}

// CloudEventSource is the CloudEvents source: the API at the tenant's address.
func (c *Config) CloudEventSource() string {
	u, err := parseAddress(c.URL)
	if err != nil { // not checked, such as the source of a recording
		return strings.TrimRight(c.URL, "/") + "/statsapi"
	}
	return u.Scheme + "://" + canonicalAddress(u) + "/statsapi"
}

// apiUser identifies a user of the API. BPCC keeps one subscription for each.
type apiUser struct{ address, name string }

// User returns the name that the bridge logs in with.
func (c *Config) User() string {
	if c.Auth == AuthCookie {
		return c.Username
	}
	return c.ClientID
}

// apiUser returns the user that the bridge logs in as. A client id is a username, so both logins
// of one name are one user.
func (c *Config) apiUser() apiUser {
	user := apiUser{name: c.User()}
	if u, err := parseAddress(c.URL); err == nil {
		user.address = canonicalAddress(u)
	}
	return user
}

// effectiveScope returns the tenant that a login names, in one form however it is written.
func (c *Config) effectiveScope() string {
	host := ""
	if u, err := parseAddress(c.URL); err == nil {
		host = u.Hostname()
	}
	return canonicalHost(cmp.Or(c.Scope, host))
}
