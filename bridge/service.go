package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/svc"
)

const serviceName = "bpcc-bridge"

// semverRE is what the service API accepts as a version.
var semverRE = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// announce registers this process as a NATS service until ctx ends, so that `nats service
// ls|info|stats bpcc-bridge` shows every instance and its state. It replies to requests on
// bpcc.svc.<tenant>.health. The metadata of a service is fixed when it is added, so it is added
// again when the role changes. The bridge works without the permission for it.
func (f *Fleet) announce(ctx context.Context) {
	var announced map[string]string
	stop := func() {}
	defer func() { stop() }()
	for {
		if now := f.metadata(); !maps.Equal(now, announced) {
			// The new one first, so that no request finds none.
			stopFormer := stop
			announced, stop = now, f.addService(now)
			stopFormer()
		}
		select {
		case <-ctx.Done():
			return
		case <-f.shared.roleChanged:
		}
		// The roles of many tenants change at once.
		select {
		case <-ctx.Done():
			return
		case <-time.After(announceDelay):
		}
	}
}

// announceDelay is how long a change of role waits for further ones.
const announceDelay = time.Second

// metadata describes this instance in the service.
func (f *Fleet) metadata() map[string]string {
	m := map[string]string{"instance": f.bridges[0].self.instance, "stream": f.config.Stream.Name, "version": f.config.Version}
	if f.shared.rebalancer != nil {
		m["leading"] = fmt.Sprintf("%d of %d tenants", f.shared.rebalancer.Leading(), len(f.bridges))
		return m
	}
	h := f.bridges[0].Health()
	m["tenant"], m["role"] = h.Tenant, h.Role
	if h.Epoch > 0 {
		m["epoch"] = strconv.FormatUint(h.Epoch, 10)
	}
	return m
}

func (f *Fleet) addService(metadata map[string]string) (stop func()) {
	version := strings.TrimPrefix(f.config.Version, "v")
	if !semverRE.MatchString(version) {
		version = "0.0.0"
	}
	subject := svc.SubjectPrefix + ".*.health"
	if f.shared.rebalancer == nil {
		subject = svc.Subject(f.config.Tenant, "health")
	}
	service, err := micro.AddService(f.js.Conn(), micro.Config{
		Name: serviceName, Version: version, Metadata: metadata,
		Description:  "publishes the changes of Bright Pattern contact centres to JetStream",
		StatsHandler: func(*micro.Endpoint) any { return f.serviceStats() },
	})
	if err == nil {
		// No queue group: every instance replies for itself.
		err = service.AddEndpoint("health", micro.HandlerFunc(f.handleHealth),
			micro.WithEndpointSubject(subject), micro.WithEndpointQueueGroupDisabled())
	}
	if err != nil {
		f.log.Warn("cannot announce the NATS service", "err", err)
		return func() {}
	}
	return func() {
		if err := service.Stop(); err != nil {
			f.log.Debug("NATS service not stopped", "err", err)
		}
	}
}

// serviceStats returns the service's statistics.
func (f *Fleet) serviceStats() any {
	if f.shared.rebalancer == nil {
		return f.healthOf(f.bridges[0])
	}
	return f.Health()
}

// handleHealth replies with the health of the tenant that the request's subject names.
func (f *Fleet) handleHealth(r micro.Request) {
	if !mayReplyTo(r.Reply()) {
		return
	}
	token := strings.TrimSuffix(strings.TrimPrefix(r.Subject(), svc.SubjectPrefix+"."), ".health")
	for _, b := range f.bridges {
		if event.Token(b.config.Tenant) != token {
			continue
		}
		body, err := json.Marshal(f.healthOf(b))
		if err == nil {
			err = r.Respond(body)
		}
		if err != nil {
			f.log.Debug("health request not answered", "err", err)
		}
		return
	}
	if err := r.Error("404", "this instance does not run that tenant", nil); err != nil {
		f.log.Debug("health request not answered", "err", err)
	}
}
