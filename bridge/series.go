package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

const (
	// seriesWindow is the length of a series, and seriesMaxSamples about the maximum number of its
	// samples: with more events, the series is shorter.
	seriesWindow = 10 * time.Minute
	maxSamples   = 6000
)

// seriesSample is the numbers of an entity at a time.
type seriesSample struct {
	Key   string     `json:"key"`
	Time  time.Time  `json:"time"`
	Stats diff.Image `json:"stats"`
}

// sendSeries sends the history of the numbers of services and totals.
func (l *liveSession) sendSeries(ctx context.Context) error {
	for _, kind := range []string{"service", "totals"} {
		if err := l.sendSeriesOf(ctx, kind); err != nil {
			return fmt.Errorf("read series of %s: %w", kind, err)
		}
	}
	return nil
}

func (l *liveSession) sendSeriesOf(ctx context.Context, kind string) error {
	window := seriesWindow
	config := func() jetstream.OrderedConsumerConfig {
		from := time.Now().Add(-window)
		return jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{l.tenantPrefix() + kind + ".>"},
			DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &from, InactiveThreshold: liveConsumerIdle,
		}
	}
	n, err := l.countPending(ctx, config())
	if err != nil {
		return err
	}
	if n > maxSamples {
		window = window * maxSamples / time.Duration(n)
	}
	var samples []seriesSample
	err = scanStream(ctx, l.js, l.config.Stream, config(), func(msg jetstream.Msg, _ uint64) error {
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
			return nil // it has disappeared
		}
		samples = append(samples, point)
		if len(samples) < 300 {
			return nil
		}
		err = l.sendEvent("curves", samples)
		samples = samples[:0]
		return err
	})
	if err != nil || len(samples) == 0 {
		return err
	}
	return l.sendEvent("curves", samples)
}

// countPending returns how many messages a consumer would receive now.
func (l *liveSession) countPending(ctx context.Context, config jetstream.OrderedConsumerConfig) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	consumer, err := l.js.OrderedConsumer(ctx, l.config.Stream, config)
	if err != nil {
		return 0, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.NumPending, nil
}
