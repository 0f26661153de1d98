package reader

import (
	"context"

	"bpcc-nats/bridge/svc"
)

// AskAvailability asks the bridge that leads the tenant for the availability of a service, in one request and
// without a view: see [svc.AskAvailability]. The error is [svc.ErrNoLeader] if no bridge leads.
func (r *Reader) AskAvailability(ctx context.Context, service string) (svc.AvailabilityReply, error) {
	return svc.AskAvailability(ctx, r.js.Conn(), r.tenant, service)
}

// AskState asks the bridge that leads the tenant for the state of an entity: see [svc.AskState].
func (r *Reader) AskState(ctx context.Context, request svc.StateRequest) (svc.StateReply, error) {
	return svc.AskState(ctx, r.js.Conn(), r.tenant, request)
}
