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
	// liveCurve is how far back curves reach, and liveCurveMost about how many
	// events they are made of: where more happens, they reach less far.
	liveCurve     = 10 * time.Minute
	liveCurveMost = 6000
)

// livePoint is what a curve is drawn through: the numbers of an entity at a time.
type livePoint struct {
	Key   string     `json:"key"`
	Time  time.Time  `json:"time"`
	Stats diff.Image `json:"stats"`
}

// curves tells how the numbers of services and totals came to be what they are.
func (l *liveReader) curves(ctx context.Context) error {
	for _, kind := range []string{"service", "totals"} {
		if err := l.curvesOf(ctx, kind); err != nil {
			return fmt.Errorf("read the curves of %s: %w", kind, err)
		}
	}
	return nil
}

func (l *liveReader) curvesOf(ctx context.Context, kind string) error {
	back := liveCurve
	config := func() jetstream.OrderedConsumerConfig {
		from := time.Now().Add(-back)
		return jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{l.root() + kind + ".>"},
			DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &from, InactiveThreshold: liveIdle,
		}
	}
	n, err := l.count(ctx, config())
	if err != nil {
		return err
	}
	if n > liveCurveMost {
		back = back * liveCurveMost / time.Duration(n)
	}
	var points []livePoint
	err = visit(ctx, l.js, l.config.Stream, config(), func(msg jetstream.Msg, _ uint64) error {
		v, err := event.ReadEnvelope(msg.Data())
		if err != nil {
			return nil
		}
		e, err := v.Event()
		if err != nil {
			return nil
		}
		point := livePoint{Key: e.ViewKey(), Time: e.Time}
		switch d := e.Data.(type) {
		case *event.ServiceData:
			point.Stats = d.After
		case *event.TotalsData:
			point.Stats = d.After
		}
		if point.Stats.IsZero() {
			return nil // it has left
		}
		points = append(points, point)
		if len(points) < 300 {
			return nil
		}
		err = l.send("curves", points)
		points = points[:0]
		return err
	})
	if err != nil || len(points) == 0 {
		return err
	}
	return l.send("curves", points)
}

// count tells how many messages a consumer would see now.
func (l *liveReader) count(ctx context.Context, config jetstream.OrderedConsumerConfig) (uint64, error) {
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
