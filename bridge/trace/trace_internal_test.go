package trace

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestWanted: traces are off unless the variables of OpenTelemetry ask for them.
func TestWanted(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
	for name, test := range map[string]struct {
		env   string
		want  bool
		fault string
	}{
		"nothing":             {},
		"an endpoint":         {env: endpoint, want: true},
		"one for traces":      {env: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces", want: true},
		"one for metrics":     {env: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://127.0.0.1:4318/v1/metrics"},
		"the exporter":        {env: "OTEL_TRACES_EXPORTER=otlp", want: true},
		"no exporter":         {env: endpoint + " OTEL_TRACES_EXPORTER=none"},
		"another exporter":    {env: "OTEL_TRACES_EXPORTER=zipkin", fault: `OTEL_TRACES_EXPORTER: "zipkin"`},
		"disabled":            {env: endpoint + " OTEL_SDK_DISABLED=true"},
		"the protocol":        {env: endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", want: true},
		"another protocol":    {env: endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc", fault: `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc"`},
		"another, for others": {env: endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", want: true},
		"a protocol, off":     {env: "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
	} {
		vars := map[string]string{}
		for v := range strings.FieldsSeq(test.env) {
			name, value, _ := strings.Cut(v, "=")
			vars[name] = value
		}
		got, err := wanted(vars)
		if got != test.want || (err != nil) != (test.fault != "") || err != nil && (!errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%s: %v, %v; want %v, %q", name, got, err, test.want, test.fault)
		}
	}
	tracer, err := New(t.Context(), nil, "test", slog.New(slog.DiscardHandler))
	if tracer != nil || err != nil {
		t.Fatal(tracer, err)
	}
	tracer.Poll(&Poll{}) // exports nothing
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
