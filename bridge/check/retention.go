package check

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bridge/capacity"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// limit is something that bounds how much the events may take.
type limit struct {
	name  string
	bytes int64  // of one copy, counted before compression
	raise string // what raises it, before "to 200 GiB"
}

// Retention reports whether the events of the configured time fit into what their stream and their
// account may hold. agents is how many the source shows, for a stream that is too new to be measured.
func Retention(ctx context.Context, c *config.Config, js jetstream.JetStream, agents int, report func(Step)) {
	x := &checkRun{report: report}
	use, err := capacity.Measure(ctx, js, c.Stream, c.Times())
	if err != nil {
		x.reportWarning("retention", "correct the steps before", "not known whether it fits: %v", err)
		return
	}
	events, exists := use.Find(capacity.Events)
	if !exists {
		events = capacity.Stream{Name: c.Stream.Name, MaxBytes: int64(c.Stream.MaxBytes), Replicas: c.Stream.Replicas, Retention: c.Stream.Retention}
	}
	var limits []limit
	if events.MaxBytes > 0 {
		raise := "raise BRIDGE_MAX_BYTES"
		if exists {
			raise = "raise max_bytes with nats stream edit " + events.Name
		}
		limits = append(limits, limit{"max_bytes of stream " + events.Name, events.MaxBytes, raise})
	}
	if account := use.Account; account.Limit > 0 {
		copies := int64(max(events.Replicas, 1))
		others := account.Used - copies*events.Bytes
		limits = append(limits, limit{"what the account's storage leaves for each copy", max(account.Limit-others, 0) / copies, "raise max_store of the account by the difference"})
	}
	x.checkFit(events, agents, limits)
}

// StoreRetention is [Retention] for the embedded server. events is the stream of a bridge that runs; nil
// if none does.
func StoreRetention(c *config.Config, events *capacity.Stream, agents int, report func(Step)) {
	x := &checkRun{report: report}
	if events == nil {
		events = &capacity.Stream{Name: c.Stream.Name, MaxBytes: int64(c.Stream.MaxBytes), Retention: c.Stream.Retention}
	}
	use, err := stream.EstimateStore(c.Embedded.StoreDir)
	if err != nil {
		return // the step of the store has reported it
	}
	limits := []limit{{"the disk", int64(stream.EventsShare(use.DefaultMax())), "give the store a larger disk, or set BRIDGE_STORE_MAX"}}
	if c.Embedded.StoreMax > 0 {
		limits = []limit{
			{"BRIDGE_STORE_MAX", int64(stream.EventsShare(c.Embedded.StoreMax)), "raise BRIDGE_STORE_MAX"},
			{"the disk", int64(use.MostOnDisk()), "give the store a larger disk"},
		}
	}
	if events.MaxBytes > 0 {
		limits = append(limits, limit{"max_bytes of stream " + events.Name, events.MaxBytes, limits[0].raise})
	}
	x.checkFit(*events, agents, limits)
}

// checkFit compares what the events of the stream's retention take with the lowest limit.
func (x *checkRun) checkFit(events capacity.Stream, agents int, limits []limit) {
	rate, measured := capacity.MeasuredRate(events)
	source := "measured over " + formatTime(rate.Span)
	if !measured {
		rate = capacity.EstimatedRate(agents)
		source = fmt.Sprintf("estimated for %d agent(s) who are busy all day", agents)
	}
	if rate.BytesADay == 0 {
		x.reportOK("retention", "%s; what its events take is not known before there are agents, or events of an hour", formatRetention(events.Retention))
		return
	}
	growth := fmt.Sprintf("%v a day, %s", config.Size(rate.BytesADay), source)
	if len(limits) == 0 {
		if events.Retention == 0 {
			x.reportWarning("retention", "set max_age or max_bytes of stream "+events.Name, "%s, and no limit is set: the stream grows until the disk is full (%s)", formatRetention(0), growth)
			return
		}
		x.reportOK("retention", "events of %s take about %v, counted before compression, and an eighth of that on disk (%s); no limit is set",
			formatTime(events.Retention), config.Size(rate.Need(events.Retention)), growth)
		return
	}
	lowest := slices.MinFunc(limits, func(a, b limit) int { return cmp.Compare(a.bytes, b.bytes) })
	keeps := rate.Keeps(lowest.bytes)
	switch {
	case events.Retention == 0:
		x.reportOK("retention", "%s: about %s (%s; %v: %s)", formatRetention(0), formatTime(keeps), growth, config.Size(lowest.bytes), lowest.name)
	case keeps < events.Retention:
		x.reportWarning("retention", fmt.Sprintf("%s (the events need %v), or set BRIDGE_RETENTION to %v or less", lowest.raise, config.Size(rate.Need(events.Retention)), wholeHours(keeps)),
			"room for about %s of events, not %s (%s; %v: %s)", formatTime(keeps), formatTime(events.Retention), growth, config.Size(lowest.bytes), lowest.name)
	default:
		x.reportOK("retention", "events of %s take about %v (%s) of %v: %s", formatTime(events.Retention), config.Size(rate.Need(events.Retention)), growth,
			config.Size(lowest.bytes), lowest.name)
	}
}

func formatRetention(d time.Duration) string {
	if d == 0 {
		return "events are kept until they reach a limit"
	}
	return "events are kept for " + formatTime(d)
}

// formatTime formats a time for people: in days from two days on, else in hours or minutes.
func formatTime(d time.Duration) string {
	switch {
	case d >= 36500*24*time.Hour:
		return "100 years"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.0f days", math.Floor(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f hours", math.Floor(d.Hours()))
	}
	return fmt.Sprintf("%.0f minutes", math.Floor(d.Minutes()))
}

// wholeHours rounds a retention down to hours, and a shorter one to minutes, of which one is the least.
func wholeHours(d time.Duration) string {
	if d >= time.Hour {
		return fmt.Sprintf("%.0fh", math.Floor(d.Hours()))
	}
	return fmt.Sprintf("%.0fm", math.Max(math.Floor(d.Minutes()), 1))
}
