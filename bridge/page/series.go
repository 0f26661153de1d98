package page

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
	"bpcc-nats/reader"
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
	n, err := l.countPending(ctx, l.tenant, kind+".>", time.Now().Add(-window))
	if err != nil {
		return err
	}
	if n > maxSamples {
		window = window * maxSamples / time.Duration(n)
	}
	var samples []seriesSample
	for item, err := range l.reader.Events(ctx, reader.AtTime(time.Now().Add(-window)), reader.EventsOptions{Subjects: []string{kind + ".>"}}) {
		if err != nil {
			return err
		}
		stored := reader.EventOf(item)
		if stored == nil {
			continue
		}
		e, err := stored.Decode()
		row := e.Row()
		if err != nil || row == nil || row.After.IsZero() {
			continue // the entity has left
		}
		if samples = append(samples, seriesSample{e.ViewKey(), e.Time, row.After}); len(samples) < 300 {
			continue
		}
		if err := l.sendEvent("series", samples); err != nil {
			return err
		}
		samples = samples[:0]
	}
	if len(samples) == 0 {
		return nil
	}
	return l.sendEvent("series", samples)
}

// countPending counts the messages on a subject below a tenant, which is given by its token, since an instant.
func (p *Handler) countPending(ctx context.Context, tenant, subject string, since time.Time) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	consumer, err := p.js.OrderedConsumer(ctx, p.config.Stream.Name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{event.SubjectPrefix + "." + tenant + "." + subject},
		DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		InactiveThreshold: 20 * time.Second, // then the server deletes it
	})
	if err != nil {
		return 0, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.NumPending, nil
}
