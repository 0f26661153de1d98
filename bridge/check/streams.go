package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// Streams checks the NATS side and changes nothing: the server's release,
// JetStream, and the configuration of the streams that exist.
func Streams(ctx context.Context, c *config.Config, nc *nats.Conn, js jetstream.JetStream, report func(Step)) error {
	x := &checkRun{report: report}
	if err := stream.CheckServer(nc); err != nil {
		x.fail("NATS", err.Error(), stream.Hint(c.Stream, err))
	} else {
		x.reportOK("NATS", "server %s at %s", nc.ConnectedServerVersion(), nc.ConnectedUrlRedacted())
	}
	if err := checkJetStream(ctx, js, c); err != nil {
		x.fail("JetStream", err.Error(), stream.Hint(c.Stream, err))
		return x.result()
	}
	for _, want := range stream.Configs(c.Stream) {
		checkStream(ctx, js, c, want, x)
	}
	return x.result()
}

func checkJetStream(ctx context.Context, js jetstream.JetStream, c *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, c.Times().CallTimeout)
	defer cancel()
	prevErr := js.Conn().LastError()
	_, err := js.AccountInfo(ctx)
	return stream.Cause(js.Conn(), prevErr, err)
}

// checkStream compares one stream with what the bridge would create.
func checkStream(ctx context.Context, js jetstream.JetStream, c *config.Config, want jetstream.StreamConfig, x *checkRun) {
	ctx, cancel := context.WithTimeout(ctx, c.Times().CallTimeout)
	defer cancel()
	prevErr := js.Conn().LastError()
	existing, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		x.reportOK("stream", "%s does not exist yet; bridge run or bridge provision creates it", want.Name)
		return
	}
	if err = stream.Cause(js.Conn(), prevErr, err); err != nil {
		x.fail("stream", fmt.Sprintf("%s: %v", want.Name, err), stream.Hint(c.Stream, stream.AboutStream(want.Name, err)))
		return
	}
	info := existing.CachedInfo()
	switch differs, err := stream.CheckFit(c.Stream, want, info); {
	case err != nil:
		x.fail("stream", fmt.Sprintf("%s: %v", want.Name, err), stream.Hint(c.Stream, err))
	case len(differs) > 0:
		x.reportWarning("stream", "nothing to do if this is intended; else change the stream with the nats CLI", "%s: %s", want.Name, strings.Join(differs, "; "))
	default:
		x.reportOK("stream", "%s is configured as expected, %d message(s)", want.Name, info.State.Msgs)
	}
}
