package bridge_test

import (
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/trace"
)

// spanCollector receives spans as a collector of OpenTelemetry does.
type spanCollector struct {
	t *testing.T

	mu       sync.Mutex
	spans    []*otlp.Span
	services []string
}

func (c *spanCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if reader, err = gzip.NewReader(r.Body); err != nil {
			c.t.Error(err)
			return
		}
	}
	body, err := io.ReadAll(reader)
	var exported collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &exported)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Tenant") != "ours" {
		c.t.Errorf("%s, %v, header %v", r.URL.Path, err, r.Header)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range exported.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				c.services = append(c.services, a.Value.GetStringValue())
			}
		}
		for _, scope := range of.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// find returns the first span with a name that meets a condition; nil if there is none.
func (c *spanCollector) find(name string, condition func(*otlp.Span) bool) *otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.spans, func(s *otlp.Span) bool { return s.Name == name && condition(s) })
	if i < 0 {
		return nil
	}
	return c.spans[i]
}

// TestTraces exports the polls of a bridge to a collector: each with its request, the comparison and the commit, and
// failed ones with their error.
func TestTraces(t *testing.T) {
	received := &spanCollector{t: t}
	server := httptest.NewServer(received)
	t.Cleanup(server.Close)
	environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=ours", "OTEL_SERVICE_NAME": "floor", "OTEL_BSP_SCHEDULE_DELAY": "50"}
	var list []string
	for name, value := range environ {
		t.Setenv(name, value)
		list = append(list, name+"="+value)
	}
	tracer, err := trace.New(t.Context(), list, "test", slog.New(slog.DiscardHandler))
	if err != nil || tracer == nil {
		t.Fatal(err)
	}
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	if _, err := w.provision(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	f, err := bridge.NewFleet([]*config.Config{w.config()}, w.js, nil, w.logger())
	if err != nil {
		t.Fatal(err)
	}
	f.Trace(tracer)
	stop := w.run(f, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	w.waitFor("agent.anna.observed", 1)
	w.tenant.Inject(bpcctest.Fault{Path: "/data", Status: 502, Times: 1})
	failed := func(s *otlp.Span) bool {
		return s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR && strings.Contains(s.Status.Message, "502")
	}
	w.waitUntil("the span of a failed request", func() bool { return received.find("request", failed) != nil })
	stop()
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
	commit := received.find("commit", func(*otlp.Span) bool { return true })
	if commit == nil {
		t.Fatal("no commit")
	}
	below := func(s *otlp.Span) bool { return string(s.ParentSpanId) == string(commit.ParentSpanId) }
	poll := received.find("poll", func(s *otlp.Span) bool { return string(s.SpanId) == string(commit.ParentSpanId) })
	request, compare := received.find("request", below), received.find("compare", below)
	if poll == nil || request == nil || compare == nil {
		t.Fatalf("the poll of the commit: %v, its parts: %v, %v", poll, request, compare)
	}
	for i, at := range []uint64{request.StartTimeUnixNano, request.EndTimeUnixNano, compare.StartTimeUnixNano, compare.EndTimeUnixNano, commit.EndTimeUnixNano, poll.EndTimeUnixNano} {
		if at < poll.StartTimeUnixNano || at > poll.EndTimeUnixNano {
			t.Errorf("instant %d is outside of the poll", i)
		}
	}
	if request.EndTimeUnixNano > compare.StartTimeUnixNano || compare.EndTimeUnixNano > commit.StartTimeUnixNano {
		t.Errorf("the parts are not one after the other: %v, %v, %v", request, compare, commit)
	}
	attributes := map[string]string{}
	for _, a := range poll.Attributes {
		attributes[a.Key] = a.Value.String()
	}
	if !strings.Contains(attributes["bpcc.tenant"], "acme") || attributes["bpcc.poll"] == "" || !strings.Contains(attributes["bpcc.epoch"], "1") || attributes["bpcc.events"] == "" {
		t.Errorf("attributes %v", attributes)
	}
	if quiet := received.find("poll", func(s *otlp.Span) bool { return s.Status.GetCode() != otlp.Status_STATUS_CODE_ERROR }); quiet == nil {
		t.Error("no good poll")
	}
	if !slices.Contains(received.services, "floor") {
		t.Errorf("services %v", received.services)
	}
}
