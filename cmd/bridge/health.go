package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// healthTimeout is shorter than the usual timeout of a probe.
const healthTimeout = 3 * time.Second

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "report whether the bridge on this machine is ready",
		Example: `
bridge health`,
		RunE: func(c *cobra.Command, _ []string) error { return p.health(c.Context()) },
	}
}

// health requests /readyz of the bridge that runs with the same environment. It is for
// containers, which have no other HTTP client.
func (p *program) health(ctx context.Context) error {
	c, _, err := p.configure(config.ForStream)
	if err != nil {
		return err
	}
	if c.HTTP == config.Off {
		return fmt.Errorf("%w: BRIDGE_HTTP is off: the bridge serves no health", reader.ErrUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+dialAddress(c.HTTP)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("request the health of the bridge: %w", err)
	}
	// Without a proxy, since the bridge is on this machine.
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("request the health of the bridge: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err == nil { // for people: another program may listen there
		err = p.out.Printf("%s", console.VisibleLines(string(body)))
	}
	if err != nil {
		return fmt.Errorf("request the health of the bridge: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("bridge not ready: %s", response.Status)
	}
	return nil
}

// dialAddress is the address under which to reach a listener: loopback if the listener
// has an unspecified address.
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
