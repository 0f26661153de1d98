// Package trace exports the polls of bridges as traces of OpenTelemetry by OTLP/HTTP. The variables that begin with
// OTEL_ configure it, as they do every program with the OpenTelemetry SDK.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// ErrSettings is returned by [New] for variables that ask for traces in a way that the bridge has not.
var ErrSettings = errors.New("settings of traces")

// Tracer exports polls. Nil exports nothing.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// wanted reports whether the variables ask for traces.
func wanted(vars map[string]string) (bool, error) {
	endpoint := vars["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" || vars["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] != ""
	exporter := vars["OTEL_TRACES_EXPORTER"]
	if vars["OTEL_SDK_DISABLED"] == "true" || exporter == "none" || exporter == "" && !endpoint {
		return false, nil
	}
	if exporter != "" && exporter != "otlp" {
		return false, fmt.Errorf("%w: OTEL_TRACES_EXPORTER: %q is neither otlp nor none", ErrSettings, exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := vars[name]; protocol != "" {
			if protocol != "http/protobuf" {
				return false, fmt.Errorf("%w: %s: %q is not http/protobuf, the only protocol", ErrSettings, name, protocol)
			}
			break
		}
	}
	return true, nil
}

// New returns a tracer, or nil if the variables of environ ask for none. The SDK reads its own variables from the
// environment of the process. Nothing is sent before the first poll. The error is [ErrSettings] for settings that
// the bridge cannot follow.
func New(ctx context.Context, environ []string, version string, log *slog.Logger) (*Tracer, error) {
	if ok, err := wanted(env.ToMap(environ)); !ok {
		return nil, err
	}
	// Both are of the process: the SDK reports what fails in the background in no other way.
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	otel.SetErrorHandler(&errorLog{log: log})
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	// What the variables say goes before the defaults.
	of, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "bpcc-bridge"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(of))
	return &Tracer{provider: provider, tracer: provider.Tracer("bpcc-nats/bridge/trace")}, nil
}

// errorLog logs why spans are not exported, when that changes.
type errorLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last string
}

// Handle implements [otel.ErrorHandler].
func (e *errorLog) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text := err.Error(); text != e.last {
		e.last = text
		e.log.Warn("traces not exported", "err", err, "hint", "check OTEL_EXPORTER_OTLP_ENDPOINT; OTEL_TRACES_EXPORTER=none turns traces off")
	}
}

// Poll is one poll of a tenant.
type Poll struct {
	Tenant string
	Epoch  uint64
	Number uint64
	// Events is how many events the poll has made.
	Events int

	Began          time.Time // when the poll began, before a login that it needed
	Sent, Received time.Time // of the request, if there is a response
	RequestErr     error     // why there is no response

	Compared, Decoded time.Time // between them the response was decoded and compared
	SnapshotErr       error     // why the response was not used

	Done      time.Time // when the poll was done, with the commit if there was one
	Committed bool      // whether anything was to be committed
	CommitErr error
}

// Poll exports the spans of a poll: poll, and below it request, compare and commit.
func (t *Tracer) Poll(p *Poll) {
	if t == nil {
		return
	}
	ctx, poll := t.tracer.Start(context.Background(), "poll", trace.WithTimestamp(p.Began), trace.WithAttributes(
		attribute.String("bpcc.tenant", p.Tenant), attribute.Int64("bpcc.epoch", int64(p.Epoch)),
		attribute.Int64("bpcc.poll", int64(p.Number)), attribute.Int("bpcc.events", p.Events),
	))
	if p.RequestErr == nil {
		t.part(ctx, "request", trace.SpanKindClient, p.Sent, p.Received, nil)
		t.part(ctx, "compare", trace.SpanKindInternal, p.Compared, p.Decoded, p.SnapshotErr)
	} else {
		t.part(ctx, "request", trace.SpanKindClient, p.Began, p.Compared, p.RequestErr)
	}
	if p.Committed || p.CommitErr != nil {
		t.part(ctx, "commit", trace.SpanKindProducer, p.Decoded, p.Done, p.CommitErr)
	}
	if err := errors.Join(p.RequestErr, p.SnapshotErr, p.CommitErr); err != nil {
		poll.SetStatus(codes.Error, err.Error())
	}
	poll.End(trace.WithTimestamp(p.Done))
}

// part exports a span below that of a poll.
func (t *Tracer) part(ctx context.Context, name string, kind trace.SpanKind, from, to time.Time, err error) {
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(from))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End(trace.WithTimestamp(to))
}

// Close exports what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
