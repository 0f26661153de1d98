package page

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/scan"
	"bpcc-nats/diff/image"
)

const (
	// seriesWindow is how far back the series reach, and maxSamples about how many
	// events they are made of: with more events they reach less far.
	seriesWindow = 10 * time.Minute
	maxSamples   = 6000
)

// seriesSample is the statistics of an entity at a time.
type seriesSample struct {
	Key   string      `json:"key"`
	Time  time.Time   `json:"time"`
	Stats image.Image `json:"stats"`
}

// sendSeries sends the recent statistics of services and totals.
func (l *liveSession) sendSeries(ctx context.Context) error {
	for _, kind := range []string{"service", "totals"} {
		if err := l.sendSeriesOf(ctx, kind); err != nil {
			return fmt.Errorf("read the series of %s: %w", kind, err)
		}
	}
	return nil
}

func (l *liveSession) sendSeriesOf(ctx context.Context, kind string) error {
	window := seriesWindow
	consumerConfig := func() jetstream.OrderedConsumerConfig {
		from := time.Now().Add(-window)
		return jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{l.tenantPrefix() + kind + ".>"},
			DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &from,
		}
	}
	n, err := l.countPending(ctx, consumerConfig())
	if err != nil {
		return err
	}
	if n > maxSamples {
		window = window * maxSamples / time.Duration(n)
	}
	var samples []seriesSample
	err = scan.All(ctx, l.js, l.config.Stream.Name, consumerConfig(), func(msg jetstream.Msg, _ uint64) error {
		v, err := event.ReadEnvelope(msg.Data())
		if err != nil {
			return nil
		}
		e, err := v.Event()
		if err != nil {
			return nil
		}
		point := seriesSample{Key: e.ViewKey(), Time: e.Time}
		switch d := e.Data.(type) {
		case *event.ServiceData:
			point.Stats = d.After
		case *event.TotalsData:
			point.Stats = d.After
		}
		if point.Stats.IsZero() {
			return nil // the entity has left
		}
		samples = append(samples, point)
		if len(samples) < 300 {
			return nil
		}
		err = l.sendEvent("series", samples)
		samples = samples[:0]
		return err
	})
	if err != nil || len(samples) == 0 {
		return err
	}
	return l.sendEvent("series", samples)
}

// countPending counts the messages that a consumer would deliver now.
func (p *Handler) countPending(ctx context.Context, consumerConfig jetstream.OrderedConsumerConfig) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	consumerConfig.InactiveThreshold = 20 * time.Second // then the server deletes it
	consumer, err := p.js.OrderedConsumer(ctx, p.config.Stream.Name, consumerConfig)
	if err != nil {
		return 0, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.NumPending, nil
}
