package config

import (
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
