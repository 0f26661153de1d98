package bridge

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go/micro"
)

const (
	serviceName = "bpcc-bridge"
	// servicePrefix begins the subjects of requests. The stream of events must
	// not capture them: it would answer in the bridge's place.
	servicePrefix = "bpcc.svc"
)

// semantic is what the service API takes for a version.
var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// announce makes this process known as a NATS service, so that
// `nats service ls|info|stats bpcc-bridge` shows every instance and how it is.
// It answers requests on bpcc.svc.<tenant>.health. A server that does not allow
// that is no reason not to bridge.
func (f *Fleet) announce() (stop func()) {
	version := strings.TrimPrefix(f.config.Version, "v")
	if !semantic.MatchString(version) {
		version = "0.0.0"
	}
	metadata := map[string]string{"instance": f.bridges[0].self.instance, "stream": f.config.Stream, "version": f.config.Version}
	subject := servicePrefix + ".*.health"
	if f.balance == nil {
		metadata["tenant"] = f.config.Tenant
		subject = servicePrefix + "." + Token(f.config.Tenant) + ".health"
	}
	service, err := micro.AddService(f.js.Conn(), micro.Config{
		Name: serviceName, Version: version, Metadata: metadata,
		Description:  "carries the changes of Bright Pattern contact centres to JetStream",
		StatsHandler: func(*micro.Endpoint) any { return f.present() },
	})
	if err == nil {
		// No queue group: every instance answers for itself.
		err = service.AddEndpoint("health", micro.HandlerFunc(f.answer),
			micro.WithEndpointSubject(subject), micro.WithEndpointQueueGroupDisabled())
	}
	if err != nil {
		f.log.Warn("this instance does not show as a NATS service", "err", err)
		return func() {}
	}
	return func() {
		if err := service.Stop(); err != nil {
			f.log.Debug("the NATS service did not stop in order", "err", err)
		}
	}
}

// present is what the service's statistics show.
func (f *Fleet) present() any {
	if f.balance == nil {
		return f.bridges[0].Health()
	}
	return f.Health()
}

// answer tells the health of the tenant that the request's subject names.
func (f *Fleet) answer(r micro.Request) {
	token := strings.TrimSuffix(strings.TrimPrefix(r.Subject(), servicePrefix+"."), ".health")
	for _, b := range f.bridges {
		if Token(b.config.Tenant) != token {
			continue
		}
		body, err := json.Marshal(b.Health())
		if err == nil {
			err = r.Respond(body)
		}
		if err != nil {
			f.log.Debug("a request for health was not answered", "err", err)
		}
		return
	}
	if err := r.Error("404", "this instance does not run that tenant", nil); err != nil {
		f.log.Debug("a request for health was not answered", "err", err)
	}
}
