package bridge

import (
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"bpcc-nats/bpcc"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/source"
)

// metrics counts what the bridges of one process do. Their state is not counted but
// read at each scrape: see [Fleet.Collect].
type metrics struct {
	registry *prometheus.Registry

	polls           *prometheus.CounterVec
	pollSeconds     *prometheus.HistogramVec
	pollBytes       *prometheus.CounterVec
	events          *prometheus.CounterVec
	commits         *prometheus.CounterVec
	commitSeconds   *prometheus.HistogramVec
	skippedRows     *prometheus.GaugeVec
	foreignMessages *prometheus.CounterVec
	// unreadableMessages, viewRebuilds and viewMissing are about restores and damage.
	unreadableMessages, viewRebuilds *prometheus.CounterVec
	viewMissing                      *prometheus.GaugeVec
	checks, requests                 *prometheus.CounterVec
	gauges                           gauges
	storage                          storageGauges
}

const metricPrefix = "bpcc_bridge_"

func newMetrics(version string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, append([]string{"tenant"}, labels...))
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: metricPrefix + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"tenant"})
	}
	m := &metrics{
		registry:      prometheus.NewRegistry(),
		gauges:        newGauges(),
		storage:       newStorageGauges(),
		polls:         counter("polls_total", "Polls of the source by outcome.", "outcome"),
		pollSeconds:   histogram("poll_duration_seconds", "Time from a poll's request to its response."),
		pollBytes:     counter("poll_bytes_total", "Bytes of responses, decompressed."),
		events:        counter("events_total", "Events stored, without checkpoints.", "type"),
		commits:       counter("commits_total", "Batches by outcome: stored, or fenced by another writer. failed: attempts to store one that is sent again.", "outcome"),
		commitSeconds: histogram("commit_duration_seconds", "Time from the first publish of a batch to its acknowledgement."),
		checks:        counter("availability_checks_total", "Availability checks by outcome: ok, or why they failed.", "outcome"),
		requests:      counter("requests_total", "Requests about the tenant's published state by endpoint and outcome; health not included.", "endpoint", "outcome"),
		foreignMessages: counter("foreign_messages_total",
			"Subjects of the stream and keys of the view with a message that this bridge did not write and ignores."),
		unreadableMessages: counter("unreadable_messages_total", "Messages of the stream that the server could not load when the bridge read it."),
		viewRebuilds:       counter("view_rebuilds_total", "How often this instance deleted and created the view again, since it did not match the stream."),
		viewMissing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: metricPrefix + "view_missing_keys", Help: "Published entities that the view lacked when it was last compared; leader only.",
		}, []string{"tenant"}),
		skippedRows: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: metricPrefix + "rows_skipped", Help: "Rows that the last snapshot did not give, by reason. directory: entries of the last listings that cannot be read. limit: known rows behind a grid's limit, at least 1 if a grid is as long as its limit.",
		}, []string{"tenant", "reason"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricPrefix + "build_info", Help: "1, labelled with the version of the bridge and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.polls, m.pollSeconds, m.pollBytes, m.events, m.commits, m.commitSeconds, m.skippedRows, m.foreignMessages, m.unreadableMessages, m.viewRebuilds, m.viewMissing, m.checks, m.requests, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// countPoll counts a poll by its outcome.
func (m *metrics) countPoll(tenant string, o engine.Observation, result *engine.Batch) {
	outcome := "ok"
	switch {
	case errors.Is(result.Err, engine.ErrPending):
		outcome = "slow"
	case errors.Is(result.Err, bpcc.ErrNotReady):
		outcome = "not_ready"
	case result.Err != nil:
		outcome = source.InterruptCause(result.Err)
	}
	m.polls.WithLabelValues(tenant, outcome).Inc()
	if o.Err != nil {
		return
	}
	m.pollSeconds.WithLabelValues(tenant).Observe(o.Received.Sub(o.Sent).Seconds())
	m.pollBytes.WithLabelValues(tenant).Add(float64(len(o.Body)))
	for reason, n := range result.SkippedRows {
		m.skippedRows.WithLabelValues(tenant, reason).Set(float64(n))
	}
}

// countCommit counts a batch that is stored, or that another writer has fenced.
func (m *metrics) countCommit(tenant string, duration time.Duration, err error) {
	switch {
	case err == nil:
		m.commits.WithLabelValues(tenant, "stored").Inc()
		m.commitSeconds.WithLabelValues(tenant).Observe(duration.Seconds())
	case errors.Is(err, ErrFenced):
		m.commits.WithLabelValues(tenant, "fenced").Inc()
	}
}

// countFailed counts an attempt to store a batch that is sent again: an outage has a rate while it lasts.
func (m *metrics) countFailed(tenant string) { m.commits.WithLabelValues(tenant, "failed").Inc() }

// countStored counts events that the stream has acknowledged.
func (m *metrics) countStored(tenant string, events []event.Event) {
	for i := range events {
		if name := events[i].Name; name != event.Checkpoint {
			m.events.WithLabelValues(tenant, name).Inc()
		}
	}
}

// gauges describe the state of the bridges, which is read at each scrape.
type gauges struct {
	connected, clockOffset, viewLag, viewStalled, leader, ready, epoch, status, observed, pictureAge, committed, entities, raised *prometheus.Desc
	unreadable                                                                                                                    *prometheus.Desc
}

func newGauges() gauges {
	return gauges{
		connected:   newDesc("nats_connected", "Whether the connection to NATS is up."),
		clockOffset: newDesc("nats_clock_offset_seconds", "How far the clock of the NATS server is ahead of this machine's; negative = behind."),
		viewLag:     newDesc("view_lag_events", "Messages of the stream that the view has not sourced yet."),
		viewStalled: newDesc("view_stalled_seconds", "How long the view has been behind without progress; 0 = not stalled."),
		leader:      newDesc("leader", "Whether this instance leads the tenant.", "tenant"),
		ready:       newDesc("ready", "Whether /readyz counts the tenant as ready.", "tenant"),
		epoch:       newDesc("epoch", "The leader's term; 0 for a standby.", "tenant"),
		status:      newDesc("feed_status", "1 for the current status of the feed; leader only.", "tenant", "status"),
		observed:    newDesc("observed_timestamp_seconds", "Unix time until which all changes are published; leader only.", "tenant"),
		pictureAge:  newDesc("snapshot_age_seconds", "How old the source's picture is, by its last response or by clocks of agents that stand still; leader only.", "tenant"),
		committed:   newDesc("committed_timestamp_seconds", "Unix time of the last batch that the stream acknowledged; leader only.", "tenant"),
		entities:    newDesc("entities", "Entities that are present, by kind; leader only.", "tenant", "kind"),
		raised:      newDesc("thresholds_raised", "Thresholds that are raised; leader only.", "tenant", "rule", "severity"),
		unreadable:  newDesc("rule_values_unreadable", "Entities whose statistic has a text that the rule cannot read as a number; leader only.", "tenant", "rule"),
	}
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (f *Fleet) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(f, ch) }

// Collect implements [prometheus.Collector]: it sends the state of the bridges.
func (f *Fleet) Collect(ch chan<- prometheus.Metric) {
	g := f.metrics.gauges
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	lag := f.shared.view.Lag()
	gauge(g.connected, boolGauge(f.js.Conn().IsConnected()))
	if offset, known := f.shared.clock.Offset(); known {
		gauge(g.clockOffset, offset.Seconds())
	}
	gauge(g.viewLag, float64(lag.Events))
	gauge(g.viewStalled, lag.StalledFor.Seconds())
	f.collectStorage(gauge)
	for _, b := range f.bridges {
		h, stats := b.Health(), b.leaderStats()
		gauge(g.leader, boolGauge(h.Role == roleLeader), h.Tenant)
		gauge(g.ready, boolGauge(h.Ready), h.Tenant)
		gauge(g.epoch, float64(h.Epoch), h.Tenant)
		if h.Role != roleLeader {
			continue
		}
		if b.figures != nil && stats.answers != nil {
			b.figures.Collect(ch, stats.answers.Picture(b.now()))
		}
		for _, status := range []string{event.StatusLive, event.StatusInterrupted, event.StatusStopped} {
			gauge(g.status, boolGauge(h.Status == status), h.Tenant, status)
		}
		if h.ObservedUntil != nil {
			gauge(g.observed, float64(h.ObservedUntil.UnixMilli())/1000, h.Tenant)
		}
		if !stats.pictureAt.IsZero() {
			gauge(g.pictureAge, max(b.now().Sub(stats.pictureAt), 0).Seconds(), h.Tenant)
		}
		if h.Committed != nil {
			gauge(g.committed, float64(h.Committed.UnixMilli())/1000, h.Tenant)
		}
		for kind, n := range stats.entities {
			gauge(g.entities, float64(n), h.Tenant, string(kind))
		}
		for rule, n := range stats.raised {
			gauge(g.raised, float64(n), h.Tenant, rule.Rule, rule.Severity)
		}
		for rule, n := range stats.unreadable {
			gauge(g.unreadable, float64(n), h.Tenant, rule)
		}
	}
}

func boolGauge(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
