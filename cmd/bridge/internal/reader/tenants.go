package reader

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
)

// Tenants lists the tenants of which a stream has a checkpoint, in order.
func Tenants(ctx context.Context, js jetstream.JetStream, name string, timeout time.Duration) ([]string, error) {
	found := map[string]bool{}
	err := Retry(ctx, js.Conn(), timeout, func(ctx context.Context) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("read stream %s: %w", name, err)
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(event.SubjectPrefix+".*."+event.Checkpoint))
		if err != nil {
			return fmt.Errorf("read stream %s: %w", name, err)
		}
		for subject := range info.State.Subjects {
			if tenant, ok := event.TenantOf(subject); ok {
				found[tenant] = true
			}
		}
		return nil
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("read stream %s: stream not found; check BRIDGE_STREAM, and NATS_URL or BRIDGE_STORE_DIR", name)
	}
	return slices.Sorted(maps.Keys(found)), err
}
