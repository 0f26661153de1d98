package config

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// errProxy is returned for a proxy's address that cannot be used. It does not hold the address,
// which may hold a password.
var errProxy = errors.New("not an address of the form http://host:port; also https, socks5 and socks5h, and user:password@ before the host, " +
	"percent-encoded (the value is not shown, because it may hold a password)")

// checkProxy finds the proxy for requests to BPCC, by the variables that other programs read too.
// What cannot be used as a proxy is a fault: without one, requests would go past the proxy.
func (c *Config) checkProxy(vars map[string]string, fault func(name, format string, args ...any)) {
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
