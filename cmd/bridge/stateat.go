package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/state"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/svc"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
	library "bpcc-nats/reader"
)

// stateAt shows what is known of an instant in the past.
func (p *program) stateAt(ctx context.Context, o stateFlags) error {
	entity, err := o.validatePast(time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	view, err := pastView(sessionCtx, l.JS, c.Stream, o, entity)
	if err != nil {
		return reader.Unfinished(sessionCtx, err)
	}
	if o.json {
		return p.writeJSON(view)
	}
	render.WritePast(p.out, view, o.all || o.entity != "")
	return nil
}

// validatePast refuses instants that are not in the past or not certain, and parses the entity.
func (o *stateFlags) validatePast(now time.Time) (svc.StateRequest, error) {
	var none svc.StateRequest
	switch {
	case o.at.IsZero():
		return none, errors.New("an entity needs --at; the present state of one is that of --at 1s")
	case o.at.Location() == time.Local:
		return none, fmt.Errorf("--at %s: write the zone of a time in the past, as in %s", o.at.Format("2006-01-02T15:04:05"), o.at.Format(time.RFC3339))
	case o.at.After(now):
		return none, fmt.Errorf("--at %s is in the future", o.at.Format(time.RFC3339Nano))
	case o.entity == "":
		return none, nil
	}
	kind, id, ok := strings.Cut(o.entity, "/")
	r := svc.StateRequest{Kind: kind, ID: id}
	if kind == "threshold" {
		r.Rule, r.ID, ok = strings.Cut(id, "/")
	}
	if !ok || r.ID == "" || !slices.Contains([]string{"agent", "service", "totals", "availability", "threshold"}, kind) || kind == "threshold" && r.Rule == "" {
		return none, fmt.Errorf("entity %q; want agent/ID, service/NAME, totals/APP, availability/SERVICE or threshold/RULE/ENTITY", o.entity)
	}
	return r, nil
}

// readerShare is how many timeouts of its requests a reader waits for a server.
const readerShare = 6

// pastView reads what is known of each wanted tenant.
func pastView(ctx context.Context, js jetstream.JetStream, c config.Stream, o stateFlags, entity svc.StateRequest) (*state.View, error) {
	tenants, err := reader.Tenants(ctx, js, c.Name, o.timeout)
	if err != nil {
		return nil, err
	}
	if o.tenant != "" {
		tenants = slices.DeleteFunc(tenants, func(t string) bool { return t != o.tenant })
	}
	if len(tenants) == 0 {
		return nil, fmt.Errorf("the stream %s has no checkpoint%s", c.Name, map[bool]string{true: " of tenant " + o.tenant}[o.tenant != ""])
	}
	view := &state.View{At: o.at.Time, Tenants: []*state.Tenant{}}
	for _, tenant := range tenants {
		r, err := library.Open(js, tenant, library.Options{Stream: c.Name, StateBucket: c.StateBucket, Timeout: max(o.timeout/readerShare, 10*time.Millisecond)})
		if err != nil {
			return nil, err
		}
		known, err := r.StateAt(ctx, o.at.Time, library.StateAtOptions{Entity: entity})
		if reader.MayAnswer(err) {
			err = reader.NoAnswer(js.Conn(), o.timeout, stream.AboutStream(c.Name, err))
		}
		if err != nil {
			return nil, err
		}
		if err := render.AddPast(view, tenant, &known.State, o.entity == ""); err != nil {
			return nil, err
		}
	}
	return view, nil
}
