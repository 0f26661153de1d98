package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"bpcc-nats/bridge"
)

// healthTimeout is below what supervisors give a probe.
const healthTimeout = 3 * time.Second

// health asks the bridge that runs with the same environment whether it is
// ready: for containers, which have no other program to ask with.
func (p *program) health(ctx context.Context, args []string) error {
	if err := parseFlags(p.flags("health"), args, 0); err != nil {
		return err
	}
	c, _, err := p.configure(bridge.ForStream)
	if err != nil {
		return err
	}
	if c.HTTP == bridge.Off {
		return fmt.Errorf("%w: BRIDGE_HTTP is off, so that nobody can be asked", errUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+dialAddress(c.HTTP)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask the bridge: %w", err)
	}
	// Never by a proxy: it is on this machine.
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the bridge: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err == nil { // for people: it may be another program that listens there
		err = p.out.printf("%s", visibleLines(string(body)))
	}
	if err != nil {
		return fmt.Errorf("ask the bridge: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it is not ready: %s", answer.Status)
	}
	return nil
}

// dialAddress is where to reach what listens on an address: on this machine, if
// it listens everywhere.
func dialAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = "127.0.0.1"
		if addr.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
